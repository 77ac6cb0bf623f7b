package server

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/locks"
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
	h.on(func() { n = h.figures().Detached })
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
		h.pass(locks.Grace - time.Second)
		c = h.dial()
		c.cmd(words...)
		h.until("it is attached", func() bool { return h.figures().Detached == 0 })
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
	h.pass(locks.Grace - time.Second)
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
			h.pass(locks.Grace - time.Second)
			h.queue(next, "a", "OWNER", "next")
			h.pass(time.Second)
			if g := next.granted(); g.previous != "released" || g.abandoned != "" {
				t.Errorf("got %+v", g)
			}
			h.claims(1)

			h.hangUp(wait(), holder, next)
			next.do("LOCK.RELEASE", "a", "PID", fmt.Sprint(os.Getpid()))
			h.queue(next, "a", "OWNER", "next")
			h.pass(locks.Grace - time.Second)
			c := h.dial3()
			c.cmd(words...)
			g := outcome(c)
			h.pass(locks.Grace)
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
			h.pass(locks.Grace)
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
		h.pass(locks.Grace - time.Second)
		second, third := h.dial3(), h.dial3()
		if again := second.acquire(c...); again != g {
			t.Errorf("got %+v after %+v", again, g)
		}
		h.pass(locks.Grace)
		if again := third.acquire(c...); again != g { // though the second is there still
			t.Errorf("got %+v after %+v", again, g)
		}
		bound := map[bool]string{true: "locks=1", false: "locks=0"}[connection]
		if line := third.do("CLIENT", "INFO").Str; !strings.Contains(line, bound) {
			t.Errorf("got %s, want %s", line, bound)
		}
		if line := second.do("CLIENT", "INFO").Str; !strings.Contains(line, "locks=0") {
			t.Errorf("got %s", line)
		}
		h.hangUp(second, waiter, third)
		h.pass(locks.Grace)
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
		h.pass(locks.Grace - time.Second)
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
	h.pass(locks.Grace)
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
			if m.figures().Detached != 1 || m.of(gone) != nil {
				t.Errorf("%d are detached", m.figures().Detached)
			}
			c.send([]byte(request)...)
		} else {
			c.send([]byte(request)...)
			m.at(m.set.Loop.Clock.Read(), c.event(1)) // EPOLLIN
		}
		m.settle()
		if n := m.figures().Detached; n != 0 || m.figures().Requests != 1 || c.take() != "" || m.messages.Stats().Published != 3 { // x, acquired, waiting
			t.Errorf("%d are detached, %d wait, %d messages", n, m.figures().Requests, m.messages.Stats().Published)
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
		if m.figures().Held != 1 || m.of(gone) != nil {
			t.Errorf("%d are held", m.figures().Held)
		}
		m.skip(locks.Grace - time.Second)
		if m.figures().Held != 1 {
			t.Errorf("%d are held", m.figures().Held)
		}
		m.skip(time.Second)
		if v := m.locks.View("a"); m.figures().Held != 0 || v.Previous.String() != "released" {
			t.Errorf("%d are held, %v", m.figures().Held, v.Previous)
		}
		c.cmd(request...)
		m.settle()
		if got := c.take(); !strings.HasPrefix(got, "*10\r\n$4\r\nname") || m.figures().Held != 1 {
			t.Errorf("got %q, %d are held", got, m.figures().Held)
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
					return h.figures().Detached+h.figures().Requests == 0 && h.figures().Held == map[bool]int{false: 1}[granted]
				})
				h.claims(map[bool]int{false: 1}[granted])
				h.on(func() {
					if n := h.figures().Processes; n != 1 {
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
	h.until("the first has gone", func() bool { return h.figures().Detached == 0 && h.figures().Requests == 1 })
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

// TestDetachedEnds: a wait that ends in its locks.Grace has an outcome like any other.
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
		if h.figures().Held != 1 || h.figures().Detached != 0 {
			t.Errorf("%d are held, %d detached", h.figures().Held, h.figures().Detached)
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
		h.pass(2 * locks.Grace) // the disk is slow, which is not the client's fault
		c = h.dial()
		c.cmd(acquire...)
		h.until("it waits", func() bool { return h.figures().Detached == 0 })
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
		h.pass(2 * locks.Grace)
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
