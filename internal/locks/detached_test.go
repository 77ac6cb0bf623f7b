package locks

import (
	"strconv"
	"strings"
	"testing"
)

// TestManyDetached: of a connection that ends with very many requests some begin their grace at once, and until all have, what the
// process asks for waits; of those for whom nobody comes some end at once.
func TestManyDetached(t *testing.T) {
	const n = mostDetached + 2*mostAbandoned
	m := newManual(t, many)
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
		m := newManual(t, many)
		m.ends.Over = func() bool { return true } // one step in each turn
		m.holding(1001, 1)
		c := m.connectAs(1001, false)
		wait(m, c)
		p := m.part.Of(m.of(c)).process
		c.close()
		m.settle()
		p.Dead = true
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
		m := newManual(t, many)
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
