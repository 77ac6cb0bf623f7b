package locks

import (
	"fmt"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/lockmgr"
)

// Verify panics if the lock engine or the accounts beside it contradict themselves, and counts what claims and marks cost whom.
func (s *Service) Verify(found account.Count) {
	if err := s.locks.Check(); err != nil {
		panic(fmt.Sprintf("lockmgr: %v", err))
	}
	for _, m := range s.once.done {
		found.Add(m.UID, account.Marks, 1)
	}
	s.verifyClaims(found)
	s.verifyFollowers()
	s.verifyRequests()
}

// Count counts what a session follows.
func (s *Service) Count(sess *session.Session, found account.Count) {
	if x := s.part.Of(sess); x != nil {
		found.Add(sess.User().UID(), account.Subscriptions, len(x.follows))
	}
}

// verifyClaims compares what is counted of claims with the engine's, and counts what they cost their users.
func (s *Service) verifyClaims(found account.Count) {
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
		if p.claims == 0 && p.sessions == 0 && p.endings.Len == 0 && !s.locks.Unreaped(id) {
			panic(fmt.Sprintf("process %d is watched for nothing", id.PID))
		}
	}
}

// verifyFollowers checks that what is followed is there, and known to who follows it.
func (s *Service) verifyFollowers() {
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
			panic(fmt.Sprintf("%d connections follow token %d, which is held: %v", all.Len(), t, held[t]))
		}
		for f := all.Front(); f != nil; f = f.Next() {
			if sess := f.Value.(*session.Session); sess.FD() < 0 || s.part.Of(sess).follows[t] != f {
				panic(fmt.Sprintf("session %d follows token %d without knowing it", sess.ID, t))
			}
		}
	}
}

// VerifyTimers names the timers of the locks.
func (s *Service) VerifyTimers(check session.CheckTimer) {
	expiry, expires := s.locks.Deadline()
	if check("waits and leases", &s.expiry, expires); expires && s.expiry.At() != expiry {
		panic(fmt.Sprintf("the lock engine is called at %v, but wants to be at %v", s.expiry.At(), expiry))
	}
	s.requests.verifyTimers(check)
	for id, p := range s.processes {
		p.endings.All(endings, func(e *ending) bool {
			check(fmt.Sprintf("an ending of process %d", id.PID), &e.over, !e.queued)
			return true
		})
	}
}
