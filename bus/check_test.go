package bus

import (
	"fmt"
	"strings"
	"testing"
)

// TestCheck breaks each invariant in turn: check must see it, and Verify must stop it.
func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(b *Bus[int], r *Route[int])
	}{
		{"slot", func(_ *Bus[int], r *Route[int]) { r.Slot++ }},
		{"text", func(b *Bus[int], r *Route[int]) { b.texts.remove(r) }},
		{"text of no route", func(b *Bus[int], r *Route[int]) { b.texts.count[r.Kind]++ }},
		{"age", func(_ *Bus[int], r *Route[int]) { r.born = 0 }},
		{"free slot in use", func(b *Bus[int], r *Route[int]) { b.texts.free = int32(r.Slot + 1) }},
		{"lost slot", func(b *Bus[int], _ *Route[int]) { b.texts.free = 0 }},
		{"order", func(_ *Bus[int], r *Route[int]) { r.list[0], r.list[1] = r.list[1], r.list[0] }},
		{"position", func(b *Bus[int], r *Route[int]) { b.subs.at(r.subs[0]).pos++ }},
		{"uncounted hole", func(_ *Bus[int], r *Route[int]) { r.subs[0], r.list[0] = 0, 0 }},
		{"kept in a hole", func(_ *Bus[int], r *Route[int]) { r.subs[0] = 0 }},
		{"no subscriber", func(_ *Bus[int], r *Route[int]) { r.subs, r.list, r.ages = nil, nil, nil }},
		{"no one subscriber", func(_ *Bus[int], r *Route[int]) { r.several = nil }},
		{"another one subscriber", func(b *Bus[int], _ *Route[int]) { b.Route(Filter, "one").alone[0] = 2 }},
		{"another slot", func(b *Bus[int], r *Route[int]) { b.subs.at(r.subs[0]).slot++ }},
		{"subscription of nobody", func(b *Bus[int], _ *Route[int]) { b.subs.Take() }},
		{"order of ages", func(_ *Bus[int], r *Route[int]) { r.ages[0] = r.ages[1] }},
		{"lost subscription", func(_ *Bus[int], r *Route[int]) {
			r.byOwner = new(shrinkingMap[int, sub])
			for i, x := range r.subs[1:] {
				r.byOwner.set(r.list[1+i], x)
			}
		}},
		{"subscription without a subscriber", func(_ *Bus[int], r *Route[int]) {
			r.byOwner = new(shrinkingMap[int, sub])
			r.byOwner.set(7, r.subs[0])
			for i, x := range r.subs {
				r.byOwner.set(r.list[i], x)
			}
		}},
		{"lost subscriber", func(b *Bus[int], _ *Route[int]) { b.owners.delete(2) }},
		{"count", func(b *Bus[int], _ *Route[int]) { b.owners.get(1).count[Filter]++ }},
		{"list of subscriptions", func(b *Bus[int], _ *Route[int]) { b.subs.at(b.owners.get(1).last).prev = 0 }},
		{"filter missing in the tree", func(b *Bus[int], _ *Route[int]) { b.wild.filters.remove("a/+") }},
		{"empty node in the tree", func(b *Bus[int], _ *Route[int]) { b.wild.filters.grow(root, []byte("y")) }},
		{"number of children in the tree", func(b *Bus[int], _ *Route[int]) { b.wild.filters.nodes.At(root).children++ }},
		{"lost child in the tree", func(b *Bus[int], _ *Route[int]) { b.wild.filters.nodes.At(root).few = 0 }},
		{"lost sibling in the tree", func(b *Bus[int], _ *Route[int]) {
			for i := range 2 * fewSiblings {
				b.wild.filters.add(fmt.Sprint(i, "/+"), 1)
			}
			b.wild.filters.siblings = buckets{}
		}},
		{"another edge in the tree", func(b *Bus[int], _ *Route[int]) { b.wild.filters.nodes.At(1).edge.text[0] = 'b' }},
		{"pattern missing in the index", func(b *Bus[int], _ *Route[int]) { b.wild.patterns.remove("a*", ref{born: 2}) }},
		{"number of routes in the index", func(b *Bus[int], _ *Route[int]) { b.wild.n++ }},
		{"wrong answer in the cache", func(b *Bus[int], _ *Route[int]) {
			b.wild.cache = newCache()
			b.wild.cache.answers[7][1] = answer{gen: b.wild.gen, name: []byte("a/b")}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := New[int]()
			b.Verify = true
			var r *Route[int]
			for s := 1; s <= 3; s++ {
				r = subscribe(t, b, s, Filter, "a/+")
				subscribe(t, b, s, Pattern, "a*")
			}
			subscribe(t, b, 1, Filter, "one")
			subscribe(t, b, 1, Channel, "z")
			if !b.Unsubscribe(1, Channel, "z") {
				t.Fatal("not subscribed")
			}
			tt.spoil(b, r)
			if err := b.check(); err == nil {
				t.Fatal("not seen")
			}
			defer func() {
				if e, _ := recover().(string); !strings.HasPrefix(e, "bus: invariant broken: ") {
					t.Errorf("panic %q", e)
				}
			}()
			b.verify()
			t.Error("not stopped")
		})
	}
}

func subscribe[S comparable](t testing.TB, b *Bus[S], s S, k Kind, text string) *Route[S] {
	t.Helper()
	r, _, err := b.Subscribe(s, k, text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
