package loop

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Closer closes what a peer may make last for ever: a TCP socket that it has sent lingers for as long as its maker said
// (SO_LINGER), and a file asks its file system, which may be a program of the peer (FUSE). The same holds for a connection in
// which there is something unread, for descriptors may have come with it. So the loop leaves that to others: a goroutine
// for each user that closes one after the other. Whoever makes it wait waits for himself.
//
// These goroutines share the CPU with the loop. While the loop has more to do than a turn has time for, each of them does some
// of that in each turn, and rests until the next: the kernel would let it go on for several milliseconds where there is one CPU.
type Closer struct {
	mu     sync.Mutex
	queues map[uint32][]closing // by user, each with a goroutine
	work   sync.WaitGroup
	open   atomic.Int32 // how many queues there are

	turning bool      // the loop is in a turn, or about to make one
	turn    uint64    // rises when the next turn begins
	resting int       // how many goroutines wait for that
	goOn    sync.Cond // with mu
}

type closing struct {
	fd         int
	connection bool
}

const (
	// maxClosing is how many descriptors of a user may wait to be closed.
	maxClosing = 4096
	// mostClosing bounds how many there may be all the same, before the loop closes them itself.
	mostClosing = 4 * maxClosing
)

// Close has a descriptor closed that a user's process has sent.
func (c *Closer) Close(uid uint32, fd int) { c.add(uid, closing{fd, false}) }

func (c *Closer) add(uid uint32, x closing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	queue, running := c.queues[uid]
	if len(queue) >= mostClosing {
		closeNow(x.fd)
		return
	}
	if c.queues == nil {
		c.queues, c.goOn.L = map[uint32][]closing{}, &c.mu
	}
	c.queues[uid] = append(queue, x)
	if !running {
		c.open.Add(1)
		c.turning = true // it is in turns that there is something to be closed
		c.work.Go(func() { c.run(uid) })
	}
}

// pace tells the goroutines whether the loop turns, and so has them close some more, or waits for events, and so leaves the CPU to them.
func (c *Closer) pace(turning bool) {
	if c.open.Load() == 0 { // as is usual
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turning = turning
	c.turn++
	c.resting = 0
	c.goOn.Broadcast()
}

// callsAtOnce is how many system calls are made for a user in a turn: that takes some hundred microseconds. A connection may need hundreds,
// as what is read ends where descriptors came.
const callsAtOnce = 32

// rest waits for the next turn, if the loop turns. If it does not, it may be about to: others run first that want the processor.
func (c *Closer) rest() {
	c.mu.Lock()
	for turn := c.turn; c.turning && c.turn == turn; {
		c.resting++
		c.goOn.Wait()
	}
	c.mu.Unlock()
	runtime.Gosched()
}

func (c *Closer) run(uid uint32) {
	var unread []byte // is read into this, of all connections: there may be tens of thousands in a second
	calls := 0
	call := func() { // is called before each
		if calls == callsAtOnce {
			c.rest()
			calls = 0
		}
		calls++
	}
	for {
		c.mu.Lock()
		queue := c.queues[uid]
		if len(queue) == 0 {
			delete(c.queues, uid)
			c.open.Add(-1)
			c.mu.Unlock()
			return
		}
		x := queue[0]
		c.queues[uid] = queue[1:]
		c.mu.Unlock()
		if x.connection {
			if unread == nil {
				unread = make([]byte, 16<<10)
			}
			drain(x.fd, unread, func(fd int, b []byte) (int, error) {
				call()
				return unix.Read(fd, b)
			})
		}
		call()
		_ = unix.Close(x.fd)
	}
}

// Full reports whether so many descriptors of a user wait that he should send no more.
func (c *Closer) Full(uid uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queues[uid]) > maxClosing
}

// Wait returns when all are closed, or the time is over. The loop must have ended.
func (c *Closer) Wait(limit time.Duration) {
	c.pace(false)
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

// HangUpNow closes a connection before it returns, for who needs its descriptor for the next. It reads into b.
func HangUpNow(fd int, b []byte) {
	_ = unix.Shutdown(fd, unix.SHUT_RDWR)
	drain(fd, b, rawRead)
	closeNow(fd)
}

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

// HangUp closes a connection of a user. Once it is shut down nothing more can come, so what is unread is all there is.
func (l *Loop) HangUp(uid uint32, fd int) {
	_ = unix.Shutdown(fd, unix.SHUT_RDWR)
	if unread, err := unix.IoctlGetInt(fd, unix.TIOCINQ); err == nil && unread == 0 {
		_ = unix.Close(fd)
		return
	}
	l.Remove(fd)
	l.Closer.add(uid, closing{fd, true})
}
