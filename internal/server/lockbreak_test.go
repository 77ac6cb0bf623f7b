package server

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/ipc/wire"
)

// What the daemon says in words of its own (an error, who broke a lock, the log) has nothing in it that is not printable,
// whatever others chose. An event is JSON, and means what they chose.
func TestTextOfOthersIsEscaped(t *testing.T) {
	h := start(t)
	holder, c, watcher := h.dial3(), h.dial3(), h.dial3()
	const name, why, shown = "b\u202ekcab", "wh\u2066y\u200b", `wh\u2066y\u200b`
	watcher.do("BUS.SUB", "ipcd/lock/broken/#")
	holder.acquire(name, "WHY", why)
	c.refused(wire.CodeBusy, `"b\u202ekcab" is held by `+describeSelf(h)+": "+shown, "LOCK.ACQUIRE", name, "WAIT", "0")
	c.refused(wire.CodeBadName, `bad topic "\u202e\x1b\xff": `, "BUS.PUB", "\u202e\x1b\xff", "")
	c.refused(wire.CodeErr, `unknown command 'x\n\u202e\xff'`, "x\n\u202e\xff")
	c.do("LOCK.BREAK", name, "WHY", why)
	if v := holder.value(); len(v.Elems) != 5 || v.Elems[4].Str != describeSelf(h)+": "+shown {
		t.Errorf("got %+v", v)
	}
	v := watcher.value()
	var event map[string]any
	if err := json.Unmarshal([]byte(v.Elems[3].Str), &event); err != nil || event["name"] != name || event["why"] != why {
		t.Errorf("%v: %+v", err, v)
	}
	for _, text := range []string{v.Elems[3].Str, strings.ReplaceAll(h.log.String(), "\n", "")} {
		if printable.Escape(text) != text {
			t.Errorf("%q is not printable", text)
		}
	}
}

// TestBreak: a lock is taken away, and all are told.
func TestBreak(t *testing.T) {
	h := start(t)
	holder, two, c, waiter, watcher := h.dial3(), h.dial(), h.dial3(), h.dial3(), h.dial3()
	watcher.do("BUS.SUB", "ipcd/lock/broken/#")
	c.refused(wire.CodeNoLock, "", "LOCK.BREAK", "a")
	g := holder.acquire("a", "SHARED", "WHY", "slow work")
	two.acquire("a", "SHARED", "OWNER", "two")
	h.queue(waiter, "a", "OWNER", "w")
	c.refused(wire.CodeStale, "", "LOCK.BREAK", "a", "TOKEN", "1")
	c.refused(wire.CodeErr, "is not an option", "LOCK.BREAK", "a", "TOKEN")
	c.refused(wire.CodeErr, "WHY wants", "LOCK.BREAK", "a", "WHY", "\x01")
	if v := c.do("LOCK.BREAK", "a", "WHY", "no\"w", "TOKEN", g.token); len(v.Elems) != 1 || v.Elems[0].Get("token").Text() != g.token ||
		v.Elems[0].Get("why").Str != "slow work" || v.Elems[0].Get("pidfd").Kind == wire.KindInt {
		t.Errorf("got %+v", v)
	}
	by := describeSelf(h) + `: no"w`
	if v := holder.value(); len(v.Elems) != 5 || v.Kind != wire.KindPush || v.Elems[0].Str != "lock.lost" || v.Elems[1].Str != "a" ||
		v.Elems[2].Text() != g.token || v.Elems[3].Str != "broken" || v.Elems[4].Str != by {
		t.Errorf("got %+v", v)
	}
	if topic, payload := watcher.event(); topic != "ipcd/lock/broken/a" || payload["by"] != by || fmt.Sprintf("%.0f", payload["token"]) != g.token {
		t.Errorf("got %s %v", topic, payload)
	}
	holder.refused(wire.CodeStale, "", "LOCK.RELEASE", "a", g.token)
	if v := c.do("LOCK.BREAK", "a"); len(v.Elems) != 1 || v.Elems[0].Get("owner").Str != "two" {
		t.Errorf("got %+v", v)
	}
	two.sync() // RESP2 has no pushes
	if g := waiter.granted(); g.previous != "broken" || g.abandoned != "" {
		t.Errorf("got %+v", g)
	}
	if end := c.info("a").Get("previous"); end.Get("how").Str != "broken" || end.Get("by").Get("pid").Int != int64(os.Getpid()) || end.Get("by").Get("why").Str != "" {
		t.Errorf("got %+v", end)
	}
	if n := strings.Count(h.log.String(), "event=lock-broken"); n != 2 {
		t.Errorf("%d records of what was broken:\n%s", n, h.log)
	}
	if !strings.Contains(h.log.String(), fmt.Sprintf(`uid=%d lock=a pid=%d`, os.Getuid(), os.Getpid())) || !strings.Contains(h.log.String(), "slow work") {
		t.Errorf("logged:\n%s", h.log)
	}
	h.claims(1)
}

