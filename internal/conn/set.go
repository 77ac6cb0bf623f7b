package conn

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/pieces"
	"github.com/ipcd/ipcd/ipc/wire"
)

// Limits bound what each connection may have.
type Limits struct {
	Input  int // bytes that are read and not executed; also the largest command
	Output int // bytes that wait to be written
	Words  int // of one command
}

// A Set is all connections of a loop, and what they share. It belongs to the loop's thread.
type Set struct {
	Users  *account.Book
	Pushes Pushes
	// Now is the clock by which time is shared, from any beginning.
	Now func() time.Duration

	kernel Kernel
	limits Limits
	conns  []*Conn // by descriptor
	count  int
	shares account.Shares[*Conn] // who waits for his user's share of a turn
	over   func() bool           // see Last

	// Of this turn.
	span       span
	behind     []*Conn // with events, of users who have a queue
	touched    []*Conn
	late       int           // connections that were touched in an earlier turn, and are not written to yet
	flushed    time.Duration // what writing has taken
	copied     int           // bytes that sockets did not take, and that were copied for that, since the beginning
	searched   int           // bytes of backlogs that were looked through for messages to be dropped, since the beginning
	runnable   []*Conn
	serving    *Conn // the one of a queue that is looked after
	dead       []*Conn
	streams    pieces.Slice[*Stream] // by number
	used       []*Stream
	lastSteady *Stream // which [Set.Steady] looked at last
	turnBytes  int

	// Reused.
	pool  pool
	rbuf  []byte
	vec   []unix.Iovec
	words [][]byte
	said  []byte // what is said of losses

	lastRead  *Conn // see ReadEarly
	readTwice bool
}

// New makes a set without connections. Users' Slice is how long events are handled in a turn, if there are more, how long is written,
// and how long all that waits for its user's share of a turn is looked after: those who ask for much wait for each other and not the
// others for them.
func New(k Kernel, users *account.Book, pushes Pushes) *Set {
	begun := time.Now()
	s := &Set{
		Users: users, Pushes: pushes, Now: func() time.Duration { return time.Since(begun) },
		kernel: k, rbuf: make([]byte, 64<<10),
	}
	s.shares = account.Shares[*Conn]{
		Book: users, Serve: s.serve,
		Over:  s.Over,
		Round: s.FlushAll, // who wants little has waited long enough
	}
	k.Handle(s.event)
	return s
}

// SetLimits changes the limits.
func (s *Set) SetLimits(l Limits) {
	s.limits = l
	for c := range s.All() {
		c.parser.Limits = s.frameLimits()
	}
}

func (s *Set) frameLimits() wire.Limits {
	return wire.Limits{Frame: s.limits.Input, Words: s.limits.Words}
}

// Add adds a connection, which is zero, of a user. It is given the descriptor, unless there is an error.
func (s *Set) Add(c *Conn, owner Owner, fd int, uid uint32) error {
	const first = unix.EPOLLIN | unix.EPOLLRDHUP
	if err := s.kernel.Add(fd, first|loop.Edge); err != nil {
		return err
	}
	c.set, c.owner, c.fd, c.watched, c.flags = s, owner, int32(fd), first, isAlive
	c.parser.Limits = s.frameLimits()
	for fd >= len(s.conns) {
		s.conns = append(s.conns, nil)
	}
	s.conns[fd] = c
	s.count++
	c.charge = s.Users.Of(uid).Charge(account.Connections, 1)
	return nil
}

// Some are connections, nil where there is none, from a place among all on: for who looks at them bit by bit. next is where to go on, 0 when
// these were the last.
func (s *Set) Some(from int) (some []*Conn, next int) {
	if next = from + fewConns; next >= len(s.conns) {
		return s.conns[min(from, len(s.conns)):], 0
	}
	return s.conns[from:next], next
}

// fewConns is how many connections are looked at in some ten microseconds.
const fewConns = 128

// Len is how many connections there are, with those that have ended and are not buried.
func (s *Set) Len() int { return s.count }

// At is the connection of a descriptor, nil if there is none.
func (s *Set) At(fd int) *Conn {
	if fd < 0 || fd >= len(s.conns) {
		return nil
	}
	return s.conns[fd]
}

// All are the connections that there are, with those that have ended and are not buried.
func (s *Set) All() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		for _, c := range s.conns {
			if c != nil && !yield(c) {
				return
			}
		}
	}
}

// BeginTurn begins a turn: what comes first in it, events that are handled as they are found, has its part of the time.
func (s *Set) BeginTurn() { s.span = span{} }

