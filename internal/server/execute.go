package server

import (
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
)

const (
	// timeSlice is how long the commands of one session are executed in a turn, if there are more, and how long all that waits
	// for its user's share of a turn is looked after: those who ask for much wait for each other and not the others for them.
	timeSlice = time.Millisecond / 2
	// fewPatterns is how many globs a message may be compared with before it counts as slow, and how many routes it may take.
	fewPatterns = 32
	// fewClaims is how many holds and waits there may be before to ask for a lock, which may have to look at all, counts as slow.
	fewClaims = 1000
)

// mayTakeLong reports whether a command is to be timed, and to wait if its user has had his time. To what a message goes is
// not known before, so if anybody took long in this turn it is suspected, and while there are sessions that are late: who has those
// publishes more when they have what was published before.
func (s *Server) mayTakeLong(c *call) bool {
	switch flags := c.cmd.Flags; {
	case flags&wire.FlagSlow != 0:
		return true
	case flags&wire.FlagFanOut != 0:
		return s.bus.NumPat() > fewPatterns || s.users.AnySpent() || s.net.Late() > 0
	case flags&wire.FlagQueues != 0:
		return s.held+s.queued > fewClaims
	}
	return false
}
