package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// patience is how long an answer may take before a row is given up.
const patience = 30 * time.Second

// A broken measurement panics with a failure, and bench.measure recovers: the loops that are timed have no error
// paths of their own.
type failure struct{ error }

func fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

// A conn is a connection of the driver's. It blocks in raw system calls: neither the Go scheduler nor an epoll set is
// between driver and server.
type conn struct {
	fd   int
	got  int  // bytes that await has received
	idle bool // it may have to wait without end: this process ends with the driver

	// It sends a request and waits on the same socket for what is sent in turn. Who sleeps in a receive there is woken up by the kernel
	// also when the other end has read the request, for nothing; who sleeps in a poll, as event loops do, is not.
	both bool
}

// dial connects to the path of a Unix socket, or to HOST:PORT.
func dial(address string) (*conn, error) {
	var peer unix.Sockaddr = &unix.SockaddrUnix{Name: address}
	family := unix.AF_UNIX
	if !strings.HasPrefix(address, "/") {
		where, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, err
		}
		peer, family = &unix.SockaddrInet4{Addr: where.Addr().As4(), Port: int(where.Port())}, unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err = unix.Connect(fd, peer); err == nil {
		err = bePatient(fd)
	}
	if err == nil && family == unix.AF_INET {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &conn{fd: fd}, nil
}

// bePatient bounds how long a socket is waited for.
func bePatient(fd int) error {
	timeout := unix.NsecToTimeval(int64(patience))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return err
	}
	return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout)
}

// dialAll opens n connections, or panics.
func dialAll(path string, n int) []*conn {
	all := make([]*conn, 0, n)
	for range n {
		c, err := dial(path)
		if err != nil {
			closeAll(all)
			fail("cannot connect to %s: %w", path, err)
		}
		all = append(all, c)
	}
	return all
}

func closeAll(all []*conn) {
	for _, c := range all {
		_ = unix.Close(c.fd)
	}
}

// inbox is where all connections receive: there is one driving thread.
var inbox [64 << 10]byte

func (c *conn) send(b []byte) {
	for len(b) > 0 {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
			uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			fail("cannot send: %w", errno)
		default:
			b = b[n:]
		}
	}
}

// offer is send to a server that may have refused the connection. It reports whether it has not, as far as is known.
func (c *conn) offer(b []byte) bool {
	for {
		err := unix.Send(c.fd, b, unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EINTR:
		case err == unix.EPIPE, err == unix.ECONNRESET:
			return false
		case err != nil:
			fail("cannot send: %w", err)
		default:
			return true
		}
	}
}

// receive waits for what there is to receive, unless flags say otherwise, and takes as much as there is room for.
func (c *conn) receive(into []byte, flags uintptr) int {
	var since time.Time // the socket's own time-out begins anew after each signal, as Go's runtime has for a thread that is busy
	for {
		if c.both && flags&unix.MSG_DONTWAIT == 0 {
			c.poll()
		}
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(into))),
			uintptr(len(into)), flags, 0, 0)
		switch {
		case errno == unix.EINTR && since.IsZero():
			since = time.Now()
		case errno == unix.EINTR && time.Since(since) < patience:
		case errno == unix.EAGAIN && flags&unix.MSG_DONTWAIT != 0:
			return 0
		case c.idle && (errno == unix.EAGAIN || errno == unix.EINTR):
		case errno == unix.EAGAIN, errno == unix.EINTR:
			fail("no answer within %v", patience)
		case errno != 0:
			fail("cannot receive: %w", errno)
		case n == 0:
			fail("the server hung up")
		default:
			return int(n)
		}
	}
}

// poll waits until there is something to receive, or for as long as the socket would.
func (c *conn) poll() {
	fds, most := unix.PollFd{Fd: int32(c.fd), Events: unix.POLLIN}, unix.NsecToTimespec(int64(patience))
	_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds)), 1, uintptr(unsafe.Pointer(&most)), 0, 0, 0) // what failed, the receiving says
}

// reply waits for what there is to receive. It is expected to be one answer, in one piece.
func (c *conn) reply() []byte {
	n := c.receive(inbox[:], 0)
	if inbox[0] == '-' {
		fail("the server answers %q", inbox[:n])
	}
	return inbox[:n]
}

// exactly waits for so many bytes, and returns them.
func (c *conn) exactly(n int) []byte {
	all := make([]byte, n)
	for left := all; len(left) > 0; {
		left = left[c.receive(left, unix.MSG_WAITALL):]
	}
	return all
}

// pass waits for so many bytes, whatever they are.
func (c *conn) pass(n int) {
	for n > 0 {
		n -= c.receive(inbox[:min(n, len(inbox))], 0)
	}
}

// await receives until total bytes have come, in all calls together. It knows an error only where a piece begins with
// one; any other ends in a wait that times out, as each byte is counted.
func (c *conn) await(total int) {
	for c.got < total {
		c.got += len(c.reply())
	}
}

// until receives until what has come since the last call ends with these bytes, and returns all of it.
func (c *conn) until(end string) string {
	got := string(c.reply())
	for !strings.HasSuffix(got, end) {
		got += string(c.reply())
	}
	return got
}

// through receives byte by byte until it has had this text, and returns how many bytes that were.
func (c *conn) through(text string) int {
	n := 0
	for seen := ""; !strings.HasSuffix(seen, text); n++ {
		c.receive(inbox[:1], 0)
		seen = seen[max(0, len(seen)+1-len(text)):] + string(inbox[:1])
	}
	return n
}

// drain takes what has come, whatever it is.
func (c *conn) drain() {
	for c.receive(inbox[:], unix.MSG_DONTWAIT) > 0 {
	}
}

// skip waits until something has come, and takes it.
func (c *conn) skip() {
	c.receive(inbox[:], 0)
	c.drain()
}

// ask sends a command and returns its reply.
func (c *conn) ask(words ...string) string {
	c.send(command(words...))
	return string(c.reply())
}

// command encodes a command.
func command(words ...string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return []byte(b.String())
}
