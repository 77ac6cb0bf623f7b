package conn_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/ipc/wire"
)

// appendAbout is appendOf with the number of the message among all, and what it is about.
func appendAbout(of string, n, seq int, topic string, size int) []byte {
	b := wire.RESP3.AppendPush(nil, 6)
	b = wire.AppendBulk(b, "of")
	b = wire.AppendBulk(b, of)
	b = wire.AppendBulk(b, topic)
	b = wire.AppendInt(b, int64(n))
	b = wire.AppendInt(b, int64(seq))
	return wire.AppendBulk(b, strings.Repeat("m", size))
}

// newRuledWorld is a world in which messages are those of appendAbout.
func newRuledWorld(t *testing.T, limit int) *world {
	w := newWorld(t, func(a *account.Limits, l *conn.Limits) {
		l.Output, a[account.Files], a[account.FileBytes] = limit, 5, 1000
	})
	w.Pushes.Loss = func(v []byte) (of []byte, n int64, told bool) {
		if rest, ok := strings.CutPrefix(string(v), ">6\r\n$2\r\nof\r\n$1\r\n"); ok {
			return []byte(rest[:1]), 1, false
		}
		return lossOfSeveral(v)
	}
	w.Pushes.Topic = func(v []byte) []byte {
		rest := strings.TrimPrefix(string(v), ">6\r\n$2\r\nof\r\n$1\r\n")
		return []byte(rest[len("a\r\n$1\r\n"):][:1])
	}
	w.Pushes.AppendConflated = func(b []byte, p wire.Proto, of string, n int64) []byte {
		b = p.AppendPush(b, 3)
		b = wire.AppendBulk(b, "conflated")
		b = wire.AppendInt(b, n)
		return wire.AppendBulk(b, of)
	}
	w.Pushes.AppendEnd = func(b []byte, p wire.Proto, of string) []byte {
		return wire.AppendBulk(wire.AppendBulk(p.AppendPush(b, 2), "end"), of)
	}
	return w
}

// A reading is what a peer has read of each subscription.
type reading struct {
	seen, lost, conflated map[string]int
	last                  map[string]string // by subscription and topic: the last message
	seq                   int
}

// read goes on with what has come, in which nothing may be out of order.
func (r *reading) read(t *testing.T, got string) (replies []string) {
	t.Helper()
	if r.seen == nil {
		r.seen, r.lost, r.conflated, r.last = map[string]int{}, map[string]int{}, map[string]int{}, map[string]string{}
	}
	for _, v := range values(t, got) {
		switch {
		case len(v.Elems) == 0:
			replies = append(replies, v.Str)
		case v.Elems[0].Str == "lost", v.Elems[0].Str == "conflated":
			n, of := int(v.Elems[1].Int), v.Elems[2].Str
			r.seen[of] += n
			if v.Elems[0].Str == "lost" {
				r.lost[of] += n
			} else {
				r.conflated[of] += n
			}
		case v.Elems[0].Str == "end":
			replies = append(replies, "end "+v.Elems[1].Str)
		default:
			of := v.Elems[1].Str
			if r.seen[of]++; v.Elems[3].Int != int64(r.seen[of]) {
				t.Fatalf("message %d of %s comes where %d would", v.Elems[3].Int, of, r.seen[of])
			}
			if seq := int(v.Elems[4].Int); seq < r.seq {
				t.Fatalf("message %d comes behind %d", seq, r.seq)
			} else {
				r.seq = seq
			}
			r.last[of+v.Elems[2].Str] = fmt.Sprint(v.Elems[4].Int)
		}
	}
	return replies
}

