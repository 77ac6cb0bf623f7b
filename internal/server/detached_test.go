package server

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// hangUp closes a connection and returns when the server knows. The others are those that stay.
func (h *harness) hangUp(c *client, others ...*client) {
	h.t.Helper()
	c.close()
	h.quiesce(others...)
}

// detached is how many requests have lost their connection.
func (h *harness) detached() (n int) {
	h.t.Helper()
	h.on(func() { n = h.requests.detached.Len() })
	return n
}

// TestResend is what REQID is for: a client with a time-out that is shorter than the queue gets to its head.
func TestResend(t *testing.T) {
	h := start(t)
	holder, watcher, next := h.dial(), h.dial3(), h.dial()
	holder.acquire("a")
	watcher.do("BUS.SUB", "ipcd/lock/+/a")
	words := []string{"LOCK.ACQUIRE", "a", "OWNER", "w", "REQID", "1"}
	c := h.dial()
	h.queue(c, words[1:]...)
	h.queue(next, "a", "OWNER", "next")
	for range 5 { // times the client's patience is over
		h.hangUp(c, holder, watcher, next)
		if n := h.detached(); n != 1 {
			t.Fatalf("%d are detached", n)
		}
		h.pass(grace - time.Second)
		c = h.dial()
		c.cmd(words...)
		h.until("it is attached", func() bool { return h.requests.detached.Len() == 0 })
	}
	h.claims(3)
	c.send("PING\r\n") // waits behind
	c.quiet()
	holder.do("LOCK.RELEASE", "a")
	g := c.granted()
	c.want("+PONG\r\n")
	if again := h.dial().acquire(words[1:]...); again != g {
		t.Errorf("got %+v after %+v", again, g)
	}
	c.do("LOCK.RELEASE", "a", g.token)
	next.granted()
	for _, want := range []string{"waiting", "waiting", "released", "acquired", "released", "acquired"} {
		if topic, _ := watcher.message(); topic != "ipcd/lock/"+want+"/a" {
			t.Errorf("got %s, want %s", topic, want)
		}
	}
	watcher.sync()
}

// TestResendTooLate: who does not come back loses the place, and gets another one if he comes then.
func TestResendTooLate(t *testing.T) {
	h := start(t)
	holder, other, c := h.dial(), h.dial(), h.dial()
	holder.acquire("a")
	words := []string{"LOCK.ACQUIRE", "a", "OWNER", "w", "REQID", "1"}
	h.queue(c, words[1:]...)
	h.queue(other, "a", "OWNER", "other")
	h.hangUp(c, holder, other)
	h.pass(grace - time.Second)
	h.claims(3)
	h.pass(time.Second)
	h.claims(2)
	if n := h.kept() + h.detached(); n != 0 {
		t.Errorf("%d are kept", n)
	}
	c = h.dial()
	h.queue(c, words[1:]...)
	holder.do("LOCK.RELEASE", "a")
	g := other.granted()
	c.quiet()
	other.do("LOCK.RELEASE", "a", g.token)
	c.granted()
	h.claims(1)
}

