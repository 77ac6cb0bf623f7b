package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/account"
)

// TestDropOldest: one who does not read keeps the newest messages, and is told of all that were dropped by one push for
// each filter, where they were.
func TestDropOldest(t *testing.T) {
	const limit, messages = 64 << 10, 2000
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
		most = max(most, m.of(slow).Backlog())
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
	if uint64(lost) != m.messages.Stats().Dropped {
		t.Errorf("%d told to be lost, %d in the statistics", lost, m.messages.Stats().Dropped)
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
	u := m.set.Users.Of(m.self.UID)
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
	t.Logf("at most %d bytes were held for slow subscribers, %d messages dropped", most, m.messages.Stats().Dropped)
	// One backlog, which is cut when it is there, and what append has taken beforehand.
	if most > limit/2+limit/8 || m.messages.Stats().Dropped == 0 {
		t.Errorf("%d bytes were held for slow subscribers, %d messages dropped", most, m.messages.Stats().Dropped)
	}
	// Other connections have room: for a command in part, and for replies that are not read yet.
	other.send([]byte("*2\r\n$4\r\nECHO\r\n$150000\r\n" + strings.Repeat("e", 100_000))...)
	for m.step() || other.write() {
	}
	other.send([]byte(strings.Repeat("e", 50_000) + "\r\n")...)
	for m.step() || other.write() {
	}
	if s := m.of(other); s == nil || s.Backlog() < 100_000 {
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
	if uint64(lost) != m.messages.Stats().Dropped {
		t.Errorf("%d told to be lost, %d in the statistics", lost, m.messages.Stats().Dropped)
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
	u := m.set.Users.Of(m.self.UID)
	t.Logf("%d bytes are held for %d of %d subscribers", u.Used(account.Output), m.set.Net.Len()-1, subscribers)
	if u.Used(account.Output) > limit/2 || u.Used(account.Output) < limit/4 || m.set.Net.Len() == 1+subscribers || m.set.Net.Len() == 1 {
		t.Errorf("%d bytes are held for %d of %d subscribers", u.Used(account.Output), m.set.Net.Len()-1, subscribers)
	}
}
