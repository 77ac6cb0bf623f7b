package server

import (
	"log/slog"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/peer"
)

// discard closes a descriptor that a peer sent. A pidfd is closed at once.
func (s *Server) discard(sess *session, fd int) {
	if peer.IsPIDFD(fd) {
		_ = unix.Close(fd)
		return
	}
	uid := sess.peer.UID
	s.loop.Closer.Close(uid, fd)
	if !s.loop.Closer.Full(uid) || sess.is(stateDead) {
		return
	}
	s.tell(slog.LevelWarn, uid, "disconnect", "a user's connections were ended: what they sent cannot be closed", "pid", sess.peer.PID)
	for _, other := range s.sessions {
		if other != nil && other.peer.UID == uid {
			s.kill(other, "")
		}
	}
}

// closeFDs closes the descriptors of a session that no command took.
func (s *Server) closeFDs(sess *session) {
	if sess.more == nil || len(sess.more.fds) == 0 {
		return
	}
	fds := sess.more.fds
	sess.more.fds = nil
	for _, fd := range fds {
		s.discard(sess, fd)
	}
}
