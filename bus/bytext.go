package bus

import (
	"hash/maphash"

	"github.com/ipcd/ipcd/internal/pieces"
)

// byText gives out the slots of routes, and finds them by kinds and texts. The texts are those of the routes: for the garbage collector
// there is nothing here but the routes, where a map of 100,000 takes it some milliseconds more.
type byText[S comparable] struct {
	seed   maphash.Seed
	places buckets // of slots, each counted from 1 on
	slots  pieces.Slice[slot[S]]
	free   int32 // the place of the slot that is given out next; 0: there is none that is free
	count  [numKinds]int
}

// A slot has a route, or is free.
type slot[S comparable] struct {
	route *Route[S] // nil: it is free
	link            // by the hash of its kind and text; or to the place of what is behind it among those that are free
}

// hash makes the hash of a kind and text of that of the text, which nobody outside can foresee.
func hash(k Kind, text uint64) uint32 { return uint32(text) + uint32(text>>32) + uint32(k) }

// at is the slot at a place.
func (x *byText[S]) at(place int32) *slot[S] { return x.slots.At(int(place - 1)) }

func (x *byText[S]) link(place int32) *link { return &x.at(place).link }

// add gives out a slot: the one that was freed last, or a new one behind all others.
func (x *byText[S]) add(r *Route[S]) (slotOf int) {
	if x.places.heads.Len() == 0 {
		x.seed = maphash.MakeSeed()
	}
	x.count[r.Kind]++
	if x.free == 0 {
		x.slots.Push(slot[S]{})
		x.free = int32(x.slots.Len())
	}
	place := x.free
	l := x.at(place)
	x.free, l.route, l.hash = l.next, r, hash(r.Kind, maphash.String(x.seed, r.Text))
	x.places.add(place, &l.link, x.link)
	return int(place - 1)
}

// remove frees a slot.
func (x *byText[S]) remove(r *Route[S]) {
	if x.places.heads.Len() == perThing {
		*x = byText[S]{} // with its memory
		return
	}
	x.count[r.Kind]--
	place := int32(r.Slot + 1)
	l := x.at(place)
	x.places.remove(place, &l.link, x.link)
	*l = slot[S]{link: link{next: x.free}}
	x.free = place
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
	for at := b.texts.places.first(hash); at > 0; {
		l := b.texts.at(at)
		if l.hash == hash {
			if r := l.route; r.Kind == k && r.Text == string(text) {
				return r
			}
		}
		at = l.next
	}
	return nil
}