// TestGrantedDetached: what is granted while nobody is there waits for the one who asked, whatever it is bound to. If he does
// not come it is given back, and nobody was cut off.
func TestGrantedDetached(t *testing.T) {
	for _, options := range []string{"", "FOR self", "LEASE 3600000", "FOR nobody", "AND b", "SHARED", "ASYNC"} {
		t.Run(strings.ReplaceAll(options, " ", "-"), func(t *testing.T) {
			h := start(t)
			holder, next := h.dial(), h.dial()
			holder.acquire("a")
			words := append([]string{"LOCK.ACQUIRE", "a", "REQID", "1"}, strings.Fields(options)...)
			if options != "FOR nobody" { // who is another than the process
				words = append(words, "OWNER", "w")
			}
			wait := func() *client {
				c := h.dial3()
				h.queue(c, words[1:]...)
				return c
			}
			outcome := func(c *client) grant {
				if options == "ASYNC" {
					c.value()
					return asGrant(t, c.value().Elems[2])
				}
				return c.granted()
			}
			h.hangUp(wait(), holder, next)
			holder.do("LOCK.RELEASE", "a")
			h.pass(grace - time.Second)
			h.queue(next, "a", "OWNER", "next")
			h.pass(time.Second)
			if g := next.granted(); g.previous != "released" || g.abandoned != "" {
				t.Errorf("got %+v", g)
			}
			h.claims(1)

			h.hangUp(wait(), holder, next)
			next.do("LOCK.RELEASE", "a", "PID", fmt.Sprint(os.Getpid()))
			h.queue(next, "a", "OWNER", "next")
			h.pass(grace - time.Second)
			c := h.dial3()
			c.cmd(words...)
			g := outcome(c)
			h.pass(grace)
			c.do("LOCK.CHECK", "a", g.token)
			d := h.dial3()
			d.cmd(words...)
			if again := outcome(d); again != g {
				t.Errorf("got %+v after %+v", again, g)
			}
			d.do("LOCK.RELEASE", "a", g.token)
			next.granted()
			for _, c := range []*client{next, c, d, holder} {
				c.close()
			}
			h.quiesce()
			h.pass(grace)
			h.claims(0)
			h.nothingKept()
		})
	}
}

// TestHoldMoves: a hold that ends with the connection belongs to the one that repeated the request last, and ends so long after
// that one if it is not repeated again.
func TestHoldMoves(t *testing.T) {
	h := start(t)
	waiter := h.dial()
	words := []string{"a", "REQID", "1", "LEASE", "3600000"}
	for _, c := range [][]string{words[:3], append(words, "FOR", "self")} {
		connection := len(c) == 3
		first := h.dial3()
		g := first.acquire(c...)
		h.queue(waiter, "a", "OWNER", "w")
		h.hangUp(first, waiter)
		h.pass(grace - time.Second)
		second, third := h.dial3(), h.dial3()
		if again := second.acquire(c...); again != g {
			t.Errorf("got %+v after %+v", again, g)
		}
		h.pass(grace)
		if again := third.acquire(c...); again != g { // though the second is there still
			t.Errorf("got %+v after %+v", again, g)
		}
		locks := map[bool]string{true: "locks=1", false: "locks=0"}[connection]
		if line := third.do("CLIENT", "INFO").Str; !strings.Contains(line, locks) {
			t.Errorf("got %s, want %s", line, locks)
		}
		if line := second.do("CLIENT", "INFO").Str; !strings.Contains(line, "locks=0") {
			t.Errorf("got %s", line)
		}
		h.hangUp(second, waiter, third)
		h.pass(grace)
		third.do("LOCK.CHECK", "a", g.token)
		if !connection { // what befalls it is told there
			waiter.close()
			h.quiesce(third)
			h.dial().do("LOCK.BREAK", "a")
			if v := third.value(); v.Kind != wire.KindPush || v.Elems[0].Str != "lock.lost" {
				t.Errorf("got %+v", v)
			}
			break
		}
		h.hangUp(third, waiter)
		h.pass(grace - time.Second)
		h.claims(2)
		h.pass(time.Second)
		if g := waiter.granted(); g.previous != "disconnected" || !strings.HasSuffix(g.abandoned, " disconnected") {
			t.Errorf("got %+v", g)
		}
		waiter.refused(wire.CodeStale, g.token+", and that hold has ended: disconnected", append([]string{"LOCK.ACQUIRE"}, c...)...)
		waiter.do("LOCK.RELEASE", "a", waiter.info("a").Get("holders").Elems[0].Get("token").Text())
		h.pass(session.KeepOutcome + time.Second)
	}
}

