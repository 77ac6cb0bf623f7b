package server

import (
	"errors"
	"log/slog"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/peer"
)

// To close a descriptor that a peer has sent may take for ever: a TCP socket lingers for as long as its maker said
// (SO_LINGER), and a file asks its file system, which may be a program of the peer (FUSE). The same holds for a connection in
// which there is something unread, for descriptors may have come with it. So the loop leaves that to others: a goroutine
// for each user that closes one after the other. Whoever makes it wait waits for himself.
type closers struct {
	mu     sync.Mutex
	queues map[uint32][]closing // by user, each with a goroutine
	work   sync.WaitGroup
}

type closing struct {
	fd         int
	connection bool
}

const (
	// maxClosing is how many descriptors of a user may wait to be closed. With more, his connections are ended and he gets
	// no new one.
	maxClosing = 4096
	// mostClosing bounds what his connections then leave, and those that he is refused.
	mostClosing = 4 * maxClosing
)

// add has a descriptor closed.
func (c *closers) add(uid uint32, x closing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	queue, running := c.queues[uid]
	if len(queue) >= mostClosing {
		closeNow(x.fd)
		return
	}
	if c.queues == nil {
		c.queues = map[uint32][]closing{}
	}
	c.queues[uid] = append(queue, x)
	if !running {
		c.work.Go(func() { c.run(uid) })
	}
}

func (c *closers) run(uid uint32) {
	for {
		c.mu.Lock()
		queue := c.queues[uid]
		if len(queue) == 0 {
			delete(c.queues, uid)
			c.mu.Unlock()
			return
		}
		x := queue[0]
		c.queues[uid] = queue[1:]
		c.mu.Unlock()
		if x.connection {
			drain(x.fd, make([]byte, 16<<10), unix.Read)
		}
		_ = unix.Close(x.fd)
	}
}

// full reports whether more than maxClosing descriptors of a user wait.
func (c *closers) full(uid uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queues[uid]) > maxClosing
}

// wait returns when all are closed, or the time is over.
func (c *closers) wait(limit time.Duration) {
	done := make(chan struct{})
	go func() {
		c.work.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(limit):
	}
}

// closeNow closes a descriptor where there is no room to leave it to others. The Go runtime interrupts who is in a raw system
// call for more than some milliseconds, and a socket then lingers no more.
func closeNow(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// drain reads what is left in a connection that is shut down: one that is closed with something unread is reset, and the
// peer would see an error where it looks for the end.
func drain(fd int, b []byte, read func(fd int, b []byte) (int, error)) {
	for {
		if n, err := read(fd, b); n <= 0 && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// rawRead is to read as closeNow is to close.
func rawRead(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// hangUp closes a connection. Once it is shut down nothing more can come, so what is unread is all there is.
func (s *Server) hangUp(uid uint32, fd int) {
	_ = unix.Shutdown(fd, unix.SHUT_RDWR)
	if unread, err := unix.IoctlGetInt(fd, unix.TIOCINQ); err == nil && unread == 0 {
		_ = unix.Close(fd)
		return
	}
	s.poll.remove(fd)
	s.closers.add(uid, closing{fd, true})
}

// discard closes a descriptor that a peer sent. A pidfd is closed at once.
func (s *Server) discard(sess *session, fd int) {
	if peer.IsPIDFD(fd) {
		_ = unix.Close(fd)
		return
	}
	uid := sess.peer.UID
	s.closers.add(uid, closing{fd, false})
	if !s.closers.full(uid) || sess.is(stateDead) {
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
