package server

import "fmt"

// verify panics if the engines or the loop's own accounts contradict themselves.
func (s *Server) verify() {
	if err := s.locks.Check(); err != nil {
		panic(fmt.Sprintf("lockmgr: %v", err))
	}
	claims, conns := 0, map[uint32]int{}
	buffers := map[uint32]int{}
	for _, p := range s.processes {
		claims += p.claims
	}
	count := 0
	for fd, sess := range s.sessions {
		if sess == nil {
			continue
		}
		count++
		conns[sess.peer.UID]++
		buffers[sess.peer.UID] += int(sess.chargedIn) + int(sess.chargedOut)
		if at, _ := valueAt(sess.own, len(sess.own)); at != len(sess.own) {
			panic(fmt.Sprintf("the backlog of session %d ends within a value", sess.id))
		}
		if sess.fd != fd {
			panic(fmt.Sprintf("session of descriptor %d stands at %d", sess.fd, fd))
		}
	}
	if count != s.count {
		panic(fmt.Sprintf("%d sessions, counted %d", count, s.count))
	}
	locks := 0
	for uid, u := range s.users {
		locks += u.locks
		if u.connections != conns[uid] {
			panic(fmt.Sprintf("user %d has %d connections, counted %d", uid, conns[uid], u.connections))
		}
		if u.input+u.output != buffers[uid] {
			panic(fmt.Sprintf("user %d is charged %d and %d bytes, counted %d", uid, u.input, u.output, buffers[uid]))
		}
	}
	if locks != claims || locks != s.held+len(s.waits) {
		panic(fmt.Sprintf("%d claims of users, %d of processes, %d holds and %d waits", locks, claims, s.held, len(s.waits)))
	}
}
