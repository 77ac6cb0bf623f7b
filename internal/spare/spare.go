// Package spare keeps objects that have ended for those that come next, so that what comes and goes all the time is no garbage.
//
// An object is given here by who knows that nothing leads to it any more. What somebody may still have in hand, as a function that is
// called later, is left to the collector.
//
// A list keeps a few objects. If it is in a [Stock], it keeps as many as there may be at once in a busy turn, and the stock gives up what
// nobody has needed for a while.
package spare

import "reflect"

const (
	// few is how many objects are kept of which nobody asks whether they are needed.
	few = 256
	// Most is how many are kept in a stock: so many messages may be on their way in a turn.
	Most = 4096
)

// A List has the objects of one kind. The zero List is empty.
//
// Invariant: each is as if it were new.
type List[T any] struct{ shelf[*T] }

// KeepIn has a list be one of a stock. Nothing must be in it yet.
func (l *List[T]) KeepIn(s *Stock) { l.join(s, int(reflect.TypeFor[T]().Size())) }

// Take is an object that is as if it were new.
func (l *List[T]) Take() *T {
	if x, ok := l.take(); ok {
		return x
	}
	return new(T)
}

// Give keeps an object that nothing leads to any more, unless enough are kept. What it knew is forgotten.
func (l *List[T]) Give(x *T) {
	var none T
	*x = none
	l.give(x)
}

// Check reports whether all are as if they were new, and none is there twice.
func (l *List[T]) Check() bool {
	known := map[*T]bool{}
	for _, x := range l.all {
		if known[x] || !reflect.ValueOf(x).Elem().IsZero() {
			return false
		}
		known[x] = true
	}
	return true
}

// Bytes are buffers for what is as short as most texts are. The zero Bytes has none.
type Bytes struct{ shelf[[]byte] }

// Short is the size of the largest buffer that is kept.
const Short = 512

// KeepIn is as that of a List. Each buffer counts as if it were of the largest.
func (b *Bytes) KeepIn(s *Stock) { b.join(s, Short) }

// Take is an empty buffer with room for n bytes. A new one has no more, since there may be many more of them than are kept.
func (b *Bytes) Take(n int) []byte {
	if n <= Short {
		if x, ok := b.take(); ok && cap(x) >= n {
			return x
		}
	}
	return make([]byte, 0, n)
}

// Give keeps a buffer whose text nobody has in hand any more, unless enough are kept.
func (b *Bytes) Give(x []byte) {
	if cap(x) <= Short {
		b.give(x[:0])
	}
}

// A shelf is where things are kept.
type shelf[T any] struct {
	all   []T
	least int    // that were there since it was trimmed last
	stock *Stock // nil: it is in none
	each  int    // bytes of one
}

func (s *shelf[T]) join(stock *Stock, each int) {
	s.stock, s.each = stock, each
	stock.shelves = append(stock.shelves, s)
}

func (s *shelf[T]) take() (x T, ok bool) {
	last := len(s.all) - 1
	if last < 0 {
		return x, false
	}
	var none T
	x, s.all[last] = s.all[last], none
	s.all = s.all[:last]
	s.least = min(s.least, last)
	if s.stock != nil {
		s.stock.bytes -= s.each
	}
	return x, true
}

func (s *shelf[T]) give(x T) {
	switch {
	case s.stock == nil:
		if len(s.all) == few {
			return
		}
	case len(s.all) == Most:
		return
	default:
		s.stock.bytes += s.each
	}
	s.all = append(s.all, x)
}

// trim gives up what was there all the time since it was called last.
func (s *shelf[T]) trim() {
	left := len(s.all) - s.least
	clear(s.all[left:])
	s.all = s.all[:left]
	s.stock.bytes -= s.least * s.each
	s.least = left
}

// A Stock is several lists, of which it is known how much they keep. The zero Stock has none.
type Stock struct {
	shelves []interface{ trim() }
	bytes   int
}

// Bytes is how much is kept.
func (s *Stock) Bytes() int { return s.bytes }

// Trim gives up what nobody has needed since it was called last.
func (s *Stock) Trim() {
	for _, l := range s.shelves {
		l.trim()
	}
}
