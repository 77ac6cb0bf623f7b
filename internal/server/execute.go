package server

import (
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// mayTakeLong reports whether a command is to be timed, and to wait if its user has had his time. To what a message goes is
// not known before, so if anybody took long in this turn it is suspected, and while there are sessions that are late: who has those
// publishes more when they have what was published before.
func (s *Server) mayTakeLong(c *session.Call) bool {
	switch flags := c.Row.Flags; {
	case flags&wire.FlagSlow != 0:
		return true
	case flags&wire.FlagFanOut != 0:
		return s.messages.MatchIsSlow() || s.set.Users.AnySpent() || s.set.Net.Late() > 0
	case flags&wire.FlagQueues != 0:
		return s.locks.AskingIsSlow()
	case flags&wire.FlagAsks != 0:
		return s.asking.AskingIsSlow()
	}
	return false
}
