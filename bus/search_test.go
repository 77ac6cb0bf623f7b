package bus

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// textsOf are what routes are called.
func textsOf[S comparable](routes []*Route[S]) (all []string) {
	for _, r := range routes {
		all = append(all, r.Kind.String()+" "+r.Text)
	}
	return all
}

// rest is all that a search finds from now on, by so many steps at a time.
func (x *Search[S]) rest(t *testing.T, most int) (routes []*Route[S]) {
	t.Helper()
	for {
		some, more := x.Next(most)
		if len(some) > most {
			t.Fatalf("%d routes in %d steps", len(some), most)
		}
		routes = append(routes, some...)
		if !more {
			return routes
		}
	}
}

// TestSearch finds bit by bit what is found at once, in the same order, however small the steps are.
func TestSearch(t *testing.T) {
	b := New[int]()
	for i, text := range []string{"a/b/c", "#", "a/#", "+/b/c", "a/+/c", "a/+/+", "+/+/+", "+/#", "a/b/c/#", "x/#", "a/b", "+/+"} {
		subscribe(t, b, i, Filter, text)
	}
	for i, text := range []string{"*", "a*", "a/*", "*c", "a/b/?", "x*", "a/b/c", "ipcd/*", "[i]*"} {
		subscribe(t, b, i, Pattern, text)
	}
	subscribe(t, b, 1, Channel, "a/b/c")
	subscribe(t, b, 1, Channel, "ipcd/x")
	subscribe(t, b, 1, Filter, "ipcd/+")
	for _, topic := range []string{"a/b/c", "a/b", "x", "", "a//c", "a/b/", "ipcd", "ipcd/x", "y/y/y/y"} {
		if topic == "" {
			continue
		}
		all, err := b.Routes([]byte(topic))
		if err != nil {
			t.Fatal(err)
		}
		want := textsOf(all)
		for most := 1; most < 40; most++ {
			b.known, b.wild.gen = false, b.wild.gen+1 // nothing is remembered
			routes, rest, err := b.Search([]byte(topic), most)
			if err != nil || rest != nil && len(routes) > 0 {
				t.Fatal(routes, rest, err)
			}
			got := textsOf(routes)
			if rest != nil {
				got = textsOf(rest.rest(t, most))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q by %d steps: %v, want %v", topic, most, got, want)
			}
		}
	}
	if seq := b.Take(); seq != 1 || b.Seq() != 1 {
		t.Errorf("the first message has number %d", seq)
	}
}

// TestSearchWhileTheBusChanges: a search finds the routes that were there when it was begun and still are, whatever else comes
// and goes between its steps.
func TestSearchWhileTheBusChanges(t *testing.T) {
	levels := []string{"a", "b", "+", "+"}
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		b := New[int]()
		b.Verify = true
		change := func() {
			text := levels[random.IntN(4)]
			for range random.IntN(3) {
				text += "/" + levels[random.IntN(4)]
			}
			kind := Filter
			switch random.IntN(4) {
			case 0:
				text += "/#"
			case 1:
				kind, text = Pattern, []string{"*", "a*", "a/*", "*b", "a/b*", "?/*", "b*", FilterPattern + text, EnvelopePattern + text}[random.IntN(9)]
			}
			s := random.IntN(3)
			if !b.Unsubscribe(s, kind, text) {
				subscribe(t, b, s, kind, text)
			}
		}
		for range 60 {
			change()
		}
		topic := []byte([]string{"a/b", "a", "a/b/a", "b/b/b"}[random.IntN(4)])
		all, err := b.Routes(topic)
		if err != nil {
			t.Fatal(err)
		}
		all = slices.Clone(all)
		b.known, b.wild.gen = false, b.wild.gen+1
		_, rest, err := b.Search(topic, 1)
		if err != nil || rest == nil {
			t.Fatalf("seed %d: all was found in a step: %v", seed, err)
		}
		gone := map[*Route[int]]bool{}
		var got []*Route[int]
		for more := true; more; {
			for range random.IntN(4) {
				change()
			}
			if random.IntN(50) == 0 { // nothing is left at all
				for s := range 3 {
					b.Drop(s)
				}
			}
			for _, r := range all {
				gone[r] = gone[r] || b.Route(r.Kind, r.Text) != r
			}
			var some []*Route[int]
			some, more = rest.Next(1 + random.IntN(3))
			for _, r := range some {
				if gone[r] {
					t.Errorf("seed %d: found %v %q, which is gone", seed, r.Kind, r.Text)
				}
			}
			got = append(got, some...)
		}
		stay := slices.DeleteFunc(slices.Clone(all), func(r *Route[int]) bool { return gone[r] })
		had := slices.DeleteFunc(slices.Clone(got), func(r *Route[int]) bool { return gone[r] })
		if !slices.Equal(had, stay) {
			t.Errorf("seed %d: of what stayed found %v, want %v", seed, textsOf(had), textsOf(stay))
		}
		for _, r := range got {
			if !slices.Contains(all, r) {
				t.Errorf("seed %d: found %v %q, which came later", seed, r.Kind, r.Text)
			}
		}
	}
}

