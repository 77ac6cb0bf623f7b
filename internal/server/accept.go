package server

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

const noDescriptor = "the daemon has no file descriptor left"

// listenerEvent handles what epoll says of a listener.
func (s *Server) listenerEvent(fd int, _ uint32) {
	if _, ok := s.listeners[fd]; ok { // not closed in this turn
		s.accept(fd)
	}
}

// accept takes the connections that wait at a listener, one at least. It takes no more when its part of the turn is over: a
// flood of them must not hold up the others.
func (s *Server) accept(listener int) {
	if s.spare < 0 { // others may have one to give by now
		s.spare, _ = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	for first := true; first || !s.set.Net.Over(); first = false {
		fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case err == nil:
			s.admit(fd)
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
			// No descriptor left: the peer would wait for ever and the loop turn for ever. Give up the spare one to
			// tell the peer, and take it back.
			_ = unix.Close(s.spare)
			fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if err == nil {
				s.sayNo(fd, noDescriptor)
				loop.HangUpNow(fd, make([]byte, 4<<10)) // not by and by: its descriptor is needed for the next
			}
			s.spare, _ = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0) // -1 if that fails
			if err != nil || s.spare < 0 {
				return // mostly as nobody waits: the kernel looks for a descriptor before it looks for a peer
			}
		default:
			if !errors.Is(err, unix.EAGAIN) {
				s.set.Log.Error("cannot accept a connection", "event", "accept-failed", "error", err)
			}
			return
		}
	}
}

// refuse tells a new connection why it is not wanted, and ends it.
func (s *Server) refuse(fd int, why string) {
	s.sayNo(fd, why)
	uid := uint32(0)
	if cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
		uid = cred.Uid
	}
	s.set.Loop.HangUp(uid, fd)
}

func (s *Server) sayNo(fd int, why string) {
	s.stats.refused++
	line := wire.AppendError(nil, wire.CodeQuota, why)
	_ = unix.Sendto(fd, line, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, nil)
}

// admit makes a session of a new connection.
func (s *Server) admit(fd int) {
	p, err := peer.Of(fd)
	switch {
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		s.refuse(fd, noDescriptor)
	case err != nil:
		s.set.Log.Error("cannot learn who a peer is", "event", "accept-failed", "error", err)
		s.refuse(fd, "the daemon cannot learn who you are")
	case s.set.Loop.Closer.Full(p.UID):
		s.refuse(fd, "what this user's connections sent cannot be closed")
	default:
		if _, err := s.join(fd, p); err != nil {
			s.refuse(fd, err.Error())
		}
	}
}

// join makes a session of a connection whose peer is known. The error is for the peer.
func (s *Server) join(fd int, p peer.Peer) (*session.Session, error) {
	if s.set.Net.Len() >= s.opts.Limits.Connections {
		return nil, errors.New("too many connections (limits.connections)")
	}
	if err := s.set.Users.Room(p.UID, account.Connections, 1); err != nil {
		return nil, err
	}
	sess, err := s.set.Add(fd, p)
	if err != nil {
		return nil, errors.New("the daemon cannot watch another connection")
	}
	s.stats.accepted++
	s.announceConnected(sess)
	return sess, nil
}
