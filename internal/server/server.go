package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/asking"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/journal"
	"github.com/ipcd/ipcd/internal/locks"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/messages"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/policy"
	"github.com/ipcd/ipcd/internal/process"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/internal/wills"
)

// Limits bounds what peers may use.
type Limits struct {
	Connections          int // in all
	ConnectionsPerUser   int // of one uid
	Input                int // bytes of a connection that are read and not executed; also the largest command
	Output               int // bytes waiting to be written to a connection
	Arguments            int // words of one command
	BuffersPerUser       int // bytes of input and output held for all connections of one uid
	SubscriptionsPerUser int // of all kinds
	PatternsPerUser      int // globs, each of which may cost every publisher some time
	LocksPerUser         int // holds and waits of one uid
	Retained             int // values of topics, in all
	RetainedBytes        int // of them and their topics, in all
	RetainedPerUser      int
	RetainedBytesPerUser int
	RequestsPerUser      int // that are not answered
	WillsPerUser         int
	FilesPerUser         int // beside messages that wait for receivers of one uid
	FileBytesPerUser     int // of them, in memory

	Lease time.Duration // the longest that a hold may last by time, unless it is an operator's
}

// perUser are those of one uid, by what it is charged for. Messages that wait get half of what its buffers may have: its own slow
// subscribers must not use up what its other connections need for their commands and replies.
func (l *Limits) perUser() account.Limits {
	return account.Limits{
		account.Connections:   l.ConnectionsPerUser,
		account.Buffers:       l.BuffersPerUser,
		account.Input:         l.BuffersPerUser,
		account.Output:        l.BuffersPerUser / 2,
		account.Subscriptions: l.SubscriptionsPerUser,
		account.Patterns:      l.PatternsPerUser,
		account.Locks:         l.LocksPerUser,
		account.OperatorLocks: locks.MaxOperatorHolds,
		account.Marks:         locks.MaxDone,
		account.Retained:      l.RetainedPerUser,
		account.RetainedBytes: l.RetainedBytesPerUser,
		account.Requests:      l.RequestsPerUser,
		account.Wills:         l.WillsPerUser,
		account.Files:         l.FilesPerUser,
		account.FileBytes:     l.FileBytesPerUser,
	}
}

// Options is what a configuration decides. It may change while the server runs: see [Server.SetOptions].
type Options struct {
	Limits     Limits
	Semaphores map[string]int // how many units locks have, by name; must not change any more
	BusyPoll   time.Duration  // longest to poll before blocking while traffic is dense; 0: never
}

// Setup is what a server is made of for its whole life. The functions in it are called by the loop and must not block.
type Setup struct {
	Version string
	Log     *slog.Logger

	locks.Setup   // of the service of locks
	process.Sight // of the processes that are watched

	// Holds are those of operators, as the daemon before wrote them down.
	Holds []record.OperatorHold
	// Records are what a daemon before this one wrote to the journal since the machine started; nil: there was none. If they say that they are
	// complete they have the holds of operators, too, and Holds is not looked at. Journal is where records go from now on; nil: not at all, until [Server.SetJournal].
	Records []record.Record
	Journal journal.Store

	// Reload starts to read the configuration again and calls done, from any goroutine, when it is in force or refused.
	Reload func(done func(error))
	// Watchdog tells the service manager that the loop turns, at least every WatchdogEvery; 0: not at all.
	Watchdog      func()
	WatchdogEvery time.Duration
	// Status is shown by IPCD.STATUS beside the server's own figures.
	Status func() []Field
	// Kernel carries the bytes of connections: nil is sockets. What is given is for one server.
	Kernel conn.Kernel
	// Verify has the engines check themselves after each turn, and the loop panic if they are wrong.
	Verify bool
	// Turns has the turns of the loop be counted by the time that they take, for IPCD.STATUS.
	Turns bool
}