// TestSearchIsBounded: with very many routes, no step touches more of them than it may.
func TestSearchIsBounded(t *testing.T) {
	b := New[int]()
	for i := range 1 << 10 {
		filter := ""
		for bit := range 10 {
			filter += []string{"a", "+"}[i>>bit&1] + "/"
		}
		subscribe(t, b, 1, Filter, filter[:len(filter)-1])
		subscribe(t, b, 1, Pattern, fmt.Sprintf("*a%s", string(rune('0'+i%10))+fmt.Sprint(i)))
	}
	const most = 16
	topic := []byte("a/a/a/a/a/a/a/a/a/a")
	routes, rest, err := b.Search(topic, most)
	if len(routes) > 0 || rest == nil || err != nil {
		t.Fatal(routes, rest, err)
	}
	steps, found := 0, 0
	for more := true; more; steps++ {
		before := rest.hits.Len()
		if routes, more = rest.Next(most); len(routes) > most || more && rest.hits.Len() > before+2*most {
			t.Fatalf("a step has given %d routes, and found %d", len(routes), rest.hits.Len()-before)
		}
		found += len(routes)
	}
	if routes, more := rest.Next(most); len(routes) > 0 || more {
		t.Error("a search that has ended goes on")
	}
	// All patterns, all nodes of the tree, and the order of what was found, some of it by each step.
	if least := (1<<10 + 1<<10 + 1<<10) / most; found != 1<<10 || steps < least {
		t.Errorf("%d found in %d steps, want %d in %d at least", found, steps, 1<<10, least)
	}
}

// TestSearchesShareNothing: a search that has ended leaves its memory to the next one, and to that alone, and not for longer than its
// routes are there.
func TestSearchesShareNothing(t *testing.T) {
	b := New[int]()
	b.Verify = true
	for i := range 100 {
		subscribe(t, b, i, Filter, fmt.Sprintf("a/%s%d", strings.Repeat("+/", i%3), i%7))
		subscribe(t, b, i, Filter, "a/"+strings.Repeat("+/", i%20)+"#")
	}
	topic := []byte("a/b/c/5")
	begin := func() *Search[int] {
		_, rest, err := b.Search(topic, 1)
		if rest == nil || err != nil {
			t.Fatal("found at once", err)
		}
		return rest
	}
	names := func(routes []*Route[int]) (all []string) {
		for _, r := range routes {
			all = append(all, r.Text)
		}
		return all
	}
	direct, err := b.Routes(topic)
	if err != nil {
		t.Fatal(err)
	}
	want := names(direct)
	b.known = false
	b.wild.cache = nil
	var gone, last *Search[int]
	for range 3 {
		searches := []*Search[int]{begin(), begin(), begin()}
		got, ended := make([][]string, len(searches)), make([]bool, len(searches))
		for more := true; more; {
			more = false
			for i, x := range searches {
				if ended[i] {
					continue
				}
				routes, goesOn := x.Next(1 + i)
				ended[i] = !goesOn
				got[i] = append(got[i], names(routes)...)
				more = more || goesOn
				if !goesOn {
					last = x
				}
			}
			if gone != nil {
				if routes, more := gone.Next(1); len(routes) > 0 || more {
					t.Fatal("a search that has ended goes on")
				}
			}
		}
		gone = last // whose memory is kept
		for i := range got {
			if !slices.Equal(got[i], want) {
				t.Fatalf("search %d has found %q, want %q", i, got[i], want)
			}
		}
		if b.hits == nil {
			t.Error("no memory is kept")
		}
	}
	subscribe(t, b, 100, Filter, "b/+")
	if b.Drop(100); b.hits != nil {
		t.Error("the memory of searches is kept when routes have gone")
	}
}
