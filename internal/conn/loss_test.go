package conn_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/ipc/wire"
)

// The messages of several subscriptions: the number of the message among those of its own, and which that is.
func appendOf(b []byte, of string, n, size int) []byte {
	b = wire.RESP3.AppendPush(b, 4)
	b = wire.AppendBulk(b, "of")
	b = wire.AppendBulk(b, of)
	b = wire.AppendInt(b, int64(n))
	return wire.AppendBulk(b, strings.Repeat("m", size))
}

func lossOfSeveral(v []byte) (of []byte, n int64, told bool) {
	if rest, ok := bytes.CutPrefix(v, []byte(">4\r\n$2\r\nof\r\n$1\r\n")); ok {
		return rest[:1], 1, false
	}
	rest, ok := bytes.CutPrefix(v, []byte(">3\r\n$4\r\nlost\r\n"))
	if !ok {
		return nil, 0, false
	}
	count, line := conn.Head(rest)
	return rest[line+len("$1\r\n") : line+len("$1\r\n")+1], int64(count), true
}

// TestLossesOfSeveral: of each of several subscriptions, what is read and what is told to be missing of it are all that there was, in
// order; and what is missing is counted once for who publishes.
func TestLossesOfSeveral(t *testing.T) {
	const limit = 2000
	missing := 0
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		w := newWorld(t, func(_ *account.Limits, l *conn.Limits) { l.Output = limit })
		w.Pushes.Loss = lossOfSeveral
		o := w.connect()
		o.end.SetRoom(0)
		o.Send([]byte("+first\r\n"))
		w.settle()
		if !o.Blocked() {
			t.Fatal("a socket without room is not full")
		}
		sent, counted, replies := map[string]int{}, 0, []string{"first"}
		for seq := range uint64(100) {
			size := random.IntN(1200) // so that there may be no room for all copies of one message
			for _, of := range []string{"a", "b", "c"} {
				if random.IntN(2) == 0 {
					continue
				}
				sent[of]++
				_, lost := o.Enqueue(appendOf(nil, of, sent[of], size), nil, seq+1, of)
				counted += lost
			}
			if random.IntN(40) == 0 {
				replies = append(replies, fmt.Sprint(seq))
				for _, of := range []string{"a", "b", "c"} {
					o.TellLoss(of) // as before a reply that ends a subscription
				}
				o.Send(fmt.Appendf(nil, "+%d\r\n", seq))
			}
		}
		o.end.SetRoom(-1)
		w.settle()
		seen, told := map[string]int{}, 0
		for _, v := range values(t, o.end.Take()) {
			switch {
			case len(v.Elems) == 0:
				if len(replies) == 0 || v.Str != replies[0] {
					t.Fatalf("seed %d: the reply %s is not the next of %v", seed, v.Str, replies)
				}
				replies = replies[1:]
			case v.Elems[0].Str == "lost":
				told += int(v.Elems[1].Int)
				seen[v.Elems[2].Str] += int(v.Elems[1].Int)
			default:
				of := v.Elems[1].Str
				if seen[of]++; v.Elems[2].Int != int64(seen[of]) {
					t.Fatalf("seed %d: message %d of %s comes where %d would", seed, v.Elems[2].Int, of, seen[of])
				}
			}
		}
		for of, n := range sent {
			if seen[of] != n {
				t.Errorf("seed %d: of %s %d came or are told to be missing, of %d", seed, of, seen[of], n)
			}
		}
		if told != counted || len(replies) > 0 {
			t.Errorf("seed %d: %d are told to be missing, and %d counted; and %d replies are", seed, told, counted, len(replies))
		}
		missing += told
	}
	if missing == 0 {
		t.Error("nothing is missing, so this tests nothing")
	}
}

