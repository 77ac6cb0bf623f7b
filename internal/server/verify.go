package server

import (
	"fmt"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/loop"
)

// verify panics if the engines or the loop's own accounts contradict themselves.
func (s *Server) verify() {
	found := account.Count{}
	s.set.Net.Check(found)
	for sess := range s.set.All() {
		sess.Count(found)
		s.messages.Count(sess, found)
		s.locks.Count(sess, found)
		s.asking.Count(sess, found)
	}
	s.locks.Verify(found)
	s.messages.Verify(found)
	s.asking.Verify(found)
	s.wills.Verify(found)
	if err := s.set.Users.Mismatch(found); err != nil {
		panic(err.Error())
	}
	if values, _ := s.messages.Retained(); s.locks.Figures().Held+values+s.wills.Len() < 100 { // it costs much
		s.journal.Verify()
	}
	s.watch.Verify(s.locks.Watched() + s.wills.Watched())
	s.set.VerifyRequests()
	s.verifyTimers()
}

// verifyTimers checks that all that has a deadline has a timer, and that no other is set: none is left behind for what has ended.
func (s *Server) verifyTimers() {
	if err := s.set.Loop.Timers.Check(); err != nil {
		panic(err.Error())
	}
	known := 0
	check := func(what string, t *loop.Timer, want bool) {
		if t.IsSet() != want {
			panic(fmt.Sprintf("the timer of %s is set: %v", what, t.IsSet()))
		}
		if want {
			known++
		}
	}
	s.watch.VerifyTimers(check)
	s.locks.VerifyTimers(check)
	s.messages.VerifyTimers(check)
	s.asking.VerifyTimers(check)
	s.wills.VerifyTimers(check)
	s.set.VerifyTimers(check)
	s.journal.VerifyTimers(check)
	check("the watchdog", &s.watchdog, s.setup.WatchdogEvery > 0)
	check("the losses", &s.lossTime, len(s.losses) > 0)
	check("the stop", &s.stopTime, s.set.Stopping && !s.quit)
	if n := s.set.Loop.Timers.Len(); n != known {
		panic(fmt.Sprintf("%d timers are set, %d of them by what there is", n, known))
	}
}
