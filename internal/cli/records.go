package cli

import (
	"bytes"
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc/wire"
)

// records cuts what a descriptor has into records. It reads only what is there, so it suits one who waits by poll(2).
type records struct {
	fd   int
	end  byte // of a record
	buf  []byte
	from int  // in buf: the first byte of a record that was not taken
	seen int  // in buf: no record ends before this
	over bool // there is no more to read
}

// readSize is how much is read at once.
const readSize = 64 << 10

// read reads once. io.EOF says that there will be no more: what is left is the last record.
func (r *records) read() error {
	if r.from > 0 {
		n := copy(r.buf, r.buf[r.from:])
		r.buf, r.seen, r.from = r.buf[:n], r.seen-r.from, 0
	}
	if cap(r.buf)-len(r.buf) < readSize {
		r.buf = append(make([]byte, 0, 2*len(r.buf)+readSize), r.buf...)
	}
	n, err := unix.Read(r.fd, r.buf[len(r.buf):len(r.buf)+readSize])
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR): // somebody else has set O_NONBLOCK, and taken it
		return nil
	case err != nil:
		return err
	case n == 0:
		r.over = true
		return io.EOF
	}
	r.buf = r.buf[:len(r.buf)+n]
	return nil
}

// next takes a record, without its end; it is valid until the next read. The last one need not have an end.
func (r *records) next() (record []byte, ok bool) {
	if i := bytes.IndexByte(r.buf[r.seen:], r.end); i >= 0 {
		record, r.from = r.buf[r.from:r.seen+i], r.seen+i+1
		r.seen = r.from
		return record, true
	}
	r.seen = len(r.buf)
	if r.over && r.from < len(r.buf) {
		record, r.from = r.buf[r.from:], len(r.buf)
		return record, true
	}
	return nil, false
}

// unfinished is how long the record is by now whose end was not read yet.
func (r *records) unfinished() int { return len(r.buf) - r.from }

// A window has the commands that were not answered yet, oldest first. Those of them that were sent are kept until then, in case that
// they have to be sent again.
type window struct {
	buf   []byte
	first int   // in buf: where the oldest begins
	sent  int   // in buf: what was not sent begins here, perhaps in the middle of a command
	sizes []int // of the commands from the oldest on, behind head others
	head  int
}

// The bounds of a window: so much is under way at most, but one command in any case.
const (
	mostUnanswered      = 1024
	mostUnansweredBytes = 256 << 10
)

func (w *window) count() int { return len(w.sizes) - w.head }

func (w *window) empty() bool { return w.count() == 0 }

func (w *window) full() bool {
	return w.count() >= mostUnanswered || len(w.buf)-w.first >= mostUnansweredBytes
}

// add appends a command, of which only the payload is its own, unless it would have more bytes than most.
func (w *window) add(most int, before, payload, after []byte) bool {
	if w.first > len(w.buf)/2 { // so a byte is moved once at most
		n := copy(w.buf, w.buf[w.first:])
		w.buf, w.sent, w.first = w.buf[:n], w.sent-w.first, 0
	}
	begin := len(w.buf)
	w.buf = append(wire.AppendBulk(append(w.buf, before...), payload), after...)
	size := len(w.buf) - begin
	if size > most {
		w.buf = w.buf[:begin]
		return false
	}
	if w.head > mostUnanswered {
		w.sizes, w.head = append(w.sizes[:0], w.sizes[w.head:]...), 0
	}
	w.sizes = append(w.sizes, size)
	return true
}

// unsent is what is to be sent, of which so many bytes were then.
func (w *window) unsent() []byte { return w.buf[w.sent:] }
func (w *window) took(n int)     { w.sent += n }

// answered takes the oldest command out.
func (w *window) answered() {
	w.first += w.sizes[w.head]
	w.head++
	if w.empty() {
		w.buf, w.sizes, w.first, w.sent, w.head = w.buf[:0], w.sizes[:0], 0, 0, 0
	}
}

// begun is how many of the commands were sent, the last one perhaps in part.
func (w *window) begun() int {
	n := 0
	for at := w.first; n < w.count() && at < w.sent; n++ {
		at += w.sizes[w.head+n]
	}
	return n
}

// drop takes out what was not begun to be sent.
func (w *window) drop() {
	n, end := w.begun(), w.first
	for _, size := range w.sizes[w.head : w.head+n] {
		end += size
	}
	w.buf, w.sizes = w.buf[:end], w.sizes[:w.head+n]
}

// again has all be sent once more.
func (w *window) again() { w.sent = w.first }
