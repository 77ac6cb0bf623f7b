package bus

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A meeting has filters and topics meet both ways: topic over filters, as a message does, and filter over topics, as a subscription does
// that begins with retained values. Both are trees that grow and shrink again, so it does that to them, and compares them with the plain
// matcher.
type meeting struct {
	pick   func(n int) int // gives a number below n
	bus    *Bus[int]
	values Retained[string]

	filters map[form]bool
	topics  map[string]bool
}

// A form is a way to subscribe: to a filter as it is, or as a pattern that begins so. (A channel or a glob is a filter here, too.)
type form struct {
	kind   Kind
	prefix string
	filter string
}

func compareForms(a, b form) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.prefix, b.prefix), cmp.Compare(a.filter, b.filter))
}

func newMeeting(pick func(n int) int) *meeting {
	return &meeting{pick: pick, bus: New[int](), filters: map[form]bool{}, topics: map[string]bool{}}
}

// crowds are where many meet, so that the maps of one node become large, and then small again.
const (
	crowds    = 2
	crowdSize = 160
)

// step does one thing, and looks at what it has led to.
func (m *meeting) step() error {
	if err := m.change(); err != nil {
		return err
	}
	return m.compare()
}

func (m *meeting) change() (err error) {
	switch m.pick(8) {
	case 0, 1:
		err = m.subscribe(m.form(m.filter()))
	case 2:
		err = m.unsubscribe(m.one(m.forms()))
	case 3, 4:
		m.set(m.topic())
	case 5:
		m.clear(m.oneTopic())
	case 6:
		first := m.pick(crowdSize)
		for i := range m.pick(crowdSize) {
			if err == nil && m.pick(2) == 0 {
				err = m.subscribe(m.form(crowdName(first+i, []string{"", "/+", "/#"}[m.pick(3)])))
			}
			m.set(crowdName(first+i, ""))
		}
	default:
		stays := m.pick(8)
		for i, f := range m.forms() {
			if err == nil && i%8 >= stays {
				err = m.unsubscribe(f)
			}
		}
		for i, topic := range slices.Sorted(maps.Keys(m.topics)) {
			if i%8 >= stays {
				m.clear(topic)
			}
		}
	}
	return err
}

func (m *meeting) compare() error {
	for _, topic := range []string{m.topic(), m.oneTopic(), crowdName(m.pick(crowdSize), []string{"", "/x"}[m.pick(2)])} {
		if err := m.publish(topic); err != nil {
			return err
		}
	}
	for _, f := range []string{m.filter(), m.one(m.forms()).filter, "crowd/+/#"} {
		if err := m.look(f); err != nil {
			return err
		}
	}
	if err := m.bus.check(); err != nil {
		return err
	}
	return m.values.Check()
}

// crowdName is one of many that are next to each other.
func crowdName(i int, rest string) string { return fmt.Sprint("crowd/", i%crowdSize, rest) }

// meetingLevels are short, or one edge of the tree long, or longer.
var meetingLevels = []string{"a", "b", "", "ipcd", "crowd",
	strings.Repeat("a", edgeRoom), strings.Repeat("a", edgeRoom+1), strings.Repeat("a", 2*edgeRoom) + "b"}

func (m *meeting) levels(of []string) string {
	var levels []string
	for range 1 + m.pick(4) {
		levels = append(levels, of[m.pick(len(of))])
	}
	return strings.Join(levels, "/")
}

func (m *meeting) topic() string {
	if t := m.levels(meetingLevels); t != "" {
		return t
	}
	return "/"
}

func (m *meeting) filter() string {
	switch f := m.levels(append([]string{"+", "+"}, meetingLevels...)); {
	case m.pick(3) == 0 && f != "":
		return f + "/#"
	case f == "":
		return "#"
	default:
		return f
	}
}

func (m *meeting) form(filter string) form {
	return []form{{Filter, "", filter}, {Pattern, FilterPattern, filter}, {Pattern, EnvelopePattern, filter}}[m.pick(3)]
}

func (f form) String() string { return fmt.Sprintf("%v %q", f.kind, f.prefix+f.filter) }

// forms are those that somebody is subscribed to, always in the same order.
func (m *meeting) forms() []form {
	return slices.SortedFunc(maps.Keys(m.filters), compareForms)
}

