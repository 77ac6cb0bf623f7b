package server

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/messages"
	"github.com/ipcd/ipcd/internal/session"
)

// TestCostlyInTurn: of the connections of one user, one executes a costly command in a turn and the others wait for the next,
// in their order and before what of his is new. Neither other users nor their own cheap commands wait for that.
func TestCostlyInTurn(t *testing.T) {
	m := newManual(t, 1)
	var done []string
	slow := m.commands.find([]byte("LOCK.LIST"))
	names := map[uint64]string{}
	slow.run = func(c *session.Call) {
		done = append(done, names[c.Session.ID])
		c.Session.User().Spend(time.Second)
		c.OK()
	}
	clients := map[string]*end{}
	for _, name := range []string{"a1", "a2", "a3", "a4", "b1", "b2", "c1"} {
		c := m.connectAs(1000+uint32(name[0]), false)
		clients[name], names[c.id] = c, name
	}
	turn := func(want []string, from ...string) {
		t.Helper()
		var events []unix.EpollEvent
		for _, name := range from {
			events = append(events, clients[name].event(unix.EPOLLIN))
		}
		done = nil
		m.turn(events)
		if !slices.Equal(done, want) {
			t.Fatalf("%q have executed it, want %q", done, want)
		}
	}
	for _, name := range []string{"a1", "a2", "a3", "b1", "b2"} {
		clients[name].cmd("LOCK.LIST")
	}
	turn([]string{"a1", "b1"}, "a1", "a2", "a3", "b1", "b2")
	clients["a1"].cmd("LOCK.LIST")
	clients["c1"].cmd("LOCK.LIST")
	clients["a4"].cmd("PING")
	turn([]string{"c1", "a2", "b2"}, "a1", "a4", "c1")
	if got := clients["a4"].take(); got != "+PONG\r\n" {
		t.Errorf("a cheap command of the same user: %q", got)
	}
	clients["a2"].cmd("LOCK.LIST")
	turn([]string{"a3"}, "a2")
	turn([]string{"a1"})
	turn([]string{"a2"})
	turn(nil)
	if m.stats.commands != 9 {
		t.Errorf("%d commands are counted", m.stats.commands)
	}
}

// TestWhoPaysForEvents: what the kernel says and what the time brings is nobody's doing, and what a command publishes is paid
// for once.
func TestWhoPaysForEvents(t *testing.T) {
	m := newManual(t, 1)
	client := m.connect(false)
	client.cmd("LOCK.ACQUIRE", "a", "FOR", "self", "LEASE", "1000")
	m.settle()
	words := []string{"PSUBSCRIBE"}
	for i := range 2 * messages.FewPatterns {
		words = append(words, "ipcd/lock/"+strings.Repeat("*", i+1))
	}
	m.connect(false).cmd(words...)
	m.settle()

	m.skip(2 * time.Second)
	if m.figures().Held != 0 || m.set.Users.AnySpent() {
		t.Errorf("%d holds, and somebody has paid for what has expired", m.figures().Held)
	}
	sess := m.of(client)
	begun := time.Now()
	m.execute(sess, [][]byte{[]byte("PUBLISH"), []byte("ipcd/lock/x"), []byte("y")})
	m.execute(sess, [][]byte{[]byte("LOCK.ACQUIRE"), []byte("b"), []byte("WAIT"), []byte("0")})
	took := time.Since(begun)
	paid := sess.User().Spent()
	if paid == 0 || paid > took {
		t.Errorf("%v is paid for what took %v", paid, took)
	}

	// Right behind a command of his, in the same turn, and of his own lock.
	m.execute(sess, [][]byte{[]byte("LOCK.ACQUIRE"), []byte("c"), []byte("LEASE"), []byte("1000")})
	paid = sess.User().Spent()
	m.set.Loop.Clock.Skip(4 * time.Second)
	m.set.Loop.TimeUp()
	m.set.Loop.RunTimers(m.set.Net.Over)
	if now := sess.User().Spent(); m.figures().Held != 1 || now != paid {
		t.Errorf("%d holds, and %v is paid for what has expired after a command", m.figures().Held, now-paid)
	}
}

// TestWhoPaysForRequests: where very many filters are served, to find out who serves a topic may take long, and is paid for.
func TestWhoPaysForRequests(t *testing.T) {
	m := newManual(t, 1, roomyForMany)
	server, sess := m.connect(false), m.of(m.connect(false))
	server.cmd("HELLO", "3")
	server.cmd("BUS.SERVE", manyFilter(1))
	m.settle()
	pays := func() bool {
		m.execute(sess, [][]byte{[]byte("BUS.REQ"), []byte("nobody"), []byte("x")})
		return sess.User().Spent() > 0
	}
	if pays() {
		t.Error("where few filters are served it is paid for")
	}
	for i := range manyFilters / 4 {
		server.cmd("BUS.SERVE", manyFilter(i))
		m.step()
	}
	m.settle()
	if !pays() {
		t.Error("where very many filters are served nothing is paid for")
	}
}

// TestWhoAsksAnewPays: who asks anew for a lock pays for what ends by that of what it had left behind.
func TestWhoAsksAnewPays(t *testing.T) {
	m := newManual(t, 1)
	words := []string{"PSUBSCRIBE"}
	for i := range 2 * messages.FewPatterns {
		words = append(words, "ipcd/lock/released/"+strings.Repeat("*", i+1))
	}
	m.connect(false).cmd(words...)
	left := m.connect(false)
	left.cmd("LOCK.ACQUIRE", "a", "REQID", "r")
	m.settle()
	left.close()
	m.settle()
	sess := m.of(m.connect(false))
	if m.execute(sess, [][]byte{[]byte("LOCK.ACQUIRE"), []byte("a"), []byte("WAIT"), []byte("0")}); m.figures().Held != 1 || sess.User().Spent() == 0 {
		t.Errorf("%d holds, and nothing is paid for the end of the one before", m.figures().Held)
	}
}
