package server

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc/wire"
)

// TestIdle: a loop with connections, and polling before it blocks, uses no processor time while nothing happens.
func TestIdle(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.BusyPoll = time.Millisecond })
	holder, c := h.dial(), h.dial()
	holder.acquire("a")
	c.send(strings.Repeat("PING\r\n", 1000)) // dense traffic: the loop has become eager
	c.want(strings.Repeat("+PONG\r\n", 1000))
	h.queue(c, "a", "OWNER", "c", "WAIT", "300")
	before := h.cpu()
	c.fails(wire.CodeTimeout, "timed out after 300ms")
	if used := h.cpu() - before; used > 30*time.Millisecond {
		t.Errorf("the loop used %v in 300ms of nothing", used)
	}
}

// TestReadEarly: while the loop polls it reads from who was read twice in succession, and from nobody else; what epoll
// knows of it is none the less true.
func TestReadEarly(t *testing.T) {
	m := newManual(t, 1)
	a, b := m.connect(false), m.connect(false)
	m.settle()
	early := func(c *end, want bool) {
		t.Helper()
		c.send([]byte("PING\r\n")...)
		if got := m.set.Net.ReadEarly(); got != want {
			t.Fatalf("read early: %v, want %v", got, want)
		}
		m.turn(m.events())
		if got := c.take(); got != "+PONG\r\n" {
			t.Fatalf("the answer is %q", got)
		}
	}
	early(a, false)
	early(a, false) // now it was read twice
	early(a, true)
	early(a, true)
	early(b, false)
	early(a, false)
	early(a, false)
	early(a, true)
	a.close()
	m.settle()
	if m.set.Net.ReadEarly() {
		t.Error("read from a connection that has ended")
	}

	// The loop turns after an early read instead of blocking.
	m.set.Loop.BusyPoll = time.Minute
	m.set.Loop.Early = func() bool { return true }
	if events, err := m.set.Loop.Wait(true); len(events) != 0 || err != nil {
		t.Errorf("%v, %v after an early read", events, err)
	}
}

// TestNothingIsLeftUnread: epoll tells of input only once, whoever reads it then, how much it is, in how many pieces it comes and
// what comes with it. Nobody else wakes this loop, so what it leaves behind is not answered.
func TestNothingIsLeftUnread(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.BusyPoll = time.Second }) // so that it always polls
	early := 0
	h.on(func() {
		h.set.Loop.Early = func() bool {
			read := h.set.Net.ReadEarly()
			if read {
				early++
			}
			return read
		}
	})
	random := rand.New(rand.NewPCG(1, 2))
	fd := pidfd(t, os.Getpid())
	c := h.dial()
	buffer := 64 << 10
	for range 300 {
		size := []int{random.IntN(50), random.IntN(3 * buffer), buffer - 40 + random.IntN(40), 2*buffer - 40 + random.IntN(40)}[random.IntN(4)]
		text := strings.Repeat("x", max(size, 1))
		echo := fmt.Sprintf("*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n", len(text), text)
		sent := make(chan struct{})
		go func() { // or who sends waits for who answers, who waits for who reads
			defer close(sent)
			if random.IntN(4) == 0 { // a read ends behind descriptors
				c.cmdFDs([]int{fd}, "PING")
			} else {
				c.send("PING\r\n")
			}
			for rest := echo; rest != ""; {
				n := 1 + random.IntN(len(rest))
				c.send(rest[:n])
				rest = rest[n:]
			}
		}()
		c.want(fmt.Sprintf("+PONG\r\n$%d\r\n%s\r\n", len(text), text))
		<-sent
	}
	for range 1000 {
		c.sync()
	}
	c.send("PING\r\nPING\r\n")
	c.halfClose()
	c.want("+PONG\r\n+PONG\r\n")
	c.eof()
	h.on(func() {
		if early == 0 {
			t.Error("nothing was read early: this tests nothing of it")
		}
		t.Logf("%d reads were early", early)
	})
}

// TestReadBehindDescriptors: a read ends behind descriptors, and there may be more.
func TestReadBehindDescriptors(t *testing.T) {
	m := newManual(t, 1)
	c := m.connect(false)
	fd := pidfd(t, os.Getpid())
	for range 3 {
		if err := unix.Sendmsg(c.fd, []byte("PING\r\n"), unix.UnixRights(fd), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	c.cmd("ECHO", "last")
	m.settle()
	if got := c.take(); got != "+PONG\r\n+PONG\r\n+PONG\r\n$4\r\nlast\r\n" {
		t.Errorf("got %q", got)
	}
}

// TestTimeouts come in their order, whatever the order of asking, and each at its time.
func TestTimeouts(t *testing.T) {
	m := newManual(t, 1)
	holder, c := m.connect(false), m.connect(false)
	holder.cmd("LOCK.ACQUIRE", "a")
	c.cmd("HELLO", "3")
	m.settle()
	c.take()
	asked := m.set.Now()
	for _, ms := range []string{"60", "20", "40", "20000", "1"} {
		c.cmd("LOCK.ACQUIRE", "a", "ASYNC", "OWNER", ms, "WAIT", ms)
	}
	m.at(asked, c.event(unix.EPOLLIN))
	for m.set.Net.Waiting() {
		m.at(asked)
	}
	if got := c.take(); strings.Count(got, ":") != 5 || strings.Contains(got, "TIMEOUT") {
		t.Fatalf("got %q, want five tickets", got)
	}
	const ms = time.Millisecond
	for _, wait := range []time.Duration{1 * ms, 20 * ms, 40 * ms, 60 * ms} {
		m.at(asked + wait - 1)
		if got := c.take(); got != "" {
			t.Errorf("before %v are over: %q", wait, got)
		}
		m.at(asked + wait)
		if got, want := c.take(), fmt.Sprintf("TIMEOUT timed out after %v;", wait); strings.Count(got, "TIMEOUT") != 1 || !strings.Contains(got, want) {
			t.Errorf("got %q, want %s", got, want)
		}
	}
}

// TestWatchdog is told that the loop turns while nothing happens, and while very much does.
func TestWatchdog(t *testing.T) {
	var told atomic.Int64
	tick := make(chan struct{}, 1)
	began := time.Now()
	h := start(t, func(s *Setup, _ *Options) {
		s.WatchdogEvery = 5 * time.Millisecond
		s.Watchdog = func() {
			told.Add(1)
			select {
			case tick <- struct{}{}:
			default:
			}
		}
	})
	await := func(n int64) {
		t.Helper()
		limit := time.After(patience)
		for told.Load() < n {
			select {
			case <-tick:
			case <-limit:
				t.Fatalf("told %d times, want %d", told.Load(), n)
			}
		}
	}
	await(11) // the first of them at once
	if took := time.Since(began); took < 45*time.Millisecond {
		t.Errorf("told 10 times in %v", took)
	}
	stop := make(chan struct{})
	ended := make(chan struct{})
	c := h.dial()
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				c.send(strings.Repeat("PING\r\n", 100))
				c.want(strings.Repeat("+PONG\r\n", 100))
			}
		}
	}()
	await(told.Load() + 10)
	close(stop)
	<-ended
}

// TestPost: what is posted is run in order, by the loop, also what it posts itself.
func TestPost(t *testing.T) {
	h := start(t)
	var order []int
	done := make(chan struct{})
	for i := range 100 {
		h.Post(func() {
			order = append(order, i)
			if i == 99 {
				h.Post(func() { close(done) })
			}
		})
	}
	<-done
	for i, n := range order {
		if i != n {
			t.Fatalf("%v", order)
		}
	}
}
