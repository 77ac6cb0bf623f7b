package server

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/ipc/wire"
)

// bequest is a push of BUS.SUB with what is told of its sender: the number of the process, and how it ended.
func bequest(v wire.Value) string {
	text := told(v)
	if len(v.Elems) >= 9 {
		text += fmt.Sprintf(" from %d", v.Elems[6].Int)
	}
	for _, more := range v.Elems[min(9, len(v.Elems)):] {
		if how := more.Get("ended").Str; how != "" {
			text += ", " + how
		}
	}
	return text
}

func (c *client) bequeathed(want ...string) {
	c.t.Helper()
	for _, want := range want {
		if got := bequest(c.value()); got != want {
			c.t.Errorf("a subscriber is told %s, want %s", got, want)
		}
	}
}

// wills checks how many wills there are, and are charged.
func (h *harness) wills(want int) {
	h.t.Helper()
	var got, charged int
	h.on(func() { got, charged = h.Server.wills.Len(), h.set.Users.Total(account.Wills) })
	if got != want || charged != want {
		h.t.Errorf("there are %d wills, and %d are charged, want %d", got, charged, want)
	}
}

// TestWills: a will is published when its process has ended, from whom it is of, with how that ended, as far as the kernel tells, once; also
// that of its connection.
func TestWills(t *testing.T) {
	for _, c := range []struct {
		name   string
		reaped bool
		status int
		signal syscall.Signal // 0: it exits
		how    string
	}{
		{"exited", true, 3, 0, "exited 3"},
		{"killed", true, 0, syscall.SIGKILL, "killed 9"},
		{"terminated", true, 0, syscall.SIGTERM, "killed 15"},
		{"exited, and not reaped", false, 3, 0, "exited 3"},
		{"killed, and not reaped", false, 0, syscall.SIGKILL, "killed 9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.reaped {
				testenv.Kernel(t, 6, 15, needsStatus)
			}
			h := start(t, func(s *Setup, _ *Options) {
				if c.reaped { // however busy the machine is, the parent comes to it
					s.EndingTime = patience
				}
			})
			sub := h.dial3()
			sub.do("BUS.SUB", "#")
			var p *child
			if c.reaped {
				p = h.reaped(c.status)
			} else {
				p = h.client(c.status)
			}
			p.do("BUS.WILL", "a", "of the process", "FOR", "self", "HEADER", "x", "1")
			p.do("BUS.WILL", "a", "of the connection")
			p.do("BUS.WILL", "b", "before", "FOR", "self")
			p.do("BUS.WILL", "b", "after", "FOR", "self", "RETAIN")
			p.do("BUS.WILL", "c", "taken back", "FOR", "self")
			p.do("BUS.UNWILL", "c", "FOR", "self")
			h.wills(3)
			if c.signal == 0 {
				p.end()
			} else {
				p.kill(c.signal)
			}
			all := map[string]bool{}
			for range 3 {
				all[bequest(sub.value())] = true
			}
			for _, want := range []string{"a=of the process x:1", "a=of the connection", "b=after"} {
				if want = fmt.Sprintf("%s from %d, %s", want, p.pid, c.how); !all[want] {
					t.Errorf("nobody was told %s but %v", want, all)
				}
			}
			v := sub.do("BUS.GET", "b")
			if v.Get("payload").Str != "after" || v.Get("ended").Str != c.how || int(v.Get("pid").Int) != p.pid {
				t.Errorf("the value is %+v", v)
			}
			sub.sync()
			h.wills(0)
		})
	}
}

// TestWillOfConnection: it is published when the connection ends and the process does not, and one that was taken back is not.
func TestWillOfConnection(t *testing.T) {
	h := start(t)
	sub, c := h.dial3(), h.dial3()
	sub.do("BUS.SUB", "#")
	c.do("BUS.WILL", "a", "gone")
	c.do("BUS.WILL", "b", "taken back")
	c.do("BUS.WILL", "self", "of the process", "FOR", "self")
	if n := c.do("BUS.UNWILL", "b").Int + c.do("BUS.UNWILL", "b").Int + c.do("BUS.UNWILL", "self").Int; n != 1 {
		t.Errorf("%d wills were taken back", n)
	}
	c.do("RESET") // which does not end it
	c.close()
	sub.bequeathed(fmt.Sprintf("a=gone from %d, disconnected", os.Getpid()))
	h.wills(1)
	if n := h.dial3().do("BUS.UNWILL", "self", "FOR", "self").Int; n != 1 {
		t.Errorf("that of the process is not there: %d", n)
	}
	sub.sync()
	h.wills(0)
}