// EndEvents handles what has been found in this turn of the connections of users who have a queue: they have had their share of the
// turn before, and wanted more. So who asks for little does not wait for them. What there is no time for waits in the queue.
func (s *Set) EndEvents() {
	for i, c := range s.behind {
		s.behind[i] = nil
		switch {
		case c.Dead() || c.is(isQueued) || c.ready == 0: // serve looks at what is ready
		case s.eventsAreOver():
			c.Queue()
		default:
			c.handleReady()
		}
	}
	s.behind = s.behind[:0]
}

// BeginRest begins the part of a turn in which those are looked after who have waited.
func (s *Set) BeginRest() {
	s.span = span{}
	s.begin()
}

// EndTurn ends a turn.
func (s *Set) EndTurn() { s.flushed = 0 }

// Spare is how many bytes of buffers are kept that nobody needs now.
func (s *Set) Spare() int { return s.pool.bytes }

// Trim gives up the buffers that nobody has needed since it was called last.
func (s *Set) Trim() { s.pool.trim() }

// Waiting reports whether somebody stands in the queue of his user.
func (s *Set) Waiting() bool { return s.shares.Waiting() }

// Serve looks after those who stand in the queues of their users.
func (s *Set) Serve() { s.shares.Turn() }

// Queued reports whether others of its user have waited longer than a connection for their share.
func (s *Set) Queued(c *Conn) bool { return c != s.serving && s.shares.Queued(c.User()) }

// Last says that there may be no later turn: from now on nothing is put off, but commands are executed only until over reports true.
func (s *Set) Last(over func() bool) { s.over = over }

// WrapUp has done what follows from what was done: commands that waited for it are executed, all is written, and who has ended is
// buried.
func (s *Set) WrapUp() {
	for {
		for i := 0; i < len(s.runnable); i++ {
			c := s.runnable[i]
			c.flags &^= isRunnable
			s.runnable[i] = nil
			c.run()
		}
		s.runnable = s.runnable[:0]
		s.FlushAll()
		if len(s.dead) == 0 && len(s.runnable) == 0 {
			return
		}
		s.Bury() // which may give others something to be told
	}
}

// A span is a part of a turn. Whatever is done in it shares its time, which is a slice: all events together, all who have waited.
type span struct {
	n     int // events
	begun time.Duration
	timed bool // begun is known
	over  bool
}

// eventStride is after how many events the clock is looked at, and a few times before: they take some ten microseconds together,
// unless one of them is large. If there is only one event, it is not looked at at all.
const eventStride = 8

// eventsAreOver is Over for one more event.
func (s *Set) eventsAreOver() bool {
	t := &s.span
	if t.n++; t.n%eventStride == 0 || t.n == 2 || t.n == 4 {
		return s.Over()
	}
	return t.over
}

// begin has this part of the turn begin, unless it has: where the first thing is done that may be one of many. It returns the time. To
// read the clock at the beginning of each turn would cost those who do a single thing in it.
func (s *Set) begin() time.Duration {
	now := s.Now()
	if t := &s.span; !t.timed {
		t.begun, t.timed = now, true
	}
	return now
}

// Over looks at the clock, and reports whether this part of the turn is over: events, or those who have waited, have had their time. If
// it has not begun it does now. Whoever is called all the same does a little, so that all goes on.
func (s *Set) Over() bool {
	t := &s.span
	switch {
	case t.over:
	case !t.timed:
		s.begin()
	default:
		t.over = s.Now()-t.begun > s.Users.Slice
	}
	return t.over
}

// event takes note of what the kernel says of a descriptor. When events have taken their part of the turn, or the connection has
// something left to do, it is only noted.
func (s *Set) event(fd int, events uint32) {
	switch c := s.At(fd); {
	case c == nil:
	case c.is(isQueued):
		c.later(events)
	case s.shares.Queued(c.User()):
		c.ready |= uint16(events)
		s.behind = append(s.behind, c)
	case s.eventsAreOver():
		c.later(events)
	default:
		c.handle(events)
	}
}

// handle handles what the kernel says of a connection.
func (c *Conn) handle(events uint32) {
	if c.Dead() {
		return
	}
	if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		if c.is(isWaiting|isBlocked) || c.flags&(isEOF|isSliced) == isEOF {
			c.Kill(nil) // nobody is there to be answered, and nothing left that goes on without
			return
		}
		c.flags |= isHungUp
	}
	if c.is(isBlocked) && events&unix.EPOLLOUT != 0 {
		c.drain()
	}
	if c.is(isAwaited) && events&unix.EPOLLOUT != 0 && !c.Dead() {
		c.lookWhetherTaken()
	}
	if events&unix.EPOLLRDHUP != 0 && !c.is(isHalf) {
		c.flags |= isHalf
		c.owner.HalfClosed()
		if c.is(isBlocked | isWaiting) {
			c.watch() // for what goes on all the same
		}
	}
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 && !c.Dead() && !c.is(isEOF) {
		if c.isAhead() {
			c.ready |= unix.EPOLLIN
		} else {
			c.read()
		}
	}
}

