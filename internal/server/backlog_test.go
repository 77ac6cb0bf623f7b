package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/ipc/wire"
)

// TestDropOldest: one who does not read keeps the newest messages, and is told of all that were dropped by one push for
// each filter, where they were.
func TestDropOldest(t *testing.T) {
	const limit, messages = 64 << 10, 5000
	m := newManual(t, 1, func(_ *Setup, o *Options) { o.Limits.Output = limit })
	slow, publisher := m.connect(true), m.connect(false)
	slow.cmd("HELLO", "3")
	slow.cmd("BUS.SUB", "a")
	slow.cmd("BUS.SUB", "#")
	m.settle()
	slow.take()
	most := 0
	for i := range messages {
		publisher.cmd("PUBLISH", "a", fmt.Sprint(i))
		for m.step() {
		}
		most = max(most, m.of(slow).backlog())
	}
	if most > limit {
		t.Errorf("%d bytes were held, over %d", most, limit)
	}
	m.settle()
	type seen struct{ before, lost, after, pushes int }
	got := map[string]*seen{"a": {}, "#": {}}
	for v := range values(t, slow.got) {
		s := got[v.Elems[1].Str]
		next := s.before + s.lost + s.after
		switch {
		case v.Elems[0].Str == "bus.lost":
			s.pushes++
			s.lost += int(v.Elems[2].Int)
		case v.Elems[3].Str != fmt.Sprint(next):
			t.Fatalf("%s: message %s, want %d", v.Elems[1].Str, v.Elems[3].Str, next)
		case s.pushes > 0:
			s.after++
		default:
			s.before++
		}
	}
	lost := 0
	for filter, s := range got {
		t.Logf("%s: %+v", filter, *s)
		if s.before+s.lost+s.after != messages || s.pushes != 1 || s.after < limit/2/100/2 {
			t.Errorf("%s: %+v", filter, *s)
		}
		lost += s.lost
	}
	if uint64(lost) != m.stats.dropped {
		t.Errorf("%d told to be lost, %d in the statistics", lost, m.stats.dropped)
	}
	m.charged(0)
}

// TestDropsLittle: what is dropped for a message is little more than its own size, however long the backlog is: it takes time, in
// which everybody waits. Nothing of it is lost but that.
func TestDropsLittle(t *testing.T) {
	const limit, size, messages = 1 << 20, 4 << 10, 600
	m := newManual(t, 1, func(_ *Setup, o *Options) { o.Limits.Output = limit })
	slow, publisher := m.connect(true), m.connect(false)
	slow.cmd("HELLO", "3")
	slow.cmd("BUS.SUB", "a")
	m.settle()
	slow.take()
	most, before, parts := uint64(0), uint64(0), 0
	for range messages {
		publisher.cmd("PUBLISH", "a", strings.Repeat("x", size))
		for m.step() {
		}
		publisher.take()
		parts = max(parts, len(m.of(slow).parts))
		most, before = max(most, m.stats.dropped-before), m.stats.dropped
	}
	if most == 0 || most > largestPart/size || parts < limit/largestPart/2 {
		t.Errorf("%d messages are dropped for one, of a backlog in %d parts", most, parts)
	}
	if left := m.of(slow).backlog(); left < limit-2*largestPart {
		t.Errorf("%d bytes are left", left)
	}
	m.settle()
	got, lost := 0, int64(0)
	for v := range values(t, slow.got) {
		if v.Elems[0].Str == "bus.lost" {
			lost += v.Elems[2].Int
		} else {
			got++
		}
	}
	if got+int(lost) != messages || uint64(lost) != m.stats.dropped {
		t.Errorf("%d messages came and %d are told to be lost, of %d; %d in the statistics", got, lost, messages, m.stats.dropped)
	}
	m.charged(0)
}

