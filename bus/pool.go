package bus

import (
	"cmp"
	"container/heap"
	"slices"
)

// A Sharing says what some share: what a filter matches goes to one of those who name the same group. Those who name none have it
// under no name.
type Sharing struct{ Filter, Group string }

// CheckGroup reports, as a *NameError, why name cannot be that of a group, or nil.
func CheckGroup(name string) error { return CheckName("group", name, MaxTopic) }

// check is CheckFilter and CheckGroup.
func (s Sharing) check() error {
	if err := CheckFilter(s.Filter); err != nil || s.Group == "" {
		return err
	}
	return CheckGroup(s.Group)
}

// pools finds pools, each of those who share the same: by that, and by topics.
type pools[P any] struct {
	byFilter Bus[*P] // a pool is a subscriber of its filter
	all      shrinkingMap[Sharing, *P]
	topic    []byte // scratch
}

func (p *pools[P]) add(of Sharing, x *P) {
	if _, _, err := p.byFilter.Subscribe(x, Filter, of.Filter); err != nil {
		panic("bus: " + err.Error()) // the caller has checked it
	}
	p.all.set(of, x)
}

func (p *pools[P]) remove(of Sharing, x *P) {
	p.byFilter.Unsubscribe(x, Filter, of.Filter)
	p.all.delete(of)
}

// match appends the pools whose filters match a topic: those of the topic itself first, then by the age of filter and pool. ok is false
// if so many steps are not enough to find them, or there are more than so many.
func (p *pools[P]) match(to []*P, topic string, steps, most int) (found []*P, ok bool) {
	p.topic = append(p.topic[:0], topic...)
	routes, rest, _ := p.byFilter.SearchTopic(p.topic, steps) // which is one
	if rest != nil {
		return to, false
	}
	for _, r := range routes {
		if most -= r.Len(); most < 0 {
			return to, false
		}
		to = append(to, r.Subs()...)
	}
	return to, true
}

// A ranking has those who may be given something, as a heap: who has the least to do first, and of those who have as much, who has
// waited longest for his turn. No two have the same turn, so the order never depends on the heap's history.
type ranking[T ranked] struct{ in []T }

type ranked interface{ rank() *standing }

// A standing is what decides when it is whose turn.
type standing struct {
	load  int   // what he has to do still
	turn  turns // rises with each that he had, from his joining on
	place int   // in the heap, 1 for its first; 0: he is not there
}

// turns counts the turns of all who may be compared.
type turns uint64

// take has it be somebody's turn, for the last time for now.
func (t *turns) take(x ranked) {
	*t++
	x.rank().turn = *t
}

// add adds one, who has a turn.
func (r *ranking[T]) add(x T) { heap.Push(r, x) }

// leave takes one out, if he is in.
func (r *ranking[T]) leave(x T) {
	if at := x.rank().place; at > 0 {
		heap.Remove(r, at-1)
	}
	if len(r.in) == 0 {
		r.in = nil
	}
}

// weigh counts more or less that one has to do, in the pool or not, whose turn may have changed, too.
func (r *ranking[T]) weigh(x T, more int) {
	x.rank().load += more
	if at := x.rank().place; at > 0 {
		heap.Fix(r, at-1)
	}
}

// inOrder calls f with one after the other, first with whose turn it is, until it returns false. It looks at these, and at who may be next.
func (r *ranking[T]) inOrder(f func(T) bool) {
	if len(r.in) == 0 || !f(r.in[0]) { // as is usual
		return
	}
	for next := r.below(0, nil); len(next) > 0 && f(r.in[next[0]]); {
		next = r.below(next[0], next[1:])
	}
}

// below adds the places right below another one of the heap to some, which are in the order of whose turn it is.
func (r *ranking[T]) below(place int, others []int) []int {
	for at := 2*place + 1; at <= 2*place+2 && at < len(r.in); at++ {
		i, _ := slices.BinarySearchFunc(others, at, func(a, b int) int { return r.in[a].rank().compare(r.in[b].rank()) })
		others = slices.Insert(others, i, at)
	}
	return others
}

// sorted are all, the first whose turn it is.
func (r *ranking[T]) sorted() []T {
	all := slices.Clone(r.in)
	slices.SortFunc(all, func(a, b T) int { return a.rank().compare(b.rank()) })
	return all
}

func (a *standing) compare(b *standing) int {
	return cmp.Or(cmp.Compare(a.load, b.load), cmp.Compare(a.turn, b.turn))
}

// Len, Less, Swap, Push and Pop are for container/heap.

func (r *ranking[T]) Len() int { return len(r.in) }

func (r *ranking[T]) Less(i, j int) bool { return r.in[i].rank().compare(r.in[j].rank()) < 0 }

func (r *ranking[T]) Swap(i, j int) {
	r.in[i], r.in[j] = r.in[j], r.in[i]
	r.in[i].rank().place, r.in[j].rank().place = i+1, j+1
}

func (r *ranking[T]) Push(x any) {
	r.in = append(r.in, x.(T))
	r.in[len(r.in)-1].rank().place = len(r.in)
}

func (r *ranking[T]) Pop() any {
	last := len(r.in) - 1
	x := r.in[last]
	var none T
	r.in[last] = none
	r.in = shrink(r.in[:last])
	x.rank().place = 0
	return x
}

// check reports whether it is a heap that knows its places.
func (r *ranking[T]) check() bool {
	for i, x := range r.in {
		if x.rank().place != i+1 || i > 0 && r.Less(i, (i-1)/2) {
			return false
		}
	}
	return true
}
