package server

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A manual is a server without a loop: the test makes each turn, says in which order it sees its events, and at what
// time. Its clients are the other ends of socket pairs.
type manual struct {
	*Server
	t       *testing.T
	random  *rand.Rand
	clients []*end
	after   func() // each turn, if not nil
}

// An end is a client's end of a socket pair.
type end struct {
	fd      int // not blocking; -1 after close
	id      uint64
	of      *Server
	server  int    // the session's descriptor
	pending []byte // what the socket has not taken yet
	got     []byte
	buf     []byte // that it is read into
	eof     bool
}

func newManual(t *testing.T, seed uint64, change ...func(*Setup, *Options)) *manual {
	t.Helper()
	checkDescriptors(t)
	s, _ := newServer(t, change...)
	m := &manual{Server: s, t: t, random: rand.New(rand.NewPCG(seed, 0))}
	t.Cleanup(func() {
		for _, c := range m.clients {
			c.close()
		}
		s.close()
	})
	return m
}

// hook has f called after every command that is executed from now on. reply is what it has to answer and not sent yet.
func (m *manual) hook(f func(sess *session.Session, name string, args []string, reply string)) {
	wrap := func(c *command) {
		run := c.run
		c.run = func(call *session.Call) {
			var args []string
			for _, a := range call.Args {
				args = append(args, string(a))
			}
			run(call)
			f(call.Session, c.Name, args, string(call.Out))
		}
	}
	for _, c := range m.commands {
		if c == nil {
			continue
		}
		if c.Command != nil {
			wrap(c)
		}
		for _, sub := range c.subs {
			wrap(sub)
		}
	}
}

// execute executes a command of a session at once.
func (m *manual) execute(sess *session.Session, words [][]byte) conn.Outcome {
	return (*host)(m.Server).Execute(sess, words)
}

// connect adds a client. With small buffers the server can write only some kilobytes to it before it reads.
func (m *manual) connect(small bool) *end {
	m.t.Helper()
	return m.connectAs(m.self.UID, small)
}

// connectAs is connect for a client that is a user's.
func (m *manual) connectAs(uid uint32, small bool) *end {
	m.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	if small {
		if err := unix.SetsockoptInt(fds[1], unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil { // the kernel's least
			m.t.Fatal(err)
		}
	}
	who, err := peer.Of(fds[1])
	if err != nil {
		m.t.Fatal(err)
	}
	who.UID = uid
	sess, err := m.join(fds[1], who)
	if err != nil {
		m.t.Fatal(err)
	}
	c := &end{fd: fds[0], of: m.Server, server: fds[1], id: sess.ID}
	m.clients = append(m.clients, c)
	return c
}

func (c *end) close() {
	if c.fd >= 0 {
		_ = unix.Close(c.fd)
		c.fd = -1
	}
}

// send adds to what is to be sent, and sends what the socket takes.
func (c *end) send(raw ...byte) {
	c.pending = append(c.pending, raw...)
	for len(c.pending) > 0 && c.fd >= 0 {
		n, err := unix.Write(c.fd, c.pending)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if err != nil { // the session is over
			c.pending = nil
			return
		}
		c.pending = c.pending[n:]
	}
}

// cmd sends a command.
func (c *end) cmd(words ...string) { c.send(wire.AppendCommand(nil, words...)...) }

// read takes at most so many bytes of what has arrived, and reports whether there were any.
func (c *end) read(most int) bool {
	if c.fd < 0 || c.eof || most == 0 {
		return false
	}
	if len(c.buf) < most { // kept, as the race detector goes through all of what is made
		c.buf = make([]byte, most)
	}
	n, err := unix.Read(c.fd, c.buf[:most])
	if errors.Is(err, unix.EAGAIN) {
		return false
	}
	if n <= 0 { // also ECONNRESET: the session was ended with input unread
		c.eof = true
		return false
	}
	c.got = append(c.got, c.buf[:n]...)
	return true
}

// events are what epoll says now, without waiting.
func (m *manual) events() []unix.EpollEvent {
	m.t.Helper()
	events, err := m.set.Loop.Wait(false)
	if err != nil {
		m.t.Fatal(err)
	}
	return slices.Clone(events)
}

// slowTurns has all that is done between two looks at the clock take more than a user's share of a turn.
func (m *manual) slowTurns() { m.turnsTake(3 * session.TimeSlice) }

// quickTurns has nothing take any time, however busy the machine is.
func (m *manual) quickTurns() { m.turnsTake(0) }

func (m *manual) turnsTake(d time.Duration) {
	now := session.TimeSlice
	m.set.Net.Now = func() time.Duration { now += d; return now }
}

// step makes one turn with what there is to do, events in any order, and reports whether there was anything.
func (m *manual) step() bool {
	m.t.Helper()
	if m.random.IntN(3) == 0 && m.set.Net.ReadEarly() {
		m.turn(nil)
		if m.after != nil {
			m.after()
		}
		return true
	}
	events := m.events()
	m.random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	if len(events) == 0 && m.idle() {
		return false
	}
	m.turn(events)
	if m.after != nil {
		m.after()
	}
	return true
}

// settle makes turns until nothing happens any more. All clients read.
func (m *manual) settle() {
	m.t.Helper()
	for limit := time.Now().Add(patience); ; {
		busy := m.step()
		for _, c := range m.clients {
			c.send()
			for c.read(64 << 10) {
				busy = true
			}
		}
		if !busy {
			return
		}
		if time.Now().After(limit) {
			m.t.Fatal("the server does not come to rest")
		}
	}
}

// at makes a turn at a time of its own, with these events, and others until nothing is due.
func (m *manual) at(now time.Duration, events ...unix.EpollEvent) {
	m.t.Helper()
	for again := true; again; again = m.isDue() {
		m.set.Loop.TimeUp()
		m.set.Loop.Clock.SetNow(now)
		m.turn(events)
		m.set.Loop.Clock.SetNow(now)
		events = nil
	}
	m.set.Loop.Clock.EndTurn()
}

// of is the session of a client, nil if it has ended.
func (m *manual) of(c *end) *session.Session {
	return m.session(c.id)
}

// Connections are the first kind of descriptor behind those of the loop itself, and pidfds the next.
const (
	connKind = iota + 3
	pidfdKind
)

// event is what epoll would say of a session's descriptor.
func (c *end) event(events uint32) unix.EpollEvent {
	return unix.EpollEvent{Events: events, Fd: int32(c.server), Pad: connKind}
}

// read has the server read from a client, and do nothing else.
func (m *manual) read(c *end) {
	m.set.Net.BeginTurn()
	m.set.Loop.Dispatch([]unix.EpollEvent{c.event(unix.EPOLLIN)})
	m.set.Net.EndEvents()
}

// take returns what has arrived, and forgets it.
func (c *end) take() string {
	for c.read(64 << 10) {
	}
	got := string(c.got)
	c.got = nil
	return got
}
