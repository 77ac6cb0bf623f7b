package server

import (
	"errors"
	"log/slog"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A receiver is what recvmsg needs, allocated once.
type receiver struct {
	msg     unix.Msghdr
	vec     unix.Iovec
	control [1040]byte // for all descriptors that can come at once
}

func (r *receiver) init() {
	r.msg.Iov = &r.vec
	r.msg.Iovlen = 1
	r.msg.Control = &r.control[0]
}

// recvmsg reads into b. Descriptors that came with the bytes are in r.control[:r.msg.Controllen].
func (r *receiver) recvmsg(fd int, b []byte) (int, unix.Errno) {
	r.vec.Base = unsafe.SliceData(b)
	r.vec.Len = uint64(len(b))
	r.msg.Controllen = uint64(len(r.control))
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.msg)),
			unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

// sessionEvent takes note of what epoll says of a session. When events have taken their part of the turn, or the session has
// something left to do, it is only noted.
func (s *Server) sessionEvent(fd int, events uint32) {
	switch sess := s.sessions[fd]; {
	case sess == nil:
	case s.eventTime.isOver() || sess.is(stateQueued):
		s.later(sess, events)
	default:
		s.sessionReady(sess, events)
	}
}

// sessionReady handles what epoll says of a session.
func (s *Server) sessionReady(sess *session, events uint32) {
	if sess.is(stateDead) {
		return
	}
	if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		if sess.is(stateWaiting|stateEOF) || sess.blocked {
			s.kill(sess, "") // nobody is there to be answered
			return
		}
		sess.state |= stateHungUp
	}
	if sess.blocked && events&unix.EPOLLOUT != 0 {
		s.drain(sess)
	}
	if events&unix.EPOLLRDHUP != 0 && !sess.is(stateHalfClosed) {
		sess.state |= stateHalfClosed
		s.cancelWait(sess) // nobody will take what it waits for
		if sess.blocked {
			s.watch(sess)
		}
	}
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 && !sess.is(stateDead|stateEOF) {
		s.read(sess)
	}
}

// read takes what the peer has sent, up to one buffer of it, and executes it. It reports whether there was something.
func (s *Server) read(sess *session) bool {
	if s.inputFull(sess) {
		s.run(sess)
		return false
	}
	// A command that is there in part is read on in the shared buffer, with its beginning copied there, so that the
	// next read is as large as the first. One that has no room there has a buffer of its own.
	held := len(sess.in)
	own := held > len(s.rbuf)/2 || sess.parser.Needs(sess.in) > len(s.rbuf)
	buf := s.rbuf
	if own {
		if !s.growInput(sess) {
			return false
		}
		buf = sess.in[:cap(sess.in)]
	}
	n, errno := s.recv.recvmsg(sess.fd, buf[held:])
	switch {
	case errno == unix.EAGAIN:
		return false
	case errno != 0: // ECONNRESET
		s.kill(sess, "")
		return true
	case s.recv.msg.Controllen > 0 || s.recv.msg.Flags&unix.MSG_CTRUNC != 0:
		s.takeRights(sess)
	}
	s.readTwice = sess == s.lastRead
	s.lastRead = sess
	if n == len(buf)-held || s.recv.msg.Controllen > 0 || sess.is(stateHalfClosed) {
		s.lookAgain(sess) // there may be more, or the end
	}
	if n == 0 {
		sess.state |= stateEOF
		s.run(sess)
		return true
	}
	if own {
		sess.in = buf[:held+n]
		s.run(sess)
		return true
	}
	copy(buf, sess.in)
	n += held
	used := s.execute(sess, buf[:n])
	switch {
	case sess.is(stateDead | stateClosing):
	case used < n:
		if sess.in == nil {
			if !s.mayHold(sess, n-used+sess.parser.Memory()) {
				return true
			}
			sess.in = s.pool.get()
		}
		sess.in = append(sess.in[:0], buf[used:n]...)
		s.executed(sess)
	case held > 0:
		s.releaseInput(sess)
		s.executed(sess)
	default:
		s.closeFDs(sess) // what came with these commands and none of them took
	}
	return true
}

