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

	rest  []byte
	done  int      // bytes before rest, since the beginning
	files []beside // that are not sent
	wait  bool
	err   error
}

// beside is a descriptor that goes out with a byte of what is written, and is closed then.
type beside struct{ at, fd int }

// begin has what is written next be the beginning of something, with files.
func (w *writer) begin(files []beside) { w.done, w.files = 0, append(w.files[:0], files...) }

// next is what can be written at once: as much as has one descriptor beside its first byte at most, and that.
func (w *writer) next() (b, rights []byte) {
	b = w.rest
	for i, f := range w.files {
		switch at := f.at - w.done; {
		case i == 0 && at == 0:
			rights = unix.UnixRights(f.fd)
		default:
			return b[:at], rights
		}
	}
	return b, rights
}

// wrote takes note of what was written.
func (w *writer) wrote(n int, rights bool) {
	if rights {
		_ = unix.Close(w.files[0].fd)
		w.files = w.files[1:]
	}
	w.rest = w.rest[n:]
	w.done += n
}

// drop closes what is not sent, and will not be.
func (w *writer) drop() {
	closeAll(w.files)
	w.files = w.files[:0]
}

func closeAll(files []beside) {
	for _, f := range files {
		_ = unix.Close(f.fd)
	}
}

func (w *writer) init(raw syscall.RawConn) {
	w.raw = raw
	w.try = func(fd uintptr) bool {
		for len(w.rest) > 0 {
			b, rights := w.next()
			n, err := unix.SendmsgN(int(fd), b, rights, nil, unix.MSG_NOSIGNAL)
			switch {
			case err == nil:
				w.wrote(n, rights != nil)
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
