package bus

import (
	"math/bits"

	"github.com/ipcd/ipcd/internal/pieces"
)

// buckets find things by hashes, as a map does, and have no pointers: who has the things knows them by places above 0, and has a link for each.
// There are some buckets for each thing: with each that comes some are split, and with each that goes they become one again (linear
// hashing), so nothing is ever moved as a whole.
type buckets struct {
	heads pieces.Slice[int32] // the first thing that is in there; 0: none
	mask  uint32              // the least of the form 2^n-1 that is not below the last bucket
}

// A link has a thing in a bucket.
type link struct {
	hash uint32
	next int32 // the thing that is behind it; 0: none
}

// perThing is how many buckets there are for each thing. With more of them fewer are found in one.
const perThing = 4

// of is the bucket where a hash belongs.
func (b *buckets) of(hash uint32) int {
	if i := int(hash & b.mask); i < b.heads.Len() {
		return i
	}
	return int(hash & (b.mask >> 1))
}

// first is the first thing that may have a hash; the others are behind it.
func (b *buckets) first(hash uint32) int32 { return *b.heads.At(b.of(hash)) }

// add adds a thing by its link, which has its hash. links are those of all things.
func (b *buckets) add(thing int32, l *link, links func(int32) *link) {
	for range perThing {
		b.split(links)
	}
	b.put(b.of(l.hash), thing, l)
}

// remove undoes add.
func (b *buckets) remove(thing int32, l *link, links func(int32) *link) {
	at := b.heads.At(b.of(l.hash))
	for *at != thing {
		at = &links(*at).next
	}
	*at = l.next
	for range perThing {
		b.join(links)
	}
}

// split makes one more bucket, the last, and takes what belongs in there out of the one that had it.
func (b *buckets) split(links func(int32) *link) {
	last := b.heads.Len()
	b.heads.Push(0)
	b.mask = 1<<bits.Len(uint(last)) - 1
	if last == 0 {
		return
	}
	for at := b.heads.At(origin(last)); *at > 0; {
		l := links(*at)
		if b.of(l.hash) != last {
			at = &l.next
			continue
		}
		moves := *at
		*at = l.next
		b.put(last, moves, l)
	}
}

// origin is the bucket that was split when one was made.
func origin(bucket int) int { return bucket &^ (1 << (bits.Len(uint(bucket)) - 1)) }

// join undoes split.
func (b *buckets) join(links func(int32) *link) {
	last := b.heads.Len() - 1
	for moves := b.heads.Pop(); moves > 0; {
		l := links(moves)
		next := l.next
		b.put(origin(last), moves, l)
		moves = next
	}
	b.mask = 1<<bits.Len(uint(last-1)) - 1
}

func (b *buckets) put(bucket int, thing int32, l *link) {
	head := b.heads.At(bucket)
	l.next, *head = *head, thing
}
