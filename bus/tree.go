package bus

import "strings"

// node is a place in the tree of filters with wildcards; a filter's levels are the way to its own. The root is before the
// first level.
//
// Invariant: below the root there is no node without a filter and without children.
type node struct {
	next shrinkingMap[string, *node] // by the next level, if it is no wildcard
	plus *node                       // if it is "+"
	rest ref                         // the filter that goes on with "#"
	here ref                         // the filter that ends here
}

func (n *node) add(filter string, r ref) {
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
		n.rest = ref{}
		return
	}
	child := n.child(level)
	if more {
		child.remove(rest)
	} else {
		child.here = ref{}
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
	return n.next.len() == 0 && n.plus == nil && n.rest.born == 0 && n.here.born == 0
}
