package bus

import (
	"bytes"
	"cmp"
	"slices"
)

// A walk goes through the indexes and finds what matches a name, a few steps at a time. Routes may come and go meanwhile: it
// finds those that were there all the time, and of the others some. In a tree it knows nodes by their places, and those on the way to a
// filter stay as long as the filter does. If there is another node now, it and all filters behind it are younger than the walk.
type walk struct {
	name  []byte
	topic bool // the name is a topic, so filters may match it
	stage stage
	refs  []ref // what was found, and not taken yet

	head  int    // of globs: the length of the head that is looked up next
	tried uint64 // and the age up to which those with that head were tried
	scan  *Scan  // of the next, if the name is long and it was compared in part

	patterns int   // how many of refs are patterns, once all of these were tried
	ways     []way // into the tree of the stage, that are still to be gone
}

// A stage is where a walk is: it tries globs, then the trees of patterns that are filters, by their form, and then that of filters.
type stage int8

const (
	stageGlobs   stage = -1
	stageFilters       = stage(len(filterForms))
)

// A way is from a node, with what is left of the topic from an offset on. An offset behind the topic's end says that no level is
// left; at its end there is one more, which is empty.
type way struct {
	from int32 // the node's place
	at   int32
}

// begin has a walk look for a name.
func (w *walk) begin(name []byte, topic bool) {
	*w = walk{name: name, topic: topic, stage: stageGlobs, refs: w.refs[:0], ways: w.ways[:0], head: firstHead(name)}
}

// step does at most so many steps, and returns how many it has not needed: 0 if there are more to do.
func (w *walk) step(ix *index, most int) (left int) {
	if w.stage == stageGlobs {
		if most = w.tryGlobs(&ix.patterns, most); w.head <= w.lastHead() {
			return 0
		}
	}
	for {
		if most = w.goOn(ix, most); len(w.ways) > 0 || w.stage == stageFilters {
			return most
		}
		if w.stage++; w.stage == stageFilters {
			w.patterns = len(w.refs)
		}
		if t := ix.treeOf(w.stage); w.topic && !t.empty() {
			w.enter(t)
		}
	}
}

// triesPatterns reports whether what is found are patterns still.
func (w *walk) triesPatterns() bool { return w.stage < stageFilters }

// lastHead is the length of the longest head that is looked up.
func (w *walk) lastHead() int { return min(len(w.name), MaxTopic) }

// tryGlobs tries globs, one in a step, unless the name is long.
func (w *walk) tryGlobs(x *patternIndex, most int) (left int) {
	if x.tails.len() == 0 {
		w.head = w.lastHead() + 1
	}
	for ; w.head <= w.lastHead(); w.head++ {
		if x.count[w.head] == 0 {
			continue
		}
		tails := find(&x.tails, w.name[:w.head])
		i := 0
		if w.tried > 0 {
			i, _ = slices.BinarySearchFunc(tails, w.tried+1, func(t tail, born uint64) int { return cmp.Compare(t.born, born) })
		}
		for _, t := range tails[i:] {
			matches, done := false, false
			for !done {
				if most == 0 {
					return 0
				}
				most--
				matches, done = w.try(t.glob)
			}
			if w.tried = t.born; matches {
				w.refs = append(w.refs, t.ref)
			}
		}
		w.tried = 0
	}
	return most
}

// try compares the name with a glob: a part of it, if it is long.
func (w *walk) try(g *Glob) (matches, done bool) {
	if len(w.name) <= MaxTopic {
		return g.Match(w.name), true
	}
	if w.scan == nil || w.scan.glob != g {
		w.scan = g.Scan()
	}
	if matches, done = scanGlob(w.scan, w.name); done {
		w.scan = nil
	}
	return matches, done
}

// enter begins at the root of a tree.
func (w *walk) enter(t *tree) {
	if !isReserved(w.name) {
		w.goLater(root, 0)
		return
	}
	// Only filters that spell the first level out.
	level, at := w.level(0)
	if child, n := t.find(root, t.nodes.At(root), level); n != nil {
		w.goLater(child, at)
	}
}

// goLater has a way still to be gone.
func (w *walk) goLater(from int32, at int) {
	w.ways = append(w.ways, way{from, int32(at)})
}

// level is the topic's level that begins at an offset, and where the next one begins: see way.
func (w *walk) level(at int) (level []byte, next int) {
	level = w.name[at:]
	if i := bytes.IndexByte(level, '/'); i >= 0 {
		level = level[:i]
	}
	return level, at + len(level) + 1
}

// goOn goes on through the tree of the stage, one node in a step. It visits no node twice, so it takes at most as many as there are.
func (w *walk) goOn(ix *index, most int) (left int) {
	for len(w.ways) > 0 {
		t := ix.treeOf(w.stage)
		last := w.ways[len(w.ways)-1]
		w.ways = w.ways[:len(w.ways)-1]
		from, at := last.from, int(last.at)
		for n := t.nodes.Find(from); n != nil; { // it may have gone
			if most == 0 {
				w.goLater(from, at)
				return 0
			}
			most--
			if n.rest != 0 {
				w.refs = append(w.refs, ix.at(n.rest))
			}
			if at > len(w.name) {
				if n.here != 0 {
					w.refs = append(w.refs, ix.at(n.here))
				}
				break
			}
			level, next := w.level(at)
			if n.plus != 0 {
				w.goLater(n.plus, next)
			}
			from, n = t.find(from, n, level)
			at = next
		}
	}
	return most
}
