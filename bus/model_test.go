package bus

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// model is a bus as plain as possible: a list of routes in order of creation, each with a list of subscribers.
type model struct {
	seq    uint64
	routes []*modelRoute
	order  []modelSub // all subscriptions, in order of creation
	slots  map[int]*modelRoute
	most   int // routes at one time, since there were none
}

type modelRoute struct {
	kind Kind
	text string
	slot int
	subs []int
	glob []*naiveElement // of a pattern
}

type modelSub struct {
	s     int
	route *modelRoute
}

func (m *model) find(k Kind, text string) *modelRoute {
	for _, r := range m.routes {
		if r.kind == k && r.text == text {
			return r
		}
	}
	return nil
}

func (m *model) unsubscribe(s int, k Kind, text string) bool {
	r := m.find(k, text)
	if r == nil || !slices.Contains(r.subs, s) {
		return false
	}
	r.subs = slices.DeleteFunc(r.subs, func(x int) bool { return x == s })
	m.order = slices.DeleteFunc(m.order, func(x modelSub) bool { return x.s == s && x.route == r })
	if len(r.subs) == 0 {
		m.routes = slices.DeleteFunc(m.routes, func(x *modelRoute) bool { return x == r })
		delete(m.slots, r.slot)
	}
	if len(m.routes) == 0 {
		m.most = 0
	}
	return true
}

// publish returns the routes that match, in the order that Publish promises.
func (m *model) publish(topic string) []*modelRoute {
	var classes [4][]*modelRoute
	isTopic := naiveTopic(topic)
	for _, r := range m.routes {
		filter, is := strings.CutPrefix(r.text, "ipcd/filter/")
		if !is {
			filter, is = strings.CutPrefix(r.text, "ipcd/filter-json/")
		}
		switch {
		case r.kind == Pattern && is:
			if isTopic && naiveMatch(filter, topic) {
				classes[1] = append(classes[1], r)
			}
		case r.kind == Channel && r.text == topic:
			classes[0] = append(classes[0], r)
		case r.kind == Pattern && naiveWay(r.glob, topic) &&
			(!strings.HasPrefix(topic, "ipcd/") || strings.HasPrefix(r.text, "ipcd/")):
			classes[1] = append(classes[1], r)
		case r.kind == Filter && isTopic && r.text == topic:
			classes[2] = append(classes[2], r)
		case r.kind == Filter && isTopic && naiveMatch(r.text, topic):
			classes[3] = append(classes[3], r)
		}
	}
	return slices.Concat(classes[:]...)
}

// texts makes names that meet each other often.
type texts struct{ *rand.Rand }

func (r texts) topic() string {
	levels := []string{"a", "b", "c", "", "é", "ipcd"}
	var t []string
	for range 1 + r.IntN(4) {
		t = append(t, levels[r.IntN(len(levels))])
	}
	if name := strings.Join(t, "/"); name != "" {
		return name
	}
	return "/"
}

// name is a topic mostly, or else any bytes.
func (r texts) name() string {
	name := r.topic()
	switch r.IntN(8) {
	case 0:
		odd := []string{"", "#", "+", "a#b", "a/#", "a/+", "socket.io#/#", "\x00", "a\x7f/b", "\xff\xfe", "a\r\nb", "*", "ipcd/filter/#"}
		name = odd[r.IntN(len(odd))]
	case 1:
		name += strings.Repeat([]string{"a", "/b", "\xff"}[r.IntN(3)], 240+r.IntN(40))
	}
	return name
}

