package bus

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// All that can happen in a small world of groups, or of requests, tried out in all orders, breadth first: each step by the engine and by
// the model of the random tests. States that the model does not tell from each other are one, and so are those that differ in who is who,
// or in the numbers of messages. [TestSmallWorlds] does the same for subscriptions and values.

// allStates is how many states are visited of each world when all are to be: there are some hundred thousand, and to come to one takes all
// the steps that lead there.
const allStates = 20_000

// everyOrder is what there is to be tried of a pair of an engine and its model.
type everyOrder[P any] struct {
	start func() P
	steps []pickedStep
	take  func(p P, s pickedStep) (taken bool, err error) // it is not taken if it is not to be tried in this state
	text  func(p P, as []int) string                      // all that what may happen depends on, when the one with a number is called as it says
	who   int                                             // how many there are
}

// A pickedStep is a step of the random tests with what it picks, and what it goes on to pick then.
type pickedStep struct {
	kind  string
	picks []int
	rest  int
}

// picker gives what a step picks.
func (s pickedStep) picker() func(int) int {
	picks := s.picks
	return func(int) int {
		if len(picks) == 0 {
			return s.rest
		}
		pick := picks[0]
		picks = picks[1:]
		return pick
	}
}

func (w everyOrder[P]) test(t *testing.T) {
	t.Parallel()
	most := *searchStates
	if most == 0 {
		most = allStates
	}
	type found struct{ parent, step, depth int }
	nodes, known := []found{{parent: -1}}, map[string]bool{w.key(w.start()): true}
	taken := 0
	for i := 0; i < len(nodes) && i < most; i++ {
		var way []pickedStep
		for at := i; at > 0; at = nodes[at].parent {
			way = append(way, w.steps[nodes[at].step])
		}
		slices.Reverse(way)
		for step, s := range w.steps {
			p := w.start()
			for _, before := range way {
				if _, err := w.take(p, before); err != nil {
					t.Fatalf("the same steps, %v, have led to something else: %v", way, err)
				}
			}
			ok, err := w.take(p, s)
			if err != nil {
				t.Fatalf("%v\nafter %v, by %v", err, way, s)
			}
			if !ok {
				continue
			}
			taken++
			if key := w.key(p); !known[key] {
				known[key] = true
				nodes = append(nodes, found{i, step, nodes[i].depth + 1})
			}
		}
	}
	t.Logf("%d states, at most %d steps from the first one, and %d steps between them", len(nodes), nodes[len(nodes)-1].depth, taken)
}

// key is the same for states that are the same.
func (w everyOrder[P]) key(p P) (least string) {
	for _, as := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		if slices.Max(as[:w.who]) >= w.who {
			continue
		}
		if text := w.text(p, as); least == "" || text < least {
			least = text
		}
	}
	return least
}

// TestSmallWorldsOfGroups: three members of one group, and two of two.
func TestSmallWorldsOfGroups(t *testing.T) {
	for _, w := range []struct{ members, filters int }{{3, 1}, {2, 2}} {
		var steps []pickedStep
		with := func(kind string, picks ...int) { // who is given something is then busy, or is not
			steps = append(steps, pickedStep{kind, picks, 1}, pickedStep{kind, picks, 0})
		}
		for who := range w.members {
			for f := range w.filters {
				with("join", who, f, 1)
				with("leave", who, f, 1)
				with("take", who, f, 1, 0) // without a limit
				with("take", who, f, 1, 2) // one more
			}
			with("drop", who)
			with("free", who)
			with("busy", who)
			with("sent", who, 1)
			with("sent", who, 2)
		}
		with("put", 0, 0) // a small one
		with("put", 0, 5) // and one of which two are too much
		t.Run(fmt.Sprintf("%d members, groups of %d filters", w.members, w.filters), everyOrder[*groupPair]{
			start: func() *groupPair { return newGroupPair(nil) }, steps: steps, take: takeGroupStep, text: groupText, who: w.members,
		}.test)
	}
}

// takeGroupStep puts nothing more into a world of much, and has nobody take very many.
func takeGroupStep(p *groupPair, s pickedStep) (taken bool, err error) {
	const mostParcels, mostLost, mostLeft = 4, 1, 2
	m := &p.model
	switch s.kind {
	case "put":
		parcels, lost := len(m.given), 0
		for _, g := range m.groups {
			parcels, lost = parcels+len(g.queue), lost+g.lost
		}
		for _, x := range m.given {
			lost += x.lost
		}
		if parcels >= mostParcels || lost > mostLost {
			return false, nil
		}
	case "take":
		if s.picks[3] > 0 && slices.ContainsFunc(m.members, func(x *modelSharer) bool { return x.who == 1+s.picks[0] && x.left >= mostLeft }) {
			return false, nil
		}
	}
	p.pick = s.picker()
	return true, p.step(groupSteps[s.kind])
}

