package bus

// A chain is a list that runs through its elements, so that joining allocates nothing and leaving from any place costs the same.
// The functions that are passed as via say which place of an element is meant: always the same one for one chain.
type chain[T any] struct {
	first, last *T
	len         int
}

// A place is where an element is in a chain. It has one for each kind of chain that it can be in.
type place[T any] struct{ prev, next *T }

func (c *chain[T]) push(x *T, via func(*T) *place[T]) {
	via(x).prev = c.last
	if c.last == nil {
		c.first = x
	} else {
		via(c.last).next = x
	}
	c.last = x
	c.len++
}

// pushFirst is push at the other end.
func (c *chain[T]) pushFirst(x *T, via func(*T) *place[T]) {
	via(x).next = c.first
	if c.first == nil {
		c.last = x
	} else {
		via(c.first).prev = x
	}
	c.first = x
	c.len++
}

func (c *chain[T]) remove(x *T, via func(*T) *place[T]) {
	at := via(x)
	if at.prev == nil {
		c.first = at.next
	} else {
		via(at.prev).next = at.next
	}
	if at.next == nil {
		c.last = at.prev
	} else {
		via(at.next).prev = at.prev
	}
	*at = place[T]{}
	c.len--
}

// all calls f with every element until it returns false. The element at hand may be taken out meanwhile.
func (c *chain[T]) all(via func(*T) *place[T], f func(*T) bool) {
	for x := c.first; x != nil; {
		next := via(x).next
		if !f(x) {
			return
		}
		x = next
	}
}

// check counts the elements, and reports whether they are as many as they are said to be, and linked both ways.
func (c *chain[T]) check(via func(*T) *place[T]) bool {
	n := 0
	var prev *T
	for x := c.first; x != nil; prev, x = x, via(x).next {
		if via(x).prev != prev {
			return false
		}
		n++
	}
	return prev == c.last && n == c.len
}
