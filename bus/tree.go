package bus

import (
	"bytes"
	"strings"
)

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

// match appends the filters that match a topic; n is the root.
func (n *node) match(refs []ref, topic []byte) []ref {
	if !isReserved(topic) {
		return n.below(refs, topic, false)
	}
	// Only filters that spell the first level out.
	level, rest, more := bytes.Cut(topic, []byte{'/'})
	if child := find(&n.next, level); child != nil {
		return child.below(refs, rest, !more)
	}
	return refs
}

// below appends the filters below n that match what is left of a topic; end says that no level is left (an empty rest is
// one more level, which is empty). It visits no node twice, so a match takes at most as long as the tree is large.
func (n *node) below(refs []ref, topic []byte, end bool) []ref {
	for {
		if n.rest.born != 0 {
			refs = append(refs, n.rest)
		}
		if end {
			if n.here.born != 0 {
				refs = append(refs, n.here)
			}
			return refs
		}
		level := topic
		if i := bytes.IndexByte(topic, '/'); i >= 0 {
			level, topic = topic[:i], topic[i+1:]
		} else {
			topic, end = nil, true
		}
		child := find(&n.next, level)
		switch {
		case child == nil && n.plus == nil:
			return refs
		case child == nil:
			n = n.plus
		case n.plus == nil:
			n = child
		default:
			refs = n.plus.below(refs, topic, end)
			n = child
		}
	}
}
