package conn

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/peer"
)

// A Kernel is what carries the bytes of connections: sockets, or what a test has in their place. None of it blocks.
type Kernel interface {
	// Handle has f called for what is found of the descriptors that are added, in the words of epoll.
	Handle(f func(fd int, events uint32))
	// Add watches a descriptor.
	Add(fd int, events uint32) error
	// Watch changes what a descriptor is watched for, and has f called for what there is of it already.
	Watch(fd int, events uint32)

	// Receive reads into b. fds came with the bytes, and are valid until the next call; lost says that not all of them are there, as there is no descriptor left.
	Receive(fd int, b []byte) (n int, fds []int, lost bool, errno unix.Errno)
	Send(fd int, b []byte) (int, unix.Errno)
	SendVector(fd int, vec []unix.Iovec) (int, unix.Errno)
	SendRights(fd int, b []byte, fds []int) (int, error)
	// Untaken is how much memory that has which was sent and is not read.
	Untaken(fd int) int
	// HasRoom reports whether so little is not read that epoll would say that there is room. More may be taken all the same.
	HasRoom(fd int) bool

	// Close closes the connection of a user; read says that it was read to its end.
	Close(fd int, uid uint32, read bool)
	// Discard closes a descriptor that a user's process has sent. It reports false if so many wait to be closed that he should send
	// no more.
	Discard(fd int, uid uint32) bool
}

// sockets is the Kernel itself.
type sockets struct {
	loop *loop.Loop
	kind loop.Kind

	// What recvmsg needs, allocated once.
	msg     unix.Msghdr
	vec     unix.Iovec
	control [1040]byte // for all descriptors that can come at once
	came    []int      // those that came last
}

// Sockets is the Kernel by sockets that a loop waits for.
func Sockets(l *loop.Loop) Kernel {
	k := &sockets{loop: l}
	k.msg.Iov = &k.vec
	k.msg.Iovlen = 1
	k.msg.Control = &k.control[0]
	return k
}

func (k *sockets) Handle(f func(fd int, events uint32)) { k.kind = k.loop.Handle(f) }

func (k *sockets) Add(fd int, events uint32) error { return k.loop.Add(fd, k.kind, events) }

func (k *sockets) Watch(fd int, events uint32) { k.loop.Modify(fd, k.kind, events) }

func (k *sockets) Receive(fd int, b []byte) (n int, fds []int, lost bool, errno unix.Errno) {
	k.vec.Base = unsafe.SliceData(b)
	k.vec.Len = uint64(len(b))
	k.msg.Controllen = uint64(len(k.control))
	errno = unix.EINTR
	for errno == unix.EINTR {
		var got uintptr
		got, _, errno = unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&k.msg)),
			unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		n = int(got)
	}
	if errno == 0 && k.msg.Controllen > 0 {
		fds = k.rights()
	}
	return n, fds, errno == 0 && k.msg.Flags&unix.MSG_CTRUNC != 0, errno
}

// rights are the descriptors that came with the last bytes.
func (k *sockets) rights() []int {
	messages, err := unix.ParseSocketControlMessage(k.control[:k.msg.Controllen])
	if err != nil {
		return nil
	}
	k.came = k.came[:0]
	for i := range messages {
		if some, err := unix.ParseUnixRights(&messages[i]); err == nil {
			k.came = append(k.came, some...)
		}
	}
	return k.came
}

func (k *sockets) Send(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
		uintptr(len(b)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func (k *sockets) SendVector(fd int, vec []unix.Iovec) (int, unix.Errno) {
	msg := unix.Msghdr{Iov: unsafe.SliceData(vec), Iovlen: uint64(len(vec))}
	n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)),
		unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	return int(n), errno
}

func (k *sockets) SendRights(fd int, b []byte, fds []int) (int, error) {
	return unix.SendmsgN(fd, b, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
}

func (k *sockets) Untaken(fd int) int {
	n, _ := unix.IoctlGetInt(fd, unix.SIOCOUTQ) // of what is no socket any more, it is nothing
	return n
}

func (k *sockets) HasRoom(fd int) bool {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, _ := unix.Poll(p[:], 0) // if it fails, epoll will tell
	return n > 0
}

func (k *sockets) Close(fd int, uid uint32, read bool) {
	if read {
		_ = unix.Close(fd)
	} else {
		k.loop.HangUp(uid, fd)
	}
}

// Discard closes a pidfd at once.
func (k *sockets) Discard(fd int, uid uint32) bool {
	if peer.IsPIDFD(fd) {
		_ = unix.Close(fd)
		return true
	}
	k.loop.Closer.Close(uid, fd)
	return !k.loop.Closer.Full(uid)
}
