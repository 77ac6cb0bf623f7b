package conn

import (
	"slices"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A shelf is what there is of a blocked connection beside its own bytes. What of a long backlog is before these is kept in parts of
// some ten kilobytes, so that nothing which is done with a backlog takes time by its length: the oldest messages are dropped by
// looking through one part, and what is added moves nothing. A large message, or many together, that several connections keep, are a
// part of each, in memory that they share. What is missing is told where it was: before the first part that is left,
// but behind what must stay. What is missing of many subscriptions before something that must stay is a part, too, until it is told.
type shelf struct {
	parts         []part
	shelved, room int                // bytes in all parts, and for how many there is room
	files         int                // of the parts
	kept          int                // so many parts at the beginning have nothing to be dropped
	gap           gap                // what is missing behind them
	ownSeq        uint64             // as part.seq, of the connection's own bytes
	ofOwn         tallies            // likewise
	sent          int                // bytes of the backlog's first part that are written already
	losses        map[string]Missing // by subscription: what is missing since the last that was queued
	dropping      bool               // what comes is lost, until the backlog is down to half of the limit
}

// setBlocked has what comes from now on be the backlog.
func (c *Conn) setBlocked() {
	c.extra()
	c.flags |= isBlocked
}

// Backlog is the number of the connection's own bytes that are not written.
func (c *Conn) Backlog() int {
	if !c.is(isBlocked) {
		return len(c.own)
	}
	n := c.more.shelved + len(c.own) - c.more.sent
	if q := c.more.queue; q != nil {
		n += q.bytes
	}
	return n
}

// A part is some of a backlog. Invariant: whole RESP values.
type part struct {
	b    []byte
	in   *block // whose memory it is in, with parts of others; nil: it has its own
	seq  uint64 // of the message by which the part was begun; 0: not known
	gap  *gap   // what is missing there, instead of bytes; nil: nothing
	file *File  // goes out with the first byte; nil: none, or it is sent. Invariant: there is one message in the part
	tallies
}

// room is how much memory a part takes.
func (p *part) room() int {
	if p.gap != nil {
		return p.gap.memory
	}
	return cap(p.b)
}

// share makes a part of bytes that are in a block.
func (in *block) share(b []byte) part {
	in.parts++
	return part{b: b[:len(b):len(b)], in: in}
}

// free gives up the memory of a part.
func (s *Set) free(p part) {
	if p.in == nil {
		s.pool.put(p.b)
	} else if p.in.parts--; p.in.parts == 0 {
		s.pool.put(p.in.b)
	}
}

// largestPart is how much is added to one part, unless the limit of output is so small that it has fewer than some parts.
const largestPart = 64 << 10

func (h *shelf) insert(i int, p part) {
	h.parts = slices.Insert(h.parts, i, p)
	h.shelved += len(p.b)
	h.room += p.room()
}

// remove takes a part off, whose file must have been given back.
func (h *shelf) remove(i int) part {
	p := h.parts[i]
	h.parts = slices.Delete(h.parts, i, i+1)
	h.shelved -= len(p.b)
	h.room -= p.room()
	return p
}

// stay has a value of a part stay, behind what else does and what is missing there.
func (c *Conn) stay(v []byte, in *block) {
	h := &c.more.shelf
	if len(h.gap.some) > mostTold { // it takes long: later, bit by bit
		g := h.gap
		h.insert(h.kept, part{gap: &g})
		h.kept++
		h.gap = gap{}
	}
	var b []byte
	if last := h.kept - 1; last >= 0 && h.parts[last].in == nil && h.parts[last].gap == nil {
		b = h.remove(last).b
		h.kept = last
	}
	b = c.tellGap(b, &h.gap)
	h.gap.forget()
	large := in != nil && isShared(len(v), in.size)
	if !large {
		b = c.set.pool.append(b, v)
		c.set.copied += len(v)
	}
	if len(b) > 0 {
		h.insert(h.kept, part{b: b})
		h.kept++
	}
	if large {
		h.insert(h.kept, in.share(v))
		h.kept++
	}
}

// keep puts whole values behind a backlog: a message with a number, or what is left of more (0). in is the buffer that they are in, if
// others get them, too. What has no room behind the connection's own bytes is not moved together with them: it begins the next part.
func (c *Conn) keep(b []byte, in *Buffer, seq uint64) {
	switch {
	case in.isShared(len(b)):
		if len(c.own) > 0 {
			c.shelve()
		}
		p := in.share(b)
		if p.seq = seq; seq != 0 {
			p.all.add(len(b))
		}
		c.more.insert(len(c.more.parts), p)
		return
	case !c.fits(len(b)):
		room := c.nextPart(len(b))
		if len(c.own) > 0 {
			c.shelve()
		}
		c.set.pool.put(c.own)
		c.own = c.set.pool.get(room)
	}
	if len(c.own) == 0 {
		c.more.ownSeq = seq
	}
	if t := &c.more.ofOwn.all; seq != 0 && t.bytes == len(c.own) {
		t.add(len(b))
	}
	c.own = append(c.own, b...)
	c.set.copied += len(b)
}

// fits reports whether so many bytes have room behind the connection's own.
func (c *Conn) fits(n int) bool {
	return len(c.own)+n <= cap(c.own) && len(c.own) < min(largestPart, c.set.limits.Output/8)
}

// nextPart is for how many bytes the next part has to have room, of which so many come now: as many as there are.
func (c *Conn) nextPart(n int) int {
	return max(n, min(c.Backlog(), largestPart, c.set.limits.Output/8))
}

// grows is how much memory a backlog takes more if so many bytes are kept.
func (c *Conn) grows(n int, in *Buffer) int {
	switch {
	case c.queue() != nil:
		return n + entrySize
	case in.isShared(n):
		return n
	case c.fits(n):
		return 0
	}
	return roomy(c.nextPart(n))
}

// shelve makes a part of the connection's own bytes.
func (c *Conn) shelve() {
	h := &c.more.shelf
	h.insert(len(h.parts), part{b: c.own, seq: h.ownSeq, tallies: h.ofOwn})
	c.own, h.ownSeq, h.ofOwn = nil, 0, tallies{}
}

// nextGap is the first of a backlog, if that is what is missing there; else nil.
func (h *shelf) nextGap() *gap {
	switch {
	case h.kept > 0:
		return h.parts[0].gap
	case len(h.gap.some) > 0:
		return &h.gap
	}
	return nil
}

// oldest is the first part of a backlog, which is empty if nothing is left.
func (c *Conn) oldest() []byte {
	h := &c.more.shelf
	if g := h.nextGap(); g != nil {
		b := c.tellGap(nil, g) // and the others when that is written
		switch {
		case g == &h.gap:
			g.forget()
		case len(g.some) == 0:
			h.remove(0)
			h.kept--
		}
		h.insert(0, part{b: b})
		h.kept++
	}
	if len(h.parts) > 0 {
		return h.parts[0].b
	}
	return c.own
}

// passOn goes on to the next part of a backlog, as the first is written.
func (c *Conn) passOn() {
	h := &c.more.shelf
	h.sent = 0
	if len(h.parts) == 0 {
		c.set.pool.put(c.own)
		c.own, h.ofOwn = nil, tallies{}
		return
	}
	c.set.free(h.remove(0))
	h.kept = max(h.kept-1, 0)
}

// hasBefore reports whether there may be messages to be dropped in a backlog that are older than one.
func (c *Conn) hasBefore(seq uint64) bool {
	if q := c.queue(); q != nil {
		return q.loose.First != nil && q.loose.First.seq < seq
	}
	if h := &c.more.shelf; h.kept < len(h.parts) {
		return h.parts[h.kept].seq < seq
	}
	return len(c.own) > 0 && c.more.ownSeq < seq
}

// dropPart drops the messages that can be told to be missing of the oldest part that may have some, or the oldest where they wait one by
// one, and returns how many.
func (c *Conn) dropPart() (dropped int) {
	if q := c.queue(); q != nil {
		c.miss(q.loose.First)
		return 1
	}
	h := &c.more.shelf
	if h.kept == len(h.parts) {
		c.shelve()
	}
	c.giveBack(&h.parts[h.kept])
	whole := h.remove(h.kept)
	b := whole.b
	c.set.searched += len(b)
	if h.kept == 0 && h.sent > 0 { // written in part: that stays
		at, n := valueAt(b, h.sent)
		c.stay(b[at:at+n], whole.in)
		h.sent -= at
		b = b[at+n:]
	}
	for len(b) > 0 {
		v := b[:ValueLen(b)]
		b = b[len(v):]
		of, lost, told := c.set.Pushes.Loss(v)
		if lost == 0 {
			c.stay(v, whole.in)
			continue
		}
		h.gap.add(of, lost, v[0])
		if !told {
			dropped++
		}
	}
	c.set.free(whole)
	return dropped
}

// freeOwn frees a connection's own bytes.
func (c *Conn) freeOwn() {
	if x := c.more; x != nil {
		for i := range x.parts {
			c.giveBack(&x.parts[i])
			c.set.free(x.parts[i])
		}
		x.shelf = shelf{}
		if x.queue != nil {
			x.queue.drop(c)
			c.endQueue()
		}
	}
	c.set.pool.put(c.own)
	c.own, c.cut = nil, 0
}

// A gap is what is missing at one place. It knows what has been missing before, as long as the socket is full: what is lost again takes no
// memory anew. What it knows outlives the subscriptions, so when all is told it forgets, if it knows much.
type gap struct {
	at     map[string]int // of a subscription, in lost
	lost   []loss
	some   []int // places in lost of what is missing now
	head   byte  // of the pushes, in the protocol that was spoken then
	memory int   // that all this takes, roughly
}

const (
	// lossSize is what a loss takes in a gap, beside the name of the subscription.
	lossSize = 128
	// mostKnown is how much a gap takes at most of which nothing is missing.
	mostKnown = 128 << 10
)

// A loss is how many messages of a subscription are missing.
type loss struct {
	of string
	n  int64
}

func (g *gap) add(of []byte, n int64, head byte) {
	at, known := g.at[string(of)]
	if !known {
		if g.at == nil {
			g.at = map[string]int{}
		}
		at = len(g.lost)
		g.lost = append(g.lost, loss{of: string(of)})
		g.at[g.lost[at].of] = at
		g.memory += len(of) + lossSize
	}
	if g.lost[at].n == 0 {
		g.some = append(g.some, at)
	}
	g.lost[at].n += n
	g.head = head
}

// forget has a gap take no memory, if all of it is told and that is much.
func (g *gap) forget() {
	if len(g.some) == 0 && g.memory > mostKnown {
		*g = gap{}
	}
}

// tellGap appends a push for some of the subscriptions that miss something in a gap, and leaves what the others miss.
func (c *Conn) tellGap(b []byte, g *gap) []byte {
	left := max(len(g.some)-mostTold, 0)
	p := wire.RESP2
	if g.head == '>' {
		p = wire.RESP3
	}
	for _, at := range g.some[left:] {
		l := &g.lost[at]
		c.set.said = c.set.Pushes.AppendLoss(c.set.said[:0], p, l.of, l.n)
		b = c.set.pool.append(b, c.set.said)
		l.n = 0
	}
	g.some = g.some[:left]
	return b
}
