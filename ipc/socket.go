package ipc

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A socket reads and writes a non-blocking descriptor and waits with poll(2). For one goroutine that does one thing
// after another this takes fewer system calls than an os.File, and the runtime's poller need not be set up, which a
// program that lives a millisecond would feel.
type socket struct {
	fd       int
	deadline time.Time // zero: none
	files    *[]int    // where descriptors go that come beside what is read; nil: none are taken
	each     bool      // one that is missing is -1 there
}

func (s *socket) Read(p []byte) (int, error) {
	for {
		n, err := s.read(p)
		switch {
		case err == nil && n == 0:
			return 0, io.EOF
		case err == nil:
			return n, nil
		case errors.Is(err, unix.EAGAIN):
			if err := s.wait(unix.POLLIN); err != nil {
				return 0, err
			}
		case !errors.Is(err, unix.EINTR):
			return 0, err
		}
	}
}

// mostFiles is how many descriptors the kernel lets a message have (SCM_MAX_FD).
const mostFiles = 253

// read reads once.
func (s *socket) read(p []byte) (int, error) {
	if s.files == nil {
		return unix.Read(s.fd, p)
	}
	rights := make([]byte, unix.CmsgSpace(mostFiles*4))
	n, fds, missing, err := receiveRights(s.fd, p, rights)
	*s.files = append(*s.files, fds...)
	if missing && s.each {
		*s.files = append(*s.files, -1)
	}
	return n, err
}

// receiveRights receives what has descriptors beside it. missing says that some of them are not there: this process may have no more.
func receiveRights(fd int, p, rights []byte) (n int, fds []int, missing bool, err error) {
	n, size, flags, _, err := unix.Recvmsg(fd, p, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return n, nil, false, err
	}
	if size > 0 {
		var messages []unix.SocketControlMessage
		messages, err = unix.ParseSocketControlMessage(rights[:size])
		for i := range messages {
			some, e := unix.ParseUnixRights(&messages[i])
			fds = append(fds, some...)
			err = errors.Join(err, e)
		}
	}
	return n, fds, flags&unix.MSG_CTRUNC != 0, err
}

// send writes all of p, with descriptors beside its first byte.
func (s *socket) send(p []byte, rights []byte) error {
	for {
		n, err := s.offer(p, rights)
		if n > 0 {
			p, rights = p[n:], nil
		}
		if err != nil || len(p) == 0 {
			return err
		}
		if err := s.wait(unix.POLLOUT); err != nil {
			return err
		}
	}
}

// offer writes as much of p as the socket takes now, with descriptors beside its first byte.
func (s *socket) offer(p []byte, rights []byte) (taken int, err error) {
	for taken < len(p) {
		// MSG_NOSIGNAL: a program may have set SIGPIPE to kill it, for its output's sake.
		n, err := unix.SendmsgN(s.fd, p[taken:], rights, nil, unix.MSG_NOSIGNAL)
		switch {
		case err == nil:
			taken, rights = taken+n, nil
		case errors.Is(err, unix.EAGAIN):
			return taken, nil
		case !errors.Is(err, unix.EINTR):
			return taken, err
		}
	}
	return taken, nil
}

func (s *socket) wait(events int16) error {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: events}}
	for {
		timeout := -1
		if !s.deadline.IsZero() {
			// Rounded up, so as not to spin through the last millisecond.
			left := time.Until(s.deadline) + time.Millisecond - 1
			if left < time.Millisecond {
				return os.ErrDeadlineExceeded
			}
			timeout = int(min(left, time.Hour) / time.Millisecond)
		}
		n, err := unix.Poll(fds, timeout)
		if n > 0 {
			return nil // an error or a hang-up is for the next read or write to tell
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (s *socket) close() error {
	if s.fd < 0 {
		return os.ErrClosed
	}
	err := unix.Close(s.fd)
	s.fd = -1
	return err
}
