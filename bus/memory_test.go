package bus

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"weak"
)

// assertEmpty fails unless the bus has nothing that a new one does not have, but its counters and the last topic.
func assertEmpty[S comparable](t *testing.T, b *Bus[S]) {
	t.Helper()
	fresh := &Bus[S]{Verify: b.Verify, seq: b.seq, born: b.born, last: b.last, known: b.known, lastTopic: b.lastTopic}
	got, want := reflect.ValueOf(b).Elem(), reflect.ValueOf(fresh).Elem()
	if reflect.DeepEqual(b, fresh) {
		return
	}
	for i := range got.NumField() {
		if g, w := fmt.Sprintf("%+v", got.Field(i)), fmt.Sprintf("%+v", want.Field(i)); g != w {
			t.Errorf("something is left in %s: %.200s", got.Type().Field(i).Name, g)
		}
	}
	t.Error("something is left")
}

// TestNothingLeft: when the last subscription ends, nothing that was made for any of them stays.
func TestNothingLeft(t *testing.T) {
	for _, leave := range []string{"unsubscribe", "drop"} {
		b := New[int]()
		type sub struct {
			s    int
			k    Kind
			text string
		}
		var subs []sub
		for i := range 300 {
			for k, text := range []string{"c/%d", "p%d*" + strings.Repeat("x", 300), "f/%d/x"} {
				subs = append(subs, sub{i % 7, Kind(k), fmt.Sprintf(text, i)})
			}
			for _, text := range []string{"+/N/#", "f/+/N", "f/#"} {
				subs = append(subs, sub{i, Filter, strings.Replace(text, "N", fmt.Sprint(i), 1)})
			}
			subs = append(subs, sub{i, Pattern, "f*" + fmt.Sprint(i)})
		}
		for round := range 2 {
			for _, x := range subs {
				subscribe(t, b, x.s, x.k, x.text)
			}
			for i := range 2000 {
				if _, _, err := b.Publish(fmt.Appendf(nil, "f/%d/x", i)); err != nil {
					t.Fatal(err)
				}
			}
			for i := range subs {
				x := subs[i]
				if round == 1 {
					x = subs[len(subs)-1-i]
				}
				if leave == "drop" {
					b.Drop(x.s)
				} else {
					b.Unsubscribe(x.s, x.k, x.text)
				}
			}
			assertEmpty(t, b)
		}
	}
}

// TestGoneIsForgotten: what has left is not kept by what stays.
func TestGoneIsForgotten(t *testing.T) {
	type session struct{ _ [1024]byte }
	b := New[*session]()
	stay := []*session{{}, {}, {}}
	var gone []weak.Pointer[session]
	var routes []weak.Pointer[Route[*session]]
	for i := range 50 {
		for _, s := range stay {
			subscribe(t, b, s, Filter, "a/#")
			subscribe(t, b, s, Pattern, "a*")
			subscribe(t, b, s, Channel, "a/b")
		}
		leaver := &session{}
		gone = append(gone, weak.Make(leaver))
		subscribe(t, b, leaver, Filter, "a/#")
		subscribe(t, b, leaver, Channel, "a/b")
		routes = append(routes,
			weak.Make(subscribe(t, b, leaver, Filter, fmt.Sprintf("a/+/%d/#", i))),
			weak.Make(subscribe(t, b, leaver, Pattern, fmt.Sprintf("a/%d*", i))),
			weak.Make(subscribe(t, b, leaver, Channel, fmt.Sprintf("a/%d/b", i))))
		for _, topic := range []string{"a/b", fmt.Sprintf("a/%d/b", i), fmt.Sprintf("a/b/%d/c", i)} {
			if _, _, err := b.Publish([]byte(topic)); err != nil {
				t.Fatal(err)
			}
		}
		first := fmt.Sprintf("first/%d", i) // who comes before the one that stays
		subscribe(t, b, leaver, Channel, first)
		subscribe(t, b, stay[0], Channel, first)
		b.Drop(leaver)
	}
	if _, _, err := b.Publish([]byte("z")); err != nil { // forgets what the last Publish returned
		t.Fatal(err)
	}
	runtime.GC()
	for i, w := range gone {
		if w.Value() != nil {
			t.Errorf("subscriber %d is kept", i)
		}
	}
	for i, w := range routes {
		if w.Value() != nil {
			t.Errorf("route %d is kept", i)
		}
	}
	runtime.KeepAlive(b)
}

