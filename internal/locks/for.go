package locks

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// mayBindToSelf checks that the caller is the peer, if the process that is to hold a lock is the caller's.
func mayBindToSelf(c *session.Call, a *acquisition) bool {
	switch {
	case a.pid != 0:
		return c.IsPeer(a.pid)
	case a.Bind == lockmgr.ToProcess && !a.forPID && a.group == "":
		return c.Proven("FOR self")
	}
	return true
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

// readReleaseFor reads the value of FOR.
func readReleaseFor(c *session.Call, i int, r *release) bool {
	switch c.Keyword(i) {
	case "SELF":
		r.of = forSelf
	case "ANCESTOR":
		r.of = forAncestor
	case "PID":
		r.of = forSentPID
		return true
	default:
		if isGroupPath(c.Args[i]) {
			r.of, r.group = forGroup, string(c.Args[i])
			return true
		}
		c.Fail(wire.CodeErr, "FOR wants self, ancestor, pid or the path of a cgroup, not %q", session.Clip(string(c.Args[i])))
		return false
	}
	return c.Proven("FOR " + strings.ToLower(c.Keyword(i)))
}

// holdFor finds the claim that LOCK.RELEASE FOR means.
func (s *Service) holdFor(c *session.Call, name string, r *release) (hold lockmgr.Claim, ok bool) {
	of, who, ok := s.processesFor(c, r)
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
		hold, _ = s.locks.Claim(name, record.Operator(c.Session.Peer.UID))
	}
	if hold.Token == 0 {
		c.Fail(wire.CodeNoLock, "%q is not held by %s", name, who)
		return hold, false
	}
	r.leave, r.member = true, hold.Owner.Process
	return hold, owns(c, &hold)
}

// processesFor are the processes that are meant, the nearest first, and what they are in words.
func (s *Service) processesFor(c *session.Call, r *release) (all []lockmgr.Process, who string, ok bool) {
	p := &c.Session.Peer
	switch r.of {
	case forGroup:
		if g := s.watch.Group(r.group); g != nil {
			all = append(all, g.ID)
		}
		return all, "cgroup " + r.group, true
	case forSelf:
		return []lockmgr.Process{processID(p)}, session.ProcessName(p), true
	case forAncestor:
		all = append(all, processID(p))
		for _, a := range peer.Ancestors(p.PID, p.Start) {
			all = append(all, lockmgr.Process{PID: a.PID, Start: a.Start})
		}
		all = append(all, s.watch.GroupsOf(p.PID)...)
		return all, fmt.Sprintf("%s, nor by one that it descends from, nor by user %d", session.ProcessName(p), p.UID), true
	}
	fd := c.Session.TakeFD()
	if fd < 0 {
		c.Fail(wire.CodeDenied, "%s", session.NotSent(c.Session))
		return nil, "", false
	}
	sent, err := peer.FromPIDFD(fd)
	c.Session.Discard(fd)
	switch {
	case errors.Is(err, unix.ESRCH): // and what it held has ended, too
		return nil, "a process that has ended", true
	case err != nil:
		c.Fail(session.ProcessCode(err), "%v", err)
		return nil, "", false
	}
	return []lockmgr.Process{processID(&sent)}, session.ProcessName(&sent), true
}
