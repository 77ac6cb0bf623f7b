package server

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// A peer is whoever connected, and that need not be the one who asks: a relay in between passes bytes on, and is a process of
// its own. What binds to the asker's process would bind to the relay's, which neither ends with the asker nor runs what the
// lock is for. So the asker has to prove that it is the peer: by a pidfd of its own, which a relay drops; or, where a client
// cannot send descriptors, by its number.

// relayed is what a relay would do, and what to do instead.
const relayed = "and would hold the lock in the caller's stead: connect to the daemon's own socket, or ask for a LEASE"

// prove has the peer be known for the one who asks on this connection.
func (s *Server) prove(c *call) {
	sess := c.sess
	fd := sess.TakeFD()
	if fd < 0 {
		c.fail(wire.CodeDenied, "%s", notSent(sess))
		return
	}
	same, err := peer.Connected(sess.FD(), sess.peer, fd)
	sess.Discard(fd)
	switch {
	case err != nil:
		c.fail(processCode(err), "cannot compare the caller with %s, which connected: %v", processName(&sess.peer), err)
	case !same:
		c.fail(wire.CodeDenied, "%s connected, not the caller, %s", processName(&sess.peer), relayed)
	default:
		sess.state |= stateProven
		c.ok()
	}
}

// processCode is the code for an error of looking at a process: that the daemon has nothing left to look with says nothing of
// the process.
func processCode(err error) wire.Code {
	switch {
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOSPC):
		return wire.CodeQuota
	}
	return wire.CodeNotFound
}

// notSent says why a descriptor may be missing.
func notSent(sess *session) string {
	return fmt.Sprintf("%s connected, and no descriptor came from the caller: a relay in between (socat, ssh -L, systemd-socket-proxyd) drops it, %s",
		processName(&sess.peer), relayed)
}

// mayBindToSelf checks that the caller is the peer, if the process that is to hold a lock is the caller's.
func (c *call) mayBindToSelf(a *acquisition) bool {
	switch sess := c.sess; {
	case a.pid != 0 && a.pid != sess.peer.PID:
		c.fail(wire.CodeDenied, "%s connected, not process %d: it may be a relay (socat, ssh -L, systemd-socket-proxyd), %s",
			processName(&sess.peer), a.pid, relayed)
	case a.Bind == lockmgr.ToProcess && !a.forPID && a.pid == 0 && a.group == "":
		return c.proven("FOR self")
	default:
		return true
	}
	return false
}

// proven checks that the caller is the peer.
func (c *call) proven(what string) bool {
	if !c.sess.is(stateProven) {
		c.fail(wire.CodeDenied, "%s wants a proof that the caller is %s, which connected: IPCD.PROVE. If that is a relay there is none: it is not the caller, %s",
			what, processName(&c.sess.peer), relayed)
		return false
	}
	return true
}

// processName is a process in words, for errors: "process 4121 (\"socat\")".
func processName(p *peer.Peer) string {
	if p.PID == 0 {
		return "a process outside of the daemon's PID namespace"
	}
	if command := peer.Command(p.PID); command != "" {
		return fmt.Sprintf("process %d (%q)", p.PID, command)
	}
	return fmt.Sprintf("process %d", p.PID)
}

// notIdentified says why a process that connected cannot own anything: it would not be told from others.
func notIdentified(p *peer.Peer) string {
	if p.PID == 0 {
		return "the process that connected is outside of the daemon's PID namespace, and only Linux 6.9 and later tell such processes apart"
	}
	return fmt.Sprintf("process %d, which connected, has ended, or cannot be seen from here: /proc may not be mounted, or hide it (hidepid)", p.PID)
}

// A releaseFor says of whose part in a hold LOCK.RELEASE is.
type releaseFor uint8

const (
	forAnybody  releaseFor = iota // FOR is not said
	forSelf                       // the caller
	forAncestor                   // the caller, or the nearest process that it descends from which has a part in it; or else the user
	forGroup                      // a cgroup
	forSentPID                    // the process whose pidfd came with the command
)

// releaseFor reads the value of FOR.
func (c *call) releaseFor(i int, r *release) bool {
	switch c.arg(i) {
	case "SELF":
		r.of = forSelf
	case "ANCESTOR":
		r.of = forAncestor
	case "PID":
		r.of = forSentPID
		return true
	default:
		if isGroupPath(c.args[i]) {
			r.of, r.group = forGroup, string(c.args[i])
			return true
		}
		c.fail(wire.CodeErr, "FOR wants self, ancestor, pid or the path of a cgroup, not %q", clip(string(c.args[i])))
		return false
	}
	return c.proven("FOR " + strings.ToLower(c.arg(i)))
}

// holdFor finds the claim that LOCK.RELEASE FOR means.
func (c *call) holdFor(s *Server, name string, r *release) (hold lockmgr.Claim, ok bool) {
	of, who, ok := c.processesFor(s, r)
	if !ok {
		return hold, false
	}
	nearest := len(of)
	for h := range s.locks.Holders(name) {
		for i := range of[:nearest] {
			if h.Owner.Process == of[i] && (r.token == 0 || h.Token == r.token) {
				hold, nearest = h, i
			}
		}
	}
	if nearest == len(of) && r.of == forAncestor && r.token == 0 {
		hold, _ = s.locks.Claim(name, record.Operator(c.sess.peer.UID))
	}
	if hold.Token == 0 {
		c.fail(wire.CodeNoLock, "%q is not held by %s", name, who)
		return hold, false
	}
	r.leave, r.member = true, hold.Owner.Process
	return hold, c.owns(&hold)
}

// processesFor are the processes that are meant, the nearest first, and what they are in words.
func (c *call) processesFor(s *Server, r *release) (all []lockmgr.Process, who string, ok bool) {
	p := &c.sess.peer
	switch r.of {
	case forGroup:
		if g := s.groups.byPath[r.group]; g != nil {
			all = append(all, g.id)
		}
		return all, "cgroup " + r.group, true
	case forSelf:
		return []lockmgr.Process{processID(p)}, processName(p), true
	case forAncestor:
		all = append(all, processID(p))
		for _, a := range peer.Ancestors(p.PID, p.Start) {
			all = append(all, lockmgr.Process{PID: a.PID, Start: a.Start})
		}
		all = append(all, s.groupsOf(p.PID)...)
		return all, fmt.Sprintf("%s, nor by one that it descends from, nor by user %d", processName(p), p.UID), true
	}
	fd := c.sess.TakeFD()
	if fd < 0 {
		c.fail(wire.CodeDenied, "%s", notSent(c.sess))
		return nil, "", false
	}
	sent, err := peer.FromPIDFD(fd)
	c.sess.Discard(fd)
	switch {
	case errors.Is(err, unix.ESRCH): // and what it held has ended, too
		return nil, "a process that has ended", true
	case err != nil:
		c.fail(processCode(err), "%v", err)
		return nil, "", false
	}
	return []lockmgr.Process{processID(&sent)}, processName(&sent), true
}
