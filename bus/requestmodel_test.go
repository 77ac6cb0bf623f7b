package bus

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// requestModel is Requests as plain as possible: lists of everything, each in the order in which it came.
type requestModel struct {
	members  []*modelMember
	pools    []*modelPool
	requests []*modelRequest
	tasks    []*modelTask
	last     RequestID
	turn     int
	full     map[int]bool
	said     []string // the effects
}

type modelPool struct {
	of    Sharing
	route int // when its filter was first served, since when it is
	born  int
}

type modelMember struct {
	who        int
	of         Sharing
	in         bool // the pool
	left, turn int
}

type modelRequest struct {
	id              RequestID
	asker           int
	topic           string
	replies         int
	repeatable      bool
	until, deadline time.Duration
	waits           bool
	answers         int
}

type modelTask struct {
	q     *modelRequest
	m     *modelMember
	begun bool
}

func (w *requestModel) say(format string, args ...any) {
	w.said = append(w.said, fmt.Sprintf(format, args...))
}

// sayEffect is how an effect is written here.
func sayEffect(e RequestEffect[int, string]) string {
	switch e.Kind {
	case Over:
		return fmt.Sprintf("over %d %s %d %d", e.ID, e.How, e.Answers, e.Responder)
	case Left:
		return fmt.Sprintf("left %d %s", e.Responder, e.Service)
	case Sent:
		return fmt.Sprintf("sent %d %d %s", e.ID, e.Responder, e.Service)
	}
	return fmt.Sprintf("%s %d %d", e.Kind, e.ID, e.Responder)
}

func (w *requestModel) load(m *modelMember) (n int) {
	for _, t := range w.tasks {
		if t.m == m {
			n++
		}
	}
	return n
}

func (w *requestModel) member(s int, of Sharing) *modelMember {
	for _, m := range w.members {
		if m.who == s && m.of == of {
			return m
		}
	}
	return nil
}

func (w *requestModel) serve(s int, of Sharing, most int) bool {
	m := w.member(s, of)
	if m != nil && m.in {
		return false
	}
	if m == nil {
		m = &modelMember{who: s, of: of}
	}
	w.toLast(m)
	w.turn++
	m.in, m.left, m.turn = true, most, w.turn
	route := w.turn
	for _, p := range w.pools {
		if p.of == of {
			return true
		}
		if p.of.Filter == of.Filter {
			route = p.route
		}
	}
	w.pools = append(w.pools, &modelPool{of, route, w.turn})
	return true
}

// toLast has a member be the last of those that are in pools, and of the others.
func (w *requestModel) toLast(m *modelMember) {
	w.members = append(slices.DeleteFunc(w.members, func(x *modelMember) bool { return x == m }), m)
}

// ranked are the members of a pool, whose turn it is first.
func (w *requestModel) ranked(of Sharing) (all []*modelMember) {
	for _, m := range w.members {
		if m.in && m.of == of {
			all = append(all, m)
		}
	}
	slices.SortStableFunc(all, func(a, b *modelMember) int {
		return cmp.Or(cmp.Compare(w.load(a), w.load(b)), cmp.Compare(a.turn, b.turn))
	})
	return all
}