// TestManyLossesAreToldBitByBit: who misses messages of very many subscriptions is not told of all in one turn, wherever they are missing:
// before what waits or behind it. In the end it is told of each, once.
func TestManyLossesAreToldBitByBit(t *testing.T) {
	const subs = 5000
	for _, behind := range []bool{false, true} {
		w := newWorld(t, func(_ *account.Limits, l *conn.Limits) { l.Output = 1 << 20 })
		w.Pushes.Loss = func(v []byte) ([]byte, int64, bool) {
			if rest, ok := bytes.CutPrefix(v, []byte(">4\r\n$2\r\nof\r\n$4\r\n")); ok {
				return rest[:4], 1, false
			}
			return nil, 0, false
		}
		o := w.connect()
		o.end.SetRoom(0)
		o.Send([]byte("+first\r\n"))
		w.settle()
		for i := range subs {
			if of := fmt.Sprintf("%04d", i); behind {
				o.Lose(of)
			} else {
				o.Enqueue(appendOf(nil, of, 1, 1000), nil, uint64(i), of)
			}
		}
		o.end.SetRoom(-1)
		told, seen, most := map[string]int{}, 0, 0
		for busy := true; busy; {
			busy = w.turn()
			now := 0
			for _, v := range values(t, o.end.Take()) {
				switch {
				case len(v.Elems) == 0:
				case v.Elems[0].Str == "lost":
					now++
					told[v.Elems[2].Str] += int(v.Elems[1].Int)
				default:
					seen++
				}
			}
			most = max(most, now)
		}
		if most > 1100 || most == 0 {
			t.Errorf("behind %v: of %d it is told in one turn", behind, most)
		}
		for of, n := range told {
			if n != 1 {
				t.Fatalf("behind %v: it is told that of %s %d are missing", behind, of, n)
			}
		}
		if len(told)+seen != subs || behind != (seen == 0) {
			t.Errorf("behind %v: %d are told, %d come, of %d", behind, len(told), seen, subs)
		}
	}
}

// TestLossesTakeNoMemory: who has very many subscriptions, and loses messages of all of them again and again, has memory taken for that
// once.
func TestLossesTakeNoMemory(t *testing.T) {
	const limit, subs, size = 64 << 10, 500, 100
	w := newWorld(t, func(_ *account.Limits, l *conn.Limits) { l.Output = limit })
	o := w.connect()
	o.end.SetRoom(0)
	o.Send([]byte("+first\r\n"))
	w.settle()
	var of []string
	for i := range subs {
		of = append(of, fmt.Sprintf("subscription/%04d", i))
	}
	w.Pushes.Loss = func(v []byte) ([]byte, int64, bool) {
		rest, isMessage := bytes.CutPrefix(v, []byte(">4\r\n$2\r\nof\r\n$17\r\n"))
		if isMessage {
			return rest[:17], 1, false
		}
		rest, isLoss := bytes.CutPrefix(v, []byte(">3\r\n$4\r\nlost\r\n"))
		if !isLoss {
			return nil, 0, false
		}
		n, line := conn.Head(rest)
		return rest[line+len("$17\r\n") : line+len("$17\r\n")+17], int64(n), true
	}
	var messages [][]byte
	for _, s := range of {
		messages = append(messages, appendOf(nil, s, 1, size))
	}
	seq, lost := uint64(0), 0
	round := func() {
		seq++
		for i, s := range of {
			if o.IsFull(size, seq) {
				o.Lose(s)
				lost++
				continue
			}
			_, n := o.Enqueue(messages[i], nil, seq, s)
			lost += n
		}
	}
	for range 50 {
		round()
	}
	if lost == 0 {
		t.Fatal("nothing is lost")
	}
	const rounds = 20
	before := lost
	if took := testing.AllocsPerRun(rounds, round); lost-before < rounds*subs/2 || took > 0 {
		t.Errorf("%v allocations while %d messages were lost", took, (lost-before)/(rounds+1))
	}
}

// longNames has a world in which messages and losses are of subscriptions with long names.
func (w *world) longNames() {
	const name = "$255\r\n"
	w.Pushes.Loss = func(v []byte) ([]byte, int64, bool) {
		if rest, ok := bytes.CutPrefix(v, []byte(">4\r\n$2\r\nof\r\n"+name)); ok {
			return rest[:255], 1, false
		}
		rest, ok := bytes.CutPrefix(v, []byte(">3\r\n$4\r\nlost\r\n"))
		if !ok {
			return nil, 0, false
		}
		n, line := conn.Head(rest)
		return rest[line+len(name):][:255], int64(n), true
	}
}

