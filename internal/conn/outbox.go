package conn

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// An outbox is what a connection is to be sent. During a turn it is a sequence of pieces: bytes of its own (replies), and
// ranges of the buffers of streams, into which a message is encoded once for all who get it. The range at the end of the sequence
// may be open: it grows as its buffer does, with no work for this connection. At the turn's end all pieces go out in
// one write. What the socket does not take is the backlog, and the connection is blocked: until it drains, whatever more it is sent is
// kept behind the backlog, up to the limits: see backlog.go.
type outbox struct {
	own    []byte // from the pool; nil if empty. Invariant: whole RESP values
	cut    int    // bytes of own that the pieces cover
	pieces []piece
	open   *Buffer // where the open range is, or nil; it begins at Conn.from
}

// A piece is bytes [start, end) of a stream's buffer, or of the connection's own if buf is nil.
type piece struct {
	buf        *Buffer
	start, end int
}

const (
	// smallRange is the size up to which a range is copied into the connection's own bytes rather than kept as a piece:
	// one small write is quicker than a vector of two.
	smallRange = 1024
	// maxPieces bounds the vector of one write; the kernel takes 1024.
	maxPieces = 64
	// pauseAt is the backlog at which a connection's own commands are no longer executed: one who does not read its
	// replies waits for itself.
	pauseAt = 64 << 10
	// maxWrite bounds one write: while a peer on another CPU reads, a socket is never full. What is left is written when epoll
	// says that there is room, which it does at once.
	maxWrite = 512 << 10
)

// cutOwn makes a piece of the own bytes that no piece covers.
func (o *outbox) cutOwn() {
	if o.cut < len(o.own) {
		o.pieces = append(o.pieces, piece{nil, o.cut, len(o.own)})
		o.cut = len(o.own)
	}
}

func (o *outbox) dropPieces() {
	clear(o.pieces)
	o.pieces = o.pieces[:0]
	if cap(o.pieces) > 8 {
		o.pieces = nil
	}
}

// bytes are those of a piece, of an outbox with these bytes of its own.
func (p piece) bytes(own []byte) []byte {
	if p.buf == nil {
		return own[p.start:p.end]
	}
	return p.buf.b[p.start:p.end]
}

// Send appends bytes, which are whole RESP values, to what the peer is to be sent, behind all that is there.
func (c *Conn) Send(b []byte) {
	if c.Dead() {
		return
	}
	c.touch()
	if c.open != nil {
		c.closeRange()
	}
	c.set.turnBytes += len(b)
	if c.is(isBlocked) && c.queue() != nil {
		c.add(b, 0, nil)
		return
	}
	c.own = c.set.pool.append(c.own, b)
}

// SendCounted is Send of what has a value in it that [Conn.Unsent] counts.
func (c *Conn) SendCounted(b []byte) {
	c.flags |= isCounted
	c.Send(b)
}

// touch has the connection flushed at the turn's end.
func (c *Conn) touch() {
	if !c.is(isTouched) {
		c.flags |= isTouched
		c.set.touched = append(c.set.touched, c)
	}
}

// flush writes a connection's outbox, or what the socket takes of it.
func (c *Conn) flush() {
	switch {
	case c.is(isBlocked):
		// The socket was full, and will be until epoll says otherwise.
	case c.long() != nil && !c.writeLong():
		if !c.Dead() {
			c.closeRange()
			c.block(c.keepPieces(0))
		}
	case len(c.own) == 0 && len(c.pieces) == 0 && c.open != nil:
		// Nothing but one range: no copy.
		t, from := c.open, int(c.from)
		c.open = nil
		n := c.write(t.b[from:])
		if n == len(t.b)-from && c.own == nil && c.more == nil && !c.is(isClosing|isCounted) {
			return // there is nothing to be given back
		}
		if n < len(t.b)-from && !c.Dead() {
			start := t.messageAt(from + n)
			c.setBlocked()
			c.keep(t.b[start:], t, 0)
			c.block(from + n - start)
		}
	default:
		c.closeRange()
		if len(c.pieces) == 0 {
			if n := c.write(c.own); n < len(c.own) && !c.Dead() {
				c.block(n)
			}
		} else {
			c.flushPieces()
		}
	}
	switch {
	case c.Dead():
	case !c.is(isBlocked):
		c.releaseOwn()
		if c.is(isClosing) {
			c.Kill(nil)
		}
	default:
		c.settleBlocked()
	}
}

// flushPieces writes the pieces with one vectored write.
func (c *Conn) flushPieces() {
	c.cutOwn()
	total := 0
	vec := c.set.vec[:0]
	for _, p := range c.pieces {
		b := p.bytes(c.own)
		total += len(b)
		vec = append(vec, unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))})
	}
	n, errno := c.set.kernel.SendVector(int(c.fd), vec)
	n = c.written(n, errno)
	clear(vec)
	c.set.vec = vec[:0]
	if n < total && !c.Dead() {
		c.block(c.keepPieces(n))
	}
	c.dropPieces()
}

// block notes that the socket is full, which has taken so many bytes of what is now the backlog.
func (c *Conn) block(sent int) {
	c.setBlocked()
	c.more.sent = sent
	c.unpack()
	c.watch()
}

// drain goes on writing the backlog of a blocked connection.
func (c *Conn) drain() {
	if c.long() != nil && !c.writeLong() {
		c.awaitRoom()
		return
	}
	x := c.more
	for most := maxWrite; ; {
		if x.nextGap() != nil {
			most -= tellCost
		}
		part := c.oldest()
		if len(part) == 0 {
			if c.refill() {
				continue
			}
			if len(x.losses) > 0 {
				c.tellSome()
				most -= tellCost
				continue
			}
			break
		}
		var n int
		if x.sent == 0 && len(x.parts) > 0 && x.parts[0].file != nil {
			taken, stays := c.writeFile()
			if !stays {
				continue
			}
			n = taken
		} else {
			n = c.write(part[x.sent:])
		}
		if c.Dead() {
			return
		}
		x.sent += n
		if n > 0 {
			c.tellRoom()
		}
		if most -= n; x.sent < len(part) || most <= 0 {
			c.awaitRoom()
			return
		}
		c.passOn()
	}
	c.flags &^= isBlocked
	c.releaseOwn()
	if c.is(isHeldUp) {
		c.flags &^= isHeldUp
		c.Queue()
	}
	c.watch()
	if c.is(isClosing) {
		c.Kill(nil)
		return
	}
	c.runLater()
}

// awaitRoom has epoll tell when there is room, also if there is: a short write may have another cause than a full socket.
func (c *Conn) awaitRoom() {
	if c.watched&unix.EPOLLOUT == 0 {
		c.watch()
	} else {
		c.lookAgain()
	}
}

func (c *Conn) releaseOwn() {
	c.flags &^= isCounted
	c.freeOwn()
	c.account()
}

// write sends b and returns how much of it was taken. A peer that is gone ends the connection.
func (c *Conn) write(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	return c.written(c.set.kernel.Send(int(c.fd), b[:min(len(b), maxWrite)]))
}

func (c *Conn) written(n int, errno unix.Errno) int {
	switch errno {
	case 0:
		if c.is(isAwaited) && c.more.since >= 0 {
			c.more.since += n
		}
		return n
	case unix.EAGAIN:
		return 0
	case unix.EINTR, unix.ENOBUFS, unix.ENOMEM:
		c.lookAgain() // there may be room all the same: nothing else would say so
		return 0
	}
	c.Kill(nil) // EPIPE, ECONNRESET: the peer is gone
	return 0
}