// choose is whom a request is sent to; served says that there is somebody.
func (w *requestModel) choose(q *modelRequest) (whom, passed []*modelMember, served bool) {
	var found []*modelPool
	for _, p := range w.pools {
		if naiveMatch(p.of.Filter, q.topic) {
			found = append(found, p)
		}
	}
	slices.SortStableFunc(found, func(a, b *modelPool) int {
		exact := func(p *modelPool) int {
			if p.of.Filter == q.topic {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(exact(a), exact(b)), cmp.Compare(a.route, b.route), cmp.Compare(a.born, b.born))
	})
	asked := map[int]bool{}
	for _, p := range found {
		var one, none []*modelMember
		for _, m := range w.ranked(p.of) {
			switch {
			case asked[m.who]:
			case !w.full[m.who]:
				one = append(one, m)
			default:
				none = append(none, m)
			}
		}
		if p.of.Group != "" || q.replies == 1 {
			if len(one) > 0 {
				one, none = one[:1], nil
			}
			none = none[:min(1, len(none))]
		}
		if q.replies > 1 {
			for _, m := range one {
				asked[m.who] = true
			}
		}
		whom, passed = append(whom, one...), append(passed, none...)
	}
	if q.replies == 1 && len(whom) > 1 {
		whom = []*modelMember{slices.MinFunc(whom, func(a, b *modelMember) int {
			return cmp.Or(cmp.Compare(w.load(a), w.load(b)), cmp.Compare(a.turn, b.turn))
		})}
	}
	return whom, passed, len(found) > 0
}

func (w *requestModel) ask(q *modelRequest) error {
	whom, passed, served := w.choose(q)
	switch {
	case !served && q.until == 0:
		return ErrNoResponders
	case served && len(whom) == 0:
		return &FullError[int]{passed[0].who}
	}
	w.last++
	q.id, q.waits = w.last, !served
	w.requests = append(w.requests, q)
	if served {
		w.send(q, whom, passed)
	}
	return nil
}

func (w *requestModel) send(q *modelRequest, whom, passed []*modelMember) {
	q.waits = false
	for _, m := range whom {
		w.assign(q, m)
	}
	for _, m := range passed {
		if q.replies > 1 {
			w.say("passed %d %d", q.id, m.who)
		}
	}
}

func (w *requestModel) assign(q *modelRequest, m *modelMember) {
	w.turn++
	m.turn = w.turn
	w.tasks = append(w.tasks, &modelTask{q: q, m: m})
	w.say("sent %d %d %s", q.id, m.who, m.of)
	if m.left--; m.left == 0 {
		w.leavePool(m)
	}
}

func (w *requestModel) leavePool(m *modelMember) {
	m.in = false
	w.toLast(m)
	if len(w.ranked(m.of)) == 0 {
		w.pools = slices.DeleteFunc(w.pools, func(p *modelPool) bool { return p.of == m.of })
	}
	w.say("left %d %s", m.who, m.of)
}

// tidy forgets members that have nothing any more.
func (w *requestModel) tidy() {
	w.members = slices.DeleteFunc(w.members, func(m *modelMember) bool { return !m.in && w.load(m) == 0 })
}

func (w *requestModel) find(s int, id RequestID) *modelTask {
	for _, t := range w.tasks {
		if t.m.who == s && t.q.id == id {
			return t
		}
	}
	return nil
}

func (w *requestModel) finish(t *modelTask, how RequestKind) {
	w.say("%s %d %d", how, t.q.id, t.m.who)
	w.tasks = slices.DeleteFunc(w.tasks, func(x *modelTask) bool { return x == t })
}

func (w *requestModel) tasksOf(q *modelRequest) (all []*modelTask) {
	for _, t := range w.tasks {
		if t.q == q {
			all = append(all, t)
		}
	}
	return all
}

func (w *requestModel) end(q *modelRequest, how Ending, responder int) {
	for _, t := range w.tasksOf(q) {
		w.finish(t, Revoked)
	}
	w.requests = slices.DeleteFunc(w.requests, func(x *modelRequest) bool { return x == q })
	w.say("over %d %s %d %d", q.id, how, q.answers, responder)
}

func (w *requestModel) endIfDone(q *modelRequest) {
	switch none := len(w.tasksOf(q)) == 0; {
	case q.answers == q.replies, none && q.answers > 0:
		w.end(q, Complete, 0)
	case none:
		w.end(q, Unanswered, 0)
	}
}

func (w *requestModel) reply(s int, id RequestID, how RequestKind) error {
	t := w.find(s, id)
	switch {
	case t == nil:
		return ErrNotAsked
	case how == Part:
		t.begun = true
		w.say("part %d %d", id, s)
	default:
		w.finish(t, how)
		if how == Answered {
			t.q.answers++
		}
		w.endIfDone(t.q)
	}
	return nil
}

// giveUp takes away tasks of a member.
func (w *requestModel) giveUp(m *modelMember, most int) (done int) {
	for _, t := range slices.Clone(w.tasks) {
		if t.m != m || done == most {
			continue
		}
		done++
		var next *modelMember
		if t.q.repeatable && !t.begun {
			for _, m := range w.ranked(m.of) {
				if !w.full[m.who] && w.find(m.who, t.q.id) == nil {
					next = m
					break
				}
			}
		}
		if next != nil {
			w.finish(t, Replaced)
			w.assign(t.q, next)
			continue
		}
		w.finish(t, Gone)
		w.endIfDone(t.q)
	}
	return done
}

func (w *requestModel) unserve(s int, of Sharing, most int) (left int, found bool) {
	m := w.member(s, of)
	if m == nil {
		return 0, false
	}
	if m.in {
		w.leavePool(m)
	}
	w.giveUp(m, most)
	return w.load(m), true
}

func (w *requestModel) drop(s, most int) {
	for _, m := range slices.Clone(w.members) {
		if m.who == s && m.in && most > 0 {
			w.leavePool(m)
			most--
		}
	}
	for _, m := range slices.Clone(w.members) {
		if m.who == s {
			most -= w.giveUp(m, most)
		}
	}
	for _, q := range slices.Clone(w.requests) {
		if q.asker == s && most > 0 {
			w.end(q, Withdrawn, 0)
			most--
		}
	}
}

// has reports whether s has something to do with requests.
func (w *requestModel) has(s int) bool {
	return slices.ContainsFunc(w.members, func(m *modelMember) bool { return m.who == s }) ||
		slices.ContainsFunc(w.requests, func(q *modelRequest) bool { return q.asker == s })
}

func (w *requestModel) due(q *modelRequest) time.Duration {
	at := Forever
	if q.deadline != 0 {
		at = q.deadline
	}
	if q.waits {
		at = min(at, q.until)
	}
	return at
}

func (w *requestModel) expire(now time.Duration, most int) (more bool) {
	for {
		var next *modelRequest
		for _, q := range w.requests {
			if w.due(q) <= now && (next == nil || w.due(q) < w.due(next)) {
				next = q
			}
		}
		switch {
		case next == nil:
			return false
		case most == 0:
			return true
		case next.deadline != 0 && next.deadline <= now:
			w.end(next, TimedOut, 0)
		default:
			w.end(next, Unserved, 0)
		}
		most--
	}
}

// offer sends what waits for a filter that is one topic; of others the order is the tree's.
func (w *requestModel) offer(topic string) {
	for _, q := range slices.Clone(w.requests) {
		if !q.waits || q.topic != topic {
			continue
		}
		switch whom, passed, served := w.choose(q); {
		case !served:
			return
		case len(whom) == 0:
			w.end(q, Refused, passed[0].who)
		default:
			w.send(q, whom, passed)
		}
	}
}

// A requestPair is both, led through the same steps.
type requestPair struct {
	pick  func(n int) int
	real  Requests[int, string]
	model requestModel
	now   time.Duration
	over  map[RequestID]bool
	sent  map[string]int // what was sent and has not ended, by request and responder
}

func newRequestPair(pick func(int) int) *requestPair {
	p := &requestPair{pick: pick, over: map[RequestID]bool{}, sent: map[string]int{}}
	p.model.full = map[int]bool{}
	p.real.Verify = true
	p.real.Takes = func(s int, _ string) bool { return !p.model.full[s] }
	return p
}

func (p *requestPair) who() int { return 1 + p.pick(5) }

func (p *requestPair) sharing() Sharing {
	return Sharing{[]string{"a", "b", "+", "a/b", "#", "a/+"}[p.pick(6)], []string{"", "g", "h"}[p.pick(3)]}
}

func (p *requestPair) topic() string { return []string{"a", "b", "a/b"}[p.pick(3)] }

var requestSteps = map[string]func(p *requestPair) (got, want any){
	"serve": func(p *requestPair) (got, want any) {
		s, of, most := p.who(), p.sharing(), max(p.pick(6)-3, 0)
		added, err := p.real.Serve(s, of, most)
		return fmt.Sprint(added, err), fmt.Sprint(p.model.serve(s, of, most), nil)
	},
	"unserve": func(p *requestPair) (got, want any) {
		s, of, most := p.who(), p.sharing(), p.pick(3)
		if len(p.model.members) > 0 {
			m := p.model.members[p.pick(len(p.model.members))]
			s, of = m.who, m.of
		}
		left, found := p.real.Unserve(s, of, most)
		wantLeft, wantFound := p.model.unserve(s, of, most)
		return fmt.Sprint(left, found), fmt.Sprint(wantLeft, wantFound)
	},
	"ask": func(p *requestPair) (got, want any) {
		a := Ask[int, string]{Asker: p.who(), Topic: p.topic(), Replies: []int{1, 1, 2, 3, AllReplies}[p.pick(5)], Repeatable: p.pick(2) == 0}
		if p.pick(2) == 0 {
			a.Until = p.now + time.Duration(p.pick(6))
		}
		if p.pick(2) == 0 {
			a.Deadline = p.now + time.Duration(1+p.pick(9))
		}
		q := &modelRequest{asker: a.Asker, topic: a.Topic, replies: a.Replies, repeatable: a.Repeatable, until: a.Until, deadline: a.Deadline}
		id, err := p.real.Ask(a)
		wantErr := p.model.ask(q)
		return fmt.Sprintf("%d %#v", id, err), fmt.Sprintf("%d %#v", q.id, wantErr)
	},
	"reply": func(p *requestPair) (got, want any) {
		s, id, how := p.who(), RequestID(p.pick(int(p.model.last)+2)), []RequestKind{Part, Answered, Answered, Failed}[p.pick(4)]
		if len(p.model.tasks) > 0 && p.pick(4) > 0 {
			t := p.model.tasks[p.pick(len(p.model.tasks))]
			s, id = t.m.who, t.q.id
		}
		return p.real.Reply(s, id, how), p.model.reply(s, id, how)
	},
	"cancel": func(p *requestPair) (got, want any) {
		if len(p.model.requests) == 0 {
			return p.real.Cancel(p.who(), 1), false
		}
		q := p.model.requests[p.pick(len(p.model.requests))]
		s := p.who()
		if s == q.asker {
			p.model.end(q, Withdrawn, 0)
		}
		return p.real.Cancel(s, q.id), s == q.asker
	},
	"drop": func(p *requestPair) (got, want any) {
		s, most := p.who(), 1+p.pick(3)
		for more := true; more; { // nobody asks or serves who is being dropped
			more = p.real.Drop(s, most)
			p.model.drop(s, most)
			p.model.tidy()
			if more != p.model.has(s) {
				return more, !more
			}
		}
		return nil, nil
	},
	"expire": func(p *requestPair) (got, want any) {
		p.now += time.Duration(p.pick(4))
		most := p.pick(3)
		return p.real.Expire(p.now, most), p.model.expire(p.now, most)
	},
	"offer": func(p *requestPair) (got, want any) {
		topic := p.topic()
		for o := p.real.Offer(topic); o.Next(); {
		}
		p.model.offer(topic)
		return nil, nil
	},
	"full": func(p *requestPair) (got, want any) {
		s := p.who()
		p.model.full[s] = !p.model.full[s]
		return nil, nil
	},
}

// step takes one step with both and reports a difference, or a rule that was broken.
func (p *requestPair) step(call func(*requestPair) (got, want any)) error {
	got, want := call(p)
	p.model.tidy()
	if got != want {
		return fmt.Errorf("%v, and the model says %v", got, want)
	}
	var said []string
	for _, e := range p.real.Effects() {
		said = append(said, sayEffect(e))
		if err := p.conserve(e); err != nil {
			return err
		}
	}
	wanted := p.model.said
	if p.model.said = nil; !slices.Equal(said, wanted) {
		return fmt.Errorf("the effects are\n%s\nand the model's are\n%s", strings.Join(said, "\n"), strings.Join(wanted, "\n"))
	}
	if len(p.sent) != len(p.model.tasks) || p.real.Len() != len(p.model.requests) {
		return fmt.Errorf("%d are to be answered, %d open; the model has %d and %d",
			len(p.sent), p.real.Len(), len(p.model.tasks), len(p.model.requests))
	}
	for s := 1; s <= 5; s++ {
		var serves []Sharing
		for _, m := range p.model.members {
			if m.who == s && m.in {
				serves = append(serves, m.of)
			}
		}
		first, ok := p.real.FirstService(s)
		if got := p.real.Services(s); !slices.Equal(got, serves) || p.real.Serves(s) != len(serves) || ok != (len(serves) > 0) || ok && first != serves[0] {
			return fmt.Errorf("%d serves %s, first %s, and the model's %s", s, got, first, serves)
		}
	}
	at, ok := p.real.Deadline()
	next := Forever
	for _, q := range p.model.requests {
		next = min(next, p.model.due(q))
	}
	if ok != (next != Forever) || ok && at != next {
		return fmt.Errorf("the deadline is %d, %v and not %d", at, ok, next)
	}
	return nil
}

// conserve: of each request there is one end, and of whatever was sent, too, before it.
func (p *requestPair) conserve(e RequestEffect[int, string]) error {
	key := fmt.Sprint(e.ID, " ", e.Responder)
	switch e.Kind {
	case Sent:
		p.sent[key]++
	case Answered, Failed, Gone, Replaced, Revoked:
		p.sent[key]--
	case Over:
		for key := range p.sent {
			if strings.HasPrefix(key, fmt.Sprint(e.ID, " ")) {
				return fmt.Errorf("%d is over, and %s is to be answered", e.ID, key)
			}
		}
	}
	if n := p.sent[key]; n < 0 || n > 1 || p.over[e.ID] && e.Kind != Left {
		return fmt.Errorf("%s: %d times sent, over: %v", sayEffect(e), n, p.over[e.ID])
	}
	if p.sent[key] == 0 {
		delete(p.sent, key)
	}
	if e.Kind == Over {
		p.over[e.ID] = true
	}
	return nil
}

// TestRequestsAgainstModel takes steps at random, always the same ones.
func TestRequestsAgainstModel(t *testing.T) {
	kinds := slices.Sorted(func(yield func(string) bool) {
		for kind := range requestSteps {
			if !yield(kind) {
				return
			}
		}
	})
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 2))
		p := newRequestPair(random.IntN)
		for step := range 500 {
			kind := "ask"
			if random.IntN(3) > 0 {
				kind = kinds[random.IntN(len(kinds))]
			}
			if err := p.step(requestSteps[kind]); err != nil {
				t.Fatalf("seed %d, step %d, %s: %v", seed, step, kind, err)
			}
		}
		for s := 1; s <= 5; s++ {
			for p.real.Drop(s, math.MaxInt) {
			}
		}
		assertNoRequests(t, &p.real)
	}
}