// TestWillClears: the value of a topic goes with its process, who follows it is told, and that of another stays.
func TestWillClears(t *testing.T) {
	h := start(t)
	p, next, sub := h.client(3), h.client(4), h.dial3()
	hold := func(p *child, topic string) {
		p.do("BUS.WILL", topic, "", "CLEAR", "FOR", "self")
		p.do("BUS.PUB", topic, fmt.Sprint(p.pid), "RETAIN")
	}
	hold(p, "leader")
	hold(p, "online/1")
	hold(next, "leader")
	sub.do("BUS.SUB", "#")
	sub.told(fmt.Sprintf("leader=%d retained", next.pid), fmt.Sprintf("online/1=%d retained", p.pid))
	p.end()
	sub.bequeathed(fmt.Sprintf("online/1= from %d, exited 3", p.pid))
	if got := sub.topics(); !strings.HasPrefix(got, "leader:") || strings.Contains(got, "online") {
		t.Errorf("there are %s", got)
	}
	next.end()
	sub.bequeathed(fmt.Sprintf("leader= from %d, exited 4", next.pid))
	if got := sub.topics(); got != "" {
		t.Errorf("there are %s", got)
	}
	sub.sync()
	h.wills(0)
}

// TestWillExpires: the time of a will counts from when it is published, whether the value that it is then outlives the daemon or not, and who
// gets it is told.
func TestWillExpires(t *testing.T) {
	m := newManual(t, 1)
	dies, reader := m.connect(false), m.connect(false)
	reader.cmd("HELLO", "3")
	reader.cmd("BUS.SUB", "#")
	dies.cmd("BUS.WILL", "a", "gone", "RETAIN", "EXPIRES", "1000")
	m.settle()
	now := m.set.Now() + time.Hour
	m.at(now)
	dies.close()
	m.settle()
	now += time.Minute // the kernel has had its time
	reader.take()
	m.at(now)
	for m.step() {
		reader.read(64 << 10)
	}
	told := map[int64]bool{}
	for v := range values(t, []byte(reader.take())) {
		if v.Kind == wire.KindPush {
			told[v.Elems[10].Get("expires").Int-v.Elems[5].Int] = true
		}
	}
	if !told[1_000_000] || len(told) != 1 {
		t.Errorf("it is over so many microseconds after it is published: %v", told)
	}
	for _, x := range []struct {
		after time.Duration
		there bool
	}{{time.Second - 1, true}, {time.Second, false}} {
		reader.cmd("BUS.GET", "a")
		m.at(now+x.after, reader.event(1))
		for m.step() {
			reader.read(64 << 10)
		}
		if got := reader.take(); strings.Contains(got, "gone") != x.there {
			t.Errorf("after %v it is %q", x.after, got)
		}
	}
}

// TestWillExpiresAfterRestart: the time of a will is written down, too.
func TestWillExpiresAfterRestart(t *testing.T) {
	h := start(t)
	p := h.client(3)
	p.do("BUS.WILL", "a", "gone", "FOR", "self", "RETAIN", "EXPIRES", "3600000")
	h = restart(h)
	sub := h.dial3()
	sub.do("BUS.SUB", "#")
	p.end()
	if got := told(sub.value()); got != "a=gone expires" {
		t.Errorf("it is told as %s", got)
	}
	if left := sub.do("BUS.GET", "a").Get("expires").Int; left <= 0 || left > 3600000 {
		t.Errorf("it lasts %d ms", left)
	}
	h = restart(h)
	if left := h.dial3().do("BUS.GET", "a").Get("expires").Int; left <= 0 || left > 3600000 {
		t.Errorf("after a restart it lasts %d ms", left)
	}
}

// TestWillForNumber: who says its own number needs no proof.
func TestWillForNumber(t *testing.T) {
	h := start(t)
	c := h.dial()
	c.proven = true // it is not
	own := fmt.Sprint(os.Getpid())
	c.do("BUS.WILL", "a", "x", "FOR", own)
	c.close()
	h.quiesce()
	h.wills(1)
	if n := h.dial().do("BUS.UNWILL", "a", "FOR", own).Int; n != 1 {
		t.Errorf("%d wills were taken back", n)
	}
	h.wills(0)
}

