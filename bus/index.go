package bus

import (
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
	n        int    // how many routes
	gen      uint64 // rises when a route comes or goes
	patterns patternIndex
	filters  node
	cache    *cache // nil until it pays

	refs  []ref   // scratch
	slots []int32 // scratch
}

// isWild reports whether a text of this kind is in the index.
func isWild(k Kind, text string) bool {
	return k == Pattern || k == Filter && (strings.HasSuffix(text, "#") || strings.Contains(text, "+"))
}

// add takes a route in. The glob is that of a pattern.
func (ix *index) add(k Kind, text string, glob *Glob, r ref) {
	if !isWild(k, text) {
		return
	}
	ix.n++
	ix.gen++
	if k == Pattern {
		ix.patterns.add(text, glob, r)
	} else {
		ix.filters.add(text, r)
	}
}

func (ix *index) remove(k Kind, text string, r ref) {
	if !isWild(k, text) {
		return
	}
	ix.n--
	ix.gen++
	if k == Pattern {
		ix.patterns.remove(text, r)
	} else {
		ix.filters.remove(text)
	}
	if ix.n == 0 {
		*ix = index{} // with its memory
	}
}

// match returns the slots of the routes that match a valid topic: first so many patterns, then filters, each in their
// order of creation. The slice is good until the next call.
func (ix *index) match(topic []byte) (slots []int32, patterns int) {
	if ix.n == 0 {
		return nil, 0
	}
	if ix.cache == nil {
		if ix.n < cacheFrom {
			return ix.find(topic)
		}
		ix.cache = newCache()
	}
	hash, a := ix.cache.get(topic, ix.gen)
	if a != nil {
		return a.slots, a.patterns
	}
	slots, patterns = ix.find(topic)
	ix.cache.put(hash, topic, ix.gen, slots, patterns)
	return slots, patterns
}

// find is match without the cache.
func (ix *index) find(topic []byte) (slots []int32, patterns int) {
	refs := ix.patterns.match(ix.refs[:0], topic)
	patterns = len(refs)
	refs = ix.filters.match(refs, topic)
	ix.refs = refs

	byAge := func(a, b ref) int { return cmp.Compare(a.born, b.born) }
	slices.SortFunc(refs[:patterns], byAge)
	slices.SortFunc(refs[patterns:], byAge)

	slots = ix.slots[:0]
	for _, r := range refs {
		slots = append(slots, r.slot)
	}
	ix.slots = slots
	return slots, patterns
}
