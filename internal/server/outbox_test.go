package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/session"
)

var (
	randomTopics = []string{"a", "a/b", "a/c", "b", "b/b", "ab", "a/b/c", "a#", "", "a/\xff", "a\r\n" + strings.Repeat("b", 300)}
	randomTexts  = map[bus.Kind][]string{
		bus.Channel: randomTopics,
		bus.Pattern: {"*", "a*", "a/[bc]", "?", "a/b", "ipcd/filter/a/#", "ipcd/filter-json/#", "ipcd/filter-json/a/b", "ipcd/filter/+"},
		bus.Filter:  {"a", "a/b", "a/#", "+", "+/b", "#", "a/+/c"},
	}
)

// A talker is a client of the random test. It keeps to what its protocol allows it.
type talker struct {
	*end
	proto int
	subs  map[modelSub]bool
	quiet bool // sends nothing any more
}

// chat adds a random command to what the talker sends.
func (m *manual) chat(t *talker, all []*talker, size func() int) (command []string) {
	pick := func(s []string) string { return s[m.random.IntN(len(s))] }
	kind := bus.Kind(m.random.IntN(3))
	text := pick(randomTexts[kind])
	bound := t.proto == 2 && len(t.subs) > 0 // may only subscribe, and so on
	sub, unsub := []string{"SUBSCRIBE", "PSUBSCRIBE", "BUS.SUB"}[kind], []string{"UNSUBSCRIBE", "PUNSUBSCRIBE", "BUS.UNSUB"}[kind]
	switch n := m.random.IntN(100); {
	case n < 50 && !bound:
		return []string{[]string{"PUBLISH", "BUS.PUB"}[m.random.IntN(2)], pick(randomTopics), strings.Repeat("x", size())}
	case n < 65:
		t.subs[modelSub{kind, text}] = true
		if kind == bus.Filter && (t.proto == 2 || m.random.IntN(2) == 0) {
			return []string{sub, text, "RAW"}
		}
		return []string{sub, text}
	case n < 80:
		delete(t.subs, modelSub{kind, text})
		return []string{unsub, text}
	case n < 82:
		for s := range t.subs {
			if s.kind == kind {
				delete(t.subs, s)
			}
		}
		return []string{unsub}
	case n < 88 && !bound:
		t.proto = 2 + m.random.IntN(2)
		return []string{"HELLO", fmt.Sprint(t.proto)}
	case n < 90:
		clear(t.subs)
		t.proto = 2
		return []string{"RESET"}
	case n < 94 && !bound:
		return []string{"CLIENT", "REPLY", pick([]string{"ON", "ON", "OFF", "SKIP"})}
	case n < 96 && !bound:
		return []string{"ECHO", strings.Repeat("e", size())}
	case n == 96:
		t.quiet = true
		return []string{"QUIT"}
	case n == 97 && !bound:
		if victim := all[m.random.IntN(len(all))]; !victim.quiet && victim != t {
			victim.quiet = true
			return []string{"CLIENT", "KILL", "ID", fmt.Sprint(victim.id)}
		}
	}
	return []string{"PING"}
}

// TestOutboxModel has clients of both protocols publish, subscribe and unsubscribe at random and in batches, with some
// that read little by little from sockets that hold little. What each receives must be, byte for byte, what the model
// says. Which sessions see which events in a turn, and in which order, is random too.
func TestOutboxModel(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { testOutbox(t, seed, 3, 40000, func(*manual) {}) })
	}
}

// TestOutboxModelLate is the same with more clients than a turn has time to write to. Its messages are so small that none of them stands in
// line, because very much would be copied for those whose sockets are full: the model delivers each at once.
func TestOutboxModelLate(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			late := 0
			testOutbox(t, seed, 150, 200, func(m *manual) {
				if m.messages.InLine() > 0 {
					t.Error("a message stands in line")
				}
				late = max(late, m.set.Net.Late())
				m.slowTurns()
			})
			if late == 0 {
				t.Error("no session was late")
			}
		})
	}
}

func testOutbox(t *testing.T, seed uint64, clients, largest int, before func(*manual)) {
	m := newManual(t, seed, func(_ *Setup, o *Options) {
		o.Limits.Output, o.Limits.BuffersPerUser = 1<<30, 1<<40 // nothing is to be lost
	})
	mo := &model{sessions: map[uint64]*modelSession{}}
	mo.watch(m)
	m.after = func() { mo.bury(func(id uint64) bool { return m.session(id) == nil }) }
	var all []*talker
	for range clients + m.random.IntN(10) {
		c := m.connect(m.random.IntN(2) == 0)
		mo.add(m.of(c))
		all = append(all, &talker{end: c, proto: 2, subs: map[modelSub]bool{}})
	}
	scale := min([]int{20, 200, 3000, 40000}[m.random.IntN(4)], largest)
	size := func() int {
		if m.random.IntN(10) == 0 {
			return m.random.IntN(scale)
		}
		return m.random.IntN(20)
	}
	for range 150 {
		for range 1 + m.random.IntN(4) {
			c := all[m.random.IntN(len(all))]
			for range 1 + m.random.IntN(12) {
				if c.quiet || len(c.pending) > 0 {
					break
				}
				c.pending = c.append(m.chat(c, all, size))
			}
			c.send()
		}
		for range 1 + m.random.IntN(2) {
			before(m)
			m.step()
		}
		for _, c := range all {
			if m.random.IntN(3) == 0 {
				c.read(1 + m.random.IntN(1<<m.random.IntN(16)))
			}
		}
	}
	m.settle()
	for i, c := range all {
		want := mo.sessions[c.id]
		compare(t, i, string(c.got), want.out.String(), want.killed)
		if c.eof != want.gone {
			t.Errorf("client %d: ended %v, want %v", i, c.eof, want.gone)
		}
	}
	if n := m.set.Users.Total(account.Buffers); n != 0 {
		t.Errorf("%d bytes of buffers are charged, and nothing is held", n)
	}
	if seen := uint64(mo.seq); m.messages.Seq() != seen {
		t.Errorf("the model has seen %d messages, the server %d", seen, m.messages.Seq())
	}
}

// append is what the client has to send with one more command behind it.
func (c *end) append(words []string) []byte {
	c.pending = fmt.Appendf(c.pending, "*%d\r\n", len(words))
	for _, w := range words {
		c.pending = append(c.pending, bulk(w)...)
	}
	return c.pending
}

// session is that of an id, nil if it has ended.
func (m *manual) session(id uint64) *session.Session {
	for s := range m.set.All() {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// compare tells where what a client received is not what it should be.
func compare(t *testing.T, client int, got, want string, cut bool) {
	t.Helper()
	if got == want || cut && strings.HasPrefix(want, got) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	around := func(s string) string { return s[max(0, min(at, len(s))-80):min(len(s), at+80)] }
	t.Errorf("client %d: %d bytes, want %d; they differ at %d:\n got …%q…\nwant …%q…", client, len(got), len(want), at, around(got), around(want))
}
