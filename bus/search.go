package bus

import (
	"cmp"

	"github.com/ipcd/ipcd/internal/heap"
)

// A Search goes on to find the routes that a message takes, for who has something else to do meanwhile: see [Bus.Search]. The bus may
// change between its steps. It gives the routes in the order of [Bus.Publish]: those that were there when it was begun, and still
// are.
type Search[S comparable] struct {
	bus  *Bus[S]
	age  uint64          // of the bus, when it was begun
	walk *walk           // nil: all is found
	hits *heap.Heap[hit] // nil: all is given
	out  []*Route[S]
}

// A hit is a route that was found.
type hit struct {
	ref
	rank rank
}

func (a hit) before(b hit) bool {
	return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.born, b.born)) < 0
}

// A rank is a route's place among those of one message, before its age.
type rank int8

const (
	rankChannel rank = iota
	rankPattern
	rankSame // the filter that is the name itself
	rankFilter
)

func newSearch[S comparable](b *Bus[S], w *walk) *Search[S] {
	x := &Search[S]{bus: b, age: b.born, walk: w, hits: b.hits}
	if b.hits = nil; x.hits == nil {
		x.hits = heap.New(hit.before)
	}
	x.add(b.findName(Channel, w.name), rankChannel)
	if w.topic {
		x.add(b.findName(Filter, w.name), rankSame)
	}
	x.take()
	return x
}

// add adds a route that is found by the name itself, if there is one.
func (x *Search[S]) add(r *Route[S], rank rank) {
	if r != nil {
		x.hits.Add(hit{r.ref(), rank})
	}
}

// take takes what the walk has found.
func (x *Search[S]) take() {
	for i, r := range x.walk.refs {
		rank := rankFilter
		if x.walk.triesPatterns() || i < x.walk.patterns {
			rank = rankPattern
		}
		if r.born <= x.age {
			x.hits.Add(hit{r, rank})
		}
	}
	x.walk.refs, x.walk.patterns = x.walk.refs[:0], 0
}

// Next does at most so many steps, and returns the routes that these have led to: at first none. more says that there is more to be
// done. The slice is to be read only, and until the next call.
func (x *Search[S]) Next(most int) (routes []*Route[S], more bool) {
	clear(x.out)
	x.out = x.out[:0]
	if x.walk != nil {
		left := x.walk.step(&x.bus.wild, most)
		x.take()
		if left > 0 {
			x.walk = nil
		}
		return nil, true
	}
	if x.hits == nil {
		return nil, false
	}
	for ; most > 0 && x.hits.Len() > 0; most-- {
		h, ok := x.hits.Next()
		if !ok || int(h.slot) >= x.bus.Slots() {
			continue
		}
		if r := x.bus.RouteAt(int(h.slot)); r != nil && r.born == h.born {
			x.out = append(x.out, r)
		}
	}
	if x.hits.Len() > 0 {
		return x.out, true
	}
	x.bus.keepHits(x.hits)
	x.hits = nil
	return x.out, false
}

// keepHits keeps the memory of a search that has ended for the next one, as long as no route goes.
func (b *Bus[S]) keepHits(hits *heap.Heap[hit]) {
	if b.subs.Len() > 0 {
		b.hits = hits
	}
}
