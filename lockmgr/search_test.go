package lockmgr_test

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/lockmgr"
)

var searchStates = flag.Int("search", 120, "how many states of each small world TestSearch visits; 0 is all")

// All that can happen in a small world, tried out in all orders, breadth first: three clients, the lock "a" and the lock "b"
// with two units. A client does one thing after the other, so it does nothing while it waits but give up, or be ended.
//
// States that differ but in names, in tokens, ids and times, or in who of the clients is who, are one state. In each of
// them every step is taken, thrice: by the Manager that came there step by step, by one that is restored from a snapshot of
// it, and by one that is restored and then told of the effects. All three must agree, and what [world.check] looks at must
// be in order.
func TestSearch(t *testing.T) {
	for name, w := range map[string]world{
		"three clients":    {clients: 3, mark: 1 << 30, steps: append(slices.Clone(steps), sets...)},
		"few tokens":       {clients: 2, mark: 1, scarce: true, steps: append(slices.Clone(steps), sets...)},
		"tokens are shown": {clients: 2, mark: 1 << 30, steps: append(slices.Clone(steps), joins...)},
		"parents are late": {clients: 3, mark: 1 << 30, late: true, steps: lates},
	} {
		t.Run(name, func(t *testing.T) {
			states, taken, depth, err := w.search(*searchStates)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d states, at most %d steps from the first one, and %d steps between them", states, depth, taken)
		})
	}
}

// A world is what may happen.
type world struct {
	clients int
	mark    lockmgr.Token
	scarce  bool // tokens are, so that they are part of the state
	late    bool // what there is to be told may be learned late, and is part of the state
	steps   []step
}

// A step is one thing that a client may do, or that may happen to it. It reports false if it cannot.
type step struct {
	name string
	take func(s *state, client int) bool
}

// A state is a Manager, the time, and which of its lives each client lives.
type state struct {
	m        *lockmgr.Manager
	now      lockmgr.Time
	lives    [3]uint64
	dying    [3]bool // is being ended, a claim in each step
	effects  []lockmgr.Effect
	deadlock *lockmgr.Request // that was refused
	err      error
}

func (s *state) process(client int) lockmgr.Process {
	return lockmgr.Process{PID: client + 1, Start: s.lives[client]}
}

// claims gives what a client has.
func (s *state) claims(client int) (waits, holds []lockmgr.Claim) {
	for c := range s.m.Claims(s.process(client)) {
		if c.Token == 0 {
			waits = append(waits, c)
		} else {
			holds = append(holds, c)
		}
	}
	return waits, holds
}

// patience is how long a wait with an end lasts. All of them began after the last time that so much time passed.
const patience = 10

var (
	steps = []step{
		asks("a"), asks("a", shared), asks("a", timed), asks("a", tries),
		asks("b", units(1)), asks("b", units(2)), asks("b", shared), asks("b", units(1), timed), asks("b", units(2), tries),
		{"releases a", func(s *state, client int) bool { return s.release(client, "a") }},
		{"releases b", func(s *state, client int) bool { return s.release(client, "b") }},
		{"downgrades a", func(s *state, client int) bool {
			_, holds := s.claims(client)
			for _, h := range holds {
				if h.Name == "a" && h.Mode == lockmgr.Exclusive && s.acts(client) {
					s.fail(s.m.Downgrade(s.now, "a", h.Token))
					return true
				}
			}
			return false
		}},
		{"gives up", func(s *state, client int) bool {
			waits, _ := s.claims(client)
			if s.dying[client] {
				return false
			}
			if len(waits) > 0 && !s.m.Cancel(s.now, waits[0].ID) {
				s.err = errors.New("there was no wait to cancel")
			}
			return len(waits) > 0
		}},
		{"is killed", func(s *state, client int) bool {
			s.m.EndProcess(s.now, s.process(client), lockmgr.Killed, 9, lockmgr.All)
			if waits, holds := s.claims(client); len(waits)+len(holds) > 0 {
				s.err = errors.New("a process is dead, and has claims")
			}
			s.dying[client] = false
			s.lives[client]++
			return true
		}},
		{"is killed, and loses one thing after the other", func(s *state, client int) bool {
			if _, holds := s.claims(client); len(holds) > 1 && holds[0].Name > holds[1].Name {
				return false // after a restart it would lose them in the other order
			}
			s.dying[client] = s.m.EndProcess(s.now, s.process(client), lockmgr.Killed, 9, 1)
			if !s.dying[client] {
				s.lives[client]++
			}
			return true
		}},
		{"waits until the time is over", func(s *state, client int) bool {
			if client > 0 { // it is over for all
				return false
			}
			s.now.Boot += patience - 1
			s.m.Expire(s.now, lockmgr.All)
			if len(s.m.Effects()) > 0 {
				s.err = errors.New("something ended before its time")
			}
			s.now.Boot++
			s.m.Expire(s.now, lockmgr.All)
			if at, ok := s.m.Deadline(); ok {
				s.err = fmt.Errorf("at %d something still has to end at %d", s.now.Boot, at)
			}
			return true
		}},
		{"gets one more token", func(s *state, client int) bool {
			last, mark := s.m.Tokens()
			if client > 0 || mark > last+2 {
				return false
			}
			s.m.Reserve(s.now, max(mark, last)+1)
			return true
		}},
	}
	sets  = []step{asks("a", and("b"), units(1)), asks("b", and("a"), shared, timed), asks("a", and("b"))}
	joins = []step{
		asks("a", withAll), asks("b", units(1), withAll), asks("b", withAll), asks("a", and("b"), withAll),
		asks("a", and("b"), units(1), timed, withOwn),
	}
)

