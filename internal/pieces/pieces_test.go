package pieces

import "testing"

// TestSlice: what is pushed has its place until it is popped, however many pieces that takes. No piece is ever moved, and of those that
// are empty one is kept.
func TestSlice(t *testing.T) {
	var s Slice[*int]
	var first **int
	values := make([]int, 3*piece+7)
	for i := range values {
		s.Push(&values[i])
		if first == nil {
			first = s.At(0)
		}
	}
	if s.Len() != len(values) || s.Room() != 4*piece || s.At(0) != first {
		t.Errorf("%d things with room for %d", s.Len(), s.Room())
	}
	for i := len(values) - 1; i >= 0; i-- {
		if *s.At(i) != &values[i] {
			t.Fatalf("in place %d is something else", i)
		}
		if x := s.Pop(); x != &values[i] || s.Len() != i {
			t.Fatalf("what is popped of %d is not the last, or %d are left", i+1, s.Len())
		}
		if s.Room() > i+2*piece {
			t.Fatalf("%d have room for %d", i, s.Room())
		}
		if s.Room() > i && s.pieces[i/piece][i%piece] != nil {
			t.Fatalf("what is popped from place %d is kept", i)
		}
	}
}