func groupText(p *groupPair, as []int) string {
	m := &p.model
	var b strings.Builder
	for _, g := range m.groups {
		fmt.Fprintf(&b, "%v lost %d:", g.of, g.lost)
		for _, x := range g.queue {
			fmt.Fprint(&b, " ", x.size)
		}
	}
	for _, x := range slices.SortedFunc(slices.Values(m.members), func(x, y *modelSharer) int { return x.turn - y.turn }) {
		fmt.Fprintf(&b, "\n%d of %v %v %d", as[x.who-1], x.group.of, x.limited, x.left)
	}
	free := make([]bool, len(as))
	for who := range m.free {
		free[as[who-1]] = m.free[who]
	}
	fmt.Fprint(&b, "\n", free)
	for _, x := range m.given {
		fmt.Fprintf(&b, "\n%d has %d of %v, %d lost, still there: %v", as[x.to-1], x.size, x.group.of, x.lost, slices.Contains(m.groups, x.group))
	}
	return b.String()
}

// TestSmallWorldsOfRequests: two who ask and answer each other and themselves, alone or as a group, up to two requests at once.
func TestSmallWorldsOfRequests(t *testing.T) {
	const who, most = 2, 2
	var steps []pickedStep
	with := func(kind string, picks ...int) { steps = append(steps, pickedStep{kind, picks, 0}) }
	for s := range who {
		for group := range 2 {
			with("serve", s, 0, group, 0) // without a limit
			with("serve", s, 0, group, 4) // one
		}
		for _, replies := range []int{0, 2} { // one, two
			for repeatable := range 2 {
				with("ask", s, 0, replies, repeatable, 1, 1)
				with("ask", s, 0, replies, repeatable, 0, 2, 1) // waits
				with("ask", s, 0, replies, repeatable, 1, 0, 2) // and has a deadline
			}
		}
		for q := range most {
			with("cancel", q, s)
		}
		with("drop", s, 1)
		with("full", s)
	}
	for member := range 2 * who {
		with("unserve", 0, 0, 0, 2, member)
	}
	for task := range 2 * most {
		for _, how := range []int{0, 1, 3} { // a part, an answer, none
			with("reply", 0, 0, how, 1, task)
		}
	}
	with("expire", 3, 2)
	with("offer", 0)
	everyOrder[*requestPair]{
		start: func() *requestPair { return newRequestPair(nil) }, steps: steps, text: requestText, who: who,
		take: func(p *requestPair, s pickedStep) (taken bool, err error) {
			m := &p.model
			last := s.picks[len(s.picks)-1]
			if s.kind == "ask" && len(m.requests) >= most || s.kind == "cancel" && s.picks[0] >= len(m.requests) ||
				s.kind == "unserve" && last >= len(m.members) || s.kind == "reply" && last >= len(m.tasks) {
				return false, nil
			}
			p.pick = s.picker()
			return true, p.step(requestSteps[s.kind])
		},
	}.test(t)
}

func requestText(p *requestPair, as []int) string {
	m := &p.model
	var b strings.Builder
	for _, x := range slices.SortedFunc(slices.Values(m.pools), func(x, y *modelPool) int { return cmp.Or(x.route-y.route, x.born-y.born) }) {
		fmt.Fprintln(&b, x.of)
	}
	for _, x := range slices.SortedFunc(slices.Values(m.members), func(x, y *modelMember) int { return x.turn - y.turn }) {
		fmt.Fprintln(&b, as[x.who-1], x.of, x.in, max(x.left, -1))
	}
	for _, q := range m.requests {
		fmt.Fprint(&b, as[q.asker-1], q.replies, q.repeatable, q.waits, q.answers)
		if q.waits {
			fmt.Fprint(&b, " until ", q.until-p.now)
		}
		if q.deadline != 0 {
			fmt.Fprint(&b, " deadline ", q.deadline-p.now)
		}
		for _, x := range m.tasks {
			if x.q == q {
				fmt.Fprint(&b, " sent ", as[x.m.who-1], x.m.of, x.begun)
			}
		}
		fmt.Fprintln(&b)
	}
	for _, x := range m.tasks {
		fmt.Fprint(&b, slices.Index(m.requests, x.q))
	}
	full := make([]bool, len(as))
	for who := range m.full {
		full[as[who-1]] = m.full[who]
	}
	fmt.Fprint(&b, full)
	return b.String()
}
