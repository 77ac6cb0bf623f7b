package server

import "time"

// A turn is shared by users. What a session has to do and the turn has no time for stands in the queue of its user: events that
// came when it was full, commands of a session whose time was up, a listing that goes on, the rest of a burial. A turn looks
// after each user who has a queue, in rounds of one session each, until the user has had his share: so who has thousands of
// connections that all want something waits for himself.

// queue has a session go on when it is its user's turn.
func (s *Server) queue(sess *session) {
	if sess.is(stateQueued) {
		return
	}
	sess.state |= stateQueued
	u := s.user(sess.peer.UID)
	if u.last == nil {
		u.first = sess
		if !u.busy {
			u.busy = true
			s.busy = append(s.busy, u)
		}
	} else {
		u.last.next = sess
	}
	u.last = sess
}

// unqueue takes the first session off a user's queue.
func (u *user) unqueue() *session {
	sess := u.first
	u.first, sess.next = sess.next, nil
	if u.first == nil {
		u.last = nil
	}
	sess.state &^= stateQueued
	return sess
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

// goOn serves those who stand in the queues of their users: in rounds of one session for each user, until the queues are empty
// or those who still stand there have had their share of this turn. In the first round one session of each user is served however
// long the turn has lasted, unless the costly commands of that user have had their time in it.
func (s *Server) goOn() {
	begun := time.Since(s.started)
	now := begun
	for round := 0; ; round++ {
		served := false
		for i := 0; i < len(s.busy); i++ { // who is served may make others busy
			u := s.busy[i]
			if u.first == nil || s.overspent(u.first) || round > 0 && (u.had > timeSlice || now-begun > 2*timeSlice) {
				continue
			}
			s.serve(u.unqueue())
			served = true
			before := now
			now = time.Since(s.started)
			u.had += now - before
		}
		if !served {
			break
		}
		if round == 0 {
			s.flushAll() // who wants little has waited long enough
		}
	}
	still := s.busy[:0]
	for _, u := range s.busy {
		u.had = 0
		if u.busy = u.first != nil; u.busy {
			still = append(still, u)
		} else if u.nothing() {
			delete(s.users, u.uid)
		}
	}
	clear(s.busy[len(still):])
	s.busy = still
}

// serve does what a session stood in the queue for.
func (s *Server) serve(sess *session) {
	s.serving = sess
	if sess.is(stateDead) {
		s.dead = append(s.dead, sess) // its burial goes on
	} else {
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
	return len(s.busy) > 0 && sess != s.serving && !s.stopping && s.user(sess.peer.UID).first != nil
}
