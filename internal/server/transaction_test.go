package server

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/messages"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// multi sends MULTI, commands and EXEC, and reads all that is answered before the reply to EXEC.
func (c *client) multi(commands ...[]string) {
	c.t.Helper()
	c.cmd("MULTI")
	for _, words := range commands {
		c.cmd(words...)
	}
	c.cmd("EXEC")
	c.want("+OK\r\n" + strings.Repeat("+QUEUED\r\n", len(commands)))
}

// input is how much of Input and Output all users are charged for.
func (h *harness) buffers() (in, out int) {
	h.t.Helper()
	h.on(func() { in, out = h.set.Users.Total(account.Input), h.set.Users.Total(account.Output) })
	return in, out
}

// TestExec: nothing is done before EXEC, and what is answered later has its place among the replies.
func TestExec(t *testing.T) {
	disk := newDisk[record.Done]()
	h := start(t, func(s *Setup, _ *Options) { s.SaveDone = disk.save })
	c, other := h.dial3(), h.dial3()
	other.do("SUBSCRIBE", "a")
	g := c.acquire("k")
	c.cmd("MULTI")
	c.cmd("PUBLISH", "a", "1")
	c.cmd("LOCK.DONE", "k", g.token, "PER", "ever")
	c.cmd("LOCK.RELEASE", "k")
	c.cmd("PUBLISH", "a", "2")
	c.want("+OK\r\n" + strings.Repeat("+QUEUED\r\n", 4))
	other.sync()
	if info := c.text("CLIENT", "LIST"); info != "" {
		t.Errorf("CLIENT LIST is answered %q", info)
	}
	if !strings.Contains(other.do("CLIENT", "LIST").Str, " flags=xU db=0 sub=0 psub=0 ssub=0 multi=5 watch=0 ") {
		t.Error("CLIENT LIST does not show the transaction")
	}
	c.cmd("EXEC")
	c.cmd("PING")
	w := disk.next(t, 1)
	other.want(">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n1\r\n")
	other.sync() // nothing of what is behind the disk
	c.quiet()
	h.claims(1)
	w.done(nil)
	other.want(">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n2\r\n")
	h.claims(0)
	if v := c.value(); len(v.Elems) != 5 || v.Elems[0].Int != 1 || v.Elems[1].Str != "OK" || v.Elems[2].Str != "OK" || v.Elems[3].Int != 1 ||
		!strings.Contains(v.Elems[4].Str, "multi=5 ") {
		t.Errorf("got %+v", v)
	}
	c.want("+PONG\r\n")
	if !strings.Contains(c.do("CLIENT", "INFO").Str, "multi=-1 ") {
		t.Error("the transaction is not over")
	}
}

// text sends a command within MULTI, and returns what it was answered instead of being queued.
func (c *client) text(words ...string) string {
	c.t.Helper()
	c.cmd(words...)
	if v := c.value(); v.Str != "QUEUED" {
		return v.Str
	}
	return ""
}

// TestExecOfMany: what takes several turns (listings, many names) is gathered like all else.
func TestExecOfMany(t *testing.T) {
	h := start(t)
	c := h.dial()
	var channels []string
	want := "*4\r\n"
	for i := range 3 * 64 {
		name := fmt.Sprintf("c%03d", i)
		channels = append(channels, name)
		want += fmt.Sprintf("*3\r\n$9\r\nsubscribe\r\n$4\r\n%s\r\n:%d\r\n", name, i+1)
	}
	want += "*0\r\n"
	for i, name := range channels {
		want += fmt.Sprintf("*3\r\n$11\r\nunsubscribe\r\n$4\r\n%s\r\n:%d\r\n", name, len(channels)-i-1)
	}
	want += "+PONG\r\n"
	c.multi(append([]string{"SUBSCRIBE"}, channels...), []string{"LOCK.LIST"}, append([]string{"UNSUBSCRIBE"}, channels...), []string{"PING"})
	c.want(want)
	if in, out := h.buffers(); in != 0 || out != 0 {
		t.Errorf("%d and %d bytes are charged", in, out)
	}
}

