package bus

import (
	"flag"
	"fmt"
	"hash/fnv"
	"hash/maphash"
	"slices"
	"strings"
	"testing"
)

var searchStates = flag.Int("search", 120, "how many states of each small world TestSmallWorlds visits; 0 is all")

// All that can happen in a small world, tried out in all orders, breadth first: some peers, the topics "a" and "a/b", a level below it,
// and a few ways to subscribe to both or one. A peer subscribes and unsubscribes, publishes, reads one thing after the other, and ends;
// values are set, replaced and cleared; and the daemon crashes, of which the next one has the values.
//
// States that differ but in the numbers of messages, or in who of the peers is who, are one state. In each of them every step is taken.
// What it leads to must be in order, as a [witness] sees it and as the bus itself does; and so it must be when all has gone on to its
// end from there: see [hub.drain].
func TestSmallWorlds(t *testing.T) {
	for name, w := range map[string]smallWorld{
		"a slow receiver":     {peers: 3, slow: 1, size: 1, each: []int{1, 1, 1}, forms: []form{below, under}, steps: slices.Concat(subscribes, publishes, reads, crashes)},
		"several copies":      {peers: 1, slow: 1, size: 2, each: []int{3}, forms: []form{below, under, whole}, steps: slices.Concat(subscribes, publishes, reads, crashes)},
		"slow receivers":      {peers: 2, slow: 2, size: 2, each: []int{1, 1}, forms: []form{below, under}, steps: slices.Concat(subscribes, publishes, reads, crashes)},
		"disconnected":        {peers: 2, slow: 1, size: 1, each: []int{2, 2}, forms: []form{below, channel}, steps: slices.Concat(subscribes, publishes, reads)},
		"the last of each":    {peers: 2, slow: 1, size: manyWait, policy: all(conflate{}), each: []int{2, 1}, forms: []form{below, under}, steps: slices.Concat(subscribes, publishes, reads, crashes)},
		"the last few":        {peers: 1, slow: 1, size: 1, policy: all(conflate{}), each: []int{2}, forms: []form{below, under}, steps: slices.Concat(subscribes, publishes, reads)},
		"one of each":         {peers: 1, slow: 1, size: 2, policy: each, each: []int{3}, forms: []form{below, under, whole}, steps: slices.Concat(subscribes, publishes[:3], reads)},
		"values bit by bit":   {peers: 2, turn: 1, each: []int{1, 1}, forms: []form{below, under}, steps: slices.Concat(subscribes, publishes, lines)},
		"several wait":        {peers: 3, turn: 1, each: []int{1, 1, 1}, forms: []form{below}, steps: slices.Concat(subscribes, publishes[1:4], lines)},
		"messages bit by bit": {peers: 2, turn: 1, each: []int{2, 1}, forms: []form{below, under, spelled}, steps: slices.Concat(subscribes, publishes[1:2], lines)},
		"what is remembered":  {peers: 2, cached: true, each: []int{2, 1}, forms: []form{below, under, glob, channel}, steps: slices.Concat(subscribes, publishes[:2])},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			states, taken, depth, err := w.search(*searchStates)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d states, at most %d steps from the first one, and %d steps between them", states, depth, taken)
		})
	}
}

// A smallWorld is what may happen.
type smallWorld struct {
	peers  int
	slow   int               // so many of them do not read at once
	size   int               // of their queues
	policy func(form) policy // nil: policyOf
	turn   int               // what a turn has time for; 0: for all
	each   []int             // so many subscriptions may each have
	cached bool              // what was found is remembered, however little it is
	forms  []form
	steps  []worldStep
}

var (
	below   = form{Filter, "", "a/#"}
	under   = form{Filter, "", "+/b"}
	whole   = form{Filter, "", "a/b"}
	spelled = form{Pattern, FilterPattern, "a/+"}
	glob    = form{Pattern, "", "a*"}
	channel = form{Channel, "", "a/b"}

	worldTopics = []string{"a", "a/b"}
	worldSeed   = seedFor(worldTopics...)
)

// seedFor is a seed by which these names do not share a place in the cache.
func seedFor(names ...string) maphash.Seed {
	for {
		c, places := newCache(), map[uint64]bool{}
		for _, name := range names {
			hash, _ := c.get([]byte(name), 1)
			places[hash%cacheSets] = true
		}
		if len(places) == len(names) {
			return c.seed
		}
	}
}

// A worldStep is one thing that a peer may do, or that may happen to it. It reports false if it cannot, and has changed nothing then.
type worldStep struct {
	name string
	take func(w *smallWorld, h *hub, seat int) bool
}