// TestGapForgetsNames: who never takes all that waits, and subscribes to something else again and again, has no memory taken for the names
// of what was missing once and is told.
func TestGapForgetsNames(t *testing.T) {
	const limit, names, rounds = 1 << 20, 2000, 20
	w := newWorld(t, func(_ *account.Limits, l *conn.Limits) { l.Output = limit })
	w.longNames()
	o := w.connect()
	o.end.SetRoom(0)
	o.Send([]byte("+first\r\n"))
	w.settle()
	seq := uint64(0)
	enqueue := func(of string, size int) {
		seq++
		o.Enqueue(appendOf(nil, of, 1, size), nil, seq, of)
	}
	told := 0
	round := func(n int) (memory uint64) {
		for i := range names {
			enqueue(fmt.Sprintf("%0255d", n*names+i), 1)
		}
		for range limit / (64 << 10) * 2 {
			enqueue(fmt.Sprintf("%0255d", -1), 64<<10)
		}
		for w.turn(); o.Backlog() > limit/2; w.turn() {
			o.end.SetRoom(64 << 10)
		}
		o.end.SetRoom(0)
		told += strings.Count(o.end.Take(), "$4\r\nlost\r\n")
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	first := round(0)
	last := first
	for n := range rounds {
		last = round(n + 1)
	}
	if !o.Blocked() || told < rounds*names {
		t.Fatalf("it is told of %d, and blocked %v", told, o.Blocked())
	}
	if last > first+rounds*names*100 {
		t.Errorf("%d bytes are taken for what was told", last-first)
	}
}

// TestGapIsCharged: the names of what is missing and not told are charged to who does not read.
func TestGapIsCharged(t *testing.T) {
	const limit, names = 1 << 20, 20_000
	w := newWorld(t, func(_ *account.Limits, l *conn.Limits) { l.Output = limit })
	w.longNames()
	o := w.connect()
	o.end.SetRoom(0)
	o.Send([]byte("+first\r\n"))
	w.settle()
	for i := range names {
		of := fmt.Sprintf("%0255d", i)
		o.Enqueue(appendOf(nil, of, 1, 1), nil, uint64(i+1), of)
	}
	if used := w.users.Of(uid).Used(account.Output); used < (names-limit/255)*255+limit/2 {
		t.Errorf("%d bytes are charged", used)
	}
	o.end.SetRoom(-1)
	w.settle()
	if used := w.users.Of(uid).Used(account.Output); used != 0 {
		t.Errorf("%d bytes are charged of one who has read all", used)
	}
}

// TestManyLossesTakeNoStep: who misses messages of very many subscriptions is told of few of them in a step, also where something follows:
// a message, a reply, behind which may be no more of a subscription, and a rule for one. What is missing before a reply is told before it, and
// of the subscription of a message before that.
func TestManyLossesTakeNoStep(t *testing.T) {
	const limit, subs, before, step = 1 << 20, 20_000, 15_000, 32 << 10
	name := func(i int) string { return fmt.Sprintf("%0255d", i) }
	for _, ruled := range []bool{false, true} {
		w := newWorld(t, func(_ *account.Limits, l *conn.Limits) { l.Output = limit })
		w.longNames()
		o := w.connect()
		o.end.SetRoom(0)
		o.Send([]byte("+first\r\n"))
		w.settle()
		seq := uint64(0)
		enqueue := func(i int) {
			seq++
			backlog := o.Backlog()
			o.Enqueue(appendOf(nil, name(i), 1, 1), nil, seq, name(i))
			if now := o.Backlog(); now > backlog+step {
				t.Fatalf("ruled %v: message %d adds %d bytes", ruled, seq, now-backlog)
			}
		}
		for i := range subs {
			if i == before {
				o.Send([]byte("+reply\r\n"))
			}
			enqueue(i)
		}
		for i := range subs {
			o.Lose(name(i))
		}
		enqueue(subs - 1) // of which the word that some are missing comes before it
		if ruled {
			backlog := o.Backlog()
			o.SetRule("a", conn.Rule{Excess: conn.Conflate})
			w.check()
			if now := o.Backlog(); now > backlog+step {
				t.Fatalf("a rule adds %d bytes", now-backlog)
			}
		}
		o.end.SetRoom(-1)
		lost, seen, most, replied := map[string]int{}, map[string]int{}, 0, false
		for busy := true; busy; {
			busy = w.turn()
			now := 0
			for _, v := range values(t, o.end.Take()) {
				if len(v.Elems) == 0 {
					for i := range before {
						if v.Str == "reply" && lost[name(i)]+seen[name(i)] != 1 {
							t.Fatalf("ruled %v: before the reply, of subscription %d %d are lost and %d seen", ruled, i, lost[name(i)], seen[name(i)])
						}
					}
					replied = replied || v.Str == "reply"
					continue
				}
				if v.Elems[0].Str == "lost" {
					now++
					lost[v.Elems[2].Str] += int(v.Elems[1].Int)
					continue
				}
				of := v.Elems[1].Str
				if seen[of]++; of == name(subs-1) && seen[of]+lost[of] == 2 {
					t.Errorf("ruled %v: it is told behind a message what is missing before it", ruled)
				}
			}
			most = max(most, now)
		}
		if most > 1100 || most == 0 {
			t.Errorf("ruled %v: of %d it is told in one turn", ruled, most)
		}
		for i := range subs {
			want := 2
			if i == subs-1 {
				want = 3
			}
			if lost[name(i)]+seen[name(i)] != want {
				t.Fatalf("ruled %v: of subscription %d %d are lost and %d seen", ruled, i, lost[name(i)], seen[name(i)])
			}
		}
		if !replied {
			t.Error("there is no reply")
		}
	}
}

// TestOthersTakeLittle: of what a slow subscriber has, as much is dropped as others of its user have too much, and little in one step. It
// is not ended for what it cannot be told yet.
func TestOthersTakeLittle(t *testing.T) {
	const all, backlog, size, step, reply = 2 << 20, 1 << 20, 1 << 10, 400 << 10, "+reply\r\n"
	for i := range 8 {
		published, ruled, more := i&1 != 0, i&2 != 0, 10<<10
		if i&4 != 0 {
			more = 4 << 20
		}
		w := newWorld(t, func(a *account.Limits, _ *conn.Limits) { a[account.Output] = all })
		slow, other := w.connect(), w.connect()
		slow.end.Send(cmd("FOLLOW")...)
		w.settle()
		slow.end.SetRoom(0)
		other.end.SetRoom(0)
		if ruled {
			slow.SetRule("b", conn.Rule{Excess: conn.Conflate})
		}
		for slow.Backlog() < backlog {
			w.publish(size)
			w.turn()
		}
		for used := w.users.Of(uid).Used(account.Output); used < all+more; used = w.users.Of(uid).Used(account.Output) {
			other.Send([]byte(bulk(64 << 10)))
			w.turn()
		}
		over := w.users.Of(uid).Used(account.Output) - all
		for first := true; first || w.users.Of(uid).Used(account.Output) > all && slow.Backlog() > 4*size; first = false {
			before := slow.Backlog()
			if published {
				w.publish(size)
			} else {
				slow.Send([]byte(reply))
			}
			w.turn()
			if now := slow.Backlog(); now < before-step || now < backlog-over-3*64<<10 {
				t.Fatalf("published %v, ruled %v: of %d bytes %d are left in a step, as %d are too many", published, ruled, before, now, over)
			}
		}
		slow.Send([]byte(reply))
		w.turn()
		slow.end.SetRoom(-1)
		w.settle()
		if len(slow.calls) > 0 {
			t.Errorf("published %v: %q", published, slow.calls)
		}
		if n := checkSequence(t, strings.ReplaceAll(slow.end.Take(), reply, ""), int64(w.seq)); n == 0 {
			t.Error("nothing is lost")
		}
	}
}
