package lockmgr

// A link is an element's place in a list. An element has one link for each kind of list that it can be in.
type link[T any] struct{ prev, next *T }

// A list runs through links in its elements, so that joining allocates nothing and leaving from any place costs the
// same. The functions that are passed as via say which link of an element is meant: always the same one for one list.
type list[T any] struct {
	first, last *T
	len         int
}

func (l *list[T]) push(x *T, via func(*T) *link[T]) {
	via(x).prev = l.last
	if l.last == nil {
		l.first = x
	} else {
		via(l.last).next = x
	}
	l.last = x
	l.len++
}

func (l *list[T]) remove(x *T, via func(*T) *link[T]) {
	at := via(x)
	if at.prev == nil {
		l.first = at.next
	} else {
		via(at.prev).next = at.next
	}
	if at.next == nil {
		l.last = at.prev
	} else {
		via(at.next).prev = at.prev
	}
	*at = link[T]{}
	l.len--
}

// all gives the elements as they are now: the caller may then take them out of the list.
func (l list[T]) all(via func(*T) *link[T]) []*T {
	if l.len == 0 {
		return nil
	}
	xs := make([]*T, 0, l.len)
	for x := l.first; x != nil; x = via(x).next {
		xs = append(xs, x)
	}
	return xs
}

// An index has a list for each key. A key whose list is empty is not in it.
type index[K comparable, T any] map[K]list[T]

func (x index[K, T]) push(k K, e *T, via func(*T) *link[T]) {
	l := x[k]
	l.push(e, via)
	x[k] = l
}

func (x index[K, T]) remove(k K, e *T, via func(*T) *link[T]) {
	l := x[k]
	l.remove(e, via)
	if l.len == 0 {
		delete(x, k)
		return
	}
	x[k] = l
}
