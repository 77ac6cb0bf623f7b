package locks

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/peer/peertest"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/lockmgr"
)

// holding is a client that holds so many locks, "many/0" and so on, with these options.
func (m *manual) holding(uid uint32, n int, options ...string) *end {
	m.t.Helper()
	c := m.connectAs(uid, false)
	for i := range n {
		c.cmd(append([]string{"LOCK.ACQUIRE", fmt.Sprint("many/", i), "WAIT", "0"}, options...)...)
		m.settle()
	}
	if got := strings.Count(string(c.got), "previous"); got != n {
		m.t.Fatalf("%d locks are granted, not %d", got, n)
	}
	c.got = nil
	return c
}

// many has no end be waited for.
func many(s *manualSetup) {
	s.EndingTime = 1 // the time is over at once
}

// TestManyHoldsOfAConnection: what a connection held that ends with very much is ended in several steps, by the share of its
// user. In between others are answered, and have what they waited for.
func TestManyHoldsOfAConnection(t *testing.T) {
	const n = 3*mostEnded + 1
	m := newManual(t, many)
	c := m.holding(1001, n)
	next := m.connect(false)
	next.cmd("LOCK.ACQUIRE", "many/0", "OWNER", "next")
	m.settle()
	c.close()
	p := m.part.Of(m.of(c)).process
	for m.of(c) != nil {
		m.step()
	}
	e := p.endings.First
	for left := n; left > 0; left = max(left-mostEnded, 0) {
		if m.held != left || p.endings.Len != 1 {
			t.Fatalf("%d are held, want %d", m.held, left)
		}
		m.endStep(e)
		if left == n {
			m.set.Net.FlushAll()
			if got := next.take(); !strings.Contains(got, "disconnected") {
				t.Fatalf("the next holder got %q", got)
			}
			m.held-- // it is another's now
		}
	}
	m.held++
	m.settle()
	next.cmd("LOCK.RELEASE", "many/0")
	next.close()
	m.settle()
	if m.gone+m.held+m.set.Net.Len()+m.set.Users.Len()+len(m.conns)+len(m.processes) != 0 {
		t.Errorf("left: %d gone, %d holds, %d connections, %d users, %d, %d", m.gone, m.held, m.set.Net.Len(), m.set.Users.Len(), len(m.conns), len(m.processes))
	}
}

// TestManyAreGrantedInSteps: what very many may hold together they are granted some in a step, and in between others are served.
func TestManyAreGrantedInSteps(t *testing.T) {
	const n = 4*lockmgr.MostGranted + 1
	m := newManual(t, many)
	holder, waiter := m.holding(1001, 1), m.connectAs(1002, false)
	waiter.cmd("HELLO", "3")
	for i := range n {
		waiter.cmd("LOCK.ACQUIRE", "many/0", "SHARED", "ASYNC", "OWNER", fmt.Sprint(i))
		m.settle()
	}
	waiter.got = nil
	holder.cmd("LOCK.RELEASE", "many/0")
	m.read(holder)
	for held := lockmgr.MostGranted; held < n; held = min(held+lockmgr.MostGranted, n) {
		if m.held != held || m.queued != n-held || !m.grants.IsSet() {
			t.Fatalf("%d hold it and %d wait, want %d and %d", m.held, m.queued, held, n-held)
		}
		m.grants.Stop()
		m.grantMore()
	}
	if m.grants.IsSet() || m.queued != 0 {
		t.Errorf("%d wait still", m.queued)
	}
	m.set.Net.FlushAll()
	m.settle()
	if got := strings.Count(string(waiter.got), "$4\r\ndone"); got != n {
		t.Errorf("%d are told, not %d", got, n)
	}
}