// rights sends a command and reads the bytes and the descriptors of its reply.
func (c *client) rights(words ...string) (wire.Value, []int) {
	c.t.Helper()
	c.cmd(words...)
	_ = c.set(time.Now().Add(patience))
	b, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4*253))
	n, oobn, _, _, err := c.sock.ReadMsgUnix(b, oob)
	if err != nil {
		c.t.Fatal(err)
	}
	v, err := wire.NewDecoder(strings.NewReader(string(b[:n])), wire.Limits{Frame: 1 << 20, Words: 1 << 12, Depth: 8}).Decode()
	if err != nil {
		c.t.Fatalf("%v: %q", err, b[:n])
	}
	var fds []int
	messages := must(unix.ParseSocketControlMessage(oob[:oobn]))
	for i := range messages {
		fds = append(fds, must(unix.ParseUnixRights(&messages[i]))...)
	}
	c.t.Cleanup(func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	})
	return v, fds
}

// TestBreakPidfd: with the reply come the pidfds of those who have lost the lock, one for each process that there is.
func TestBreakPidfd(t *testing.T) {
	h := start(t)
	one, two, c := h.client(0), h.client(0), h.dial3()
	one.acquire("a", "SHARED", "FOR", "self")
	one.acquire("a", "SHARED", "FOR", "self", "OWNER", "again")
	c.acquire("a", "SHARED", "LEASE", "60000")
	two.acquire("a", "SHARED", "FOR", "self")
	c.do("LOCK.ACQUIRE", "other", "FOR", "self")
	v, fds := c.rights("LOCK.BREAK", "a", "PIDFD")
	got := ""
	for _, e := range v.Elems {
		got += e.Get("pidfd").Text()
	}
	if got != "1001" || len(fds) != 2 {
		t.Fatalf("got %s and %d descriptors: %+v", got, len(fds), v)
	}
	for i, p := range []*child{one, two} {
		if err := unix.PidfdSendSignal(fds[i], unix.SIGKILL, nil, 0); err != nil {
			t.Error(err)
		}
		_ = p.cmd.Wait()
		if s := p.cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGKILL {
			t.Errorf("%d: ended with %v", i, p.cmd.ProcessState)
		}
	}
	if v := c.value(); v.Elems[0].Str != "lock.lost" { // c's own
		t.Errorf("got %+v", v)
	}
	c.do("LOCK.BREAK", "other")
	_ = c.value()
	c.sync()
	h.claims(0)
}

// TestBreakIsRecordedFirst: descriptors are not held back until the turn's end, as replies are, and still nobody has them before
// the break is recorded.
func TestBreakIsRecordedFirst(t *testing.T) {
	h := start(t)
	p := h.client(0)
	p.acquire("a", "FOR", "self")
	fd := must(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: h.address}); err != nil {
		t.Fatal(err)
	}
	readable := func(timeout int) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, timeout)
		return n > 0 && err == nil
	}
	steps := 0
	h.on(func() {
		h.setup.Journal.(*memory).after = func(m *memory) {
			if steps++; len(m.lines) != 0 || readable(0) {
				t.Errorf("step %d: %d records are kept, and something was told: %v", steps, len(m.lines), readable(0))
			}
		}
	})
	if _, err := unix.Write(fd, []byte("LOCK.BREAK a PIDFD\r\n")); err != nil {
		t.Fatal(err)
	}
	if !readable(int(patience / time.Millisecond)) {
		t.Fatal("no answer")
	}
	h.on(func() {
		if steps != 1 {
			t.Errorf("%d steps were kept", steps)
		}
	})
}

