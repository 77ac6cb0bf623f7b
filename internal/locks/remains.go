package locks

import (
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/process"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// What a connection or a process held that is gone is ended in steps of so many claims, by the share of its user: each is
// recorded and told, and may have a lock granted to others. So is what LOCK.BREAK takes away, by the share of the one who sent it.

// mostEnded is how many claims end in one step, in less than a hundred microseconds.
const mostEnded = 16

// Next is where an ending keeps which one stands behind it in the queue of their user.
func (e *ending) Next() **ending { return &e.next }

// userOf is whose holds an ending ends.
func (s *Service) userOf(e *ending) uint32 {
	switch {
	case e.breaking != nil:
		return e.breaking.broken[0][0].UID
	case e.conn != nil:
		return e.conn.Peer.UID
	}
	return e.process.uid
}

// endLater has an ending go on when it is its user's turn: of a process the one whose holds they are.
func (s *Service) endLater(e *ending) {
	e.over.Stop()
	if e.queued {
		return
	}
	s.queueEnding(e)
}

// queueEnding has an ending stand in the queue of the user who pays for it.
func (s *Service) queueEnding(e *ending) {
	user := s.userOf(e)
	if e.breaking != nil {
		user = e.breaking.by.UID
	}
	e.queued = true
	s.ends.Join(s.set.Users.Of(user), e)
}

// endSome ends some of what is left, when it is its user's turn. A process that is exiting is given another moment. Where the events
// of it would go to very many, it waits until those before are delivered.
func (s *Service) endSome(e *ending) {
	e.queued = false
	if s.events.EventsInLine(s.userOf(e)) && !s.set.Stopping {
		s.queueEnding(e)
		return
	}
	switch {
	case e.breaking != nil:
		s.breakSome(e)
		return
	case e.leaves:
		s.abandonSome(e)
		return
	}
	if !e.known && e.conn != nil && s.isOpen(e) && e.tries < process.MostTries && e.process.IsExiting() {
		e.tries++
		e.over.Set(s.set.Now() + s.watch.EndingTime())
		return
	}
	if s.endStep(e) {
		s.endLater(e)
	}
}

// noMore notes that the kernel is not waited for any more.
func (e *ending) noMore() {
	e.over.Stop()
	if e.conn != nil {
		e.known = true
	}
}

// endStep ends some of what is left, and reports whether there is more.
func (s *Service) endStep(e *ending) (more bool) {
	p := e.process
	switch {
	case !s.isOpen(e):
	case e.conn != nil:
		e.known = true
		s.step(func(now lockmgr.Time) {
			more = s.locks.EndConn(now, lockmgr.ConnID(e.conn.ID), lockmgr.Disconnected, 0, mostEnded)
		})
	case e.known:
		s.endProcess(p, e.how, e.status)
		more = p.isLeft()
	default:
		s.buryProcess(p)
		more = p.isLeft()
	}
	if !more {
		s.forgetEnding(e)
	}
	return more
}

// mustWait reports whether a command has to wait until what its process held on connections that have ended is ended: it may
// ask for just that, or for what somebody has who waits for it.
func (s *Service) mustWait(c *session.Call) bool {
	if c.Row.Family != wire.FamilyLock || s.set.Stopping {
		return false
	}
	p := s.processes[processID(&c.Session.Peer)]
	if p != nil && (p.detaching > 0 || s.reconnected(p)) {
		return true
	}
	p = s.sentProcess(c)
	return p != nil && s.reconnected(p)
}

// sentProcess is the process that a lock is asked for by FOR pid, nil if that is not so.
func (s *Service) sentProcess(c *session.Call) *holder {
	fd := c.Session.NextFD()
	if fd < 0 || c.Row.Name != "LOCK.ACQUIRE" {
		return nil
	}
	who, err := peer.FromPIDFD(fd)
	if err != nil || !c.MayAct(who.UID) {
		return nil
	}
	return s.processes[processID(&who)]
}

// cancelSome cancels waits of a connection that asks for none any more: the last first, or the lock would be granted to one of
// them when another that stood before it in the queue has gone. It reports whether none is left.
func (s *Service) cancelSome(sess *session.Session) bool {
	id := lockmgr.ConnID(sess.ID)
	if s.conns[id] == nil {
		return true
	}
	more := false
	s.step(func(now lockmgr.Time) { more = s.locks.CancelConn(now, id, mostEnded) })
	return !more
}

// dropWaits cancels waits of a connection that is gone, and gives back what it was granted since, without anybody having been
// told. It reports whether none is left.
func (s *Service) dropWaits(sess *session.Session) bool {
	if !s.cancelSome(sess) {
		return false
	}
	x := s.part.Of(sess)
	var last *holder // that was looked at
	goes := false
	for n := 0; x != nil && x.returned < x.untold.Len(); n++ {
		if n == mostEnded {
			return false
		}
		g := *x.untold.At(x.returned)
		x.returned++
		if p := s.processes[g.process]; p != nil && g.watched {
			if p != last {
				last, goes = p, p.IsGoing()
			}
			if goes {
				continue // it ends with its process, and who is next is told how
			}
		}
		s.step(func(now lockmgr.Time) {
			if g.acquired { // or it has ended meanwhile
				_ = s.locks.GiveBack(now, g.name, g.token)
			} else {
				_ = s.locks.Leave(now, g.name, g.token, g.process)
			}
		})
	}
	return true
}

// An untoldGrant is a grant for whose answer there is nobody any more. There may be thousands of one connection.
type untoldGrant struct {
	name              string
	token             lockmgr.Token
	process           lockmgr.Process // of the owner
	acquired, watched bool
}

// tellNobody takes note of a grant for whose answer there is nobody any more.
func (s *Service) tellNobody(w *wait, e *lockmgr.Effect) {
	x := s.part.In(w.To())
	note := func(e *lockmgr.Effect) {
		x.untold.Push(untoldGrant{e.Name, e.Token, e.Owner.Process, e.Kind == lockmgr.Acquired, watched(&e.Claim)})
	}
	if len(w.set) <= 1 {
		note(e)
		return
	}
	for i := range w.got {
		note(&w.got[i])
	}
}