var (
	subscribes = slices.Concat(withForm("subscribes to", func(w *smallWorld, h *hub, p *peer, f form) bool {
		if h.bus.AgeOf(p, h.bus.Route(f.kind, f.text())) != 0 || h.sends(p) || h.bus.Count(p) >= w.each[slices.Index(h.peers, p)] || len(h.line) >= longestLine {
			return false
		}
		h.subscribe(p, f)
		return true
	}), withForm("unsubscribes from", func(_ *smallWorld, h *hub, p *peer, f form) bool {
		if h.bus.AgeOf(p, h.bus.Route(f.kind, f.text())) == 0 {
			return false
		}
		h.unsubscribe(p, f)
		return true
	}), []worldStep{{"is gone", func(_ *smallWorld, h *hub, seat int) bool {
		p := h.peers[seat]
		if p.dead || h.bus.Count(p) == 0 && len(p.queue.items) == 0 && p.queue.tail == nil {
			return false
		}
		h.die(p)
		return true
	}}})
	publishes = []worldStep{publishing("a", false), publishing("a/b", false), publishing("a", true), publishing("a/b", true), clearing("a"), clearing("a/b")}
	reads     = []worldStep{{"reads", func(_ *smallWorld, h *hub, seat int) bool { return h.read(h.peers[seat]) }}}
	lines     = []worldStep{
		{"gets what is first in line", func(_ *smallWorld, h *hub, seat int) bool {
			if seat > 0 || len(h.line) == 0 { // it is one line
				return false
			}
			h.move()
			return true
		}},
		{"is gone, and loses one more subscription", func(_ *smallWorld, h *hub, seat int) bool {
			if !h.peers[seat].dead {
				return false
			}
			h.reap(seat, 1)
			return true
		}},
	}
	crashes = []worldStep{{"sees the daemon crash", func(_ *smallWorld, h *hub, seat int) bool {
		if seat > 0 {
			return false
		}
		h.restart()
		return true
	}}}
)

// withForm makes a step of each form that a world may have. A peer's commands are not executed while replies to it wait.
func withForm(name string, take func(w *smallWorld, h *hub, p *peer, f form) bool) (steps []worldStep) {
	for _, f := range []form{below, under, whole, spelled, glob, channel} {
		steps = append(steps, worldStep{fmt.Sprint(name, " ", f), func(w *smallWorld, h *hub, seat int) bool {
			p := h.peers[seat]
			return slices.Contains(w.forms, f) && !p.dead && !p.queue.replies() && take(w, h, p, f)
		}})
	}
	return steps
}

// publishing is the step to publish. Where nothing stands in line it makes no difference who does.
func publishing(topic string, retain bool) worldStep {
	return worldStep{fmt.Sprintf("publishes under %q, retained: %v", topic, retain), func(_ *smallWorld, h *hub, seat int) bool {
		return (seat == 0 || seat == 1 && len(h.line) > 0) && len(h.line) < longestLine && h.publish(seat, topic, retain)
	}}
}

func clearing(topic string) worldStep {
	return worldStep{fmt.Sprintf("clears %q", topic), func(_ *smallWorld, h *hub, seat int) bool { return seat == 0 && h.clear(topic) }}
}

const (
	// mostChanges is how much may happen to what a message or a value in line looks for: without end, there would be states without end.
	mostChanges = 1
	// longestLine is how many may stand in line.
	longestLine = 2
)

func (w *smallWorld) start() *hub {
	h := newHub(w.peers, w.slow, w.size, w.turn)
	if w.policy != nil {
		h.policy = w.policy
		h.witness.newest = w.size == manyWait // nothing is dropped for want of room
	}
	return h
}

// manyWait is more than ever wait.
const manyWait = 99

// all is that all subscriptions have one policy, and each that there are all of them.
func all(is policy) func(form) policy { return func(form) policy { return is } }

func each(f form) policy {
	switch f {
	case below:
		return conflate{}
	case under:
		return disconnect{}
	}
	return dropOldest{}
}

func (w *smallWorld) take(h *hub, step, seat int) bool {
	if h.changes() >= mostChanges && w.steps[step].name != lines[0].name {
		return false
	}
	if !w.steps[step].take(w, h, seat) {
		return false
	}
	h.settle()
	if !w.cached { // something else was published in between
		h.bus.known = false
	} else if h.bus.wild.n > 0 && h.bus.wild.cache == nil {
		h.bus.wild.cache = newCache()
		h.bus.wild.cache.seed = worldSeed // or the same steps would not lead to the same state
	}
	return true
}

// A found state is the step that led there from another.
type foundState struct {
	parent, step, seat, depth int
	key                       [16]byte
}

