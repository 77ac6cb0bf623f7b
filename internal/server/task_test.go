package server

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// spinning has LOCK.LIST be a task of steps that take as long as a session may go on, and say "x" each.
func spinning(m *manual, steps int) (done *int) {
	done = new(int)
	m.commands.find([]byte("LOCK.LIST")).run = func(c *session.Call) {
		t := &session.Task{Slow: true}
		t.Head = func(b []byte) []byte { return wire.AppendArray(b, *done) }
		t.Step = func(b []byte) ([]byte, bool) {
			for begun := time.Now(); time.Since(begun) <= session.TimeSlice; {
				continue
			}
			*done++
			return wire.AppendBulk(b, "x"), *done < steps
		}
		c.Perform(t)
	}
	return done
}

// listing has LOCK.LIST be a task of many quick steps that say the same text each.
func listing(m *manual, lines int, text string) {
	m.commands.find([]byte("LOCK.LIST")).run = func(c *session.Call) {
		n := 0
		c.Perform(&session.Task{
			Head: func(b []byte) []byte { return wire.AppendArray(b, n) },
			Step: func(b []byte) ([]byte, bool) { n++; return wire.AppendBulk(b, text), n < lines },
		})
	}
}

// TestTaskInTurns: what takes long is done in several turns. What others ask for is answered meanwhile, also of the same user;
// the connection's own commands wait, and the reply comes as a whole.
func TestTaskInTurns(t *testing.T) {
	m := newManual(t, 1)
	done := spinning(m, 3*session.Stride)
	c, other, stranger := m.connect(false), m.connect(false), m.connectAs(1001, false)
	c.send([]byte("LOCK.LIST\r\nPING\r\n")...)
	m.turn([]unix.EpollEvent{c.event(unix.EPOLLIN)})
	if *done != 1 {
		t.Fatalf("%d steps in one turn", *done)
	}
	for turns := 2; *done < 3*session.Stride; turns++ {
		other.cmd("PING")
		stranger.cmd("PING")
		m.turn([]unix.EpollEvent{other.event(unix.EPOLLIN), stranger.event(unix.EPOLLIN)})
		if got := other.take() + stranger.take(); got != "+PONG\r\n+PONG\r\n" {
			t.Errorf("others got %q", got)
		}
		if *done != turns {
			t.Errorf("%d steps in %d turns", *done, turns)
		}
	}
	m.settle()
	if want := "*48\r\n" + strings.Repeat("$1\r\nx\r\n", 48) + "+PONG\r\n"; string(c.got) != want {
		t.Errorf("got %q", c.got)
	}
	m.charged(0)
}

// TestTaskEndsEarly: of one whose peer leaves nothing is left, and a stop has it answered.
func TestTaskEndsEarly(t *testing.T) {
	m := newManual(t, 1)
	spinning(m, 1<<20)
	c := m.connect(false)
	c.cmd("LOCK.LIST")
	m.turn(m.events())
	c.close()
	m.settle()
	if m.set.Net.Len() != 0 || m.set.Users.Len() != 0 {
		t.Errorf("%d connections, %d users", m.set.Net.Len(), m.set.Users.Len())
	}

	done := spinning(m, 3*session.Stride)
	c = m.connect(false)
	c.cmd("LOCK.LIST")
	m.turn(m.events())
	m.stop()
	m.settle()
	if *done != 3*session.Stride || !strings.HasPrefix(string(c.got), "*48\r\n") {
		t.Errorf("%d steps, got %.20q", *done, c.got)
	}
}

// TestTaskIsCharged: what a task keeps counts as its user's, and ends it where that is too much.
func TestTaskIsCharged(t *testing.T) {
	const limit = 256 << 10
	m := newManual(t, 1, func(_ *Setup, o *Options) { o.Limits.BuffersPerUser = limit })
	c := m.connect(false)
	m.commands.find([]byte("LOCK.LIST")).run = func(c *session.Call) {
		t := &session.Task{Head: session.NoHead}
		t.Step = func(b []byte) ([]byte, bool) {
			for begun := time.Now(); time.Since(begun) <= session.TimeSlice; {
				continue
			}
			return append(b, make([]byte, 1<<10)...), true
		}
		c.Perform(t)
	}
	c.send([]byte("LOCK.LIST\r\nPING\r\n")...)
	m.after = func() {
		if n := m.set.Users.Total(account.Buffers); n > limit+64<<10 {
			t.Fatalf("%d bytes are held", n)
		}
	}
	m.settle()
	if got := string(c.got); got != "-QUOTA this user's connections hold too much (limits.buffers_per_user)\r\n+PONG\r\n" {
		t.Errorf("got %q", got)
	}
	m.charged(0)
}

