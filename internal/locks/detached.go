package locks

import (
	"cmp"
	"slices"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/heap"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/lockmgr"
)

// A LOCK.ACQUIRE with a REQID outlives its connection for a grace: its place in the queue is kept, and so is what it was
// granted meanwhile, or holds by its connection. Its process may connect again and repeat the command, which is attached to
// what there is. If it does not come in time, a wait ends, what was granted and told to nobody is given back, and what was
// held by the connection has ended with it. When the process ends, that is at once.
//
// To the lock engine such a request has a connection of its own, whose number no session has: so the engine knows nothing
// of all this.

// Grace is for how long after the end of its connection a request with a REQID keeps its place, and what it was granted.
const Grace = 10 * time.Second

// connectionFor is the connection that the lock engine is to know a request by: that of the call, or with a REQID one of its own. It
// reports false if the caller's process has ended, and has the reply ready then.
func (s *Service) connectionFor(c *session.Call) (lockmgr.ConnID, bool) {
	if !c.IsRequest() {
		return lockmgr.ConnID(c.Session.ID), true
	}
	if _, err := s.processOf(c.Session); err != nil { // which alone may repeat it
		c.Fail(session.ProcessCode(err), "%v", err)
		return 0, false
	}
	return lockmgr.ConnID(s.set.NewID()), true
}

// admitted takes note of who is answered that asked for a lock, and was let in.
func (s *Service) admitted(who *session.Answer, id lockmgr.RequestID, a *acquisition) {
	if !who.Lasts() {
		s.conns[a.Conn] = who.To()
		return
	}
	r := &request{Request: who.Request(), locks: s, id: id, conn: a.Conn, owner: a.Owner, async: a.async}
	r.SetLasting(r)
	r.names = a.Set
	if r.names == nil {
		r.names = []string{a.Name}
	}
	s.requests.byID[id] = r
	s.part.In(r.Session()).requests.add(r)
}

// waitsForLock reports whether a request waits for a lock. One without an outcome that does not is waiting for the disk.
func (s *Service) waitsForLock(r *request) bool {
	_, ok := s.waits[r.id]
	return ok
}

// attach has a request belong to the connection of a call, and no more to the one that it came on before. If that is there
// still, and waits, it is told. It reports false if the caller's process has ended, and has the reply ready then.
func (s *Service) attach(c *session.Call, r *request) bool {
	old, sess := r.Session(), c.Session
	if _, err := s.processOf(sess); err != nil {
		c.Fail(session.ProcessCode(err), "%v", err)
		return false
	}
	s.leaveGrace(r)
	if old != sess {
		s.takeFrom(old, r)
		s.part.In(sess).requests.add(r)
		r.Attach(sess)
	}
	return true
}

// mostDetached is how many requests of a connection that has ended begin their grace at once.
const mostDetached = 128

// detach begins the grace of what a connection that has ended leaves behind, or of some of it: it reports whether that was all. Until
// then what the process asks for has to wait, as it may be just that: see mustWait.
func (s *Service) detach(sess *session.Session) bool {
	x := s.part.Of(sess)
	if x == nil || s.set.Stopping {
		return true
	}
	p := x.process
	n := 0
	for r := range x.requests {
		if n++; n > mostDetached {
			break
		}
		delete(x.requests, r)
		if r.Outcome() != nil && r.bound == 0 && r.told {
			continue // it holds on by itself
		}
		r.process, r.by = p, s.set.Now()+Grace
		r.grace = s.requests.detached.PushBack(r)
		p.sessions++
		p.detached.add(r)
	}
	s.requests.armGraces()
	more := len(x.requests) > 0
	if more != x.detaching {
		x.detaching = more
		by := map[bool]int{true: 1, false: -1}[more]
		p.detaching += by
		s.gone += by
	}
	if more {
		return false
	}
	x.requests = nil
	if p != nil && p.Dead {
		s.abandonDead(p)
	}
	return true
}

// leaveGrace ends the grace of a request, if it has one.
func (s *Service) leaveGrace(r *request) {
	if r.grace == nil {
		return
	}
	s.requests.detached.Remove(r.grace)
	s.requests.armGraces()
	p := r.process
	r.grace, r.process = nil, nil
	delete(p.detached, r)
	p.sessions--
	s.unwatch(p)
}

// armGraces has graceDue called when the next grace ends.
func (q *requests) armGraces() {
	if first := q.detached.Front(); first != nil {
		q.graces.Set(first.Value.(*request).by)
	} else {
		q.graces.Stop()
	}
}

// mostAbandoned is how many requests are abandoned at once. What is left is due in the next turn.
const mostAbandoned = 64

// graceDue ends what nobody came back for: of very much the youngest, and waits before holds, or a lock might be granted to one that is
// about to end.
func (s *Service) graceDue() {
	due := newLeaving()
	for e := s.requests.detached.Front(); e != nil; e = e.Next() {
		r := e.Value.(*request)
		if r.by > s.set.Now() {
			break
		}
		due.Add(s.leaves(r))
	}
	s.abandon(due.some(mostAbandoned), nil)
	s.requests.armGraces()
}

