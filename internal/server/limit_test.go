package server

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc/wire"
)

// TestInputLimit: a frame up to the limit is executed, a larger one ends the connection, in whatever pieces it arrives,
// and also if its end is not in sight when the limit is reached.
func TestInputLimit(t *testing.T) {
	const limit = 8 << 10
	frame := func(size int) string { // ECHO with a frame of this size
		head := "*2\r\n$4\r\nECHO\r\n$%d\r\n"
		n := size - len(fmt.Sprintf(head, 1000)) - 2
		return fmt.Sprintf(head, n) + strings.Repeat("e", n) + "\r\n"
	}
	two := "*3\r\n$4\r\nECHO\r\n$8169\r\n" + strings.Repeat("e", 8169) + "\r\n" // two of three words, and the limit is there
	for _, c := range []struct {
		name, input string
		ok          bool
	}{
		{"the limit", frame(limit), true},
		{"one more", frame(limit + 1), false},
		{"two words", two, false},
		{"two words, and the head of a third", two + "$1", false},
		{"inline", "ECHO " + strings.Repeat("e", limit-7) + "\r\n", true},
		{"inline without end", "ECHO " + strings.Repeat("e", limit-5), false},
		{"inline without end, and more", "ECHO " + strings.Repeat("e", limit), false},
	} {
		for _, pieces := range []int{1 << 20, 5000, 1000} {
			t.Run(fmt.Sprint(c.name, " by ", pieces), func(t *testing.T) {
				m := newManual(t, 1, func(_ *Setup, o *Options) { o.Limits.Input = limit })
				client := m.connect(false)
				for b := range slices.Chunk([]byte(c.input), pieces) {
					client.send(b...)
					m.step()
				}
				m.settle()
				switch got := string(client.got); {
				case c.ok && !strings.HasPrefix(got, "$"):
					t.Errorf("got %.100q", got)
				case !c.ok && (got != fmt.Sprintf("-ERR Protocol error: a frame is larger than the limit of %d bytes\r\n", limit) || !client.eof):
					t.Errorf("got %.100q, ended %v", got, client.eof)
				}
				if c.ok || m.set.Net.Len() > 0 {
					m.charged(0)
				}
			})
		}
	}
}

// TestLimitsChange: connections that are there come under the new limits, too.
func TestLimitsChange(t *testing.T) {
	h := start(t)
	c := h.dial()
	limits := testLimits
	limits.Input, limits.Arguments = 8<<10, 16
	c.sync()
	if err := h.SetOptions(Options{Limits: limits}); err != nil {
		t.Fatal(err)
	}
	h.on(func() {
		if h.set.Loop.BusyPoll != 0 {
			t.Errorf("polls for %v", h.set.Loop.BusyPoll)
		}
	})
	large := strings.Repeat("e", 20_000)
	c.cmd("ECHO", large)
	c.fails(wire.CodeErr, "larger than the limit")
	c.rest()
	c = h.dial()
	c.sync()
	many := slices.Repeat([]string{"a"}, 20)
	if err := h.SetOptions(Options{Limits: testLimits}); err != nil {
		t.Fatal(err)
	}
	c.cmd("ECHO", large)
	c.want("$20000\r\n" + large + "\r\n")
	c.do(append([]string{"SUBSCRIBE"}, many...)...)

	// In the middle of a frame that was allowed when it began.
	c = h.dial()
	c.send("*2\r\n$4\r\nECHO\r\n$20000\r\n" + large[:10_000])
	h.until("that was read", func() bool { return h.session(3).Unexecuted() > 10_000 })
	if err := h.SetOptions(Options{Limits: limits}); err != nil {
		t.Fatal(err)
	}
	c.send("e")
	c.fails(wire.CodeErr, "larger than the limit")
	c.eof()
}

// TestBuffersPerUser: what all connections of a user make the server hold is bounded, whatever they do.
func TestBuffersPerUser(t *testing.T) {
	const limit = 512 << 10
	for _, c := range []struct {
		name string
		each func(m *manual) // what one of many connections does
	}{
		{"input", func(m *manual) {
			c := m.connect(true)
			c.send([]byte("*1\r\n$60000\r\n" + strings.Repeat("x", 50_000))...)
			m.step()
		}},
		{"input in pieces", func(m *manual) {
			c := m.connect(true)
			c.send([]byte("*1\r\n$900000\r\n")...)
			m.step()
			for range 10 {
				c.send(bytes.Repeat([]byte("x"), 20_000)...)
				m.step()
			}
		}},
		{"replies", func(m *manual) {
			c := m.connect(true)
			c.send(bytes.Repeat([]byte("COMMAND DOCS\n"), 100)...)
			m.step()
		}},
		{"messages", func(m *manual) {
			c := m.connect(true)
			c.cmd("BUS.SUB", "a", "RAW")
			m.step()
			m.clients[0].cmd("BUS.PUB", "a", strings.Repeat("x", 60_000))
			m.step()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newManual(t, 1, func(_ *Setup, o *Options) { o.Limits.BuffersPerUser = limit })
			m.connect(false)
			for range 100 {
				c.each(m)
				m.clients[0].read(1 << 20)
				held := 0
				for s := range m.set.All() {
					in, out := s.Memory()
					held += in + out
				}
				if held > limit+1<<20 {
					t.Fatalf("%d bytes are held for this user, %d are allowed", held, limit)
				}
			}
			refused := false
			for _, c := range m.clients[1:] {
				for c.read(1 << 20) {
				}
				refused = refused || c.eof || strings.Contains(string(c.got), "buffers_per_user")
			}
			if !refused && m.messages.Stats().Dropped == 0 {
				t.Error("nobody was refused anything")
			}
			m.settle()
			for _, c := range m.clients {
				c.close()
			}
			m.settle()
			if m.set.Users.Len() != 0 {
				t.Errorf("%d users are remembered, with nobody connected", m.set.Users.Len())
			}
		})
	}
}