func (w *smallWorld) search(most int) (states, taken, depth int, err error) {
	nodes := []foundState{{parent: -1, key: w.key(w.start())}}
	found := map[[16]byte]bool{nodes[0].key: true}
	for i := 0; i < len(nodes) && (most == 0 || i < most); i++ {
		h := w.at(nodes, i)
		if w.key(h) != nodes[i].key {
			return 0, 0, 0, fmt.Errorf("the same steps have led to another state:\n%s", w.path(nodes, i))
		}
		for step := range w.steps {
			for seat := range w.peers {
				if !w.take(h, step, seat) {
					continue
				}
				taken++
				next := foundState{i, step, seat, nodes[i].depth + 1, w.key(h)}
				err := h.check()
				if err == nil && !found[next.key] {
					found[next.key] = true
					nodes = append(nodes, next)
					depth = next.depth
					err = h.drain(worldTopics...)
				}
				if err != nil {
					return 0, 0, 0, fmt.Errorf("%w\nafter\n%s", err, w.path(append(nodes, next), len(nodes)))
				}
				h = w.at(nodes, i)
			}
		}
	}
	return len(nodes), taken, depth, nil
}

// at makes a state again by the steps that led there.
func (w *smallWorld) at(nodes []foundState, i int) *hub {
	if i == 0 {
		return w.start()
	}
	h := w.at(nodes, nodes[i].parent)
	w.take(h, nodes[i].step, nodes[i].seat)
	return h
}

func (w *smallWorld) path(nodes []foundState, i int) string {
	if i == 0 {
		return ""
	}
	n := nodes[i]
	return w.path(nodes, n.parent) + fmt.Sprintf("peer %d %s\n", n.seat+1, w.steps[n.step].name)
}

// key is the same for states that are the same.
func (w *smallWorld) key(h *hub) (key [16]byte) {
	var texts []string
	for _, as := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		same := true // nothing but the name of who is called another name is different
		for seat, other := range as {
			switch {
			case seat == other:
			case seat >= w.peers, other >= w.peers, (seat < w.slow) != (other < w.slow), w.each[seat] != w.each[other]:
				same = false
			case len(h.line) > 0 && (seat > 1) != (other > 1): // the first two publish
				same = false
			}
		}
		if same {
			texts = append(texts, w.text(h, as))
		}
	}
	f := fnv.New128a()
	f.Write([]byte(slices.Min(texts)))
	f.Sum(key[:0])
	return key
}

// places are whose the subscriptions of a route are and since when, 0 where one has left.
func (r *Route[S]) places(f func(S, uint64) bool) {
	if r.several == nil {
		f(r.alone[0], r.since)
		return
	}
	for i, x := range r.subs {
		age := r.ages[i]
		if x == 0 {
			age = 0
		}
		if !f(r.list[i], age) {
			return
		}
	}
}

// text is all that what may happen depends on. The peer with a seat is called as it says.
func (w *smallWorld) text(h *hub, as []int) string {
	var b strings.Builder
	name := map[*peer]int{}
	for seat, p := range h.peers {
		name[p] = as[seat]
	}
	for _, r := range h.bus.sorted() {
		fmt.Fprintf(&b, "%s %s", r.Kind, r.Text)
		for who, age := range r.places {
			if age == 0 {
				b.WriteString(" hole")
				continue
			}
			fmt.Fprint(&b, " ", name[who])
		}
	}
	if h.bus.known {
		fmt.Fprintf(&b, "knows %s ", h.bus.last)
	}
	if c := h.bus.wild.cache; c != nil {
		for _, topic := range worldTopics {
			hash, a := c.get([]byte(topic), h.bus.wild.gen)
			fmt.Fprint(&b, a != nil, c.seen[hash%uint64(len(c.seen))] == uint32(hash>>32))
		}
	}
	all := h.values.All()
	for more := true; more; {
		var v *value
		var ok bool
		if v, ok, more = all.Next(); ok {
			b.WriteString(v.topic + ";")
			for _, p := range h.line {
				fmt.Fprint(&b, p.lookup != nil && v.seq <= p.seq)
			}
		}
	}
	for _, p := range h.line {
		fmt.Fprintf(&b, "\n%s by %d %s", p.topic, p.user, p.history)
		if p.lookup != nil {
			fmt.Fprintf(&b, " to %d %v %v", name[p.to], p.of, h.bus.AgeOf(p.to, p.route) == p.since)
		}
		for _, r := range p.routes {
			after, at := 0, 0
			for _, age := range r.places {
				if age > 0 && age <= p.after {
					after++
				}
				if age > 0 && age <= p.age {
					at++
				}
			}
			fmt.Fprintf(&b, " %s %v %d %d", r.Text, h.bus.Route(r.Kind, r.Text) == r, after, at)
		}
	}
	peers := make([]string, len(h.peers))
	for seat, p := range h.peers {
		text := fmt.Sprint("\n", p.dead, p.queue.String())
		if o := h.bus.owners.get(p); o != nil {
			for x := o.first; x != 0; x = h.bus.subs.at(x).next {
				r := h.bus.routeOf(x)
				text += fmt.Sprint(r.Kind, r.Text)
			}
		}
		for _, i := range p.queue.items {
			for _, in := range h.line {
				text += fmt.Sprint(i.place < in.seq)
			}
		}
		peers[as[seat]] = text
	}
	return b.String() + strings.Join(peers, "")
}
