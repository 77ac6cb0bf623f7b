package conn

import (
	"fmt"
	"math"
	"slices"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/ipc/wire"
)

// The backlog of a blocked connection is bounded by the limit of output, and what all connections of a user hold together by
// those of his account, of which queued messages have one of their own: a user's own slow subscribers must not use up what his
// other connections need for their commands and replies. Over a bound, a connection loses the oldest of the messages that wait for it
// and that it can be told to have missed, and is told how many where they would have been. They are found by reading the backlog,
// which is nothing but RESP values, so that nothing need be noted for each message as long as all is well. One who cannot be told is
// disconnected.

// Pushes says what messages look like.
type Pushes struct {
	// Loss is what a subscriber misses who does not get a value: how many messages of what; 0 of nothing, if it misses nothing that it
	// can be told of. told says that the value is the word of what was missing already, or of what newer messages have taken the place of,
	// which is nothing that it misses.
	Loss func(value []byte) (of []byte, n int64, told bool)
	// AppendLoss appends the push that says so.
	AppendLoss func(b []byte, p wire.Proto, of string, n int64) []byte
	// Counts reports whether a value is one that the owner wants to know of if it was not sent: see [Conn.Unsent].
	Counts func(value []byte) bool

	// The following are asked of who has a rule of his own: see [Rule].

	// Topic is what a message is about, of which there is a loss.
	Topic func(value []byte) []byte
	// AppendConflated appends the push that says how many messages newer ones of their topics have taken the place of.
	AppendConflated func(b []byte, p wire.Proto, of string, n int64) []byte
	// AppendEnd appends the push that says that the connection ends because of a subscription.
	AppendEnd func(b []byte, p wire.Proto, of string) []byte
}

// Enqueue puts a message behind the backlog of a blocked connection, if the limits let it: one that can be told to be missing, as one
// of the subscription that is called of. in is the buffer that it is in, if others get it, too. lost is how many messages the connection loses for it: this one, or older ones. seq is the
// message's number, by which it is known as one that the connection gets by several of its subscriptions.
func (c *Conn) Enqueue(msg []byte, in *Buffer, seq uint64, of string) (taken bool, lost int) {
	return c.enqueue(msg, in, nil, seq, of)
}

// enqueue is Enqueue of a message that has a file beside it, unless that is nil. Messages are dropped for a file only as long as there
// are files among them: it is these that it may be too much with.
func (c *Conn) enqueue(msg []byte, in *Buffer, f *File, seq uint64, of string) (taken bool, lost int) {
	defer c.account()
	x := c.more
	if x.queue != nil {
		return c.enqueueRuled(msg, f, seq, of)
	}
	long := c.tooMuch(len(msg), in)
	over := long || c.tooMuchOf(f)
	for most := c.set.searched + mostSearched + len(msg); over && (long || x.files > 0) && c.hasBefore(seq); over = long || c.tooMuchOf(f) {
		if c.set.searched > most { // others of its user have too much
			c.Lose(of)
			return false, lost + 1
		}
		lost += c.dropPart()
		c.account()
		long = c.tooMuch(len(msg), in)
	}
	if over || lost == 0 && x.dropping && c.Backlog() > c.set.limits.Output/2 {
		// What is there is not messages, or must not be touched.
		x.dropping = true
		c.Lose(of)
		return false, lost + 1
	}
	x.dropping = false
	c.TellLoss(of)
	if f != nil {
		c.keepFile(msg, f, seq)
	} else {
		c.keep(msg, in, seq)
	}
	return true, lost
}

// EnqueueStrict is Enqueue for a message that must not be missing: if there is no room for it, the connection ends.
func (c *Conn) EnqueueStrict(msg []byte, in *Buffer, seq uint64) (taken bool) {
	defer c.account()
	if c.tooMuch(len(msg), in) {
		c.endBehind()
		return false
	}
	if c.queue() != nil {
		c.add(msg, seq, nil)
	} else {
		c.keep(msg, in, seq)
	}
	return true
}

// tooMuch reports whether a message of so many bytes is too much for a connection's backlog, or for its user.
func (c *Conn) tooMuch(size int, in *Buffer) bool {
	grows := c.grows(size, in)
	return c.Backlog()+size > c.set.limits.Output || grows > 0 && (c.overMessages(grows) || c.overBuffers(grows))
}