// TestWillForPid: a process may say the will of another one of its user, by a pidfd of it.
func TestWillForPid(t *testing.T) {
	h := start(t)
	c, sub, idle := h.dial3(), h.dial3(), spawn(t, nil, "idle", "5")
	sub.do("BUS.SUB", "#")
	fd := pidfd(t, idle.pid)
	c.cmdFDs([]int{fd}, "BUS.WILL", "a", "x", "FOR", "pid")
	c.want("+OK\r\n")
	c.cmdFDs([]int{fd}, "BUS.WILL", "b", "y", "FOR", "pid")
	c.want("+OK\r\n")
	c.cmdFDs([]int{fd}, "BUS.UNWILL", "a", "FOR", "pid")
	c.want(":1\r\n")
	c.refused(wire.CodeDenied, "wants the pidfd", "BUS.WILL", "a", "x", "FOR", "pid")
	c.cmdFDs([]int{fd}, "BUS.WILL", "a", "x", "FOR", "pid", "SOON")
	c.fails(wire.CodeErr, "syntax")
	c.refused(wire.CodeDenied, "wants the pidfd", "BUS.WILL", "a", "x", "FOR", "pid") // that one was closed
	idle.end()
	sub.bequeathed(fmt.Sprintf("b=y from %d, exited 5", idle.pid))
	sub.sync()
	h.wills(0)
}

// TestWillRefused: what is refused leaves nothing behind.
func TestWillRefused(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) {
		o.Limits.WillsPerUser, o.Limits.RetainedBytesPerUser, o.Limits.RetainedBytes = 3, 100, 150
	})
	c := h.dial3()
	for words, code := range map[string]wire.Code{
		"BUS.WILL a/# x": wire.CodeBadName, "BUS.WILL ipcd/a x": wire.CodeDenied, "BUS.WILL a x RETAIN CLEAR": wire.CodeErr,
		"BUS.WILL a x FOR nobody": wire.CodeErr, "BUS.WILL a x FOR 0": wire.CodeErr, "BUS.WILL a x FOR 1": wire.CodeDenied, "BUS.WILL a x FOR": wire.CodeErr, "BUS.WILL a x EXPIRES 0": wire.CodeErr, "BUS.WILL a x EXPIRES": wire.CodeErr,
		"BUS.WILL a x HEADER A b": wire.CodeErr, "BUS.UNWILL +": wire.CodeBadName, "BUS.UNWILL a x": wire.CodeErr, "BUS.UNWILL a RETAIN 1": wire.CodeErr,
		"BUS.WILL a " + strings.Repeat("x", 100): wire.CodeQuota,
	} {
		c.refused(code, "", strings.Fields(words)...)
	}
	raw := h.dial3()
	raw.proven = true // it is not
	raw.refused(wire.CodeDenied, "IPCD.PROVE", "BUS.WILL", "a", "x", "FOR", "self")
	h.wills(0)
	h.on(func() {
		if n := h.watch.Uses(); n != 0 {
			t.Errorf("%d processes are watched", n)
		}
	})
	for _, topic := range []string{"a", "b", "c"} {
		c.do("BUS.WILL", topic, strings.Repeat("x", 20))
	}
	c.refused(wire.CodeQuota, "limits.wills_per_user", "BUS.WILL", "d", "x")
	c.do("BUS.WILL", "c", strings.Repeat("y", 50)) // in the place of the one before
	c.refused(wire.CodeQuota, "limits.retained_bytes_per_user", "BUS.PUB", "v", strings.Repeat("x", 20), "RETAIN")
	c.do("BUS.UNWILL", "c")
	c.do("BUS.PUB", "v", strings.Repeat("x", 20), "RETAIN")
	h.wills(2)
	kept := h.setup.Journal.(*memory)
	kept.mu.Lock()
	kept.full = true
	kept.mu.Unlock()
	c.refused(wire.CodeIO, "cannot be written down", "BUS.WILL", "d", "x")
	h.wills(2)
}

