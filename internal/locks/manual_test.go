package locks

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/journal"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/process"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// patience bounds every wait of a test. It is there to fail a test that hangs, not to measure.
const patience = 20 * time.Second

// A manual is the service without a server: the test makes each turn, and says at what time. Its clients are the other ends of socket
// pairs, and what they may say is LOCK.*, HELLO 3, PING and RESET.
type manual struct {
	*Service
	watched  *process.Set
	t        *testing.T
	self     peer.Peer
	call     session.Call
	handlers map[string]session.Handler
	connKind loop.Kind
	clients  []*end
}

// An end is a client's end of a socket pair.
type end struct {
	m       *manual
	fd      int // not blocking; -1 after close
	id      uint64
	server  int    // the session's descriptor
	pending []byte // what the socket has not taken yet
	got     []byte
}

// nobody is subscribed to events.
type nobody struct{}

func (nobody) PublishEvent([]byte, func([]byte) []byte, uint32, *account.User) error { return nil }
func (nobody) EventsInLine(uint32) bool                                              { return false }
func (nobody) LineIsLong() bool                                                      { return false }

// A manualSetup is what a test may change.
type manualSetup struct {
	Setup
	process.Sight
}

func newManual(t *testing.T, change ...func(*manualSetup)) *manual {
	t.Helper()
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	m := &manual{t: t, self: peer.Self()}
	kernel := conn.Sockets(l)
	set := session.NewSet(l, kernel, conn.Pushes{}, slog.New(slog.DiscardHandler), (*host)(m), false)
	m.connKind = l.Handle(func(int, uint32) {}) - 1
	for c := range set.Users.Limits {
		set.Users.Limits[c] = 1 << 30
	}
	set.Net.SetLimits(conn.Limits{Input: 1 << 20, Output: 8 << 20, Words: 1024})
	setup := manualSetup{}
	for _, f := range change {
		f(&setup)
	}
	m.watched = process.New(l, set.Log, setup.Sight)
	m.Service = New(set, journal.New(l, set.Log), m.watched, nobody{}, setup.Setup, new(record.State), nil)
	m.SetLimits(nil, time.Hour)
	m.handlers = m.Handlers()
	t.Cleanup(func() {
		for _, c := range m.clients {
			c.close()
		}
		l.End()
		set.Net.EndAll()
		m.watched.Close()
		l.Closer.Wait(time.Second)
		l.Close()
	})
	return m
}

// A host is the manual as sessions see it: see session.Host.
type host manual

func (h *host) Execute(sess *session.Session, words [][]byte) conn.Outcome {
	m, c, name := (*manual)(h), &h.call, strings.ToUpper(string(words[0]))
	c.Begin(sess, words[1:])
	for i := range wire.Commands {
		if wire.Commands[i].Name == name {
			c.Row = &wire.Commands[i]
		}
	}
	switch run := m.handlers[name]; {
	case run != nil && m.MustWait(c):
		sess.Slice()
		return conn.Later
	case run != nil:
		run(c)
	case name == "HELLO":
		sess.SetProto(wire.RESP3)
		c.OK()
	case name == "RESET":
		some := m.Leave(sess)
		c.Perform(&session.Task{Head: session.NoHead, Step: func(b []byte) ([]byte, bool) {
			if some() {
				return b, true
			}
			return append(b, "+RESET\r\n"...), false
		}})
	default:
		c.Out = append(c.Out, "+PONG\r\n"...)
	}
	c.Reply()
	return conn.Done
}

func (h *host) Continue(*session.Session) bool                 { return true }
func (h *host) Closed(sess *session.Session) bool              { return h.Service.Closed(sess) }
func (h *host) Receives(*session.Session) (lossy, strict bool) { return false, false }
func (h *host) Dropped(int)                                    {}
func (h *host) HasRoom(*session.Session)                       {}
func (h *host) Taken(*session.Session)                         {}
func (h *host) Lost(*session.Session, int)                     {}

// connect adds a client. With small buffers only some kilobytes can be written to it before it reads.
func (m *manual) connect(small bool) *end { return m.connectAs(m.self.UID, small) }

// connectAs is connect for a client that is a user's.
func (m *manual) connectAs(uid uint32, small bool) *end {
	m.t.Helper()
	return m.connectBy(func(p *peer.Peer) { p.UID = uid }, small)
}