// TestTakenOver: a repeat on another connection takes the request there, and the first goes on without.
func TestTakenOver(t *testing.T) {
	h := start(t)
	holder, first, second := h.dial(), h.dial(), h.dial3()
	holder.acquire("a")
	words := []string{"LOCK.ACQUIRE", "a", "OWNER", "w", "REQID", "1"}
	h.queue(first, words[1:]...)
	first.send("PING\r\n")
	second.cmd(words...)
	first.fails(wire.CodeCancelled, "goes on, on another connection")
	first.want("+PONG\r\n")
	h.hangUp(first, holder, second)
	h.pass(grace)
	h.claims(2)
	// Who has sent all that he will does not wait; and who is the last to know does not end it either.
	third := h.dial()
	third.cmd(words...)
	third.halfClose()
	second.fails(wire.CodeCancelled, "goes on, on another connection")
	third.want("-CANCELLED the wait was cancelled\r\n")
	third.eof()
	second.refused(wire.CodeCancelled, "the wait was cancelled", words...)
	h.claims(1)
	h.nothingKept()
}

// TestLateDuplicate: a client has given up the connection before the server has read from it. What it sent there waits for
// it, and does not disturb what it sent since.
func TestLateDuplicate(t *testing.T) {
	for _, first := range []bool{true, false} {
		m := newManual(t, 1)
		holder, gone, c := m.connect(false), m.connect(false), m.connect(false)
		holder.cmd("LOCK.ACQUIRE", "a")
		m.settle()
		request := string(wire.AppendCommand(nil, "LOCK.ACQUIRE", "a", "OWNER", "w", "REQID", "1"))
		gone.send([]byte(request + "PUBLISH x y\r\n")...)
		gone.close()
		if first { // it is read before the client is there again
			m.settle()
			if m.requests.detached.Len() != 1 || m.of(gone) != nil {
				t.Errorf("%d are detached", m.requests.detached.Len())
			}
			c.send([]byte(request)...)
		} else {
			c.send([]byte(request)...)
			m.at(m.set.Loop.Clock.Read(), c.event(1)) // EPOLLIN
		}
		m.settle()
		if n := m.requests.detached.Len(); n != 0 || m.waiting() != 1 || c.take() != "" || m.messages.Stats().Published != 3 { // x, acquired, waiting
			t.Errorf("%d are detached, %d wait, %d messages", n, m.waiting(), m.messages.Stats().Published)
		}
		holder.cmd("LOCK.RELEASE", "a")
		m.settle()
		if got := c.take(); !strings.HasPrefix(got, "*10\r\n$4\r\nname\r\n$1\r\na\r\n$5\r\ntoken\r\n") {
			t.Errorf("got %q", got)
		}
	}
}

// TestGrantedToNobody: the lock is free, but the client had given up before the server read that it wants it.
func TestGrantedToNobody(t *testing.T) {
	for _, options := range []string{"", fmt.Sprint("FOR ", os.Getpid())} {
		m := newManual(t, 1)
		gone, c := m.connect(false), m.connect(false)
		request := append([]string{"LOCK.ACQUIRE", "a", "REQID", "1"}, strings.Fields(options)...)
		gone.cmd(request...)
		gone.close()
		m.settle()
		if m.held != 1 || m.of(gone) != nil {
			t.Errorf("%d are held", m.held)
		}
		m.skip(grace - time.Second)
		if m.held != 1 {
			t.Errorf("%d are held", m.held)
		}
		m.skip(time.Second)
		if v := m.locks.View("a"); m.held != 0 || v.Previous.String() != "released" {
			t.Errorf("%d are held, %v", m.held, v.Previous)
		}
		c.cmd(request...)
		m.settle()
		if got := c.take(); !strings.HasPrefix(got, "*10\r\n$4\r\nname") || m.held != 1 {
			t.Errorf("got %q, %d are held", got, m.held)
		}
	}
}

// TestDetachedDies: nothing is granted to a process that is gone, and nothing stays with it.
func TestDetachedDies(t *testing.T) {
	for _, options := range []string{"", "FOR self", "LEASE 3600000", "FOR nobody", "AND b"} {
		for _, granted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, granted %v", options, granted), func(t *testing.T) {
				h := start(t)
				holder, p := h.client(0), h.client(0) // not this process, of which they are children
				holder.acquire("a")
				h.queue(&p.client, append([]string{"a", "REQID", "1"}, strings.Fields(options)...)...)
				h.on(func() { // the connection alone
					for s := range h.set.All() {
						if s.Peer.PID == p.pid {
							s.Kill(nil)
						}
					}
				})
				h.quiesce(&holder.client)
				if granted {
					holder.do("LOCK.RELEASE", "a")
				}
				h.claims(map[bool]int{true: 1, false: 2}[granted] + strings.Count(options, "AND"))
				p.kill(syscall.SIGKILL)
				h.until("it is gone", func() bool {
					return h.requests.detached.Len()+h.waiting() == 0 && h.held == map[bool]int{false: 1}[granted]
				})
				h.claims(map[bool]int{false: 1}[granted])
				h.on(func() {
					if n := len(h.processes); n != 1 {
						t.Errorf("%d processes are watched", n)
					}
				})
				h.nothingKept()
			})
		}
	}
}

