package locks

import (
	"maps"
	"slices"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/journal"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/process"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/lockmgr"
)

// Setup is what the service is made of for its whole life. The functions in it are called by the loop and must not block.
type Setup struct {
	// Token and Mark are where lock tokens begin: see lockmgr. When tokens are needed beyond Mark, RaiseMark is called
	// with a new mark to make durable; the answer is given by MarkRaised. With a nil RaiseMark, marks are
	// taken to be durable at once.
	Token, Mark uint64
	RaiseMark   func(mark uint64)

	// Done is what was marked as done, as the daemon before wrote it down.
	// SaveHolds and SaveDone have all that there is now written, in the place of what was, and call done,
	// from any goroutine, when it is durable or cannot be. If they are nil that is taken to be so at once.
	SaveHolds func(all []record.OperatorHold, done func(error))
	Done      []record.Done
	SaveDone  func(all []record.Done, done func(error))
	BootID    string // what tells this boot of the machine from others

	// FromJournal says that the locks are those of the journal, behind which the file of operators' holds may lag.
	FromJournal bool
}

// A Service is the service of locks: the lock engine, who waits on which connection, and which processes are watched for it. It knows
// of the server what it is given here, and of other services where its events go.
type Service struct {
	set     *session.Set
	journal *journal.Journal
	watch   *process.Set
	events  Events // where what happens to locks is published
	setup   Setup

	semaphores   map[string]int // how many units locks have, by name
	longestLease time.Duration  // unless it is an operator's hold

	locks     *lockmgr.Manager
	waits     map[lockmgr.RequestID]wait
	conns     map[lockmgr.ConnID]*session.Session // those that acquired something
	part      session.Part[connection]            // what is known of those
	requests  requests
	processes map[lockmgr.Process]*holder
	ends      account.Shares[*ending] // what waits for its user's share of a turn to be ended: see remains.go
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
	followers followers
	raising   bool // RaiseMark is under way
	scratch   []byte

	// What the words of the command ask for that is executed.
	acquisition acquisition
	release     release
	breaking    *breaking
	stepping    bool // see step
}

// TokenBatch is how far ahead of the time of day the durable mark for tokens is set, in microseconds: over an hour, and
// as many tokens. It is raised when less than half of that is left.
const TokenBatch = 1 << 32

// NextMark is the mark to make durable when last is the last token that may have been given: see package lockmgr.
func NextMark(last uint64, now time.Time) uint64 {
	return min(max(last, uint64(max(now.UnixMicro(), 0)))+TokenBatch, uint64(lockmgr.MaxToken))
}

