package heap

import (
	"math/rand/v2"
	"testing"
)

// TestHeap: a heap gives things in order, however many there are in its pieces.
func TestHeap(t *testing.T) {
	for _, n := range []int{0, 1, 2, piece - 1, piece, piece + 1, 3*piece + 7} {
		h := New(func(a, b int) bool { return a < b })
		for _, x := range rand.New(rand.NewPCG(1, uint64(n))).Perm(n) {
			h.Add(x)
		}
		if pieces := (n + piece - 1) / piece; h.Room() != pieces*piece {
			t.Errorf("%d have room for %d", n, h.Room())
		}
		for want := 0; want < n; {
			if x, ok := h.Next(); ok {
				if x != want {
					t.Fatalf("of %d number %d is %d", n, want, x)
				}
				want++
			}
		}
		if h.Len() != 0 {
			t.Errorf("%d are left of %d", h.Len(), n)
		}
	}
}

// TestHeapIsUsedAgain: one that is empty has its memory for what comes next.
func TestHeapIsUsedAgain(t *testing.T) {
	h := New(func(a, b int) bool { return a < b })
	if n := testing.AllocsPerRun(10, func() {
		for x := range 3 * piece {
			h.Add(x)
		}
		for h.Len() > 0 {
			h.Next()
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