// serve does what a connection stood in the queue for.
func (s *Set) serve(c *Conn) {
	s.serving = c
	c.flags &^= isQueued
	if c.Dead() {
		s.dead = append(s.dead, c) // its burial goes on
	} else {
		if c.is(isLate) {
			c.flushLate()
		}
		c.owner.Resume()
		c.goOnSliced()
		c.handleReady()
	}
	s.serving = nil
	if len(s.dead) > 0 {
		s.Bury() // to do away with a dead connection is served, and counted, like a command
	}
}

// handleReady handles what the kernel has said and nobody has looked at.
func (c *Conn) handleReady() {
	events := c.ready
	c.ready = 0
	c.handle(uint32(events))
}

func (c *Conn) goOnSliced() {
	if c.is(isSliced) {
		c.flags &^= isSliced
		c.run()
	}
}

// ExecuteRest executes what the peer has sent by now, before the last turn is over.
func (c *Conn) ExecuteRest() {
	if !c.Dead() && !c.is(isEOF) {
		c.read()
	}
	if !c.Dead() {
		c.owner.Resume()
		c.flags &^= isSliced
		c.run()
	}
}

// watch has the kernel tell of what can be acted on.
func (c *Conn) watch() {
	want := uint16(0)
	if !c.is(isEOF | isClosing) {
		if !c.inputFull() && (!c.is(isBlocked) || c.Unread() <= pauseAt) {
			want |= unix.EPOLLIN
		}
		if !c.is(isHalf) {
			want |= unix.EPOLLRDHUP
		}
	}
	if c.is(isBlocked | isAwaited) {
		want |= unix.EPOLLOUT
	}
	c.account()
	if want != c.watched && !c.Dead() {
		c.watched = want
		c.lookAgain()
	}
}

// lookAgain has the kernel tell what there is now, also if it has told of it before.
func (c *Conn) lookAgain() { c.set.kernel.Watch(int(c.fd), uint32(c.watched)|loop.Edge) }

// Bury gives back what dead connections had. It happens when all events of a turn are handled and none can mean their descriptors
// any more. For one that has very much it takes several turns, and so it does for many: beyond the first, only those are buried for whom
// this part of the turn has time, as nobody knows what each of them has.
func (s *Set) Bury() {
	for i := 0; i < len(s.dead); i++ { // ending a connection may end others
		c := s.dead[i]
		switch {
		case c.fd < 0:
			continue // it is buried, and was in a queue still
		case i > 0 && s.Over() || !c.owner.Closed():
			c.Queue()
			continue
		}
		c.notLate()
		c.dropLong()
		c.closeRights()
		s.conns[c.fd] = nil
		s.count--
		s.kernel.Close(int(c.fd), c.User().UID(), c.is(isEOF))
		s.pool.put(c.in)
		c.freeOwn()
		c.in, c.pieces = nil, nil
		c.fd = -1
		if x := c.more; x != nil {
			x.input.Release()
			x.output.Release()
		}
		c.charge.Release()
	}
	clear(s.dead)
	s.dead = s.dead[:0]
}

// EndAll ends all connections at once.
func (s *Set) EndAll() {
	for s.count > 0 {
		for c := range s.All() {
			if c.Dead() {
				s.dead = append(s.dead, c)
			} else {
				c.Kill(nil)
			}
		}
		s.Bury()
	}
}

// Why a connection is ended: see [Owner].
var (
	ErrTooFarBehind = errors.New("too far behind its subscriptions")
	ErrDoesNotRead  = errors.New("its user's connections do not read what they are sent (limits.buffers_per_user)")
	// ErrClogged is told once for all connections of a user.
	ErrClogged = errors.New("what its user's connections sent cannot be closed")
)

// Check panics if the connections contradict themselves, and counts what they cost their users.
func (s *Set) Check(found account.Count) {
	count := 0
	shared := map[*block]int{}
	for fd, c := range s.conns {
		if c == nil {
			continue
		}
		count++
		uid := c.User().UID()
		found.Add(uid, account.Connections, 1)
		if x := c.more; x != nil {
			found.Add(uid, account.Input, x.input.Amount())
			found.Add(uid, account.Output, x.output.Amount())
			for f := range x.besides() {
				found.Add(uid, account.Files, 1)
				found.Add(uid, account.FileBytes, f.Size)
			}
		}
		c.check(shared)
		if c.FD() != fd {
			panic(fmt.Sprintf("%v stands at %d", c, fd))
		}
	}
	for b, parts := range shared {
		if parts != b.parts {
			panic(fmt.Sprintf("%d parts of backlogs are in a block, counted %d", parts, b.parts))
		}
	}
	if count != s.count {
		panic(fmt.Sprintf("%d connections, counted %d", count, s.count))
	}
}