// TestExecDoesNotWait: LOCK.ACQUIRE in a transaction is decided at once. With ASYNC it holds nothing up, and its outcome comes
// behind the reply that has its ticket.
func TestExecDoesNotWait(t *testing.T) {
	h := start(t)
	c, other := h.dial3(), h.dial3()
	taken := other.acquire("taken", "OWNER", "other")
	c.multi([]string{"LOCK.ACQUIRE", "free"}, []string{"LOCK.ACQUIRE", "taken"}, []string{"LOCK.ACQUIRE", "taken", "WAIT", "60000"}, []string{"PING"})
	v := c.prompt().value()
	if len(v.Elems) != 4 {
		t.Fatalf("got %+v", v)
	}
	free := asGrant(t, v.Elems[0])
	for _, v := range v.Elems[1:3] {
		if !strings.HasPrefix(v.Str, "BUSY ") {
			t.Errorf("got %+v", v)
		}
	}
	h.claims(2)
	c.multi([]string{"LOCK.RELEASE", "free", free.token}, []string{"LOCK.ACQUIRE", "free", "ASYNC"}, []string{"LOCK.ACQUIRE", "taken", "OWNER", "late", "ASYNC"})
	v = c.value()
	if len(v.Elems) != 3 || v.Elems[1].Kind != wire.KindInt || v.Elems[2].Kind != wire.KindInt {
		t.Fatalf("got %+v", v)
	}
	done := c.value()
	if done.Kind != wire.KindPush || done.Elems[1].Int != v.Elems[1].Int {
		t.Errorf("got %+v", done)
	}
	asGrant(t, done.Elems[2])
	c.sync() // the other one waits, and the connection does not
	other.do("LOCK.RELEASE", "taken", taken.token)
	if done := c.value(); done.Kind != wire.KindPush || done.Elems[1].Int != v.Elems[2].Int {
		t.Errorf("got %+v", done)
	}
}

// TestExecRefused: what is refused before EXEC has nothing executed, be it for its words, for access, or for what may be queued.
func TestExecRefused(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.Input = 4096 })
	c := h.dial()
	for _, c2 := range []struct {
		code wire.Code
		text string
		bad  []string
	}{
		{wire.CodeErr, "unknown command", []string{"NOSUCH"}},
		{wire.CodeErr, "wrong number", []string{"PUBLISH", "a"}},
		{wire.CodeErr, "wrong number", []string{"CLIENT"}},
		{wire.CodeDenied, "", []string{"PUBLISH", "ipcd/x", "x"}},
		{wire.CodeBadName, "", []string{"LOCK.ACQUIRE", "a#/b\n"}},
		{wire.CodeErr, "not allowed inside a transaction", []string{"CLIENT", "REPLY", "OFF"}},
		{wire.CodeErr, "not allowed inside a transaction", []string{"IPCD.PROVE"}},
		{wire.CodeQuota, "limits.input", []string{"ECHO", strings.Repeat("x", 3800)}},
	} {
		c.cmd("MULTI")
		c.cmd("LOCK.ACQUIRE", "l")
		c.want("+OK\r\n+QUEUED\r\n")
		if c2.code == wire.CodeQuota {
			c.cmd(c2.bad...)
			c.want("+QUEUED\r\n")
		}
		c.refused(c2.code, c2.text, c2.bad...)
		c.cmd("PING")
		c.want("+QUEUED\r\n")
		c.cmd("EXEC")
		c.cmd("PING") // so that more is to be read if it is less than it says
		c.fails(wire.CodeExecAbort, "previous errors")
		c.want("+PONG\r\n")
		h.claims(0)
	}
	// A nested MULTI and WATCH are refused, and no more.
	c.cmd("MULTI")
	c.want("+OK\r\n")
	c.refused(wire.CodeErr, "can not be nested", "MULTI")
	c.refused(wire.CodeErr, "not allowed", "WATCH", "k")
	c.cmd("EXEC")
	c.want("*0\r\n")
	if in, out := h.buffers(); in != 0 || out != 0 {
		t.Errorf("%d and %d bytes are charged", in, out)
	}
}

