package server

import (
	"flag"
	"fmt"
	"hash/fnv"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/record"
)

var searchStates = flag.Int("search", 300, "how many states of each small world TestSmallWorldsOfWills finds; 0 is very many")

// All that can happen to wills in a small world, tried out in all orders, breadth first, with the whole daemon: some processes, connections of
// theirs, and one or two topics. Wills are said and taken back, of a connection or of its process; values are published and cleared, and
// some are over after a time, as those that wills leave may be; connections end, processes end and are reaped, of which the kernel says how
// they did or says nothing; time passes, which is to the next moment at which something is due; and the daemon crashes, between two steps and in the middle of each: whenever it has written to its journal or to a socket. Before it writes to its journal
// all has been sent that was to be sent by then. Then there is another, which may crash while it begins.
//
// A [worldModel] says after each step what everybody has been sent, what is in the journal, which values there are, and until when
// something waits. Each state that is new goes on to its end, too: all processes end, and all wills have then been published once.

// allStates is how many states are found of each world when all are to be. Of most there are more than can be.
const allStates = 30_000

func TestSmallWorldsOfWills(t *testing.T) {
	checkDescriptors(t)
	before := debug.SetGCPercent(400) // there is a daemon for each step
	t.Cleanup(func() { debug.SetGCPercent(before) })
	one, two := []string{"a"}, []string{"a", "b"}
	each := []manner{{then: record.TellOnly}, {then: record.ThenRetain}, {then: record.ThenClear}}
	passing := []manner{{record.ThenRetain, worldLife}, {then: record.ThenClear}}
	for name, w := range map[string]smallWorld{
		"alone":               {seats: []int{0}, steps: slices.Concat(saying(one, each, false, true), published(one), ends(true), crashes)},
		"one after the other": {seats: []int{0, 1}, steps: slices.Concat(saying(one, each, false, true), published(one), ends(true), crashes)},
		"presence":            {seats: []int{0, 0, 1}, steps: slices.Concat(saying(two, each[2:], true), published(two), ends(true), crashes)},
		"connections":         {seats: []int{0, 0, 1}, steps: slices.Concat(saying(two, each[1:2], false), published(one), ends(false), crashes)},
		"of both":             {seats: []int{1, 1}, steps: slices.Concat(saying(two, each[1:], false, true), ends(true), crashes)},
		"who listens":         {seats: []int{0, 1, 2}, steps: slices.Concat(saying(one, each[1:2], false), published(one), listening, requests, ends(false), crashes)},
		"what expires":        {seats: []int{0, 1}, steps: slices.Concat(saying(one, passing, false, true), published(one, 0, worldLife), listening[:1], ends(true), crashes)},
		"what expires of two": {seats: []int{0, 1}, steps: slices.Concat(saying(two, passing[:1], true), published(two, worldLife), ends(true), crashes)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			states, taken, fallen, depth, err := w.search(t, *searchStates)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d states, at most %d steps from the first one, and %d steps between them, in %d of which the daemon crashes", states, depth, taken, fallen)
		})
	}
}

// TestWillsOfTwoDaemons: connections of two daemons may have the same number, and are two, also when their process has ended: what is said on
// the second one, by a child, is in the place of what was said there.
func TestWillsOfTwoDaemons(t *testing.T) {
	checkDescriptors(t)
	says, ends := saying([]string{"a", "b"}, []manner{{then: record.ThenRetain}}, false), ends(true)
	step := func(all []worldStep, name string) *worldStep {
		return &all[slices.IndexFunc(all, func(s worldStep) bool { return strings.HasPrefix(s.name, name) })]
	}
	a, b := step(says, `says a will for "a"`), step(says, `says a will for "b"`)
	p := newPlay(t, newBase(&smallWorld{seats: []int{1}})) // of whose process the kernel says nothing before it is reaped
	defer func() { p.end() }()
	for i, s := range []*worldStep{a, &crashes[0], b, step(ends, "its process ends"), b, a, b} {
		if did, err := p.take(s, 0, 0); !did || err != nil {
			t.Fatalf("step %d, %s: %v, %v", i, s.name, did, err)
		}
		if err := p.check(); err != nil {
			t.Fatalf("step %d, %s: %v", i, s.name, err)
		}
	}
	if err := p.drain(true); err != nil {
		t.Error(err)
	}
}

