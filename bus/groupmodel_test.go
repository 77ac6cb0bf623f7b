package bus

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// groupModel is Groups as plain as possible: lists of everything, each in the order in which it came.
type groupModel struct {
	groups  []*modelGroup
	members []*modelSharer
	given   []*modelParcel // and not sent
	free    map[int]bool
	turn    int
	told    int // of messages that are lost
	ended   int
	sent    int
	untold  map[int]int // parcels of each message that were lost with a group, of which Gone is not told
}

type modelGroup struct {
	of    Sharing
	queue []*modelParcel
	lost  int
}

type modelSharer struct {
	who, turn int
	group     *modelGroup
	limited   bool
	left      int
}

type modelParcel struct {
	message, size, to, lost int
	group                   *modelGroup
	member                  *modelSharer
}

func (w *groupModel) of(group *modelGroup) (all []*modelSharer) {
	for _, m := range w.members {
		if m.group == group {
			all = append(all, m)
		}
	}
	return all
}

func (w *groupModel) member(s int, of Sharing) *modelSharer {
	for _, m := range w.members {
		if m.who == s && m.group.of == of {
			return m
		}
	}
	return nil
}

func (w *groupModel) load(m *modelSharer) (n int) {
	for _, p := range w.given {
		if p.member == m {
			n++
		}
	}
	return n
}

func (w *groupModel) has(s int) bool {
	return slices.ContainsFunc(w.members, func(m *modelSharer) bool { return m.who == s }) ||
		slices.ContainsFunc(w.given, func(p *modelParcel) bool { return p.to == s })
}

func (w *groupModel) join(s int, of Sharing) bool {
	if w.member(s, of) != nil {
		return false
	}
	if !w.has(s) {
		w.free[s] = true
	}
	w.turn++
	m := &modelSharer{who: s, turn: w.turn}
	for _, group := range w.groups {
		if group.of == of {
			m.group = group
		}
	}
	if m.group == nil {
		m.group = &modelGroup{of: of}
		w.groups = append(w.groups, m.group)
	}
	w.members = append(w.members, m)
	return true
}

func (w *groupModel) leave(m *modelSharer) (ended int) {
	w.members = slices.DeleteFunc(w.members, func(x *modelSharer) bool { return x == m })
	if len(w.of(m.group)) == 0 {
		w.groups = slices.DeleteFunc(w.groups, func(x *modelGroup) bool { return x == m.group })
		ended = m.group.lost + len(m.group.queue)
		for _, p := range m.group.queue {
			w.untold[p.message]++
		}
		w.ended += ended
	}
	return ended
}

func (w *groupModel) drop(s int) (ended int) {
	w.free[s] = false
	for _, p := range slices.Backward(slices.Clone(w.given)) {
		switch {
		case p.to != s:
			continue
		case slices.Contains(w.groups, p.group):
			p.group.queue = slices.Insert(p.group.queue, 0, p)
			p.group.lost += p.lost
		default:
			ended += 1 + p.lost
			w.ended += 1 + p.lost
		}
		p.lost = 0
		w.given = slices.DeleteFunc(w.given, func(x *modelParcel) bool { return x == p })
	}
	w.trim()
	for _, m := range slices.Clone(w.members) {
		if m.who == s {
			ended += w.leave(m)
		}
	}
	return ended
}

// isReady reports whether a group has something, and somebody to give it to.
func (w *groupModel) isReady(group *modelGroup) bool {
	return len(group.queue) > 0 && slices.ContainsFunc(w.of(group), w.takes)
}

func (w *groupModel) takes(m *modelSharer) bool { return w.free[m.who] && (!m.limited || m.left > 0) }

// trim has groups lose what is too much for them.
func (w *groupModel) trim() {
	for _, group := range w.groups {
		bytes := 0
		for _, p := range group.queue {
			bytes += p.size
		}
		for !w.isReady(group) && (len(group.queue) > 3 || bytes > 10) {
			bytes -= group.queue[0].size
			group.queue = group.queue[1:]
			group.lost++
		}
	}
}

// A groupPair is both, led through the same steps.
type groupPair struct {
	pick  func(n int) int
	real  Groups[int, int]
	model groupModel
	put   int         // how many messages, each for each of its groups
	there map[int]int // parcels of each message that Gone was not told of
}

