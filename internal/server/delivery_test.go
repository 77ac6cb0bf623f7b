package server

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/messages"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// manyLevels is a topic that 8,192 filters match, which is more than a turn has time for.
const manyLevels = "l/l/l/l/l/l/l/l/l/l/l/l/l"

const manyFilters = 1 << 13

// manyFilter is one of the filters that match manyLevels.
func manyFilter(i int) string {
	levels := strings.Split(manyLevels, "/")
	for n := range levels {
		if i>>n&1 == 1 {
			levels[n] = "+"
		}
	}
	return strings.Join(levels, "/")
}

// roomyForMany has no limit in the way of many filters, and does not check the bus after each step, which takes as long as they are
// many.
func roomyForMany(setup *Setup, o *Options) {
	setup.Verify = false
	o.Limits.SubscriptionsPerUser = 10 * manyFilters
	o.Limits.Output, o.Limits.BuffersPerUser = 1<<30, 1<<40
}

// newMany makes a server with a client that has so many filters.
func newMany(t *testing.T, seed uint64) (*manual, *end) {
	t.Helper()
	m := newManual(t, seed, roomyForMany)
	c := m.connect(false)
	c.cmd("HELLO", "3")
	for i := range manyFilters {
		c.cmd("BUS.SUB", manyFilter(i))
		m.step()
	}
	m.settle()
	c.take()
	return m, c
}

// delivered are the filters and numbers of the messages that came to a client.
func (c *end) delivered(t *testing.T) (all []string) {
	t.Helper()
	for v := range values(t, c.got) {
		if len(v.Elems) == 10 {
			all = append(all, fmt.Sprint(v.Elems[1].Str, " ", v.Elems[4].Int))
		}
	}
	return all
}

// TestLargeMessage: a message to very many is delivered bit by bit. What does not concern those who get it goes on meanwhile,
// what does comes after it, and who published it is told when all have it.
func TestLargeMessage(t *testing.T) {
	m, many := newMany(t, 1)
	both, none := m.connect(false), m.connect(false)
	for _, c := range []*end{both, none} {
		c.cmd("HELLO", "3")
		c.cmd("BUS.SUB", "b")
	}
	both.cmd("BUS.SUB", "l/#")
	none.cmd("BUS.SUB", "c")
	leaves := m.connect(false)
	leaves.cmd("HELLO", "3")
	leaves.cmd("BUS.SUB", "+/#")
	m.settle()
	for _, c := range []*end{both, none, leaves} {
		c.take()
	}
	publisher, again, other := m.connectAs(1001, false), m.connectAs(1001, false), m.connectAs(1002, false)
	publisher.cmd("BUS.PUB", manyLevels, "x")
	m.step()
	if m.messages.InLine() != 1 || publisher.take() != "" {
		t.Fatal("a message to very many was delivered in one turn")
	}
	late := m.connect(false)
	late.cmd("HELLO", "3")
	late.cmd("BUS.SUB", manyFilter(manyFilters-1))
	leaves.cmd("BUS.UNSUB")
	again.cmd("PUBLISH", manyLevels, "y")
	m.read(late)
	m.read(leaves)
	m.read(again)
	m.set.Net.FlushAll()
	late.take()
	leaves.take()
	if m.messages.Seq() != 1 {
		t.Error("a user published again before his message was delivered")
	}
	other.cmd("PUBLISH", "c", "x")
	m.read(other)
	m.set.Net.FlushAll()
	if got := other.take(); got != ":1\r\n" || m.messages.InLine() != 1 {
		t.Errorf("a message that concerns nobody else is answered %q", got)
	}
	other.cmd("PUBLISH", "b", "x")
	m.read(other)
	m.set.Net.FlushAll()
	if got := other.take(); got != "" || m.messages.InLine() != 2 {
		t.Errorf("a message to one who gets both is answered %q", got)
	}
	m.settle()
	if got := string(other.got); got != ":2\r\n" {
		t.Errorf("it is answered %q in the end", got)
	}
	// The one who left had it before, or does not get it; who came later does not.
	count := manyFilters + 1 + len(leaves.delivered(t))
	if got, want := string(publisher.got), "*6\r\n$3\r\nseq\r\n:1\r\n$9\r\ndelivered\r\n:"+strconv.Itoa(count)+"\r\n$7\r\ndropped\r\n:0\r\n"; got != want {
		t.Errorf("the publisher is told %q, want %q", got, want)
	}
	if got, want := string(again.got), fmt.Sprintf(":%d\r\n", manyFilters+2); got != want {
		t.Errorf("the next one is told %q, want %q", got, want)
	}
	if got, want := both.delivered(t), []string{"l/# 1", "b 3", "l/# 4"}; !slices.Equal(got, want) {
		t.Errorf("one who gets all has %v, want %v", got, want)
	}
	if got, want := none.delivered(t), []string{"c 2", "b 3"}; !slices.Equal(got, want) {
		t.Errorf("one who gets no large message has %v, want %v", got, want)
	}
	if got, want := late.delivered(t), []string{manyFilter(manyFilters-1) + " 4"}; !slices.Equal(got, want) {
		t.Errorf("one who came later has %v, want %v", got, want)
	}
	if got := many.delivered(t); len(got) != 2*manyFilters {
		t.Errorf("the one with many filters has %d messages", len(got))
	}
	if got, want := m.messages.Stats().Delivered, uint64(count+1+2+manyFilters+2); got != want {
		t.Errorf("%d in the statistics, want %d", got, want)
	}
}