// A leaving is requests that end, in the order in which they do: the youngest first, and waits before holds.
type leaving struct{ *heap.Heap[leaver] }

type leaver struct {
	*request
	waits bool
}

func newLeaving() *leaving {
	return &leaving{heap.New(func(a, b leaver) bool {
		if a.waits != b.waits {
			return a.waits
		}
		return youngestFirst(a.request, b.request) < 0
	})}
}

func (s *Service) leaves(r *request) leaver { return leaver{r, s.waitsForLock(r)} }

// some takes so many of them.
func (l *leaving) some(most int) (some []*request) {
	for l.Len() > 0 && len(some) < most {
		if r, ok := l.Next(); ok {
			some = append(some, r.request)
		}
	}
	return some
}

// abandonDead ends what a process that is gone will not come back for, and reports whether something is left of that: it is ended by
// the share of the user, and then processReady is called again. What the process holds ends like its other holds, behind that.
func (s *Service) abandonDead(p *holder) (more bool) {
	if p.leaving != nil {
		return true
	}
	all := newLeaving()
	for r := range p.detached {
		if !r.told {
			all.Add(s.leaves(r))
		}
	}
	s.abandon(all.some(mostAbandoned), nil)
	if all.Len() == 0 {
		return false
	}
	p.leaving = all
	s.queueEnding(&ending{process: p, leaves: true})
	return true
}

// abandonSome goes on with that.
func (s *Service) abandonSome(e *ending) {
	p := e.process
	if p.leaving != nil {
		s.abandon(p.leaving.some(mostAbandoned), nil)
		if p.leaving.Len() > 0 {
			s.queueEnding(e)
			return
		}
		p.leaving = nil
	}
	if s.processes[p.ID] == p {
		_, reaped := p.Ended()
		s.Ended(p.Process, reaped)
	}
}

// abandonRest ends at once what is left.
func (s *Service) abandonRest(p *holder) {
	if p.leaving != nil {
		s.abandon(p.leaving.some(p.leaving.Len()), nil)
		p.leaving = nil
	}
}

// supersede ends what an owner left behind on a connection that has ended, when the same owner asks anew for the same locks:
// it will not come back for it, and would wait for itself.
func (s *Service) supersede(sess *session.Session, a *lockmgr.Request, pays *account.User) {
	p := s.processes[processID(&sess.Peer)]
	if p == nil || len(p.detached) == 0 {
		return
	}
	var old []*request
	for r := range p.detached {
		if r.owner == a.Owner && slices.ContainsFunc(r.names, func(name string) bool { return name == a.Name || slices.Contains(a.Set, name) }) {
			old = append(old, r)
		}
	}
	s.abandon(old, pays)
}

// abandon ends detached requests: the youngest first, and waits before holds, or a lock might be granted to one that is about
// to end. They are forgotten, but for those who were told of a grant, so that it is not told again. pays is who has it done; nil:
// the time, or the end of their process.
func (s *Service) abandon(all []*request, pays *account.User) {
	slices.SortFunc(all, youngestFirst)
	for _, r := range all {
		if r.grace != nil && s.waitsForLock(r) {
			r.Forget()
			s.stepFor(pays, func(now lockmgr.Time) { s.locks.Cancel(now, r.id) }, nil)
		}
	}
	for _, r := range all {
		switch g, granted := r.Outcome().(grants); {
		case r.grace == nil:
		case !granted: // it waits for the disk, which will not take long
			r.by = s.set.Now() + Grace
			s.requests.detached.MoveToBack(r.grace)
			s.requests.armGraces()
		case r.told:
			// Which is one set at most.
			s.stepFor(pays, func(now lockmgr.Time) { s.locks.EndConn(now, r.conn, lockmgr.Disconnected, 0, lockmgr.All) }, nil)
		default:
			r.Forget()
			for i := range g {
				s.stepFor(pays, func(now lockmgr.Time) {
					_ = s.locks.Leave(now, g[i].Name, g[i].Token, g[i].Owner.Process) // or it ended meanwhile
				}, nil)
			}
		}
	}
}

func youngestFirst(a, b *request) int { return cmp.Compare(b.id, a.id) }

// requestsOf is what a connection waits for with a REQID.
func (s *Service) requestsOf(sess *session.Session) *leaving {
	all := newLeaving()
	if x := s.part.Of(sess); x != nil {
		for r := range x.requests {
			if s.waitsForLock(r) {
				all.Add(s.leaves(r))
			}
		}
	}
	return all
}

// cancelRequests ends some of what a connection waits for with a REQID, and reports whether none is left.
func (s *Service) cancelRequests(all *leaving) bool {
	for _, r := range all.some(mostEnded) {
		s.step(func(now lockmgr.Time) { s.locks.Cancel(now, r.id) }) // or it was granted meanwhile
	}
	return all.Len() == 0
}
