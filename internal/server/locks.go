package server

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/journal"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/lockmgr"
)

// A lockService is the service of locks: the lock engine, who waits on which connection, and which processes are watched for it. It knows
// of the server what it is given here, and of the messages where its events go.
type lockService struct {
	set     *session.Set
	journal *journal.Journal
	events  events // where what happens to locks is published
	setup   *Setup

	semaphores   map[string]int // see Options
	longestLease time.Duration  // see Limits

	locks     *lockmgr.Manager
	waits     map[lockmgr.RequestID]wait
	conns     map[lockmgr.ConnID]*session.Session // those that acquired something
	part      session.Part[connection]            // what is known of those
	requests  requests
	processes map[lockmgr.Process]*process
	pidfds    map[int]*process
	pidfdKind loop.Kind
	ends      account.Shares[*ending] // what waits for its user's share of a turn to be ended: see remains.go
	groups    groups
	event     announcement
	expiry    loop.Timer // of waits and leases: see armExpiry
	grants    loop.Timer // of what the engine has left to be granted: see grantMore
	gone      int        // connections that have ended, and hold something still, or have requests that are not detached yet
	granted   uint64     // since the start
	held      int        // claims that hold a lock
	holdsLost int        // holds that were written down and could not be restored
	queued    int        // claims that wait for one
	operators operators
	once      once
	holders   holders
	followers followers
	raising   bool // RaiseMark is under way
	scratch   []byte

	// What the words of the command ask for that is executed.
	acquisition acquisition
	release     release
	breaking    *breaking
	stepping    bool // see step
}

