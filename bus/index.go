package bus

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

// ref is a route as the indexes know it: they need neither its subscribers nor their type.
type ref struct {
	born uint64 // 0: no route
	slot int32
}

// cacheFrom is the number of routes from which on a search costs more than the cache.
const cacheFrom = 8

// index finds the routes with wildcards that match a topic.
type index struct {
	n        int                    // how many routes
	gen      uint64                 // rises when a route comes or goes
	patterns patternIndex           // the globs
	spelled  [len(filterForms)]tree // the patterns that are filters, by their form
	filters  tree
	born     func(slot int32) uint64 // of the route that has a slot
	cache    *cache                  // nil until it pays

	walk  walk    // scratch
	slots []int32 // scratch
}

// isWild reports whether a text of this kind is in the index.
func isWild(k Kind, text string) bool {
	return k == Pattern || k == Filter && (strings.HasSuffix(text, "#") || strings.Contains(text, "+"))
}

// add takes a route in. The glob is that of a pattern that is one.
func (ix *index) add(k Kind, text string, glob *Glob, r ref) {
	if !isWild(k, text) {
		return
	}
	ix.n++
	ix.gen++
	if glob != nil {
		ix.patterns.add(text, glob, r)
		return
	}
	tree, filter := ix.tree(k, text)
	tree.add(filter, placeOf(r))
}

// tree is where a filter is, and what of its text that is.
func (ix *index) tree(k Kind, text string) (*tree, string) {
	if k == Pattern {
		filter, form, _ := cutFilter(text)
		return &ix.spelled[form], filter
	}
	return &ix.filters, text
}

// treeOf is the tree that a walk goes through in a stage.
func (ix *index) treeOf(s stage) *tree {
	if s == stageFilters {
		return &ix.filters
	}
	return &ix.spelled[s]
}

func (ix *index) remove(k Kind, text string, glob *Glob, r ref) {
	if !isWild(k, text) {
		return
	}
	ix.n--
	ix.gen++
	if glob != nil {
		ix.patterns.remove(text, r)
	} else {
		tree, filter := ix.tree(k, text)
		tree.remove(filter)
	}
	if ix.n == 0 {
		*ix = index{} // with its memory
	}
}

// match returns the slots of the routes that match a name: first so many patterns, then filters, each in their order of
// creation. Filters match topics only. The slice is good until the next call. If to find them takes more steps than most, rest is
// where it has come to, and the rest is 0.
func (ix *index) match(name []byte, topic bool, most int) (slots []int32, patterns int, rest *walk) {
	if ix.n == 0 {
		return nil, 0, nil
	}
	if ix.cache == nil && ix.n >= cacheFrom {
		ix.cache = newCache()
	}
	if ix.cache == nil || len(name) > MaxTopic { // what is kept is bounded
		return ix.find(name, topic, most)
	}
	hash, a := ix.cache.get(name, ix.gen)
	if a != nil {
		return a.slots, a.patterns, nil
	}
	if slots, patterns, rest = ix.find(name, topic, most); rest == nil {
		ix.cache.put(hash, name, ix.gen, slots, patterns)
	}
	return slots, patterns, rest
}

// at is the route at a place.
func (ix *index) at(p place) ref { return ref{born: ix.born(int32(p - 1)), slot: int32(p - 1)} }

// find is match without the cache.
func (ix *index) find(name []byte, topic bool, most int) (slots []int32, patterns int, rest *walk) {
	w := &ix.walk
	w.begin(name, topic)
	if most = w.step(ix, most); most == 0 {
		rest = new(walk)
		*rest, *w = *w, walk{}
		rest.name = bytes.Clone(name)
		return nil, 0, rest
	}
	refs, patterns := w.refs, w.patterns
	w.name = nil // which may be a small part of a large command
	byAge := func(a, b ref) int { return cmp.Compare(a.born, b.born) }
	slices.SortFunc(refs[:patterns], byAge)
	slices.SortFunc(refs[patterns:], byAge)

	slots = ix.slots[:0]
	for _, r := range refs {
		slots = append(slots, r.slot)
	}
	ix.slots = slots
	return slots, patterns, nil
}
