package server

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/lockmgr"
)

// verify panics if the engines or the loop's own accounts contradict themselves.
func (s *Server) verify() {
	if err := s.locks.Check(); err != nil {
		panic(fmt.Sprintf("lockmgr: %v", err))
	}
	found := account.Count{}
	s.net.Check(found)
	for sess := range s.sessions() {
		s.countServices(sess, found)
	}
	for _, m := range s.once.done {
		found.Add(m.UID, account.Marks, 1)
	}
	s.verifyClaims(found)
	s.verifyRetained(found)
	if err := s.users.Mismatch(found); err != nil {
		panic(err.Error())
	}
	if s.recorder.journal != nil && s.recorder.journal.Room() == nil && !s.recorder.behind() && s.held+s.retained.topics.Len() < 100 { // it costs much
		s.verifyJournal()
	}
	s.verifyFollowers()
	s.verifyRequests()
	s.verifyTimers()
}

// countServices counts what hangs on a session and costs its user something.
func (s *Server) countServices(sess *session, found account.Count) {
	uid := sess.user().UID()
	if x := sess.more; x != nil {
		found.Add(uid, account.Subscriptions, len(x.follows))
		if t := x.transaction; t != nil {
			found.Add(uid, account.Input, t.input.Amount())
			found.Add(uid, account.Output, t.output.Amount())
		}
	}
	if in := sess.more != nil && sess.more.transaction != nil; in != sess.is(stateMulti|stateExec) || sess.is(stateMulti) && sess.is(stateExec) {
		panic(fmt.Sprintf("session %d has a transaction: %v", sess.id, in))
	}
	if sess.is(stateSubscribed) {
		globs, others := s.bus.Weight(sess)
		found.Add(uid, account.Patterns, globs)
		found.Add(uid, account.Subscriptions, others)
	}
}

// verifyJournal compares what is in the journal with what is.
func (s *Server) verifyJournal() {
	records, err := s.recorder.journal.Read()
	if err != nil {
		panic(fmt.Sprintf("the journal cannot be read: %v", err))
	}
	if _, bad := record.Read(records); bad != nil {
		panic(fmt.Sprintf("the journal: %v", errors.Join(bad...)))
	}
	if got, want := recordTexts(slices.Values(records)), recordTexts(s.allRecords()); !slices.Equal(got, want) {
		panic(fmt.Sprintf("the journal has\n%s\nand not\n%s", strings.Join(got, "\n"), strings.Join(want, "\n")))
	}
}

// recordTexts are records as text, in order.
func recordTexts(records iter.Seq[record.Record]) []string {
	var all []string
	for is := range records {
		all = append(all, string(is.Append(nil)))
	}
	slices.Sort(all)
	return all
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
			panic(fmt.Sprintf("%d connections follow token %d, which is held: %v", all.Len(), t, held[t]))
		}
		for f := all.Front(); f != nil; f = f.Next() {
			if sess := f.Value.(*session); sess.FD() < 0 || sess.more.follows[t] != f {
				panic(fmt.Sprintf("session %d follows token %d without knowing it", sess.id, t))
			}
		}
	}
}

// verifyTimers checks that all that has a deadline has a timer, and that no other is set: none is left behind for what has ended.
func (s *Server) verifyTimers() {
	if err := s.loop.Timers.Check(); err != nil {
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
	all := s.retained.topics.All()
	for more := true; more; {
		var k *kept
		var ok bool
		if k, ok, more = all.Next(); ok {
			check("a retained value", &k.expiry, k.Expires != 0)
		}
	}
	check("log records", &s.logPeriod, s.logLimit.Next() != 0)
	check("records of holds", &s.recorder.retry, s.recorder.behind())
	check("unseen holders", &s.holders.retry, len(s.holders.unseen) > 0)
	check("the watchdog", &s.watchdog, s.setup.WatchdogEvery > 0)
	check("the stop", &s.stopTime, s.stopping && !s.quit)
	if n := s.loop.Timers.Len(); n != known {
		panic(fmt.Sprintf("%d timers are set, %d of them by what there is", n, known))
	}
}