// TestSuperseded: who asks anew for the same lock, with another id or none, will not come back for what was left behind, and
// does not wait for it.
func TestSuperseded(t *testing.T) {
	h := start(t)
	holder, c := h.dial(), h.dial()
	holder.acquire("a")
	h.queue(c, "a", "OWNER", "w", "REQID", "1")
	h.hangUp(c, holder)
	c = h.dial()
	c.cmd("LOCK.ACQUIRE", "a", "OWNER", "w", "REQID", "2")
	h.until("the first has gone", func() bool { return h.requests.detached.Len() == 0 && h.waiting() == 1 })
	h.claims(2)
	h.hangUp(c, holder)
	c = h.dial()
	c.refused(wire.CodeBusy, "", "LOCK.ACQUIRE", "b", "AND", "a", "WAIT", "0", "OWNER", "w") // by the holder
	h.claims(1)
	h.queue(c, "a", "OWNER", "w", "REQID", "3")
	h.hangUp(c, holder)
	holder.do("LOCK.RELEASE", "a")
	h.claims(1)
	c = h.dial()
	g := c.acquire("a", "OWNER", "w", "REQID", "4", "FOR", "self") // which nobody was told of
	if g.previous != "released" || g.abandoned != "" {
		t.Errorf("got %+v", g)
	}
	h.hangUp(c, holder)
	c = h.dial()
	c.refused(wire.CodeDeadlock, "holds \"a\" already", "LOCK.ACQUIRE", "a", "OWNER", "w", "REQID", "5") // it is the process's
	c.do("LOCK.RELEASE", "a", g.token)
	c.acquire("a", "OWNER", "w", "REQID", "6")
	h.hangUp(c, holder)
	c = h.dial()
	c.acquire("b", "OWNER", "w")
	h.claims(2)
	if g := c.acquire("a", "OWNER", "w"); g.previous != "disconnected" {
		t.Errorf("got %+v", g)
	}
	h.claims(2)
}

// TestDetachedEnds: a wait that ends in its grace has an outcome like any other.
func TestDetachedEnds(t *testing.T) {
	h := start(t)
	holder, c := h.dial(), h.dial()
	holder.acquire("a")
	timeout := []string{"LOCK.ACQUIRE", "a", "OWNER", "1", "WAIT", "2000", "REQID", "1"}
	h.queue(c, timeout[1:]...)
	h.hangUp(c, holder)
	h.pass(3 * time.Second)
	if n := h.detached(); n != 0 {
		t.Errorf("%d are detached", n)
	}
	c = h.dial()
	c.refused(wire.CodeTimeout, "timed out after 2s", timeout...)
	// The time goes on while nobody is there.
	broken := []string{"LOCK.ACQUIRE", "a", "OWNER", "2", "REQID", "2"}
	h.queue(c, broken[1:]...)
	h.hangUp(c, holder)
	holder.do("LOCK.RELEASE", "a")
	holder.do("LOCK.BREAK", "a")
	if n := h.detached(); n != 0 {
		t.Errorf("%d are detached", n)
	}
	c = h.dial()
	c.refused(wire.CodeStale, "that hold has ended: broken", broken...)
	h.claims(0)
}