// A Field is one line of IPCD.STATUS. Value is a string, an int64, or nil if there is none; times and durations are microseconds.
type Field struct {
	Key   string
	Value any
}

// A Server is the loop and all it owns. Its methods may be called from any goroutine, everything else runs on the
// loop's thread.
type Server struct {
	setup Setup
	opts  Options

	set      *session.Set // the sessions, and what all services share
	journal  *journal.Journal
	watch    *process.Set // of processes
	messages *messages.Service
	locks    *locks.Service
	asking   *asking.Service
	wills    *wills.Service
	names    session.Part[names] // what connections call themselves
	missed   session.Part[int]   // how many messages they have missed
	leftOut  int                 // events about connections, since the last one that was published: see events.go
	losses   map[uint32]*loss    // of messages, by user: see losses.go
	lossTime loop.Timer

	over  func() bool // set.Net.Over
	first int         // which kind of what has waited was the first

	listeners map[int]string // descriptor → address, for people
	spare     int            // a descriptor to close when there are no more: see accept

	// Reused.
	call  session.Call
	again replay // what was queued

	self     peer.Peer    // the daemon itself
	rules    policy.Rules // who may do what: see access.go
	watchdog loop.Timer
	stats    stats
	turns    *turnTimes // nil: they are not measured
	commands *commandIndex

	stopBy   time.Duration
	stopTime loop.Timer
	quit     bool
}

// stats counts since the start.
type stats struct {
	accepted, refused, commands uint64
}

// A host is the server as sessions see it: see session.Host.
type host Server

// New makes a server that listens nowhere yet.
func New(setup Setup, opts Options) (*Server, error) {
	l, err := loop.New()
	if err != nil {
		return nil, err
	}
	spare, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot open /dev/null: %w", err)
	}
	s := &Server{
		setup: setup, spare: spare, listeners: map[int]string{}, self: peer.Self(),
	}
	if s.setup.Kernel == nil {
		s.setup.Kernel = conn.Sockets(l)
	}
	s.set = session.NewSet(l, s.setup.Kernel, messages.Pushes, setup.Log, (*host)(s), setup.Verify)
	s.journal = journal.New(l, setup.Log)
	s.watch = process.New(l, setup.Log, setup.Sight)
	s.messages = messages.New(s.set, s.journal, &s.self)
	s.asking = asking.New(s.set)
	s.wills = wills.New(s.set, s.journal, s.watch, s.messages)
	s.names = session.NewPart[names](s.set)
	s.missed = session.NewPart[int](s.set)
	s.over = s.set.Net.Over
	l.Early = s.set.Net.ReadEarly
	s.watchdog.Init(&l.Timers, s.feedWatchdog)
	s.lossTime.Init(&l.Timers, s.announceLosses)
	s.stopTime.Init(&l.Timers, func() {}) // see stopWhenDone
	s.rules = policy.Rules{Daemon: s.self.UID, Reserved: []byte(bus.ReservedPrefix)}
	s.again.init()
	s.restore()
	s.commands = newCommandIndex(s.handlers())
	s.setOptions(opts)
	return s, nil
}

// Listen has the server accept connections on a listening stream socket, which it owns from now on. It is called
// before Run. addr is for people.
func (s *Server) Listen(fd int, addr string) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("cannot listen on %s: %w", addr, err)
	}
	if err := s.set.Loop.Add(fd, s.set.Loop.Handle(s.listenerEvent), unix.EPOLLIN); err != nil {
		return fmt.Errorf("cannot listen on %s: %w", addr, err)
	}
	s.listeners[fd] = addr
	return nil
}

// SetOptions changes the options; it returns when they are in force.
func (s *Server) SetOptions(o Options) error {
	done := make(chan struct{})
	if s.Post(func() { s.setOptions(o); close(done) }) {
		select {
		case <-done:
			return nil
		case <-s.set.Loop.Ended():
		}
	}
	return errors.New("cannot change the options: the server has ended")
}

