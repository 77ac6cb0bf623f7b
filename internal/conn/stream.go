package conn

import (
	"slices"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A Stream is what all who have subscribed to one thing are sent in this turn: the owner numbers them. A message is encoded into its
// buffer once, in each protocol that somebody speaks, and whoever gets it has a range of the buffer among his pieces.
type Stream struct {
	// Steady says that every subscriber has its open range in one of the buffers. Then a message is delivered to all of them by
	// encoding it. Whoever sees to it that a range is opened for all sets it; it ends when a range does.
	Steady bool

	buffers [2]Buffer // RESP2, RESP3
	used    bool      // in Set.used
	number  int
}

// A Buffer holds the messages of one stream in one protocol, of this turn.
type Buffer struct {
	b      []byte
	starts []int // where messages begin: as far as somebody had to know
	set    *Set
	stream *Stream
	usual  int    // how long it becomes in a turn, of late
	block  *block // nil: no part of a backlog is in it
}

// A block is the memory of a buffer that is longer than a turn, as parts of backlogs are in it.
type block struct {
	b     []byte // for the pool, when it is no more the buffer's
	size  int    // of the memory
	parts int
}

// sharedFrom is how much has to be kept of a buffer for a connection whose socket is full to have a part of its own in it, rather than
// a copy: what all of them have together is there once, and what is little can go together with what comes later.
const sharedFrom = 16 << 10

// isShared reports whether so many bytes are shared if they are kept, of memory of a size. Each who keeps some is charged for what he
// has: that is at least half of what is there only for him, if he is the last.
func isShared(n, size int) bool { return n >= sharedFrom && 2*n >= size }

// isShared reports whether so many of the bytes of a buffer are.
func (t *Buffer) isShared(n int) bool { return t != nil && isShared(n, cap(t.b)) }

// share makes a part of bytes that are in a buffer.
func (t *Buffer) share(b []byte) part {
	if t.block == nil {
		t.block = new(block)
	}
	t.block.size = cap(t.b)
	return t.block.share(b)
}

// end ends what has been carried. What parts are in is theirs.
func (t *Buffer) end(p *pool) {
	if t.block != nil && t.block.parts > 0 {
		t.block.b = t.b
	} else {
		p.put(t.b)
	}
	t.usual = max(len(t.b), t.usual-t.usual/256)
	t.b, t.starts, t.block = nil, nil, nil
}

// Stream is the stream of a number, in this turn.
func (s *Set) Stream(number int) *Stream {
	for number >= s.streams.Len() {
		s.streams.Push(nil)
	}
	at := s.streams.At(number)
	t := *at
	if t == nil {
		t = &Stream{number: number}
		for i := range t.buffers {
			t.buffers[i].set, t.buffers[i].stream = s, t
		}
		*at = t
	}
	if !t.used {
		t.used = true
		s.used = append(s.used, t)
	}
	return t
}

// Steady is the stream of a number if it is steady, else nil.
func (s *Set) Steady(number int) *Stream {
	t := s.lastSteady // it is mostly this one again
	if t == nil || t.number != number {
		t = s.streamAt(number)
		s.lastSteady = t
	}
	if t == nil || !t.Steady {
		return nil
	}
	return t
}

// InTurn reports whether a stream has carried something in this turn.
func (s *Set) InTurn(number int) bool {
	t := s.streamAt(number)
	return t != nil && t.used
}

// Unsettle is to be called where a stream's subscribers have changed.
func (s *Set) Unsettle(number int) {
	if t := s.streamAt(number); t != nil {
		t.Steady = false
	}
}

// Renew is to be called where the number of a stream is given to another thing. What the stream has carried in this turn stays where it
// is, for those who are sent it.
func (s *Set) Renew(number int) {
	if t := s.streamAt(number); t != nil && t.used {
		*s.streams.At(number), s.lastSteady = nil, nil
	}
}

// streamAt is the stream of a number, nil if there is none yet.
func (s *Set) streamAt(number int) *Stream {
	if number >= s.streams.Len() {
		return nil
	}
	return *s.streams.At(number)
}

// endStreams ends what streams have carried together. If some receivers are late, the buffers are theirs.
func (s *Set) endStreams(late bool) {
	for _, t := range s.used {
		if late {
			*s.streams.At(t.number) = nil
			continue
		}
		t.used, t.Steady = false, false
		for i := range t.buffers {
			t.buffers[i].end(&s.pool)
		}
	}
	clear(s.used)
	s.used = s.used[:0]
	s.lastSteady = nil
}

// Buffer is that for who speaks a protocol.
func (t *Stream) Buffer(p wire.Proto) *Buffer { return &t.buffers[p-wire.RESP2] }

// Len is how long a buffer is.
func (t *Buffer) Len() int { return len(t.b) }

// From is what is in a buffer from an offset on. It is valid until the next is encoded.
func (t *Buffer) From(offset int) []byte { return t.b[offset:] }

// Bytes is all that is in a buffer, to be appended to, by so many bytes or about that, and given to Extend.
func (t *Buffer) Bytes(more int) []byte {
	if cap(t.b)-len(t.b) < more {
		t.makeRoom(more)
	}
	return t.b
}

func (t *Buffer) makeRoom(more int) {
	switch p := &t.set.pool; {
	case t.b == nil:
		t.b = p.get(max(t.usual, more))
	case t.block == nil: // else parts of backlogs stay in it
		t.b = p.grow(t.b, more)
	}
}

// Extend has a buffer be what Bytes was, with a message behind it: a whole RESP value.
func (t *Buffer) Extend(longer []byte) {
	t.set.turnBytes += len(longer) - len(t.b)
	t.b = longer
}

// messageAt is where the message begins to which the byte at an offset belongs. Many connections may ask in one turn, about
// many messages.
func (t *Buffer) messageAt(offset int) int {
	if len(t.starts) == 0 {
		t.starts = append(t.starts, 0)
	}
	for last := t.starts[len(t.starts)-1]; last < offset; last = t.starts[len(t.starts)-1] {
		t.starts = append(t.starts, last+ValueLen(t.b[last:]))
	}
	i, found := slices.BinarySearch(t.starts, offset)
	if !found {
		i--
	}
	return t.starts[i]
}

// Follow has a connection be sent all that comes into a buffer, from an offset on, until it is sent something else. It must not be
// blocked.
func (c *Conn) Follow(t *Buffer, from int) {
	if c.open != t {
		c.openRange(t, from)
	}
}

// openRange begins a range at an offset of a buffer.
func (c *Conn) openRange(t *Buffer, from int) {
	c.touch()
	c.closeRange()
	c.open, c.from = t, uint32(from)
}

// Unfollow ends Follow: what comes into the buffer from now on is not for the connection.
func (c *Conn) Unfollow() { c.closeRange() }

// closeRange ends the open range, so that something else can follow it.
func (c *Conn) closeRange() {
	t := c.open
	if t == nil {
		return
	}
	c.open = nil
	t.stream.Steady = false
	from := int(c.from)
	if len(t.b)-from <= smallRange || len(c.pieces) >= maxPieces {
		c.own = c.set.pool.append(c.own, t.b[from:])
		return
	}
	c.cutOwn()
	c.pieces = append(c.pieces, piece{t, from, len(t.b)})
}

// dropRange gives up the open range of a connection that has ended.
func (c *Conn) dropRange() {
	if c.open != nil {
		c.open.stream.Steady = false
		c.open = nil
	}
}