// TestOfferChangesMeanwhile: whatever happens between the steps of an Offer, all that waited and still do when somebody serves their
// topic are sent, first come, first served.
func TestOfferChangesMeanwhile(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 3))
		p := newRequestPair(random.IntN)
		waits := map[RequestID]string{}
		take := func() {
			for _, e := range p.real.Effects() {
				if err := p.conserve(e); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				for id, topic := range waits {
					if e.Kind == Sent && topic == waits[e.ID] && id < e.ID {
						t.Fatalf("seed %d: %d was sent before %d", seed, e.ID, id)
					}
				}
				if e.Kind == Sent || e.Kind == Over {
					delete(waits, e.ID)
				}
			}
		}
		ask := func() {
			topic := smallName(random, "a", "b")
			if id, err := p.real.Ask(Ask[int, string]{Asker: p.who(), Topic: topic, Until: Forever}); err != nil {
				t.Fatal(err)
			} else if take(); !p.over[id] && p.sent[fmt.Sprint(id, " 9")] == 0 {
				waits[id] = topic
			}
		}
		for range 20 {
			ask()
		}
		filter := smallFilter(random)
		if CheckFilter(filter) != nil {
			continue
		}
		if _, err := p.real.Serve(9, Sharing{Filter: filter}, 0); err != nil {
			t.Fatal(err)
		}
		for o := p.real.Offer(filter); o.Next(); {
			take()
			switch random.IntN(3) {
			case 0:
				ask()
			case 1:
				p.real.Cancel(p.who(), RequestID(1+random.IntN(30)))
				take()
			}
		}
		for id, topic := range waits {
			if naiveMatch(filter, topic) {
				t.Fatalf("seed %d: %d waits for %q, and %q is served", seed, id, topic, filter)
			}
		}
	}
}