// IsFull reports whether a blocked connection has no room left for a message of a size but that of other copies of it: to drop
// one of them for the next helps nobody, and takes time for each of the subscriptions. What rules say of it is seen when it comes.
func (c *Conn) IsFull(size int, seq uint64) bool {
	return c.queue() == nil && c.tooMuch(size, nil) && !c.hasBefore(seq)
}

// CanTake reports whether a message of so many bytes can be given to a connection without that it misses one, or has asked for it.
func (c *Conn) CanTake(size int, of string) bool {
	if !c.is(isBlocked) {
		return true
	}
	x := c.more
	if q := x.queue; q != nil && q.of[of] != nil {
		if s := q.of[of]; s.Excess != Drop {
			return true
		} else if s.isOver(size) {
			return false
		}
	}
	return !c.tooMuch(size, nil) && (!x.dropping || c.Backlog() <= c.set.limits.Output/2)
}

// AwaitRoom has the owner called (HasRoom) when the peer of a blocked connection has taken something, or will take nothing more.
func (c *Conn) AwaitRoom() { c.flags |= isWanted }

func (c *Conn) tellRoom() {
	if c.is(isWanted) {
		c.flags &^= isWanted
		c.owner.HasRoom()
	}
}

// overMessages reports whether more bytes of messages would be too much for a connection's user.
func (c *Conn) overMessages(more int) bool { return c.User().Exceeds(account.Output, more) }

// mostSearched is how much of a backlog is looked through in a step for messages to be dropped, beside as much as a message is long that
// is to have their room. What more is too much is dropped in the next.
const mostSearched = 256 << 10

// settleBlocked has a connection whose socket is full keep to the limits: of what its user's have too much it loses what it can.
func (c *Conn) settleBlocked() {
	c.account()
	if c.overMessages(0) {
		lossy, strict := c.owner.Receives()
		canLose := func() bool { return lossy && c.overMessages(0) && c.hasBefore(math.MaxUint64) }
		for most := c.set.searched + mostSearched; canLose(); c.account() {
			if c.set.searched > most {
				return
			}
			c.owner.Dropped(c.dropPart())
		}
		if c.overMessages(0) && (strict || c.holdsMessage() || c.queue().holdsStrict()) {
			c.endBehind()
			return
		}
	}
	if c.overBuffers(0) {
		c.Kill(ErrDoesNotRead)
	}
}

// endBehind ends a connection that is too far behind, with its backlog at once: the others of its user have its room.
func (c *Conn) endBehind() {
	c.extra().givenUp = c.Unsent()
	c.releaseOwn()
	c.Kill(ErrTooFarBehind)
}

// holdsMessage reports whether there is a message in a backlog that cannot be dropped, as it is written in part.
func (c *Conn) holdsMessage() bool {
	if c.Backlog() == 0 {
		return false
	}
	b := c.oldest()
	if len(b) == 0 { // all waits in the queue
		return false
	}
	_, lost, told := c.set.Pushes.Loss(b)
	return lost > 0 && !told
}

// keepPieces makes the backlog of what is left of the pieces when n bytes of them are written, and returns how much of it those are.
func (c *Conn) keepPieces(n int) (sent int) {
	if len(c.pieces) == 0 {
		return 0
	}
	c.cutOwn()
	c.setBlocked()
	own := c.own
	c.own, c.cut = nil, 0
	for _, p := range c.pieces {
		b := p.bytes(own)
		if n >= len(b) {
			n -= len(b)
			continue
		}
		start := 0
		switch {
		case n == 0:
		case p.buf != nil:
			start = p.buf.messageAt(p.start+n) - p.start
		default:
			start, _ = valueAt(b, n)
		}
		c.keep(b[start:], p.buf, 0)
		sent += n - start
		n = 0
	}
	c.set.pool.put(own)
	c.dropPieces()
	return sent
}

// Lose has a blocked connection miss a message of a subscription: it is told when there is room.
func (c *Conn) Lose(of string) { c.lose(of, Missing{Lost: 1}) }

func (c *Conn) lose(of string, missing Missing) {
	x := c.more
	if x.losses == nil {
		x.losses = map[string]Missing{}
	}
	missing.add(x.losses[of])
	x.losses[of] = missing
}

