package process

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cgroup"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/lockmgr"
)

// Sight is how processes are looked at. The functions in it are called by the loop and must not block.
type Sight struct {
	// EndingTime is how long the kernel is given to tell how a process ended before what was bound to it ends: 0 is 5 ms.
	EndingTime time.Duration
	// OpenPeer opens a pidfd of the process that connected: nil is [peer.PIDFD].
	OpenPeer func(fd int, who peer.Peer) (int, error)
	// OpenProcess opens a pidfd of a process that was known to a daemon before this one: nil is [peer.Open].
	OpenProcess func(peer.Peer) (int, error)
	// ZombieStatus tells how a process ended that its parent has not reaped yet, if it can: nil is peer.ZombieStatus.
	ZombieStatus func(pid int, start uint64) (peer.End, bool)
}

// endingTime is how long the kernel is given to tell more about an end, unless Sight says otherwise.
const endingTime = 5 * time.Millisecond

// MostTries is how often it is given that time at most while a process is on its way out, as one may hang in its exit.
const MostTries = 200

// A Watcher is a service that something is bound to processes in.
type Watcher interface {
	// Ended is called when a watched process has ended, and again when its parent has reaped it.
	Ended(p *Process, reaped bool)
	// Gone is called when a process that was known to a daemon before has ended: how, nobody can say any more.
	Gone(p *Process)
}

// A Set is the processes that are watched. It belongs to the loop's goroutine.
type Set struct {
	loop     *loop.Loop
	log      *slog.Logger
	sight    Sight
	watchers []Watcher

	byID   map[lockmgr.Process]*Process
	byFD   map[int]*Process
	kind   loop.Kind
	groups groups
	known  known
}

// A Process is one that is watched, for as long as somebody needs to know its end: each who got it gives it back by Release.
type Process struct {
	ID   lockmgr.Process
	Path string // of a cgroup, whose descriptor is that of its directory: see groups.go; "" of a process
	Dead bool   // it has ended, as the loop was told

	set  *Set
	fd   int // -1: not yet, see known
	uses int
}

// New makes a set in which nothing is watched.
func New(l *loop.Loop, log *slog.Logger, sight Sight) *Set {
	sight.EndingTime = cmp.Or(sight.EndingTime, endingTime)
	if sight.OpenPeer == nil {
		sight.OpenPeer = peer.PIDFD
	}
	if sight.OpenProcess == nil {
		sight.OpenProcess = peer.Open
	}
	if sight.ZombieStatus == nil {
		sight.ZombieStatus = peer.ZombieStatus
	}
	s := &Set{loop: l, log: log, sight: sight, byID: map[lockmgr.Process]*Process{}, byFD: map[int]*Process{}}
	s.kind = l.Handle(s.ready)
	s.startGroups()
	s.known.retry.Init(&l.Timers, s.FindKnown)
	return s
}

// Tell has a service be told of ends.
func (s *Set) Tell(w Watcher) { s.watchers = append(s.watchers, w) }

// EndingTime is how long the kernel is given to tell how a process ended.
func (s *Set) EndingTime() time.Duration { return s.sight.EndingTime }

// IDOf is how services know a process.
func IDOf(p *peer.Peer) lockmgr.Process { return lockmgr.Process{PID: p.PID, Start: p.Start} }

// OfPeer watches the process that connected the socket fd.
func (s *Set) OfPeer(fd int, who *peer.Peer) (*Process, error) {
	if p := s.byID[IDOf(who)]; p != nil && p.fd >= 0 {
		return p.use(), nil
	}
	pidfd, err := s.sight.OpenPeer(fd, *who)
	if err != nil {
		return nil, err
	}
	return s.Of(who, pidfd)
}

// Of watches the process of a pidfd, which is the set's from then on.
func (s *Set) Of(who *peer.Peer, pidfd int) (*Process, error) {
	p := s.byID[IDOf(who)]
	if p != nil && p.fd >= 0 {
		_ = unix.Close(pidfd)
		return p.use(), nil
	}
	// Edge-triggered: the descriptor stays readable after the exit, and says once more when the process is reaped.
	if err := s.loop.Add(pidfd, s.kind, unix.EPOLLIN|loop.Edge); err != nil {
		_ = unix.Close(pidfd)
		return nil, err
	}
	if p == nil {
		p = s.add(IDOf(who), "")
	}
	p.fd = pidfd
	s.byFD[pidfd] = p
	return p.use(), nil
}