// TestLargeListings: a listing of much is right and in order, in however many turns it is made.
func TestLargeListings(t *testing.T) {
	const n = 500
	m := newManual(t, 1, func(s *Setup, o *Options) {
		o.Limits.SubscriptionsPerUser, o.Limits.LocksPerUser = 2*n, 3*n
		s.Verify = false // of so much, after each of so many turns
	})
	c := m.connect(false)
	ask := func(words ...string) wire.Value {
		t.Helper()
		c.got = nil
		c.cmd(words...)
		m.settle()
		for v := range values(t, c.got) {
			return v
		}
		t.Fatalf("%q is not answered", words)
		return wire.Value{}
	}
	ask("HELLO", "3")
	var names []string
	words := []string{"SUBSCRIBE"}
	for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(n) {
		names = append(names, fmt.Sprintf("name/%d", i))
		words = append(words, names[len(names)-1])
	}
	subscriber := m.connect(false)
	subscriber.cmd(words...)
	m.settle()
	if got := strings.Count(string(subscriber.got), "subscribe\r\n"); got != n {
		t.Errorf("%d are confirmed", got)
	}
	for _, name := range names {
		ask("LOCK.ACQUIRE", name, "WAIT", "0")
		ask("LOCK.ACQUIRE", "queue", "OWNER", name, "ASYNC")
	}
	slices.Sort(names)
	for i, v := range ask("PUBSUB", "CHANNELS").Elems {
		if v.Str != names[i] {
			t.Fatalf("channel %d is %q", i, v.Str)
		}
	}
	list := ask("LOCK.LIST").Elems
	if len(list) != n+1 {
		t.Fatalf("%d locks", len(list))
	}
	for i, v := range list[:n] {
		if v.Get("name").Str != names[i] || len(v.Get("holders").Elems) != 1 || len(v.Get("waiters").Elems) != 0 {
			t.Fatalf("lock %d is %q", i, v.Get("name").Str)
		}
	}
	info := ask("LOCK.INFO", "queue")
	if h, w := len(info.Get("holders").Elems), len(info.Get("waiters").Elems); h != 1 || w != n-1 || info.Get("previous").Kind != wire.KindNull {
		t.Errorf("%d hold it and %d wait", h, w)
	}
	for i := range 300 {
		m.connect(false)
		if i%2 == 1 {
			m.of(m.clients[len(m.clients)-2]).Kill(nil)
		}
	}
	clients := strings.Split(strings.TrimSuffix(ask("CLIENT", "LIST").Str, "\n"), "\n")
	if len(clients) != m.set.Net.Len() {
		t.Errorf("%d clients of %d", len(clients), m.set.Net.Len())
	}
	last := 0
	for _, line := range clients {
		var id int
		if _, err := fmt.Sscanf(line, "id=%d addr=unix:", &id); err != nil || id <= last {
			t.Errorf("after %d: %.40q", last, line)
		}
		last = id
	}
	subscriber.got = nil
	subscriber.cmd("UNSUBSCRIBE")
	m.settle()
	if got := strings.Count(string(subscriber.got), "unsubscribe\r\n"); got != n || len(ask("PUBSUB", "CHANNELS").Elems) != 0 {
		t.Errorf("%d ends are confirmed", got)
	}
	m.charged(0)
}

// TestLongReply: a reply that the socket does not take at once is written before what comes after it, and what comes meanwhile
// is not lost. Its memory is its user's for as long as it is there.
func TestLongReply(t *testing.T) {
	const lines = 6000
	text := strings.Repeat("x", 100)
	m := newManual(t, 1)
	listing(m, lines, text)
	for _, reads := range []bool{true, false} {
		c, publisher := m.connect(false), m.connect(false)
		c.send([]byte("HELLO 3\r\nSUBSCRIBE a\r\nBUS.SUB a\r\nLOCK.LIST\r\n")...)
		m.turn(m.events())
		for m.of(c).Unread() == m.of(c).Backlog() {
			m.turn(nil)
		}
		publisher.send([]byte("PUBLISH a 0\r\n")...) // with a piece, and behind a full socket
		publisher.send([]byte("PUBLISH a " + strings.Repeat("y", 2<<10) + "\r\n")...)
		for range 20 {
			m.step()
		}
		if m.set.Users.Total(account.Output) < lines*len(text) {
			t.Errorf("%d bytes are charged", m.set.Users.Total(account.Output))
		}
		c.send([]byte("PING\r\n")...)
		if !reads {
			c.close()
			m.settle()
			m.charged(0)
			continue
		}
		m.settle()
		var got []string
		for v := range values(t, c.got) {
			switch {
			case v.Kind == wire.KindArray && len(v.Elems) == lines:
				got = append(got, "list")
			case len(v.Elems) > 2:
				got = append(got, v.Elems[0].Str)
			default:
				got = append(got, v.Str)
			}
		}
		if want := "server subscribe  list message bus.message message bus.message PONG"; strings.Join(got, " ") != want {
			t.Errorf("got %q", got)
		}
		m.charged(0)
	}
}

