package pieces

import "math/bits"

// A Pool has things by places that stay theirs until they go, in any order. A place is given out again, and the memory of a piece of which
// all have gone is given back. Where the things have no pointers the garbage collector has nothing to do with them. The zero Pool is empty.
type Pool[T any] struct {
	parts []part[T]
	n     int
	room  int32 // the part that was the last to have room of those that have some, and 1; 0: none has
	spare int32 // a part that has memory and no things, for what comes next, and 1; 0: there is none
}

// A part of a pool has a piece of memory, or none while it has no things.
type part[T any] struct {
	things *[inPart]T
	taken  uint64 // a bit for each place
	room   int32  // what was the last to have room before this one, and 1; 0: none was
}

// inPart is how many things there are in a part: as many as a word has bits.
const inPart = 64

// Len is how many things there are.
func (p *Pool[T]) Len() int { return p.n }

// At is the thing in a place.
func (p *Pool[T]) At(place int32) *T {
	return &p.parts[uint32(place)/inPart].things[uint32(place)%inPart]
}

// Find is At for a place where there may be no thing; then it is nil.
func (p *Pool[T]) Find(place int32) *T {
	if i := int(uint32(place) / inPart); i >= len(p.parts) || p.parts[i].taken>>(uint32(place)%inPart)&1 == 0 {
		return nil
	}
	return p.At(place)
}

// Take adds a thing, which is zero. The first has place 0.
func (p *Pool[T]) Take() (place int32) {
	if p.room == 0 {
		p.parts = append(p.parts, part[T]{})
		p.room = int32(len(p.parts))
	}
	at := p.room
	x := &p.parts[at-1]
	switch {
	case x.things == nil:
		x.things = new([inPart]T)
	case p.spare == at:
		p.spare = 0
	}
	free := bits.TrailingZeros64(^x.taken)
	if x.taken |= 1 << free; ^x.taken == 0 {
		p.room = x.room
	}
	p.n++
	return (at-1)*inPart + int32(free)
}

// Remove takes the thing out that is in a place.
func (p *Pool[T]) Remove(place int32) {
	var none T
	*p.At(place) = none
	at := int32(uint32(place)/inPart + 1)
	x := &p.parts[at-1]
	if ^x.taken == 0 {
		x.room, p.room = p.room, at
	}
	x.taken &^= 1 << (uint32(place) % inPart)
	p.n--
	switch {
	case x.taken != 0:
	case p.spare == 0:
		p.spare = at
	default:
		x.things = nil
	}
}

// All calls f with each place in which there is a thing until it returns false.
func (p *Pool[T]) All(f func(place int32) bool) {
	for i := range p.parts {
		for taken := p.parts[i].taken; taken != 0; taken &= taken - 1 {
			if !f(int32(i*inPart + bits.TrailingZeros64(taken))) {
				return
			}
		}
	}
}

// Room is for how many things there is memory.
func (p *Pool[T]) Room() (n int) {
	for i := range p.parts {
		if p.parts[i].things != nil {
			n += inPart
		}
	}
	return n
}
