package server

import (
	"slices"

	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// An acquisition is what the words of LOCK.ACQUIRE ask for. There is one of it, Server.acquisition, which is filled anew for each
// command; what outlives the command is copied out of it.
type acquisition struct {
	lockmgr.Request
	forPID, async bool
	group         string // the path of the cgroup that is to hold it, or ""
	pid           int    // the caller, as it says, with FOR and its number; else 0
	mode          string // the word that says so, if any
}

// acquireWords parses the words of LOCK.ACQUIRE. If they are not valid, it has answered so, and reports false.
func (s *Server) acquireWords(c *call) bool {
	a := &c.acquisition
	*a = acquisition{}
	c.takesFD = true
	a.Name = string(c.args[0])
	a.Wait, a.Units = lockmgr.Forever, 1
	for i := 1; i < len(c.args); {
		n := c.acquireOption(i, a)
		if n == 0 {
			return false
		}
		i += n
	}
	if a.Lease > 0 && a.Bind == lockmgr.ToConnection {
		a.Bind = lockmgr.ToLease
	}
	if c.sess.is(stateExec) && !a.async {
		a.Wait = lockmgr.Try
	}
	switch {
	case a.Bind == lockmgr.ToNobody && (a.Owner.Label != "" || a.Join != 0):
		c.fail(wire.CodeErr, "FOR nobody goes with neither OWNER nor JOIN")
	case a.group != "" && a.Owner.Label != "":
		c.fail(wire.CodeErr, "FOR a cgroup does not go with OWNER")
	case a.Join != 0 && a.Set != nil:
		c.fail(wire.CodeErr, "JOIN does not go with AND")
	default:
		return c.mayBindToSelf(a) && c.mayLease(s, a.Lease, a.Bind)
	}
	return false
}

// acquireOption reads the option at word i and returns how many words it has: 0 if it is not valid.
func (c *call) acquireOption(i int, a *acquisition) int {
	option := c.arg(i)
	switch option {
	case "SHARED", "EXCLUSIVE":
		if !c.setMode(a, option) {
			return 0
		}
		a.Units = 0
		if option == "SHARED" {
			a.Mode = lockmgr.Shared
		}
		return 1
	case "UNTOLD":
		a.Untold = true
		return 1
	case "ASYNC":
		if c.sess.proto != wire.RESP3 {
			c.fail(wire.CodeErr, "ASYNC needs RESP3: send HELLO 3 first")
			return 0
		}
		a.async = true
		return 1
	}
	if i++; i == len(c.args) {
		c.fail(wire.CodeErr, "%q is not an option, or wants a value", clip(option))
		return 0
	}
	value := c.args[i]
	var ok bool
	switch option {
	case "AND":
		ok = c.addName(i, a)
	case "UNITS":
		ok = c.setMode(a, option) && c.units(option, value, &a.Units)
	case "LIMIT":
		ok = c.units(option, value, &a.Limit)
	case "WAIT":
		a.Wait, ok = c.milliseconds(option, value, 0)
		c.patience = i
	case "LEASE":
		a.Lease, ok = c.milliseconds(option, value, 1)
	case "FOR":
		ok = c.bindTo(i, a)
	case "WHY":
		a.Why, ok = c.text(option, value)
	case "OWNER":
		a.Owner.Label, ok = c.text(option, value)
	case "JOIN":
		a.Join, ok = c.token(i)
	case "WITH":
		return c.addShown(i, a)
	case "REQID":
		ok = c.requestID(value)
	default:
		c.fail(wire.CodeErr, "unknown option %q", clip(option))
	}
	if !ok {
		return 0
	}
	return 2
}

// setMode takes note of the word that says how much of the lock is wanted.
func (c *call) setMode(a *acquisition, word string) bool {
	if a.mode != "" && (a.mode != word || word == "UNITS") {
		c.fail(wire.CodeErr, "%s does not go with %s", word, a.mode)
		return false
	}
	a.mode = word
	return true
}

// addName reads one more name to be acquired together with the others.
func (c *call) addName(i int, a *acquisition) bool {
	if a.Set == nil {
		a.Set = []string{a.Name}
	}
	bytes := len(c.args[i])
	for _, name := range a.Set {
		bytes += len(name)
	}
	switch {
	case len(a.Set) == maxSet:
		c.fail(wire.CodeErr, "at most %d locks are acquired at once", maxSet)
	case bytes > maxSetBytes:
		c.fail(wire.CodeErr, "the names of locks that are acquired at once have at most %d bytes together", maxSetBytes)
	case slices.Contains(a.Set, string(c.args[i])):
		c.fail(wire.CodeErr, "%q is asked for twice", clip(string(c.args[i])))
	default:
		a.Set = append(a.Set, string(c.args[i]))
		return true
	}
	return false
}

// addShown reads WITH token name, of which the token is word i.
func (c *call) addShown(i int, a *acquisition) int {
	t, ok := c.token(i)
	switch {
	case !ok:
		return 0
	case i+1 == len(c.args):
		c.fail(wire.CodeErr, "WITH wants a token and a name")
		return 0
	case len(a.Shown) == maxShown:
		c.fail(wire.CodeErr, "at most %d holds may be shown (WITH)", maxShown)
		return 0
	}
	a.Shown = append(a.Shown, lockmgr.Shown{Name: string(c.args[i+1]), Token: t})
	return 3
}

// bindTo reads the value of FOR.
func (c *call) bindTo(i int, a *acquisition) bool {
	a.forPID, a.pid, a.group = false, 0, ""
	switch c.arg(i) {
	case "SELF":
		a.Bind = lockmgr.ToProcess
	case "PID":
		a.Bind, a.forPID = lockmgr.ToProcess, true
	case "NOBODY":
		a.Bind = lockmgr.ToNobody
	default:
		if isGroupPath(c.args[i]) {
			a.Bind, a.group = lockmgr.ToProcess, string(c.args[i])
			return true
		}
		pid, ok := number(c.args[i])
		if !ok || pid <= 0 || pid > maxPID {
			c.fail(wire.CodeErr, "FOR wants self, the caller's number, pid, nobody or the path of a cgroup, not %q", clip(string(c.args[i])))
			return false
		}
		a.Bind, a.pid = lockmgr.ToProcess, int(pid)
	}
	return true
}
