// Package pieces keeps many things in pieces of some. A slice that grows is copied as a whole, and who asks for much memory at once is
// made to do much work for the garbage collector at once: with 100,000 things that takes milliseconds, which nobody has who must not
// stop for so long.
package pieces

// A Slice has things by their place, of which the last may come and go. The zero Slice is empty.
type Slice[T any] struct {
	pieces []*[piece]T
	n      int
}

// piece is how many things there are in a piece.
const piece = 128

// Len is how many things there are.
func (s *Slice[T]) Len() int { return s.n }

// At is the thing with a place below Len.
func (s *Slice[T]) At(i int) *T { return &s.pieces[uint(i)/piece][uint(i)%piece] }

// Push adds a thing behind the last.
func (s *Slice[T]) Push(x T) {
	if s.n == piece*len(s.pieces) {
		s.pieces = append(s.pieces, new([piece]T))
	}
	s.n++
	*s.At(s.n - 1) = x
}

// Pop takes the last thing off. One piece is kept that is empty, for what comes next.
func (s *Slice[T]) Pop() (x T) {
	var none T
	s.n--
	last := s.At(s.n)
	x, *last = *last, none
	if most := s.n/piece + 2; most < len(s.pieces) {
		s.pieces[most] = nil
		s.pieces = s.pieces[:most]
	}
	return x
}

// Room is for how many things there is memory.
func (s *Slice[T]) Room() int { return piece * len(s.pieces) }