// TestDropsNewest: where what waits is no messages, or a message is larger than all that may wait, it is the new ones
// that are missed; and the next one that finds room is behind the word of it.
func TestDropsNewest(t *testing.T) {
	const limit = 64 << 10
	m := newManual(t, 1, func(_ *Setup, o *Options) { o.Limits.Output = limit })
	slow, publisher := m.connect(true), m.connect(false)
	slow.cmd("HELLO", "3")
	slow.cmd("BUS.SUB", "a")
	m.settle()
	slow.take()
	slow.cmd("ECHO", strings.Repeat("e", 2*limit))
	for m.step() || slow.write() {
	}
	publish := func(size int) string {
		publisher.cmd("BUS.PUB", "a", strings.Repeat("x", size))
		for m.step() {
		}
		return publisher.take()
	}
	for range 3 {
		if got := publish(100); !strings.HasSuffix(got, "$9\r\ndelivered\r\n:0\r\n$7\r\ndropped\r\n:1\r\n") {
			t.Errorf("behind a long reply: got %q", got)
		}
	}
	m.settle()
	slow.take()
	publish(limit / 2)
	publish(limit / 2)
	if got := publish(2 * limit); !strings.HasSuffix(got, "$9\r\ndelivered\r\n:0\r\n$7\r\ndropped\r\n:2\r\n") {
		t.Errorf("one that is too long for all: got %q", got)
	}
	publish(10)
	m.settle()
	var words []string
	for v := range values(t, slow.got) {
		words = append(words, v.Elems[0].Str)
	}
	if got := strings.Join(words, " "); got != "bus.message bus.lost bus.message" && got != "bus.message bus.lost bus.lost bus.message" {
		t.Errorf("got %s", got)
	}
}

// TestSlowSubscribersLeaveRoom: what a user's subscribers do not read takes at most half of what he may hold. His other
// connections' commands and replies have the rest, nobody is ended, and all that is missed is told.
func TestSlowSubscribersLeaveRoom(t *testing.T) {
	const limit, subscribers, messages = 1 << 20, 100, 300
	m := newManual(t, 1, func(_ *Setup, o *Options) { o.Limits.BuffersPerUser, o.Limits.Output = limit, 256<<10 })
	publisher, other := m.connect(false), m.connect(true)
	var slow []*end
	for range subscribers {
		c := m.connect(true)
		c.cmd("HELLO", "3")
		c.cmd("BUS.SUB", "a")
		slow = append(slow, c)
	}
	m.settle()
	for _, c := range slow {
		c.take()
	}
	most := 0
	u := m.users.Of(m.self.UID)
	for i := range messages {
		// Several in a turn, so that a socket becomes full with more than one of them before it.
		for range 1 + i%5 {
			publisher.cmd("PUBLISH", "a", strings.Repeat("x", 3000))
		}
		for m.step() {
		}
		publisher.take()
		most = max(most, u.Used(account.Output))
	}
	t.Logf("at most %d bytes were held for slow subscribers, %d messages dropped", most, m.stats.dropped)
	// One backlog, which is cut when it is there, and what append has taken beforehand.
	if most > limit/2+limit/8 || m.stats.dropped == 0 {
		t.Errorf("%d bytes were held for slow subscribers, %d messages dropped", most, m.stats.dropped)
	}
	// Other connections have room: for a command in part, and for replies that are not read yet.
	other.send([]byte("*2\r\n$4\r\nECHO\r\n$150000\r\n" + strings.Repeat("e", 100_000))...)
	for m.step() || other.write() {
	}
	other.send([]byte(strings.Repeat("e", 50_000) + "\r\n")...)
	for m.step() || other.write() {
	}
	if s := m.of(other); s == nil || s.backlog() < 100_000 {
		t.Error("there was no room for a command and its reply")
	}
	m.settle()
	if got := string(other.got); got != "$150000\r\n"+strings.Repeat("e", 150_000)+"\r\n" {
		t.Errorf("got %d bytes: %.100q", len(got), got)
	}
	lost := int64(0)
	for i, c := range slow {
		n := int64(0)
		for v := range values(t, c.got) {
			if v.Elems[0].Str == "bus.lost" {
				n += v.Elems[2].Int
				lost += v.Elems[2].Int
			} else {
				n++
			}
		}
		if c.eof || n != messages*3 {
			t.Errorf("subscriber %d: %d messages or losses, want %d; ended %v", i, n, messages*3, c.eof)
		}
	}
	if uint64(lost) != m.stats.dropped {
		t.Errorf("%d told to be lost, %d in the statistics", lost, m.stats.dropped)
	}
	m.charged(0)
}