// TellLoss has what comes next be behind all that the connection was sent so far, and appends a push if it misses messages of a
// subscription here, of which something follows or which ends. What it misses of others is told before what follows of them, or when all
// is written: see tellSome.
func (c *Conn) TellLoss(of string) {
	c.closeRange()
	if x := c.more; x != nil && len(x.losses) > 0 {
		missing := x.losses[of]
		delete(x.losses, of)
		c.set.said = c.appendMissing(c.set.said[:0], c.owner.Proto(), of, missing)
		switch {
		case len(c.set.said) == 0:
		case x.queue != nil:
			c.add(c.set.said, 0, nil)
		default:
			c.own = c.set.pool.append(c.own, c.set.said)
		}
	}
}

const (
	// mostTold is of how many subscriptions it is told at once that messages are missing, in some ten microseconds.
	mostTold = 128
	// tellCost is how much could be written in that time.
	tellCost = maxWrite / 8
)

// tellSome appends, behind a backlog of which all is written, pushes for some of the subscriptions that missed messages there.
func (c *Conn) tellSome() {
	x, n := c.more, 0
	x.ownSeq = 0
	for of, missing := range x.losses {
		c.set.said = c.appendMissing(c.set.said[:0], c.owner.Proto(), of, missing)
		c.own = c.set.pool.append(c.own, c.set.said)
		delete(x.losses, of)
		if n++; n == mostTold {
			break
		}
	}
	c.account()
}

func (c *Conn) appendMissing(b []byte, p wire.Proto, of string, missing Missing) []byte {
	if missing.Lost > 0 {
		b = c.set.Pushes.AppendLoss(b, p, of, missing.Lost)
	}
	if missing.Conflated > 0 {
		b = c.set.Pushes.AppendConflated(b, p, of, missing.Conflated)
	}
	return b
}

// check panics if the parts of a backlog are not whole values, or are not counted. It counts the parts that share memory.
func (c *Conn) check(shared map[*block]int) {
	x := c.more
	if x == nil {
		x = new(extras)
	}
	if c.is(isBlocked) && c.more == nil || !c.is(isBlocked) && (x.sent > 0 || x.dropping || x.losses != nil || x.gap.at != nil || x.ownSeq != 0) {
		panic(fmt.Sprintf("%v keeps a backlog, and is blocked: %v", c, c.is(isBlocked)))
	}
	length, room, files := 0, 0, 0
	for i, p := range x.parts {
		length, room = length+len(p.b), room+p.room()
		if p.gap != nil && (i >= x.kept || len(p.b) > 0 || len(p.gap.some) == 0) {
			panic(fmt.Sprintf("a gap in the backlog of %v is among messages, or told", c))
		}
		if p.in != nil {
			shared[p.in]++
		}
		if p.file == nil {
			continue
		}
		files++
		if at, n := valueAt(p.b, 0); at+n != len(p.b) || i < x.kept || i == 0 && x.sent > 0 {
			panic(fmt.Sprintf("a file in the backlog of %v is beside more than a message, or it is sent", c))
		}
	}
	if files != x.files {
		panic(fmt.Sprintf("the backlog of %v has %d files, counted %d", c, files, x.files))
	}
	if length != x.shelved || room != x.room || x.kept > len(x.parts) || len(x.parts) > 0 && !c.is(isBlocked) {
		panic(fmt.Sprintf("the backlog of %v has %d bytes in %d, counted %d in %d", c, length, room, x.shelved, x.room))
	}
	sent := x.sent
	for _, p := range append(slices.Clone(x.parts), part{b: c.own, tallies: x.ofOwn}) {
		if at, _ := valueAt(p.b, len(p.b)); at != len(p.b) {
			panic(fmt.Sprintf("the backlog of %v ends within a value", c))
		}
		if !p.all.isOf(p.b) || !p.written.isOf(p.b[:min(sent, len(p.b))]) {
			panic(fmt.Sprintf("the backlog of %v has %d values in %d bytes of %d, counted", c, p.all.values, p.all.bytes, len(p.b)))
		}
		sent = 0
	}
	if q := c.queue(); q != nil {
		q.check(c)
	}
}