// TestDetachedReset: RESET ends the waits, and LOCK.CANCEL one of them, wherever they began.
func TestDetachedReset(t *testing.T) {
	h := start(t)
	holder, c := h.dial(), h.dial3()
	holder.acquire("a", "SHARED")
	words := func(i int) []string {
		return []string{"LOCK.ACQUIRE", "a", "ASYNC", "OWNER", fmt.Sprint(i), "REQID", fmt.Sprint(i), []string{"EXCLUSIVE", "SHARED"}[min(i, 1)]}
	}
	for i := range 5 {
		c.do(words(i)...)
	}
	h.hangUp(c, holder)
	c = h.dial3()
	var tickets []int64
	for i := range 5 {
		tickets = append(tickets, c.do(words(i)...).Int)
	}
	cancelled := func() int64 {
		t.Helper()
		v := c.value()
		if v.Kind != wire.KindPush || !strings.HasPrefix(v.Elems[2].Str, "CANCELLED") {
			t.Errorf("got %+v", v)
		}
		return v.Elems[1].Int
	}
	c.cmd("LOCK.CANCEL", fmt.Sprint(tickets[2]))
	if got := cancelled(); got != tickets[2] {
		t.Errorf("%d, want %d", got, tickets[2])
	}
	c.want(":1\r\n")
	c.cmd("RESET")
	for range 4 {
		cancelled()
	}
	c.want("+RESET\r\n")
	h.claims(1)
	h.on(func() {
		if h.held != 1 || h.requests.detached.Len() != 0 {
			t.Errorf("%d are held, %d detached", h.held, h.requests.detached.Len())
		}
	})
	c.close()
	h.nothingKept()
}

// TestDetachedOnDisk: the outcome that waits for the disk is told to the one who is there then.
func TestDetachedOnDisk(t *testing.T) {
	disk := newDisk[record.OperatorHold]()
	h := start(t, keeping(disk))
	other := h.dial()
	for _, fails := range []bool{false, true} {
		acquire := []string{"LOCK.ACQUIRE", "a", "FOR", "nobody", "REQID", fmt.Sprint("acquire", fails)}
		c := h.dial()
		c.cmd(acquire...)
		w := disk.next(t, 1)
		h.hangUp(c, other)
		h.pass(2 * grace) // the disk is slow, which is not the client's fault
		c = h.dial()
		c.cmd(acquire...)
		h.until("it waits", func() bool { return h.requests.detached.Len() == 0 })
		if fails {
			w.done(os.ErrPermission)
			c.fails(wire.CodeIO, "")
			disk.next(t, 0).done(nil)
			h.claims(0)
			break
		}
		w.done(nil)
		g := c.granted()
		h.hangUp(c, other)
		h.pass(2 * grace)
		other.do("LOCK.CHECK", "a", g.token)

		release := []string{"LOCK.RELEASE", "a", "REQID", "release"}
		c = h.dial()
		c.cmd(release...)
		w = disk.next(t, 0)
		h.hangUp(c, other)
		c = h.dial()
		c.cmd(release...)
		c.send("PING\r\n")
		d := h.dial()
		d.cmd(release...)
		c.fails(wire.CodeCancelled, "goes on, on another connection")
		c.want("+PONG\r\n")
		w.done(nil)
		d.want("+OK\r\n")
		c.cmd(release...)
		c.want("+OK\r\n")
		h.claims(0)
		c.close()
		h.hangUp(d, other)
	}
	disk.none(t)
}

