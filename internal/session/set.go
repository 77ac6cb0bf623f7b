package session

import (
	"iter"
	"log/slog"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/spare"
	"github.com/ipcd/ipcd/ipc/wire"
)

// TimeSlice is how long events are handled in a turn, if there are more, with what is due by time, and how long all that waits for its
// user's share of a turn is looked after: those who ask for much wait for each other and not the others for them. A turn takes some
// ten microseconds by itself, so that half as much would cost throughput.
const TimeSlice = time.Millisecond / 4

// A Host is whom sessions call: it knows which command is executed by which service, and which services hang on a session.
type Host interface {
	// Execute executes a command, or has it wait for a later turn.
	Execute(s *Session, words [][]byte) conn.Outcome
	// Continue goes on with a transaction, and reports whether it is done.
	Continue(s *Session) bool
	// Closed ends what services have given a session whose connection has ended. It reports whether that was all: if not, it is called
	// again.
	Closed(s *Session) bool
	// Receives and Dropped are those of conn.Owner, of one that is Subscribed.
	Receives(s *Session) (lossy, strict bool)
	Dropped(n int)
	// Taken and HasRoom are those of conn.Owner.
	Taken(s *Session)
	HasRoom(s *Session)
	// Lost is told when a session misses n messages more.
	Lost(s *Session, n int)
}

// A Set is the sessions, and what all services of one daemon have in common: the loop, the connections, what users are charged for, the
// time of the turn, the commands with a REQID. It belongs to the loop's goroutine.
type Set struct {
	Loop   *loop.Loop
	Net    *conn.Set // the connections: each is that of a session
	Users  account.Book
	Log    *slog.Logger
	Verify bool // see Setup.Verify of package server

	// Stopping is set when the server is about to end: nobody waits for his share of a turn then, and nothing for what is to come.
	Stopping bool

	host     Host
	started  time.Time
	nextID   uint64
	requests requests
	parts    int // see Part

	logLimit  account.LogLimit
	logPeriod loop.Timer // set when there is more than is logged

	Spare spare.Stock // what services keep of what comes and goes all the time
	trim  loop.Timer  // set when more than a little is kept, there and in buffers, that nobody needs

	real int64 // the time of this turn, in microseconds since 1970, once somebody has asked; else 0

	said []byte // see Answer.Give
}

// NewSet makes a set without sessions, of which the connections are those that kernel carries the bytes of. pushes is what a
// connection knows of messages.
func NewSet(l *loop.Loop, kernel conn.Kernel, pushes conn.Pushes, log *slog.Logger, host Host, verify bool) *Set {
	s := &Set{
		Loop: l, Log: log, Verify: verify, host: host, started: time.Now(),
		Users: account.Book{Slice: TimeSlice, Verify: verify},
	}
	s.Net = conn.New(kernel, &s.Users, pushes)
	s.logPeriod.Init(&l.Timers, s.logLimitDue)
	s.trim.Init(&l.Timers, s.trimDue)
	s.requests = requests{byKey: map[RequestKey]*Request{}, users: map[uint32]*outcomes{}}
	return s
}

// Add makes a session of a connection whose peer is known.
func (s *Set) Add(fd int, p peer.Peer) (*Session, error) {
	sess := &Session{set: s, ID: s.nextID + 1, Peer: p, proto: wire.RESP2, born: s.second(), active: s.second()}
	if err := s.Net.Add(&sess.Conn, sess, fd, p.UID); err != nil {
		return nil, err
	}
	s.nextID++
	return sess, nil
}

// NewID is a number that no session has, nor will have.
func (s *Set) NewID() uint64 {
	s.nextID++
	return s.nextID
}

// All are the sessions that there are, with those that have ended and are not buried.
func (s *Set) All() iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		for c := range s.Net.All() {
			if !yield(c.Owner().(*Session)) {
				return
			}
		}
	}
}

// Started is when the set was made.
func (s *Set) Started() time.Time { return s.started }

// Now is the turn's CLOCK_BOOTTIME.
func (s *Set) Now() time.Duration { return s.Loop.Clock.Now() }

// second is the one in which the turn takes place, since some time, and perhaps the one before.
func (s *Set) second() uint32 { return uint32(s.Loop.Clock.Lately() / time.Second) }

// RealMicro is the turn's time of day, in microseconds since 1970.
func (s *Set) RealMicro() int64 {
	if s.real == 0 {
		s.real = time.Now().UnixMicro()
	}
	return s.real
}

// RealTime is the same as a time.
func (s *Set) RealTime() time.Time { return time.UnixMicro(s.RealMicro()) }

const (
	// littleSpare is how much may be kept for ever that nobody needs.
	littleSpare = 256 << 10
	// trimAfter is how long what is more is kept when nobody needs it.
	trimAfter = 2 * time.Second
)

// EndTurn forgets the turn's time.
func (s *Set) EndTurn() {
	if !s.trim.IsSet() && s.hasSpare() {
		s.trim.Set(s.Now() + trimAfter)
	}
	s.Loop.Clock.EndTurn()
	s.real = 0
	s.Net.EndTurn()
	s.Users.EndTurn()
}

func (s *Set) hasSpare() bool { return s.Net.Spare()+s.Spare.Bytes() > littleSpare }

func (s *Set) trimDue() {
	s.Net.Trim()
	s.Spare.Trim()
}

// A CheckTimer is told of each timer that something has, whether it should be set: see the server's verifier.
type CheckTimer func(what string, t *loop.Timer, want bool)

// VerifyTimers names the timers of the set itself.
func (s *Set) VerifyTimers(check CheckTimer) {
	check("log records", &s.logPeriod, s.logLimit.Next() != 0)
	check("spare buffers", &s.trim, s.trim.IsSet())
	s.requests.verifyTimers(check)
}