func (s *Server) setOptions(o Options) {
	s.opts = o
	s.set.Users.Limits = o.Limits.perUser()
	s.asking.SetOutput(o.Limits.Output)
	s.messages.SetLimits(messages.Limits{Retained: o.Limits.Retained, RetainedBytes: o.Limits.RetainedBytes, Output: o.Limits.Output})
	s.set.Net.SetLimits(conn.Limits{Input: o.Limits.Input, Output: o.Limits.Output, Words: o.Limits.Arguments})
	s.locks.SetLimits(o.Semaphores, o.Limits.Lease)
	s.set.Loop.BusyPoll = o.BusyPoll
}

// Post has f run on the loop, after the turn that is under way. It reports false if the loop has ended; f is not run
// then.
func (s *Server) Post(f func()) bool { return s.set.Loop.Post(f) }

// longestStop bounds a stop.
const longestStop = 2 * time.Second

// Run turns the loop until ctx ends. Then it stops: no connection is accepted any more, what was read is executed,
// waiting requests are answered with SHUTDOWN, and connections end when they have been sent what is theirs, or after
// two seconds. An error is one of the loop itself, not of a peer.
func (s *Server) Run(ctx context.Context) error {
	defer s.close()
	unhook := context.AfterFunc(ctx, func() { s.Post(s.stop) })
	defer unhook()
	s.watch.FindKnown()
	s.wills.Start()
	s.locks.Start()
	if s.setup.WatchdogEvery > 0 {
		s.watchdog.Set(0) // at once
	}
	s.set.EndTurn()
	turn := s.turn
	if s.setup.Turns {
		turn = s.measureTurns(turn)
	}
	for !s.quit {
		events, err := s.set.Loop.Wait(s.idle())
		if err != nil {
			return err
		}
		turn(events)
	}
	return nil
}

// turn is one turn of the loop: see the package documentation.
func (s *Server) turn(events []unix.EpollEvent) {
	// All that epoll says is taken: who comes last must not wait for what the others want.
	s.set.Net.BeginTurn()
	s.set.Loop.Dispatch(events)
	s.set.Net.EndEvents()
	s.set.Loop.RunTimers(s.over)
	s.set.Net.WrapUp()
	if !s.idle() {
		s.serveWaiting()
	}
	if s.set.Stopping {
		s.stopWhenDone()
	}
	s.messages.EndTurn()
	if s.setup.Verify {
		s.verify()
	}
	s.set.EndTurn()
}

// serveWaiting looks after what has waited. All of it has one part of the turn together: each kind does a little in every turn, and
// another one of them is first each time, which has what time there is.
func (s *Server) serveWaiting() {
	s.set.Net.BeginRest()
	const kinds = 4
	s.first++
	for i := range kinds {
		switch (s.first + i) % kinds {
		case 0:
			s.set.Net.Serve()
		case 1:
			s.locks.EndSome()
		case 2:
			s.messages.MoveLine()
		case 3:
			s.wills.EndSome()
		}
		s.set.Net.WrapUp()
	}
}

// idle reports whether there is nothing to do before something happens.
func (s *Server) idle() bool {
	return !s.set.Net.Waiting() && !s.locks.Ending() && !s.wills.Ending() && !s.messages.Waiting()
}

func (s *Server) feedWatchdog() {
	s.setup.Watchdog()
	s.watchdog.Set(s.set.Now() + s.setup.WatchdogEvery)
}

// MarkRaised is the answer to Setup.RaiseMark.
func (s *Server) MarkRaised(mark uint64, err error) { s.Post(func() { s.locks.MarkRaised(mark, err) }) }

// SetJournal has what outlives the daemon written from now on, in the place of a Journal that took nothing, so that all there is
// is unwritten. Of what is found there only that stays which is true.
func (s *Server) SetJournal(j journal.Store, found []record.Record) {
	s.Post(func() { s.journal.Replace(j, found) })
}