// TestManyHoldsOfAProcess: likewise of a process. If it is learned meanwhile how it ended, that is said of all.
func TestManyHoldsOfAProcess(t *testing.T) {
	const n = 3*mostEnded + 1
	m := newManual(t, many)
	c := m.holding(1001, n)
	p := m.part.Of(m.of(c)).process
	m.endProcess(p, lockmgr.Unreaped, 0)
	if e := p.own; m.held != n-mostEnded || e == nil || !e.queued {
		t.Fatalf("%d are held, and left is %+v", m.held, e)
	}
	m.endStep(p.own)
	m.endProcess(p, lockmgr.Killed, 9)
	if m.held == 0 {
		t.Fatal("all is ended at once")
	}
	m.settle()
	for i := range n {
		if v := m.locks.View(fmt.Sprint("many/", i)); v.Previous.String() != "killed 9" || v.Abandoned.String() != "killed 9" {
			t.Errorf("%s: %v, %v", v.Name, v.Previous, v.Abandoned)
		}
	}
	if p.endings.Len > 0 || m.ends.Waiting() {
		t.Error("there is something left")
	}
}

// TestLearnedInSteps: how a process has ended of which very much was ended before that was known is said of some of it in a step. In
// between others are served, and in the end it is said of all.
func TestLearnedInSteps(t *testing.T) {
	const n = 3*mostEnded + 1
	m := newManual(t, many)
	c := m.holding(1001, n)
	p := m.part.Of(m.of(c)).process
	for m.endProcess(p, lockmgr.Unreaped, 0); m.held > 0; {
		m.endStep(p.own)
	}
	if !m.locks.Unreaped(p.ID) || p.isLeft() || p.endings.Len > 0 {
		t.Fatalf("it is known, or something is left: %+v", p)
	}
	said := func() (n int) {
		for v := range m.locks.All() {
			if v.Previous.String() == "killed 9" {
				n++
			}
		}
		return n
	}
	m.endProcess(p, lockmgr.Killed, 9)
	for want := mostEnded; want < n; want += mostEnded {
		e := p.own
		if said() != want || e == nil || !e.queued || !m.isOpen(e) {
			t.Fatalf("it is said of %d, want %d; left is %+v", said(), want, e)
		}
		m.endStep(e)
	}
	if said() != n || m.locks.Unreaped(p.ID) {
		t.Errorf("it is said of %d of %d", said(), n)
	}
	c.close()
	m.settle()
	if len(m.processes) > 0 || p.endings.Len > 0 || m.ends.Waiting() {
		t.Error("there is something left")
	}
}

// TestEndsByShares: who has very much to be ended does not keep another user's lock from the next holder.
func TestEndsByShares(t *testing.T) {
	const n = 20 * mostEnded
	m := newManual(t, many)
	c := m.holding(1001, n)
	other := m.connectAs(1002, false)
	other.cmd("LOCK.ACQUIRE", "other")
	m.settle()
	for _, gone := range []*end{c, other} { // one by one: of several only the first is buried whatever time that took
		m.of(gone).Kill(nil)
		m.set.Net.Bury()
	}
	for id := range m.conns {
		m.part.Of(m.conns[id]).process.endings.All(endings, func(e *ending) bool {
			m.endLater(e)
			return true
		})
	}
	m.ends.Turn()
	if v := m.locks.View("other"); len(v.Holders) != 0 {
		t.Error("the other user's lock waits for the holds of the first")
	}
	m.settle()
	if m.held != 0 {
		t.Errorf("%d are held", m.held)
	}
}

