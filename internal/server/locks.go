package server

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/lockmgr"
)

// lockState is what the loop keeps beside the lock engine: who waits on which connection, and which processes it
// watches for it.
type lockState struct {
	locks     *lockmgr.Manager
	waits     map[lockmgr.RequestID]wait
	conns     map[lockmgr.ConnID]*session // those that acquired something
	processes map[lockmgr.Process]*process
	pidfds    map[int]*process
	groups    groups
	expiry    loop.Timer // of waits and leases: see armExpiry
	grants    loop.Timer // of what the engine has left to be granted: see grantMore
	gone      int        // connections that have ended, and hold something still, or have requests that are not detached yet
	held      int        // claims that hold a lock
	holdsLost int        // holds that were written down and could not be restored
	queued    int        // claims that wait for one
	operators operators
	once      once
	recorder  recorder
	holders   holders
	followers followers
	raising   bool // RaiseMark is under way
	scratch   []byte
	stepping  bool   // see step
	said      []byte // see give
}

// A wait is a request that is not answered yet.
type wait struct {
	answer
	set []string         // the locks that it asks for, if it is for several
	got []lockmgr.Effect // of several: what it was granted so far
}

// tokenBatch is how far ahead of the time of day the durable mark for tokens is set, in microseconds: over an hour, and
// as many tokens. It is raised when less than half of that is left.
const tokenBatch = 1 << 32

// NextMark is the mark to make durable when last is the last token that may have been given: see package lockmgr.
func NextMark(last uint64, now time.Time) uint64 {
	return min(max(last, uint64(max(now.UnixMicro(), 0)))+tokenBatch, uint64(lockmgr.MaxToken))
}

func (s *Server) startLocks() {
	s.lockState = lockState{
		waits:     map[lockmgr.RequestID]wait{},
		conns:     map[lockmgr.ConnID]*session{},
		processes: map[lockmgr.Process]*process{},
		pidfds:    map[int]*process{},
		followers: followers{},
	}
	s.startGroups()
	s.expiry.Init(&s.loop.Timers, s.expire)
	s.grants.Init(&s.loop.Timers, s.grantMore)
	s.recorder.retry.Init(&s.loop.Timers, s.writeDue)
	s.holders.retry.Init(&s.loop.Timers, s.verifyHolders)
	mark := lockmgr.Token(s.setup.Mark)
	if s.setup.RaiseMark == nil {
		mark = lockmgr.MaxToken
	}
	s.once = newOnce(&s.users, s.setup.BootID, s.setup.Done)
	if save := s.setup.SaveDone; save != nil {
		s.once.write = func(done func(error)) { save(s.once.all(), done) }
	}
	s.startHolds(mark)
	s.armExpiry() // of what was restored
}

// raiseMark asks for a higher mark when half of the batch is used up. It is done elsewhere: it waits for the disk.
func (s *Server) raiseMark() {
	if s.setup.RaiseMark == nil || s.raising {
		return
	}
	last, mark := s.locks.Tokens()
	next := NextMark(uint64(last), s.realTime())
	if next <= uint64(mark)+tokenBatch/2 && mark > last || mark == lockmgr.MaxToken {
		return
	}
	s.raising = true
	s.setup.RaiseMark(next)
}

// MarkRaised is the answer to Setup.RaiseMark.
func (s *Server) MarkRaised(mark uint64, err error) {
	s.Post(func() {
		s.raising = false
		if err != nil {
			s.log.Error("cannot reserve lock tokens", "event", "state-failed", "error", err)
			return
		}
		s.step(func(now lockmgr.Time) {
			s.locks.Reserve(now, lockmgr.Token(mark))
			s.recorder.change(record.Subject{Kind: record.KindMark})
		})
	})
}

func (s *Server) lockTime() lockmgr.Time {
	return lockmgr.Time{Boot: s.now(), Real: s.realTime().UnixMicro()}
}

// waiting is how many requests are not answered yet.
func (s *Server) waiting() int { return len(s.waits) }

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
func (s *Server) admitClaim(c *lockmgr.Claim) {
	s.users.Of(c.UID).Count(lockColumn(c.Bind), 1)
	if watched(c) {
		p := s.processes[c.Owner.Process]
		p.uid = c.UID
		p.claims++
	}
}

