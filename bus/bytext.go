package bus

import (
	"hash/maphash"
	"math/bits"

	"github.com/ipcd/ipcd/internal/pieces"
)

// byText gives out the slots of routes, and finds them by kinds and texts. There are some buckets for each route: with each that comes some
// are split, and with each that goes they become one again (linear hashing), so nothing is ever moved as a whole. The texts are those of the routes: for
// the garbage collector there is nothing here but the routes, where a map of 100,000 takes it some milliseconds more.
type byText[S comparable] struct {
	seed    maphash.Seed
	buckets pieces.Slice[int32] // the slot of the first that is in there, and 1; 0: none
	slots   pieces.Slice[slot[S]]
	free    int32  // the slot that is given out next, and 1; 0: there is none that is free
	mask    uint32 // the least of the form 2^n-1 that is not below the last bucket
	count   [numKinds]int
}

// A slot has a route, or is free.
type slot[S comparable] struct {
	route *Route[S] // nil: it is free
	hash  uint32    // of its kind and text
	next  int32     // what is behind it in its bucket, or among those that are free: the slot, and 1; 0: none
}

// hash makes the hash of a kind and text of that of the text, which nobody outside can foresee.
func hash(k Kind, text uint64) uint32 { return uint32(text) + uint32(text>>32) + uint32(k) }

// perRoute is how many buckets there are for each route. With more of them fewer are found in one.
const perRoute = 2

// bucket is where a hash belongs.
func (x *byText[S]) bucket(hash uint32) int {
	if i := int(hash & x.mask); i < x.buckets.Len() {
		return i
	}
	return int(hash & (x.mask >> 1))
}

// add gives out a slot: the one that was freed last, or a new one behind all others.
func (x *byText[S]) add(r *Route[S]) (at int) {
	if x.buckets.Len() == 0 {
		x.seed = maphash.MakeSeed()
	}
	x.count[r.Kind]++
	for range perRoute {
		x.split()
	}
	if x.free == 0 {
		x.slots.Push(slot[S]{})
		x.free = int32(x.slots.Len())
	}
	place := x.free
	l := x.slots.At(int(place - 1))
	x.free, l.route, l.hash = l.next, r, hash(r.Kind, maphash.String(x.seed, r.Text))
	x.put(x.bucket(l.hash), place)
	return int(place - 1)
}

// split makes one more bucket, the last, and takes what belongs in there out of the one that had it.
func (x *byText[S]) split() {
	last := x.buckets.Len()
	x.buckets.Push(0)
	x.mask = 1<<bits.Len(uint(last)) - 1
	if last == 0 {
		return
	}
	for at := x.buckets.At(origin(last)); *at > 0; {
		l := x.slots.At(int(*at - 1))
		if x.bucket(l.hash) != last {
			at = &l.next
			continue
		}
		moves := *at
		*at = l.next
		x.put(last, moves)
	}
}

// origin is the bucket that was split when one was made.
func origin(bucket int) int { return bucket &^ (1 << (bits.Len(uint(bucket)) - 1)) }

// join undoes split.
func (x *byText[S]) join() {
	last := x.buckets.Len() - 1
	for moves := x.buckets.Pop(); moves > 0; {
		next := x.slots.At(int(moves - 1)).next
		x.put(origin(last), moves)
		moves = next
	}
	x.mask = 1<<bits.Len(uint(last-1)) - 1
}

// put puts a slot, and 1, into a bucket.
func (x *byText[S]) put(bucket int, place int32) {
	first := x.buckets.At(bucket)
	x.slots.At(int(place-1)).next, *first = *first, place
}

// remove frees a slot.
func (x *byText[S]) remove(r *Route[S]) {
	if x.buckets.Len() == perRoute {
		*x = byText[S]{} // with its memory
		return
	}
	x.count[r.Kind]--
	l := x.slots.At(r.Slot)
	at := x.buckets.At(x.bucket(l.hash))
	for *at != int32(r.Slot+1) {
		at = &x.slots.At(int(*at - 1)).next
	}
	*at, *l = l.next, slot[S]{next: x.free}
	x.free = int32(r.Slot + 1)
	for range perRoute {
		x.join()
	}
}

// find is the route of a kind and text, or nil.
func (b *Bus[S]) find(k Kind, text string) *Route[S] {
	if b.texts.count[k] == 0 {
		return nil
	}
	return lookup(b, k, text, hash(k, maphash.String(b.texts.seed, text)))
}

// findName is find by bytes, of which no string is made.
func (b *Bus[S]) findName(k Kind, name []byte) *Route[S] {
	if b.texts.count[k] == 0 {
		return nil
	}
	return lookup(b, k, name, hash(k, maphash.Bytes(b.texts.seed, name)))
}

func lookup[S comparable, T string | []byte](b *Bus[S], k Kind, text T, hash uint32) *Route[S] {
	for at := *b.texts.buckets.At(b.texts.bucket(hash)); at > 0; {
		l := b.texts.slots.At(int(at - 1))
		if l.hash == hash {
			if r := l.route; r.Kind == k && r.Text == string(text) {
				return r
			}
		}
		at = l.next
	}
	return nil
}
