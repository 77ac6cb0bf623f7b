package bus

import "strings"

// node is a place in the tree of filters with wildcards; a filter's levels are the way to its own. The root is before the
// first level.
//
// Invariant: below the root there is no node without a filter and without children.
type node struct {
	next levels[node] // by the next level, if it is no wildcard
	plus *node        // if it is "+"
	rest place        // the filter that goes on with "#"
	here place        // the filter that ends here
}

// A place is where the route of a filter is: its slot, and 1; 0: there is none. It is half of what the node has of a [ref], so that this is
// made for those that are found.
type place int32

// placeOf is the place of a route.
func placeOf(r ref) place { return place(r.slot + 1) }

// levels find what is behind a level. Behind most there is one at most, and that needs no map.
type levels[T any] struct {
	level string
	only  *T                        // behind level; nil: there is none, or there are more
	more  *shrinkingMap[string, *T] // nil: there are none
}

func (l *levels[T]) len() int {
	switch {
	case l.more != nil:
		return l.more.len()
	case l.only != nil:
		return 1
	}
	return 0
}

func (l *levels[T]) get(level string) *T {
	switch {
	case l.more != nil:
		return l.more.get(level)
	case l.only != nil && l.level == level:
		return l.only
	}
	return nil
}

// find is get by a level of bytes, of which no string is made.
func (l *levels[T]) find(level []byte) *T {
	switch {
	case l.more != nil:
		return find(l.more, level)
	case l.only != nil && l.level == string(level):
		return l.only
	}
	return nil
}

// set adds what is behind a level, behind which there is nothing.
func (l *levels[T]) set(level string, x *T) {
	if l.more == nil && l.only == nil {
		l.level, l.only = level, x
		return
	}
	if l.more == nil {
		l.more = new(shrinkingMap[string, *T])
		l.more.set(l.level, l.only)
		l.level, l.only = "", nil
	}
	l.more.set(level, x)
}

func (l *levels[T]) delete(level string) {
	if l.more != nil {
		if l.more.delete(level); l.more.len() > 0 {
			return
		}
	}
	*l = levels[T]{}
}

// all calls f with every level and what is behind it until it returns false.
func (l *levels[T]) all(f func(string, *T) bool) {
	switch {
	case l.more != nil:
		l.more.all(f)
	case l.only != nil:
		f(l.level, l.only)
	}
}

func (n *node) add(filter string, r place) {
	level, rest, more := strings.Cut(filter, "/")
	if level == "#" {
		n.rest = r
		return
	}
	child := n.child(level)
	if child == nil {
		child = &node{}
		if level == "+" {
			n.plus = child
		} else {
			n.next.set(level, child)
		}
	}
	if more {
		child.add(rest, r)
	} else {
		child.here = r
	}
}

// remove undoes add.
func (n *node) remove(filter string) {
	level, rest, more := strings.Cut(filter, "/")
	if level == "#" {
		n.rest = 0
		return
	}
	child := n.child(level)
	if more {
		child.remove(rest)
	} else {
		child.here = 0
	}
	if !child.empty() {
		return
	}
	if level == "+" {
		n.plus = nil
	} else {
		n.next.delete(level)
	}
}

func (n *node) child(level string) *node {
	if level == "+" {
		return n.plus
	}
	return n.next.get(level)
}

func (n *node) empty() bool {
	return n.next.len() == 0 && n.plus == nil && n.rest == 0 && n.here == 0
}
