package conn

import (
	"time"

	"golang.org/x/sys/unix"
)

// To write to thousands of connections takes longer than a turn has. Those that it has no time for are late: they stand in the queue
// of their user, with what they are to be sent, and are written to when it is their turn. So who has thousands of subscribers waits
// for himself.

// FlushAll writes what the turn produced, one write for each touched connection. When that has taken its part of the turn, or much was
// copied of what sockets did not take, the others are late: each is written when it is its user's turn. What they were to be sent together is theirs then.
func (s *Set) FlushAll() {
	var begun time.Duration
	late, timed, copied := false, false, s.copied
	for i := 0; i < len(s.touched); i++ { // flushing may touch more
		c := s.touched[i]
		s.touched[i] = nil
		switch {
		case late:
		case s.copied-copied > mostCopied:
			late = s.over == nil
		case i == flushStride/2: // who has fewer need not look at it at all
			begun, timed = s.Now(), true
			late = s.flushed > flushSlices*s.Users.Slice && s.over == nil
		case i%flushStride == 0 && timed:
			late = s.flushed+s.Now()-begun > flushSlices*s.Users.Slice && s.over == nil
		}
		if late && !c.Dead() {
			c.flags |= isLate
			s.late++
			c.Queue()
			continue
		}
		c.flags &^= isTouched
		if !c.Dead() {
			c.flush()
		}
	}
	s.touched = s.touched[:0]
	if timed {
		s.flushed += s.Now() - begun
	}
	s.endStreams(late)
	s.turnBytes = 0
}

// flushStride is after how many writes the clock is looked at.
const flushStride = 16

// flushSlices is for how many slices of a turn is written. To write to a connection later costs more than to write to it.
const flushSlices = 2

// mostCopied is how much is copied of what sockets do not take before the other connections are late. If the memory for it is fresh, this
// takes some hundred microseconds.
const mostCopied = 256 << 10

// Copied is how much was copied of what sockets do not take, since the beginning.
func (s *Set) Copied() int { return s.copied }

// Handled is how much was done with the memory of backlogs, since the beginning: how much was copied, how much was looked through for what
// may be dropped, and how much memory was taken for all buffers that had not been one before, which costs the most: the kernel has to find
// and clear it, and while garbage is collected, who asks for it has to do ten times as much of that work.
func (s *Set) Handled() int { return s.copied + s.searched + s.pool.made }

// Late is how many connections wait for their user's turn to be written to.
func (s *Set) Late() int { return s.late }

// maxTurnBytes is how much is encoded and answered in a turn before all is flushed in its middle. With it a
// connection's memory stays within the limit and this.
const maxTurnBytes = 512 << 10

// Relieve flushes in the middle of a turn, if much is to be sent.
func (s *Set) Relieve() {
	if s.turnBytes > maxTurnBytes {
		s.FlushAll()
	}
}

// TurnBytes is how much there is to be sent in this turn. It grows with whatever somebody is told.
func (s *Set) TurnBytes() int { return s.turnBytes }

// flushLate writes what a connection is to be sent whose turn it is now.
func (c *Conn) flushLate() {
	c.notLate()
	if !c.Dead() {
		c.flush()
	}
}

func (c *Conn) notLate() {
	if c.is(isLate) {
		c.flags &^= isLate | isTouched
		c.set.late--
	}
}

// IsReceiving reports whether a connection gets messages as all do. If not, MayReceive says whether it gets them otherwise.
func (c *Conn) IsReceiving() bool { return c.flags&(isAlive|isClosing|isLate) == isAlive }

// MayReceive reports whether a connection gets messages. What more a late one is to be sent goes behind what it is to be sent already,
// within its limits, as if its socket were full.
func (c *Conn) MayReceive() bool {
	if c.Ending() {
		return false
	}
	if c.is(isLate) {
		c.holdBack()
	}
	return !c.Dead()
}

func (c *Conn) holdBack() {
	c.notLate()
	c.closeRange()
	c.setBlocked()
	c.keepPieces(0)
	c.unpack()
	c.later(unix.EPOLLOUT)
	c.settleBlocked()
}