func newGroupPair(pick func(int) int) *groupPair {
	p := &groupPair{pick: pick, real: Groups[int, int]{Verify: true, MostQueued: 3, MostBytes: 10}}
	p.model.free, p.model.untold, p.there = map[int]bool{}, map[int]int{}, map[int]int{}
	p.real.Gone = func(message int) { p.there[message]-- }
	return p
}

func (p *groupPair) who() int { return 1 + p.pick(5) }

func (p *groupPair) sharing() Sharing {
	return Sharing{[]string{"a", "+", "a/b", "#"}[p.pick(4)], []string{"", "g"}[p.pick(2)]}
}

var groupSteps = map[string]func(p *groupPair) (got, want any){
	"join": func(p *groupPair) (got, want any) {
		s, of := p.who(), p.sharing()
		joined, err := p.real.Join(s, of)
		return fmt.Sprint(joined, err), fmt.Sprint(p.model.join(s, of), nil)
	},
	"leave": func(p *groupPair) (got, want any) {
		s, of := p.who(), p.sharing()
		m := p.model.member(s, of)
		ended, found := p.real.Leave(s, of)
		if m == nil {
			return fmt.Sprint(ended, found), fmt.Sprint(0, false)
		}
		return fmt.Sprint(ended, found), fmt.Sprint(p.model.leave(m), true)
	},
	"drop": func(p *groupPair) (got, want any) {
		s, all := p.who(), 0
		for more := true; more; {
			var ended int
			ended, more = p.real.Drop(s, 1)
			all += ended
		}
		return all, p.model.drop(s)
	},
	"put": func(p *groupPair) (got, want any) {
		topic, size := []string{"a", "b", "a/b"}[p.pick(3)], 1+p.pick(6)
		found, rest := p.real.Search([]byte(topic), math.MaxInt)
		n := 0
		for _, group := range p.model.groups {
			if naiveMatch(group.of.Filter, topic) {
				n++
				group.queue = append(group.queue, &modelParcel{message: p.put, size: size, group: group})
			}
		}
		got, want = fmt.Sprint(len(found), rest == nil), fmt.Sprint(n, true)
		for _, group := range slices.Clone(found) {
			p.there[p.put]++
			p.real.Put(group, p.put, size)
		}
		p.put++
		return got, want
	},
	"take": func(p *groupPair) (got, want any) {
		s, of, n := p.who(), p.sharing(), p.pick(4)-1
		m := p.model.member(s, of)
		if m != nil {
			if !m.limited {
				m.left = 0
			}
			m.limited, m.left = n >= 0, m.left+max(n, 0)
		}
		return p.real.Take(s, of, n), m != nil
	},
	"free": func(p *groupPair) (got, want any) {
		s := p.who()
		p.real.Free(s)
		p.model.free[s] = true
		return nil, nil
	},
	"busy": func(p *groupPair) (got, want any) {
		s := p.who()
		p.real.Busy(s)
		p.model.free[s] = false
		return nil, nil
	},
	"sent": func(p *groupPair) (got, want any) {
		s, n := p.who(), p.pick(3)
		p.real.Sent(s, n)
		p.model.given = slices.DeleteFunc(p.model.given, func(x *modelParcel) bool {
			if x.to != s || n == 0 {
				return false
			}
			if x.lost > 0 {
				n--
				p.model.told += x.lost
				if x.lost = 0; n == 0 {
					return false
				}
			}
			n--
			p.model.sent++
			return true
		})
		return nil, nil
	},
}

// give takes what Next gives, until there is no more: the model says what each has to be.
func (p *groupPair) give() error {
	for more := true; more; {
		var given Given[int, int]
		var ok bool
		if given, ok, more = p.real.Next(); !ok {
			continue
		}
		i := slices.IndexFunc(p.model.groups, func(g *modelGroup) bool { return g.of == given.Of })
		if i < 0 || !p.model.isReady(p.model.groups[i]) {
			return fmt.Errorf("%v is given %d of %s, which has nothing, or nobody", given.To, given.Message, given.Of)
		}
		group := p.model.groups[i]
		best := slices.MinFunc(p.model.of(group), func(a, b *modelSharer) int {
			rank := func(m *modelSharer) int {
				rank := p.model.load(m)<<20 + m.turn
				if !p.model.takes(m) {
					rank += 1 << 40
				}
				return rank
			}
			return rank(a) - rank(b)
		})
		parcel := group.queue[0]
		if want := (Given[int, int]{best.who, group.of, parcel.message, group.lost}); given != want {
			return fmt.Errorf("%v is given, and the model gives %v", given, want)
		}
		group.queue = group.queue[1:]
		parcel.lost, group.lost = group.lost, 0
		p.model.turn++
		best.turn = p.model.turn
		if best.limited {
			best.left--
		}
		parcel.to, parcel.member = best.who, best
		p.model.given = append(p.model.given, parcel)
		if p.pick(3) == 0 {
			p.real.Busy(given.To)
			p.model.free[given.To] = false
		}
	}
	for _, group := range p.model.groups {
		if p.model.isReady(group) {
			return fmt.Errorf("%s has something for somebody who can take it", group.of)
		}
	}
	p.model.trim()
	return nil
}