// New makes the service of locks of a set of sessions, with the locks that a daemon before this one has written down. lost are
// the records of those that could not be read.
func New(set *session.Set, j *journal.Journal, watch *process.Set, e Events, setup Setup, state *record.State, lost []error) *Service {
	s := &Service{
		set: set, journal: j, watch: watch, events: e, setup: setup,
		waits:     map[lockmgr.RequestID]wait{},
		conns:     map[lockmgr.ConnID]*session.Session{},
		processes: map[lockmgr.Process]*holder{},
		followers: followers{},
		part:      session.NewPart[connection](set),
		requests:  requests{byID: map[lockmgr.RequestID]*request{}},
	}
	watch.Tell(s)
	s.ends = account.Shares[*ending]{Book: &set.Users, Serve: s.endSome, Over: set.Net.Over, Round: set.Net.FlushAll}
	s.event.append = s.appendEvent
	s.expiry.Init(&s.set.Loop.Timers, s.expire)
	s.grants.Init(&s.set.Loop.Timers, s.grantMore)
	s.requests.graces.Init(&s.set.Loop.Timers, s.graceDue)
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

// SetLimits changes how many units locks have, and the longest lease.
func (s *Service) SetLimits(semaphores map[string]int, longestLease time.Duration) {
	s.semaphores, s.longestLease = semaphores, longestLease
	s.locks.SetLimits(semaphores)
}

// raiseMark asks for a higher mark when half of the batch is used up. It is done elsewhere: it waits for the disk.
func (s *Service) raiseMark() {
	if s.setup.RaiseMark == nil || s.raising {
		return
	}
	last, mark := s.locks.Tokens()
	next := NextMark(uint64(last), s.set.RealTime())
	if next <= uint64(mark)+TokenBatch/2 && mark > last || mark == lockmgr.MaxToken {
		return
	}
	s.raising = true
	s.setup.RaiseMark(next)
}

// MarkRaised is the answer to Setup.RaiseMark.
func (s *Service) MarkRaised(mark uint64, err error) {
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

// Handlers execute the commands of locks.
func (s *Service) Handlers() map[string]session.Handler {
	return map[string]session.Handler{
		"LOCK.ACQUIRE":   session.Gated(s.acquireWords, s.lockAcquire),
		"LOCK.RELEASE":   session.Gated(s.releaseWords, s.lockRelease),
		"LOCK.RENEW":     s.lockRenew,
		"LOCK.DOWNGRADE": s.lockDowngrade,
		"LOCK.CHECK":     s.lockCheck,
		"LOCK.FOLLOW":    s.lockFollow,
		"LOCK.TOLD":      s.lockTold,
		"LOCK.BREAK":     session.Gated(s.breakWords, s.lockBreak),
		"LOCK.CANCEL":    s.lockCancel,
		"LOCK.ISDONE":    s.lockIsDone,
		"LOCK.DONE":      session.Gated(s.doneWords, s.lockDone),
		"LOCK.FORGET":    session.Gated(func(c *session.Call) bool { return c.ReadRequestIDAt(1) }, s.lockForget),
		"LOCK.INFO":      s.lockInfo,
		"LOCK.LIST":      s.lockList,
	}
}

// Figures are what there is of the locks, for those who watch the daemon.
type Figures struct {
	Granted   uint64 // since the start
	Held      int    // claims that hold a lock
	Waiting   int    // claims that wait for one
	Requests  int    // that are not answered yet: one may be for several locks
	Lost      int    // holds that were written down and could not be restored
	Operators int    // holds of operators
	Done      int    // marks of what was done

	Connections int // that have asked for a lock, without a REQID
	Following   int // connections that follow holds
	Processes   int // that are watched

	// What is left by those that have ended.
	Ended    int // connections that hold something still
	Endings  int // ends that the kernel may tell more about, and what is left of them
	Detached int // requests that wait for their process to come back

	// Of the files that operators' holds and marks are written to.
	Unsaved int  // changes that the next write takes
	Saving  bool // one is being written
}

// Figures are the present ones.
func (s *Service) Figures() Figures {
	f := Figures{
		Granted: s.granted, Held: s.held, Waiting: s.queued, Requests: len(s.waits), Lost: s.holdsLost,
		Operators: len(s.operators.holds), Done: len(s.once.done),
		Connections: len(s.conns), Processes: len(s.processes), Ended: s.gone, Detached: s.requests.detached.Len(),
		Unsaved: len(s.operators.waiting) + len(s.once.waiting), Saving: s.operators.writing || s.once.writing,
	}
	for _, p := range s.processes {
		f.Endings += p.endings.Len
	}
	for _, all := range s.followers {
		f.Following += all.Len()
	}
	return f
}

// Watched is how many uses of processes there are: see process.Set.Verify.
func (s *Service) Watched() int { return len(s.processes) }

// Watches reports whether a process of that number is watched.
func (s *Service) Watches(pid int) bool {
	for id := range s.processes {
		if id.PID == pid {
			return true
		}
	}
	return false
}

// Tokens are the last token that was given, and the one up to which they are reserved.
func (s *Service) Tokens() (last, mark lockmgr.Token) { return s.locks.Tokens() }

// View is a lock as it is now.
func (s *Service) View(name string) lockmgr.View { return s.locks.View(name) }

// fewClaims is how many holds and waits there may be before to ask for a lock, which may have to look at all, counts as slow.
const fewClaims = 1000

// AskingIsSlow reports whether there are so many holds and waits that to ask for a lock may take long.
func (s *Service) AskingIsSlow() bool { return s.held+s.queued > fewClaims }

// MustWait reports whether a command has to wait until what its process held on connections that have ended is ended: it may
// ask for just that, or for what somebody has who waits for it.
func (s *Service) MustWait(c *session.Call) bool { return s.gone > 0 && s.mustWait(c) }

// Closed ends the follows, waits and holds that end with a connection, or some of them: it reports whether that was all.
func (s *Service) Closed(sess *session.Session) bool {
	if !s.dropFollows(sess) || !s.dropWaits(sess) || !s.detach(sess) {
		return false
	}
	s.dropLocks(sess)
	return true
}

// Leave gives a function that ends some of what a session follows and waits for, as of one that begins anew, and reports whether there
// may be more.
func (s *Service) Leave(sess *session.Session) (some func() bool) {
	var waits *leaving
	return func() bool {
		if !s.dropFollows(sess) || !s.cancelSome(sess) {
			return true
		}
		if waits == nil {
			waits = s.requestsOf(sess)
		}
		return !s.cancelRequests(waits)
	}
}

// Ending reports whether something is to be ended in the share of its user.
func (s *Service) Ending() bool { return s.ends.Waiting() }

// EndSome ends some of that.
func (s *Service) EndSome() { s.ends.Turn() }

// Start is called before the first turn.
func (s *Service) Start() {
	s.set.Loop.Post(s.raiseMark) // in a turn, which has a time of its own
}

// Stop ends all waits, and what is about to end: with nobody to grant the locks to, so that how it ended is for the daemon after this one.
func (s *Service) Stop() {
	s.cancelWaits()
	for _, p := range slices.Collect(maps.Values(s.processes)) {
		s.settleEndings(p)
	}
}

// cancelWaits ends all waits: the youngest first, or the lock might be granted to one that is about to end as well, when one
// before it in the queue has gone.
func (s *Service) cancelWaits() {
	s.step(func(now lockmgr.Time) {
		for _, id := range slices.Backward(slices.Sorted(maps.Keys(s.waits))) {
			s.locks.Cancel(now, id)
		}
	})
}

// Bury ends what is held by processes that are gone by now, before the loop does. What ends with a connection that
// the server has ended itself was not abandoned.
func (s *Service) Bury() {
	for _, p := range slices.Collect(maps.Values(s.processes)) {
		if ended, _ := p.Ended(); ended && p.claims > 0 {
			p.Dead = true
			s.buryProcess(p)
			s.settleEndings(p)
		}
	}
}
