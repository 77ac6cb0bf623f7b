package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/messages"
	"github.com/ipcd/ipcd/internal/session"
)

// TestManyReady: a user whose connections all want something at once has his share of the turn, and who comes behind them is
// looked after in it all the same. The rest follows in later turns, in the order in which it came.
func TestManyReady(t *testing.T) {
	m := newManual(t, 1)
	var done []uint64
	ping := m.commands.find([]byte("PING"))
	run := ping.run
	ping.run = func(c *session.Call) {
		done = append(done, c.Session.ID)
		run(c)
		for begun := time.Now(); c.Session.Peer.UID == 1001 && time.Since(begun) <= session.TimeSlice; {
			continue // takes as long as one may
		}
	}
	var events []unix.EpollEvent
	var want []uint64
	for range 20 {
		c := m.connectAs(1001, false)
		c.cmd("PING")
		events = append(events, c.event(unix.EPOLLIN))
		want = append(want, c.id)
	}
	other := m.connectAs(1002, false)
	other.cmd("PING")
	m.turn(append(events, other.event(unix.EPOLLIN)))
	if got := other.take(); got != "+PONG\r\n" {
		t.Errorf("the other user got %q", got)
	}
	// The clock is looked at before the second and the fourth, then there is one of each queue.
	if first := append(slices.Clone(want[:4]), other.id); !slices.Equal(done, first) {
		t.Errorf("%v are looked after in one turn, want %v", done, first)
	}
	for turns := 0; m.set.Net.Waiting(); turns++ {
		other.cmd("PING")
		m.turn([]unix.EpollEvent{other.event(unix.EPOLLIN)})
		if got := other.take(); got != "+PONG\r\n" {
			t.Errorf("the other user got %q", got)
		}
		if turns > len(want) {
			t.Fatal("the queue does not end")
		}
	}
	if done = slices.DeleteFunc(done, func(id uint64) bool { return id == other.id }); !slices.Equal(done, want) {
		t.Errorf("the order is %v, want %v", done, want)
	}
}

// TestManyReceivers: a user with more subscribers than a turn has time to write to waits for them, also with his next message. Who
// comes behind them is answered in the same turn. In the end all have all, in order.
func TestManyReceivers(t *testing.T) {
	m := newManual(t, 1)
	var all []*end
	for range 40 {
		c := m.connectAs(1001, false)
		c.cmd("SUBSCRIBE", "a")
		all = append(all, c)
	}
	m.settle()
	for _, c := range all {
		c.take()
	}
	publisher, stranger, other := m.connectAs(1001, false), m.connectAs(1003, false), m.connectAs(1002, false)
	publisher.cmd("PUBLISH", "a", "x")
	publisher.cmd("PUBLISH", "a", "y")
	other.cmd("PING")
	m.slowTurns()
	m.turn([]unix.EpollEvent{publisher.event(unix.EPOLLIN), other.event(unix.EPOLLIN)})
	if got := other.take(); got != "+PONG\r\n" {
		t.Errorf("the other user got %q", got)
	}
	if m.set.Net.Late() < 8 || publisher.take() != "" {
		t.Errorf("%d sessions are late", m.set.Net.Late())
	}
	publisher.cmd("PUBLISH", "a", "z")
	stranger.cmd("PUBLISH", "a", "s") // who does not wait for them; what he sends them is charged to them
	m.quickTurns()                    // or he may be late himself, behind those who were not
	m.turn([]unix.EpollEvent{publisher.event(unix.EPOLLIN), stranger.event(unix.EPOLLIN)})
	if got, want := stranger.take(), fmt.Sprintf(":%d\r\n", len(all)); got != want {
		t.Errorf("the stranger got %q", got)
	}
	m.settle()
	if got, want := string(publisher.got), strings.Repeat(fmt.Sprintf(":%d\r\n", len(all)), 3); got != want {
		t.Errorf("the publisher got %q", got)
	}
	message := func(s string) string { return "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n" + s + "\r\n" }
	want := message("x") + message("y") + message("s") + message("z")
	for i, c := range all {
		if got := string(c.got); got != want {
			t.Errorf("subscriber %d got %q", i, got)
		}
	}
	if n := m.set.Users.Total(account.Buffers); m.set.Net.Late() != 0 || n != 0 {
		t.Errorf("%d are late, %d bytes charged", m.set.Net.Late(), n)
	}
}

// TestBehindOthers: what has come from a user who has had his share of the turn before, and wanted more, is handled after what has come
// from others, in whichever order epoll tells of it.
func TestBehindOthers(t *testing.T) {
	m := newManual(t, 1)
	m.quickTurns()
	busy, more, other := m.connectAs(1001, false), m.connectAs(1001, false), m.connectAs(1002, false)
	var order []string
	m.hook(func(_ *session.Session, _ string, args []string, _ string) { order = append(order, args...) })
	m.of(busy).Queue()
	more.cmd("ECHO", "more")
	other.cmd("ECHO", "other")
	m.turn([]unix.EpollEvent{more.event(unix.EPOLLIN), other.event(unix.EPOLLIN)})
	if !slices.Equal(order, []string{"other", "more"}) {
		t.Errorf("the order is %q", order)
	}
	m.settle()
}