// TestManyWaitsOfAConnection: waits are cancelled bit by bit, and none of them is granted what another one gives up.
func TestManyWaitsOfAConnection(t *testing.T) {
	const n = 3*mostEnded + 1
	m := newManual(t, many)
	c := m.connectAs(1001, false)
	c.cmd("HELLO", "3")
	c.cmd("LOCK.ACQUIRE", "queue")
	for i := range n {
		c.cmd("LOCK.ACQUIRE", "queue", "OWNER", fmt.Sprint(i), "ASYNC")
		m.settle()
	}
	next := m.connect(false)
	next.cmd("LOCK.ACQUIRE", "queue", "OWNER", "next")
	m.settle()
	sess := m.of(c)
	sess.Kill(nil)
	for left := n; left > 0; left = max(left-mostEnded, 0) {
		if m.queued != left+1 {
			t.Errorf("%d wait, want %d and the other", m.queued, left)
		}
		if m.dropWaits(sess) != (left <= mostEnded) {
			t.Errorf("of %d none is left, or some is", left)
		}
	}
	granted := m.granted
	m.turn(nil)
	m.settle()
	if m.granted != granted+1 || !strings.Contains(next.take(), "disconnected") {
		t.Errorf("%d were granted", m.granted-granted)
	}
}

// TestResetWithManyWaits: RESET is answered when all are cancelled.
func TestResetWithManyWaits(t *testing.T) {
	const n = 3*mostEnded + 1
	m := newManual(t, many)
	c := m.connectAs(1001, false)
	c.cmd("HELLO", "3")
	c.cmd("LOCK.ACQUIRE", "queue")
	for i := range n {
		c.cmd("LOCK.ACQUIRE", "queue", "OWNER", fmt.Sprint(i), "ASYNC")
		m.settle()
	}
	c.got = nil
	c.cmd("RESET")
	m.settle()
	if got := string(c.got); strings.Count(got, "CANCELLED") != n || !strings.HasSuffix(got, "+RESET\r\n") {
		t.Errorf("%d are cancelled, and the end is %q", strings.Count(got, "CANCELLED"), got[max(0, len(got)-40):])
	}
	if m.queued != 0 || m.held != 1 {
		t.Errorf("%d wait, %d are held", m.queued, m.held)
	}
}

// leaderless makes a peer be a process whose main thread has ended, and which goes on.
func leaderless(t *testing.T) func(*peer.Peer) {
	t.Helper()
	return ofProcess(peertest.Leaderless(t))
}

// ofProcess makes a peer be a process.
func ofProcess(pid int) func(*peer.Peer) {
	pidfd := must(unix.PidfdOpen(pid, 0))
	defer unix.Close(pidfd)
	is := must(peer.FromPIDFD(pidfd))
	return func(p *peer.Peer) { p.PID, p.Start = is.PID, is.Start }
}

// byNumber has peers be looked for by their numbers.
func byNumber(s *manualSetup) {
	s.OpenPeer = func(_ int, who peer.Peer) (int, error) { return peer.Open(who) }
}

// TestConnectionOfLeaderlessProcess: a process whose main thread has ended is not about to die, so nobody waits for that when its connection
// ends.
func TestConnectionOfLeaderlessProcess(t *testing.T) {
	m := newManual(t, byNumber, func(s *manualSetup) { s.EndingTime = time.Hour })
	c := m.connectBy(leaderless(t), false)
	c.cmd("LOCK.ACQUIRE", "a")
	m.settle()
	sess := m.of(c)
	sess.Kill(nil)
	m.turn(nil)
	e := m.part.Of(sess).process.endings.First
	m.endLater(e) // the time is over
	m.turn(nil)
	if m.held != 0 || e.tries != 0 {
		t.Errorf("%d locks are held, and the process is given the time to end: %d", m.held, e.tries)
	}
}