// lates are the steps of clients whose parents collect their status late. They end one after the other: a client does not end
// so again before it is known how it ended the last time, or does not matter any more.
var lates = []step{
	asks("a"), asks("a", shared), asks("a", untold),
	{"releases a", func(s *state, client int) bool { return s.release(client, "a") }},
	{"has dealt with it", func(s *state, client int) bool {
		_, holds := s.claims(client)
		for _, h := range holds {
			if h.Told != nil {
				s.fail(s.m.Told(h.Name, h.Token))
				return true
			}
		}
		return false
	}},
	{"is killed", func(s *state, client int) bool { return s.ends(client, lockmgr.Killed) }},
	{"ends somehow", func(s *state, client int) bool { return s.ends(client, lockmgr.Unreaped) }},
	{"had been killed", func(s *state, client int) bool { return s.had(client, lockmgr.Killed) }},
	{"had done well", func(s *state, client int) bool { return s.had(client, lockmgr.Exited) }},
}

// before is the life that a client had before.
func (s *state) before(client int) lockmgr.Process {
	return lockmgr.Process{PID: client + 1, Start: s.lives[client] - 1}
}

func (s *state) ends(client int, how lockmgr.How) bool {
	if s.m.Unreaped(s.before(client)) {
		return false
	}
	s.m.EndProcess(s.now, s.process(client), how, 0, lockmgr.All)
	s.lives[client]++
	return true
}

// had tells how the client ended before. What the next holders are to be told must be right then.
func (s *state) had(client int, how lockmgr.How) bool {
	p := s.before(client)
	if !s.m.Unreaped(p) {
		return false
	}
	its, others := false, false
	for e := s.m.Abandoned("a"); e != nil; e = e.Before {
		its, others = its || e.Owner.Process == p && e.How == lockmgr.Unreaped, others || e.Owner.Process != p
	}
	s.m.Learn(p, how, 0, lockmgr.All)
	now := s.m.Abandoned("a")
	switch {
	case its && how == lockmgr.Killed && (now == nil || now.How != lockmgr.Killed):
		s.fail(errors.New("it was abandoned, and nobody will be told"))
	case its && how != lockmgr.Killed && (now != nil) != others:
		s.fail(fmt.Errorf("the next holder will be told of %v", now))
	}
	if s.m.Unreaped(p) {
		s.fail(errors.New("there is still something to learn"))
	}
	return true
}

type option func(*lockmgr.Request, *state)

func shared(r *lockmgr.Request, _ *state) { r.Mode, r.Units = lockmgr.Shared, 0 }
func timed(r *lockmgr.Request, _ *state)  { r.Wait = patience }
func tries(r *lockmgr.Request, _ *state)  { r.Wait = lockmgr.Try }
func untold(r *lockmgr.Request, _ *state) { r.Untold = true }
func units(n int) option                  { return func(r *lockmgr.Request, _ *state) { r.Units = n } }
func and(name string) option {
	return func(r *lockmgr.Request, _ *state) { r.Set = []string{r.Name, name} }
}

// withAll shows all tokens of the first client.
func withAll(r *lockmgr.Request, s *state) {
	_, holds := s.claims(0)
	for _, h := range holds {
		r.Shown = append(r.Shown, lockmgr.Shown{Name: h.Name, Token: h.Token})
	}
}

// withOwn shows what the client holds itself.
func withOwn(r *lockmgr.Request, s *state) {
	_, holds := s.claims(r.Owner.Process.PID - 1)
	for _, h := range holds {
		r.Shown = append(r.Shown, lockmgr.Shown{Name: h.Name, Token: h.Token})
	}
}

