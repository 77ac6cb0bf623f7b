package conn

import (
	"slices"

	"github.com/ipcd/ipcd/ipc/wire"
)

// takeRights keeps the descriptors that came with a read for the commands they belong to. lost says that not all of them came.
func (c *Conn) takeRights(fds []int, lost bool) {
	x := c.extra()
	for _, fd := range fds {
		if len(x.fds) < wire.MaxDescriptors {
			x.fds = append(x.fds, fd)
			continue
		}
		c.Discard(fd)
		c.endFor(wire.CodeProto, "too many file descriptors that no command took")
	}
	if lost { // which of them are missing, and of which command, cannot be told
		c.endFor(wire.CodeQuota, "the daemon has no file descriptor left for those that were sent")
	}
}

// TakeFD is the oldest descriptor that came with this connection's bytes, or -1. The caller owns it, and may give it to Discard.
func (c *Conn) TakeFD() int {
	if c.more == nil || len(c.more.fds) == 0 {
		return -1
	}
	fd := c.more.fds[0]
	c.more.fds = slices.Delete(c.more.fds, 0, 1) // there are few, and the room is for the next
	return fd
}

// NextFD is what TakeFD would be, which is not taken.
func (c *Conn) NextFD() int {
	if c.more == nil || len(c.more.fds) == 0 {
		return -1
	}
	return c.more.fds[0]
}

// Discard closes a descriptor that the peer sent.
func (c *Conn) Discard(fd int) {
	if c.Dead() {
		c.set.kernel.Discard(fd, c.User().UID())
		return
	}
	c.set.discard(fd, c.User().UID())
}

// discard closes a descriptor that a user's process sent.
func (s *Set) discard(fd int, uid uint32) {
	if s.kernel.Discard(fd, uid) {
		return
	}
	told := false
	for c := range s.All() {
		if c.User().UID() != uid || c.Dead() {
			continue
		}
		if !told {
			c.owner.Failed(ErrClogged)
			told = true
		}
		c.Kill(nil)
	}
}

// CloseFDs closes the descriptors that no command took.
func (c *Conn) CloseFDs() {
	if c.more == nil || len(c.more.fds) == 0 {
		return
	}
	fds := c.more.fds
	c.more.fds = nil
	for _, fd := range fds {
		c.Discard(fd)
	}
}

// SendRights sends bytes with descriptors beside them, behind all that the connection was sent before. The bytes are one RESP value. It
// reports false if the socket does not take them now: then nothing is sent.
func (c *Conn) SendRights(b []byte, fds []int) bool {
	if c.Dead() { // while the disk was waited for
		return false
	}
	c.closeRange() // the turn goes on: its stream must not take the connection to have it open still
	c.flush()
	if c.Dead() || c.is(isBlocked) {
		return false
	}
	n, err := c.set.kernel.SendRights(int(c.fd), b, fds)
	if err != nil {
		return false // that the peer is gone is found out with the next write
	}
	if n < len(b) { // a backlog begins with a whole value
		c.setBlocked()
		c.keep(b, nil, 0)
		c.block(n)
		c.settleBlocked()
	}
	return true
}
