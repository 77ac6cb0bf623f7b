package server

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/lockmgr"
)

// lockState is what the loop keeps beside the lock engine: who waits on which connection, and which processes it
// watches for it.
type lockState struct {
	locks     *lockmgr.Manager
	waits     map[lockmgr.RequestID]wait
	conns     map[lockmgr.ConnID]*session // those that acquired something
	processes map[lockmgr.Process]*process
	pidfds    map[int]*process
	ending    []ending
	held      int  // holds in all
	raising   bool // RaiseMark is under way
	stopBy    time.Duration
	scratch   []byte
}

// A wait is a request that is not answered yet.
type wait struct {
	sess  *session
	async bool // the answer is a push
}

// A process is one that is watched through its pidfd, because it holds or waits for something, or did on a connection
// that is still there. It is shared by all connections of the process.
type process struct {
	id       lockmgr.Process
	pidfd    int
	claims   int // holds and waits
	dead     bool
	sessions int // connections that point here
}

// An ending is an end that is certain, while the kernel is given a moment to tell more about it: a connection's, whose
// process may be just about to die, or a process's, whose parent may be about to reap it.
type ending struct {
	conn    *session // nil: the process ended
	process *process // whose end is the better word
	by      time.Duration
}

// endingTime is that moment.
const endingTime = 5 * time.Millisecond

// tokenBatch is how far ahead of the time of day the durable mark for tokens is set, in microseconds: over an hour, and
// as many tokens. It is raised when less than half of that is left.
const tokenBatch = 1 << 32

// NextMark is the mark to make durable when last is the last token that may have been given: see package lockmgr.
func NextMark(last uint64, now time.Time) uint64 {
	return min(max(last, uint64(max(now.UnixMicro(), 0)))+tokenBatch, uint64(lockmgr.MaxToken))
}

func (s *Server) startLocks() {
	mark := lockmgr.Token(s.setup.Mark)
	if s.setup.RaiseMark == nil {
		mark = lockmgr.MaxToken
	}
	s.lockState = lockState{
		locks:     lockmgr.New(lockmgr.Token(s.setup.Token), mark),
		waits:     map[lockmgr.RequestID]wait{},
		conns:     map[lockmgr.ConnID]*session{},
		processes: map[lockmgr.Process]*process{},
		pidfds:    map[int]*process{},
	}
}

// raiseMark asks for a higher mark when half of the batch is used up. It is done elsewhere: it waits for the disk.
func (s *Server) raiseMark() {
	if s.setup.RaiseMark == nil || s.raising {
		return
	}
	last, mark := s.locks.Tokens()
	next := NextMark(uint64(last), s.realTime())
	if next <= uint64(mark)+tokenBatch/2 && mark > last || mark == lockmgr.MaxToken {
		return
	}
	s.raising = true
	s.setup.RaiseMark(next)
}

// MarkRaised is the answer to Setup.RaiseMark.
func (s *Server) MarkRaised(mark uint64, err error) {
	s.Post(func() {
		s.raising = false
		if err != nil {
			s.log.Error("cannot reserve lock tokens", "event", "state-failed", "error", err)
			return
		}
		s.locks.Reserve(s.lockTime(), lockmgr.Token(mark))
		s.carryOut()
	})
}

func (s *Server) lockTime() lockmgr.Time {
	return lockmgr.Time{Boot: s.now(), Real: s.realTime().UnixMicro()}
}

func (s *Server) waiting() int { return len(s.waits) }

// admitClaim keeps the accounts of a claim that was let in; endClaim of one that ended.
func (s *Server) admitClaim(uid uint32, sess *session, p *process) {
	s.user(uid).locks++
	p.claims++
	s.conns[lockmgr.ConnID(sess.id)] = sess
}

func (s *Server) endClaim(c *lockmgr.Claim) {
	s.user(c.UID).locks--
	s.forget(c.UID)
	p := s.processes[c.Owner.Process]
	p.claims--
	s.unwatch(p)
}

