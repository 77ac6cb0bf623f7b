package ipc

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// A writer writes to the non-blocking socket of an os.File, and waits for room only if told to. Its function for the
// RawConn is made once: a new one for each write would be garbage for each command.
type writer struct {
	raw syscall.RawConn
	try func(fd uintptr) bool

	rest []byte
	wait bool
	err  error
}

func (w *writer) init(raw syscall.RawConn) {
	w.raw = raw
	w.try = func(fd uintptr) bool {
		for len(w.rest) > 0 {
			n, err := unix.SendmsgN(int(fd), w.rest, nil, nil, unix.MSG_NOSIGNAL)
			switch {
			case err == nil:
				w.rest = w.rest[n:]
			case errors.Is(err, unix.EAGAIN):
				return !w.wait
			case !errors.Is(err, unix.EINTR):
				w.err = err
				return true
			}
		}
		return true
	}
}

// write writes p and returns what is left of it because the socket is full.
func (w *writer) write(p []byte, wait bool) (rest []byte, err error) {
	w.rest, w.wait, w.err = p, wait, nil
	err = w.raw.Write(w.try)
	if err == nil {
		err = w.err
	}
	rest, w.rest = w.rest, nil
	return rest, err
}
