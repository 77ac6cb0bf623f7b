package server

import (
	"time"

	"github.com/ipcd/ipcd/internal/account"
)

// A turn is shared by users: see account.Shares. What a session stands in its user's queue for is events that came when the
// turn's time for them was over, commands of a session whose time was up, a listing that goes on, the rest of a burial.

// startShares has queues be looked after.
func (s *Server) startShares() {
	s.shares = account.Shares[*session]{
		Book: &s.users, Serve: s.serve,
		Now:   func() time.Duration { return time.Since(s.started) },
		Round: s.flushAll, // who wants little has waited long enough
	}
	s.ends = account.Shares[*ending]{Book: &s.users, Serve: s.endSome, Now: s.shares.Now, Round: s.flushAll}
}

// queue has a session go on when it is its user's turn.
func (s *Server) queue(sess *session) {
	if !sess.is(stateQueued) {
		sess.state |= stateQueued
		s.shares.Join(sess.user(), sess)
	}
}

// later has events of a session looked at when it is its user's turn.
func (s *Server) later(sess *session, events uint32) {
	sess.ready |= uint16(events)
	s.queue(sess)
}

// A turnTime tells when what comes first in a turn, events that are handled as they are found, has taken long enough.
type turnTime struct {
	n     int
	begun time.Time
	over  bool
}

// eventStride is after how many events the clock is looked at, and a few times before: they take some ten microseconds together,
// unless one of them is large. If there is only one event, it is not looked at at all.
const eventStride = 8

func (t *turnTime) isOver() bool {
	if t.n++; t.n%eventStride == 0 || t.n == 2 || t.n == 4 {
		t.look()
	}
	return t.over
}

// look looks at the clock.
func (t *turnTime) look() bool {
	switch {
	case t.over:
	case t.begun.IsZero():
		t.begun = time.Now()
	default:
		t.over = time.Since(t.begun) > timeSlice
	}
	return t.over
}

// serve does what a session stood in the queue for.
func (s *Server) serve(sess *session) {
	s.serving = sess
	sess.state &^= stateQueued
	if sess.is(stateDead) {
		s.dead = append(s.dead, sess) // its burial goes on
	} else {
		if sess.is(stateLate) {
			s.flushLate(sess)
		}
		if sess.more != nil && sess.more.task != nil {
			s.goOnWith(sess)
		}
		if sess.is(stateSliced) {
			sess.state &^= stateSliced
			s.run(sess)
		}
		events := sess.ready
		sess.ready = 0
		s.sessionReady(sess, uint32(events))
	}
	s.serving = nil
	if len(s.dead) > 0 {
		s.bury() // to do away with a dead session is served, and counted, like a command
	}
}

// waitsInQueue reports whether others of its user have waited longer than a session for their share.
func (s *Server) waitsInQueue(sess *session) bool {
	return sess != s.serving && s.shares.Queued(sess.user())
}
