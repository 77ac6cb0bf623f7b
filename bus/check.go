package bus

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
)

// Dump writes the whole state in a form made for eyes and tests: the last message's number, then one line for each route
// with its slot and its subscribers, as fmt prints them; by kind, then in order of creation.
func (b *Bus[S]) Dump(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "seq %d\n", b.seq)
	for _, r := range b.sorted() {
		fmt.Fprintf(&out, "%s %q slot %d:", r.Kind, r.Text, r.Slot)
		for _, s := range r.Subs() {
			fmt.Fprintf(&out, " %v", s)
		}
		out.WriteByte('\n')
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// sorted returns all routes by kind, then age.
func (b *Bus[S]) sorted() []*Route[S] {
	var routes []*Route[S]
	for slot := range b.Slots() {
		if r := b.RouteAt(slot); r != nil {
			routes = append(routes, r)
		}
	}
	slices.SortFunc(routes, func(a, b *Route[S]) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.born, b.born))
	})
	return routes
}

func (b *Bus[S]) verify() {
	if !b.Verify {
		return
	}
	if err := b.check(); err != nil {
		panic("bus: invariant broken: " + err.Error())
	}
}

// check says which invariant does not hold, if one does not.
func (b *Bus[S]) check() error {
	for _, f := range []func() error{b.checkRoutes, b.checkOwners, b.checkIndex} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// checkRoutes: every route is in both maps, has a slot and an age of its own, and a sound list of subscriptions.
func (b *Bus[S]) checkRoutes() error {
	used, subs := 0, 0
	ages := map[uint64]bool{}
	for slot := range b.Slots() {
		r := b.RouteAt(slot)
		if r == nil {
			continue
		}
		used++
		subs += r.Len()
		switch {
		case r.Slot != slot:
			return fmt.Errorf("%s %q has slot %d, is in %d", r.Kind, r.Text, r.Slot, slot)
		case b.find(r.Kind, r.Text) != r:
			return fmt.Errorf("%s %q is not found by its text", r.Kind, r.Text)
		case ages[r.born] || r.born == 0 || r.born > b.born:
			return fmt.Errorf("%s %q has an impossible age %d", r.Kind, r.Text, r.born)
		}
		ages[r.born] = true
		if err := r.check(&b.subs); err != nil {
			return fmt.Errorf("%s %q: %w", r.Kind, r.Text, err)
		}
	}
	if n := b.texts.count[Channel] + b.texts.count[Pattern] + b.texts.count[Filter]; n != used || b.texts.places.heads.Len() != perThing*used {
		return fmt.Errorf("%d texts in %d buckets, %d slots in use", n, b.texts.places.heads.Len(), used)
	}
	free := 0
	for at := b.texts.free; at > 0 && free <= b.Slots(); at = b.texts.at(at).next {
		if b.RouteAt(int(at-1)) != nil {
			return fmt.Errorf("slot %d is free and in use", at-1)
		}
		free++
	}
	if used+free != b.Slots() {
		return fmt.Errorf("%d slots, %d in use, %d free", b.Slots(), used, free)
	}
	if subs != b.subs.Len() {
		return fmt.Errorf("%d subscriptions, the routes have %d", b.subs.Len(), subs)
	}
	return nil
}

func (r *Route[S]) check(all *subscriptions) error {
	// has reports whether a subscription that is in place i of the list knows that.
	has := func(x sub, i int) bool {
		s := all.Find(int32(x - 1))
		return s != nil && int(s.slot) == r.Slot && int(s.pos) == i
	}
	if r.several == nil {
		if !has(r.one, 0) {
			return fmt.Errorf("one subscription, of %v, is not in order", r.alone[0])
		}
		return nil
	}
	if r.Len() == 0 || len(r.subs) != len(r.list) || len(r.subs) != len(r.ages) || 2*r.holes > len(r.subs) || r.all != all || r.one != 0 {
		return fmt.Errorf("%d subscriptions, %d holes, %d subscribers", len(r.subs), r.holes, len(r.list))
	}
	holes, born := 0, uint64(0)
	for i, x := range r.subs {
		var none S
		switch {
		case x == 0 && r.list[i] == none:
			holes++
		case x == 0:
			return fmt.Errorf("hole %d keeps %v", i, r.list[i])
		case !has(x, i) || r.of(r.list[i]) != x:
			return fmt.Errorf("subscription %d of %v is not in order", i, r.list[i])
		case r.ages[i] <= born:
			return fmt.Errorf("subscription %d of %v is of age %d, after one of %d", i, r.list[i], r.ages[i], born)
		default:
			born = r.ages[i]
		}
	}
	if holes != r.holes {
		return fmt.Errorf("%d holes, counted %d", holes, r.holes)
	}
	switch {
	case r.byOwner == nil && len(r.subs) > fewSubs:
		return fmt.Errorf("%d subscriptions are not found by their subscribers", r.Len())
	case r.byOwner != nil && r.byOwner.len() != r.Len():
		return fmt.Errorf("%d subscriptions, %d are found by their subscribers", r.Len(), r.byOwner.len())
	}
	return nil
}

// checkOwners: every subscriber has a sound list of at least one subscription, and together they have all.
func (b *Bus[S]) checkOwners() error {
	subs := 0
	for s, o := range b.owners.all {
		want := subscriber[S]{who: s, first: o.first, last: o.last}
		var prev sub
		for x := o.first; x != 0; {
			has := b.subs.Find(int32(x - 1))
			if has == nil || has.prev != prev || b.routeOf(x).of(s) != x {
				return fmt.Errorf("the subscriptions of %v are not in order", s)
			}
			want.weigh(b.routeOf(x), 1)
			subs++
			prev, x = x, has.next
		}
		if *o != want || o.first == 0 || o.last != prev {
			return fmt.Errorf("subscriber %v is not in order: counted %v, found %v", s, *o, want)
		}
	}
	if subs != b.subs.Len() {
		return fmt.Errorf("%d subscriptions, the subscribers have %d", b.subs.Len(), subs)
	}
	return nil
}

// checkIndex: the routes with wildcards are in the index, nothing else is, and what the cache holds is right.
func (b *Bus[S]) checkIndex() error {
	want := index{}
	for _, r := range b.sorted() {
		want.add(r.Kind, r.Text, r.glob, r.ref())
	}
	ix := &b.wild
	if ix.n != want.n {
		return fmt.Errorf("%d routes in the index, want %d", ix.n, want.n)
	}
	if ix.patterns.count != want.patterns.count || !reflect.DeepEqual(ix.patterns.tails.whole(), want.patterns.tails.whole()) {
		return fmt.Errorf("the index of patterns is %v, want %v", ix.patterns.tails.whole(), want.patterns.tails.whole())
	}
	for form := range ix.spelled {
		if err := ix.spelled[form].check(&want.spelled[form]); err != nil {
			return fmt.Errorf("the tree of the filters that begin with %s: %w", filterForms[form], err)
		}
	}
	if err := ix.filters.check(&want.filters); err != nil {
		return fmt.Errorf("the tree of filters: %w", err)
	}
	if ix.cache == nil {
		return nil
	}
	for _, set := range ix.cache.answers {
		for _, a := range set {
			if a.gen != ix.gen {
				continue
			}
			if slots, patterns, _ := ix.find(a.name, IsTopic(a.name), math.MaxInt); patterns != a.patterns || !slices.Equal(slots, a.slots) {
				return fmt.Errorf("%q is cached as %v (%d patterns), is %v (%d)", a.name, a.slots, a.patterns, slots, patterns)
			}
		}
	}
	return nil
}

// whole is all of it as one map.
func (s *shrinkingMap[K, V]) whole() map[K]V {
	if s.old == nil {
		return s.m
	}
	return maps.Collect(s.all)
}

// check compares it with what adding each of its filters makes.
func (t *tree) check(want *tree) error {
	children, siblings := map[int32]int32{}, 0
	for at := range t.nodes.All {
		if at == root {
			continue
		}
		n := t.nodes.At(at)
		if n.empty() || t.nodes.Find(n.parent) == nil {
			return fmt.Errorf("the node %q is there for nothing", n.edge.bytes())
		}
		if p := t.nodes.At(n.parent); p.plus != at {
			if children[n.parent]++; p.few == 0 {
				siblings++
			}
		}
	}
	if n := t.siblings.heads.Len(); n != perThing*siblings {
		return fmt.Errorf("%d siblings in %d buckets", siblings, n)
	}
	for at := range t.nodes.All {
		n := t.nodes.At(at)
		if n.children != children[at] {
			return fmt.Errorf("%d children behind %q, counted %d", children[at], n.edge.bytes(), n.children)
		}
		if at == root || t.nodes.At(n.parent).plus == at {
			continue
		}
		if is, _ := t.follow(n.parent, t.nodes.At(n.parent), n.edge.size, n.edge.bytes()); is != at {
			return fmt.Errorf("what is behind the edge %q is not found", n.edge.bytes())
		}
	}
	if !maps.Equal(t.whole(), want.whole()) {
		return errors.New("it is not what adding each of them makes")
	}
	return nil
}

// whole is what all nodes have, by the ways to them.
func (t *tree) whole() map[string][2]place {
	all := map[string][2]place{}
	for at := range t.nodes.All {
		n := t.nodes.At(at)
		all[t.way(at)] = [2]place{n.rest, n.here}
	}
	return all
}

// way is the way to a node.
func (t *tree) way(at int32) string {
	if at == root {
		return ""
	}
	n := t.nodes.At(at)
	switch before := t.way(n.parent); {
	case t.nodes.At(n.parent).plus == at:
		return before + "+/"
	case n.edge.size == goesOn:
		return before + string(n.edge.bytes())
	default:
		return before + string(n.edge.bytes()) + "/"
	}
}