// TestRules: of several subscriptions, each with a rule of its own or with none, what is read and what is told to be missing are all that
// there was, in order; no more waits than the rule says; and of one that conflates the last message of each topic comes, unless messages
// are lost for want of room. Of one of which nothing is to be missed nothing is, or the connection ends.
func TestRules(t *testing.T) {
	const firstFD = 1 << 20
	lost, conflated, ended, stayed := 0, 0, 0, 0
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		limit := []int{2000, 8000, 1 << 20}[random.IntN(3)]
		if seed%8 == 4 {
			limit = 1 << 20
		}
		w := newRuledWorld(t, limit)
		o := w.connect()
		rules := map[string]conn.Rule{"a": {}, "b": {Messages: 3}, "c": {Excess: conn.Conflate}, "d": {Excess: conn.Conflate, Messages: 2}, "e": {Bytes: 1000}}
		for of, r := range rules {
			o.SetRule(of, r)
		}
		sent, counted, files := map[string]int{}, 0, 0
		last := map[string]string{}
		var replies, came []string
		var r reading
		all := []string{"a", "b", "c", "d", "e"}
		if seed%4 == 0 { // and of one nothing is to be missed
			rules["f"] = conn.Rule{Excess: conn.Disconnect, Messages: []int{60, 1000}[seed/4%2]} // in the second case it has no files either, and stays
			o.SetRule("f", rules["f"])
			all = append(all, "f")
		}
		for seq := 1; seq < 200 && !o.Ending(); seq++ {
			size, topic := random.IntN(300), string(rune('w'+random.IntN(4)))
			for _, of := range all {
				if random.IntN(3) > 0 || o.Ending() {
					continue
				}
				sent[of]++
				last[of+topic] = fmt.Sprint(seq)
				msg := appendAbout(of, sent[of], seq, topic, size)
				switch withFile := random.IntN(4) == 0 && (of != "f" || seed%8 == 0); {
				case o.Blocked() && withFile:
					f := w.NewFile(firstFD+files, uid, 10)
					files++
					_, n := o.EnqueueFile(msg, f, uint64(seq), of)
					f.Release()
					counted += n
				case o.Blocked():
					_, n := o.Enqueue(msg, nil, uint64(seq), of)
					counted += n
				default:
					o.Send(msg)
				}
			}
			w.check()
			if o.Ending() {
				break // nobody says anything to it any more
			}
			switch random.IntN(12) {
			case 0:
				o.end.SetRoom(random.IntN(2000))
				w.turn()
			case 1:
				replies = append(replies, fmt.Sprint(seq))
				o.Send(fmt.Appendf(nil, "+%d\r\n", seq))
			case 2:
				w.turn()
			case 3:
				replies = append(replies, fmt.Sprint(seq))
				of := string(rune('a' + random.IntN(5)))
				o.TellLoss(of) // as before a reply that ends a subscription
				o.EndRule(of)
				o.Send(fmt.Appendf(nil, "+%d\r\n", seq))
				o.SetRule(of, rules[of])
			}
		}
		o.end.SetRoom(-1)
		w.settle()
		came = r.read(t, o.end.Take())
		if o.Ending() { // what waited is given up, and what came is in order, with what is told to be missing
			ended++
			if replies = append(replies, "end f"); strings.Join(came, " ") != strings.Join(replies, " ") || !o.end.Gone {
				t.Errorf("seed %d: at the end came %v, want %v; it is gone: %v", seed, came, replies, o.end.Gone)
			}
			continue
		}
		if rules["f"].Excess == conn.Disconnect {
			stayed++
		}
		if r.lost["f"]+r.conflated["f"] > 0 {
			t.Errorf("seed %d: of f, of which nothing is to be missed, %d are lost and %d conflated", seed, r.lost["f"], r.conflated["f"])
		}
		if strings.Join(came, " ") != strings.Join(replies, " ") {
			t.Fatalf("seed %d: the replies are %v, want %v", seed, came, replies)
		}
		told := o.dropped
		for of, n := range sent {
			if r.seen[of] != n {
				t.Fatalf("seed %d: of %s %d came or are told to be missing, of %d", seed, of, r.seen[of], n)
			}
			counted -= r.lost[of]
			if rules[of].Excess != conn.Conflate && r.conflated[of] > 0 {
				t.Errorf("seed %d: %d of %s are conflated", seed, r.conflated[of], of)
			}
			lost, conflated = lost+r.lost[of], conflated+r.conflated[of]
		}
		if counted+told != 0 {
			t.Errorf("seed %d: %d more were counted as lost than told", seed, counted+told)
		}
		for topic, seq := range last {
			if of := topic[:1]; rules[of].Excess == conn.Conflate && r.lost[of] == 0 && r.last[topic] != seq {
				t.Errorf("seed %d: the last message of %s is %s, want %s", seed, topic, r.last[topic], seq)
			}
		}
		if w.kernel.Discarded != files {
			t.Errorf("seed %d: %d files are closed, of %d", seed, w.kernel.Discarded, files)
		}
		if in, out := o.Memory(); in+out != 0 {
			t.Errorf("seed %d: %d and %d bytes are held", seed, in, out)
		}
	}
	if lost == 0 || conflated == 0 || ended == 0 || stayed == 0 {
		t.Errorf("%d are lost and %d conflated, %d are disconnected and %d are not, so this tests little", lost, conflated, ended, stayed)
	}
}