// readEarly reads from the session that was read last and the time before: while the loop polls, the next to send is most
// likely who was answered just now, and to ask epoll first takes a system call more. That is worth more than it seems:
// an answer that comes before the peer's CPU has gone to sleep need not wake it.
func (s *Server) readEarly() bool {
	sess := s.lastRead
	return sess != nil && s.readTwice && !sess.is(stateDead|stateEOF) && sess.events&unix.EPOLLIN != 0 && s.read(sess)
}

func (s *Server) releaseInput(sess *session) {
	s.pool.put(sess.in)
	sess.in = nil
}

// inputFull reports that as much input is held for a session as may be.
func (s *Server) inputFull(sess *session) bool { return len(sess.in) >= s.opts.Limits.Input }

// growInput makes room behind the held input: for all of the frame, where its size is known. It ends the session and
// reports false if its user would hold too much.
func (s *Server) growInput(sess *session) bool {
	const least = 4 << 10
	want := max(len(sess.in)+least, min(sess.parser.Needs(sess.in), s.opts.Limits.Input))
	if cap(sess.in) >= want {
		return true
	}
	size := max(want, 2*cap(sess.in))
	if !s.mayHold(sess, size-cap(sess.in)) {
		return false
	}
	grown := make([]byte, len(sess.in), size)
	copy(grown, sess.in)
	s.pool.put(sess.in)
	sess.in = grown
	s.account(sess)
	return true
}

// mayHold reports whether a session may hold so many more bytes of input. If not, it ends.
func (s *Server) mayHold(sess *session, more int) bool {
	err := sess.user().Room(account.Buffers, more)
	if err == nil {
		return true
	}
	s.send(sess, wire.AppendError(nil, wire.CodeQuota, err.Error()))
	s.finish(sess)
	return false
}

// run executes the input that a session holds.
func (s *Server) run(sess *session) {
	if used := s.execute(sess, sess.in); used == len(sess.in) {
		s.releaseInput(sess)
	} else if used > 0 {
		sess.in = sess.in[:copy(sess.in, sess.in[used:])]
	}
	s.executed(sess)
}

// executed decides how a session goes on whose input is executed as far as it can be now.
func (s *Server) executed(sess *session) {
	if len(sess.in) == 0 {
		s.closeFDs(sess)
	}
	switch {
	case sess.is(stateDead):
	case sess.is(stateEOF) && !s.paused(sess):
		s.finish(sess) // what is left is no whole command
	case s.inputFull(sess) && !s.paused(sess):
		s.badInput(sess, s.frameLimits().ErrTooLarge()) // though its end is not in sight
	default:
		s.watch(sess)
	}
}

// runLater has the input that a session holds executed in this turn.
func (s *Server) runLater(sess *session) {
	if !sess.is(stateRunnable|stateDead) && (len(sess.in) > 0 || sess.is(stateEOF|stateExec)) {
		sess.state |= stateRunnable
		s.runnable = append(s.runnable, sess)
	}
}

// paused reports that a session's commands must wait.
func (s *Server) paused(sess *session) bool {
	return sess.is(stateDead|stateClosing|stateWaiting|stateSliced|stateParked) || sess.blocked && sess.unread() > pauseAt
}

// badInput ends a connection on which there is no next command to be found.
func (s *Server) badInput(sess *session, err error) {
	code := wire.CodeProto
	var proto *wire.ProtoError
	if !errors.As(err, &proto) {
		code = wire.CodeInternal
	}
	s.log.Debug("a peer does not speak RESP", "event", "protocol-error", "client", sess.id, "pid", sess.peer.PID,
		"uid", sess.peer.UID, "unit", sess.peer.Unit, "error", err)
	s.send(sess, wire.AppendError(nil, code, err.Error()))
	s.finish(sess)
}

// finish ends a session when it has been sent what is its.
func (s *Server) finish(sess *session) {
	if sess.is(stateDead) {
		return
	}
	sess.state |= stateClosing
	sess.closeRange()
	s.touch(sess)
}

// account charges the buffers that a session has now to its user.
func (s *Server) account(sess *session) {
	in, out := cap(sess.in)+sess.parser.Memory(), cap(sess.own)+sess.room+sess.more.memory()
	if in+out == 0 && sess.more == nil || sess.is(stateDead) {
		return
	}
	x := sess.extra()
	x.input.Set(in)
	x.output.Set(out)
}

