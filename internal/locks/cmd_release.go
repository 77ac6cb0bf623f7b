package locks

import (
	"errors"
	"time"

	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// lockRelease ends a hold or what the caller, or with PID another process, has of it: by its token, as any process of its
// user may, or the caller's own.
func (s *Service) lockRelease(c *session.Call) {
	r, name := &s.release, string(c.Args[0])
	hold, ok := s.holdToRelease(c, name, r)
	if !ok {
		return
	}
	s.changeHold(c, &hold, func(now lockmgr.Time) {
		err := lockmgr.ErrNotHeld
		if r.leave && !r.untold {
			err = s.locks.Leave(now, name, hold.Token, r.member)
		}
		if errors.Is(err, lockmgr.ErrNotHeld) { // it is no owner of it, or all are meant
			if hold, ok = s.hold(c, name, hold.Token); !ok || !owns(c, &hold) {
				return
			}
			if r.untold {
				err = s.locks.GiveBack(now, name, hold.Token)
			} else {
				err = s.locks.Release(now, name, hold.Token)
			}
		}
		switch {
		case err != nil:
			c.Fail(wire.CodeInternal, "%q: %v", name, err)
		case r.of == forAnybody:
			c.OK()
		default:
			c.Integer(int64(hold.Token))
		}
	})
}

// A release is what the words of LOCK.RELEASE ask for.
type release struct {
	token  lockmgr.Token // 0: the caller's own hold
	pid    int           // 0: nobody in particular
	of     releaseFor
	group  string // with forGroup its path
	untold bool

	// Found: only what this process has of the hold, if it has anything; that of an operator is no process's.
	leave  bool
	member lockmgr.Process
}

// releaseWords reads the words of LOCK.RELEASE.
func (s *Service) releaseWords(c *session.Call) (ok bool) {
	s.release, ok = readRelease(c)
	return ok
}

func readRelease(c *session.Call) (r release, ok bool) {
	for i := 1; i < len(c.Args); i++ {
		switch option := c.Keyword(i); {
		case option == "UNTOLD":
			r.untold = true
		case option == "PID" && i+1 < len(c.Args):
			i++
			pid, ok := session.Number(c.Args[i])
			if !ok || pid <= 0 || pid > maxPID {
				c.Fail(wire.CodeErr, "PID wants the number of a process, not %q", session.Clip(string(c.Args[i])))
				return r, false
			}
			r.pid = int(pid)
		case option == "FOR" && i+1 < len(c.Args):
			i++
			if !readReleaseFor(c, i, &r) {
				return r, false
			}
		case option == "REQID" && i+1 < len(c.Args):
			i++
			if !c.ReadRequestID(c.Args[i]) {
				return r, false
			}
		case i == 1:
			if r.token, ok = readToken(c, 1); !ok {
				return r, false
			}
		default:
			c.Fail(wire.CodeErr, "unknown option %q, or one that wants a value", session.Clip(string(c.Args[i])))
			return r, false
		}
	}
	if r.pid != 0 && r.of != forAnybody {
		c.Fail(wire.CodeErr, "PID does not go with FOR")
		return r, false
	}
	return r, true
}

// maxPID is beyond what any process is numbered.
const maxPID = 1 << 30

// holdToRelease finds the claim that LOCK.RELEASE means, or the first of the hold.
func (s *Service) holdToRelease(c *session.Call, name string, r *release) (hold lockmgr.Claim, ok bool) {
	if r.token != 0 {
		if hold, ok = s.hold(c, name, r.token); !ok {
			return hold, false
		}
	}
	if r.of != forAnybody {
		return s.holdFor(c, name, r)
	}
	self := processID(&c.Session.Peer)
	if r.pid != 0 {
		for h := range s.locks.Holders(name) {
			if h.Owner.Process.PID == r.pid && (r.token == 0 || h.Token == r.token) {
				r.leave, r.member = true, h.Owner.Process
				return h, owns(c, &h)
			}
		}
		c.Fail(wire.CodeNoLock, "%q is not held by process %d", name, r.pid)
		return hold, false
	}
	if r.token != 0 {
		r.leave, r.member = self.Start != 0, self
		return hold, true
	}
	hold, ok = s.locks.Claim(name, lockmgr.Owner{Process: self})
	if !ok || hold.Token == 0 {
		hold, ok = s.locks.Claim(name, record.Operator(c.Session.Peer.UID))
	}
	if ok && hold.Token != 0 {
		r.leave, r.member = true, hold.Owner.Process
		return hold, true
	}
	c.Fail(wire.CodeNoLock, "%q is not held by process %d; show the token to release it for another", name, self.PID)
	return hold, false
}

// changeHold makes a step that changes a hold, if it can, and has the reply ready. What has changed of an operator's hold is
// answered when it is on disk.
func (s *Service) changeHold(c *session.Call, hold *lockmgr.Claim, change func(now lockmgr.Time)) {
	s.stepFor(c.Pays, change, func() {
		if hold.Bind != lockmgr.ToNobody {
			c.Reply()
		}
	})
	if hold.Bind == lockmgr.ToNobody && !c.Failed() {
		s.answerSaved(c, &s.operators.savedFile)
	}
}

// namedHold finds the hold that the first two words name.
func (s *Service) namedHold(c *session.Call) (hold lockmgr.Claim, ok bool) {
	t, ok := readToken(c, 1)
	if !ok {
		return hold, false
	}
	return s.hold(c, string(c.Args[0]), t)
}

// lockRenew has a lease end later.
func (s *Service) lockRenew(c *session.Call) {
	hold, ok := s.namedHold(c)
	if !ok || !owns(c, &hold) {
		return
	}
	lease := s.leaseOf(&hold)
	if len(c.Args) > 2 {
		if len(c.Args) != 4 || c.Keyword(2) != "LEASE" {
			c.Syntax()
			return
		}
		if lease, ok = readMilliseconds(c, "LEASE", c.Args[3], 1); !ok {
			return
		}
	}
	if !s.mayLease(c, lease, hold.Bind) {
		return
	}
	s.changeHold(c, &hold, func(now lockmgr.Time) {
		if err := s.locks.Renew(now, hold.Name, hold.Token, lease); err != nil {
			c.Fail(wire.CodeNoLock, "%q: %v", hold.Name, err)
			return
		}
		c.Integer(lease.Milliseconds())
	})
}

// leaseOf is how long the lease of a hold is: the first of its owners who has one says it. It is 0 if none has.
func (s *Service) leaseOf(hold *lockmgr.Claim) time.Duration {
	for h := range s.locks.Holders(hold.Name) {
		if h.Token == hold.Token && h.Lease > 0 {
			return h.Lease
		}
	}
	return 0
}

// mayLease checks a lease against the configuration. An operator's hold may last.
func (s *Service) mayLease(c *session.Call, lease time.Duration, bind lockmgr.Binding) bool {
	longest := s.longestLease
	if bind != lockmgr.ToNobody && lease > longest {
		c.Fail(wire.CodeErr, "a LEASE may have at most %d milliseconds here (limits.lease)", longest.Milliseconds())
		return false
	}
	return true
}

// lockDowngrade makes an exclusive hold shared.
func (s *Service) lockDowngrade(c *session.Call) {
	hold, ok := s.namedHold(c)
	if !ok || !owns(c, &hold) {
		return
	}
	s.changeHold(c, &hold, func(now lockmgr.Time) {
		switch err := s.locks.Downgrade(now, hold.Name, hold.Token); {
		case errors.Is(err, lockmgr.ErrShares):
			c.Fail(wire.CodeLimit, "%q: %v", hold.Name, err)
		case err != nil:
			c.Fail(wire.CodeInternal, "%q: %v", hold.Name, err)
		default:
			c.OK()
		}
	})
}

// lockTold takes note that what a hold was told of as abandoned has been dealt with.
func (s *Service) lockTold(c *session.Call) {
	hold, ok := s.namedHold(c)
	if !ok || !owns(c, &hold) {
		return
	}
	s.changeHold(c, &hold, func(lockmgr.Time) {
		if err := s.locks.Told(hold.Name, hold.Token); err != nil {
			c.Fail(wire.CodeInternal, "%q: %v", hold.Name, err)
			return
		}
		c.OK()
	})
}

// lockCheck tells whether a token is current. Anybody may ask: a token is no secret.
func (s *Service) lockCheck(c *session.Call) {
	if _, ok := s.namedHold(c); ok {
		c.OK()
	}
}

// Holds reports whether the user of a call holds a lock by a token, and has the reply ready if not: for what is done under a lock.
func (s *Service) Holds(c *session.Call, lock, token []byte) bool {
	t, ok := tokenOf(c, token)
	if !ok {
		return false
	}
	hold, ok := s.hold(c, string(lock), t)
	return ok && owns(c, &hold)
}

// lockCancel ends an ASYNC wait of this connection. Its outcome is pushed, as any.
func (s *Service) lockCancel(c *session.Call) {
	ticket, ok := session.Number(c.Args[0])
	if !ok || ticket <= 0 {
		c.Fail(wire.CodeErr, "a ticket is a positive number, not %q", session.Clip(string(c.Args[0])))
		return
	}
	id := lockmgr.RequestID(ticket)
	n := int64(0)
	if w, ok := s.waits[id]; ok && w.To() == c.Session {
		s.stepFor(c.Pays, func(now lockmgr.Time) {
			if s.locks.Cancel(now, id) {
				n = 1
			}
		}, nil)
	}
	c.Integer(n)
}
