package server

import (
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
)

const (
	// timeSlice is how long the commands of one session are executed in a turn, if there are more, and how long all that waits
	// for its user's share of a turn is looked after: those who ask for much wait for each other and not the others for them.
	timeSlice = time.Millisecond / 2
	// stride is after how many commands the clock is looked at, unless they are slow.
	stride = 16
	// fewPatterns is how many globs a message may be compared with before it counts as slow, and how many routes it may take.
	fewPatterns = 32
	// fewClaims is how many holds and waits there may be before to ask for a lock, which may have to look at all, counts as slow.
	fewClaims = 1000
)

// execute executes the commands in b and returns how many bytes they were.
func (s *Server) execute(sess *session, b []byte) (used int) {
	if sess.is(stateExec) && !s.resumeExec(sess) {
		return 0
	}
	var begun time.Duration // since the start
	for i := 1; used < len(b) && !s.paused(sess); i++ {
		words, n, err := sess.parser.Next(b[used:], s.words)
		s.words = words
		if err != nil {
			s.badInput(sess, err)
			return len(b)
		}
		if n == 0 {
			break
		}
		if begun == 0 && used+n < len(b) {
			begun = time.Since(s.started)
		}
		if len(words) > 0 && !s.dispatch(sess, words) {
			break
		}
		used += n
		if s.turnBytes > maxTurnBytes {
			s.flushAll()
		}
		switch {
		case used == len(b):
			sess.state &^= stateSlow
		case s.stopping:
			if (i%stride == 0 || s.call.slow()) && s.stopLate() {
				return used
			}
		case (i%stride == 0 || sess.is(stateSlow) || s.call.slow() || s.bus.NumPat() > fewPatterns) && time.Since(s.started)-begun > timeSlice:
			if i < 4*stride {
				sess.state |= stateSlow
			}
			s.slice(sess)
		}
	}
	return used
}

// slice has a session go on in a later turn.
func (s *Server) slice(sess *session) {
	sess.state |= stateSliced
	s.queue(sess)
}

// mayTakeLong reports whether a command is to be timed, and to wait if its user has had his time. To what a message goes is
// not known before, so if anybody took long in this turn it is suspected, and while there are sessions that are late: who has those
// publishes more when they have what was published before.
func (s *Server) mayTakeLong(c *call) bool {
	switch flags := c.cmd.Flags; {
	case flags&wire.FlagSlow != 0:
		return true
	case flags&wire.FlagFanOut != 0:
		return s.bus.NumPat() > fewPatterns || s.users.AnySpent() || s.late > 0
	case flags&wire.FlagQueues != 0:
		return s.held+s.queued > fewClaims
	}
	return false
}