// TestWillThatRetainsIsCounted: a will that is to be the value of its topic counts as one from the start, of its user and of all: so however
// many wills become values, there are no more of these than there may be.
func TestWillThatRetainsIsCounted(t *testing.T) {
	s := newStage(t, func(_ *Setup, o *Options) { o.Limits.RetainedPerUser, o.Limits.Retained = 3, 4 })
	ask := func(c actor, want string, words ...string) {
		t.Helper()
		c.cmd(words...)
		s.settle()
		if got := c.Take(); got[0] == '-' != (want != "") || !strings.Contains(got, want) {
			t.Errorf("%q is answered %q, want %q", words, got, want)
		}
	}
	const ofUser, ofAll = "limits.retained_per_user)", "limits.retained)"
	one, other := s.connect(1001), s.connect(1002)
	ask(one, "", "BUS.PUB", "a", "1", "RETAIN")
	ask(one, "", "BUS.WILL", "a", "2", "RETAIN") // it counts, though it will be in the place of a value
	ask(one, "", "BUS.WILL", "b", "", "RETAIN")
	ask(one, "", "BUS.WILL", "b", "2", "RETAIN") // in the place of the one before
	ask(one, "", "BUS.WILL", "c", "told")
	ask(one, "", "BUS.WILL", "d", "", "CLEAR")
	for _, words := range [][]string{{"BUS.WILL", "c", "", "RETAIN"}, {"BUS.WILL", "d", "", "RETAIN"}, {"BUS.WILL", "e", "", "RETAIN"}, {"BUS.PUB", "e", "", "RETAIN"}} {
		ask(one, ofUser, words...)
	}
	ask(other, "", "BUS.WILL", "e", "", "RETAIN")
	ask(other, ofAll, "BUS.WILL", "f", "", "RETAIN")
	ask(other, ofAll, "BUS.PUB", "f", "", "RETAIN")
	ask(other, "", "BUS.PUB", "a", "3", "RETAIN") // the other's is given back to him
	ask(one, ofAll, "BUS.WILL", "c", "", "RETAIN")
	ask(other, "", "BUS.UNWILL", "e")
	ask(one, "", "BUS.WILL", "c", "", "RETAIN")

	for _, c := range []actor{one, other} {
		c.Close()
	}
	s.settle()
	s.set.Loop.TimeUp() // the kernel has had the time to tell more of the ends
	s.set.Loop.Clock.SetNow(s.set.Now() + time.Second)
	s.settle()
	if n := s.wills.Len(); n != 0 {
		t.Errorf("%d wills are left", n)
	}
	one = s.connect(1001)
	ask(one, "", "BUS.LIST")
	if values, _ := s.messages.Retained(); values != 3 || s.set.Users.Find(1001).Used(account.Retained) != 3 {
		t.Errorf("%d values are left", values)
	}
	ask(one, ofUser, "BUS.WILL", "e", "", "RETAIN")
	ask(one, "", "BUS.CLEAR", "a")
	ask(one, "", "BUS.WILL", "e", "", "RETAIN")
}

// TestWillsOutlive: the wills of who has ended while there was no daemon are published before the next one serves anybody, and those of the
// living are not.
func TestWillsOutlive(t *testing.T) {
	h := start(t)
	dead, alive := h.client(0), h.client(6)
	for _, p := range []*child{dead, alive} {
		p.do("BUS.WILL", fmt.Sprint("online/", p.pid), "", "CLEAR", "FOR", "self")
		p.do("BUS.PUB", fmt.Sprint("online/", p.pid), "up", "RETAIN")
		p.do("BUS.WILL", fmt.Sprint("last/", p.pid), "word", "RETAIN")
	}
	h.stop()
	dead.kill(syscall.SIGKILL)
	_ = dead.cmd.Wait()
	h = restart(h)
	sub := h.dial3()
	if got, want := sub.topics(), fmt.Sprintf("last/%d:4 online/%d:2", dead.pid, alive.pid); got != want {
		t.Errorf("there are %s, want %s", got, want)
	}
	if v := sub.do("BUS.GET", fmt.Sprint("last/", dead.pid)); v.Get("ended").Str != "unknown" {
		t.Errorf("its last word is %+v", v)
	}
	h.wills(2)
	sub.do("BUS.SUB", "online/#")
	sub.told(fmt.Sprintf("online/%d=up retained", alive.pid))
	alive.end()
	sub.bequeathed(fmt.Sprintf("online/%d= from %d, exited 6", alive.pid, alive.pid))
	h.until("its last word is there", func() bool { return h.Server.wills.Len() == 0 })
	if v := sub.do("BUS.GET", fmt.Sprint("last/", alive.pid)); v.Get("ended").Str != "exited 6" {
		t.Errorf("its last word is %+v", v)
	}
	h = restart(h)
	h.wills(0)
	if got := h.dial3().topics("online/#"); got != "" {
		t.Errorf("after one more restart there are %s", got)
	}
}

