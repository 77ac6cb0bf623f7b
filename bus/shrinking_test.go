package bus

import (
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"
)

// TestShrinkingMap: it is a map, also while it moves to a smaller one, of which each change does a little.
func TestShrinkingMap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	var got shrinkingMap[int, *int]
	want := map[int]*int{}
	check := func(k int) {
		if got.len() != len(want) || got.get(k) != want[k] {
			t.Fatalf("%d elements, want %d; %d is %v, want %v", got.len(), len(want), k, got.get(k), want[k])
		}
	}
	const n = 10_000
	begun, ended := 0, 0
	for phase := range 8 {
		for range 2 * n {
			k := random.IntN(n)
			left := got.left()
			if random.IntN(8) == 0 == (phase%2 == 0) {
				delete(want, k)
				got.delete(k)
			} else if phase%2 == 0 || random.IntN(4) == 0 {
				v := new(int)
				want[k] = v
				got.set(k, v)
			}
			check(k)
			check(random.IntN(n))
			switch now := got.left(); {
			case left == 0 && now > 0:
				begun++
				if len(got.m) > 0 {
					t.Fatalf("%d elements have moved at once", len(got.m))
				}
			case left > 0 && now == 0:
				ended++
				fallthrough
			case left > 0:
				if left-now > movedAtOnce+1 {
					t.Fatalf("%d elements have moved at once", left-now)
				}
			}
		}
		if whole := got.whole(); !maps.Equal(whole, want) {
			t.Fatalf("%d elements are listed, of %d", len(whole), len(want))
		}
	}
	if begun < 2 || ended < 2 {
		t.Errorf("it moved %d times, and %d times to the end", begun, ended)
	}
	for k := range want {
		got.delete(k)
	}
	if got.m != nil || got.old != nil || got.peak != 0 {
		t.Error("something is left of an empty one")
	}
}

// left is how many elements have not moved yet.
func (t *shrinkingMap[K, V]) left() int {
	if t.old == nil {
		return 0
	}
	return len(t.old.m)
}

// TestShrinkingMapOfBytes: who looks for bytes finds what has moved to the smaller map and what has not.
func TestShrinkingMapOfBytes(t *testing.T) {
	const n = 1000
	var m shrinkingMap[string, int]
	for i := range n {
		m.set(strconv.Itoa(i), i+1)
	}
	moving := false
	for i := range n {
		m.delete(strconv.Itoa(i))
		moving = moving || m.left() > 0
		for k := range n {
			want := k + 1
			if k <= i {
				want = 0
			}
			if got := find(&m, []byte(strconv.Itoa(k))); got != want {
				t.Fatalf("%d is %d, want %d", k, got, want)
			}
		}
	}
	if !moving {
		t.Error("it has not moved to a smaller map")
	}
}