// TestRuleComesLate: a rule may come, and the last one may end, while the socket is full: what waits by then stays in order, with what is
// told to be missing.
func TestRuleComesLate(t *testing.T) {
	lost := 0
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 1))
		w := newRuledWorld(t, 3000)
		o := w.connect()
		sent, of := map[string]int{}, []string{"a", "b", "c"}
		o.end.SetRoom(random.IntN(100))
		o.Send([]byte("+first\r\n"))
		o.Send(appendAbout("a", 1, 1, "w", 100))
		sent["a"] = 1
		w.turn()
		for seq := 2; seq < 150; seq++ {
			if random.IntN(15) == 0 {
				o.SetRule(of[random.IntN(3)], conn.Rule{Excess: conn.Conflate, Messages: random.IntN(3)})
			}
			if random.IntN(15) == 0 {
				ends := of[random.IntN(3)]
				o.TellLoss(ends)
				o.EndRule(ends)
			}
			x := of[random.IntN(3)]
			sent[x]++
			if msg := appendAbout(x, sent[x], seq, "w", random.IntN(400)); o.Blocked() {
				o.Enqueue(msg, nil, uint64(seq), x)
			} else {
				o.Send(msg)
			}
			w.check()
			if random.IntN(10) == 0 {
				o.end.SetRoom(random.IntN(500))
				w.turn()
			}
		}
		o.end.SetRoom(-1)
		w.settle()
		var r reading
		r.read(t, o.end.Take())
		for of, n := range sent {
			if r.seen[of] != n {
				t.Fatalf("seed %d: of %s %d came or are told to be missing, of %d", seed, of, r.seen[of], n)
			}
			lost += r.lost[of]
		}
	}
	if lost == 0 {
		t.Error("nothing is lost, so this tests little")
	}
}

// TestDisconnectRule: who is to miss nothing of a subscription and is too far behind gets what is written in part, and the reason, and
// nothing more, no word of what others miss either. Others' messages are not dropped for it, and what is not to be missed is not dropped for others.
func TestDisconnectRule(t *testing.T) {
	for room := range 300 {
		w := newRuledWorld(t, 4000)
		o := w.connect()
		o.SetRule("a", conn.Rule{Excess: conn.Disconnect, Messages: 3})
		o.end.SetRoom(room)
		for n := 1; n <= 3; n++ {
			o.Send(appendAbout("a", n, n, "w", 100))
		}
		w.turn()
		b := 0
		for n := 4; o.Blocked() && !o.Ending(); n++ {
			if b++; b < 20 {
				o.Enqueue(appendAbout("b", b, n, "w", 300), nil, uint64(n), "b")
				continue
			}
			if taken, lost := o.Enqueue(appendAbout("a", n-b+1, n, "w", 10), nil, uint64(n), "a"); taken != !o.Ending() || lost > 0 == taken {
				t.Errorf("room for %d bytes: taken %v, %d lost", room, taken, lost)
			}
			w.check()
		}
		o.end.SetRoom(-1)
		w.settle()
		var r reading
		got := o.end.Take()
		replies := r.read(t, got)
		if fmt.Sprint(replies) != "[end a]" || len(r.lost)+len(r.conflated) > 0 || !strings.HasSuffix(got, ">2\r\n$3\r\nend\r\n$1\r\na\r\n") || !o.end.Gone || fmt.Sprint(o.calls) != "[too far behind its subscriptions closed]" {
			t.Fatalf("room for %d bytes: %v, %+v, gone %v, %v", room, replies, r, o.end.Gone, o.calls)
		}
	}
}