// asks is the step to ask for a lock.
func asks(name string, options ...option) step {
	request := func(s *state, client int) lockmgr.Request {
		r := lockmgr.Request{
			Name: name, Owner: lockmgr.Owner{Process: s.process(client)}, Conn: lockmgr.ConnID(client), Wait: lockmgr.Forever,
			Bind: lockmgr.ToProcess,
		}
		for _, o := range options {
			o(&r, s)
		}
		return r
	}
	sample := request(&state{m: lockmgr.New(0, 0)}, 0)
	title := fmt.Sprintf("asks for %q %s %d, wait %d", namesOf(sample), sample.Mode, sample.Units, sample.Wait)
	return step{title, func(s *state, client int) bool {
		r := request(s, client)
		_, holds := s.claims(client)
		for _, h := range holds {
			again := slices.Contains(r.Shown, lockmgr.Shown{Name: h.Name, Token: h.Token}) && h.Entries == 1
			if slices.Contains(namesOf(r), h.Name) && !again {
				return false // it knows better, or has done it before
			}
		}
		if !s.acts(client) {
			return false
		}
		switch _, err := s.m.Acquire(s.now, r); {
		case errors.Is(err, lockmgr.ErrDeadlock):
			s.deadlock = &r
		case errors.Is(err, lockmgr.ErrBusy), errors.Is(err, lockmgr.ErrExhausted), errors.Is(err, lockmgr.ErrUpgrade):
		default:
			s.fail(err)
		}
		return true
	}}
}

// acts reports whether a client does not wait.
func (s *state) acts(client int) bool {
	waits, _ := s.claims(client)
	return len(waits) == 0 && !s.dying[client]
}

func (s *state) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *state) release(client int, name string) bool {
	_, holds := s.claims(client)
	for _, h := range holds {
		if h.Name == name && s.acts(client) {
			s.fail(s.m.Leave(s.now, name, h.Token, s.process(client)))
			return true
		}
	}
	return false
}

// A node is a state that was found, as the step that led there from another.
type node struct{ parent, step, client, depth int }

func (w *world) search(most int) (states, taken, depth int, err error) {
	nodes := []node{{parent: -1}}
	found := map[[16]byte]bool{w.key(w.at(nodes, 0)): true}
	for i := 0; i < len(nodes) && (most == 0 || i < most); i++ {
		for what, step := range w.steps {
			for client := range w.clients {
				s := w.at(nodes, i)
				before := *s
				snapshot := s.m.Snapshot()
				lastBefore, _ := s.m.Tokens()
				if step.name == "gets one more token" && !w.scarce || !step.take(s, client) {
					continue
				}
				taken++
				next := node{i, what, client, nodes[i].depth + 1}
				s.effects = slices.Clone(s.m.Effects())
				if err := w.check(s, before, snapshot, lastBefore, step, client); err != nil {
					return 0, 0, 0, fmt.Errorf("%w\nafter\n%s", err, w.path(append(nodes, next), len(nodes)))
				}
				if key := w.key(s); !found[key] {
					found[key] = true
					nodes = append(nodes, next)
					depth = next.depth
					if err := s.drain(w.clients); err != nil && !w.scarce {
						return 0, 0, 0, fmt.Errorf("%w\nafter\n%s", err, w.path(nodes, len(nodes)-1))
					}
				}
			}
		}
	}
	return len(nodes), taken, depth, nil
}

// at makes a state again by the steps that led there.
func (w *world) at(nodes []node, i int) *state {
	if i == 0 {
		m := lockmgr.New(0, w.mark)
		m.SetLimits(map[string]int{"b": 2})
		return &state{m: m}
	}
	s := w.at(nodes, nodes[i].parent)
	w.steps[nodes[i].step].take(s, nodes[i].client)
	s.m.Effects()
	return s
}

func (w *world) path(nodes []node, i int) string {
	if i == 0 {
		return ""
	}
	n := nodes[i]
	return w.path(nodes, n.parent) + fmt.Sprintf("client %d %s\n", n.client+1, w.steps[n.step].name)
}

// check looks at what came of a step.
func (w *world) check(s *state, before state, snapshot lockmgr.Snapshot, last lockmgr.Token, what step, client int) error {
	if s.err != nil {
		return s.err
	}
	if err := s.m.Check(); err != nil {
		return err
	}
	if err := fair(s.m, last, s.effects); err != nil {
		return err
	}
	if err := sameAfterReplay(s.m, snapshot, s.effects); err != nil {
		return err
	}
	_, mark := before.m.Tokens()
	if what.name == "gets one more token" {
		mark--
	}
	before.m = lockmgr.Restore(snapshot, 0, mark)
	before.m.SetLimits(map[string]int{"b": 2})
	what.take(&before, client)
	if w.key(&before) != w.key(s) {
		return fmt.Errorf("after a restart it ends in\n%sand without one in\n%s", dump(before.m), dump(s.m))
	}
	if s.deadlock != nil {
		return s.provesStuck(w.clients, client, snapshot)
	}
	return nil
}