// one is one of those, or one that nobody is subscribed to.
func (m *meeting) one(forms []form) form {
	if len(forms) == 0 {
		return m.form(m.filter())
	}
	return forms[m.pick(len(forms))]
}

func (m *meeting) oneTopic() string {
	topics := slices.Sorted(maps.Keys(m.topics))
	if len(topics) == 0 {
		return m.topic()
	}
	return topics[m.pick(len(topics))]
}

func (m *meeting) subscribe(f form) error {
	_, added, err := m.bus.Subscribe(1, f.kind, f.prefix+f.filter)
	if err != nil || added == m.filters[f] {
		return fmt.Errorf("to subscribe to %v: %v, %w", f, added, err)
	}
	m.filters[f] = true
	return nil
}

func (m *meeting) unsubscribe(f form) error {
	if removed := m.bus.Unsubscribe(1, f.kind, f.prefix+f.filter); removed != m.filters[f] {
		return fmt.Errorf("to unsubscribe from %v: %v", f, removed)
	}
	delete(m.filters, f)
	return nil
}

func (m *meeting) set(topic string) {
	m.values.Set(topic, topic)
	m.topics[topic] = true
}

func (m *meeting) clear(topic string) {
	m.values.Delete(topic)
	delete(m.topics, topic)
}

// publish compares the routes that a topic takes, found at once and bit by bit.
func (m *meeting) publish(topic string) error {
	var want []string
	for _, f := range m.forms() {
		if naiveMatch(f.filter, topic) {
			want = append(want, f.kind.String()+" "+f.prefix+f.filter)
		}
	}
	slices.Sort(want)
	for _, most := range []int{1 + m.pick(3), 1 << 30} {
		routes, rest, err := m.bus.Search([]byte(topic), most)
		got := textsOf(routes)
		for more := rest != nil; more && err == nil; {
			routes, more = rest.Next(most)
			got = append(got, textsOf(routes)...)
		}
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			return fmt.Errorf("%q takes %q by %d steps, and matches %q: %w", topic, got, most, want, err)
		}
	}
	return nil
}

// look compares the topics that a filter finds.
func (m *meeting) look(filter string) error {
	var want []string
	for topic := range m.topics {
		if naiveMatch(filter, topic) {
			want = append(want, topic)
		}
	}
	slices.Sort(want)
	if got := found(m.values.Lookup(filter)); !slices.Equal(got, want) {
		return fmt.Errorf("%q finds %q, and matches %q", filter, got, want)
	}
	return nil
}

// end has all go, of which nothing may be left.
func (m *meeting) end(t *testing.T) {
	t.Helper()
	m.bus.Drop(1)
	assertEmpty(t, m.bus)
	for topic := range m.topics {
		m.values.Delete(topic)
	}
	if m.values.Len() > 0 || m.values.root.first != nil || m.values.root.children.m != nil || m.values.root.children.old != nil {
		t.Error("something is left of the values")
	}
}

// TestBothWays does the same steps each time.
func TestBothWays(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := newMeeting(rand.New(rand.NewPCG(seed, 3)).IntN)
			for step := range 60 {
				if err := m.step(); err != nil {
					t.Fatalf("step %d: %v", step, err)
				}
			}
			m.end(t)
		})
	}
}

// TestBothWaysStateMachine does other ones each time; rapid looks for the fewest that go wrong.
func TestBothWaysStateMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMeeting(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") })
		t.Repeat(map[string]func(*rapid.T){"": func(*rapid.T) {}, "step": func(t *rapid.T) {
			if err := m.step(); err != nil {
				t.Fatal(err)
			}
		}})
	})
}

// FuzzBothWays has a fuzzer choose the steps. What each has led to is looked at after the last: all that lead to one are inputs, too.
func FuzzBothWays(f *testing.F) {
	f.Fuzz(func(t *testing.T, choices []byte) {
		if len(choices) > 100 {
			return // only slow
		}
		m := newMeeting(func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := choices[0]
			choices = choices[1:]
			return int(c) % n
		})
		for len(choices) > 0 {
			if err := m.change(); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.compare(); err != nil {
			t.Fatal(err)
		}
		m.end(t)
	})
}
