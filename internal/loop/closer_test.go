package loop

import (
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait of a test.
const patience = 20 * time.Second

// lingering is a connected TCP socket whose close takes as long as its peer does not read. It returns the peer, which the caller
// closes.
func lingering(t *testing.T) (fd int, peer *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // fd is the same socket
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if fd, err = unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 3); err != nil {
		t.Fatal(err)
	}
	linger := unix.Linger{Onoff: 1, Linger: int32(patience / time.Second)}
	err = errors.Join(unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &linger), unix.SetNonblock(fd, true))
	for b := make([]byte, 64<<10); err == nil; {
		_, err = unix.Write(fd, b)
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	return fd, accepted.(*net.TCPConn)
}

// ended waits for the end of what the other end of a socket pair has sent.
func ended(t *testing.T, fd int) {
	t.Helper()
	for b := make([]byte, 100); ; {
		wait := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(wait, int(patience.Milliseconds())); n != 1 || err != nil {
			t.Fatalf("the end does not come: %d, %v", n, err)
		}
		if n, err := unix.Read(fd, b); err != nil {
			t.Fatalf("%v instead of the end", err)
		} else if n == 0 {
			return
		}
	}
}

// TestCloserMakesUsersWaitForThemselves: what one user has sent holds up the closing of his own descriptors, not of others', nor who
// has them closed.
func TestCloserMakesUsersWaitForThemselves(t *testing.T) {
	var c Closer
	fd, peer := lingering(t)
	mine, myEnd := pair(t)
	other, othersEnd := pair(t)
	defer func() { _, _ = unix.Close(myEnd), unix.Close(othersEnd) }()
	c.Close(1, fd)
	c.Close(1, mine)
	c.Close(2, other)
	ended(t, othersEnd)
	if n, err := unix.Read(myEnd, make([]byte, 1)); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("got %d, %v from what stands behind one that is not closed yet", n, err)
	}
	if _, err := io.Copy(io.Discard, peer); err != nil {
		t.Error(err)
	}
	_ = peer.Close()
	ended(t, myEnd)
	c.Wait(patience)
}

// TestCloserIsFull when very much of a user waits, and does without a queue beyond that.
func TestCloserIsFull(t *testing.T) {
	var c Closer
	fd, peer := lingering(t)
	a, b := pair(t)
	defer func() { _ = unix.Close(b) }()
	c.Close(1, fd)
	for range mostClosing {
		c.Close(1, -1)
	}
	if !c.Full(1) || c.Full(2) {
		t.Errorf("full: %v and %v", c.Full(1), c.Full(2))
	}
	for range 2 { // the first may have been taken from the queue
		c.Close(1, -1)
	}
	c.Close(1, a)
	ended(t, b)
	if _, err := io.Copy(io.Discard, peer); err != nil {
		t.Error(err)
	}
	_ = peer.Close()
	c.Wait(patience)
	if c.Full(1) {
		t.Error("it is full when all is closed")
	}
}

// TestHangUp: whoever is disconnected sees the end and no error, also if something of his is unread.
func TestHangUp(t *testing.T) {
	for _, unread := range []string{"", "something"} {
		for _, now := range []bool{false, true} {
			l := newLoop(t)
			a, b := pair(t)
			if err := l.Add(a, l.Handle(func(int, uint32) {}), unix.EPOLLIN|Edge); err != nil {
				t.Fatal(err)
			}
			if _, err := unix.Write(a, []byte("goodbye")); err != nil {
				t.Fatal(err)
			}
			if _, err := unix.Write(b, []byte(unread)); err != nil {
				t.Fatal(err)
			}
			if now {
				HangUpNow(a, make([]byte, 4))
			} else {
				l.HangUp(1, a)
			}
			ended(t, b)
			l.Closer.Wait(patience)
			_ = unix.Close(b)
		}
	}
}

// TestCloserSharesTurns: in a turn of the loop no more is closed than takes a part of it, however much there is to be closed, and while
// the loop waits for events nothing holds it up.
func TestCloserSharesTurns(t *testing.T) {
	var c Closer
	left := func() int { // when all rest, or nothing is left
		for {
			c.mu.Lock()
			n, resting := len(c.queues[1]), c.resting
			c.mu.Unlock()
			if resting == 1 || n == 0 {
				return n
			}
			runtime.Gosched()
		}
	}
	const n = 10 * callsAtOnce
	fd, peer := lingering(t)
	c.Close(1, fd) // which the others wait for
	for range n - 1 {
		c.Close(1, -1)
	}
	if _, err := io.Copy(io.Discard, peer); err != nil {
		t.Error(err)
	}
	_ = peer.Close()
	for turn := range 4 {
		if got, want := left(), n-(turn+1)*callsAtOnce-1; got != want { // the next is in hand
			t.Errorf("after turn %d %d are left, want %d", turn, got, want)
		}
		c.pace(true)
	}
	c.pace(false)
	c.Wait(patience)
	if n := len(c.queues[1]); n > 0 {
		t.Errorf("%d are left, and the loop does not turn", n)
	}
}