// A smallWorld is what may happen.
type smallWorld struct {
	seats []int // for which process each of those connects
	steps []worldStep
}

// A worldStep is one thing that a seat does or that happens.
type worldStep struct {
	name string
	once bool // it is not a seat's
	may  func(p *worldPlay, seat int) bool
	take func(p *worldPlay, seat int)
}

// speaks reports whether a seat can say something: it is connected, and is not waiting for an answer. If its process has ended, a child of
// that has the connection still.
func speaks(p *worldPlay, seat int) bool {
	r := p.model.request
	return p.seats[seat] != nil && (r == nil || r.asker != seat)
}

// A manner is what a will makes of the value of its topic, and how long it lasts, 0 for ever.
type manner struct {
	then  record.Then
	lasts time.Duration
}

// worldLife is how long what expires lasts: far longer than anything else that is waited for.
const worldLife = time.Hour

// expiring are the words for how long a value lasts.
func expiring(lasts time.Duration, words ...string) []string {
	if lasts == 0 {
		return words
	}
	return append(words, "EXPIRES", strconv.FormatInt(lasts.Milliseconds(), 10))
}

// saying are the steps to say wills and to take them back.
func saying(topics []string, manners []manner, selves ...bool) (all []worldStep) {
	for _, topic := range topics {
		for _, self := range selves {
			of := func(p *worldPlay, seat int, words ...string) []string {
				if self {
					words = append(words, "FOR", strconv.Itoa(worldPID+p.model.seats[seat].process))
				}
				return words
			}
			for _, how := range manners {
				all = append(all, worldStep{fmt.Sprintf("says a will for %q, of its process: %v, %v", topic, self, how), false, speaks, func(p *worldPlay, seat int) {
					words := of(p, seat, "BUS.WILL", topic, fmt.Sprint(p.model.said))
					if how.then != record.TellOnly {
						words = append(words, how.then.String())
					}
					p.command(seat, func(m *worldModel) { m.will(seat, topic, how, self, p.moment) }, expiring(how.lasts, words...)...)
				}})
			}
			all = append(all, worldStep{fmt.Sprintf("takes a will for %q back, of its process: %v", topic, self), false, speaks, func(p *worldPlay, seat int) {
				p.command(seat, func(m *worldModel) { m.unwill(seat, topic, self, p.moment) }, of(p, seat, "BUS.UNWILL", topic)...)
			}})
		}
	}
	return all
}

// published are the steps to publish values that last so long, without a word for ever, and to clear them.
func published(topics []string, lives ...time.Duration) (all []worldStep) {
	if len(lives) == 0 {
		lives = []time.Duration{0}
	}
	for _, topic := range topics {
		for _, lasts := range lives {
			all = append(all, worldStep{fmt.Sprintf("publishes a value of %q that lasts %v", topic, lasts), false, speaks, func(p *worldPlay, seat int) {
				words := expiring(lasts, "BUS.PUB", topic, fmt.Sprint(p.model.said), "RETAIN")
				p.command(seat, func(m *worldModel) { m.publish(seat, topic, lasts, p.moment) }, words...)
			}})
		}
		all = append(all, worldStep{fmt.Sprintf("clears %q", topic), false, func(p *worldPlay, seat int) bool {
			_, has := p.model.values[topic]
			return has && seat == 0 && speaks(p, seat)
		}, func(p *worldPlay, seat int) {
			p.command(seat, func(m *worldModel) { m.clear(seat, topic, p.moment) }, "BUS.CLEAR", topic)
		}})
	}
	return all
}

// mostConnections is how often a seat connects to one daemon: without end, there would be states without end.
const mostConnections = 2

