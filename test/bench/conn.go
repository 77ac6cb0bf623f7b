package main

import (
	"fmt"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// patience is how long an answer may take before a row is given up.
const patience = 10 * time.Second

// A broken measurement panics with a failure, and bench.measure recovers: the loops that are timed have no error
// paths of their own.
type failure struct{ error }

func fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

// A conn is a connection of the driver's. It blocks in raw system calls: neither the Go scheduler nor an epoll set is
// between driver and server.
type conn struct {
	fd  int
	got int // bytes that await has received
}

func dial(path string) (*conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	timeout := unix.NsecToTimeval(int64(patience))
	if err = unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err == nil {
		if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err == nil {
			err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout)
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &conn{fd: fd}, nil
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

// reply waits for what there is to receive. It is expected to be one answer, in one piece.
func (c *conn) reply() []byte {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(&inbox)),
			uintptr(len(inbox)), 0, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			fail("no answer within %v", patience)
		case errno != 0:
			fail("cannot receive: %w", errno)
		case n == 0:
			fail("the server hung up")
		case inbox[0] == '-':
			fail("the server answers %q", inbox[:n])
		default:
			return inbox[:n]
		}
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

// drain takes what has come, whatever it is.
func (c *conn) drain() { c.receive(unix.MSG_DONTWAIT) }

// skip waits until something has come, and takes it.
func (c *conn) skip() {
	c.receive(0)
	c.drain()
}

func (c *conn) receive(flags uintptr) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(&inbox)),
			uintptr(len(inbox)), flags, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN && flags != 0:
			return
		case errno != 0:
			fail("cannot receive: %w", errno)
		case n == 0:
			fail("the server hung up")
		case flags == 0:
			return
		}
	}
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
