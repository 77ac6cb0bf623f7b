package bus

import (
	"bytes"
	"cmp"
	"slices"
)

// A walk goes through the indexes and finds what matches a topic, a few steps at a time. Routes may come and go meanwhile: it
// finds those that were there all the time, and of the others some. In the tree it holds on to nodes, of which those on the way
// to a filter stay as long as the filter does, and one that is taken out of the tree is empty.
type walk struct {
	topic []byte
	refs  []ref // what was found, and not taken yet

	head     int    // of patterns: the length of the head that is looked up next
	tried    uint64 // and the age up to which those with that head were tried
	patterns int    // how many of refs are patterns, once all of these were tried

	ways []way // into the tree, that are still to be gone; nil: it was not entered
}

// A way is from a node, with what is left of the topic from an offset on. An offset behind the topic's end says that no level is
// left; at its end there is one more, which is empty.
type way struct {
	from *node
	at   int
}

// begin has a walk look for a valid topic.
func (w *walk) begin(topic []byte) {
	*w = walk{topic: topic, refs: w.refs[:0], ways: w.ways[:0]}
	if bytes.HasPrefix(topic, []byte(ReservedPrefix)) {
		w.head = len(ReservedPrefix) // the prefix must be part of the head
	}
}

// step does at most so many steps, and returns how many it has not needed: 0 if there are more to do.
func (w *walk) step(ix *index, most int) (left int) {
	if w.triesPatterns() {
		if most = w.tryPatterns(&ix.patterns, most); w.triesPatterns() {
			return 0
		}
		w.patterns = len(w.refs)
		w.enter(&ix.filters)
	}
	return w.goOn(most)
}

// triesPatterns reports whether what is found are patterns still.
func (w *walk) triesPatterns() bool { return w.head <= len(w.topic) }

// tryPatterns tries patterns, one in a step.
func (w *walk) tryPatterns(x *patternIndex, most int) (left int) {
	for ; w.head <= len(w.topic); w.head++ {
		if x.count[w.head] == 0 {
			continue
		}
		tails := find(&x.tails, w.topic[:w.head])
		i := 0
		if w.tried > 0 {
			i, _ = slices.BinarySearchFunc(tails, w.tried+1, func(t tail, born uint64) int { return cmp.Compare(t.born, born) })
		}
		for _, t := range tails[i:] {
			if most == 0 {
				return 0
			}
			most--
			if w.tried = t.born; t.glob.Match(w.topic) {
				w.refs = append(w.refs, t.ref)
			}
		}
		w.tried = 0
	}
	return most
}

// enter begins at the root of the tree.
func (w *walk) enter(root *node) {
	if !isReserved(w.topic) {
		w.ways = append(w.ways, way{root, 0})
		return
	}
	// Only filters that spell the first level out.
	level, at := w.level(0)
	if child := find(&root.next, level); child != nil {
		w.ways = append(w.ways, way{child, at})
	}
}

// level is the topic's level that begins at an offset, and where the next one begins: see way.
func (w *walk) level(at int) (level []byte, next int) {
	level = w.topic[at:]
	if i := bytes.IndexByte(level, '/'); i >= 0 {
		level = level[:i]
	}
	return level, at + len(level) + 1
}

// goOn goes on through the tree, one node in a step. It visits no node twice, so it takes at most as many as there are.
func (w *walk) goOn(most int) (left int) {
	for len(w.ways) > 0 {
		if most == 0 {
			return 0
		}
		most--
		last := &w.ways[len(w.ways)-1]
		n, at := last.from, last.at
		*last = way{} // a node that has gone since would be kept from the garbage collector
		w.ways = w.ways[:len(w.ways)-1]
		if n.rest.born != 0 {
			w.refs = append(w.refs, n.rest)
		}
		if at > len(w.topic) {
			if n.here.born != 0 {
				w.refs = append(w.refs, n.here)
			}
			continue
		}
		level, next := w.level(at)
		if n.plus != nil {
			w.ways = append(w.ways, way{n.plus, next})
		}
		if child := find(&n.next, level); child != nil {
			w.ways = append(w.ways, way{child, next})
		}
	}
	return most
}
