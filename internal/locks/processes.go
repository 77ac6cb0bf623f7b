package locks

import (
	"fmt"
	"slices"
	"time"

	"github.com/ipcd/ipcd/internal/cgroup"
	"github.com/ipcd/ipcd/internal/list"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/process"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/lockmgr"
)

// A holder is a process that is watched, because it holds or waits for something, or did on a connection
// that is still there, or because it is remembered that it held something and ended, and not how. It is shared by all
// connections of the process.
type holder struct {
	*process.Process
	uid       uint32            // whose claims they are
	claims    int               // holds and waits that end with it
	learning  bool              // how it ended is known, and is not said yet of all that it was unknown of
	stop      peer.Stop         // as it was at
	stopAt    time.Duration     // a turn of the loop; see Service.stopOf
	sessions  int               // connections and detached requests that point here
	ancestors []lockmgr.Process // from the parent up, once somebody asked; see Service.ancestors
	detached  requestSet        // those in their grace that came on its connections
	detaching int               // connections that have ended, of whose requests some are not detached yet
	leaving   *leaving          // those of them that end, as it is gone
	endings   list.List[ending] // its own and those of its connections, the oldest first
	own       *ending           // its own among them, nil if it has none
}

// An ending is an end that is certain, while the kernel is given a moment to tell more about it: a connection's, whose
// process may be just about to die, or a process's, whose parent may be about to reap it.
type ending struct {
	conn    *session.Session  // nil: the process ended
	process *holder           // whose end is the better word
	among   list.Link[ending] // those of the process
	left    bool              // it is none of them any more
	over    loop.Timer
	tries   int // how often it was given another moment, as the process is exiting

	// When the time is over: see remains.go.
	known    bool // that the kernel tells no more; of a process also how it ended
	how      lockmgr.How
	status   int
	breaking *breaking // that is what is left of a LOCK.BREAK; nil: it is not
	leaves   bool      // that are requests in their grace: see abandonDead

	queued bool    // for its user's share of a turn
	next   *ending // in that queue
}

func endings(e *ending) *list.Link[ending] { return &e.among }

// processOf is the watched process that a session's locks are held by.
func (s *Service) processOf(sess *session.Session) (*holder, error) {
	x := s.part.In(sess)
	if x.process == nil {
		is, err := s.watch.OfPeer(sess.FD(), &sess.Peer)
		if err != nil {
			return nil, err
		}
		p := s.adopt(is)
		p.sessions++
		x.process = p
	}
	if x.process.Dead { // a child has its connection; nobody would see this hold end
		return nil, fmt.Errorf("process %d, which connected, has ended", sess.Peer.PID)
	}
	return x.process, nil
}

// processID is how the lock engine knows a process.
func processID(p *peer.Peer) lockmgr.Process { return process.IDOf(p) }

// adopt is what is known here of a process that is watched. It takes the use of it.
func (s *Service) adopt(is *process.Process) *holder {
	if p := s.processes[is.ID]; p != nil {
		is.Release()
		return p
	}
	p := &holder{Process: is}
	s.processes[is.ID] = p
	return p
}

// unwatch forgets a process that nobody needs to know the end of.
func (s *Service) unwatch(p *holder) {
	if p.claims == 0 && p.sessions == 0 && p.endings.Len == 0 && !s.locks.Unreaped(p.ID) {
		delete(s.processes, p.ID)
		p.Release()
	}
}

// Ended ends what is held by a process that has ended, if the kernel says how or has had its time: see process.Watcher.
func (s *Service) Ended(is *process.Process, reaped bool) {
	p := s.processes[is.ID]
	if p == nil || s.abandonDead(p) || p.claims == 0 && !s.locks.Unreaped(p.ID) {
		return
	}
	switch how, status := p.How(reaped); {
	case how != lockmgr.Unreaped:
		s.endProcess(p, how, status)
	case p.claims > 0 && p.own == nil:
		s.awaitEnd(p, nil)
	}
}

// endProcess ends what a process held that is gone, and mends what was said of it before. Of very much the rest is ended, or mended,
// later.
func (s *Service) endProcess(p *holder, how lockmgr.How, status int) {
	more := false
	s.step(func(now lockmgr.Time) {
		more = s.locks.EndProcess(now, p.ID, how, status, mostEnded)
		p.learning = s.locks.Learn(p.ID, how, status, mostEnded)
	})
	if more || p.learning {
		e := p.own
		if e == nil {
			e = s.newEnding(p, nil)
		}
		e.known, e.how, e.status = true, how, status
		s.endLater(e)
	}
	s.forgetEndings(p)
}

// buryProcess is endProcess with what is known by now.
func (s *Service) buryProcess(p *holder) {
	_, reaped := p.Ended()
	how, status := p.How(reaped)
	s.endProcess(p, how, status)
}

// awaitEnd gives the kernel a moment to tell more about the end of a process, or of one of its connections, before that ends what
// was held.
func (s *Service) awaitEnd(p *holder, conn *session.Session) {
	s.newEnding(p, conn).over.Set(s.set.Now() + s.watch.EndingTime())
}

func (s *Service) newEnding(p *holder, conn *session.Session) *ending {
	e := &ending{conn: conn, process: p}
	e.over.Init(&s.set.Loop.Timers, func() { s.endLater(e) })
	p.endings.Push(e, endings)
	if conn != nil {
		s.gone++
	} else {
		p.own = e
	}
	return e
}

