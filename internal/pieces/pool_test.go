package pieces

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPool compares it with a map while it grows and shrinks: what is in a place stays there, no place is given out twice, what is taken
// is zero, and there is memory for no part that has no things but one.
func TestPool(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	var p Pool[int]
	want := map[int32]int{}
	var places []int32
	for step := range 100_000 {
		grow := 6 // of ten changes are of this kind
		if step/20_000%2 == 1 {
			grow = 3
		}
		switch add := random.IntN(10) < grow; {
		case add:
			place := p.Take()
			if _, taken := want[place]; taken || *p.At(place) != 0 || p.Find(place) != p.At(place) {
				t.Fatalf("step %d: place %d is taken: %v, with %d in it", step, place, taken, *p.At(place))
			}
			*p.At(place), want[place] = step+1, step+1
			places = append(places, place)
		case len(places) > 0:
			i := random.IntN(len(places))
			place := places[i]
			if *p.At(place) != want[place] {
				t.Fatalf("step %d: in place %d is %d, want %d", step, place, *p.At(place), want[place])
			}
			p.Remove(place)
			if delete(want, place); p.Find(place) != nil {
				t.Fatalf("step %d: what was in place %d has not gone", step, place)
			}
			places = slices.Delete(places, i, i+1)
		}
		if step%1000 == 0 {
			checkPool(t, &p, want)
		}
	}
	checkPool(t, &p, want)
	most := p.Room()
	for _, place := range places[1:] {
		p.Remove(place)
	}
	if p.Len() != 1 || *p.At(places[0]) != want[places[0]] || p.Room() > 2*inPart || p.Room() == most {
		t.Errorf("%d things have room for %d, before %d", p.Len(), p.Room(), most)
	}
	if p.Find(1<<30) != nil {
		t.Error("there is something far behind the last")
	}
}

func checkPool(t *testing.T, p *Pool[int], want map[int32]int) {
	t.Helper()
	used := map[int32]bool{}
	n := 0
	for place := range p.All {
		if *p.At(place) != want[place] {
			t.Fatalf("in place %d is %d, want %d", place, *p.At(place), want[place])
		}
		n++
		used[place/inPart] = true
	}
	if n != len(want) || p.Len() != n {
		t.Fatalf("%d things, counted %d, want %d", n, p.Len(), len(want))
	}
	if p.Room() > (len(used)+1)*inPart {
		t.Fatalf("%d parts have things, and there is room for %d", len(used), p.Room())
	}
}

// TestPoolAllocatesNothing where things come and go at the edge of a part.
func TestPoolAllocatesNothing(t *testing.T) {
	var p Pool[[64]byte]
	for range 3 * inPart {
		p.Take()
	}
	p.Remove(p.Take())
	if n := testing.AllocsPerRun(100, func() { p.Remove(p.Take()) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
