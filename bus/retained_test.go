package bus

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// found are the topics that a filter finds, each as often as it was found.
func found(m *Lookup[string]) (topics []string) {
	for more := true; more; {
		var topic string
		var ok bool
		if topic, ok, more = m.Next(); ok {
			topics = append(topics, topic)
		}
	}
	slices.Sort(topics)
	return topics
}

// smallName makes names of few levels, so that they meet.
func smallName(random *rand.Rand, levels ...string) string {
	parts := make([]string, 1+random.IntN(4))
	for i := range parts {
		parts[i] = levels[random.IntN(len(levels))]
	}
	return strings.Join(parts, "/")
}

// smallFilter is a smallName that may have wildcards.
func smallFilter(random *rand.Rand) string {
	filter := smallName(random, "a", "b", "", "ipcd", "+", "+")
	switch random.IntN(3) {
	case 0:
		return "#"
	case 1:
		return filter + "/#"
	}
	return filter
}

// TestRetainedAgainstModel sets and deletes values at random, and compares what filters find with a plain matcher: filter over topics,
// and, by a bus with the same filters, topic over filters.
func TestRetainedAgainstModel(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		var r Retained[string]
		model := map[string]string{}
		b := New[string]()
		for step := range 200 {
			topic := smallName(random, "a", "b", "", "ipcd", "c")
			if CheckTopic(topic) != nil {
				continue
			}
			was, had := model[topic]
			var before string
			var did bool
			switch random.IntN(3) {
			case 0:
				before, did = r.Delete(topic)
				delete(model, topic)
			default:
				before, did = r.Set(topic, topic)
				model[topic] = topic
			}
			if before != was || did != had {
				t.Fatalf("seed %d, step %d: %q had %q, %v and not %q, %v", seed, step, topic, before, did, was, had)
			}
			if err := r.Check(); err != nil || r.Len() != len(model) {
				t.Fatalf("seed %d, step %d: %d values, %v", seed, step, r.Len(), err)
			}
			if v, ok := r.Get(topic); v != model[topic] || ok != (model[topic] != "") {
				t.Fatalf("seed %d, step %d: %q has %q, %v", seed, step, topic, v, ok)
			}
			filter := smallFilter(random)
			if CheckFilter(filter) != nil {
				continue
			}
			want := slices.DeleteFunc(slices.Sorted(maps.Keys(model)), func(topic string) bool { return !naiveMatch(filter, topic) })
			if got := found(r.Lookup(filter)); !slices.Equal(got, want) {
				t.Fatalf("seed %d, step %d: %q finds %q and not %q", seed, step, filter, got, want)
			}
			subscribe(t, b, filter, Filter, filter)
			_, routes, err := b.Publish([]byte(topic))
			for _, r := range routes {
				if err != nil || !naiveMatch(r.Text, topic) {
					t.Fatalf("seed %d, step %d: %q takes %q: %v", seed, step, topic, r.Text, err)
				}
			}
		}
	}
}

// TestRetainedChangesMeanwhile: whatever is set and deleted between the steps of a Lookup, it finds each topic once that had its value
// all the time, and none twice that was not set anew.
func TestRetainedChangesMeanwhile(t *testing.T) {
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 1))
		var r Retained[string]
		stays := map[string]bool{}
		for range 30 {
			topic := smallName(random, "a", "b", "c")
			r.Set(topic, topic)
			stays[topic] = true
		}
		filter := smallFilter(random)
		if CheckFilter(filter) != nil {
			continue
		}
		times, anew := map[string]int{}, map[string]bool{}
		m := r.Lookup(filter)
		for more := true; more; {
			var topic string
			var ok bool
			if topic, ok, more = m.Next(); ok {
				times[topic]++
			}
			topic = smallName(random, "a", "b", "c", "d")
			if random.IntN(2) == 0 {
				r.Delete(topic)
				delete(stays, topic)
			} else if _, had := r.Set(topic, topic); !had {
				anew[topic] = true
			}
			if err := r.Check(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		for topic := range stays {
			if naiveMatch(filter, topic) && times[topic] != 1 {
				t.Fatalf("seed %d: %q found %q %d times, which was there all the time", seed, filter, topic, times[topic])
			}
		}
		for topic, n := range times {
			if !naiveMatch(filter, topic) || n > 1 && !anew[topic] {
				t.Fatalf("seed %d: %q found %q %d times", seed, filter, topic, n)
			}
		}
	}
}

// FuzzRetained: a filter finds a topic if the rules say so, and nothing is left when the topic has no value any more.
func FuzzRetained(f *testing.F) {
	f.Add("a/+/#", "a/b")
	f.Add("#", "ipcd/x")
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if CheckFilter(filter) != nil || CheckTopic(topic) != nil {
			return
		}
		var r Retained[string]
		r.Set("other/a/b", "other/a/b")
		r.Set(topic, topic)
		if got := slices.Contains(found(r.Lookup(filter)), topic); got != naiveMatch(filter, topic) {
			t.Errorf("%q finds %q: %v", filter, topic, got)
		}
		r.Delete(topic)
		r.Delete("other/a/b")
		if err := r.Check(); err != nil || r.Len() != 0 || r.root.first != nil || r.root.children.len() != 0 {
			t.Errorf("something is left of %q: %v", topic, err)
		}
	})
}