// TestEventsInLine: who has events of his locks go to very many waits for that with his next commands about locks, and nobody else
// does: neither is any of these events delivered at once to all, nor does somebody whose events stand behind them wait.
func TestEventsInLine(t *testing.T) {
	m, c := newMany(t, 1)
	const name, filters, pairs = "a/b/c/d/e/f", 1 << 6, messages.MostEvents + 4
	for i := range filters {
		levels := strings.Split(name, "/")
		for n := range levels {
			if i>>n&1 == 1 {
				levels[n] = "+"
			}
		}
		c.cmd("BUS.SUB", "ipcd/lock/acquired/"+strings.Join(levels, "/"))
		m.settle()
	}
	c.cmd("BUS.SUB", "ipcd/lock/acquired/other")
	m.settle()
	c.take()
	publisher, locker, other := m.connectAs(1001, false), m.connectAs(1002, false), m.connectAs(1003, false)
	publisher.cmd("BUS.PUB", manyLevels, "x")
	m.step()
	if m.messages.InLine() != 1 {
		t.Fatal("nothing stands in line")
	}
	for range pairs {
		locker.cmd("LOCK.ACQUIRE", name)
		locker.cmd("LOCK.RELEASE", name)
	}
	clock := m.set.Net.Now
	m.set.Net.Now = func() time.Duration { return 0 } // nobody's time is over
	m.read(locker)
	m.set.Net.FlushAll()
	if got := strings.Count(locker.take(), "+OK"); got != messages.MostEvents-1 || m.messages.InLine() != 1+messages.MostEvents || m.messages.Parked() != 1 {
		t.Errorf("%d pairs are done, %d stand in line, %d are parked", got, m.messages.InLine(), m.messages.Parked())
	}
	for range pairs {
		other.cmd("LOCK.ACQUIRE", "other")
		other.cmd("LOCK.RELEASE", "other")
	}
	m.read(other)
	m.set.Net.FlushAll()
	if got := strings.Count(other.take(), "+OK"); got != pairs {
		t.Errorf("another user has done %d pairs, not %d", got, pairs)
	}
	m.set.Net.Now = clock
	m.settle()
	if got := c.delivered(t); len(got) != manyFilters+pairs*filters+pairs {
		t.Errorf("%d messages were delivered, want %d", len(got), manyFilters+pairs*filters+pairs)
	}
	if m.messages.InLine()+m.messages.Parked()+m.figures().Held != 0 {
		t.Errorf("left: %d in line, %d parked, %d held", m.messages.InLine(), m.messages.Parked(), m.figures().Held)
	}
}