// A wait is a request that is not answered yet.
type wait struct {
	session.Answer
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

// newLocks makes the service of locks of a set of sessions, with the locks that a daemon before this one has written down. lost are
// the records of those that could not be read.
func newLocks(set *session.Set, j *journal.Journal, e events, setup *Setup, state *record.State, lost []error) *lockService {
	s := &lockService{
		set: set, journal: j, events: e, setup: setup,
		waits:     map[lockmgr.RequestID]wait{},
		conns:     map[lockmgr.ConnID]*session.Session{},
		processes: map[lockmgr.Process]*process{},
		pidfds:    map[int]*process{},
		followers: followers{},
		part:      session.NewPart[connection](set),
		requests:  requests{byID: map[lockmgr.RequestID]*request{}},
	}
	s.pidfdKind = set.Loop.Handle(s.processReady)
	s.ends = account.Shares[*ending]{Book: &set.Users, Serve: s.endSome, Now: set.Net.Now, Round: set.Net.FlushAll}
	s.event.append = s.appendEvent
	s.startGroups()
	s.expiry.Init(&s.set.Loop.Timers, s.expire)
	s.grants.Init(&s.set.Loop.Timers, s.grantMore)
	s.requests.graces.Init(&s.set.Loop.Timers, s.graceDue)
	s.holders.retry.Init(&s.set.Loop.Timers, s.verifyHolders)
	mark := lockmgr.Token(s.setup.Mark)
	if s.setup.RaiseMark == nil {
		mark = lockmgr.MaxToken
	}
	s.once = newOnce(&s.set.Users, s.setup.BootID, s.setup.Done)
	if save := s.setup.SaveDone; save != nil {
		s.once.write = func(done func(error)) { save(s.once.all(), done) }
	}
	for _, err := range lost {
		s.lostHold(err)
	}
	s.startHolds(mark, state)
	s.armExpiry() // of what was restored
	return s
}

// setLimits changes how many units locks have, and the longest lease.
func (s *lockService) setLimits(semaphores map[string]int, longestLease time.Duration) {
	s.semaphores, s.longestLease = semaphores, longestLease
	s.locks.SetLimits(semaphores)
}

// raiseMark asks for a higher mark when half of the batch is used up. It is done elsewhere: it waits for the disk.
func (s *lockService) raiseMark() {
	if s.setup.RaiseMark == nil || s.raising {
		return
	}
	last, mark := s.locks.Tokens()
	next := NextMark(uint64(last), s.set.RealTime())
	if next <= uint64(mark)+tokenBatch/2 && mark > last || mark == lockmgr.MaxToken {
		return
	}
	s.raising = true
	s.setup.RaiseMark(next)
}

// markRaised is the answer to Setup.RaiseMark.
func (s *lockService) markRaised(mark uint64, err error) {
	s.raising = false
	if err != nil {
		s.set.Log.Error("cannot reserve lock tokens", "event", "state-failed", "error", err)
		return
	}
	s.step(func(now lockmgr.Time) {
		s.locks.Reserve(now, lockmgr.Token(mark))
		s.journal.Changed(record.Subject{Kind: record.KindMark})
	})
}

func (s *lockService) lockTime() lockmgr.Time {
	return lockmgr.Time{Boot: s.set.Now(), Real: s.set.RealTime().UnixMicro()}
}

// waiting is how many requests are not answered yet.
func (s *lockService) waiting() int { return len(s.waits) }

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
func (s *lockService) admitClaim(c *lockmgr.Claim) {
	s.set.Users.Of(c.UID).Count(lockColumn(c.Bind), 1)
	if watched(c) {
		p := s.processes[c.Owner.Process]
		p.uid = c.UID
		p.claims++
	}
}

func (s *lockService) endClaim(c *lockmgr.Claim) {
	s.set.Users.Of(c.UID).Count(lockColumn(c.Bind), -1)
	if watched(c) {
		p := s.processes[c.Owner.Process]
		p.claims--
		s.unwatch(p)
	}
}

// follow tells all whom an effect concerns. It is recorded. pays is who pays for that, if it is anybody's doing.
func (s *lockService) follow(e *lockmgr.Effect, pays *account.User) {
	if e.Answers != 0 {
		s.decided(e)
	}
	s.tellOwner(e)
	s.tellFollowers(e)
	s.announce(e, pays)
	s.claimSettled(&e.Claim)
}

// armExpiry has waits and leases end when their time comes, as the engine's last step has left them.
func (s *lockService) armExpiry() {
	if at, ok := s.locks.Deadline(); ok {
		s.expiry.Set(at)
	} else {
		s.expiry.Stop()
	}
}

// expire ends the waits and leases whose time is over. While very many events stand in line, which go to very many each, that waits:
// there is no user who could wait for himself.
func (s *lockService) expire() {
	if s.events.LineIsLong() && !s.set.Stopping {
		s.expiry.Set(s.set.Now())
		return
	}
	s.step(func(now lockmgr.Time) { s.locks.Expire(now, mostEnded) })
}

// grantMore has the next of very many be granted what all of them may hold together.
func (s *lockService) grantMore() { s.step(s.locks.GrantMore) }

// tally keeps the accounts of claims.
func (s *lockService) tally(e *lockmgr.Effect) {
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
func (s *lockService) decided(e *lockmgr.Effect) {
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
func (s *lockService) waitFor(id lockmgr.RequestID, a session.Answer, pays *account.User) {
	sess := a.To()
	if a.Lasts() && sess.HungUp() && !s.set.Stopping {
		return // its process may come back for it
	}
	a.AwaitTicket(session.Ticket(id))
	if s.set.Stopping || sess.SendsNoMore() {
		s.stepFor(pays, func(now lockmgr.Time) { s.locks.Cancel(now, id) }, nil)
	}
}

// cancelWait ends what a connection waits for, as its peer sends no more.
func (s *lockService) cancelWait(sess *session.Session) {
	if t := sess.Awaits(); t != 0 {
		s.step(func(now lockmgr.Time) { s.locks.Cancel(now, lockmgr.RequestID(t)) })
	} // else what it waits for, a reload or the disk, goes on
}

// dropLocks gives back what a connection that is gone held, and that waits for nothing any more. If the connection was all that
// its process had to say, the process has probably ended, and the kernel will tell how in a moment: that is worth more to the
// next holder than "disconnected".
func (s *lockService) dropLocks(sess *session.Session) {
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

func (s *lockService) closeLocks() {
	for fd := range s.pidfds {
		_ = unix.Close(fd)
	}
	s.closeGroups()
	clear(s.pidfds)
	clear(s.processes)
}
