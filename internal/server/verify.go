package server

import (
	"fmt"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/lockmgr"
)

// verify panics if the engines or the loop's own accounts contradict themselves.
func (s *Server) verify() {
	if err := s.locks.Check(); err != nil {
		panic(fmt.Sprintf("lockmgr: %v", err))
	}
	found := account.Count{}
	s.set.Net.Check(found)
	for sess := range s.set.All() {
		sess.Count(found)
		s.messages.Count(sess, found)
		if x := s.part.Of(sess); x != nil {
			found.Add(sess.User().UID(), account.Subscriptions, len(x.follows))
		}
	}
	for _, m := range s.once.done {
		found.Add(m.UID, account.Marks, 1)
	}
	s.verifyClaims(found)
	s.messages.Verify(found)
	if err := s.set.Users.Mismatch(found); err != nil {
		panic(err.Error())
	}
	if values, _ := s.messages.Retained(); s.held+values < 100 { // it costs much
		s.journal.Verify()
	}
	s.verifyFollowers()
	s.set.VerifyRequests()
	s.verifyRequests()
	s.verifyTimers()
}

// verifyClaims compares what is counted of claims with the engine's, and counts what they cost their users.
func (s *Server) verifyClaims(found account.Count) {
	held, queued, ends := 0, 0, map[lockmgr.Process]int{}
	for v := range s.locks.All() {
		held, queued = held+len(v.Holders), queued+len(v.Waiters)
		for _, c := range append(v.Holders, v.Waiters...) {
			found.Add(c.UID, lockColumn(c.Bind), 1)
			if watched(&c) {
				ends[c.Owner.Process]++
			}
		}
	}
	if held != s.held || queued != s.queued {
		panic(fmt.Sprintf("%d claims hold and %d wait, counted %d and %d", held, queued, s.held, s.queued))
	}
	for id, p := range s.processes {
		if p.claims != ends[id] {
			panic(fmt.Sprintf("%d claims end with process %d, counted %d", ends[id], id.PID, p.claims))
		}
		if p.claims == 0 && p.sessions == 0 && !s.locks.Unreaped(id) {
			panic(fmt.Sprintf("process %d is watched for nothing", id.PID))
		}
	}
	for path, p := range s.groups.byPath {
		if s.processes[p.id] != p {
			panic(fmt.Sprintf("cgroup %q is watched for nothing", path))
		}
	}
}

// verifyFollowers checks that what is followed is there, and known to who follows it.
func (s *Server) verifyFollowers() {
	if len(s.followers) == 0 {
		return
	}
	held := map[lockmgr.Token]bool{}
	for v := range s.locks.All() {
		for _, c := range v.Holders {
			held[c.Token] = true
		}
	}
	for t, all := range s.followers {
		if !held[t] || all.Len() == 0 {
			panic(fmt.Sprintf("%d connections follow token %d, which is Held: %v", all.Len(), t, held[t]))
		}
		for f := all.Front(); f != nil; f = f.Next() {
			if sess := f.Value.(*session.Session); sess.FD() < 0 || s.part.Of(sess).follows[t] != f {
				panic(fmt.Sprintf("session %d follows token %d without knowing it", sess.ID, t))
			}
		}
	}
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
	expiry, expires := s.locks.Deadline()
	if check("waits and leases", &s.expiry, expires); expires && s.expiry.At() != expiry {
		panic(fmt.Sprintf("the lock engine is called at %v, but wants to be at %v", s.expiry.At(), expiry))
	}
	s.requests.verifyTimers(check)
	for id, p := range s.processes {
		for _, e := range p.endings {
			check(fmt.Sprintf("an ending of process %d", id.PID), &e.over, !e.queued)
		}
	}
	s.messages.VerifyTimers(check)
	s.set.VerifyTimers(check)
	s.journal.VerifyTimers(check)
	check("unseen holders", &s.holders.retry, len(s.holders.unseen) > 0)
	check("the watchdog", &s.watchdog, s.setup.WatchdogEvery > 0)
	check("the stop", &s.stopTime, s.set.Stopping && !s.quit)
	if n := s.set.Loop.Timers.Len(); n != known {
		panic(fmt.Sprintf("%d timers are set, %d of them by what there is", n, known))
	}
}