// TestDisconnectRuleComesLate: likewise where others' messages were dropped before there was a rule: replies come, and no word of those.
func TestDisconnectRuleComesLate(t *testing.T) {
	for room := range 60 {
		w := newRuledWorld(t, 4000)
		o := w.connect()
		o.end.SetRoom(room)
		o.Send([]byte("+first\r\n"))
		seq := 0
		enqueue := func(of string) {
			seq++
			o.Enqueue(appendAbout(of, seq, seq, "w", 300), nil, uint64(seq), of)
		}
		w.turn()
		o.Send(appendAbout("c", 0, 0, "w", 300))
		w.turn()
		for n := range 40 {
			if n%15 == 14 {
				o.Send([]byte("+reply\r\n"))
			}
			enqueue(string(rune('e' + n%20)))
		}
		w.check()
		o.SetRule("a", conn.Rule{Excess: conn.Disconnect, Messages: 1})
		w.check()
		enqueue("a")
		enqueue("a")
		if w.check(); !o.Ending() {
			t.Fatal("it goes on")
		}
		o.end.SetRoom(-1)
		w.settle()
		var got []string
		for _, v := range values(t, o.end.Take()) {
			if len(v.Elems) > 0 {
				v.Str = v.Elems[0].Str
			}
			got = append(got, v.Str)
		}
		got = slices.DeleteFunc(got, func(s string) bool { return s == "of" }) // one that was written in part
		if fmt.Sprint(got) != "[first reply reply end]" {
			t.Fatalf("room for %d bytes: got %q", room, got)
		}
	}
}

// TestCanTake: a connection can be given a message without that one is missed as long as there is room for it, and if its subscription has
// chosen to miss some; who waits for room is told when some of what waits is taken.
func TestCanTake(t *testing.T) {
	w := newRuledWorld(t, 2000)
	o := w.connect()
	o.SetRule("a", conn.Rule{Messages: 1})
	o.SetRule("b", conn.Rule{Excess: conn.Conflate, Messages: 1})
	o.end.SetRoom(0)
	o.Send([]byte("+first\r\n"))
	can := func() string {
		return fmt.Sprint(o.CanTake(1000, "a"), o.CanTake(1000, "b"), o.CanTake(1000, "c"), o.CanTake(3000, "c"))
	}
	if got := can(); got != "true true true true" {
		t.Errorf("before it is blocked: %s", got)
	}
	w.turn()
	if got := can(); got != "true true true false" {
		t.Errorf("with nothing that waits: %s", got)
	}
	o.Enqueue(appendAbout("a", 1, 1, "w", 10), nil, 1, "a")
	o.Enqueue(appendAbout("b", 1, 2, "w", 10), nil, 2, "b")
	if got := can(); got != "false true true false" {
		t.Errorf("with one of each: %s", got)
	}
	o.AwaitRoom()
	w.turn()
	if len(o.calls) > 0 {
		t.Errorf("before it takes anything: %v", o.calls)
	}
	o.end.SetRoom(4)
	w.turn()
	o.end.SetRoom(-1)
	w.settle()
	if got := can(); got != "true true true true" || fmt.Sprint(o.calls) != "[room]" {
		t.Errorf("when all is taken: %s, %v", got, o.calls)
	}
}
