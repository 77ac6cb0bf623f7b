package locks

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cgroup"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/lockmgr"
)

// A process is one that is watched through its pidfd, because it holds or waits for something, or did on a connection
// that is still there, or because it is remembered that it held something and ended, and not how. It is shared by all
// connections of the process.
type process struct {
	id        lockmgr.Process
	path      string // of a cgroup, whose descriptor is that of its directory: see groups.go; "" of a process
	pidfd     int    // -1: not yet, see holders
	uid       uint32 // whose claims they are
	claims    int    // holds and waits that end with it
	dead      bool
	learning  bool              // how it ended is known, and is not said yet of all that it was unknown of
	stop      peer.Stop         // as it was at
	stopAt    time.Duration     // a turn of the loop; see Service.stopOf
	sessions  int               // connections and detached requests that point here
	ancestors []lockmgr.Process // from the parent up, once somebody asked; see Service.ancestors
	detached  requestSet        // those in their grace that came on its connections
	detaching int               // connections that have ended, of whose requests some are not detached yet
	leaving   *leaving          // those of them that end, as it is gone
	endings   []*ending         // its own and those of its connections, the oldest first
}

// An ending is an end that is certain, while the kernel is given a moment to tell more about it: a connection's, whose
// process may be just about to die, or a process's, whose parent may be about to reap it.
type ending struct {
	conn    *session.Session // nil: the process ended
	process *process         // whose end is the better word
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

// mostEndings is how often an ending is given another moment at most, as a process may hang in its exit.
const mostEndings = 200

// endingTime is how long the kernel is given to tell more about an end, unless Setup says otherwise.
const endingTime = 5 * time.Millisecond

// processOf is the watched process that a session's locks are held by.
func (s *Service) processOf(sess *session.Session) (*process, error) {
	x := s.part.In(sess)
	if x.process == nil {
		fd, err := s.setup.OpenPeer(sess.FD(), sess.Peer)
		if err != nil {
			return nil, err
		}
		p, err := s.watchProcess(&sess.Peer, fd)
		if err != nil {
			return nil, err
		}
		p.sessions++
		x.process = p
	}
	if x.process.dead { // a child has its connection; nobody would see this hold end
		return nil, fmt.Errorf("process %d, which connected, has ended", sess.Peer.PID)
	}
	return x.process, nil
}

// processID is how the lock engine knows a process.
func processID(p *peer.Peer) lockmgr.Process { return lockmgr.Process{PID: p.PID, Start: p.Start} }

// watchProcess has the loop see a process end. It owns pidfd.
func (s *Service) watchProcess(who *peer.Peer, pidfd int) (*process, error) {
	id := processID(who)
	p := s.processes[id]
	if p != nil && p.pidfd >= 0 {
		_ = unix.Close(pidfd)
		return p, nil
	}
	// Edge-triggered: the descriptor stays readable after the exit, and says once more when the process is reaped.
	if err := s.set.Loop.Add(pidfd, s.pidfdKind, unix.EPOLLIN|loop.Edge); err != nil {
		_ = unix.Close(pidfd)
		return nil, err
	}
	if p == nil {
		p = &process{id: id}
		s.processes[id] = p
	}
	p.pidfd = pidfd
	s.pidfds[pidfd] = p
	return p, nil
}

// unwatch forgets a process that nobody needs to know the end of.
func (s *Service) unwatch(p *process) {
	if p.claims == 0 && p.sessions == 0 && !s.locks.Unreaped(p.id) {
		delete(s.processes, p.id)
		s.forgetEndings(p)
		if p.pidfd < 0 {
			return
		}
		if p.id.IsGroup() {
			s.unwatchGroup(p)
			return
		}
		delete(s.pidfds, p.pidfd)
		s.set.Loop.Remove(p.pidfd) // a client that sent it may have it open still, and send it again
		_ = unix.Close(p.pidfd)
	}
}

// processReady handles what a pidfd says.
func (s *Service) processReady(pidfd int, _ uint32) {
	p := s.pidfds[pidfd]
	if p == nil {
		return
	}
	exited, reaped := peer.Ended(pidfd)
	p.dead = p.dead || exited
	if !exited || s.abandonDead(p) || p.claims == 0 && !s.locks.Unreaped(p.id) {
		return
	}
	switch how, status := s.howEnded(p, reaped); {
	case how != lockmgr.Unreaped:
		s.endProcess(p, how, status)
	case p.claims > 0 && p.ownEnding() == nil:
		s.awaitEnd(p, nil)
	}
}

// howEnded is what the kernel tells about how a process ended that has. What it does not tell when the process is reaped it
// never will, nor does an older kernel then.
func (s *Service) howEnded(p *process, reaped bool) (how lockmgr.How, status int) {
	if p.id.IsGroup() { // of each of its processes it may be another way
		return lockmgr.Unknown, 0
	}
	end, ok := peer.Status(p.pidfd)
	if !ok && !reaped {
		end, ok = s.setup.ZombieStatus(p.id.PID, p.id.Start)
	}
	switch {
	case ok && end.Signal != 0:
		return lockmgr.Killed, int(end.Signal)
	case ok:
		return lockmgr.Exited, end.Code
	case reaped || !peer.TellsStatus():
		return lockmgr.Unknown, 0
	}
	return lockmgr.Unreaped, 0
}

// endProcess ends what a process held that is gone, and mends what was said of it before. Of very much the rest is ended, or mended,
// later.
func (s *Service) endProcess(p *process, how lockmgr.How, status int) {
	more := false
	s.step(func(now lockmgr.Time) {
		more = s.locks.EndProcess(now, p.id, how, status, mostEnded)
		p.learning = s.locks.Learn(p.id, how, status, mostEnded)
	})
	if more || p.learning {
		e := p.ownEnding()
		if e == nil {
			e = s.newEnding(p, nil)
		}
		e.known, e.how, e.status = true, how, status
		s.endLater(e)
	}
	s.forgetEndings(p)
}

// isGoing reports whether a process has ended or is about to, whether or not the loop was told.
func (p *process) isGoing() bool {
	if p.dead || !p.id.IsGroup() && peer.Exiting(p.id.PID, p.id.Start) {
		return true
	}
	ended, _ := p.ended()
	return ended
}

// ended asks the kernel whether a process has ended, and whether its parent has reaped it too; or whether a cgroup was removed.
func (p *process) ended() (ended, reaped bool) {
	if p.id.IsGroup() {
		gone := cgroup.IsGone(p.pidfd)
		return gone, gone
	}
	return peer.Ended(p.pidfd)
}

// buryProcess is endProcess with what is known by now.
func (s *Service) buryProcess(p *process) {
	_, reaped := p.ended()
	how, status := s.howEnded(p, reaped)
	s.endProcess(p, how, status)
}

// awaitEnd gives the kernel a moment to tell more about the end of a process, or of one of its connections, before that ends what
// was held.
func (s *Service) awaitEnd(p *process, conn *session.Session) {
	s.newEnding(p, conn).over.Set(s.set.Now() + s.setup.EndingTime)
}

func (s *Service) newEnding(p *process, conn *session.Session) *ending {
	e := &ending{conn: conn, process: p}
	e.over.Init(&s.set.Loop.Timers, func() { s.endLater(e) })
	p.endings = append(p.endings, e)
	if conn != nil {
		s.gone++
	}
	return e
}

// ownEnding is the ending of a process itself, nil if it has none.
func (p *process) ownEnding() *ending {
	for _, e := range p.endings {
		if e.conn == nil {
			return e
		}
	}
	return nil
}

// isOpen reports whether there is something left to end: the process may have been reaped meanwhile, or a connection's process
// may have ended, which has an ending of its own.
func (s *Service) isOpen(e *ending) bool {
	if e.conn == nil {
		return e.process.isLeft()
	}
	return s.part.Of(e.conn).held > 0 && !e.process.dead
}

// isLeft reports whether there is something left to be done of what a process held that has ended.
func (p *process) isLeft() bool { return p.claims > 0 || p.learning }

// forgetEnding forgets one of which nothing is left, or which is another's now.
func (s *Service) forgetEnding(e *ending) {
	e.over.Stop()
	i := slices.Index(e.process.endings, e)
	if i < 0 {
		return // it is forgotten, and was in a queue still
	}
	e.process.endings = slices.Delete(e.process.endings, i, i+1)
	if e.conn != nil {
		delete(s.conns, lockmgr.ConnID(e.conn.ID))
		s.gone--
	}
}

// forgetEndings is forgetEnding for all of a process of which nothing is left.
func (s *Service) forgetEndings(p *process) {
	for _, e := range slices.Clone(p.endings) {
		if !s.isOpen(e) {
			s.forgetEnding(e)
		}
	}
}

// settleEndings ends at once what the kernel was given time to tell more about, and what is left of other ends.
func (s *Service) settleEndings(p *process) {
	s.abandonRest(p)
	for _, e := range slices.Clone(p.endings) { // one may settle others
		for e.noMore(); s.endStep(e); {
			continue
		}
	}
}

// reconnected is called when a process that is alive asks for a lock: what it held on a connection that ended just now
// need not wait for the process to end. It reports whether some of that is left.
func (s *Service) reconnected(p *process) (left bool) {
	if p.dead {
		return false
	}
	for _, e := range slices.Clone(p.endings) {
		e.noMore()
		if s.endStep(e) {
			s.endLater(e)
			left = true
		}
	}
	return left
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
func (s *Service) unpin(p *process) {
	p.claims--
	s.unwatch(p)
}

// ancestors are the processes that the one who asks for a lock descends from. They matter if it would wait for one of them,
// so nobody looks for them unless somebody of the same user holds what is asked for.
func (s *Service) ancestors(p *process, sess *session.Session, r *lockmgr.Request) []lockmgr.Process {
	if !s.heldByUser(r) {
		return nil
	}
	if p == nil || p.id.IsGroup() {
		x := s.part.In(sess)
		if x.ancestors == nil {
			x.ancestors = ancestorsOf(processID(&sess.Peer))
		}
		return s.withGroups(x.ancestors, sess.Peer.PID)
	}
	if p.ancestors == nil {
		p.ancestors = ancestorsOf(p.id)
	}
	return s.withGroups(p.ancestors, p.id.PID)
}

// withGroups are ancestors and the cgroups that a process is in and that hold locks, which do not end before it.
func (s *Service) withGroups(ancestors []lockmgr.Process, pid int) []lockmgr.Process {
	if groups := s.groupsOf(pid); groups != nil {
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
