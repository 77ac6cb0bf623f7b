package conn

import (
	"slices"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A right is a descriptor that came with a read. It is for a command that has some of the bytes of that read, and for no other: a command
// that is refused, and has none, does not leave one to those behind it, or take one of theirs. (A read ends with the write that
// has descriptors: see unix(7).)
type right struct {
	fd       int
	from, to int // where these bytes are, behind the commands that are executed
}

// takeRights keeps the descriptors that came with the read of bytes for the commands they belong to. lost says that not all of them came.
func (c *Conn) takeRights(fds []int, from, to int, lost bool) {
	x := c.extra()
	for _, fd := range fds {
		if len(x.rights) < wire.MaxDescriptors {
			x.rights = append(x.rights, right{fd, from, to})
			continue
		}
		c.Discard(fd)
		c.endFor(wire.CodeProto, "too many file descriptors that no command took")
	}
	if lost { // which of them are missing, and of which command, cannot be told
		c.endFor(wire.CodeQuota, "the daemon has no file descriptor left for those that were sent")
	}
}

// TakeFD is the oldest descriptor that came with the command, or -1. The caller owns it, and may give it to Discard.
func (c *Conn) TakeFD() int {
	fd := c.NextFD()
	if fd >= 0 {
		c.more.rights = slices.Delete(c.more.rights, 0, 1) // there are few, and the room is for the next
	}
	return fd
}

// NextFD is what TakeFD would be, which is not taken.
func (c *Conn) NextFD() int {
	if !c.hasRights() || c.more.rights[0].from >= c.more.commandLen {
		return -1
	}
	return c.more.rights[0].fd
}

func (c *Conn) hasRights() bool { return c.more != nil && len(c.more.rights) > 0 }

// passCommand goes on behind the bytes of a command.
func (c *Conn) passCommand(n int) {
	x := c.more
	x.commandLen = 0
	for i := range x.rights {
		x.rights[i].from -= n
		x.rights[i].to -= n
	}
	if !c.is(isUnfinished) {
		c.closePassed()
	}
}

// closePassed closes the descriptors that came with commands that have been executed, and that none of them took.
func (c *Conn) closePassed() {
	for c.hasRights() && c.more.rights[0].to <= 0 {
		c.Discard(c.more.rights[0].fd)
		c.more.rights = slices.Delete(c.more.rights, 0, 1)
	}
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

// closeRights closes the descriptors that no command took.
func (c *Conn) closeRights() {
	if !c.hasRights() {
		return
	}
	rights := c.more.rights
	c.more.rights = nil
	for _, r := range rights {
		c.Discard(r.fd)
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
