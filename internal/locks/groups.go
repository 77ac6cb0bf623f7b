package locks

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cgroup"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// A hold may belong to all processes of a systemd unit together, which are those of a cgroup. To everything but this file a cgroup is a
// process: see package process.

// isGroupPath reports whether a word names a cgroup below the root, as the 0:: line of /proc/PID/cgroup does.
func isGroupPath(word []byte) bool {
	p := string(word)
	return len(p) > 1 && p[0] == '/' && record.IsText(word) && path.Clean(p) == p
}

// groupFor is the cgroup that a caller names, if he may: root, whom it was given to, and who is in it. It is nil if not.
func (s *Service) groupFor(c *session.Call, path string) *holder {
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
	is, err := s.watch.OfGroup(lockmgr.Process{PID: lockmgr.Group, Start: id}, path, fd)
	if err != nil {
		c.Fail(session.ProcessCode(err), "cannot watch cgroup %q: %v", path, err)
		return nil
	}
	return s.adopt(is)
}

// isIn reports whether a cgroup is another one, or below it.
func isIn(is, path string) bool { return is == path || strings.HasPrefix(is, path+"/") }
