package bus

import "hash/maphash"

const (
	cacheSets  = 256 // a power of two
	cacheWays  = 4
	cacheSlots = 64 // longer answers are not kept: compared with delivering to them, finding them is nothing
)

// cache remembers what the index found for a name, which must be no longer than topics are. It has a fixed number of places, in
// sets of a few; the name's hash, which nobody outside can foresee, says which set is its own. It holds numbers only, so it keeps
// nothing alive, and all that is in it is void as soon as the index has another generation.
//
// A name gets a place when it is asked for a second time while its hash is still among the last seen, so somebody who
// publishes ever different names neither drives out those of the others nor pays for writing what nobody reads.
type cache struct {
	seed    maphash.Seed
	answers [cacheSets][cacheWays]answer
	seen    [cacheSets * cacheWays]uint32 // other bits of the hash, at the places that it would have without ways
	turn    uint                          // which way of its set the next answer takes
}

// answer is what was found for a name.
type answer struct {
	gen      uint64 // the index's then
	hash     uint64 // the name's
	name     []byte
	slots    []int32
	patterns int // how many of the slots are patterns
}

func newCache() *cache {
	return &cache{seed: maphash.MakeSeed()}
}

// get returns the name's hash, for put, and its answer, or nil.
func (c *cache) get(name []byte, gen uint64) (hash uint64, a *answer) {
	hash = maphash.Bytes(c.seed, name)
	set := &c.answers[hash%cacheSets]
	for i := range set {
		if a := &set[i]; a.hash == hash && a.gen == gen && string(a.name) == string(name) {
			return hash, a
		}
	}
	return hash, nil
}

// put offers what was found. All is copied.
func (c *cache) put(hash uint64, name []byte, gen uint64, slots []int32, patterns int) {
	if len(slots) > cacheSlots {
		return
	}
	if seen := &c.seen[hash%uint64(len(c.seen))]; *seen != uint32(hash>>32) {
		*seen = uint32(hash >> 32)
		return
	}
	c.turn++
	a := &c.answers[hash%cacheSets][c.turn%cacheWays]
	a.gen, a.hash, a.patterns = gen, hash, patterns
	a.name = append(a.name[:0], name...)
	a.slots = append(a.slots[:0], slots...)
}