// TestManySubscribers: of one thing, however many come and go, each has one subscription or none, and is known to have it.
func TestManySubscribers(t *testing.T) {
	b := New[int]()
	b.Verify = true
	has := map[int]uint64{}
	for step, n := range []int{1, 2, 1, 0, fewSubs, fewSubs + 1, fewSubs, fewSubs/2 + 1, fewSubs / 2, 0, 3 * fewSubs, 1, fewSubs + 1, 0} {
		for s := range 3 * fewSubs {
			if _, added, err := b.Subscribe(s, Filter, "a/#"); err != nil || added != (has[s] == 0) {
				t.Fatalf("step %d: %d subscribes anew: %v, %v", step, s, added, err)
			}
			has[s] = b.Age()
			if s < n {
				continue
			}
			for _, want := range []bool{true, false} {
				if b.Unsubscribe(s, Filter, "a/#") != want {
					t.Fatalf("step %d: %d was subscribed: %v", step, s, !want)
				}
			}
			has[s] = 0
		}
		for s := range 3 * fewSubs {
			if r := b.Route(Filter, "a/#"); r != nil && (b.AgeOf(s, r) > 0) != (has[s] > 0) || r == nil && n > 0 {
				t.Fatalf("step %d: the age of the subscription of %d is %d", step, s, b.AgeOf(s, r))
			}
		}
	}
}

// TestMemoryAfterStorm: a crowd that came and went leaves little, although one subscriber stays.
func TestMemoryAfterStorm(t *testing.T) {
	const crowd, subs = 20_000, 5
	b := New[int]()
	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	come := func(s int) {
		subscribe(t, b, s, Channel, fmt.Sprintf("own/%d", s))
		subscribe(t, b, s, Pattern, fmt.Sprintf("own%d*", s))
		subscribe(t, b, s, Pattern, fmt.Sprintf("*%d", s))
		subscribe(t, b, s, Filter, fmt.Sprintf("own/%d/+", s))
		subscribe(t, b, s, Filter, "all/#")
	}
	come(0)
	before := heap()
	for s := 1; s < crowd; s++ {
		come(s)
	}
	full := heap() - before
	for s := 1; s < crowd; s++ {
		b.Drop(s)
	}
	left := heap() - before
	t.Logf("%d bytes for each subscription, %d left", full/(subs*crowd), left/(subs*crowd))
	if room := b.wild.filters.nodes.Room(); room > 4*64 {
		t.Errorf("there is room for %d nodes of the tree", room)
	}
	if left > 16*subs*crowd { // which is what a slot takes
		t.Errorf("%d of %d bytes are left", left, full)
	}
	runtime.KeepAlive(b)
}

