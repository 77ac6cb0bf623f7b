// Package list has lists that run through their elements, so that joining allocates nothing, and leaving from any place costs the same.
package list

// A Link is an element's place in a list. An element has one for each kind of list that it can be in.
type Link[T any] struct{ Prev, Next *T }

// A List is linked both ways. The functions that are passed as via say which link of an element is meant: always the same one for one
// list. The zero List is empty.
type List[T any] struct {
	First, Last *T
	Len         int
}

// Push has an element be the last.
func (l *List[T]) Push(x *T, via func(*T) *Link[T]) {
	via(x).Prev = l.Last
	if l.Last == nil {
		l.First = x
	} else {
		via(l.Last).Next = x
	}
	l.Last = x
	l.Len++
}

// PushFirst has an element be the first.
func (l *List[T]) PushFirst(x *T, via func(*T) *Link[T]) {
	via(x).Next = l.First
	if l.First == nil {
		l.Last = x
	} else {
		via(l.First).Prev = x
	}
	l.First = x
	l.Len++
}

// Remove takes an element out, wherever it is.
func (l *List[T]) Remove(x *T, via func(*T) *Link[T]) {
	at := via(x)
	if at.Prev == nil {
		l.First = at.Next
	} else {
		via(at.Prev).Next = at.Next
	}
	if at.Next == nil {
		l.Last = at.Prev
	} else {
		via(at.Next).Prev = at.Prev
	}
	*at = Link[T]{}
	l.Len--
}

// All calls f with every element until it returns false. The element at hand may be taken out meanwhile.
func (l *List[T]) All(via func(*T) *Link[T], f func(*T) bool) {
	for x := l.First; x != nil; {
		next := via(x).Next
		if !f(x) {
			return
		}
		x = next
	}
}

// Check reports whether the elements are as many as they are said to be, and linked both ways.
func (l *List[T]) Check(via func(*T) *Link[T]) bool {
	n := 0
	var prev *T
	for x := l.First; x != nil; prev, x = x, via(x).Next {
		if via(x).Prev != prev {
			return false
		}
		n++
	}
	return prev == l.Last && n == l.Len
}
