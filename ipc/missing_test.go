package ipc_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

func pushConflated(filter string, n int64) string {
	b := wire.RESP3.AppendPush(nil, 3)
	b = wire.AppendBulk(b, "bus.conflated")
	b = wire.AppendBulk(b, filter)
	return string(wire.AppendInt(b, n))
}

// TestMissingValues: a value that the daemon has not sent is missed by who has asked for it, and a message by all who were to get it.
func TestMissingValues(t *testing.T) {
	for _, c := range []struct {
		name string
		say  string   // what the daemon does after the first has subscribed: join, value, lost, conflated and messages by their numbers
		want []string // of each who has joined: what he is given, + what is missing before, and / what is conflated
	}{
		{"values alone", "1 join lost:3 2", []string{"1 2", "2+3"}},
		{"messages alone", "1 join lost:3 5", []string{"1 5+3", "5+3"}},
		{"both", "1 join lost:5 3", []string{"1 3+1", "3+5"}},
		{"told apart by a value", "1 join lost:5 value lost:2 4", []string{"1 4+2", "v+5 4+2"}},
		{"told in two", "1 join lost:2 lost:3 4", []string{"1 4+2", "4+5"}},
		{"before who asks", "1 lost:2 join lost:3 4", []string{"1 4+2", "4+3"}},
		{"before and behind", "1 lost:2 join lost:3 5", []string{"1 5+3", "5+3"}},
		{"behind a message", "1 join 2 lost:3 6", []string{"1 2 6+3", "2 6+3"}},
		{"replaced values", "1 join conflated:3 2", []string{"1 2", "2/3"}},
		{"replaced messages", "1 join conflated:3 5", []string{"1 5/3", "5/3"}},
		{"dropped rather than replaced", "1 join conflated:3 lost:2 5", []string{"1 5+2/1", "5+2/3"}},
		{"two gaps", "1 join lost:2 4 join conflated:1 6", []string{"1 4+2 6/1", "4+2 6/1", "6/1"}},
		{"who asked has gone", "1 join join lost:3 leave 3", []string{"1 3+1", "3+1", ""}},
		// What cannot be known: before the first message, and of two who are answered between two messages.
		{"no number before", "join lost:3 2", []string{"2+3", "2+3"}},
		{"no number before, and a value", "join lost:3 value 2", []string{"2", "v+3 2"}},
		{"two who ask", "1 join lost:2 join lost:2 4", []string{"1 4+2", "4+4", "4+2"}},
		{"two who ask, values alone", "1 join lost:2 join lost:2 2", []string{"1 2", "2+2", "2+2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, s := newFake(t).client()
			subs := []*ipc.Subscription{subscribed(t, client, s, "a")}
			for what := range strings.FieldsSeq(c.say) {
				what, n, _ := strings.Cut(what, ":")
				number, _ := strconv.ParseInt(n, 10, 64)
				switch what {
				case "join":
					subs = append(subs, subscribedToo(t, client, s, "a"))
				case "leave":
					subs[len(subs)-1].Close()
				case "value":
					s.say(pushValue("a", "a", 1))
				case "lost":
					s.say(pushLost("a", number))
				case "conflated":
					s.say(pushConflated("a", number))
				default:
					seq, err := strconv.Atoi(what)
					if err != nil {
						t.Fatal(err)
					}
					s.say(push("a", "a", seq))
				}
				synchronise(t, client, s)
			}
			for i, want := range c.want {
				var got []string
				for range strings.Fields(want) {
					got = append(got, shown(here(t, subs[i])))
				}
				if got := strings.Join(got, " "); got != want {
					t.Errorf("number %d of those who share is given %s, want %s", i+1, got, want)
				}
			}
		})
	}
}

// shown is a message in the words of [TestMissingValues].
func shown(m ipc.Message) string {
	b := fmt.Sprint(m.Seq)
	if m.Retained {
		b = "v"
	}
	if m.Lost > 0 {
		b += fmt.Sprint("+", m.Lost)
	}
	if m.Conflated > 0 {
		b += fmt.Sprint("/", m.Conflated)
	}
	return b
}

// A sharer is one of those who share a filter in [TestMissingAtRandom].
type sharer struct {
	sub    *ipc.Subscription
	missed uint64 // since what it was given last
	want   []owed
}

// An owed message is given to a sharer, behind so many that he misses.
type owed struct {
	seq, missed uint64
	exact       bool // he is told just so many, and else not fewer
}

