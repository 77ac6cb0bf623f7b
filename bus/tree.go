package bus

import (
	"bytes"
	"hash/maphash"

	"github.com/ipcd/ipcd/internal/pieces"
)

// A tree has filters with wildcards; a filter's levels are the way to its node. There is nothing in it but numbers and bytes, in places that are
// used again: pointers to 100,000 nodes, and to what they are called, would take the garbage collector some milliseconds. The zero tree
// is empty.
type tree struct {
	nodes    pieces.Pool[node] // the root has the first place; it is there if others are
	seed     maphash.Seed
	siblings buckets // the nodes that have, or had, many siblings, by their parents and edges
}

// root is the place of the node before the first level. It is behind no other, so in all other places 0 says that there is none.
const root = 0

// A node is behind a level, or behind a part of a long one.
//
// Invariant: below the root there is no node without a filter and without children.
type node struct {
	link           // among the siblings: in a bucket, if they are many
	parent   int32 // its place
	children int32 // how many there are, without the one behind "+"
	few      int32 // the place of the first of these, which the others are behind; 0: there is none, or they are many
	plus     int32 // the place of the one behind "+"
	rest     place // the filter that goes on with "#"
	here     place // the filter that ends here
	edge     edge  // from the parent
}

// A place is where the route of a filter is: its slot, and 1; 0: there is none. It is half of what the node has of a [ref], so that this is
// made for those that are found.
type place int32

// placeOf is the place of a route.
func placeOf(r ref) place { return place(r.slot + 1) }

// An edge is a level that is no wildcard. One that is too long is several edges, of which all but the last are full and go on.
type edge struct {
	size uint8 // of the text; goesOn: all of it
	text [edgeRoom]byte
}

// fewSiblings is up to how many nodes are looked through.
const fewSiblings = 8

const (
	edgeRoom = 15 // most levels are no longer
	goesOn   = edgeRoom + 1
)

func (e *edge) bytes() []byte { return e.text[:min(e.size, edgeRoom)] }

func (e *edge) is(size uint8, text []byte) bool {
	return e.size == size && string(e.bytes()) == string(text)
}

func (t *tree) empty() bool { return t.nodes.Len() == 0 }

func (t *tree) link(at int32) *link { return &t.nodes.At(at).link }

// find is what is behind a level behind a node, and its place; nil: nothing.
func (t *tree) find(parent int32, p *node, level []byte) (at int32, n *node) {
	for len(level) > edgeRoom {
		if parent, p = t.follow(parent, p, goesOn, level[:edgeRoom]); p == nil {
			return 0, nil
		}
		level = level[edgeRoom:]
	}
	return t.follow(parent, p, uint8(len(level)), level)
}

// follow is what is behind an edge behind a node, and its place; nil: nothing.
func (t *tree) follow(parent int32, p *node, size uint8, text []byte) (at int32, n *node) {
	if p.children == 0 {
		return 0, nil
	}
	if p.few != 0 {
		for at = p.few; at != 0; at = n.next {
			if n = t.nodes.At(at); n.edge.is(size, text) {
				return at, n
			}
		}
		return 0, nil
	}
	hash := t.hash(parent, text)
	for at = t.siblings.first(hash); at != 0; at = n.next {
		n = t.nodes.At(at)
		if n.hash == hash && n.parent == parent && n.edge.is(size, text) {
			return at, n
		}
	}
	return 0, nil
}

// hash is that of an edge behind a node. Nobody outside can foresee that of a text, and the same one behind two nodes has two.
func (t *tree) hash(parent int32, text []byte) uint32 {
	const odd = 0x9e3779b1
	hash := maphash.Bytes(t.seed, text)
	return uint32(hash) + uint32(hash>>32) + odd*uint32(parent)
}

// add adds a filter that is not in there.
func (t *tree) add(filter string, p place) {
	if t.empty() {
		t.seed = maphash.MakeSeed()
		t.nodes.Take() // the root
	}
	var room [MaxTopic]byte
	levels := append(room[:0], filter...)
	at := int32(root)
	for more := true; more; {
		var level []byte
		if level, levels, more = cutLevel(levels); string(level) == "#" {
			t.nodes.At(at).rest = p
			return
		}
		at = t.grow(at, level)
	}
	t.nodes.At(at).here = p
}

func cutLevel(levels []byte) (level, behind []byte, more bool) {
	if i := bytes.IndexByte(levels, '/'); i >= 0 {
		return levels[:i], levels[i+1:], true
	}
	return levels, nil, false
}

// grow is the place of what is behind a level of a filter behind a node, which is made if it is not there.
func (t *tree) grow(at int32, level []byte) int32 {
	if string(level) == "+" {
		p := t.nodes.At(at)
		if p.plus == 0 {
			p.plus = t.make(at)
		}
		return p.plus
	}
	for len(level) > edgeRoom {
		at = t.growEdge(at, goesOn, level[:edgeRoom])
		level = level[edgeRoom:]
	}
	return t.growEdge(at, uint8(len(level)), level)
}

// growEdge is grow for an edge.
func (t *tree) growEdge(parent int32, size uint8, text []byte) int32 {
	if at, n := t.follow(parent, t.nodes.At(parent), size, text); n != nil {
		return at
	}
	at := t.make(parent)
	n, p := t.nodes.At(at), t.nodes.At(parent)
	n.edge.size = size
	copy(n.edge.text[:], text)
	p.children++
	switch {
	case p.children == 1 || p.few != 0 && p.children <= fewSiblings:
		n.next, p.few = p.few, at
	default:
		for few := p.few; few != 0; {
			next := t.nodes.At(few).next
			t.addSibling(few)
			few = next
		}
		p.few = 0
		t.addSibling(at)
	}
	return at
}

func (t *tree) make(parent int32) int32 {
	at := t.nodes.Take()
	t.nodes.At(at).parent = parent
	return at
}

// addSibling adds a node to those that have many siblings.
func (t *tree) addSibling(at int32) {
	n := t.nodes.At(at)
	n.hash = t.hash(n.parent, n.edge.bytes())
	t.siblings.add(at, &n.link, t.link)
}

// remove undoes add.
func (t *tree) remove(filter string) {
	var room [MaxTopic]byte
	levels := append(room[:0], filter...)
	at, n, rest := int32(root), t.nodes.At(root), false
	for more := true; more; {
		var level []byte
		if level, levels, more = cutLevel(levels); string(level) == "#" {
			rest = true
			break
		}
		if string(level) == "+" {
			at, n = n.plus, t.nodes.At(n.plus)
		} else {
			at, n = t.find(at, n, level)
		}
	}
	if rest {
		n.rest = 0
	} else {
		n.here = 0
	}
	for at != root && t.nodes.At(at).empty() {
		at = t.prune(at)
	}
	if t.nodes.At(root).empty() {
		*t = tree{} // with its memory
	}
}

// prune takes a node out that is empty, and returns its parent's place.
func (t *tree) prune(at int32) (parent int32) {
	parent = t.nodes.At(at).parent
	p := t.nodes.At(parent)
	switch {
	case p.plus == at:
		p.plus = 0
	case p.few == 0:
		p.children--
		t.siblings.remove(at, t.link(at), t.link)
	default:
		p.children--
		few := &p.few
		for *few != at {
			few = &t.link(*few).next
		}
		*few = t.link(at).next
	}
	t.nodes.Remove(at)
	return parent
}

func (n *node) empty() bool {
	return n.children == 0 && n.plus == 0 && n.rest == 0 && n.here == 0
}