// BenchmarkRequest: a request and its answer cost the same, however many there are who could answer.
func BenchmarkRequest(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var r Requests[int, int]
			for s := range n {
				if _, err := r.Serve(s, Sharing{Filter: "calc/sum", Group: "g"}, 0); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				id, err := r.Ask(Ask[int, int]{Asker: -1, Topic: "calc/sum", Deadline: 1})
				if err != nil {
					b.Fatal(err)
				}
				if err := r.Reply(r.Effects()[0].Responder, id, Answered); err != nil {
					b.Fatal(err)
				}
				r.Effects()
			}
		})
	}
}

// TestRequestTakesNoMemory: what a request needs is what those before it had, however it ends. One for several answers puts those who are
// asked in order, in a list of its own.
func TestRequestTakesNoMemory(t *testing.T) {
	var r Requests[int, int]
	serve := func(s int, of Sharing) {
		t.Helper()
		if added, err := r.Serve(s, of, 0); !added || err != nil {
			t.Fatal(added, err)
		}
	}
	for s := range 3 {
		serve(s, Sharing{Filter: "all"})
		serve(s, Sharing{Filter: "calc/+", Group: "g"})
	}
	ask := func(a Ask[int, int]) RequestID {
		t.Helper()
		a.Asker = -1
		id, err := r.Ask(a)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	for name, all := range map[string]func(){
		"answered": func() {
			id := ask(Ask[int, int]{Topic: "calc/sum", Deadline: 1})
			if err := r.Reply(r.Effects()[0].Responder, id, Answered); err != nil {
				t.Fatal(err)
			}
		},
		"answered by all": func() {
			id := ask(Ask[int, int]{Topic: "all", Replies: AllReplies})
			for s := range 3 {
				if r.Reply(s, id, Part) != nil || r.Reply(s, id, Answered) != nil {
					t.Fatal("not asked")
				}
			}
		},
		"cancelled": func() {
			if !r.Cancel(-1, ask(Ask[int, int]{Topic: "all", Replies: 2})) {
				t.Fatal("not open")
			}
		},
		"too late": func() {
			ask(Ask[int, int]{Topic: "calc/sum", Deadline: 1})
			r.Expire(1, 1)
		},
		"refused": func() {
			if _, err := r.Ask(Ask[int, int]{Topic: "nobody"}); err != ErrNoResponders {
				t.Fatal(err)
			}
		},
	} {
		round := func() { all(); r.Effects() }
		round()
		most := 0.0
		if name == "answered by all" || name == "cancelled" {
			most = 1
		}
		if n := testing.AllocsPerRun(100, round); n > most {
			t.Errorf("one that is %s allocates %v times", name, n)
		}
	}
	if r.Len() > 0 || r.checkSpares() != nil {
		t.Error("a request is left, or spare twice")
	}
}

// assertNoRequests checks that what is gone is forgotten.
func assertNoRequests(t *testing.T, r *Requests[int, string]) {
	t.Helper()
	if r.parties.len()+r.members.len()+r.open.len()+r.waiting.Len()+len(r.due)+r.pools.all.len()+r.pools.byFilter.Slots() != 0 {
		var out strings.Builder
		t.Fatalf("something is left: %v\n%s", r.Dump(&out), out.String())
	}
}

// TestRequestsStateMachine takes other steps each time; rapid looks for the shortest sequence that goes wrong.
func TestRequestsStateMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newRequestPair(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") })
		actions := map[string]func(*rapid.T){}
		for kind, call := range requestSteps {
			actions[kind] = func(t *rapid.T) {
				if err := p.step(call); err != nil {
					t.Fatal(err)
				}
			}
		}
		t.Repeat(actions)
	})
}
