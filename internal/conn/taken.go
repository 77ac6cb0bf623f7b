package conn

// What was written to a socket is in the kernel's memory until the peer reads it. Whoever has a choice of receivers wants to know who
// reads: see AwaitTaken. The kernel says how much memory of a socket's is not read yet, and tells when the peer has read some. As that is
// more than the bytes that were written, by an amount that it does not tell, what was written by some moment is known to be read when no
// more is unread than was written since; or nothing, as is usual.

// residue is what the kernel may say that is unread when it tells that all is read: less than any write takes.
const residue = 64

// AwaitTaken has the owner called (Taken) when the peer has read all that there is for it now, or more.
func (c *Conn) AwaitTaken() {
	if !c.is(isAwaited) && !c.Dead() {
		c.flags |= isAwaited
		c.extra().since = -1
		c.watch()
	}
}

// HasTaken reports whether the peer has read all that it was to be sent.
func (c *Conn) HasTaken() bool { return c.isWritten() && c.set.kernel.Untaken(int(c.fd)) <= residue }

// IsWritten reports whether all that the peer is to be sent is written to its socket.
func (c *Conn) IsWritten() bool { return c.isWritten() && !c.Dead() }

func (c *Conn) isWritten() bool {
	return !c.is(isBlocked) && len(c.own) == 0 && len(c.pieces) == 0 && c.open == nil && c.long() == nil
}

// lookWhetherTaken calls the owner, if the peer has read what is awaited.
func (c *Conn) lookWhetherTaken() {
	x := c.more
	if x.since < 0 {
		if !c.isWritten() {
			return
		}
		x.since = 0
	}
	if c.set.kernel.Untaken(int(c.fd)) > residue+x.since {
		return
	}
	c.flags &^= isAwaited
	c.watch()
	c.owner.Taken()
}

// Unsent counts the values of those that the owner wants to know of (SendCounted, Pushes.Counts) that are not written, or not all of each;
// when the connection has ended, those that never were. It looks through all that is not written, which takes milliseconds if that is a
// mebibyte, but not where there can be none.
func (c *Conn) Unsent() (n int) {
	if c.more != nil {
		n = c.more.givenUp
	}
	if !c.is(isCounted) {
		return n
	}
	count := func(b []byte, from int) {
		for at, _ := valueAt(b, from); at < len(b); {
			size := ValueLen(b[at:])
			if c.set.Pushes.Counts(b[at : at+size]) {
				n++
			}
			at += size
		}
	}
	if x := c.more; x != nil {
		from := x.sent
		for _, p := range x.parts {
			count(p.b, from)
			from = 0
		}
		count(c.own, from)
		if x.queue != nil {
			x.queue.all.All(inAll, func(e *entry) bool { count(e.b, 0); return true })
		}
		return n
	}
	count(c.own, 0)
	return n
}
