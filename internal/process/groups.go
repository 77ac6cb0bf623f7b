package process

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cgroup"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/lockmgr"
)

// Something may be bound to all processes of a systemd unit together, which are those of a cgroup. It ends when the cgroup is removed, as
// systemd does when the unit is inactive or has nothing left to run, and not when it is empty: between two commands of a unit it is. To
// everything but this file a cgroup is a process: it has an identity (its number stands in for the time of start), and services are told
// of its end. The descriptor that others see it end by is that of its directory.
//
// Of a directory of cgroups inotify tells what is removed from it. The kernel does not tell that of the removed one itself.

// groups are the cgroups that something is bound to.
type groups struct {
	inotify int // -1: nothing was yet
	kind    loop.Kind
	byPath  map[string]*Process
	above   map[string]*groupsBelow // what is watched, by its path
	byWatch map[int]*groupsBelow
}

// groupsBelow are the cgroups in one directory.
type groupsBelow struct {
	watch int
	by    map[string]*Process // by the last part of their paths
}

func (s *Set) startGroups() {
	s.groups = groups{inotify: -1, kind: s.loop.Handle(s.groupsChanged), byPath: map[string]*Process{}, above: map[string]*groupsBelow{}, byWatch: map[int]*groupsBelow{}}
}

// Group is the cgroup of a path, if it is watched, else nil.
func (s *Set) Group(path string) *Process { return s.groups.byPath[path] }

// GroupsOf are the cgroups that a process is in and that are watched, the innermost first.
func (s *Set) GroupsOf(pid int) (all []lockmgr.Process) {
	if len(s.groups.byPath) == 0 || pid <= 0 {
		return nil
	}
	for is := peer.Cgroup(pid); len(is) > 1; is = path.Dir(is) {
		if p := s.groups.byPath[is]; p != nil {
			all = append(all, p.ID)
		}
	}
	return all
}

func (s *Set) closeGroups() {
	for _, p := range s.groups.byPath {
		_ = unix.Close(p.fd)
	}
	if s.groups.inotify >= 0 {
		_ = unix.Close(s.groups.inotify)
	}
}

// OfGroup watches a cgroup, of whose directory fd is a descriptor that is the set's from then on.
func (s *Set) OfGroup(id lockmgr.Process, path string, fd int) (*Process, error) {
	if before := s.groups.byPath[path]; before != nil && before.ID != id { // it was removed, and nobody has said so yet
		s.groupRemoved(before)
	}
	p := s.byID[id]
	if p != nil && p.fd >= 0 {
		_ = unix.Close(fd)
		return p.use(), nil
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
		p = s.add(id, path)
	}
	p.fd = fd
	s.groups.byPath[path] = p
	above, name := split(path)
	s.groups.above[above].by[name] = p
	return p.use(), nil
}

// findGroup is find for a cgroup.
func (s *Set) findGroup(p *Process) error {
	fd, id, err := cgroup.Open(p.Path)
	if err == nil && id != p.ID.Start { // another one, of a unit that was started again
		_ = unix.Close(fd)
		err = unix.ENOENT
	}
	if err == nil {
		if _, err = s.OfGroup(p.ID, p.Path, fd); err == nil {
			p.Release() // who needs it has it already
		}
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return unix.ESRCH
	}
	return err
}

// split gives the directory that a cgroup is in, and its name there.
func split(is string) (above, name string) { return path.Dir(is), path.Base(is) }

// listen watches the directory that a cgroup is in.
func (s *Set) listen(path string) error {
	g := &s.groups
	above, _ := split(path)
	if g.inotify < 0 {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return err
		}
		if err := s.loop.Add(fd, g.kind, unix.EPOLLIN); err != nil {
			_ = unix.Close(fd)
			return err
		}
		g.inotify = fd
	}
	watch, err := unix.InotifyAddWatch(g.inotify, cgroup.Root()+above, unix.IN_DELETE|unix.IN_ONLYDIR)
	if err != nil {
		return err
	}
	before := g.above[above]
	if before != nil && before.watch == watch { // the directory is watched already
		return nil
	}
	if before != nil { // another directory had the path, was removed, and nobody has said so yet, nor of what was in it
		delete(g.byWatch, before.watch)
		for _, p := range before.by {
			s.groupRemoved(p)
		}
	}
	below := &groupsBelow{watch: watch, by: map[string]*Process{}}
	g.above[above], g.byWatch[watch] = below, below
	return nil
}

// forgetGroup has nobody listen for a cgroup. Another one of the same path may have taken its place.
func (s *Set) forgetGroup(path string, p *Process) {
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
func (s *Set) groupsChanged(fd int, _ uint32) {
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

// groupRemoved has who needs to know be told of the end of a cgroup, if it is gone.
func (s *Set) groupRemoved(p *Process) {
	if p != nil {
		p.Look()
	}
}