// TestLineModel has clients publish to very many and to few, subscribe and unsubscribe at random. Each gets what it was subscribed
// to when it was published, unless it left since, in one order; and the publishers are told the truth.
func TestLineModel(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newManual(t, seed, roomyForMany)
			type state struct {
				*end
				subs map[string]bool
				due  []string        // messages, in order, by number and filter
				left map[string]bool // those of due that it need not get, as it left
			}
			byID, lined := map[uint64]*state{}, 0
			var all []*state
			for i := range 8 {
				c := &state{end: m.connectAs(1001+uint32(i), i == 0), subs: map[string]bool{}, left: map[string]bool{}}
				c.cmd("HELLO", "3")
				byID[c.id] = c
				all = append(all, c)
			}
			m.hook(func(sess *session.Session, name string, args []string, _ string) {
				c := byID[sess.ID]
				switch name {
				case "BUS.SUB":
					c.subs[args[0]] = true
				case "BUS.UNSUB":
					delete(c.subs, args[0])
					for _, due := range c.due {
						if filter, _, _ := strings.Cut(due, " "); filter == args[0] {
							c.left[due] = true
						}
					}
				case "BUS.PUB":
					for _, to := range all {
						for filter := range to.subs {
							if bus.Match(filter, args[0]) {
								to.due = append(to.due, fmt.Sprint(filter, " ", m.messages.Seq()))
							}
						}
					}
				}
			})
			for i := range manyFilters {
				all[i%5].cmd("BUS.SUB", manyFilter(i))
				m.step()
			}
			m.settle()
			for range 80 {
				c := all[m.random.IntN(len(all))]
				filter := manyFilter(m.random.IntN(manyFilters))
				switch n := m.random.IntN(20); {
				case n < 2:
					c.cmd("BUS.PUB", manyLevels, "x")
				case n < 10:
					c.cmd("BUS.PUB", []string{"b", "c"}[m.random.IntN(2)], "x")
				case n < 12:
					c.cmd("BUS.SUB", []string{"b", "c", "+", "#", "l/#"}[m.random.IntN(5)])
				case n < 16:
					c.cmd("BUS.SUB", filter)
				default:
					for filter := range c.subs {
						c.cmd("BUS.UNSUB", filter)
						break
					}
				}
				for range m.random.IntN(3) {
					m.step()
				}
				lined = max(lined, m.messages.InLine())
			}
			m.settle()
			if lined == 0 {
				t.Errorf("no message stood in line")
			}
			count := map[int64]int64{}
			for i, c := range all {
				got, last := map[string]bool{}, int64(0)
				for v := range values(t, c.got) {
					if len(v.Elems) != 10 {
						continue
					}
					seq := v.Elems[4].Int
					if seq < last {
						t.Errorf("client %d got message %d after %d", i, seq, last)
					}
					last = seq
					count[seq]++
					got[fmt.Sprint(v.Elems[1].Str, " ", seq)] = true
				}
				for _, due := range c.due {
					if !got[due] && !c.left[due] {
						t.Errorf("client %d did not get %s", i, due)
					}
					delete(got, due)
				}
				for what := range got {
					t.Errorf("client %d got %s", i, what)
				}
			}
			answers := 0
			for _, c := range all {
				for v := range values(t, c.got) {
					if len(v.Elems) == 6 && v.Elems[0].Str == "seq" {
						answers++
						if seq, n := v.Elems[1].Int, v.Elems[3].Int; n != count[seq] {
							t.Errorf("of message %d the publisher is told that %d got it, and %d did", seq, n, count[seq])
						}
					}
				}
			}
			if uint64(answers) != m.messages.Seq() {
				t.Errorf("%d publishers are answered, of %d", answers, m.messages.Seq())
			}
		})
	}
}

