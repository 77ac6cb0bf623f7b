package server

import (
	"time"

	"golang.org/x/sys/unix"
)

// To write to thousands of sessions takes longer than a turn has. Those that it has no time for are late: they stand in the queue of
// their user, with what they are to be sent, and are written to when it is their turn. So who has thousands of subscribers waits for
// himself.

// flushAll writes what the turn produced, one write for each touched session. When that has taken its part of the turn, the others
// are late: each is written when it is its user's turn. What they were to be sent together is theirs then.
func (s *Server) flushAll() {
	var begun time.Time
	late := false
	for i := 0; i < len(s.touched); i++ { // flushing may touch more
		sess := s.touched[i]
		s.touched[i] = nil
		switch {
		case late:
		case i == flushStride:
			begun = time.Now()
			late = s.flushed > timeSlice && !s.stopping
		case i%flushStride == 0 && i > 0:
			late = s.flushed+time.Since(begun) > timeSlice && !s.stopping
		}
		if late && !sess.is(stateDead) {
			sess.state |= stateLate
			s.late++
			s.queue(sess)
			continue
		}
		sess.state &^= stateTouched
		if !sess.is(stateDead) {
			s.flush(sess)
		}
	}
	s.touched = s.touched[:0]
	if !begun.IsZero() {
		s.flushed += time.Since(begun)
	}
	for _, t := range s.usedTurns {
		if late {
			s.routeTurns[t.slot] = nil
			continue
		}
		t.used, t.steady = false, false
		for i := range t.buffers {
			s.pool.put(t.buffers[i].b)
			t.buffers[i].b, t.buffers[i].starts = nil, nil
		}
	}
	clear(s.usedTurns)
	s.usedTurns = s.usedTurns[:0]
	s.turnBytes = 0
}

// flushStride is after how many writes the clock is looked at.
const flushStride = 8

// flushLate writes what a session is to be sent whose turn it is now.
func (s *Server) flushLate(sess *session) {
	s.notLate(sess)
	if !sess.is(stateDead) {
		s.flush(sess)
	}
}

func (s *Server) notLate(sess *session) {
	if sess.is(stateLate) {
		sess.state &^= stateLate | stateTouched
		s.late--
	}
}

// mayReceive reports whether a session gets messages. What more a late one is to be sent goes behind what it is to be sent already,
// within its limits, as if its socket were full.
func (s *Server) mayReceive(sess *session) bool {
	if sess.is(stateDead | stateClosing) {
		return false
	}
	if sess.is(stateLate) {
		s.holdBack(sess)
	}
	return !sess.is(stateDead)
}

func (s *Server) holdBack(sess *session) {
	s.notLate(sess)
	sess.closeRange()
	s.keepPieces(sess, 0)
	sess.setBlocked()
	s.later(sess, unix.EPOLLOUT)
	s.settleBlocked(sess)
}