// TestWillComesBack: a process whose connection was lost with the daemon has some time to come back and say its will again, or take it back.
// Else it was disconnected.
func TestWillComesBack(t *testing.T) {
	h := start(t)
	c := h.dial3()
	for _, topic := range []string{"again", "back", "lost"} {
		c.do("BUS.WILL", topic, "before")
	}
	var kept *memory
	h.on(func() { kept = h.setup.Journal.(*memory) })
	h.stop()
	m := newManual(t, 1, func(s *Setup, _ *Options) { s.Records, s.Journal = must(kept.Read()), kept })
	m.watch.FindKnown()
	m.wills.Start()
	due, _ := m.set.Loop.Timers.Next()
	sub, p := m.connect(false), m.connect(false)
	sub.cmd("HELLO", "3")
	sub.cmd("BUS.SUB", "#")
	p.cmd("BUS.WILL", "again", "after")
	p.cmd("BUS.UNWILL", "back")
	m.settle()
	if got := p.take(); got != "+OK\r\n:1\r\n" {
		t.Errorf("who has come back is told %q", got)
	}
	sub.take()
	m.at(due - 1)
	m.settle()
	if got := sub.take(); got != "" {
		t.Errorf("before its time is over they are told %q", got)
	}
	m.at(due)
	m.settle()
	if got := sub.take(); strings.Count(got, "bus.message") != 1 || !strings.Contains(got, "lost") || !strings.Contains(got, "disconnected") {
		t.Errorf("then they are told %q", got)
	}
	if n := m.wills.Len(); n != 1 {
		t.Errorf("%d wills are left", n)
	}
	p.close()
	m.settle()
	m.at(due + m.watch.EndingTime() + 1)
	m.settle()
	if got := sub.take(); strings.Count(got, "bus.message") != 1 || !strings.Contains(got, "after") {
		t.Errorf("at its end they are told %q", got)
	}
}

// TestWillRecordedThenTold: when anybody is told of an end, it is in the journal, as one with what becomes of the value.
func TestWillRecordedThenTold(t *testing.T) {
	m := newManual(t, 1)
	kept := m.setup.Journal.(*memory)
	c, sub := m.connect(false), m.connect(false)
	sub.cmd("HELLO", "3")
	sub.cmd("BUS.SUB", "#")
	told := ""
	kept.after = func(*memory) {
		m.set.Net.FlushAll()
		told = c.take() + sub.take()
	}
	for _, words := range []string{"BUS.WILL a bye RETAIN", "BUS.WILL b bye CLEAR"} {
		m.settle()
		c.take()
		sub.take()
		c.cmd(strings.Fields(words)...)
		if m.settle(); told != "" || c.take() != "+OK\r\n" {
			t.Errorf("before it was recorded somebody was told %q", told)
		}
	}
	steps := kept.steps
	c.close()
	m.settle()
	m.at(m.set.Now() + m.watch.EndingTime() + 1)
	m.settle()
	if got := sub.take(); strings.Count(got, "bus.message") != 1 || !strings.Contains(got, "$1\r\nb\r\n$3\r\nbye") {
		t.Errorf("at the end they are told %q", got)
	}
	if !strings.Contains(told, "$1\r\na\r\n$3\r\nbye") || strings.Count(told, "bus.message") != 1 || kept.steps != steps+2 {
		t.Errorf("before the second of %d records they were told %q", kept.steps-steps, told)
	}
}

// TestWillOnce: a repeat of a will by its REQID is no other will, and does not bring back one that was taken back.
func TestWillOnce(t *testing.T) {
	h := start(t)
	c := h.dial3()
	c.do("BUS.WILL", "a", "x", "FOR", "self", "REQID", "1")
	c.do("BUS.UNWILL", "a", "FOR", "self", "REQID", "2")
	c.do("BUS.WILL", "a", "x", "FOR", "self", "REQID", "1")
	h.wills(0)
	if n := c.do("BUS.UNWILL", "a", "FOR", "self", "REQID", "2").Int; n != 1 {
		t.Errorf("the repeat says %d", n)
	}
}