// TestLongReplyHeldUp: a long reply that is ready when the socket is full comes behind what the socket has not taken yet, and before
// what is said later, without its being copied.
func TestLongReplyHeldUp(t *testing.T) {
	const lines = 6000
	text := strings.Repeat("x", 100)
	m := newManual(t, 1)
	listing(m, lines, text)
	m.after = func() {
		for _, c := range m.clients {
			if s := m.of(c); s != nil && s.Backlog() > lines*len(text)/2 {
				t.Fatalf("%d bytes are copied", s.Backlog())
			}
		}
	}
	for _, end := range []string{"", "close", "stop"} {
		c := m.connect(false)
		sess := m.of(c)
		c.send([]byte("HELLO 3\r\n")...)
		m.settle()
		c.got = nil
		before := 0
		for ; !sess.Blocked(); before++ {
			sess.Send(wire.AppendBulk(nil, strings.Repeat("y", 4<<10)))
			m.set.Net.FlushAll()
		}
		c.send([]byte("LOCK.LIST\r\nPING\r\n")...)
		for sess.Task() == nil || !sess.Task().Done() {
			m.step()
		}
		if m.set.Net.Waiting() {
			m.step()
		}
		if !sess.Waiting() || m.set.Net.Waiting() {
			t.Fatal("it does not wait for the socket")
		}
		switch end {
		case "close":
			c.close()
		case "stop":
			m.after = nil // it is said at once
			m.stop()
		}
		m.settle()
		if end == "close" {
			m.charged(0)
			continue
		}
		i := 0
		for v := range values(t, c.got) {
			switch {
			case i < before && len(v.Str) == 4<<10, i == before && len(v.Elems) == lines, i == before+1 && v.Str == "PONG":
			case end != "stop":
				t.Errorf("value %d is %.40q", i, v.Str)
			}
			i++
		}
		if i < before+2 {
			t.Errorf("%d values", i)
		}
	}
}

// TestManyWords: a command with very many words, or about very many connections, does not take longer for each of them than to look at
// it: it is refused, or done in several turns.
func TestManyWords(t *testing.T) {
	const words, idle = 1000, 500
	m := newManual(t, 1, func(_ *Setup, o *Options) { o.Limits.Arguments = 4 * words })
	for range idle {
		m.connect(false)
	}
	c := m.connect(false)
	m.settle()
	m.slowTurns()
	turns := func(words ...string) (reply string, n int) {
		for c.cmd(words...); ; n++ {
			if reply = c.take(); reply != "" {
				return reply, n
			}
			m.turn(m.events())
		}
	}
	named := func(n int, each ...string) (all []string) {
		for range n {
			all = append(all, each...)
		}
		return all
	}
	if reply, _ := turns(append([]string{"CLIENT", "KILL", "ID", "999999999"}, named(words, "TYPE", "normal")...)...); !strings.HasPrefix(reply, "-ERR wrong number") {
		t.Errorf("CLIENT KILL of many words is answered %q", reply)
	}
	if reply, _ := turns(append([]string{"INFO"}, named(words, "nosuch")...)...); !strings.HasPrefix(reply, "-ERR wrong number") {
		t.Errorf("INFO of many words is answered %q", reply)
	}
	reply, n := turns(append([]string{"PUBSUB", "NUMSUB"}, named(words, "a")...)...)
	if want := fmt.Sprintf("*%d\r\n", 2*words) + strings.Repeat("$1\r\na\r\n:0\r\n", words); reply != want || n < words/session.Stride/2 {
		t.Errorf("PUBSUB NUMSUB of many words is answered in %d turns by %.100q", n, reply)
	}
	if reply, n := turns("CLIENT", "KILL", "ID", "1", "TYPE", "normal", "ID", fmt.Sprint(m.clients[1].id)); reply != ":1\r\n" || n > 10 {
		t.Errorf("CLIENT KILL of one is answered %q in %d turns", reply, n)
	}
	if reply, n := turns("CLIENT", "KILL", "SKIPME", "no", "TYPE", "normal"); reply != fmt.Sprintf(":%d\r\n", idle) || n < idle/session.Stride/2 {
		t.Errorf("CLIENT KILL of all is answered %q in %d turns", reply, n)
	}
	if m.settle(); m.set.Net.Len() != 0 {
		t.Errorf("%d connections are left", m.set.Net.Len())
	}
}
