package locks

import (
	"slices"

	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// An acquisition is what the words of LOCK.ACQUIRE ask for. There is one of it, Service.acquisition, which is filled anew for each
// command; what outlives the command is copied out of it.
type acquisition struct {
	lockmgr.Request
	forPID, async bool
	group         string // the path of the cgroup that is to hold it, or ""
	pid           int    // the caller, as it says, with FOR and its number; else 0
	mode          string // the word that says so, if any
}

// acquireWords parses the words of LOCK.ACQUIRE. If they are not valid, it has answered so, and reports false.
func (s *Service) acquireWords(c *session.Call) bool {
	a := &s.acquisition
	*a = acquisition{}
	a.Name = string(c.Args[0])
	a.Wait, a.Units = lockmgr.Forever, 1
	for i := 1; i < len(c.Args); {
		n := acquireOption(c, i, a)
		if n == 0 {
			return false
		}
		i += n
	}
	if a.Lease > 0 && a.Bind == lockmgr.ToConnection {
		a.Bind = lockmgr.ToLease
	}
	if c.Session.Is(session.InExec) && !a.async {
		a.Wait = lockmgr.Try
	}
	switch {
	case a.Bind == lockmgr.ToNobody && (a.Owner.Label != "" || a.Join != 0):
		c.Fail(wire.CodeErr, "FOR nobody goes with neither OWNER nor JOIN")
	case a.group != "" && a.Owner.Label != "":
		c.Fail(wire.CodeErr, "FOR a cgroup does not go with OWNER")
	case a.Join != 0 && a.Set != nil:
		c.Fail(wire.CodeErr, "JOIN does not go with AND")
	default:
		return mayBindToSelf(c, a) && s.mayLease(c, a.Lease, a.Bind)
	}
	return false
}

// acquireOption reads the option at word i and returns how many words it has: 0 if it is not valid.
func acquireOption(c *session.Call, i int, a *acquisition) int {
	option := c.Keyword(i)
	switch option {
	case "SHARED", "EXCLUSIVE":
		if !setMode(c, a, option) {
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
		if c.Session.Proto() != wire.RESP3 {
			c.Fail(wire.CodeErr, "ASYNC needs RESP3: send HELLO 3 first")
			return 0
		}
		a.async = true
		return 1
	}
	if i++; i == len(c.Args) {
		c.Fail(wire.CodeErr, "%q is not an option, or wants a value", session.Clip(string(c.Args[i-1])))
		return 0
	}
	value := c.Args[i]
	var ok bool
	switch option {
	case "AND":
		ok = addName(c, i, a)
	case "UNITS":
		ok = setMode(c, a, option) && readUnits(c, option, value, &a.Units)
	case "LIMIT":
		ok = readUnits(c, option, value, &a.Limit)
	case "WAIT":
		a.Wait, ok = readMilliseconds(c, option, value, 0)
		c.Patience[0] = i
	case "LEASE":
		a.Lease, ok = readMilliseconds(c, option, value, 1)
	case "FOR":
		ok = bindTo(c, i, a)
	case "WHY":
		a.Why, ok = readText(c, option, value)
	case "OWNER":
		a.Owner.Label, ok = readText(c, option, value)
	case "JOIN":
		a.Join, ok = readToken(c, i)
	case "WITH":
		return addShown(c, i, a)
	case "REQID":
		ok = c.ReadRequestID(value)
	default:
		c.Fail(wire.CodeErr, "unknown option %q", session.Clip(string(c.Args[i-1])))
	}
	if !ok {
		return 0
	}
	return 2
}

// setMode takes note of the word that says how much of the lock is wanted.
func setMode(c *session.Call, a *acquisition, word string) bool {
	if a.mode != "" && (a.mode != word || word == "UNITS") {
		c.Fail(wire.CodeErr, "%s does not go with %s", word, a.mode)
		return false
	}
	a.mode = word
	return true
}

// addName reads one more name to be acquired together with the others.
func addName(c *session.Call, i int, a *acquisition) bool {
	if a.Set == nil {
		a.Set = []string{a.Name}
	}
	bytes := len(c.Args[i])
	for _, name := range a.Set {
		bytes += len(name)
	}
	switch {
	case len(a.Set) == maxSet:
		c.Fail(wire.CodeErr, "at most %d locks are acquired at once", maxSet)
	case bytes > maxSetBytes:
		c.Fail(wire.CodeErr, "the names of locks that are acquired at once have at most %d bytes together", maxSetBytes)
	case slices.Contains(a.Set, string(c.Args[i])):
		c.Fail(wire.CodeErr, "%q is asked for twice", session.Clip(string(c.Args[i])))
	default:
		a.Set = append(a.Set, string(c.Args[i]))
		return true
	}
	return false
}

// addShown reads WITH token name, of which the token is word i.
func addShown(c *session.Call, i int, a *acquisition) int {
	t, ok := readToken(c, i)
	switch {
	case !ok:
		return 0
	case i+1 == len(c.Args):
		c.Fail(wire.CodeErr, "WITH wants a token and a name")
		return 0
	case len(a.Shown) == maxShown:
		c.Fail(wire.CodeErr, "at most %d holds may be shown (WITH)", maxShown)
		return 0
	}
	a.Shown = append(a.Shown, lockmgr.Shown{Name: string(c.Args[i+1]), Token: t})
	return 3
}

// bindTo reads the value of FOR.
func bindTo(c *session.Call, i int, a *acquisition) bool {
	a.forPID, a.pid, a.group = false, 0, ""
	switch c.Keyword(i) {
	case "SELF":
		a.Bind = lockmgr.ToProcess
	case "PID":
		a.Bind, a.forPID = lockmgr.ToProcess, true
	case "NOBODY":
		a.Bind = lockmgr.ToNobody
	default:
		if isGroupPath(c.Args[i]) {
			a.Bind, a.group = lockmgr.ToProcess, string(c.Args[i])
			return true
		}
		pid, ok := session.Number(c.Args[i])
		if !ok || pid <= 0 || pid > maxPID {
			c.Fail(wire.CodeErr, "FOR wants self, the caller's number, pid, nobody or the path of a cgroup, not %q", session.Clip(string(c.Args[i])))
			return false
		}
		a.Bind, a.pid = lockmgr.ToProcess, int(pid)
	}
	return true
}
