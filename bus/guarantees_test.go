package bus

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// Which tests hold the bus to what doc.go guarantees:
//
//   - numbers, one order: TestModel, and for who delivers bit by bit TestSmallWorlds and TestRaces;
//   - exactly those who are subscribed: TestModel, TestSubsAt, TestSearchWhileTheBusChanges, TestSmallWorlds, TestRaces;
//   - one subscription, one copy: TestScripts (order.txt, subscribe.txt), TestSmallWorlds;
//   - the order of routes: TestModel, TestScripts (order.txt); the same calls, the same results: TestSameCallsSameResults;
//   - an error has changed nothing: TestErrorsChangeNothing, TestTooLong;
//   - what is gone is forgotten: TestNothingLeft, TestGoneIsForgotten, TestMemoryAfterStorm, TestBothWays;
//   - what filters match: TestMatch, TestBothWays, FuzzMatch, FuzzBothWays; names: TestNames, FuzzNames;
//   - values, which each filter finds once: TestRetainedScripts, TestRetainedAgainstModel, TestRetainedChangesMeanwhile;
//   - costs: BenchmarkScale, BenchmarkStorm, TestNoAllocations, TestCacheIsBounded, TestSearchIsBounded.

// TestErrorsChangeNothing: a call that returns an error has changed nothing, not even what a subscriber without subscriptions leaves.
func TestErrorsChangeNothing(t *testing.T) {
	b := New[int]()
	b.Verify = true
	for i, text := range []string{"a/#", "+/b", "a/b"} {
		subscribe(t, b, i, Filter, text)
	}
	subscribe(t, b, 1, Pattern, "a*")
	dump := func() string {
		var out bytes.Buffer
		if err := b.Dump(&out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	before, age, owners, slots := dump(), b.Age(), b.owners.len(), b.Slots()
	for text, kind := range map[string]Kind{
		"": Filter, "a/#/b": Filter, "a+": Filter, "a\x00": Filter, strings.Repeat("x", MaxTopic+1): Filter,
		FilterPattern: Pattern, EnvelopePattern + "#/a": Pattern, "?" + strings.Repeat("x", 400) + "*": Pattern,
	} {
		for _, who := range []int{1, 9} { // one who has subscriptions, and one who has none
			if r, added, err := b.Subscribe(who, kind, text); err == nil || r != nil || added {
				t.Errorf("to subscribe to %v %.20q: %v, %v, %v", kind, text, r, added, err)
			}
		}
	}
	for _, name := range []string{"", "a/#", "a\xff", strings.Repeat("x", MaxTopic+1)} {
		if routes, rest, err := b.SearchTopic([]byte(name), 1); err == nil || routes != nil || rest != nil {
			t.Errorf("to look for the topic %.20q: %v, %v, %v", name, routes, rest, err)
		}
	}
	if got := dump(); got != before || b.Age() != age || b.owners.len() != owners || b.Slots() != slots {
		t.Errorf("it was\n%sand is\n%s", before, got)
	}
	if err := b.check(); err != nil {
		t.Error(err)
	}
}

// TestSameCallsSameResults: what a bus does depends on the calls alone, and not on the order of Go's maps or on what a hash begins with.
func TestSameCallsSameResults(t *testing.T) {
	run := func() string {
		r := texts{rand.New(rand.NewPCG(7, 7))}
		b := New[int]()
		var out bytes.Buffer
		for range 3000 {
			s, k := r.IntN(20), Kind(r.IntN(int(numKinds)))
			text := r.text(k)
			switch {
			case k == Pattern && CheckPattern(text) != nil:
			case r.IntN(3) > 0:
				subscribe(t, b, s, k, text)
			case r.IntN(20) == 0:
				b.DropSome(s, 1+r.IntN(5))
			default:
				b.Unsubscribe(s, k, text)
			}
			_, routes, err := b.Publish([]byte(r.name()))
			if err != nil {
				t.Fatal(err)
			}
			for _, route := range routes {
				out.WriteString(route.Kind.String() + route.Text + strconv.Itoa(route.Slot))
			}
		}
		if err := b.Dump(&out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	first := run()
	for range 3 {
		if again := run(); again != first {
			t.Fatal("the same calls have had other results")
		}
	}
}
