package session

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A reply may be as long as a user has locks. It is made in memory that is mapped for it: to grow it moves no byte, the garbage
// collector has nothing to do for it (with the loop paying, as it is the loop that allocates), and all of it is given back as soon as
// it is written (conn.SendMapped).

// An output is what is said bit by bit, and sent as a whole.
type output struct {
	out     []byte
	mapping []byte // where out is, if it is long
}

const (
	// longFrom is the length from which on a reply is long.
	longFrom = 64 << 10
	// stepRoom is room for what one step of a task says.
	stepRoom = 128 << 10
)

// makeRoom sees to it that there is room for so many bytes more, if the output is long. Where the kernel has no memory for that,
// append will find some, or not.
func (o *output) makeRoom(more int) {
	if len(o.out) < longFrom || cap(o.out)-len(o.out) >= more {
		return
	}
	size := max(8*stepRoom, 2*len(o.mapping))
	for size < len(o.out)+more {
		size *= 2
	}
	var grown []byte
	var err error
	if o.mapping == nil {
		grown, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		copy(grown, o.out)
	} else {
		grown, err = unix.Mremap(o.mapping, size, unix.MREMAP_MAYMOVE)
	}
	if err == nil {
		o.mapping, o.out = grown, grown[:len(o.out)]
	}
}

// moved frees the mapping of an output that is there no more, as it outgrew it.
func (o *output) moved() {
	if o.mapping != nil && unsafe.SliceData(o.out) != unsafe.SliceData(o.mapping) {
		o.unmap()
	}
}

// unmap frees the mapping, if there is one.
func (o *output) unmap() {
	if o.mapping != nil {
		_ = unix.Munmap(o.mapping)
		o.mapping = nil
	}
}

// sendLong sends what is in the mapping from a place on, with descriptors beside it, and reports whether it has: then the mapping is the
// connection's. If there is none it has not.
func (s *Session) sendLong(o *output, from int, fds []int) bool {
	if o.mapping == nil || !s.SendMapped(o.mapping, from, len(o.out), fds) {
		return false
	}
	o.mapping = nil
	return true
}

// heldUpBy reports whether a long output has to wait until the socket has taken what was said before it: to copy it behind that would
// take some milliseconds.
func (s *Session) heldUpBy(o *output) bool { return o.mapping != nil && !s.set.Stopping && s.HeldUp() }
