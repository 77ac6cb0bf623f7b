package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/messages"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A diary is what one client's subscriptions should have brought it.
type diary struct {
	commands []diaryEntry
	current  map[string]*[]int64 // by filter: the messages since it was subscribed to

	conflated int64
}

type diaryEntry struct {
	name, filter string
	messages     *[]int64 // of the subscription that the command began or ended; nil if it did neither
}

// TestLosses has slow readers miss messages. For each subscription, what the client received and what it was told to
// have missed is, in order, exactly what was published from its beginning to its end; the numbers of the messages among those of the
// filter say the same; and the publisher was told as many.
func TestLosses(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newManual(t, seed, func(_ *Setup, o *Options) { o.Limits.Output = 16 << 10 })
			publisher := m.connect(false)
			diaries := map[uint64]*diary{}
			var slow []*end
			for i := range 4 {
				c := m.connect(true)
				slow = append(slow, c)
				diaries[c.id] = &diary{current: map[string]*[]int64{}}
				if i%2 == 0 {
					c.cmd("HELLO", "3")
				}
				c.cmd("BUS.SUB", "a", "RAW")
				c.cmd("PSUBSCRIBE", bus.EnvelopePattern+"+")
			}
			m.hook(func(sess *session.Session, name string, args []string, _ string) {
				d := diaries[sess.ID]
				switch name {
				case "BUS.SUB", "PSUBSCRIBE":
					e := diaryEntry{name, args[0], nil}
					if d.current[args[0]] == nil {
						e.messages = new([]int64)
						d.current[args[0]] = e.messages
					}
					d.commands = append(d.commands, e)
				case "BUS.UNSUB", "PUNSUBSCRIBE":
					d.commands = append(d.commands, diaryEntry{name, args[0], d.current[args[0]]})
					delete(d.current, args[0])
				case "BUS.PUB":
					for _, d := range diaries {
						for filter, messages := range d.current {
							if bus.Match(strings.TrimPrefix(filter, bus.EnvelopePattern), args[0]) {
								*messages = append(*messages, int64(m.messages.Seq()))
							}
						}
					}
				}
			})
			pick := func(s ...string) string { return s[m.random.IntN(len(s))] }
			conflated, rules := int64(0), seed%2 == 0
			for range 600 {
				c := slow[m.random.IntN(len(slow))]
				switch n := m.random.IntN(20); {
				case n == 0:
					c.cmd("BUS.SUB", pick("a", "#", "+", "a/b", "a/+"), "RAW")
				case n == 3 && rules:
					c.cmd("BUS.SUB", pick("a", "#", "+", "a/b", "a/+"), "SLOW", pick("CONFLATE", "drop"), pick("QUEUE", "BYTES"), pick("3", "2000"), "RAW")
				case n == 1:
					c.cmd("BUS.UNSUB", pick("a", "#", "+", "a/b", "a/+"))
				case n == 2:
					c.cmd(pick("PSUBSCRIBE", "PUNSUBSCRIBE"), bus.EnvelopePattern+pick("a", "#", "+"))
				case n < 12:
					for range m.random.IntN(4) {
						publisher.cmd("BUS.PUB", pick("a", "b", "a/b"), strings.Repeat("x", m.random.IntN(3000)))
					}
				default:
					c.read(1 + m.random.IntN(8<<10))
				}
				m.step()
			}
			m.settle()
			lost := int64(0)
			for _, c := range slow {
				d := diaries[c.id]
				lost += d.check(t, c.got)
				conflated += d.conflated
			}
			if lost == 0 || (conflated > 0) != rules {
				t.Errorf("%d messages were lost, %d conflated: this tests nothing", lost, conflated)
			}
			dropped := int64(0)
			for v := range values(t, publisher.got) {
				dropped += v.Get("dropped").Int
			}
			// Who publishes is not told of what is one too many for a rule when a socket becomes full: he has his answer by then.
			if lost < dropped || lost > dropped && !rules || uint64(lost) != m.messages.Stats().Dropped {
				t.Errorf("%d told to be lost, %d told to the publisher, %d in the statistics", lost, dropped, m.messages.Stats().Dropped)
			}
		})
	}
}

// values decodes what a client received.
func values(t testing.TB, b []byte) func(func(wire.Value) bool) {
	return func(yield func(wire.Value) bool) {
		d := wire.NewDecoder(bytes.NewReader(b), wire.DefaultLimits)
		for {
			v, err := d.Decode()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !yield(v) {
				return
			}
		}
	}
}

