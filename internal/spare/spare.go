// Package spare keeps objects that have ended for those that come next, so that what comes and goes all the time is no garbage.
//
// An object is given here by who knows that nothing leads to it any more. What somebody may still have in hand, as a function that is
// called later, is left to the collector.
package spare

import "reflect"

// Most is how many objects are kept: so many messages may be on their way to one receiver.
const Most = 256

// A List has the objects of one kind. The zero List is empty.
//
// Invariant: each is as if it were new.
type List[T any] struct{ all []*T }

// Take is an object that is as if it were new.
func (l *List[T]) Take() *T {
	last := len(l.all) - 1
	if last < 0 {
		return new(T)
	}
	x := l.all[last]
	l.all = l.all[:last]
	return x
}

// Give keeps an object that nothing leads to any more, unless enough are kept. What it knew is forgotten.
func (l *List[T]) Give(x *T) {
	var none T
	*x = none
	if len(l.all) < Most {
		l.all = append(l.all, x)
	}
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