// TestCacheIsBounded: neither ever new topics nor long answers make the cache larger.
func TestCacheIsBounded(t *testing.T) {
	b := New[int]()
	for i := range 3 * cacheSlots {
		subscribe(t, b, i, Filter, fmt.Sprintf("+/%d/#", i))
		subscribe(t, b, i, Pattern, strings.Repeat("*", i+1)+"long")
	}
	kept := func() (n int) {
		for _, set := range b.wild.cache.answers {
			for _, a := range set {
				if a.gen == b.wild.gen {
					n++
				}
			}
		}
		return n
	}
	for i := range 5 * cacheSets * cacheWays {
		for _, topic := range []int{i, i + 1, i} { // never twice in a row: that would not ask the cache
			if _, _, err := b.Publish(fmt.Appendf(nil, "x/%d/y", topic)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := kept(); n < cacheSets*cacheWays/2 {
		t.Errorf("only %d topics are kept", n)
	}
	subscribe(t, b, 0, Filter, "+/x/#")
	for i := range 5 * cacheSets * cacheWays {
		if _, _, err := b.Publish(fmt.Appendf(nil, "once/%d/y", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := kept(); n > 5 {
		t.Errorf("%d topics are kept that were used once", n)
	}
	for range 3 {
		_, routes, err := b.Publish([]byte("a/5/long"))
		if err != nil || len(routes) != 3*cacheSlots+1 {
			t.Fatalf("%d routes, %v", len(routes), err)
		}
	}
	for _, set := range b.wild.cache.answers {
		for _, a := range set {
			if len(a.slots) > cacheSlots {
				t.Errorf("the cache keeps %d routes for %q", len(a.slots), a.name)
			}
		}
	}
}

func TestNoAllocations(t *testing.T) {
	// Longer than what can be converted on the stack, and not only ASCII.
	text := "site/Zürich/" + strings.Repeat("room/", 40) + "temp"
	filter := "site/+/" + strings.Repeat("room/", 40) + "#"
	topic := []byte(text)
	var others [][]byte // more than the cache holds
	for i := range 2 * cacheSets * cacheWays {
		others = append(others, fmt.Appendf(nil, "site/%d/and/something/that/makes/it/long", i))
	}
	glob := CompileGlob("s?te/*[t]emp")
	b := New[int]()
	for i := range 100 {
		for _, x := range []struct {
			k    Kind
			text string
		}{{Channel, text}, {Pattern, "site*"}, {Filter, filter}, {Filter, fmt.Sprintf("+/%d/#", i)}} {
			subscribe(t, b, i, x.k, x.text)
		}
	}
	all := func() {
		if CheckTopic(topic) != nil || CheckTopic(text) != nil || CheckFilter(filter) != nil {
			t.Error("refused")
		}
		if !Match(filter, topic) || !Match(filter, text) || !glob.Match(topic) {
			t.Error("no match")
		}
		if _, routes, err := b.Publish(topic); err != nil || len(routes) != 3 || len(routes[0].Subs()) != 100 {
			t.Error("not delivered")
		}
		for _, topic := range others {
			if _, routes, err := b.Publish(topic); err != nil || len(routes) == 0 {
				t.Error("not delivered")
			}
		}
	}
	for range 50 { // until every place of the cache was in use with long topics
		all()
	}
	if n := testing.AllocsPerRun(10, all); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestSubscriptionTakesLittleAtOnce: however many subscriptions there are, nothing is moved as a whole to have room for one more, or less.
// A map takes fifty kilobytes at once for a part of it that is full, and two maps may do so at the same time.
func TestSubscriptionTakesLittleAtOnce(t *testing.T) {
	const n, most = 20_000, 150 << 10
	b := New[int]()
	var before, after runtime.MemStats
	worst := uint64(0)
	each := func(f func(i int)) {
		for i := range n {
			runtime.ReadMemStats(&before)
			f(i)
			runtime.ReadMemStats(&after)
			worst = max(worst, after.TotalAlloc-before.TotalAlloc)
		}
	}
	each(func(i int) { subscribe(t, b, 1, Filter, fmt.Sprintf("a/%d/#", i)) })
	subscribe(t, b, 2, Filter, "b")
	each(func(int) { b.DropSome(1, 1) })
	if worst > most {
		t.Errorf("one takes %d bytes at once", worst)
	}
}

// TestNoPointers: the garbage collector has nothing to look at in a node of a tree or a subscription.
func TestNoPointers(t *testing.T) {
	var numbers func(reflect.Type) bool
	numbers = func(of reflect.Type) bool {
		switch of.Kind() {
		case reflect.Struct:
			for i := range of.NumField() {
				if !numbers(of.Field(i).Type) {
					return false
				}
			}
			return true
		case reflect.Array:
			return numbers(of.Elem())
		}
		return of.Kind() <= reflect.Uint64
	}
	if !numbers(reflect.TypeFor[node]()) || !numbers(reflect.TypeFor[subscription]()) {
		t.Error("there are pointers")
	}
}

// TestSizes: what there is of each subscription is as large as memory is given out, and no larger: with 100,000 of them the garbage collector
// takes its time for all that.
func TestSizes(t *testing.T) {
	if size := reflect.TypeFor[Route[*int]]().Size(); size > 80 {
		t.Errorf("a route takes %d bytes", size)
	}
	if size := reflect.TypeFor[node]().Size(); size > 48 {
		t.Errorf("a node of a tree takes %d bytes", size)
	}
}