// TestVeryManyWills: what is left behind by who had very many is published in the order in which it was said, and bit by bit.
func TestVeryManyWills(t *testing.T) {
	const many = 900
	h := start(t)
	c, sub := h.dial3(), h.dial3()
	sub.do("BUS.SUB", "#")
	for i := range many {
		c.cmd("BUS.WILL", fmt.Sprint("t/", i), "x")
	}
	for range many {
		c.want("+OK\r\n")
	}
	c.close()
	for i := range many {
		if got, want := bequest(sub.value()), fmt.Sprintf("t/%d=x from %d, disconnected", i, os.Getpid()); got != want {
			t.Fatalf("a subscriber is told %s, want %s", got, want)
		}
	}
	h.wills(0)
}

// TestWillOfOther: nobody says the will of another user's process.
func TestWillOfOther(t *testing.T) {
	testenv.Root(t)
	h := start(t)
	c := spawn(t, []func(*exec.Cmd){as(4322)}, "send", h.address, fmt.Sprint(os.Getpid()), "BUS.WILL a x FOR pid\r\n")
	c.fails(wire.CodeDenied, "not yours")
	h.wills(0)
}

// TestWillsTakenBack: what was taken back, or has given way to another, is not there after a restart.
func TestWillsTakenBack(t *testing.T) {
	h := start(t)
	p := h.client(0)
	p.do("BUS.WILL", "a", "taken back", "FOR", "self", "RETAIN")
	p.do("BUS.WILL", "b", "before", "FOR", "self", "RETAIN")
	p.do("BUS.WILL", "b", "after", "FOR", "self", "RETAIN")
	p.do("BUS.UNWILL", "a", "FOR", "self")
	h.stop()
	p.kill(syscall.SIGKILL)
	_ = p.cmd.Wait()
	h = restart(h)
	if got := h.dial3().topics(); got != "b:5" {
		t.Errorf("there are %s", got)
	}
	h.wills(0)
}

// TestPublishUnder: a message under a lock is published by who holds it by the token, and else is refused, and nothing is retained.
func TestPublishUnder(t *testing.T) {
	h := start(t)
	c, other := h.dial3(), h.dial3()
	token := c.acquire("a", "LEASE", "3600000").token
	c.do("BUS.PUB", "t", "first", "RETAIN", "UNDER", "a", token)
	c.do("LOCK.RELEASE", "a", token)
	next := other.acquire("a", "LEASE", "3600000").token
	c.refused(wire.CodeStale, "token "+token, "BUS.PUB", "t", "late", "RETAIN", "UNDER", "a", token)
	c.refused(wire.CodeNoLock, "", "BUS.PUB", "t", "late", "UNDER", "b", token)
	c.refused(wire.CodeErr, "positive number", "BUS.PUB", "t", "late", "UNDER", "a", "x")
	c.refused(wire.CodeErr, "syntax", "BUS.PUB", "t", "late", "UNDER", "a")
	if got := c.do("BUS.GET", "t").Get("payload").Str; got != "first" {
		t.Errorf("the value is %q", got)
	}
	c.do("BUS.PUB", "t", "next", "RETAIN", "UNDER", "a", next)
	c.refused(wire.CodeStale, "token "+token, "BUS.CLEAR", "t", "UNDER", "a", token)
	c.refused(wire.CodeNoLock, "", "BUS.CLEAR", "t", "UNDER", "b", token)
	c.refused(wire.CodeErr, "syntax", "BUS.CLEAR", "t", "OVER", "a", next)
	c.refused(wire.CodeErr, "syntax", "BUS.CLEAR", "t", "UNDER", "a")
	if os.Getuid() == 0 {
		foreign := h.client(0, as(4322))
		foreign.refused(wire.CodeDenied, "is held by user", "BUS.PUB", "t", "x", "UNDER", "a", next)
		foreign.refused(wire.CodeDenied, "is held by user", "BUS.CLEAR", "t", "UNDER", "a", next)
	}
	if got := c.do("BUS.GET", "t").Get("payload").Str; got != "next" {
		t.Errorf("the value is %q", got)
	}
	for _, want := range []int64{1, 0} {
		if n := c.do("BUS.CLEAR", "t", "under", "a", next).Int; n != want {
			t.Errorf("to clear it is answered %d, want %d", n, want)
		}
	}
}
