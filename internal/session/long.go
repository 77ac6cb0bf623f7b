package session

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A reply may be as long as a user has locks. It is made in memory that is mapped for it: to grow it moves no byte, the garbage
// collector has nothing to do for it (with the loop paying, as it is the loop that allocates), and all of it is given back as soon as
// it is written (conn.SendMapped).

const (
	// longFrom is the length from which on a reply is long.
	longFrom = 64 << 10
	// stepRoom is room for what one step of a task says.
	stepRoom = 128 << 10
)

// makeRoom sees to it that there is room for the next step, if the reply is long. Where the kernel has no memory for that,
// append will find some, or not.
func (t *Task) makeRoom() {
	if len(t.out) < longFrom || cap(t.out)-len(t.out) >= stepRoom {
		return
	}
	var grown []byte
	var err error
	if t.mapping == nil {
		grown, err = unix.Mmap(-1, 0, 8*stepRoom, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		copy(grown, t.out)
	} else {
		grown, err = unix.Mremap(t.mapping, 2*len(t.mapping), unix.MREMAP_MAYMOVE)
	}
	if err == nil {
		t.mapping, t.out = grown, grown[:len(t.out)]
	}
}

// moved frees the mapping of a task whose output is there no more, as it outgrew it.
func (t *Task) moved() {
	if t.mapping != nil && unsafe.SliceData(t.out) != unsafe.SliceData(t.mapping) {
		t.unmap()
	}
}

func (t *Task) unmap() {
	_ = unix.Munmap(t.mapping)
	t.mapping = nil
}