// drain has all who do not wait release what they hold, for as long as there are any. When also the time of those who wait
// for a while is over, nobody may be left: or there is a deadlock that nobody was told of.
func (s *state) drain(clients int) error {
	s.releaseAll(clients)
	s.now.Boot += patience
	s.m.Expire(s.now, lockmgr.All)
	s.releaseAll(clients)
	for v := range s.m.All() {
		if !v.Free() {
			return fmt.Errorf("everybody has released what he could, and this is left:\n%s", dump(s.m))
		}
	}
	return s.err
}

func (s *state) releaseAll(clients int) {
	for client := range clients {
		if s.dying[client] {
			s.m.EndProcess(s.now, s.process(client), lockmgr.Killed, 9, lockmgr.All)
			s.dying[client] = false
		}
	}
	for range 2 * clients { // each release may let one more go on, with at most two locks
		for client := range clients {
			for s.release(client, "a") || s.release(client, "b") {
			}
		}
	}
}

// provesStuck lets a request that was refused wait nevertheless, by saying that it would not do so for ever: if everybody
// else lets go of what he can, it must still wait.
func (s *state) provesStuck(clients, client int, snapshot lockmgr.Snapshot) error {
	m := lockmgr.Restore(snapshot, 0, 1<<30)
	m.SetLimits(map[string]int{"b": 2})
	r := *s.deadlock
	r.Wait = time.Hour
	if _, err := m.Acquire(s.now, r); err != nil {
		return err
	}
	again := state{m: m, now: s.now, lives: s.lives, dying: s.dying}
	again.now.Boot += patience // who waits for a while does not keep it waiting
	m.Expire(again.now, lockmgr.All)
	again.releaseAll(clients)
	if again.acts(client) {
		return errors.New("it was no deadlock")
	}
	return nil
}

// doubts says of what there is to be told of an abandoned end, and whether it may turn out to be none.
func (s *state) doubts(e *lockmgr.End, as []int) (text string) {
	for ; e != nil; e = e.Before {
		text += "+"
		if e.How == lockmgr.Unreaped {
			text += fmt.Sprint(as[e.Owner.Process.PID-1])
		}
	}
	return text
}

// key is the same for states that are the same.
func (w *world) key(s *state) (key [16]byte) {
	var texts []string
	permutations := [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}
	if w.clients == 2 {
		permutations = permutations[:1] // the first one's tokens are shown
	}
	views := []lockmgr.View{s.m.View("a"), s.m.View("b")}
	for _, as := range permutations {
		var b strings.Builder
		for _, v := range views {
			var tokens []lockmgr.Token
			for _, c := range v.Holders {
				if !slices.Contains(tokens, c.Token) {
					tokens = append(tokens, c.Token)
				}
				fmt.Fprintf(&b, "%d by %d %d %d %v %d", len(tokens), as[c.Owner.Process.PID-1], c.Mode, c.Units, c.Joined, c.Entries)
				if w.late {
					fmt.Fprintf(&b, " %v %s", c.Untold, s.doubts(c.Told, as))
				}
				b.WriteString(", ")
			}
			for _, c := range v.Waiters {
				fmt.Fprintf(&b, "waits %d %d %d %d %s %v", as[c.Owner.Process.PID-1], c.Mode, c.Units, c.Wait, c.Set, c.Untold)
				for _, shown := range c.Shown {
					_, err := s.m.Hold(shown.Name, shown.Token)
					fmt.Fprintf(&b, " for %s %v", shown.Name, err == nil)
				}
			}
			for client, dies := range s.dying {
				if dies {
					fmt.Fprintf(&b, "%d dies, ", as[client])
				}
			}
			fmt.Fprintf(&b, "%v %v;", v.Previous != nil, v.Abandoned != nil)
			if w.late {
				fmt.Fprintf(&b, "%s %s;", s.doubts(v.Previous, as), s.doubts(v.Abandoned, as))
			}
		}
		if w.scarce {
			last, mark := s.m.Tokens()
			fmt.Fprint(&b, mark-last)
		}
		texts = append(texts, b.String())
	}
	h := fnv.New128a()
	h.Write([]byte(slices.Min(texts)))
	h.Sum(key[:0])
	return key
}