// check compares what a client received with what it should have, and returns how much it was told to have lost.
func (d *diary) check(t *testing.T, got []byte) (lost int64) {
	t.Helper()
	left := map[string]*[]int64{} // what is still to come, of each subscription that there is
	next := map[string]int64{}    // and which number the next has, among those of its filter; 0: any
	for v := range values(t, got) {
		word := ""
		if len(v.Elems) > 0 {
			word = v.Elems[0].Str
		}
		switch word {
		case "server": // HELLO
		case "bus.message", "bus.lost", "bus.conflated", "pmessage":
			filter := v.Elems[1].Str
			due := left[filter]
			n, seq, count := int64(1), int64(0), int64(0)
			switch word {
			case "bus.lost":
				n = v.Elems[2].Int
				lost += n
			case "bus.conflated":
				n = v.Elems[2].Int
				d.conflated += n
			case "bus.message":
				seq, count = v.Elems[4].Int, v.Elems[9].Int
			case "pmessage":
				var envelope struct{ Seq, Count, Lost int64 }
				if err := json.Unmarshal([]byte(v.Elems[3].Str), &envelope); err != nil {
					t.Fatal(err)
				}
				if seq, count = envelope.Seq, envelope.Count; v.Elems[2].Str == "ipcd/lost" {
					n = envelope.Lost
					lost += n
				}
			}
			switch {
			case due == nil:
				t.Fatalf("%s of %q, which is not subscribed to", word, filter)
			case int64(len(*due)) < n:
				t.Fatalf("%s of %q: %d, and only %d were published", word, filter, n, len(*due))
			case seq != 0 && seq != (*due)[0]:
				t.Fatalf("%q: message %d, want %d", filter, seq, (*due)[0])
			case count != 0 && next[filter] != 0 && count != next[filter]:
				t.Fatalf("%q: message %d has the number %d of its filter, want %d", filter, seq, count, next[filter])
			case (count == 0) != (seq == 0):
				t.Fatalf("%q: message %d has no number of its filter", filter, seq)
			}
			switch {
			case count != 0:
				next[filter] = count + 1
			case next[filter] != 0:
				next[filter] += n
			}
			*due = (*due)[n:]
		default:
			e := d.commands[0]
			d.commands = d.commands[1:]
			switch {
			case e.messages == nil:
			case e.name == "BUS.SUB", e.name == "PSUBSCRIBE":
				left[e.filter], next[e.filter] = e.messages, 0
			case len(*left[e.filter]) > 0:
				t.Fatalf("the subscription to %q ended without %d messages", e.filter, len(*left[e.filter]))
			default:
				delete(left, e.filter)
			}
		}
	}
	for filter, due := range left {
		if len(*due) > 0 {
			t.Errorf("%d messages of %q are missing", len(*due), filter)
		}
	}
	if len(d.commands) > 0 {
		t.Errorf("%d commands were not answered", len(d.commands))
	}
	return lost
}

// TestCounts: the messages of a filter have numbers of their own, the same for all who are subscribed to it, whatever other messages there
// are; values that the topics had before have none, and who comes later is given them without a number being missing for others.
func TestCounts(t *testing.T) {
	h := start(t)
	pub, first, second, envelope := h.dial(), h.dial3(), h.dial3(), h.dial3()
	counts := func(c *client, want ...int64) {
		t.Helper()
		for _, want := range want {
			v := c.value()
			got := int64(-1)
			switch v.Elems[0].Str {
			case "bus.message":
				got = v.Elems[9].Int
			case "pmessage":
				var e struct{ Count int64 }
				if err := json.Unmarshal([]byte(v.Elems[3].Str), &e); err != nil {
					t.Fatal(err)
				}
				got = e.Count
			}
			if got != want {
				t.Errorf("%v has the number %d, want %d", v, got, want)
			}
		}
	}
	pub.do("BUS.PUB", "a/value", "x", "RETAIN")
	first.do("BUS.SUB", "a/+")
	counts(first, 0)
	first.do("BUS.SUB", "a/b")
	envelope.do("PSUBSCRIBE", bus.EnvelopePattern+"a/#")
	counts(envelope, 0)
	pub.do("PUBLISH", "a/b", "x")
	pub.do("PUBLISH", "b", "x")
	pub.do("PUBLISH", "a/c", "x")
	counts(first, 1, 1, 2)
	counts(envelope, 1, 2)
	second.do("BUS.SUB", "a/+")
	counts(second, 0)
	pub.do("PUBLISH", "a/b", "x")
	counts(first, 2, 3)
	counts(second, 3)
	counts(envelope, 3)
	first.do("BUS.UNSUB", "a/b")
	first.do("BUS.SUB", "a/b") // nobody else was subscribed to it
	pub.do("PUBLISH", "a/b", "x")
	counts(first, 1, 4)
	counts(second, 4)
}