// connectBy is connect for a client that is somebody else.
func (m *manual) connectBy(who func(*peer.Peer), small bool) *end {
	m.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err == nil && small {
		err = unix.SetsockoptInt(fds[1], unix.SOL_SOCKET, unix.SO_SNDBUF, 1) // the kernel's least
	}
	if err != nil {
		m.t.Fatal(err)
	}
	is, err := peer.Of(fds[1])
	if err != nil {
		m.t.Fatal(err)
	}
	who(&is)
	sess, err := m.set.Add(fds[1], is)
	if err != nil {
		m.t.Fatal(err)
	}
	c := &end{m: m, fd: fds[0], server: fds[1], id: sess.ID}
	m.clients = append(m.clients, c)
	return c
}

func (c *end) close() {
	if c.fd >= 0 {
		_ = unix.Close(c.fd)
		c.fd = -1
	}
}

// cmd sends a command.
func (c *end) cmd(words ...string) {
	c.pending = append(c.pending, wire.AppendCommand(nil, words...)...)
	c.send()
}

// cmdWith sends a command with the pidfd of a process.
func (c *end) cmdWith(pid int, words ...string) {
	pidfd := must(unix.PidfdOpen(pid, 0))
	must(0, unix.Sendmsg(c.fd, wire.AppendCommand(nil, words...), unix.UnixRights(pidfd), nil, 0))
	_ = unix.Close(pidfd)
}

// send sends what the socket takes.
func (c *end) send() {
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

// read reads what is there, and reports whether there was anything.
func (c *end) read() bool {
	if c.fd < 0 {
		return false
	}
	b := make([]byte, 64<<10)
	n, err := unix.Read(c.fd, b)
	if err != nil || n <= 0 {
		return false
	}
	c.got = append(c.got, b[:n]...)
	return true
}

// take returns what has arrived, and forgets it.
func (c *end) take() string {
	for c.read() {
		continue
	}
	got := string(c.got)
	c.got = nil
	return got
}

// event is what epoll would say of a session's descriptor.
func (c *end) event(events uint32) unix.EpollEvent {
	return unix.EpollEvent{Events: events, Fd: int32(c.server), Pad: int32(c.m.connKind)}
}

// of is the session of a client, nil if it has ended.
func (m *manual) of(c *end) *session.Session {
	for sess := range m.set.All() {
		if sess.ID == c.id {
			return sess
		}
	}
	return nil
}

// read has a client's commands be executed, and does nothing else.
func (m *manual) read(c *end) {
	m.set.Net.BeginTurn()
	m.set.Loop.Dispatch([]unix.EpollEvent{c.event(unix.EPOLLIN)})
	m.set.Net.EndEvents()
}

// turn makes one turn with these events.
func (m *manual) turn(events []unix.EpollEvent) {
	m.set.Net.BeginTurn()
	m.set.Loop.Dispatch(events)
	m.set.Net.EndEvents()
	m.set.Loop.RunTimers(m.set.Net.Over)
	m.set.Net.WrapUp()
	m.set.Net.BeginRest()
	if m.set.Net.Waiting() {
		m.set.Net.Serve()
		m.set.Net.WrapUp()
	}
	if m.Ending() {
		m.EndSome()
		m.set.Net.WrapUp()
	}
	m.set.EndTurn()
}

// step makes one turn with what there is to do, and reports whether there was anything.
func (m *manual) step() bool {
	m.t.Helper()
	events, err := m.set.Loop.Wait(false)
	if err != nil {
		m.t.Fatal(err)
	}
	if len(events) == 0 && !m.set.Net.Waiting() && !m.Ending() {
		return false
	}
	m.turn(slices.Clone(events))
	return true
}

// settle makes turns until nothing happens any more. All clients read.
func (m *manual) settle() {
	m.t.Helper()
	for limit := time.Now().Add(patience); ; {
		busy := m.step()
		for _, c := range m.clients {
			c.send()
			for c.read() {
				busy = true
			}
		}
		if !busy {
			return
		}
		if time.Now().After(limit) {
			m.t.Fatal("the service does not come to rest")
		}
	}
}

// verify has the service check itself, and what it is charged for.
func (m *manual) verify() {
	found := account.Count{}
	m.set.Net.Check(found)
	for sess := range m.set.All() {
		sess.Count(found)
		m.Count(sess, found)
	}
	m.Verify(found)
	if err := m.set.Users.Mismatch(found); err != nil {
		panic(err.Error())
	}
	m.set.VerifyRequests()
}

// must returns what is there if nothing went wrong.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