// TestSlotGivenToAnother: what is subscribed to in the turn in which something else ended has messages of its own, of whatever kind both are.
func TestSlotGivenToAnother(t *testing.T) {
	kinds := []struct{ subscribe, unsubscribe, name, topic string }{
		{"SUBSCRIBE", "UNSUBSCRIBE", "aaaaa", "aaaaa"}, {"SUBSCRIBE", "UNSUBSCRIBE", "b", "b"}, {"PSUBSCRIBE", "PUNSUBSCRIBE", "cc*", "ccc"},
		{"BUS.SUB", "BUS.UNSUB", "d/+", "d/d"},
	}
	for _, before := range kinds {
		for _, after := range kinds {
			s := newStage(t)
			c := s.connect(10_000)
			c.cmd("HELLO", "3")
			c.cmd("CLIENT", "REPLY", "OFF")
			s.settle()
			c.Take()
			c.cmd(before.subscribe, before.name)
			c.cmd("PUBLISH", before.topic, "old")
			c.cmd("PUBLISH", before.topic, "older")
			c.cmd(before.unsubscribe, before.name)
			c.cmd(after.subscribe, after.name)
			for _, payload := range []string{"1", "2", "3"} {
				c.cmd("PUBLISH", after.topic, payload)
			}
			s.settle()
			var got []string
			sent := c.Take()
			messages := wire.NewDecoder(strings.NewReader(sent), wire.DefaultLimits)
			v, err := messages.Decode()
			for ; err == nil; v, err = messages.Decode() {
				i := slices.IndexFunc(v.Elems, func(e wire.Value) bool { return e.Str == after.topic })
				if i > 0 && strings.HasSuffix(v.Elems[0].Str, "message") {
					got = append(got, v.Elems[i+1].Str)
				}
			}
			if err != io.EOF {
				t.Errorf("%s behind %s: %q: %v", after.name, before.name, sent, err)
			}
			want := []string{"1", "2", "3"}
			if before == after {
				want = append([]string{"old", "older"}, want...)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s behind %s: got %q, want %q", after.name, before.name, got, want)
			}
		}
	}
}

// TestMessagesOfOneTurn: each of the messages that a publisher sends at once is whole for all, whatever they have subscribed to, and in
// order, as the names and payloads are of any length.
func TestMessagesOfOneTurn(t *testing.T) {
	for _, length := range []int{1, 9, 10, 99, 100, 256, 1000} {
		name := strings.Repeat("n", length)
		s := newStage(t)
		old, channel, pattern, pub := s.connect(1000), s.connect(1000), s.connect(1000), s.connect(1000)
		channel.cmd("HELLO", "3")
		for _, c := range []actor{old, channel} {
			c.cmd("SUBSCRIBE", name)
		}
		pattern.cmd("PSUBSCRIBE", "n*")
		s.settle()
		for _, c := range []actor{old, channel, pattern} {
			c.Take()
		}
		want := ""
		for n, payload := range []string{"", "1", strings.Repeat("2", 9), strings.Repeat("3", 10), strings.Repeat("4", 5000), "5"} {
			pub.cmd("PUBLISH", name, payload)
			want += fmt.Sprintf("*3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", length, name, len(payload), payload)
			if n == 3 { // what else comes in between
				channel.cmd("ECHO", "x")
			}
		}
		s.settle()
		if got := old.Take(); got != want {
			t.Errorf("by RESP2: %.300q, want %.300q", got, want)
		}
		got := strings.Replace(channel.Take(), "$1\r\nx\r\n", "", 1)
		if want := strings.ReplaceAll(want, "*3\r\n", ">3\r\n"); got != want {
			t.Errorf("by RESP3: %.300q, want %.300q", got, want)
		}
		if want := strings.ReplaceAll(want, "*3\r\n$7\r\nmessage\r\n", "*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n"); pattern.Take() != want {
			t.Errorf("by pattern: want %.300q", want)
		}
	}
}