// TestAllThatWaitsSharesATurn: when there is no time, each kind of what waits does a little in each turn, and no more.
func TestAllThatWaitsSharesATurn(t *testing.T) {
	const n = 4
	m, _ := newMany(t, 1)
	publisher := m.connect(false)
	publisher.cmd("PUBLISH", manyLevels, "x")
	m.slowTurns()
	m.read(publisher)
	for range n {
		m.of(m.connectAs(1001, false)).Slice()
	}
	for left := n - 1; left >= 0; left-- {
		m.turn(nil)
		waiting := 0
		for _, c := range m.clients {
			if sess := m.of(c); sess.User().UID() == 1001 && sess.OnHold() {
				waiting++
			}
		}
		if waiting != left || m.messages.InLine() != 1 {
			t.Fatalf("%d connections wait, and %d messages, want %d and 1", waiting, m.messages.InLine(), left)
		}
	}
	m.quickTurns()
	m.settle()
}

// TestMoreReadyThanEpollTells: a turn takes all that there is, or who is last in the kernel's list would wait for many turns.
func TestMoreReadyThanEpollTells(t *testing.T) {
	m := newManual(t, 1)
	m.quickTurns()
	for range loop.MostEvents + 10 {
		m.connectAs(1001, false).cmd("PING")
	}
	other := m.connectAs(1002, false)
	other.cmd("PING")
	m.turn(m.events())
	if got := other.take(); got != "+PONG\r\n" {
		t.Errorf("the last one got %q", got)
	}
	m.settle()
}

// TestAcceptWhenTurnIsOver: of those who want to connect, one gets on however busy the loop is, and the others wait for time.
func TestAcceptWhenTurnIsOver(t *testing.T) {
	m := newManual(t, 1)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	addr := &unix.SockaddrUnix{Name: fmt.Sprintf("@ipcd-server-test-accept-%d", unix.Getpid())}
	if err == nil {
		err = unix.Bind(fd, addr)
	}
	if err == nil {
		err = unix.Listen(fd, 10)
	}
	if err == nil {
		err = m.Listen(fd, "test")
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(c) }()
		if err := unix.Connect(c, addr); err != nil {
			t.Fatal(err)
		}
	}
	m.slowTurns()
	for !m.set.Net.Over() {
		continue
	}
	m.accept(fd)
	if m.set.Net.Len() != 1 {
		t.Errorf("%d are accepted", m.set.Net.Len())
	}
	m.settle()
	if m.set.Net.Len() != 5 {
		t.Errorf("%d are accepted in the end", m.set.Net.Len())
	}
}

// TestTimersShareATurn: what is due and has no room in a turn waits for the next one, and a connection does not wait for it.
func TestTimersShareATurn(t *testing.T) {
	m := newManual(t, 1, func(s *Setup, _ *Options) { s.Verify = false }) // which knows all timers there are
	c := m.connect(false)
	var done []int
	timers := make([]loop.Timer, 5)
	for i := range timers {
		timers[i].Init(&m.set.Loop.Timers, func() {
			done = append(done, i)
			for begun := time.Now(); time.Since(begun) <= session.TimeSlice; {
				continue // it takes long
			}
		})
		timers[i].Set(0)
	}
	for turns := 1; turns <= len(timers); turns++ {
		c.cmd("PING")
		m.set.Loop.TimeUp()
		m.turn([]unix.EpollEvent{c.event(unix.EPOLLIN)})
		if got := c.take(); got != "+PONG\r\n" || len(done) != turns {
			t.Fatalf("after %d turns %v have gone off, and the connection got %q", turns, done, got)
		}
	}
	if !slices.Equal(done, []int{0, 1, 2, 3, 4}) {
		t.Errorf("the order is %v", done)
	}
}

// TestLargeBurial: what a connection had that ends with very many subscriptions is taken apart bit by bit. It gets nothing any
// more meanwhile, and in the end nothing is left of it.
func TestLargeBurial(t *testing.T) {
	m := newManual(t, 1)
	publisher := m.connect(false)
	c := m.connectAs(1001, false)
	const n = 3*messages.MostDropped + 1
	for i := range n - 1 {
		c.cmd("BUS.SUB", fmt.Sprint("a/", i), "RAW")
		m.step()
	}
	c.cmd("PSUBSCRIBE", "a*")
	m.settle()
	sess := m.of(c)
	sess.Kill(nil)
	for left := n; left > 0; left = max(left-messages.MostDropped, 0) {
		if u := m.set.Users.Of(1001); u.Used(account.Subscriptions) != left || u.Used(account.Patterns) != 1 {
			t.Errorf("%d subscriptions are charged, %d patterns; want %d and 1", u.Used(account.Subscriptions), u.Used(account.Patterns), left)
		}
		publisher.cmd("PUBLISH", fmt.Sprint("a/", n-2), "x")
		m.read(publisher)
		m.set.Net.FlushAll()
		if got := publisher.take(); got != ":0\r\n" {
			t.Errorf("a message to one that is gone: %q", got)
		}
		if done := m.messages.Closed(sess); done != (left <= messages.MostDropped) {
			t.Errorf("of %d all are gone: %v", left, done)
		}
	}
	m.turn(nil)
	if u := m.set.Users.Find(1001); m.set.Net.Len() != 1 || u != nil {
		t.Errorf("%d connections, %+v", m.set.Net.Len(), u)
	}
	m.settle()
}

// TestManyBurials: of very many connections that end at once none is forgotten, also if there was something to be done for it.
func TestManyBurials(t *testing.T) {
	m := newManual(t, 1)
	for range 100 {
		m.connect(false)
	}
	for _, c := range m.clients {
		m.of(c).Queue()
		m.of(c).Kill(nil)
	}
	m.settle()
	if m.set.Net.Len() != 0 || m.set.Users.Len() != 0 {
		t.Errorf("%d connections are left, %d users", m.set.Net.Len(), m.set.Users.Len())
	}
}