// TestQueuedIsCharged: what is queued is its user's input, and is given back with DISCARD, RESET and the end of the connection.
func TestQueuedIsCharged(t *testing.T) {
	h := start(t)
	for _, end := range []func(*client){
		func(c *client) { c.do("DISCARD") },
		func(c *client) { c.do("RESET") },
		func(c *client) { c.cmd("QUIT"); c.want("+OK\r\n"); c.eof(); h.quiesce() },
		func(c *client) { c.close(); h.quiesce() },
	} {
		c := h.dial()
		c.do("MULTI")
		c.do("ECHO", strings.Repeat("x", 50_000))
		if in, _ := h.buffers(); in < 50_000 {
			t.Errorf("%d bytes of input are charged", in)
		}
		end(c)
		if in, out := h.buffers(); in != 0 || out != 0 {
			t.Errorf("%d and %d bytes are charged", in, out)
		}
		c.close()
		h.quiesce()
	}
	// The limit is the user's, of all connections.
	h.on(func() {
		h.opts.Limits.BuffersPerUser = 120_000
		h.set.Users.Limits = h.opts.Limits.perUser()
	})
	c, other := h.dial(), h.dial()
	c.do("MULTI")
	other.do("MULTI")
	c.do("ECHO", strings.Repeat("x", 50_000))
	n := 0
	for ; n < 100 && other.text("ECHO", strings.Repeat("x", 1000)) == ""; n++ {
	}
	if n < 10 || n == 100 {
		t.Errorf("%d commands of another connection are queued", n)
	}
	other.refused(wire.CodeExecAbort, "", "EXEC")
}

// TestRepliesAreCharged: a command for whose reply there is no room is not executed, and says so in its place.
func TestRepliesAreCharged(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.BuffersPerUser = 100_000 })
	c := h.dial()
	commands := [][]string{{"ECHO", strings.Repeat("x", 20_000)}}
	for range 10 {
		commands = append(commands, []string{"COMMAND", "DOCS"})
	}
	c.multi(append(commands, []string{"LOCK.ACQUIRE", "l"})...)
	v := c.value()
	if len(v.Elems) != 12 || len(v.Elems[0].Str) != 20_000 {
		t.Fatalf("%d elements", len(v.Elems))
	}
	if last := v.Elems[11]; !strings.HasPrefix(last.Str, "QUOTA ") {
		t.Errorf("got %+v", last)
	}
	h.claims(0)
}

// TestRepliesAreBounded: likewise where the replies before it, or what a listing has said until now, are as much as may wait for a
// connection.
func TestRepliesAreBounded(t *testing.T) {
	const limit, each = 100_000, 20_000
	change := func(_ *Setup, o *Options) { o.Limits.Output = limit }
	h := start(t, change)
	c := h.dial()
	var commands [][]string
	for range 10 {
		commands = append(commands, []string{"ECHO", strings.Repeat("x", each)})
	}
	c.multi(append(commands, []string{"LOCK.ACQUIRE", "l"})...)
	v := c.value()
	said := 0
	for _, e := range v.Elems {
		if !strings.HasPrefix(e.Str, "QUOTA ") {
			said += len(e.Str)
		}
	}
	if len(v.Elems) != 11 || said < limit-each || said > limit+each {
		t.Errorf("%d elements, which have %d bytes", len(v.Elems), said)
	}
	if last := v.Elems[10].Str; !strings.HasPrefix(last, "QUOTA ") || !strings.Contains(last, "limits.output") {
		t.Errorf("got %q", last)
	}
	h.claims(0)

	m := newManual(t, 1, change)
	listing(m, 1000, strings.Repeat("x", 1000))
	m.slowTurns()
	listed := m.connect(false)
	for _, words := range [][]string{{"MULTI"}, {"LOCK.LIST"}, {"PING"}, {"EXEC"}} {
		listed.cmd(words...)
	}
	m.settle()
	if got := listed.take(); !strings.HasPrefix(got, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n-QUOTA ") || !strings.Contains(got, "limits.output") {
		t.Errorf("got %.100q", got)
	}
	m.charged(0)
}