// overBuffers reports whether more bytes would be too much for a session's user.
func (s *Server) overBuffers(sess *session, more int) bool {
	return sess.user().Exceeds(account.Buffers, more)
}

// watch has epoll watch a session for what can be acted on.
func (s *Server) watch(sess *session) {
	want := loop.Edge
	if !sess.is(stateEOF | stateClosing) {
		if !s.inputFull(sess) && (!sess.blocked || sess.unread() <= pauseAt) {
			want |= unix.EPOLLIN
		}
		if !sess.is(stateHalfClosed) {
			want |= unix.EPOLLRDHUP
		}
	}
	if sess.blocked {
		want |= unix.EPOLLOUT
	}
	s.account(sess)
	if want != sess.events && !sess.is(stateDead) {
		sess.events = want
		s.lookAgain(sess)
	}
}

// lookAgain has epoll tell of a session what there is now, also if it has told of it before.
func (s *Server) lookAgain(sess *session) { s.loop.Modify(sess.fd, s.sessionKind, sess.events) }

// takeRights keeps the descriptors that came with a read for the commands they belong to.
func (s *Server) takeRights(sess *session) {
	messages, err := unix.ParseSocketControlMessage(s.recv.control[:s.recv.msg.Controllen])
	if err != nil {
		return
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		x := sess.extra()
		for _, fd := range fds {
			if len(x.fds) < maxPassedFDs {
				x.fds = append(x.fds, fd)
				continue
			}
			s.discard(sess, fd)
			s.endFor(sess, wire.CodeProto, "too many file descriptors that no command took")
		}
	}
	if s.recv.msg.Flags&unix.MSG_CTRUNC != 0 { // which of them are missing, and of which command, cannot be told
		s.endFor(sess, wire.CodeQuota, "the daemon has no file descriptor left for those that were sent")
	}
}

// endFor ends a session after an error.
func (s *Server) endFor(sess *session, code wire.Code, why string) {
	if !sess.is(stateClosing) {
		s.send(sess, wire.AppendError(nil, code, why))
		s.finish(sess)
	}
}

// kill ends a session at once: the rest of its outbox is lost. why, if not "", is logged. What the session had is
// given back at the turn's end, by bury.
func (s *Server) kill(sess *session, why string) {
	if sess.is(stateDead) {
		return
	}
	sess.state |= stateDead
	sess.dropRange()
	s.dead = append(s.dead, sess)
	if why != "" {
		s.tell(slog.LevelWarn, sess.peer.UID, "disconnect", "a connection was ended", "reason", why, "client", sess.id,
			"pid", sess.peer.PID, "unit", sess.peer.Unit)
	}
}

// mostBuried is how many sessions are buried at once, in some hundred microseconds.
const mostBuried = 16

// bury gives back what dead sessions had. It happens when all events of a turn are handled and none can mean their descriptors
// any more. For very many, and for a session that has very much, it takes several turns.
func (s *Server) bury() {
	for i := 0; i < len(s.dead); i++ { // ending a session may end others
		sess := s.dead[i]
		s.dead[i] = nil
		switch {
		case sess.fd < 0:
			continue // it is buried, and was in a queue still
		case i >= mostBuried || !s.dropSubscriptions(sess) || !s.dropFollows(sess) || !s.dropWaits(sess):
			s.queue(sess)
			continue
		}
		s.notLate(sess)
		s.dropLocks(sess)
		s.dropTask(sess)
		s.dropTransaction(sess)
		s.closeFDs(sess)
		s.sessions[sess.fd] = nil
		s.count--
		if sess.is(stateEOF) {
			_ = unix.Close(sess.fd)
		} else {
			s.loop.HangUp(sess.peer.UID, sess.fd)
		}
		s.pool.put(sess.in)
		s.freeOwn(sess)
		sess.in, sess.pieces = nil, nil
		sess.fd = -1
		if x := sess.more; x != nil {
			x.input.Release()
			x.output.Release()
		}
		sess.charge.Release()
	}
	s.dead = s.dead[:0]
}