// ends are the steps by which connections end, and processes.
func ends(processes bool) []worldStep {
	all := []worldStep{
		{"hangs up", false, func(p *worldPlay, seat int) bool { return p.seats[seat] != nil }, func(p *worldPlay, seat int) { p.hangUp(seat) }},
		{"connects", false, func(p *worldPlay, seat int) bool {
			s := p.model.seats[seat]
			return p.seats[seat] == nil && p.model.processes[s.process] == alive && s.again < mostConnections-1
		}, func(p *worldPlay, seat int) {
			p.moment()
			p.model.seats[seat].again++
			p.connect(seat)
			p.settle(p.model.now)
			p.seats[seat].Take()
		}},
		{"time passes", true, func(p *worldPlay, _ int) bool { return p.model.next() != 0 }, func(p *worldPlay, _ int) { p.pass() }},
	}
	if processes {
		for before, name := range []string{alive: "ends", zombie: "is reaped"} {
			is := worldState(before)
			all = append(all, worldStep{"its process " + name, false, func(p *worldPlay, seat int) bool {
				process := p.model.seats[seat].process
				first := slices.IndexFunc(p.model.seats, func(s worldSeat) bool { return s.process == process })
				return first == seat && p.model.processes[process] == is
			}, func(p *worldPlay, seat int) { p.becomes(p.model.seats[seat].process, is+1) }})
		}
	}
	return all
}

var crashes = []worldStep{{"the daemon crashes", true, func(*worldPlay, int) bool { return true }, func(p *worldPlay, _ int) { p.crash() }}}

// listening are the steps to subscribe, and to be of a group that does.
var listening = []worldStep{
	{"subscribes", false, func(p *worldPlay, seat int) bool { return speaks(p, seat) && !p.model.seats[seat].listens }, func(p *worldPlay, seat int) {
		p.command(seat, func(m *worldModel) { m.listen(seat) }, "BUS.SUB", "#")
	}},
	{"joins the group", false, func(p *worldPlay, seat int) bool { return speaks(p, seat) && !p.model.seats[seat].shares }, func(p *worldPlay, seat int) {
		p.command(seat, func(m *worldModel) { m.seats[seat].shares = true; m.count(seat) }, "BUS.SUB", "#", "GROUP", "g")
	}},
}

// requests are the steps to answer requests and to ask.
var requests = []worldStep{
	{"serves", false, func(p *worldPlay, seat int) bool {
		return speaks(p, seat) && !slices.ContainsFunc(p.model.seats, func(s worldSeat) bool { return s.answers })
	}, func(p *worldPlay, seat int) {
		p.command(seat, func(m *worldModel) { m.seats[seat].answers = true; m.tell(seat, "1") }, "BUS.SERVE", "r")
	}},
	{"asks", false, func(p *worldPlay, seat int) bool {
		return speaks(p, seat) && p.model.request == nil && !p.model.seats[seat].answers
	}, func(p *worldPlay, seat int) {
		p.command(seat, func(m *worldModel) { m.ask(seat) }, "BUS.REQ", "r", "question")
	}},
	{"answers", false, func(p *worldPlay, seat int) bool {
		return speaks(p, seat) && p.model.request != nil && p.model.request.server == seat
	}, func(p *worldPlay, seat int) {
		id := p.model.request.number
		p.command(seat, func(m *worldModel) { m.answer() }, "BUS.REPLY", strconv.Itoa(id), "answer")
	}},
}

// take takes a step. With at, the daemon crashes in it when it has written so often. It reports false if it does not come to that, or the
// step cannot be taken.
func (p *worldPlay) take(s *worldStep, seat, at int) (taken bool, err error) {
	if s.once && seat > 0 || !s.may(p, seat) {
		return false, nil
	}
	p.model.said++
	p.model.told, p.model.group = map[int]string{}, nil
	for _, end := range p.ends() {
		end.Take()
	}
	p.at, p.did, p.cut, p.moments = at, 0, nil, nil
	s.take(p, seat)
	if at == 0 {
		return true, nil
	}
	return p.fall()
}

// A foundState is the step that led there from another. If the daemon has crashed in that, base is what the next one had.
type foundState struct {
	parent, step, seat, at, depth int
	base                          *worldBase
}

