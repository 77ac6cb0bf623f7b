// Package heap puts things in order bit by bit, for who must not stop for as long as it takes to sort all of them.
package heap

// A Heap gives things in order, without a step in which all are sorted. They are added first. It keeps them in pieces: who asks for
// much memory at once is made to do much work for the garbage collector at once.
type Heap[T any] struct {
	pieces [][]T
	n      int
	less   func(a, b T) bool
	made   int // so many of the first are in no order yet
}

// piece is how many things there are in a piece.
const piece = 128

// New makes a heap without things. less says which of two comes first.
func New[T any](less func(a, b T) bool) *Heap[T] { return &Heap[T]{less: less} }

// Add adds a thing, before the first is asked for.
func (h *Heap[T]) Add(x T) {
	if h.n == piece*len(h.pieces) {
		h.pieces = append(h.pieces, make([]T, piece))
	}
	*h.at(h.n) = x
	h.n++
	h.made = h.n / 2
}

func (h *Heap[T]) at(i int) *T { return &h.pieces[i/piece][i%piece] }

// Len is how many things are left.
func (h *Heap[T]) Len() int { return h.n }

// Room is for how many things it has memory.
func (h *Heap[T]) Room() int { return len(h.pieces) * piece }

// Next does a part of the work, and gives the next thing when it is known.
func (h *Heap[T]) Next() (x T, ok bool) {
	if h.made > 0 {
		h.made--
		h.down(h.made)
		return x, false
	}
	var none T
	h.n--
	first, last := h.at(0), h.at(h.n)
	x, *first, *last = *first, *last, none
	h.down(0)
	return x, true
}

func (h *Heap[T]) down(i int) {
	for {
		child := 2*i + 1
		if child >= h.n {
			return
		}
		if child+1 < h.n && h.less(*h.at(child + 1), *h.at(child)) {
			child++
		}
		if !h.less(*h.at(child), *h.at(i)) {
			return
		}
		*h.at(i), *h.at(child) = *h.at(child), *h.at(i)
		i = child
	}
}
