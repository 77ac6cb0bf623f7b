package locks

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cgroup"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// A hold may belong to all processes of a systemd unit together, which are those of a cgroup. It ends when the cgroup is removed, as
// systemd does when the unit is inactive or has nothing left to run, and not when it is empty: between two commands of a unit it is. To
// everything but this file a cgroup is a process: it has an identity (its number stands in for the time of start), holds and waits
// end with it, the engine is told by EndProcess. The descriptor that others see it end by is that of its directory.
//
// Of a directory of cgroups inotify tells what is removed from it. The kernel does not tell that of the removed one itself.

// groups are the cgroups that something is held by.
type groups struct {
	inotify int // -1: nothing was yet
	kind    loop.Kind
	byPath  map[string]*process
	above   map[string]*groupsBelow // what is watched, by its path
	byWatch map[int]*groupsBelow
}

// groupsBelow are the cgroups in one directory.
type groupsBelow struct {
	watch int
	by    map[string]*process // by the last part of their paths
}

func (s *Service) startGroups() {
	s.groups = groups{inotify: -1, kind: s.set.Loop.Handle(s.groupsChanged), byPath: map[string]*process{}, above: map[string]*groupsBelow{}, byWatch: map[int]*groupsBelow{}}
}

// isGroupPath reports whether a word names a cgroup below the root, as the 0:: line of /proc/PID/cgroup does.
func isGroupPath(word []byte) bool {
	p := string(word)
	return len(p) > 1 && p[0] == '/' && record.IsText(word) && path.Clean(p) == p
}

// groupFor is the cgroup that a caller names, if he may: root, whom it was given to, and who is in it. It is nil if not.
func (s *Service) groupFor(c *session.Call, path string) *process {
	fd, id, err := cgroup.Open(path)
	if err != nil {
		code := session.ProcessCode(err)
		c.Fail(code, "cannot find cgroup %q: %v", path, err)
		return nil
	}
	owner, err := cgroup.Owner(fd)
	if err != nil || !c.MayAct(owner) && !isIn(peer.Cgroup(c.Session.Peer.PID), path) {
		_ = unix.Close(fd)
		c.Fail(wire.CodeDenied, "process %d, which connected, is not in cgroup %q, which is user %d's", c.Session.Peer.PID, path, owner)
		return nil
	}
	p, err := s.watchGroup(lockmgr.Process{PID: lockmgr.Group, Start: id}, path, fd)
	if err != nil {
		c.Fail(session.ProcessCode(err), "cannot watch cgroup %q: %v", path, err)
		return nil
	}
	return p
}

// isIn reports whether a cgroup is another one, or below it.
func isIn(is, path string) bool { return is == path || strings.HasPrefix(is, path+"/") }

// groupsOf are the cgroups that a process is in and that something is held by, the innermost first.
func (s *Service) groupsOf(pid int) (all []lockmgr.Process) {
	if len(s.groups.byPath) == 0 || pid <= 0 {
		return nil
	}
	for is := peer.Cgroup(pid); len(is) > 1; is = path.Dir(is) {
		if p := s.groups.byPath[is]; p != nil {
			all = append(all, p.id)
		}
	}
	return all
}

func (s *Service) closeGroups() {
	for _, p := range s.groups.byPath {
		_ = unix.Close(p.pidfd)
	}
	if s.groups.inotify >= 0 {
		_ = unix.Close(s.groups.inotify)
	}
}

// watchGroup has the loop see a cgroup removed. It owns fd, its directory.
func (s *Service) watchGroup(id lockmgr.Process, path string, fd int) (*process, error) {
	if before := s.groups.byPath[path]; before != nil && before.id != id { // it was removed, and nobody has said so yet
		s.groupRemoved(before)
	}
	p := s.processes[id]
	if p != nil && p.pidfd >= 0 {
		_ = unix.Close(fd)
		return p, nil
	}
	err := s.listen(path)
	if err == nil && cgroup.IsGone(fd) { // before anybody listened
		s.forgetGroup(path, nil)
		err = unix.ESRCH
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	if p == nil {
		p = &process{id: id, path: path}
		s.processes[id] = p
	}
	p.pidfd = fd
	s.groups.byPath[path] = p
	above, name := split(path)
	s.groups.above[above].by[name] = p
	return p, nil
}

// watchGroupAgain is watchGroup for one that was known to a daemon before this one. The error is ESRCH if it is gone.
func (s *Service) watchGroupAgain(p *process) error {
	fd, id, err := cgroup.Open(p.path)
	if err == nil && id != p.id.Start { // another one, of a unit that was started again
		_ = unix.Close(fd)
		err = unix.ENOENT
	}
	if err == nil {
		_, err = s.watchGroup(p.id, p.path, fd)
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return unix.ESRCH
	}
	return err
}

// split gives the directory that a cgroup is in, and its name there.
func split(is string) (above, name string) { return path.Dir(is), path.Base(is) }

// listen watches the directory that a cgroup is in.
func (s *Service) listen(path string) error {
	g := &s.groups
	above, _ := split(path)
	if g.above[above] != nil {
		return nil
	}
	if g.inotify < 0 {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return err
		}
		if err := s.set.Loop.Add(fd, g.kind, unix.EPOLLIN); err != nil {
			_ = unix.Close(fd)
			return err
		}
		g.inotify = fd
	}
	watch, err := unix.InotifyAddWatch(g.inotify, cgroup.Root()+above, unix.IN_DELETE|unix.IN_ONLYDIR)
	if err != nil {
		return err
	}
	below := &groupsBelow{watch: watch, by: map[string]*process{}}
	g.above[above], g.byWatch[watch] = below, below
	return nil
}

// unwatchGroup forgets a cgroup that nobody needs to know the end of.
func (s *Service) unwatchGroup(p *process) {
	s.forgetGroup(p.path, p)
	_ = unix.Close(p.pidfd)
}

// forgetGroup has nobody listen for a cgroup. Another one of the same path may have taken its place.
func (s *Service) forgetGroup(path string, p *process) {
	g := &s.groups
	above, name := split(path)
	if g.byPath[path] == p {
		delete(g.byPath, path)
	}
	below := g.above[above]
	if below == nil {
		return
	}
	if below.by[name] == p {
		delete(below.by, name)
	}
	if len(below.by) == 0 {
		_, _ = unix.InotifyRmWatch(g.inotify, uint32(below.watch)) // or it is gone itself
		delete(g.above, above)
		delete(g.byWatch, below.watch)
	}
}

// groupsChanged handles what inotify says: which cgroups were removed, or that it has lost count.
func (s *Service) groupsChanged(fd int, _ uint32) {
	var buf [4096]byte
	for {
		n, err := unix.Read(fd, buf[:])
		if err != nil || n <= 0 {
			return
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			watch, mask := int(int32(binary.NativeEndian.Uint32(b))), binary.NativeEndian.Uint32(b[4:])
			size := int(binary.NativeEndian.Uint32(b[12:]))
			name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size], []byte{0})
			b = b[unix.SizeofInotifyEvent+size:]
			switch below := s.groups.byWatch[watch]; {
			case mask&unix.IN_Q_OVERFLOW != 0:
				for _, p := range s.groups.byPath {
					s.groupRemoved(p)
				}
			case below != nil:
				s.groupRemoved(below.by[string(name)])
			}
		}
	}
}

// groupRemoved ends what was held by a cgroup, if it is gone.
func (s *Service) groupRemoved(p *process) {
	if p == nil {
		return
	}
	if gone, _ := p.ended(); gone {
		p.dead = true
		s.buryProcess(p)
	}
}