// TestRedisSubscriberTooFarBehind is disconnected, with what it was sent before, and nobody else notices.
func TestRedisSubscriberTooFarBehind(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.Output = 64 << 10 })
	slow, quick, publisher := h.dial(), h.dial(), h.dial()
	slow.do("SUBSCRIBE", "a")
	quick.do("SUBSCRIBE", "a")
	payload := strings.Repeat("x", 10_000)
	sent := 0
	for h.counts().Dropped == 0 {
		publisher.do("PUBLISH", "a", payload)
		quick.want("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$10000\r\n" + payload + "\r\n")
		sent++
	}
	message := "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$10000\r\n" + payload + "\r\n"
	got := slow.rest()
	if want := strings.Repeat(message, sent); !strings.HasPrefix(want, got) || got == "" {
		t.Errorf("got %d bytes that are no beginning of %d", len(got), len(want))
	}
	if !strings.Contains(h.log.String(), "too far behind its subscriptions") {
		t.Error("it is not logged")
	}
	publisher.send("PUBLISH a 1\r\n")
	publisher.want(":1\r\n")
}

// counts is a copy of the statistics.
func (h *harness) counts() (s messages.Stats) {
	h.t.Helper()
	h.on(func() { s = h.messages.Stats() })
	return s
}

// TestRepliesPause: the commands of one who does not read its replies wait, without end and without filling the memory,
// and all are answered in the end.
func TestRepliesPause(t *testing.T) {
	for _, c := range []struct {
		name, command, reply string
		n                    int
	}{
		{"small", "PING\r\n", "+PONG\r\n", 200_000},
		{"large", "ECHO " + strings.Repeat("e", 30_000) + "\r\n", "$30000\r\n" + strings.Repeat("e", 30_000) + "\r\n", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newManual(t, 1)
			client := m.connect(true)
			client.send(bytes.Repeat([]byte(c.command), c.n)...)
			const pauseAt, maxTurnBytes = 64 << 10, 512 << 10
			most := 0
			for m.step() || len(client.pending) > 0 && client.write() {
				if s := m.of(client); s != nil {
					most = max(most, s.Backlog(), s.Unexecuted())
				}
			}
			if len(client.pending) == 0 {
				t.Fatal("all was taken: this tests nothing")
			}
			if limit := pauseAt + maxTurnBytes + 64<<10; most > limit {
				t.Errorf("%d bytes were held, over %d", most, limit)
			}
			m.settle()
			if want := strings.Repeat(c.reply, c.n); string(client.got) != want {
				t.Errorf("%d bytes, want %d", len(client.got), len(want))
			}
			m.charged(0)
		})
	}
}

// write sends what is pending and reports whether any was taken.
func (c *end) write() bool {
	before := len(c.pending)
	c.send()
	return len(c.pending) < before
}

// charged checks what this user is charged for buffers.
func (m *manual) charged(want int) {
	m.t.Helper()
	if got := m.set.Users.Total(account.Buffers); got != want {
		m.t.Errorf("%d bytes of buffers are charged, want %d", got, want)
	}
}

// TestLargeRepliesPause asks, in a few bytes each, for much. The loop comes to rest, and holds little.
func TestLargeRepliesPause(t *testing.T) {
	m := newManual(t, 1)
	client := m.connect(true)
	client.send(bytes.Repeat([]byte("COMMAND DOCS\n"), 5000)...)
	turns := 0
	for m.step() {
		if _, held := m.of(client).Memory(); held > 2<<20 {
			t.Fatalf("%d bytes are held for one who asked 5000 times for documentation", held)
		}
		if turns++; turns > 100 {
			t.Fatal("there is ever more to do, though the client reads nothing")
		}
	}
}