// TestBreakPidfdBehindReplies: the descriptors are with their reply however much was to be sent before, and there are none for one who
// reads nothing.
func TestBreakPidfdBehindReplies(t *testing.T) {
	h := start(t)
	p, c := h.client(0), h.dial()
	p.acquire("a", "FOR", "self")
	text := strings.Repeat("x", 1000)
	c.send("ECHO " + text + "\r\nLOCK.BREAK a PIDFD\r\nPING\r\n")
	c.want("$1000\r\n" + text + "\r\n")
	if v := c.value(); len(v.Elems) != 1 || v.Elems[0].Elems[len(v.Elems[0].Elems)-1].Int != 1 {
		t.Errorf("got %+v", v)
	}
	c.want("+PONG\r\n")

	p.acquire("a", "FOR", "self")
	deaf := h.dial3()
	deaf.do("BUS.SUB", "x")
	id := deaf.id()
	blocked := func() bool { return h.session(id).Blocked() }
	other := h.dial()
	for full := false; !full; h.on(func() { full = blocked() }) {
		other.do("PUBLISH", "x", strings.Repeat("y", 30<<10))
	}
	deaf.cmd("LOCK.BREAK", "a", "PIDFD")
	h.until("it is broken", func() bool { return h.figures().Held == 0 })
	for {
		v := deaf.value()
		if v.Kind == wire.KindArray {
			if len(v.Elems) != 1 || v.Elems[0].Get("pidfd").Int != 0 {
				t.Errorf("got %+v", v)
			}
			break
		}
	}
}

// TestBreakLongReply: the socket may take a part of the reply, with the descriptors, that ends anywhere within a value.
func TestBreakLongReply(t *testing.T) {
	const holds = 900
	h := start(t)
	p, c := h.client(0), h.dial()
	id := c.id()
	for shift := range 10 {
		p.acquire("a", "SHARED", "FOR", "self", "WHY", strings.Repeat("y", shift))
		c.doEach(holds, func(i int) []string { return []string{"LOCK.ACQUIRE", "a", "SHARED", "OWNER", fmt.Sprint(i)} })
		c.cmd("LOCK.BREAK", "a", "PIDFD")
		h.until("the socket is full", func() bool { return h.session(id).Blocked() })
		c.cmd("PING")
		v := c.value()
		if len(v.Elems) != holds+1 {
			t.Fatalf("got %d holders", len(v.Elems))
		}
		for i, e := range v.Elems[:2] {
			if last := e.Elems[len(e.Elems)-1]; last.Int != 1 {
				t.Errorf("%d: got %+v", i, e)
			}
		}
		c.want("+PONG\r\n")
		h.claims(0)
	}
}

// TestBreakBetweenMessages: to send descriptors in the middle of a turn does not lose the messages that come later in it.
func TestBreakBetweenMessages(t *testing.T) {
	h := start(t)
	p, c, one, two := h.client(0), h.dial3(), h.dial(), h.dial()
	p.acquire("a", "FOR", "self")
	c.do("BUS.SUB", "x")
	h.on(func() { // so that all is there when the next turn begins
		one.cmd("PUBLISH", "x", "1")
		c.cmd("LOCK.BREAK", "a", "PIDFD")
		two.cmd("PUBLISH", "x", "2")
	})
	if topic, text := c.message(); topic != "x" || text != "1" {
		t.Errorf("got %s %q", topic, text)
	}
	if v := c.value(); len(v.Elems) != 1 || v.Elems[0].Get("pidfd").Int != 1 {
		t.Errorf("got %+v", v)
	}
	if topic, text := c.message(); topic != "x" || text != "2" {
		t.Errorf("got %s %q", topic, text)
	}
}

// message reads one of BUS.SUB.
func (c *client) message() (topic, payload string) {
	c.t.Helper()
	v := c.value()
	if v.Kind != wire.KindPush || len(v.Elems) < 4 || v.Elems[0].Str != "bus.message" {
		c.t.Fatalf("got %+v, want a message", v)
	}
	return v.Elems[2].Str, v.Elems[3].Str
}