// TestManyDetached: of a connection that ends with very many requests some begin their grace at once, and until all have, what the
// process asks for waits; of those for whom nobody comes some end at once.
func TestManyDetached(t *testing.T) {
	const n = mostDetached + 2*mostAbandoned
	m := newManual(t, 1, many)
	holder, c, again := m.holding(1001, 1), m.connectAs(1001, false), m.connectAs(1001, false)
	c.cmd("HELLO", "3")
	for i := range n {
		c.cmd("LOCK.ACQUIRE", "many/0", "ASYNC", "OWNER", strconv.Itoa(i), "REQID", strconv.Itoa(i))
		m.settle()
	}
	sess := m.of(c)
	c.close()
	for all := false; !all; {
		before := m.requests.detached.Len()
		all = m.detach(sess)
		if got := m.requests.detached.Len() - before; got > mostDetached {
			t.Fatalf("%d are detached at once", got)
		}
		if !all {
			again.cmd("LOCK.ACQUIRE", "many/0", "WAIT", "0", "OWNER", "0") // of one who is detached, or not yet
			m.read(again)
			m.set.Net.FlushAll()
			if got := again.take(); got != "" {
				t.Fatalf("it is answered %q", got)
			}
		}
	}
	if m.gone != 0 || m.requests.detached.Len() != n {
		t.Errorf("%d are detached; gone: %d", m.requests.detached.Len(), m.gone)
	}
	m.settle()
	if got := again.take(); !strings.HasPrefix(got, "-BUSY") { // by the holder, and not by itself
		t.Errorf("it is answered %q", got)
	}
	left := m.requests.detached.Len()
	for e := m.requests.detached.Front(); e != nil; e = e.Next() {
		e.Value.(*request).by = 0
	}
	for ; left > 0; left = m.requests.detached.Len() {
		if m.graceDue(); left-m.requests.detached.Len() != min(mostAbandoned, left) {
			t.Fatalf("%d of %d have ended at once", left-m.requests.detached.Len(), left)
		}
		if m.queued != m.requests.detached.Len() {
			t.Fatalf("%d wait, and %d are detached", m.queued, m.requests.detached.Len())
		}
	}
	holder.close()
	again.close()
	m.settle()
	if m.held+m.queued+m.gone+len(m.processes) != 0 {
		t.Errorf("left: %d held, %d wait, %d gone, %d processes", m.held, m.queued, m.gone, len(m.processes))
	}
}

// TestManyLeave: what a process that is gone leaves behind with a REQID, and was not told of, ends some at once, before what it holds
// does; likewise what a connection waits for that says RESET.
func TestManyLeave(t *testing.T) {
	const n = 2*mostAbandoned + 1
	wait := func(m *manual, c *end) {
		c.cmd("HELLO", "3")
		for i := range n {
			c.cmd("LOCK.ACQUIRE", "many/0", "ASYNC", "OWNER", strconv.Itoa(i), "REQID", strconv.Itoa(i))
			m.settle()
		}
	}
	t.Run("process", func(t *testing.T) {
		m := newManual(t, 1, many)
		var now time.Duration
		m.ends.Now = func() time.Duration { now += 2 * session.TimeSlice; return now } // one step in each turn
		m.holding(1001, 1)
		c := m.connectAs(1001, false)
		wait(m, c)
		p := m.part.Of(m.of(c)).process
		c.close()
		m.settle()
		p.dead = true
		m.abandonDead(p)
		for left := n - mostAbandoned; ; left -= mostAbandoned {
			if m.queued != left || len(p.detached) != left {
				t.Fatalf("%d wait, and %d are detached, want %d", m.queued, len(p.detached), left)
			}
			if !m.abandonDead(p) || !m.ends.Waiting() { // a process that ends meanwhile has to wait
				t.Fatal("nothing is said to be left")
			}
			m.set.EndTurn() // whatever time it took is no part of the next
			m.ends.Turn()
			if left <= mostAbandoned {
				break
			}
		}
		if m.queued+len(p.detached) != 0 || m.abandonDead(p) || m.ends.Waiting() || m.held != 1 {
			t.Errorf("%d wait, %d are detached, %d are held", m.queued, len(p.detached), m.held)
		}
	})
	t.Run("RESET", func(t *testing.T) {
		m := newManual(t, 1, many)
		m.holding(1001, 1)
		c := m.connectAs(1001, false)
		wait(m, c)
		all := m.requestsOf(m.of(c))
		for left := n; left > 0; left = max(left-mostEnded, 0) {
			if m.queued != left || m.cancelRequests(all) != (left <= mostEnded) {
				t.Fatalf("%d wait, want %d, and then some less", m.queued, left)
			}
		}
		c.take()
		c.cmd("RESET")
		m.settle()
		if !strings.HasSuffix(string(c.got), "+RESET\r\n") || m.queued != 0 {
			t.Errorf("got %q, and %d wait", c.got, m.queued)
		}
	})
}