func (r texts) text(k Kind) string {
	topic := r.topic()
	switch k {
	case Channel:
		return r.name()
	case Pattern:
		switch r.IntN(6) {
		case 0:
			return []string{FilterPattern, EnvelopePattern}[r.IntN(2)] + r.text(Filter)
		case 1:
			topic = r.name()
		}
		var p strings.Builder
		for i := range len(topic) {
			switch c := topic[i]; r.IntN(8) {
			case 0:
				p.WriteByte('*')
			case 1:
				p.WriteByte('?')
			case 2:
				p.WriteString([]string{"[ab]", "[^a]", "[a-c]", "[", `\`, "*[^", "[]"}[r.IntN(7)])
			default:
				p.WriteByte(c)
			}
		}
		return p.String()
	case Filter:
		levels := strings.Split(topic, "/")
		for i := range levels {
			if r.IntN(3) == 0 {
				levels[i] = "+"
			}
		}
		if r.IntN(3) == 0 {
			levels[len(levels)-1] = "#"
		}
		if text := strings.Join(levels, "/"); text != "" {
			return text
		}
	}
	return topic
}

// TestModel does the same at random to a bus and to the model, and compares everything after every step.
func TestModel(t *testing.T) {
	for _, tt := range []struct {
		name         string
		subscribers  int
		steps, seeds int
		grow         int // how many of ten steps subscribe
	}{
		{"few", 3, 5000, 2, 4},
		{"some", 10, 5000, 2, 5},
		{"many", 30, 1000, 1, 8},
		{"crowd", 400, 3000, 1, 6},
	} {
		for seed := range tt.seeds {
			t.Run(fmt.Sprintf("%s/%d", tt.name, seed), func(t *testing.T) {
				t.Parallel()
				r := texts{rand.New(rand.NewPCG(1, uint64(seed)))}
				b, m := New[int](), &model{slots: map[int]*modelRoute{}}
				pool := []string{} // so that many share a text, and the crowd's lists are long
				for range 12 {
					pool = append(pool, r.topic())
				}
				for step := range tt.steps {
					s, k := r.IntN(tt.subscribers), Kind(r.IntN(int(numKinds)))
					text := r.text(k)
					if tt.name == "crowd" {
						text = pool[r.IntN(len(pool))]
					}
					if k == Pattern && CheckPattern(text) != nil { // "ipcd/filter/" and no filter
						continue
					}
					stepModel(t, b, m, r, s, k, text, tt.grow)
					compareModel(t, b, m, r, s)
					if t.Failed() {
						t.Fatalf("at step %d", step)
					}
				}
				for s := range tt.subscribers {
					b.Drop(s)
				}
				assertEmpty(t, b)
			})
		}
	}
}

func stepModel(t *testing.T, b *Bus[int], m *model, r texts, s int, k Kind, text string, grow int) {
	t.Helper()
	op := r.IntN(100)
	switch {
	case op < 10*grow:
		route := m.find(k, text)
		had := route != nil && slices.Contains(route.subs, s)
		got, added, err := b.Subscribe(s, k, text)
		if err != nil || added == had {
			t.Errorf("Subscribe(%d, %v, %q) = %v, %v", s, k, text, added, err)
			return
		}
		if route == nil {
			route = &modelRoute{kind: k, text: text, slot: got.Slot}
			if k == Pattern {
				route.glob = naiveElements(text)
			}
			if other := m.slots[got.Slot]; other != nil {
				t.Errorf("slot %d given to %q belongs to %q", got.Slot, text, other.text)
			}
			m.routes = append(m.routes, route)
			m.slots[got.Slot] = route
			m.most = max(m.most, len(m.routes))
		}
		if got.Kind != k || got.Text != text || got.Slot != route.slot || got.Slot >= m.most {
			t.Errorf("Subscribe(%d, %v, %q) = %+v", s, k, text, got)
		}
		if !had {
			route.subs = append(route.subs, s)
			m.order = append(m.order, modelSub{s, route})
		}
	case op < 98:
		if len(m.order) > 0 && r.IntN(4) > 0 { // one that is there
			x := m.order[r.IntN(len(m.order))]
			s, k, text = x.s, x.route.kind, x.route.text
		}
		if got, want := b.Unsubscribe(s, k, text), m.unsubscribe(s, k, text); got != want {
			t.Errorf("Unsubscribe(%d, %v, %q) = %v", s, k, text, got)
		}
		if got, want := b.Route(k, text), m.find(k, text); (got == nil) != (want == nil) || got != nil && got.Slot != want.slot {
			t.Errorf("Route(%v, %q) = %+v, want %+v", k, text, got, want)
		}
	default:
		b.Drop(s)
		for _, x := range slices.Clone(m.order) {
			if x.s == s {
				m.unsubscribe(s, x.route.kind, x.route.text)
			}
		}
	}
}

func compareModel(t *testing.T, b *Bus[int], m *model, r texts, s int) {
	t.Helper()
	if err := b.check(); err != nil {
		t.Error(err)
	}
	topic := r.name()
	m.seq++
	want := m.publish(topic)
	seq, got, err := b.Publish([]byte(topic))
	if err != nil || seq != m.seq || b.Seq() != seq || len(got) != len(want) {
		t.Errorf("Publish(%q) = %d, %d routes, %v; want %d, %d", topic, seq, len(got), err, m.seq, len(want))
		return
	}
	for i, w := range want {
		g := got[i]
		if g.Kind != w.kind || g.Text != w.text || g.Slot != w.slot || g.Len() != len(w.subs) || !slices.Equal(g.Subs(), w.subs) {
			t.Errorf("Publish(%q): %d. is %v %q slot %d %v, want %+v", topic, i, g.Kind, g.Text, g.Slot, g.Subs(), *w)
		}
	}

	var texts [numKinds][]string
	for _, x := range m.order {
		if x.s == s {
			texts[x.route.kind] = append(texts[x.route.kind], x.route.text)
		}
	}
	for k := range Kind(numKinds) {
		if got := b.Texts(s, k); !slices.Equal(got, texts[k]) || b.Count(s, k) != len(texts[k]) {
			t.Errorf("Texts(%d, %v) = %q, count %d, want %q", s, k, got, b.Count(s, k), texts[k])
		}
	}
	if got, want := b.Count(s), len(texts[0])+len(texts[1])+len(texts[2]); got != want {
		t.Errorf("Count(%d) = %d, want %d", s, got, want)
	}
	var weights [2]int
	for k, all := range texts {
		for _, text := range all {
			i := 1
			if Kind(k) == Pattern && !strings.HasPrefix(text, "ipcd/filter/") && !strings.HasPrefix(text, "ipcd/filter-json/") {
				i = 0
			}
			weights[i] += 1 + len(text)/256
		}
	}
	if globs, others := b.Weight(s); globs != weights[0] || others != weights[1] {
		t.Errorf("Weight(%d) = %d, %d, want %v", s, globs, others, weights)
	}
	if _, _, err := b.SearchTopic([]byte(topic), 1); (err == nil) != naiveTopic(topic) {
		t.Errorf("SearchTopic(%q): %v", topic, err)
	}
	// A message may go to whoever it goes to.
	takes, budget := slices.ContainsFunc(want, func(w *modelRoute) bool { return slices.Contains(w.subs, s) }), 1000
	if may := b.MayReceive(s, []byte(topic), &budget); takes && !may {
		t.Errorf("MayReceive(%d, %q) = false", s, topic)
	}

	var channels []string
	all, patterns, glob := 0, 0, r.text(Pattern)
	elements := naiveElements(glob)
	for _, w := range m.routes {
		switch w.kind {
		case Pattern:
			patterns++
		case Channel:
			if all++; naiveWay(elements, w.text) {
				channels = append(channels, w.text)
			}
		}
	}
	slices.Sort(channels)
	if got := b.Channels(glob); !slices.Equal(got, channels) {
		t.Errorf("Channels(%q) = %q, want %q", glob, got, channels)
	}
	subs := 0
	if w := m.find(Channel, topic); w != nil {
		subs = len(w.subs)
	}
	if b.NumChannels() != all {
		t.Errorf("NumChannels = %d, want %d", b.NumChannels(), all)
	}
	if b.NumPat() != patterns || b.NumSub(topic) != subs {
		t.Errorf("NumPat = %d, want %d; NumSub(%q) = %d, want %d", b.NumPat(), patterns, topic, b.NumSub(topic), subs)
	}
}