func (s *Server) endClaim(c *lockmgr.Claim) {
	s.users.Of(c.UID).Count(lockColumn(c.Bind), -1)
	if watched(c) {
		p := s.processes[c.Owner.Process]
		p.claims--
		s.unwatch(p)
	}
}

// follow tells all whom an effect concerns. It is recorded. pays is who pays for that, if it is anybody's doing.
func (s *Server) follow(e *lockmgr.Effect, pays *account.User) {
	if e.Answers != 0 {
		s.decided(e)
	}
	s.tellOwner(e)
	s.tellFollowers(e)
	s.announce(e, pays)
	s.claimSettled(&e.Claim)
}

// armExpiry has waits and leases end when their time comes, as the engine's last step has left them.
func (s *Server) armExpiry() {
	if at, ok := s.locks.Deadline(); ok {
		s.expiry.Set(at)
	} else {
		s.expiry.Stop()
	}
}

// expire ends the waits and leases whose time is over. While very many events stand in line, which go to very many each, that waits:
// there is no user who could wait for himself.
func (s *Server) expire() {
	if len(s.line) > longestLine/2 && !s.stopping {
		s.expiry.Set(s.now())
		return
	}
	s.step(func(now lockmgr.Time) { s.locks.Expire(now, mostEnded) })
}

// grantMore has the next of very many be granted what all of them may hold together.
func (s *Server) grantMore() { s.step(s.locks.GrantMore) }

// tally keeps the accounts of claims.
func (s *Server) tally(e *lockmgr.Effect) {
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
		s.stats.granted++
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
func (s *Server) decided(e *lockmgr.Effect) {
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
	if !refused && !w.lasts() && w.sess.Dead() {
		w.tellNobody(e)
		return
	}
	switch {
	case e.Kind == lockmgr.TimedOut:
		s.give(w.answer, plain(s.appendTimeout(nil, &e.Claim)))
	case e.Kind == lockmgr.Cancelled:
		s.give(w.answer, plain(s.appendCancelled(nil)))
	case e.Bind == lockmgr.ToNobody:
		s.answerOperator(w, e)
	case len(w.set) > 1:
		s.give(w.answer, grants(w.got))
	default:
		s.give(w.answer, (*granted)(e))
	}
}

// waitFor has a connection wait for a lock, unless it is too late for that.
func (s *Server) waitFor(id lockmgr.RequestID, a answer, pays *account.User) {
	sess := a.to()
	if a.lasts() && sess.HungUp() && !s.stopping {
		return // its process may come back for it
	}
	a.awaitLock(id)
	if s.stopping || sess.SendsNoMore() {
		s.stepFor(pays, func(now lockmgr.Time) { s.locks.Cancel(now, id) }, nil)
	}
}

// cancelWait ends what a connection waits for, as its peer sends no more.
func (s *Server) cancelWait(sess *session) {
	if x := sess.more; x != nil && x.wait != 0 {
		s.step(func(now lockmgr.Time) { s.locks.Cancel(now, x.wait) })
	} // else what it waits for, a reload or the disk, goes on
}

// dropLocks gives back what a connection that is gone held, and that waits for nothing any more. If the connection was all that
// its process had to say, the process has probably ended, and the kernel will tell how in a moment: that is worth more to the
// next holder than "disconnected".
func (s *Server) dropLocks(sess *session) {
	switch x := sess.more; {
	case s.conns[lockmgr.ConnID(sess.id)] == nil:
	case x != nil && x.held > 0:
		s.awaitEnd(sess.process, sess)
	default:
		delete(s.conns, lockmgr.ConnID(sess.id))
	}
	if p := sess.process; p != nil {
		p.sessions--
		s.unwatch(p)
	}
}

func (s *Server) closeLocks() {
	for fd := range s.pidfds {
		_ = unix.Close(fd)
	}
	s.closeGroups()
	clear(s.pidfds)
	clear(s.processes)
}