// TestGrantedAfterTheEnd: a lock that is granted to a connection which has ended, and has not been buried, is given back. Nobody
// was told, so nothing is half done; and of what it would have been told the next one is.
func TestGrantedAfterTheEnd(t *testing.T) {
	itself := func(*peer.Peer) {}
	for name, by := range map[string]func(*peer.Peer){"connection": itself, "self": itself, "self of a leaderless process": leaderless(t)} {
		bind, _, _ := strings.Cut(name, " ")
		t.Run(name, func(t *testing.T) {
			m := newManual(t, many, byNumber)
			holder, waiter, next := m.connectAs(1001, false), m.connectBy(by, false), m.connect(false)
			words := []string{"LOCK.ACQUIRE", "a", "OWNER", "waiter"}
			if bind == "self" {
				m.of(waiter).Mark(session.Proven)
				words = append(words, "FOR", "self")
			}
			holder.cmd("LOCK.ACQUIRE", "a", "OWNER", "holder")
			m.settle()
			waiter.cmd(words...)
			m.settle()
			next.cmd("LOCK.ACQUIRE", "a", "OWNER", "next")
			m.settle()
			h := m.of(holder)
			m.of(waiter).Kill(nil) // in the same turn as what follows, or when there are very many others to be buried
			m.Service.step(func(now lockmgr.Time) {
				m.locks.EndConn(now, lockmgr.ConnID(h.ID), lockmgr.Disconnected, 0, lockmgr.All)
			})
			if v := m.locks.View("a"); len(v.Holders) != 1 || v.Holders[0].Owner.Label != "waiter" {
				t.Fatalf("the holders are %+v: this tests nothing", v.Holders)
			}
			m.turn(nil)
			if got := next.take(); !strings.Contains(got, "previous\r\n$8\r\nreleased") || !strings.Contains(got, "connection was lost") && !strings.Contains(got, "disconnected") {
				t.Errorf("the next holder got %q", got)
			}
		})
	}
}

// TestAsksAgainForMuch: a process whose connection ended with very much, and which connects again, finds all of it free.
func TestAsksAgainForMuch(t *testing.T) {
	const n = 3*mostEnded + 1
	m := newManual(t, many, func(s *manualSetup) { s.EndingTime = time.Hour })
	c := m.holding(m.self.UID, n)
	m.of(c).Kill(nil)
	m.turn(nil)
	if m.held != n {
		t.Fatalf("%d are held", m.held)
	}
	again := m.connect(false)
	again.cmd("LOCK.ACQUIRE", fmt.Sprint("many/", n-1), "WAIT", "0")
	m.turn([]unix.EpollEvent{again.event(unix.EPOLLIN)})
	m.settle()
	if got := again.take(); !strings.Contains(got, "disconnected") {
		t.Errorf("got %q", got)
	}
	if m.held != 1 || m.gone != 0 {
		t.Errorf("%d are held, %d connections are left", m.held, m.gone)
	}
}

// TestAsksAgainAfterManyConnections: likewise after very many connections, which take several steps: a few for each look at whether there is
// something left. That is so for who asks for the process as well, and what is ended by then is free.
func TestAsksAgainAfterManyConnections(t *testing.T) {
	const n = 200
	for _, of := range []string{"itself", "another"} {
		t.Run(of, func(t *testing.T) {
			m := newManual(t, many, byNumber, func(s *manualSetup) { s.EndingTime = time.Hour })
			by := func(*peer.Peer) {}
			words := []string{"LOCK.ACQUIRE", fmt.Sprint("many/", n-1), "WAIT", "0"}
			pid := os.Getpid()
			if of == "another" {
				pid = peertest.Leaderless(t)
				by = ofProcess(pid)
				words = append(words, "FOR", "pid")
			}
			for i := range n {
				m.connectBy(by, false).cmd("LOCK.ACQUIRE", fmt.Sprint("many/", i))
				m.settle()
			}
			for _, c := range m.clients {
				m.of(c).Kill(nil)
			}
			for m.gone < n {
				m.turn(nil)
			}
			if m.held != n {
				t.Fatalf("%d are held", m.held)
			}
			again := m.connect(false)
			again.cmdWith(pid, words...)
			m.read(again)
			if ended := n - m.held; ended == 0 || ended > mostSettled {
				t.Errorf("%d are ended at once", ended)
			}
			m.settle()
			if got := string(again.got); !strings.Contains(got, "disconnected") {
				t.Errorf("got %q", got)
			}
			if m.held != 1 || m.gone != 0 {
				t.Errorf("%d are held, %d connections are left", m.held, m.gone)
			}
		})
	}
}