// TestRedisSubscribersLeaveRoom: those who cannot be told that they missed something are ended instead, no more than
// must be.
func TestRedisSubscribersLeaveRoom(t *testing.T) {
	const limit, subscribers = 1 << 20, 100
	m := newManual(t, 1, func(_ *Setup, o *Options) { o.Limits.BuffersPerUser, o.Limits.Output = limit, 256<<10 })
	publisher := m.connect(false)
	for range subscribers {
		m.connect(true).cmd("SUBSCRIBE", "a")
	}
	m.settle()
	for range 10 { // in one turn
		publisher.cmd("PUBLISH", "a", strings.Repeat("x", 3000))
	}
	for m.step() {
	}
	u := m.users.Of(m.self.UID)
	t.Logf("%d bytes are held for %d of %d subscribers", u.Used(account.Output), m.count-1, subscribers)
	if u.Used(account.Output) > limit/2 || u.Used(account.Output) < limit/4 || m.count == 1+subscribers || m.count == 1 {
		t.Errorf("%d bytes are held for %d of %d subscribers", u.Used(account.Output), m.count-1, subscribers)
	}
}

// TestValueLen: every value that there is in RESP has an end.
func TestValueLen(t *testing.T) {
	texts := []string{
		"+OK\r\n", "-ERR x\r\n", ":1\r\n", ":-1\r\n", "$0\r\n\r\n", "$-1\r\n", "_\r\n", "$4\r\n\r\n$1\r\n", "*0\r\n", "*-1\r\n", "%0\r\n",
		"*2\r\n:1\r\n*1\r\n$1\r\na\r\n", "%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n_\r\n", "~1\r\n#t\r\n", ">1\r\n,1.5\r\n", "=5\r\ntxt:a\r\n",
	}
	all := strings.Join(texts, "")
	at := 0
	for _, text := range texts {
		if got := valueLen([]byte(all[at:])); got != len(text) {
			t.Errorf("%q: %d bytes, want %d", text, got, len(text))
		}
		for offset := at; offset < at+len(text); offset++ {
			if got, n := valueAt([]byte(all), offset); got != at || n != len(text) {
				t.Errorf("byte %d is of the value at %d of %d bytes, want %d of %d", offset, got, n, at, len(text))
			}
		}
		at += len(text)
	}
}

// TestLossOf: a message is one, and nothing that a peer can have for a reply looks like one.
func TestLossOf(t *testing.T) {
	m := message{topic: []byte("a"), payload: []byte("x"), seq: 1, stamp: []byte(":1\r\n:2\r\n$0\r\n\r\n")}
	for _, p := range []wire.Proto{wire.RESP2, wire.RESP3} {
		if filter, n := lossOf(m.append(nil, p, 2, "a/#")); string(filter) != "a/#" || n != 1 {
			t.Errorf("a message: %q, %d", filter, n)
		}
		if filter, n := lossOf(appendLost(nil, p, "a/#", 12)); string(filter) != "a/#" || n != 12 {
			t.Errorf("a loss: %q, %d", filter, n)
		}
	}
	channels := slices.Concat([]string{"bus.message"}, slices.Repeat([]string{"a"}, 8))
	for _, reply := range []string{
		string(wire.AppendCommand(nil, channels...)),
		string(wire.AppendCommand(nil, "bus.lost", "a", "1")),
		"*2\r\n$8\r\nbus.lost\r\n:1\r\n", "$3\r\n*9\r\n\r\n", "+OK\r\n", "*0\r\n",
		string(m.append(nil, wire.RESP3, 0, "a")), string(m.append(nil, wire.RESP3, 1, "a*")),
	} {
		if filter, n := lossOf([]byte(reply)); n != 0 {
			t.Errorf("%q: %q, %d", reply, filter, n)
		}
	}
}
