package locks

import (
	"container/list"
	"fmt"
	"slices"
	"time"

	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// A request is a LOCK.ACQUIRE with a REQID, from when it was let in: what there is of it beside its outcome. See session.Lasting.
type request struct {
	*session.Request
	locks    *Service
	id       lockmgr.RequestID
	conn     lockmgr.ConnID // stands for whichever connection its session is
	owner    lockmgr.Owner
	names    []string
	previous map[string]*lockmgr.End // how the holds before ended, by name, as far as it is granted
	async    bool
	told     bool         // somebody was there to be told the outcome
	held     int          // claims of it that hold
	bound    int          // those of them that end with the connection
	ended    *lockmgr.End // the first of them that ended

	// While its connection has ended, and it has not: see detach.
	grace   *list.Element
	by      time.Duration
	process *holder
}

// requests are those that wait or hold.
type requests struct {
	byID     map[lockmgr.RequestID]*request
	detached list.List  // in the order in which their grace ends
	graces   loop.Timer // set to the first of these
}

// A requestSet is some of them.
type requestSet map[*request]struct{}

func (all *requestSet) add(r *request) {
	if *all == nil {
		*all = requestSet{}
	}
	(*all)[r] = struct{}{}
}

// bound is how many locks they hold that end with the connection.
func (all requestSet) bound() (n int) {
	for r := range all {
		n += r.bound
	}
	return n
}

// Waits is the lock that a repeat would wait for.
func (r *request) Waits() string {
	if r.async || !r.locks.waitsForLock(r) {
		return ""
	}
	return r.names[0]
}

// Rejoin attaches a repeat to a request that has no outcome yet.
func (r *request) Rejoin(c *session.Call) {
	s := r.locks
	if !s.attach(c, r) {
		return
	}
	a := session.AnswerTo(c.Session, r.Ticket())
	if r.async {
		c.Integer(int64(r.id))
		c.Reply()
	}
	if s.waitsForLock(r) {
		s.waitFor(r.id, a, c.Pays)
	} else {
		a.AwaitDisk()
	}
}

// Retell sees to it that a repeat is not told of a lock that is not held any more.
func (r *request) Retell(c *session.Call) bool {
	g, ok := r.Outcome().(grants)
	if !ok {
		return true
	}
	if lost := r.locks.lost(r, g); lost != nil {
		how := ""
		if r.ended != nil && r.ended.Token == lost.Token {
			how = ": " + r.ended.String()
		}
		c.Fail(wire.CodeStale, "%q was granted with token %d, and that hold has ended%s", lost.Name, lost.Token, how)
		return false
	}
	r.told = true
	return r.held == 0 || r.locks.attach(c, r)
}

// Ticket is what the outcome is pushed by.
func (r *request) Ticket() session.Ticket {
	if !r.async {
		return 0
	}
	return session.Ticket(r.id)
}

// Told says whether somebody was there to be told the outcome.
func (r *request) Told(somebody bool) { r.told = somebody }

// IsLeft reports whether the request holds something.
func (r *request) IsLeft() bool { return r.held > 0 }

// Over takes the request from what leads to it.
func (r *request) Over() {
	s := r.locks
	s.leaveGrace(r)
	delete(s.requests.byID, r.id)
	if sess := r.Session(); sess != nil {
		s.takeFrom(sess, r)
	}
}

// takeFrom has a request not belong to a connection.
func (s *Service) takeFrom(sess *session.Session, r *request) {
	if x := s.part.Of(sess); x != nil {
		delete(x.requests, r)
	}
}

// recorded is what a record says of a request that was granted a lock.
func (r *request) recorded(name string) *record.Command {
	key := r.Key()
	return &record.Command{
		ID: key.ID, UID: key.UID, Process: lockmgr.Process{PID: key.PID, Start: key.Start}, Hash: r.Hash(), Names: r.names, Previous: r.previous[name],
	}
}

// grantedAfter notes how the hold before a lock that is granted to the request has ended.
func (r *request) grantedAfter(name string, previous *lockmgr.End) {
	if previous == nil {
		return
	}
	if r.previous == nil {
		r.previous = map[string]*lockmgr.End{}
	}
	r.previous[name] = previous
}

// restoreRequests makes those known again that the holds were granted to. Whether they were told of it nobody knows: they are
// taken to have been, or a job would lose its lock that goes on under it, and are told again if they ask.
func (s *Service) restoreRequests(holds []*record.Hold) {
	type found struct {
		*record.Command
		id     lockmgr.RequestID
		grants grants
	}
	all := map[session.RequestKey]*found{}
	for _, h := range holds {
		if h.Command == nil {
			continue
		}
		key := session.RequestKey{UID: h.Command.UID, PID: h.Command.Process.PID, Start: h.Command.Process.Start, ID: h.Command.ID}
		f := all[key]
		if f == nil {
			f = &found{Command: h.Command, id: h.Claim.ID}
			all[key] = f
		}
		if f.id == h.Claim.ID && slices.Contains(f.Names, h.Claim.Name) {
			f.grants = append(f.grants, lockmgr.Effect{
				Kind: lockmgr.Acquired, Claim: h.Claim, Limit: h.Limit, Previous: h.Command.Previous, Abandoned: h.Claim.Told,
			})
		}
	}
	for key, f := range all {
		if len(f.grants) != len(f.Names) || s.requests.byID[f.id] != nil {
			continue // it was answered: some of it is given back already
		}
		slices.SortFunc(f.grants, func(a, b lockmgr.Effect) int { return slices.Index(f.Names, a.Name) - slices.Index(f.Names, b.Name) })
		r := &request{locks: s, id: f.id, owner: f.grants[0].Owner, names: f.Names, told: true, held: len(f.grants)}
		for i := range f.grants {
			r.grantedAfter(f.grants[i].Name, f.grants[i].Previous)
		}
		r.Request = s.set.RestoreRequest(key, f.Hash, f.grants, r)
		s.requests.byID[f.id] = r
	}
}

// count takes note of a claim of the request that begins or ends to hold.
func (r *request) count(e *lockmgr.Effect, n int) {
	r.held += n
	if e.Kind == lockmgr.Acquired {
		r.grantedAfter(e.Name, e.Previous)
	}
	if e.Bind == lockmgr.ToConnection {
		r.bound += n
	}
	if r.ended == nil {
		r.ended = e.End
	}
}

// lost is the first of the grants that is not held any more, or was left by its owner.
func (s *Service) lost(r *request, g grants) *lockmgr.Effect {
	for i := range g {
		if _, err := s.locks.Hold(g[i].Name, g[i].Token); err != nil || r.ended != nil && r.ended.Token == g[i].Token {
			return &g[i]
		}
	}
	return nil
}

// verifyRequests checks that each request is where it belongs: it waits or holds, or it is over.
func (s *Service) verifyRequests() {
	q := &s.requests
	held, live := map[lockmgr.RequestID]int{}, 0
	for v := range s.locks.All() {
		for _, c := range v.Holders {
			held[c.ID]++
		}
	}
	for is := range s.set.Requests() {
		r, ok := is.Lasting().(*request)
		if !ok { // for the disk
			continue
		}
		key := r.Key()
		switch {
		case (r.grace != nil) != (r.process != nil):
			panic(fmt.Sprintf("REQID %q of process %d: %d holds, outcome %T", key.ID, key.PID, r.held, r.Outcome()))
		case r.IsOver():
			continue
		}
		live++
		linked := false
		if x := s.part.Of(r.Session()); x != nil {
			_, linked = x.requests[r]
		}
		if q.byID[r.id] != r || r.held != held[r.id] || linked && r.grace != nil {
			panic(fmt.Sprintf("REQID %q of process %d: %d holds, counted %d", key.ID, key.PID, held[r.id], r.held))
		}
		if !linked && r.grace == nil && !s.set.Stopping && (r.Outcome() == nil || r.bound > 0 || !r.told) {
			panic(fmt.Sprintf("REQID %q of process %d belongs to no connection", key.ID, key.PID))
		}
	}
	if live != len(q.byID) {
		panic(fmt.Sprintf("%d requests wait or hold, counted %d", live, len(q.byID)))
	}
}

// verifyTimers checks that the graces end when the first does.
func (q *requests) verifyTimers(check session.CheckTimer) {
	first := q.detached.Front()
	if check("graces", &q.graces, first != nil); first != nil && q.graces.At() != first.Value.(*request).by {
		panic(fmt.Sprintf("graces end at %v, but the first at %v", q.graces.At(), first.Value.(*request).by))
	}
}
