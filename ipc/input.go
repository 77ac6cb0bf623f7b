package ipc

import (
	"errors"
	"io"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// An input reads from the non-blocking socket of an os.File, and takes the descriptors that come beside the bytes, once it is to. What is
// in the socket when it waits may have one already, so it looks again whether it is to take them each time that it reads. As with writer,
// its function for the RawConn is made once.
type input struct {
	raw   syscall.RawConn
	try   func(fd uintptr) bool
	takes atomic.Bool
	files []int // that came and were not taken; -1: one is missing

	p      []byte
	n      int
	err    error
	rights []byte
}

func (r *input) init(raw syscall.RawConn) {
	r.raw = raw
	r.try = func(fd uintptr) bool {
		for {
			r.n, r.err = r.receive(int(fd))
			if !errors.Is(r.err, unix.EINTR) {
				return !errors.Is(r.err, unix.EAGAIN)
			}
		}
	}
}

// receive reads once.
func (r *input) receive(fd int) (int, error) {
	if !r.takes.Load() {
		return unix.Read(fd, r.p)
	}
	if r.rights == nil {
		r.rights = make([]byte, unix.CmsgSpace(mostFiles*4))
	}
	n, fds, missing, err := receiveRights(fd, r.p, r.rights)
	r.files = append(r.files, fds...)
	if missing {
		r.files = append(r.files, -1)
	}
	return n, err
}

// Read is that of an io.Reader. One goroutine reads.
func (r *input) Read(p []byte) (int, error) {
	r.p = p
	err := r.raw.Read(r.try)
	if r.p = nil; err == nil {
		err = r.err
	}
	switch {
	case err != nil:
		return 0, err
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}