// carryOut does what the engine's last steps ask for.
func (s *Server) carryOut() {
	effects := s.locks.Effects()
	for i := range effects {
		e := &effects[i]
		switch e.Kind {
		case lockmgr.Acquired:
			s.held++
			s.stats.granted++
			s.bind(&e.Claim, 1)
			s.answer(e.ID, func(b []byte, p ipc.Proto) []byte { return appendGrant(b, p, e) })
		case lockmgr.Ended:
			s.held--
			s.bind(&e.Claim, -1)
			s.endClaim(&e.Claim)
			if e.End.Abandoned() {
				s.log.Warn("a lock was abandoned", "event", "abandoned", "lock", e.Name, "how", e.End.String(), "token", uint64(e.Token),
					"pid", e.Owner.Process.PID, "uid", e.UID, "unit", e.Unit)
			}
		case lockmgr.TimedOut:
			s.endClaim(&e.Claim)
			s.answer(e.ID, func(b []byte, _ ipc.Proto) []byte { return s.appendTimeout(b, &e.Claim) })
		case lockmgr.Cancelled:
			s.endClaim(&e.Claim)
			s.answer(e.ID, func(b []byte, _ ipc.Proto) []byte { return s.appendCancelled(b) })
		}
		s.announce(e)
	}
	if len(effects) > 0 {
		s.raiseMark()
	}
}

// bind counts the holds that end with a connection.
func (s *Server) bind(c *lockmgr.Claim, n int) {
	if sess := s.conns[c.Conn]; sess != nil && c.Bind == lockmgr.ToConnection {
		sess.extra().held += n
	}
}

// answer gives a request its outcome: as the reply that the connection waits for, or as a push.
func (s *Server) answer(id lockmgr.RequestID, outcome func([]byte, ipc.Proto) []byte) {
	w, ok := s.waits[id]
	if !ok {
		return
	}
	delete(s.waits, id)
	sess := w.sess
	b := s.scratch[:0]
	if w.async {
		b = sess.proto.AppendPush(b, 3)
		b = ipc.AppendBulk(b, "done")
		b = ipc.AppendInt(b, int64(id))
	}
	b = outcome(b, sess.proto)
	s.scratch = b[:0]
	if w.async {
		s.send(sess, b)
		return
	}
	if sess.more != nil {
		sess.more.wait = 0
	}
	s.replyLater(sess, b)
}

// cancelWait ends what a connection waits for, as its peer sends no more.
func (s *Server) cancelWait(sess *session) {
	if x := sess.more; x != nil && x.wait != 0 {
		s.locks.Cancel(s.lockTime(), x.wait)
		s.carryOut()
	} else if sess.is(stateWaiting) {
		s.watch(sess) // for a reload, which goes on
	}
}

// cancelAll ends all waits of a connection.
func (s *Server) cancelAll(sess *session) {
	if s.conns[lockmgr.ConnID(sess.id)] == nil {
		return
	}
	s.cancelWaits(func(other *session) bool { return other == sess })
}

