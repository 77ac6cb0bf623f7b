package server

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/lockmgr"
)

// A process is one that is watched through its pidfd, because it holds or waits for something, or did on a connection
// that is still there, or because it is remembered that it held something and ended, and not how. It is shared by all
// connections of the process.
type process struct {
	id        lockmgr.Process
	pidfd     int // -1: not yet, see holders
	claims    int // holds and waits that end with it
	dead      bool
	sessions  int                   // connections and detached requests that point here
	ancestors []lockmgr.Process     // from the parent up, once somebody asked; see Server.ancestors
	detached  map[*request]struct{} // those in their grace that came on its connections
	endings   []*ending             // its own and those of its connections, the oldest first
}

// An ending is an end that is certain, while the kernel is given a moment to tell more about it: a connection's, whose
// process may be just about to die, or a process's, whose parent may be about to reap it.
type ending struct {
	conn    *session // nil: the process ended
	process *process // whose end is the better word
	over    loop.Timer
	tries   int // how often it was given another moment, as the process is exiting
}

// mostEndings is how often an ending is given another moment at most, as a process may hang in its exit.
const mostEndings = 200

// endingTime is how long the kernel is given to tell more about an end, unless Setup says otherwise.
const endingTime = 5 * time.Millisecond

// processOf is the watched process that a session's locks are held by.
func (s *Server) processOf(sess *session) (*process, error) {
	if sess.process == nil {
		fd, err := peer.PIDFD(sess.fd, sess.peer)
		if err != nil {
			return nil, err
		}
		p, err := s.watchProcess(&sess.peer, fd)
		if err != nil {
			return nil, err
		}
		p.sessions++
		sess.process = p
	}
	if sess.process.dead { // a child has its connection; nobody would see this hold end
		return nil, fmt.Errorf("process %d, which connected, has ended", sess.peer.PID)
	}
	return sess.process, nil
}

// processID is how the lock engine knows a process.
func processID(p *peer.Peer) lockmgr.Process { return lockmgr.Process{PID: p.PID, Start: p.Start} }

// watchProcess has the loop see a process end. It owns pidfd.
func (s *Server) watchProcess(who *peer.Peer, pidfd int) (*process, error) {
	id := processID(who)
	p := s.processes[id]
	if p != nil && p.pidfd >= 0 {
		_ = unix.Close(pidfd)
		return p, nil
	}
	// Edge-triggered: the descriptor stays readable after the exit, and says once more when the process is reaped.
	if err := s.loop.Add(pidfd, s.pidfdKind, unix.EPOLLIN|loop.Edge); err != nil {
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
func (s *Server) unwatch(p *process) {
	if p.claims == 0 && p.sessions == 0 && !s.locks.Unreaped(p.id) {
		delete(s.processes, p.id)
		s.settleEndings(p)
		if p.pidfd < 0 {
			return
		}
		delete(s.pidfds, p.pidfd)
		s.loop.Remove(p.pidfd) // a client that sent it may have it open still, and send it again
		_ = unix.Close(p.pidfd)
	}
}

// processReady handles what a pidfd says.
func (s *Server) processReady(pidfd int, _ uint32) {
	p := s.pidfds[pidfd]
	if p == nil {
		return
	}
	exited, reaped := peer.Ended(pidfd)
	p.dead = p.dead || exited
	if exited && len(p.detached) > 0 {
		s.abandonDead(p)
	}
	if !exited || p.claims == 0 && !s.locks.Unreaped(p.id) {
		return
	}
	switch how, status := s.howEnded(p, reaped); {
	case how != lockmgr.Unreaped:
		s.endProcess(p, how, status)
	case p.claims > 0:
		s.awaitEnd(p, nil)
	}
}

// howEnded is what the kernel tells about how a process ended that has. What it does not tell when the process is reaped it
// never will, nor does an older kernel then.
func (s *Server) howEnded(p *process, reaped bool) (how lockmgr.How, status int) {
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

// endProcess ends what a process held that is gone, and mends what was said of it before.
func (s *Server) endProcess(p *process, how lockmgr.How, status int) {
	s.step(func(now lockmgr.Time) {
		s.locks.EndProcess(now, p.id, how, status)
		s.locks.Learn(p.id, how, status)
	})
	s.settleEndings(p)
}

// buryProcess is endProcess with what is known by now.
func (s *Server) buryProcess(p *process) {
	_, reaped := peer.Ended(p.pidfd)
	how, status := s.howEnded(p, reaped)
	s.endProcess(p, how, status)
}

// awaitEnd gives the kernel a moment to tell more about the end of a process, or of one of its connections, before that ends what
// was held.
func (s *Server) awaitEnd(p *process, conn *session) {
	e := &ending{conn: conn, process: p}
	e.over.Init(&s.loop.Timers, func() { s.endingDue(e) })
	e.over.Set(s.now() + s.setup.EndingTime)
	p.endings = append(p.endings, e)
}

// endingDue ends what the kernel was given time to tell more about. A process that is exiting is given more.
func (s *Server) endingDue(e *ending) {
	if e.isOpen() && e.conn != nil && e.tries < mostEndings && peer.Exiting(e.process.id.PID, e.process.id.Start) {
		e.tries++
		e.over.Set(s.now() + s.setup.EndingTime)
		return
	}
	s.settleEnding(e)
}

// isOpen reports whether there is something left to end: the process may have been reaped meanwhile, or a connection's process
// may have ended, which has an ending of its own.
func (e *ending) isOpen() bool {
	if e.conn == nil {
		return e.process.claims > 0
	}
	return e.conn.more.held > 0 && !e.process.dead
}

// settleEnding ends at once what the kernel was given time to tell more about.
func (s *Server) settleEnding(e *ending) {
	open := e.isOpen()
	e.over.Stop()
	all := e.process.endings
	if i := slices.Index(all, e); i >= 0 {
		e.process.endings = slices.Delete(all, i, i+1)
	}
	switch {
	case !open:
	case e.conn == nil:
		s.buryProcess(e.process)
	default:
		s.step(func(now lockmgr.Time) { s.locks.EndConn(now, lockmgr.ConnID(e.conn.id), lockmgr.Disconnected, 0) })
	}
	if e.conn != nil {
		delete(s.conns, lockmgr.ConnID(e.conn.id))
	}
}

// settleEndings is settleEnding for all of a process.
func (s *Server) settleEndings(p *process) {
	for _, e := range slices.Clone(p.endings) { // one may settle others
		s.settleEnding(e)
	}
}

// reconnected is called when a process that is alive asks for a lock: what it held on a connection that ended just now
// need not wait for the process to end.
func (s *Server) reconnected(p *process) {
	if !p.dead {
		s.settleEndings(p)
	}
}

// unpin undoes the watching that a command needed.
func (s *Server) unpin(p *process) {
	p.claims--
	s.unwatch(p)
}

// ancestors are the processes that the one who asks for a lock descends from. They matter if it would wait for one of them,
// so nobody looks for them unless somebody of the same user holds what is asked for.
func (s *Server) ancestors(p *process, sess *session, r *lockmgr.Request) []lockmgr.Process {
	if !s.heldByUser(r) {
		return nil
	}
	if p == nil {
		x := sess.extra()
		if x.ancestors == nil {
			x.ancestors = ancestorsOf(processID(&sess.peer))
		}
		return x.ancestors
	}
	if p.ancestors == nil {
		p.ancestors = ancestorsOf(p.id)
	}
	return p.ancestors
}

// heldByUser reports whether the user of a request holds one of the locks that it is for.
func (s *Server) heldByUser(r *lockmgr.Request) bool {
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