// TestMissingAtRandom: whatever of the messages, and of the values that each is sent who joins, the daemon drops or replaces: nobody is told
// of fewer than he misses; and nobody of more, unless two have joined between two messages that were sent.
func TestMissingAtRandom(t *testing.T) {
	client, s := newFake(t).client()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	for world := range 200 {
		filter := fmt.Sprint("world/", world)
		var all []*sharer
		seq, lost, conflated, joins := 0, int64(0), int64(0), 0
		tell := func() (b string) {
			if conflated > 0 {
				b = pushConflated(filter, conflated)
			}
			if lost > 0 {
				b += pushLost(filter, lost)
			}
			lost, conflated = 0, 0
			return b
		}
		// send sends something to some, or does not.
		send := func(what string, seq int, to []*sharer) (sent bool) {
			switch random.IntN(4) {
			case 0:
				conflated++
			case 1, 2:
				lost++
			default:
				s.say(tell() + what)
				for _, x := range to {
					x.want = append(x.want, owed{uint64(seq), x.missed, joins <= 1})
					x.missed = 0
				}
				return true
			}
			for _, x := range to {
				x.missed++
			}
			if random.IntN(4) == 0 {
				s.say(tell())
			}
			return false
		}
		for range 1 + random.IntN(30) {
			if len(all) > 0 && random.IntN(4) > 0 {
				if seq++; send(push(filter, filter, seq), seq, all) {
					joins = 0
				}
				continue
			}
			f := subscribe(client, filter)
			s.next()
			s.say(tell() + ":1\r\n")
			x := &sharer{sub: f.ok(t)}
			all = append(all, x)
			joins++
			for range random.IntN(4) {
				send(pushValue(filter, filter, seq), seq, []*sharer{x})
			}
		}
		synchronise(t, client, s)
		for i, x := range all {
			for _, want := range x.want {
				m := here(t, x.sub)
				if told := m.Lost + m.Conflated; m.Seq != want.seq || told < want.missed || told > want.missed && want.exact {
					t.Fatalf("in world %d of seed %d, number %d is given %s, and misses %d before %d", world, seed, i+1, shown(m), want.missed, want.seq)
				}
			}
		}
	}
}

// TestDaemonMissingValues: the values that the daemon drops of one who shares a subscription are missing to that one alone; and the messages to
// all.
func TestDaemonMissingValues(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var gate sync.Mutex
	pub, c := dialDaemon(t, ""), dialDaemon(t, gatedRelay(t, &gate))
	const values = 12 // more than a socket takes
	subscribe := func() (*ipc.Subscription, error) { return c.Subscribe(ctx, "missing/#", ipc.Backlog(2, 0)) }
	first, err := subscribe()
	if err != nil {
		t.Fatal(err)
	}
	for i := range values {
		topic := fmt.Sprint("missing/", i)
		if _, err := pub.Publish(ctx, topic, bytes.Repeat([]byte("x"), 60<<10), ipc.Retain(), ipc.MayBlock(patience)); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if _, err := pub.Clear(ctx, topic); err != nil {
				t.Error(err)
			}
		}()
		if m := next(t, first); m.Topic != topic || m.Lost != 0 {
			t.Fatalf("before all %q comes, with %d lost", m.Topic, m.Lost)
		}
	}
	id, err := c.Do(ctx, "CLIENT", "ID")
	if err != nil {
		t.Fatal(err)
	}
	isBehind := regexp.MustCompile(fmt.Sprintf(`(?m)^id=%d .* oll=[1-9]`, id.Int))
	sharers := []*ipc.Subscription{first}
	for lost := range 3 { // messages, behind all values that are
		gate.Lock()
		open := sync.OnceFunc(gate.Unlock)
		defer open()
		joins := start(subscribe)
		for behind := false; !behind; { // till the values wait
			v, err := pub.Do(ctx, "CLIENT", "LIST")
			if err != nil {
				t.Fatal(err)
			}
			behind = isBehind.MatchString(v.Text())
		}
		var last ipc.Receipt
		for range lost + 2 {
			if last, err = pub.Publish(ctx, "missing/message", nil); err != nil || last.Dropped != 1 {
				t.Fatalf("a message behind too many is published with %+v, %v", last, err)
			}
		}
		open()
		for i, sub := range sharers {
			if m := next(t, sub); m.Seq != last.Seq-1 || m.Lost != uint64(lost) {
				t.Errorf("number %d is given message %d with %d lost, want %d with %d", i+1, m.Seq, m.Lost, last.Seq-1, lost)
			}
			next(t, sub)
		}
		sub, got := joins.ok(t), 0
		m := next(t, sub)
		for ; m.Retained; m = next(t, sub) {
			got++
		}
		if want := values - got + lost; m.Seq != last.Seq-1 || m.Lost != uint64(want) || got == values {
			t.Errorf("who asked is given %d of %d values, and then message %d with %d lost, want %d with %d", got, values, m.Seq, m.Lost, last.Seq-1, want)
		}
		next(t, sub)
		sharers = append(sharers, sub)
	}
}