// TestBreakForeign: only root and the user of the holder break a lock, join a hold or show it.
func TestBreakForeign(t *testing.T) {
	testenv.Root(t)
	const uid = 4321
	h := start(t)
	root := h.dial3()
	mine, other := h.client(0, as(uid)), h.client(0, as(uid+1))
	g := mine.acquire("a")
	other.refused(wire.CodeDenied, `"a" is held by user 4321`, "LOCK.BREAK", "a")
	other.refused(wire.CodeDenied, "", "LOCK.ACQUIRE", "a", "JOIN", g.token)
	other.refused(wire.CodeDenied, "", "LOCK.DOWNGRADE", "a", g.token)
	other.refused(wire.CodeDenied, "", "LOCK.RENEW", "a", g.token, "LEASE", "1")
	other.refused(wire.CodeDenied, "", "LOCK.RELEASE", "a", g.token, "PID", fmt.Sprint(mine.pid))
	other.refused(wire.CodeDenied, "", "LOCK.DONE", "a", g.token, "PER", "ever")
	other.refused(wire.CodeBusy, "", "LOCK.ACQUIRE", "a", "WITH", g.token, "a", "WAIT", "0")
	other.do("LOCK.CHECK", "a", g.token)
	mine.do("LOCK.DONE", "a", g.token, "PER", "ever")
	if n := other.do("LOCK.FORGET", "a").Int; n != 0 {
		t.Errorf("%d are forgotten", n)
	}
	if n := root.do("LOCK.FORGET", "a").Int; n != 1 {
		t.Errorf("%d are forgotten", n)
	}
	root.acquire("a", "JOIN", g.token)
	root.acquire("a", "OWNER", "2", "WITH", g.token, "a")
	if v := root.do("LOCK.BREAK", "a"); len(v.Elems) != 3 {
		t.Errorf("got %+v", v)
	}
	h.claims(0)
}

// TestDeadlock: the request that would close a circle is refused, and told which.
func TestDeadlock(t *testing.T) {
	h := start(t)
	a, b := h.client(0), h.client(0)
	a.acquire("a")
	b.acquire("b")
	h.queue(&a.client, "b")
	who := func(c *child) string {
		if h.self.Unit != "" {
			return fmt.Sprintf("pid %d (uid %d, %s)", c.pid, os.Getuid(), h.self.Unit)
		}
		return fmt.Sprintf("pid %d (uid %d)", c.pid, os.Getuid())
	}
	want := fmt.Sprintf(`%s would wait for "a", which %s holds; pid %d waits for "b", which pid %d holds`, who(b), who(a), a.pid, b.pid)
	b.refused(wire.CodeDeadlock, want, "LOCK.ACQUIRE", "a")
	b.refused(wire.CodeBusy, "", "LOCK.ACQUIRE", "a", "WAIT", "0")
	b.refused(wire.CodeTimeout, "", "LOCK.ACQUIRE", "a", "WAIT", "1")
	b.do("LOCK.RELEASE", "b")
	a.granted()
	h.claims(2)

	// A third, behind one who waits.
	c := h.client(0)
	c.acquire("c")
	h.queue(&b.client, "a")
	h.queue(&c.client, "a")
	a.refused(wire.CodeDeadlock, "which "+who(c)+" holds; pid "+fmt.Sprint(c.pid)+` waits for "a", which pid `+fmt.Sprint(a.pid)+" holds",
		"LOCK.ACQUIRE", "c", "AND", "free")
}

// TestAncestor: one who descends from the holder would wait for it for ever, as the holder waits for its end.
func TestAncestor(t *testing.T) {
	h := start(t)
	parent, child := h.dial3(), h.client(0) // this process, and its child
	g := parent.acquire("a")
	for range 2 { // the second time they are known
		child.refused(wire.CodeDeadlock, fmt.Sprintf(`would wait for "a", which %s holds`, describeSelf(h)), "LOCK.ACQUIRE", "b", "AND", "a")
	}
	for range 2 { // no process is watched for it, and yet they are known the second time
		child.refused(wire.CodeDeadlock, "", "LOCK.ACQUIRE", "a", "LEASE", "1000")
	}
	child.refused(wire.CodeDeadlock, "", "LOCK.ACQUIRE", "a", "FOR", "nobody")
	child.refused(wire.CodeBusy, "", "LOCK.ACQUIRE", "a", "WAIT", "0")
	child.refused(wire.CodeTimeout, "", "LOCK.ACQUIRE", "a", "WAIT", "1")
	parent.do("LOCK.RELEASE", "a", g.token)
	parent.acquire("a", "LEASE", "60000") // ends by itself
	h.queue(&child.client, "a")
	h.claims(2)
}