// TestConnectionLimit: who is over a limit is told so, and nobody else notices.
func TestConnectionLimit(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.Connections = 2 })
	a, b := h.dial(), h.dial()
	a.sync()
	b.sync()
	c := h.dial()
	c.fails(wire.CodeQuota, "too many connections (limits.connections)")
	c.eof()
	a.close()
	h.quiesce(b)
	h.dial().sync()
	b.sync()
}

// TestRefusedHasSaidSomething: a peer that is refused reads why, and then the end, though nobody reads what it has sent.
func TestRefusedHasSaidSomething(t *testing.T) {
	m := newManual(t, 1, func(_ *Setup, o *Options) { o.Limits.Connections = 1 })
	m.connect(false)
	for _, input := range []string{"PING\r\n", strings.Repeat("PING\r\n", 100_000)} { // which is more than a socket holds
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := unix.Write(fds[0], []byte(input)); n == 0 {
			t.Fatal(err)
		}
		m.admit(fds[1])
		b := make([]byte, 200)
		n, err := unix.Read(fds[0], b)
		if got := string(b[:max(n, 0)]); err != nil || got != "-QUOTA too many connections (limits.connections)\r\n" {
			t.Errorf("got %q, %v", got, err)
		}
		if n, err := unix.Read(fds[0], b); n != 0 || err != nil {
			t.Errorf("then %d bytes, %v", n, err)
		}
		_ = unix.Close(fds[0])
	}
}

// TestConnectionLimitPerUser: root is exempt.
func TestConnectionLimitPerUser(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.ConnectionsPerUser = 2 })
	connect := h.dial
	if os.Geteuid() == 0 {
		for range 4 {
			h.dial().sync()
		}
		connect = func() *client { return &h.client(0, as(4321)).client }
	}
	connect().sync()
	connect().sync()
	connect().fails(wire.CodeQuota, "too many connections of this user (limits.connections_per_user)")
}

// TestNoDescriptorLeft: a peer is told so, instead of being left to wait while the loop turns and turns.
func TestNoDescriptorLeft(t *testing.T) {
	h := start(t)
	c := h.dial()
	c.sync()
	// The client's end is made before the limit is lowered.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	h.on(func() {
		// As many as are open now: the loop does not accept meanwhile.
		low := before
		low.Cur = uint64(lowestFree(t))
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
			t.Error(err)
		}
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: h.address}); err != nil {
			t.Error(err)
		}
		if _, err := unix.Write(fd, []byte("PING\r\n")); err != nil {
			t.Error(err)
		}
	})
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &before) }()
	b := make([]byte, 200)
	n, err := unix.Read(fd, b)
	if got := string(b[:max(n, 0)]); err != nil || got != "-QUOTA the daemon has no file descriptor left\r\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if n, err := unix.Read(fd, b); n != 0 || err != nil {
		t.Errorf("then %d bytes, %v", n, err)
	}
	c.sync()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	h.dial().sync()
}

// TestNoDescriptorForDescriptors: where the kernel cannot hand over what was sent, nobody knows what is missing, nor is it told
// that there is more to read behind it.
func TestNoDescriptorForDescriptors(t *testing.T) {
	h := start(t)
	fd := pidfd(t, os.Getpid())
	c := h.dial()
	c.sync()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	h.on(func() {
		low := before
		low.Cur = uint64(lowestFree(t))
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
			t.Error(err)
		}
		c.cmdFDs([]int{fd}, "LOCK.ACQUIRE", "a", "FOR", "pid")
		c.cmd("PING")
	})
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &before) }()
	c.fails(wire.CodeQuota, "the daemon has no file descriptor left for those that were sent")
	c.eof()
}

// lowestFree is the lowest descriptor that is free; all below it are in use.
func lowestFree(t *testing.T) int {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
	}
	_ = unix.Close(fd)
	return fd
}

// TestPassedDescriptors: those of commands that are not executed yet are bounded; what no command took is closed.
func TestPassedDescriptors(t *testing.T) {
	h := start(t)
	fd := pidfd(t, os.Getpid())
	c := h.dial()
	const mostPassed = 8 // that no command has taken
	c.cmdFDs(slices.Repeat([]int{fd}, mostPassed), "PING")
	c.want("+PONG\r\n")
	c.cmdFDs(slices.Repeat([]int{fd}, mostPassed), "PING") // those before are closed
	c.want("+PONG\r\n")
	c.close()
	for _, n := range []int{mostPassed + 1, 28, 29, 253} { // more than the server has room for in one read
		c = h.dial()
		c.cmdFDs(slices.Repeat([]int{fd}, n), "PING")
		c.fails(wire.CodeProto, "too many file descriptors")
		c.eof()
	}
	c = h.dial()
	c.cmdFDs([]int{fd, fd}, "PING")
	c.want("+PONG\r\n")
	c.close()
	h.quiesce()
	// start checks that they are closed.
}