// cancelWaits ends the waits of some connections: the youngest first, or the lock might be granted to one that is about
// to end as well, when one before it in the queue has gone.
func (s *Server) cancelWaits(of func(*session) bool) {
	var ids []lockmgr.RequestID
	for id, w := range s.waits {
		if of(w.sess) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range slices.Backward(ids) {
		s.locks.Cancel(s.lockTime(), id)
	}
	s.carryOut()
}

// dropLocks gives back what a connection that is gone held. If the connection was all that its process had to say, the
// process has probably ended, and the kernel will tell how in a moment: that is worth more to the next holder than
// "disconnected".
func (s *Server) dropLocks(sess *session) {
	s.cancelAll(sess)
	switch x := sess.more; {
	case s.conns[lockmgr.ConnID(sess.id)] == nil:
	case x != nil && x.held > 0:
		s.ending = append(s.ending, ending{sess, sess.process, s.now() + endingTime})
	default:
		delete(s.conns, lockmgr.ConnID(sess.id))
	}
	if p := sess.process; p != nil {
		p.sessions--
		s.unwatch(p)
	}
}

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

// watchProcess has the loop see a process end. It owns pidfd.
func (s *Server) watchProcess(who *peer.Peer, pidfd int) (*process, error) {
	id := lockmgr.Process{PID: who.PID, Start: who.Start}
	if p := s.processes[id]; p != nil {
		_ = unix.Close(pidfd)
		return p, nil
	}
	// Edge-triggered: the descriptor stays readable after the exit, and says once more when the process is reaped.
	if err := s.poll.add(pidfd, kindProcess, unix.EPOLLIN|unix.EPOLLET); err != nil {
		_ = unix.Close(pidfd)
		return nil, err
	}
	p := &process{id: id, pidfd: pidfd}
	s.processes[id] = p
	s.pidfds[pidfd] = p
	return p, nil
}

// unwatch forgets a process that nobody needs to know the end of.
func (s *Server) unwatch(p *process) {
	if p.claims == 0 && p.sessions == 0 {
		delete(s.processes, p.id)
		delete(s.pidfds, p.pidfd)
		s.poll.remove(p.pidfd) // a client that sent it may have it open still, and send it again
		_ = unix.Close(p.pidfd)
	}
}

// processReady handles what a pidfd says.
func (s *Server) processReady(pidfd int) {
	p := s.pidfds[pidfd]
	if p == nil {
		return
	}
	exited, reaped := peer.Ended(pidfd)
	p.dead = p.dead || exited
	switch {
	case p.claims == 0:
	case reaped:
		s.endProcess(p)
	case exited:
		s.ending = append(s.ending, ending{nil, p, s.now() + endingTime})
	}
}

// endProcess ends what a process that is gone held, with what the kernel tells about its end.
func (s *Server) endProcess(p *process) {
	how, status := lockmgr.Unknown, 0
	if end, ok := peer.Status(p.pidfd); ok && end.Signal != 0 {
		how, status = lockmgr.Killed, int(end.Signal)
	} else if ok {
		how, status = lockmgr.Exited, end.Code
	}
	s.locks.EndProcess(s.lockTime(), p.id, how, status)
	s.carryOut()
}

// locksDue does what the time has come for: waits that time out, ends that the kernel tells no more about.
func (s *Server) locksDue() {
	if at, ok := s.locks.Deadline(); ok && at <= s.now() {
		s.locks.Expire(s.lockTime())
		s.carryOut()
	}
	s.endingsDue()
}

// endingsDue ends what the kernel was given time to tell more about.
func (s *Server) endingsDue() {
	later := s.ending[:0]
	for _, e := range s.ending {
		switch {
		case e.conn == nil && e.process.claims == 0: // reaped meanwhile
		case e.conn != nil && (e.conn.more.held == 0 || e.process.dead): // likewise, or its process has an ending of its own
			delete(s.conns, lockmgr.ConnID(e.conn.id))
		case e.by > s.now():
			later = append(later, e)
		case e.conn == nil:
			s.endProcess(e.process)
		default:
			s.locks.EndConn(s.lockTime(), lockmgr.ConnID(e.conn.id), lockmgr.Disconnected, 0)
			s.carryOut()
			delete(s.conns, lockmgr.ConnID(e.conn.id))
		}
	}
	clear(s.ending[len(later):])
	s.ending = later
}

// reconnected is called when a process that is alive asks for a lock: what it held on a connection that ended just now
// need not wait for the process to end.
func (s *Server) reconnected(p *process) {
	if len(s.ending) == 0 || p.dead {
		return
	}
	for i := range s.ending {
		if e := &s.ending[i]; e.conn != nil && e.process == p {
			e.by = 0
		}
	}
	s.endingsDue()
}

// locksNext is when locksDue has something to do, 0 for never.
func (s *Server) locksNext() time.Duration {
	at, _ := s.locks.Deadline()
	for _, e := range s.ending {
		at = earlier(at, e.by)
	}
	return at
}

func (s *Server) closeLocks() {
	for fd := range s.pidfds {
		_ = unix.Close(fd)
	}
	clear(s.pidfds)
	clear(s.processes)
}