// step takes one step with both and reports a difference, or a rule that was broken.
func (p *groupPair) step(call func(*groupPair) (got, want any)) error {
	got, want := call(p)
	for s := range p.model.free {
		if !p.model.has(s) {
			delete(p.model.free, s)
		}
	}
	if got != want {
		return fmt.Errorf("%v, and the model says %v", got, want)
	}
	if err := p.give(); err != nil {
		return err
	}
	// What is there still, in both.
	waiting, lost := map[Sharing]string{}, map[Sharing]string{}
	for _, group := range p.real.sorted() {
		var queue []int
		group.queue.All(ofParcel[int, int], func(x *parcel[int, int]) bool {
			queue = append(queue, x.message)
			return true
		})
		waiting[group.of], lost[group.of] = fmt.Sprint(queue, group.lost), fmt.Sprint(group.len)
	}
	for _, group := range p.model.groups {
		var queue []int
		for _, x := range group.queue {
			queue = append(queue, x.message)
		}
		if want := fmt.Sprint(queue, group.lost); waiting[group.of] != want || lost[group.of] != fmt.Sprint(len(p.model.of(group))) {
			return fmt.Errorf("%s has %s and %s members, the model %s", group.of, waiting[group.of], lost[group.of], want)
		}
	}
	there := maps.Clone(p.model.untold)
	for _, x := range p.model.given {
		there[x.message]++
	}
	for _, group := range p.model.groups {
		for _, x := range group.queue {
			there[x.message]++
		}
	}
	maps.DeleteFunc(p.there, func(_, n int) bool { return n == 0 })
	if !maps.Equal(p.there, there) {
		return fmt.Errorf("of each message so much is not said to be gone: %v; there is %v", p.there, there)
	}
	unsent := 0
	for s := 1; s <= 5; s++ {
		unsent += p.real.Unsent(s)
	}
	notSent := len(p.model.given)
	for _, x := range p.model.given {
		notSent += min(x.lost, 1)
	}
	if len(waiting) != len(p.model.groups) || unsent != notSent {
		return fmt.Errorf("%d groups, %d are not sent; the model has %d and %d", len(waiting), unsent, len(p.model.groups), notSent)
	}
	return nil
}

// TestGroupsAgainstModel takes steps at random, always the same ones.
func TestGroupsAgainstModel(t *testing.T) {
	kinds := slices.Sorted(maps.Keys(groupSteps))
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 4))
		p := newGroupPair(random.IntN)
		for step := range 500 {
			kind := "put"
			if random.IntN(3) > 0 {
				kind = kinds[random.IntN(len(kinds))]
			}
			if err := p.step(groupSteps[kind]); err != nil {
				t.Fatalf("seed %d, step %d, %s: %v", seed, step, kind, err)
			}
		}
		for s := 1; s <= 5; s++ {
			for more := true; more; {
				_, more = p.real.Drop(s, 1)
			}
		}
		if r := &p.real; r.members.len()+r.takers.len()+r.pools.all.len()+r.pools.byFilter.Slots()+r.ready.Len != 0 {
			var out strings.Builder
			t.Fatalf("something is left: %v\n%s", r.Dump(&out), out.String())
		}
	}
}

// TestGroupsStateMachine takes other steps each time; rapid looks for the shortest sequence that goes wrong.
func TestGroupsStateMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newGroupPair(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") })
		actions := map[string]func(*rapid.T){}
		for kind, call := range groupSteps {
			actions[kind] = func(t *rapid.T) {
				if err := p.step(call); err != nil {
					t.Fatal(err)
				}
			}
		}
		t.Repeat(actions)
	})
}