// isOpen reports whether there is something left to end: the process may have been reaped meanwhile, or a connection's process
// may have ended, which has an ending of its own.
func (s *Service) isOpen(e *ending) bool {
	if e.conn == nil {
		return e.process.isLeft()
	}
	return s.part.Of(e.conn).held > 0 && !e.process.Dead
}

// isLeft reports whether there is something left to be done of what a process held that has ended.
func (p *holder) isLeft() bool { return p.claims > 0 || p.learning }

// forgetEnding forgets one of which nothing is left, or which is another's now; and the process, if that was the last that it is watched for.
func (s *Service) forgetEnding(e *ending) {
	e.over.Stop()
	if e.left {
		return // it is forgotten, and was in a queue still
	}
	p := e.process
	e.left = true
	p.endings.Remove(e, endings)
	if e.conn != nil {
		delete(s.conns, lockmgr.ConnID(e.conn.ID))
		s.gone--
	} else {
		p.own = nil
	}
	s.unwatch(p)
}

// mostForgotten is how many endings of which nothing is left are forgotten at once. The others are when their time is over.
const mostForgotten = 64

// forgetEndings is forgetEnding for those of a process that has ended, of which nothing is left.
func (s *Service) forgetEndings(p *holder) {
	n := 0
	p.endings.All(endings, func(e *ending) bool {
		if !s.isOpen(e) {
			s.forgetEnding(e)
		}
		n++
		return n < mostForgotten
	})
}

// settleEndings ends at once what the kernel was given time to tell more about, and what is left of other ends.
func (s *Service) settleEndings(p *holder) {
	s.abandonRest(p)
	for e := p.endings.First; e != nil; e = p.endings.First { // one may settle others
		for e.noMore(); s.endStep(e); {
			continue
		}
	}
}

// mostSettled is for how many connections a process that goes on is not waited for any more, with one look at whether it is.
const mostSettled = 4

// reconnected is called when a process that is alive asks for a lock: what it held on a connection that ended just now
// need not wait for the process to end. It ends some of that, and reports whether some is left.
func (s *Service) reconnected(p *holder) (left bool) {
	if p.Dead {
		return false
	}
	for n := 0; n < mostSettled && p.endings.Len > 0 && !s.events.EventsInLine(p.uid); n++ {
		e := p.endings.First
		e.noMore()
		if s.endStep(e) {
			s.endLater(e)
		}
	}
	return p.endings.Len > 0
}

// stopOf is what keeps the process of a claim from running: a lock that is held by one may be held for ever. A lease, and what a
// person holds, need no process. A listing may show one process ten thousand times, so it is looked at once in a turn.
func (s *Service) stopOf(c *lockmgr.Claim) peer.Stop {
	if c.Token != 0 && !watched(c) {
		return peer.Runs
	}
	id, now := c.Owner.Process, s.set.Now()
	p := s.processes[id]
	if id.IsGroup() {
		if cgroup.IsFrozen([]byte(c.Owner.Label)) {
			return peer.ByFreezer
		}
		return peer.Runs
	}
	if p == nil {
		return peer.StopOf(id.PID, id.Start)
	}
	if p.stopAt != now {
		p.stop, p.stopAt = peer.StopOf(id.PID, id.Start), now
	}
	return p.stop
}

// unpin undoes the watching that a command needed.
func (s *Service) unpin(p *holder) {
	p.claims--
	s.unwatch(p)
}

// ancestors are the processes that the one who asks for a lock descends from. They matter if it would wait for one of them,
// so nobody looks for them unless somebody of the same user holds what is asked for.
func (s *Service) ancestors(p *holder, sess *session.Session, r *lockmgr.Request) []lockmgr.Process {
	if !s.heldByUser(r) {
		return nil
	}
	if p == nil || p.ID.IsGroup() {
		x := s.part.In(sess)
		if x.ancestors == nil {
			x.ancestors = ancestorsOf(processID(&sess.Peer))
		}
		return s.withGroups(x.ancestors, sess.Peer.PID)
	}
	if p.ancestors == nil {
		p.ancestors = ancestorsOf(p.ID)
	}
	return s.withGroups(p.ancestors, p.ID.PID)
}

// withGroups are ancestors and the cgroups that a process is in and that hold locks, which do not end before it.
func (s *Service) withGroups(ancestors []lockmgr.Process, pid int) []lockmgr.Process {
	if groups := s.watch.GroupsOf(pid); groups != nil {
		return append(slices.Clip(ancestors), groups...)
	}
	return ancestors
}

// heldByUser reports whether the user of a request holds one of the locks that it is for.
func (s *Service) heldByUser(r *lockmgr.Request) bool {
	for i := range max(len(r.Set), 1) {
		name := r.Name
		if r.Set != nil {
			name = r.Set[i]
		}
		for h := range s.locks.Holders(name) {
			if h.UID == r.UID {
				return true
			}
		}
	}
	return false
}

func ancestorsOf(p lockmgr.Process) []lockmgr.Process {
	all := []lockmgr.Process{} // not nil: they were looked for
	for _, a := range peer.Ancestors(p.PID, p.Start) {
		if a.PID > 1 { // all descend from the first process, and it waits for none of them in particular
			all = append(all, lockmgr.Process{PID: a.PID, Start: a.Start})
		}
	}
	return all
}