// TestLongReplyToExec: a long reply to EXEC is not copied when it is there, and waits until the socket has taken what was said before it.
// Behind it is what the connection was told meanwhile, and what it asks for next.
func TestLongReplyToExec(t *testing.T) {
	const commands, size = 60, 10_000
	for _, blocked := range []bool{false, true} {
		for _, end := range []string{"", "close", "stop"} {
			m := newManual(t, 1)
			c, publisher := m.connect(false), m.connect(false)
			sess := m.of(c)
			c.send([]byte("HELLO 3\r\nBUS.SUB a\r\nLOCK.ACQUIRE l\r\n")...)
			m.settle()
			c.got = nil
			c.cmd("MULTI")
			for range commands {
				c.cmd("ECHO", strings.Repeat("x", size))
			}
			c.cmd("LOCK.BREAK", "l") // which the holder is told, behind the reply
			for busy := true; busy; busy = m.step() {
				c.send()
			}
			before := 0
			for ; blocked && !sess.Blocked(); before++ {
				sess.Send(wire.AppendBulk(nil, strings.Repeat("y", 4<<10)))
				m.set.Net.FlushAll()
			}
			m.after = func() {
				if s := m.of(c); s != nil && s.Backlog() > commands*size/2 {
					t.Fatalf("blocked %v: %d bytes are copied", blocked, s.Backlog())
				}
			}
			c.send([]byte("EXEC\r\nECHO behind\r\n")...)
			for m.step() {
			}
			publisher.cmd("PUBLISH", "a", "message")
			for m.step() {
			}
			if m.set.Users.Total(account.Output) < commands*size {
				t.Errorf("blocked %v: %d bytes are charged", blocked, m.set.Users.Total(account.Output))
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
			var got []string
			for v := range values(t, c.got) {
				switch {
				case len(v.Elems) == commands+1:
					got = append(got, "replies")
				case len(v.Elems) > 0:
					got = append(got, v.Elems[0].Str)
				case v.Str != "QUEUED" && v.Str != "OK" && len(v.Str) < 4<<10:
					got = append(got, v.Str)
				}
			}
			want := "replies lock.lost bus.message"
			if blocked {
				want = "bus.message replies lock.lost"
			}
			if end == "" {
				want += " behind"
			} else {
				want += " ipcd.goodbye" // what it has not read it does not wait for
			}
			if words := strings.Join(got, " "); words != want {
				t.Errorf("blocked %v, %q: got %q", blocked, end, words)
			}
		}
	}
}

// TestExecIsWhole: nobody's command comes between those of a transaction, though its user has had his share of the turn, and however
// long they take. Only behind one that has much to look at may others have theirs.
func TestExecIsWhole(t *testing.T) {
	const whole, split = "1 2 other", "1 other 2"
	for _, c2 := range []struct {
		command        string
		slow, patterns bool
		want           string
	}{
		{"INFO", false, false, whole},
		{"INFO", true, false, split},
		{"PING", true, false, whole},
		{"PUBLISH a x", true, false, whole},
		{"PUBLISH a x", true, true, split},
	} {
		m := newManual(t, 1)
		m.quickTurns()
		c, other, many := m.connect(false), m.connectAs(1002, false), m.connect(false)
		for i := 0; c2.patterns && i <= messages.FewPatterns; i++ {
			many.cmd("PSUBSCRIBE", fmt.Sprint("p", i))
		}
		words := strings.Fields(c2.command)
		var order []string
		m.hook(func(sess *session.Session, name string, args []string, _ string) {
			switch name {
			case words[0]:
				sess.User().Spend(time.Hour)
			case "ECHO":
				order = append(order, args[0])
			}
		})
		for _, words := range [][]string{{"MULTI"}, {"ECHO", "1"}, words, words, words, {"ECHO", "2"}} {
			c.cmd(words...)
		}
		m.settle()
		c.take()
		m.set.Net.Now = func() time.Duration { return 0 }
		if c2.slow {
			m.slowTurns()
		}
		c.cmd("EXEC")
		c.cmd("PING", "behind")
		other.cmd("ECHO", "other")
		m.turn([]unix.EpollEvent{c.event(unix.EPOLLIN), other.event(unix.EPOLLIN)})
		m.settle()
		if got := strings.Join(order, " "); got != c2.want {
			t.Errorf("%+v: %s", c2, got)
		}
		if got := c.take(); !strings.HasPrefix(got, "*5\r\n$1\r\n1\r\n") || !strings.HasSuffix(got, "$1\r\n2\r\n$6\r\nbehind\r\n") {
			t.Errorf("%+v: got %q", c2, got)
		}
	}
}

// TestExecOfLargeMessage: a message to very many holds a transaction up, and is counted in its place.
func TestExecOfLargeMessage(t *testing.T) {
	m, _ := newMany(t, 1)
	c := m.connect(false)
	for _, words := range [][]string{{"MULTI"}, {"PUBLISH", manyLevels, "x"}, {"PUBLISH", manyLevels, "y"}, {"PING"}, {"EXEC"}, {"ECHO", "behind"}} {
		c.cmd(words...)
	}
	m.settle()
	if got, want := c.take(), fmt.Sprintf("+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n:%d\r\n:%d\r\n+PONG\r\n$6\r\nbehind\r\n", manyFilters, manyFilters); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestExecWithREQID: a transaction that is sent again has its effect once.
func TestExecWithREQID(t *testing.T) {
	h := start(t)
	c, again := h.dial3(), h.dial3()
	commands := [][]string{{"BUS.PUB", "a", "x", "REQID", "p"}, {"LOCK.ACQUIRE", "l", "FOR", fmt.Sprint(os.Getpid()), "REQID", "q"}}
	c.multi(commands...)
	first := c.value()
	again.multi(commands...)
	second := again.value()
	if fmt.Sprint(first) != fmt.Sprint(second) || len(first.Elems) != 2 {
		t.Errorf("got %+v, then %+v", first, second)
	}
	asGrant(t, second.Elems[1])
	h.claims(1)
	// One that waits on another connection is not waited for.
	holder, waiter := h.dial3(), h.dial3()
	held := holder.acquire("busy", "OWNER", "holder")
	h.queue(waiter, "busy", "OWNER", "waiter", "REQID", "w")
	again.multi([]string{"LOCK.ACQUIRE", "busy", "OWNER", "waiter", "REQID", "w"})
	if v := again.value(); len(v.Elems) != 1 || !strings.HasPrefix(v.Elems[0].Str, "BUSY ") {
		t.Errorf("got %+v", v)
	}
	holder.do("LOCK.RELEASE", "busy", held.token)
	waiter.granted()
}

// TestExecReplies: CLIENT REPLY leaves out the reply to EXEC as a whole, but no confirmation of a subscription; within a transaction
// it is refused.
func TestExecReplies(t *testing.T) {
	disk := newDisk[record.Done]()
	h := start(t, func(s *Setup, _ *Options) { s.SaveDone = disk.save })
	c := h.dial3()
	g := c.acquire("k")
	queue := func() {
		c.cmd("MULTI")
		c.cmd("PING")
		c.cmd("LOCK.DONE", "k", g.token, "PER", "ever")
		c.cmd("SUBSCRIBE", "c")
	}
	queued := "+OK\r\n" + strings.Repeat("+QUEUED\r\n", 3)
	const confirmed = ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"

	queue()
	c.want(queued)
	c.refused(wire.CodeErr, "not allowed", "CLIENT", "REPLY", "SKIP")
	c.do("DISCARD")

	c.cmd("CLIENT", "REPLY", "SKIP")
	queue()
	c.want(strings.TrimPrefix(queued, "+OK\r\n"))
	c.cmd("EXEC")
	disk.next(t, 1).done(nil)
	c.want("*3\r\n+PONG\r\n+OK\r\n" + confirmed)
	c.sync()

	c.cmd("CLIENT", "REPLY", "OFF")
	queue()
	c.cmd("EXEC")
	disk.next(t, 1).done(nil)
	c.want(confirmed)
	c.cmd("CLIENT", "REPLY", "ON")
	c.want("+OK\r\n")
	c.sync()
}

// TestExecDescriptors: a descriptor that a command wants comes with EXEC; those of a reply cannot come with one of many.
func TestExecDescriptors(t *testing.T) {
	h := start(t)
	c := h.dial3()
	c.do("MULTI")
	c.do("LOCK.ACQUIRE", "l", "FOR", "pid")
	c.do("LOCK.BREAK", "l", "PIDFD")
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	c.cmdFDs([]int{fd}, "EXEC")
	v := c.value()
	if len(v.Elems) != 2 {
		t.Fatalf("got %+v", v)
	}
	asGrant(t, v.Elems[0])
	if lost := c.value(); lost.Elems[0].Str != "lock.lost" { // behind the reply that tells of the lock
		t.Errorf("got %+v", lost)
	}
	if broken := v.Elems[1].Elems; len(broken) != 1 || broken[0].Get("pidfd").Int != 0 {
		t.Errorf("got %+v", broken)
	}
	c.sync()
}

// TestStopInExec: a stop waits for the disk, and for what is behind it.
func TestStopInExec(t *testing.T) {
	disk := newDisk[record.Done]()
	h := start(t, func(s *Setup, _ *Options) { s.SaveDone = disk.save })
	c := h.dial()
	g := c.acquire("k")
	c.multi([]string{"LOCK.DONE", "k", g.token, "PER", "ever"}, []string{"PING"})
	w := disk.next(t, 1)
	h.cancel()
	h.until("it stops", func() bool { return h.set.Stopping })
	w.done(nil)
	c.want("*2\r\n+OK\r\n+PONG\r\n")
	c.eof()
	h.wait()
}
