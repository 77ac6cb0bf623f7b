package locks

import (
	"slices"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/lockmgr"
)

// A wait is a request that is not answered yet.
type wait struct {
	session.Answer
	set []string         // the locks that it asks for, if it is for several
	got []lockmgr.Effect // of several: what it was granted so far
}

func (s *Service) lockTime() lockmgr.Time {
	return lockmgr.Time{Boot: s.set.Now(), Real: s.set.RealMicro()}
}

// watched reports whether a claim ends with its owner's process, which then has to be watched.
func watched(c *lockmgr.Claim) bool {
	return c.Bind == lockmgr.ToConnection || c.Bind == lockmgr.ToProcess
}

// lockColumn is what the user of a claim is charged for.
func lockColumn(bind lockmgr.Binding) account.Column {
	if bind == lockmgr.ToNobody {
		return account.OperatorLocks
	}
	return account.Locks
}

// admitClaim keeps the accounts of a claim that came into being; endClaim of one that ended.
func (s *Service) admitClaim(c *lockmgr.Claim) {
	s.set.Users.Of(c.UID).Count(lockColumn(c.Bind), 1)
	if watched(c) {
		p := s.processes[c.Owner.Process]
		p.uid = c.UID
		p.claims++
	}
}

func (s *Service) endClaim(c *lockmgr.Claim) {
	s.set.Users.Of(c.UID).Count(lockColumn(c.Bind), -1)
	if watched(c) {
		p := s.processes[c.Owner.Process]
		p.claims--
		s.unwatch(p)
	}
}

// follow tells all whom an effect concerns. It is recorded. pays is who pays for that, if it is anybody's doing.
func (s *Service) follow(e *lockmgr.Effect, pays *account.User) {
	if e.Answers != 0 {
		s.decided(e)
	}
	s.tellOwner(e)
	s.tellFollowers(e)
	s.announce(e, pays)
	s.claimSettled(&e.Claim)
}

// armExpiry has waits and leases end when their time comes, as the engine's last step has left them.
func (s *Service) armExpiry() {
	if at, ok := s.locks.Deadline(); ok {
		s.expiry.Set(at)
	} else {
		s.expiry.Stop()
	}
}

// expire ends the waits and leases whose time is over. While very many events stand in line, which go to very many each, that waits:
// there is no user who could wait for himself.
func (s *Service) expire() {
	if s.events.LineIsLong() && !s.set.Stopping {
		s.expiry.Set(s.set.Now())
		return
	}
	s.step(func(now lockmgr.Time) { s.locks.Expire(now, mostEnded) })
}

// grantMore has the next of very many be granted what all of them may hold together.
func (s *Service) grantMore() { s.step(s.locks.GrantMore) }

// tally keeps the accounts of claims.
func (s *Service) tally(e *lockmgr.Effect) {
	if e.Bind == lockmgr.ToNobody {
		s.noteOperator(e)
	}
	if e.New {
		s.admitClaim(&e.Claim)
	}
	switch e.Kind {
	case lockmgr.Waiting:
		s.queued++
	case lockmgr.Acquired, lockmgr.Joined:
		if !e.New {
			s.queued--
		}
		s.held++
		s.granted++
		s.bind(e, 1)
	case lockmgr.Left, lockmgr.Ended:
		if e.End != nil {
			s.held--
			s.bind(e, -1)
			s.endClaim(&e.Claim)
		}
	case lockmgr.TimedOut, lockmgr.Cancelled:
		s.queued--
		s.endClaim(&e.Claim)
	}
}

// decided gives a request its outcome, of which this is the whole or a part: a request for several locks is answered when
// it has all of them. What an operator holds must be on disk first.
func (s *Service) decided(e *lockmgr.Effect) {
	w, ok := s.waits[e.Answers]
	if !ok {
		return
	}
	refused := e.Kind == lockmgr.TimedOut || e.Kind == lockmgr.Cancelled
	if len(w.set) > 1 && !refused {
		if w.got == nil {
			w.got = make([]lockmgr.Effect, 0, len(w.set))
		}
		w.got = append(w.got, *e)
		s.waits[e.Answers] = w
		if len(w.got) < len(w.set) {
			return
		}
		slices.SortFunc(w.got, func(a, b lockmgr.Effect) int { return slices.Index(w.set, a.Name) - slices.Index(w.set, b.Name) })
	}
	delete(s.waits, e.Answers)
	if !refused && !w.Lasts() && w.To().Dead() {
		s.tellNobody(&w, e)
		return
	}
	switch {
	case e.Kind == lockmgr.TimedOut:
		w.Give(session.Plain(s.appendTimeout(nil, &e.Claim)))
	case e.Kind == lockmgr.Cancelled:
		w.Give(session.Plain(s.appendCancelled(nil)))
	case e.Bind == lockmgr.ToNobody:
		s.answerOperator(w, e)
	case len(w.set) > 1:
		w.Give(grants(w.got))
	default:
		w.Give((*granted)(e))
	}
}

// waitFor has a connection wait for a lock, unless it is too late for that.
func (s *Service) waitFor(id lockmgr.RequestID, a session.Answer, pays *account.User) {
	sess := a.To()
	if a.Lasts() && sess.HungUp() && !s.set.Stopping {
		return // its process may come back for it
	}
	a.AwaitTicket(session.Ticket(id), s)
	if s.set.Stopping || sess.SendsNoMore() {
		s.stepFor(pays, func(now lockmgr.Time) { s.locks.Cancel(now, id) }, nil)
	}
}

// CancelWait ends what a connection waits for, as its peer sends no more: see session.Canceller.
func (s *Service) CancelWait(t session.Ticket) {
	s.step(func(now lockmgr.Time) { s.locks.Cancel(now, lockmgr.RequestID(t)) })
}

// dropLocks gives back what a connection that is gone held, and that waits for nothing any more. If the connection was all that
// its process had to say, the process has probably ended, and the kernel will tell how in a moment: that is worth more to the
// next holder than "disconnected".
func (s *Service) dropLocks(sess *session.Session) {
	switch x := s.part.Of(sess); {
	case s.conns[lockmgr.ConnID(sess.ID)] == nil:
	case x != nil && x.held > 0:
		s.awaitEnd(x.process, sess)
	default:
		delete(s.conns, lockmgr.ConnID(sess.ID))
	}
	if x := s.part.Of(sess); x != nil && x.process != nil {
		x.process.sessions--
		s.unwatch(x.process)
	}
}
