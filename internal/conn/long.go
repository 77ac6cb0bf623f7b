package conn

import "golang.org/x/sys/unix"

// A longReply is memory that was mapped for one reply, and is written before the rest of the outbox. All of it is given back as it is
// written, and the garbage collector has nothing to do for it.
type longReply struct {
	mapping []byte
	at, end int // what is to be written
}

const pageSize = 64 << 10 // a multiple of that of any machine

// SendMapped sends the bytes [from, to) of memory that was mapped, without a copy, and unmaps it when they are written. Descriptors may
// go beside the first. It reports false if that cannot be, as there is something to be sent before it, or the socket does not take the
// descriptors now: then nothing is sent, and the memory is the caller's still.
func (c *Conn) SendMapped(mapping []byte, from, to int, fds []int) bool {
	if c.Dead() {
		return false
	}
	c.closeRange()
	c.flush() // so that it is first
	if c.Dead() || c.is(isBlocked) || from == to || len(c.own)+len(c.pieces) > 0 || c.long() != nil {
		return false
	}
	at := from
	if len(fds) > 0 {
		n, err := c.set.kernel.SendRights(int(c.fd), mapping[from:min(to, from+maxWrite)], fds)
		if err != nil {
			return false
		}
		at += n
	}
	c.extra().long = &longReply{mapping, at, to}
	c.touch()
	c.set.turnBytes += to
	return true
}

// long is the long reply that is being written.
func (c *Conn) long() *longReply {
	if c.more == nil {
		return nil
	}
	return c.more.long
}

// Unread is how much the peer has to be sent before it has all that was said to it.
func (c *Conn) Unread() int {
	if l := c.long(); l != nil {
		return c.Backlog() + l.end - l.at
	}
	return c.Backlog()
}

// writeLong writes what the socket takes of a long reply, and reports whether that was all.
func (c *Conn) writeLong() bool {
	l := c.more.long
	page := l.at &^ (pageSize - 1)
	l.at += c.write(l.mapping[l.at:l.end])
	if l.at == l.end {
		c.dropLong()
		return true
	}
	if done := l.at &^ (pageSize - 1); done > page { // to give all back at once would take some milliseconds
		_ = unix.Madvise(l.mapping[page:done], unix.MADV_DONTNEED)
	}
	return false
}

// dropLong gives the memory of a long reply back.
func (c *Conn) dropLong() {
	if c.long() != nil {
		_ = unix.Munmap(c.more.long.mapping)
		c.more.long = nil
		c.account()
	}
}