// TestManyConnectionsOfAProcess: when a process ends of which very many connections have, those are forgotten bit by bit, too, and the
// process with the last of them.
func TestManyConnectionsOfAProcess(t *testing.T) {
	const n = 3*mostForgotten + 1
	m := newManual(t, func(s *manualSetup) { s.EndingTime = time.Hour })
	for i := range n {
		m.connect(false).cmd("LOCK.ACQUIRE", fmt.Sprint("many/", i))
		m.settle()
	}
	p := m.part.Of(m.of(m.clients[0])).process
	for _, c := range m.clients {
		m.of(c).Kill(nil)
	}
	for m.gone < n {
		m.turn(nil)
	}
	p.Dead = true
	m.endProcess(p, lockmgr.Killed, 9)
	if forgotten := n - m.gone; m.held != n-mostEnded || forgotten == 0 || forgotten > mostForgotten {
		t.Errorf("%d are held, %d connections are forgotten at once", m.held, forgotten)
	}
	m.set.Loop.Clock.SetNow(m.set.Now() + 2*time.Hour)
	m.turn(nil)
	m.settle()
	if m.held+m.gone+len(m.conns)+len(m.processes) != 0 || m.ends.Waiting() {
		t.Errorf("left: %d holds, %d endings, %d connections, %d processes", m.held, m.gone, len(m.conns), len(m.processes))
	}
	m.verify()
}

// TestStopWithMuchToEnd: a stop waits for no turn.
func TestStopWithMuchToEnd(t *testing.T) {
	m := newManual(t, many, func(s *manualSetup) { s.EndingTime = time.Hour })
	m.of(m.holding(1001, 3*mostEnded+1)).Kill(nil)
	m.turn(nil)
	m.Stop()
	if m.held != 0 {
		t.Errorf("%d are held", m.held)
	}
}

// A longLine is the messages' as it is when much stands in line.
type longLine struct {
	Events
	of     uint32 // the user of whose locks there are as many events as may be
	isLong bool
}

func (l *longLine) EventsInLine(user uint32) bool { return user == l.of }
func (l *longLine) LineIsLong() bool              { return l.isLong }

// TestEndsWaitForEvents: what a connection held is not ended while as many events of its user's locks stand in line as may.
// Others' events are no matter.
func TestEndsWaitForEvents(t *testing.T) {
	m := newManual(t, many)
	line := &longLine{Events: m.events}
	m.events = line
	c := m.holding(1001, 2*mostEnded)
	c.close()
	for m.of(c) != nil {
		m.set.Net.BeginTurn()
		m.set.Loop.Dispatch([]unix.EpollEvent{c.event(unix.EPOLLHUP)})
		m.set.Net.EndEvents()
		m.set.Net.WrapUp()
	}
	var e *ending
	for _, p := range m.processes {
		e = p.endings.First
	}
	e.noMore()
	line.of = 1001
	m.endLater(e)
	m.set.EndTurn() // whatever time it took is no part of the next
	m.ends.Turn()
	if m.held != 2*mostEnded || !e.queued {
		t.Errorf("%d are held; queued: %v", m.held, e.queued)
	}
	line.of = 1002
	m.settle()
	if m.held != 0 {
		t.Errorf("%d are held still", m.held)
	}
}

// TestLeasesWaitForLine: leases end later while the line is more than half full, as there is nobody who could wait.
func TestLeasesWaitForLine(t *testing.T) {
	m := newManual(t, many)
	m.holding(1001, 2, "LEASE", "1000")
	line := &longLine{Events: m.events, isLong: true}
	m.events = line
	m.set.Loop.Clock.SetNow(m.set.Now() + time.Minute)
	m.expire()
	if m.held != 2 || !m.expiry.IsSet() {
		t.Errorf("%d are held, and the others are looked after later: %v", m.held, m.expiry.IsSet())
	}
	line.isLong = false
	m.expire()
	if m.held != 0 {
		t.Errorf("%d are held still", m.held)
	}
}
