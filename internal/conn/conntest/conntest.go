// Package conntest has connections without sockets: bytes in, bytes out, half a close, a socket that takes so many bytes and no more,
// descriptors. What owns connections can be driven by them, and package conn itself, with all of its code but the system calls.
//
// A [Kernel] tells of what there is as epoll does for connections: of each change once, and again when it is asked to (Watch). It is used
// by one goroutine, and nothing happens but what a test does, in the order in which it is done.
package conntest

import (
	"errors"
	"maps"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Kernel is a conn.Kernel.
type Kernel struct {
	Discarded int  // descriptors that were closed as nobody took them
	Clogged   bool // no more of them can be closed

	Unsendable bool // no descriptor can be sent

	Dup  bool   // whoever is sent a descriptor gets one of his own: it is a real one, which the sender may close
	Sent func() // is called when a descriptor is sent; nil: nothing is

	handle func(fd int, events uint32)
	ends   map[int]*End // by the descriptor of the other end
	next   int
}

// New makes a kernel that has no connections.
func New() *Kernel { return &Kernel{ends: map[int]*End{}, next: firstFD} }

// firstFD is above all real descriptors, so that none is taken for one of these.
const firstFD = 1 << 10

// An End is the peer's end of a connection.
type End struct {
	FD   int    // of the other end, which is to be added to a set
	Got  []byte // what has come, and was not taken
	FDs  []int  // that have come; they are the sender's still
	Gone bool   // the other end is closed

	kernel  *Kernel
	room    int    // how many bytes the other end may write; below 0: any number
	sent    []sent // and not read
	unread  bool   // much is, so that the other end has no room, though it may write
	half    bool   // no more is sent
	closed  bool   // nothing is read any more either
	watched uint32
	told    bool // of all there is
}

// sent is what was sent together.
type sent struct {
	b    []byte
	fds  []int
	lost bool // some of them
}

// Connect makes a connection.
func (k *Kernel) Connect() *End {
	e := &End{FD: k.next, kernel: k, room: -1}
	k.next++
	k.ends[e.FD] = e
	return e
}

// Send sends bytes.
func (e *End) Send(b ...byte) { e.SendFDs(b) }

// SendFDs sends bytes with descriptors beside them.
func (e *End) SendFDs(b []byte, fds ...int) { e.send(sent{b: slices.Clone(b), fds: fds}) }

// SendLost sends bytes with descriptors beside them for which the other end has no room.
func (e *End) SendLost(b []byte) { e.send(sent{b: slices.Clone(b), lost: true}) }

func (e *End) send(s sent) {
	if len(s.b) == 0 { // which would be the end
		return
	}
	e.sent = append(e.sent, s)
	e.told = false
}

// HalfClose says that no more is sent.
func (e *End) HalfClose() { e.half, e.told = true, false }

// Close ends the connection: nothing is sent or read any more.
func (e *End) Close() { e.half, e.closed, e.told = true, true, false }

// SetRoom has the other end's socket take so many bytes more and then none; below 0: any number.
func (e *End) SetRoom(n int) {
	if e.room = n; n != 0 {
		e.told = false
	}
}

// SetUnread says whether so much is not read that there is no room, though the socket takes more.
func (e *End) SetUnread(is bool) { e.unread, e.told = is, false }

// Take returns what has come, and forgets it.
func (e *End) Take() string {
	got := string(e.Got)
	if e.Got = nil; got != "" && e.room != 0 {
		e.told = false
	}
	return got
}

// Tell has everything that there is to be told of handled, once for each connection, and reports whether there was anything.
func (k *Kernel) Tell() bool {
	told := false
	for _, fd := range slices.Sorted(maps.Keys(k.ends)) {
		if e := k.ends[fd]; e != nil && !e.told {
			if events := e.events(); events != 0 {
				e.told, told = true, true
				k.handle(fd, events)
			}
		}
	}
	return told
}

// events are what there is of the other end, in the words of epoll.
func (e *End) events() uint32 {
	is := uint32(0)
	if len(e.sent) > 0 || e.half {
		is |= unix.EPOLLIN
	}
	if e.hasRoom() {
		is |= unix.EPOLLOUT
	}
	if e.half {
		is |= unix.EPOLLRDHUP
	}
	is &= e.watched
	if e.closed {
		is |= unix.EPOLLHUP
	}
	return is
}

// The following is conn.Kernel.

// Handle is told what to call.
func (k *Kernel) Handle(f func(fd int, events uint32)) { k.handle = f }

// Add begins to tell of a connection.
func (k *Kernel) Add(fd int, events uint32) error {
	if k.ends[fd] == nil {
		return errors.New("no such connection")
	}
	k.Watch(fd, events)
	return nil
}

// Watch says what to tell of, and again.
func (k *Kernel) Watch(fd int, events uint32) {
	e := k.ends[fd]
	e.watched, e.told = events, false
}

// Receive reads. What came with descriptors is not read together with what came after it.
func (k *Kernel) Receive(fd int, b []byte) (n int, fds []int, lost bool, errno unix.Errno) {
	e := k.ends[fd]
	if len(e.sent) == 0 && !e.half {
		return 0, nil, false, unix.EAGAIN
	}
	for n < len(b) && len(e.sent) > 0 && len(fds) == 0 && !lost {
		first := &e.sent[0]
		fds, lost = first.fds, first.lost
		first.fds, first.lost = nil, false
		c := copy(b[n:], first.b)
		n += c
		if first.b = first.b[c:]; len(first.b) == 0 {
			e.sent = e.sent[1:]
		}
	}
	return n, fds, lost, 0
}

// Send writes as much as there is room for.
func (k *Kernel) Send(fd int, b []byte) (int, unix.Errno) {
	e := k.ends[fd]
	switch {
	case e.closed:
		return 0, unix.EPIPE
	case e.room == 0:
		return 0, unix.EAGAIN
	case e.room > 0:
		b = b[:min(len(b), e.room)]
		e.room -= len(b)
	}
	e.Got = append(e.Got, b...)
	return len(b), 0
}

// SendVector is Send of several.
func (k *Kernel) SendVector(fd int, vec []unix.Iovec) (total int, errno unix.Errno) {
	for _, v := range vec {
		n, errno := k.Send(fd, unsafe.Slice(v.Base, v.Len))
		if errno != 0 && total == 0 {
			return 0, errno
		}
		if total += n; n < int(v.Len) {
			break
		}
	}
	return total, 0
}

// SendRights is Send with descriptors.
func (k *Kernel) SendRights(fd int, b []byte, fds []int) (int, error) {
	if k.Unsendable {
		return 0, unix.ETOOMANYREFS
	}
	n, errno := k.Send(fd, b)
	if errno != 0 {
		return 0, errno
	}
	e := k.ends[fd]
	for _, fd := range fds {
		if k.Dup {
			own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				return 0, err
			}
			fd = own
		}
		e.FDs = append(e.FDs, fd)
	}
	if k.Sent != nil {
		k.Sent()
	}
	return n, nil
}

// Untaken is how much has come and was not taken, with room for what the kernel adds to it.
func (k *Kernel) Untaken(fd int) int {
	if n := len(k.ends[fd].Got); n > 0 {
		return n + perWrite
	}
	return 0
}

// perWrite is what a write takes in the kernel, beside its bytes.
const perWrite = 512

// HasRoom reports whether there is room.
func (k *Kernel) HasRoom(fd int) bool { return k.ends[fd].hasRoom() }

func (e *End) hasRoom() bool { return e.room != 0 && !e.unread }

// Close closes the other end.
func (k *Kernel) Close(fd int, _ uint32, _ bool) {
	k.ends[fd].Gone = true
	delete(k.ends, fd)
}

// Discard closes a descriptor, if it is a real one.
func (k *Kernel) Discard(fd int, _ uint32) bool {
	k.Discarded++
	if fd < firstFD {
		_ = unix.Close(fd)
	}
	return !k.Clogged
}