// TestGroupsConserve: whatever happens in whatever order, also if nobody asks Next for a while, each message that was put into a group is
// sent once, lost and told, lost with the group, or still there.
func TestGroupsConserve(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 5))
		g := Groups[int, int]{Verify: true, MostQueued: 4, MostBytes: 12}
		put, sent, told, ended := 0, 0, 0, 0
		dropping := map[int]bool{}
		given := map[int][]int{} // and not sent: a message, which is 1, or so many that are lost, below 0
		for range 300 {
			s := 1 + random.IntN(4)
			of := Sharing{[]string{"a", "#"}[random.IntN(2)], "g"}
			switch n := random.IntN(13); {
			case n == 0 && !dropping[s]:
				if _, err := g.Join(s, of); err != nil {
					t.Fatal(err)
				}
			case n == 1:
				lost, _ := g.Leave(s, of)
				ended += lost
			case n == 2:
				lost, more := g.Drop(s, 1)
				ended += lost
				dropping[s], given[s] = more, nil
			case n == 3 && !dropping[s]:
				g.Free(s)
			case n == 4:
				g.Busy(s)
			case n == 5:
				n := min(random.IntN(4), len(given[s]))
				g.Sent(s, n)
				for _, x := range given[s][:n] {
					sent += max(x, 0)
					told += max(-x, 0)
				}
				given[s] = given[s][n:]
			case n < 9:
				found, _ := g.Search([]byte("a"), math.MaxInt)
				for _, group := range slices.Clone(found) {
					g.Put(group, put, 1+random.IntN(5))
					put++
				}
			case n == 9:
				g.Take(s, of, random.IntN(4)-1)
			default:
				if x, ok, _ := g.Next(); ok {
					if x.Lost > 0 {
						given[x.To] = append(given[x.To], -x.Lost)
					}
					given[x.To] = append(given[x.To], 1)
				}
			}
			waits, untold, unsent := 0, 0, 0
			for _, group := range g.sorted() {
				waits, untold = waits+group.queue.Len, untold+group.lost
			}
			for s, all := range given {
				for _, x := range all {
					unsent += max(x, -x)
				}
				if len(all) != g.Unsent(s) {
					t.Fatalf("seed %d: %d has %d to be sent, counted %d", seed, s, len(all), g.Unsent(s))
				}
			}
			if all := sent + told + ended + waits + untold + unsent; all != put {
				t.Fatalf("seed %d: %d were put, %d sent, %d told to be lost, %d ended; %d wait, %d are lost, %d not sent",
					seed, put, sent, told, ended, waits, untold, unsent)
			}
		}
	}
}

// TestGroupTakesNoMemory: a message of a group needs what those before it had.
func TestGroupTakesNoMemory(t *testing.T) {
	g := Groups[int, int]{MostQueued: 10, MostBytes: 1000}
	for s := range 3 {
		if _, err := g.Join(s, Sharing{"jobs/+", "g"}); err != nil {
			t.Fatal(err)
		}
	}
	topic, got := []byte("jobs/mail"), 0
	round := func() {
		found, _ := g.Search(topic, math.MaxInt)
		g.Put(found[0], 1, 64)
		for more := true; more; {
			var given Given[int, int]
			var ok bool
			if given, ok, more = g.Next(); ok {
				got += given.Message
				g.Sent(given.To, 1)
			}
		}
	}
	round()
	if n := testing.AllocsPerRun(100, round); n > 0 || got != 102 {
		t.Errorf("a message allocates %v times, and %d were given", n, got)
	}
}

// BenchmarkGroup: a message for a group costs the same, however many members it has, and whether they can take it.
func BenchmarkGroup(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		for _, busy := range []int{0, n - 1} {
			b.Run(fmt.Sprintf("%d members, %d busy", n, busy), func(b *testing.B) {
				g := Groups[int, int]{MostQueued: 10, MostBytes: 1000}
				for s := range n {
					if _, err := g.Join(s, Sharing{"jobs/+", "g"}); err != nil {
						b.Fatal(err)
					}
					if s < busy {
						g.Busy(s)
					}
				}
				b.ReportAllocs()
				for b.Loop() {
					found, _ := g.Search([]byte("jobs/mail"), math.MaxInt)
					if taken, _ := g.Put(found[0], 1, 64); !taken {
						b.Fatal("it is lost")
					}
					for more := true; more; {
						var given Given[int, int]
						var ok bool
						if given, ok, more = g.Next(); ok {
							g.Sent(given.To, 1)
						}
					}
				}
			})
		}
	}
}