// add makes a process that nobody uses yet, nor is watched.
func (s *Set) add(id lockmgr.Process, path string) *Process {
	p := &Process{ID: id, Path: path, set: s, fd: -1}
	s.byID[id] = p
	return p
}

func (p *Process) use() *Process {
	p.uses++
	return p
}

// Release has the process be watched no more for who calls, and forgets one that nobody needs to know the end of.
func (p *Process) Release() {
	if p.uses--; p.uses > 0 {
		return
	}
	s := p.set
	delete(s.byID, p.ID)
	switch {
	case p.fd < 0:
		return
	case p.ID.IsGroup():
		s.forgetGroup(p.Path, p)
	default:
		delete(s.byFD, p.fd)
		s.loop.Remove(p.fd) // a client that sent it may have it open still, and send it again
	}
	_ = unix.Close(p.fd)
	p.fd = -1
}

// ready handles what a pidfd says.
func (s *Set) ready(pidfd int, _ uint32) {
	if p := s.byFD[pidfd]; p != nil {
		p.Look()
	}
}

// Look asks the kernel whether a process has ended, and has all who need to know be told.
func (p *Process) Look() {
	ended, reaped := p.Ended()
	if !ended {
		return
	}
	p.Dead = true
	p.uses++ // for as long as they are told
	for _, w := range p.set.watchers {
		w.Ended(p, reaped)
	}
	p.Release()
}

// Ended asks the kernel whether a process has ended, and whether its parent has reaped it too; or whether a cgroup was removed.
func (p *Process) Ended() (ended, reaped bool) {
	switch {
	case p.fd < 0:
		return p.Dead, p.Dead
	case p.ID.IsGroup():
		gone := cgroup.IsGone(p.fd)
		return gone, gone
	}
	return peer.Ended(p.fd)
}

// IsGoing reports whether a process has ended or is about to, whether or not the loop was told.
func (p *Process) IsGoing() bool {
	if p.Dead || p.IsExiting() {
		return true
	}
	ended, _ := p.Ended()
	return ended
}

// IsExiting reports whether a process is on its way out.
func (p *Process) IsExiting() bool { return !p.ID.IsGroup() && peer.Exiting(p.ID.PID, p.ID.Start) }

// How is what the kernel tells about how a process ended that has. What it does not tell when the process is reaped it
// never will, nor does an older kernel then.
func (p *Process) How(reaped bool) (how lockmgr.How, status int) {
	if p.ID.IsGroup() || p.fd < 0 { // of each of its processes it may be another way
		return lockmgr.Unknown, 0
	}
	end, ok := peer.Status(p.fd)
	if !ok && !reaped {
		end, ok = p.set.sight.ZombieStatus(p.ID.PID, p.ID.Start)
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

// Duplicate is another descriptor of the process, or of the directory of the cgroup, for somebody else.
func (p *Process) Duplicate() (int, error) {
	return unix.FcntlInt(uintptr(p.fd), unix.F_DUPFD_CLOEXEC, 0)
}

// Uses is how many uses there are of all processes.
func (s *Set) Uses() (n int) {
	for _, p := range s.byID {
		n += p.uses
	}
	return n
}

// Verify panics if something is watched for nothing, or if there are not as many uses as the services know of.
func (s *Set) Verify(uses int) {
	for id, p := range s.byID {
		if p.uses <= 0 {
			panic(fmt.Sprintf("process %d is watched for nothing", id.PID))
		}
	}
	for path, p := range s.groups.byPath {
		if s.byID[p.ID] != p {
			panic(fmt.Sprintf("cgroup %q is watched for nothing", path))
		}
	}
	if n := s.Uses(); n != uses {
		panic(fmt.Sprintf("there are %d uses of processes, and services know of %d", n, uses))
	}
}

// VerifyTimers names the timer of the set.
func (s *Set) VerifyTimers(check func(what string, t *loop.Timer, want bool)) {
	check("processes that are not found again", &s.known.retry, len(s.known.unseen) > 0)
}

// Close closes the descriptors of all processes, after the loop.
func (s *Set) Close() {
	for fd := range s.byFD {
		_ = unix.Close(fd)
	}
	s.closeGroups()
	clear(s.byFD)
	clear(s.byID)
}