func (w *smallWorld) search(t *testing.T, most int) (states, taken, fallen, depth int, err error) {
	if most == 0 {
		most = allStates
	}
	nodes, known := []foundState{{parent: -1, base: newBase(w)}}, map[[16]byte]bool{}
	p := newPlay(t, nodes[0].base)
	defer func() { p.end() }()
	known[keyOf(p.text())] = true
	at := func(i int) error {
		p.end()
		p, err = w.at(t, nodes, i)
		return err
	}
	for i := 0; i < len(nodes) && len(nodes) < most; i++ {
		here := false // the play is in that state
		for n := range w.steps {
			for seat := range w.seats {
				for crash, writes := 0, 1; crash < writes; crash++ {
					if !here {
						if err := at(i); err != nil {
							return 0, 0, 0, 0, err
						}
					}
					before := p.base
					did, err := p.take(&w.steps[n], seat, crash)
					if here = !did && crash == 0; crash == 0 {
						writes = p.did // behind the last one it is as if it crashes before the next step
					}
					if did && err == nil {
						err = p.check()
					}
					next := foundState{i, n, seat, crash, nodes[i].depth + 1, nil}
					if p.base != before {
						next.base = p.base
					}
					if did {
						taken++
						fallen += min(crash, 1)
						if key := keyOf(p.text()); err == nil && !known[key] {
							known[key] = true
							nodes = append(nodes, next)
							depth = next.depth
							err = p.drain(len(nodes)%2 == 0)
						}
					}
					if err != nil {
						return 0, 0, 0, 0, fmt.Errorf("%w\nafter\n%s", err, w.path(append(nodes, next), len(nodes)))
					}
				}
			}
		}
	}
	return len(nodes), taken, fallen, depth, nil
}

func keyOf(text string) (key [16]byte) {
	f := fnv.New128a()
	f.Write([]byte(text))
	f.Sum(key[:0])
	return key
}

// at makes a state again by the steps that led there.
func (w *smallWorld) at(t *testing.T, nodes []foundState, i int) (*worldPlay, error) {
	var way []foundState
	for ; nodes[i].base == nil; i = nodes[i].parent {
		way = append(way, nodes[i])
	}
	p := newPlay(t, nodes[i].base)
	for _, n := range slices.Backward(way) {
		if did, err := p.take(&w.steps[n.step], n.seat, n.at); err != nil || !did {
			return p, fmt.Errorf("the same steps have led to something else: %v, %v", w.steps[n.step].name, err)
		}
	}
	return p, nil
}

func (w *smallWorld) path(nodes []foundState, i int) string {
	if i == 0 {
		return ""
	}
	n := nodes[i]
	text := fmt.Sprintf("seat %d %s", n.seat, w.steps[n.step].name)
	if w.steps[n.step].once {
		text = w.steps[n.step].name
	}
	if n.at > 0 {
		text += fmt.Sprintf(", and the daemon crashes when it has written %d times", n.at)
	}
	return w.path(nodes, n.parent) + text + "\n"
}

// drain has all go on to its end: all processes end, of which the kernel is given time to say how or not, and nothing is left of them, and
// of a crash later neither.
func (p *worldPlay) drain(waits bool) error {
	goOn := func(name string, f func()) error {
		step := worldStep{name: name, may: func(*worldPlay, int) bool { return true }, take: func(*worldPlay, int) { f() }}
		if _, err := p.take(&step, 0, 0); err != nil {
			return err
		}
		if err := p.check(); err != nil {
			return fmt.Errorf("%w\nwhen at the end %s", err, name)
		}
		return nil
	}
	for process := range p.processes {
		for state := p.model.processes[process]; state < gone; state++ {
			if err := goOn("a process ends", func() { p.becomes(process, state+1) }); err != nil {
				return err
			}
			for waits && p.model.next() != 0 {
				if err := goOn("time passes", p.pass); err != nil {
					return err
				}
			}
		}
	}
	if err := goOn("the daemon crashes", p.crash); err != nil {
		return err
	}
	if n := p.wills.Len() + p.watch.Uses(); n > 0 {
		return fmt.Errorf("at the end %d wills and processes are left", n)
	}
	return nil
}
