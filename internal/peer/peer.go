package peer

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Peer is a process and whom it acts for.
type Peer struct {
	UID    uint32 // effective, as GID
	GID    uint32
	Groups []uint32 // supplementary ones
	PID    int      // 0: in a PID namespace that is not visible from here
	Start  uint64   // when it started, in clock ticks after boot: field 22 of /proc/PID/stat; see the package's text if /proc does not tell
	Unit   string   // its systemd unit, "" if none or not known

	// UserUnit says that Unit is run by a user's manager, not by the system's. That user chose its name.
	UserUnit bool
}

// Of returns the identity of the process that connected the Unix socket sockfd. Of a process that is gone, it returns
// what the socket itself knows: user, groups and number.
func Of(sockfd int) (Peer, error) {
	var cred unix.Ucred
	if _, err := getsockopt(sockfd, unix.SO_PEERCRED, unsafe.Pointer(&cred), unix.SizeofUcred); err != nil {
		return Peer{}, fmt.Errorf("cannot get the credentials of a socket's peer: %w", err)
	}
	const nobody = ^uint32(0) // what the kernel says of a socket that has no peer, or is not a Unix socket
	if cred.Uid == nobody {
		return Peer{}, fmt.Errorf("cannot get the credentials of a socket's peer: %w", unix.ENOTCONN)
	}
	groups, err := groupsOf(sockfd)
	if err != nil {
		return Peer{}, fmt.Errorf("cannot get the groups of a socket's peer: %w", err)
	}
	p := Peer{UID: cred.Uid, GID: cred.Gid, Groups: groups, PID: int(cred.Pid)}
	if err := p.look(); err != nil {
		return Peer{}, err
	}
	if p.Start == 0 {
		p.Start = startBySerial(sockfd)
		return p, nil
	}
	is, err := reused(sockfd, p.PID)
	if err != nil {
		return Peer{}, fmt.Errorf("cannot get a pidfd of a socket's peer: %w", err)
	}
	if is {
		p.Start, p.Unit, p.UserUnit = 0, "", false
	}
	return p, nil
}

// reused reports whether the process that connected sockfd may have lost its number pid to another one.
func reused(sockfd, pid int) (bool, error) {
	fd, err := peerPIDFD(sockfd)
	switch err {
	case nil:
	case unix.ESRCH:
		return true, nil
	case unix.ENOPROTOOPT:
		return false, nil
	default:
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	exited, _ := Ended(fd)
	if !exited {
		return false, nil
	}
	now, err := pidOf(fd)
	return now != pid, err // it keeps its number until its parent has reaped it
}

// groupsOf returns the supplementary groups of a socket's peer.
func groupsOf(sockfd int) ([]uint32, error) {
	const few = 64
	var buf [few]uint32
	n, err := getsockopt(sockfd, unix.SO_PEERGROUPS, unsafe.Pointer(&buf), unsafe.Sizeof(buf))
	if err == nil {
		if n == 0 {
			return nil, nil
		}
		return append([]uint32(nil), buf[:n/4]...), nil
	}
	if err != unix.ERANGE {
		return nil, err
	}
	all := make([]uint32, n/4) // the kernel has said how many there are, and they never change
	n, err = getsockopt(sockfd, unix.SO_PEERGROUPS, unsafe.Pointer(&all[0]), n)
	return all[:n/4], err
}

// getsockopt returns the size of the option's value: the size needed if the error is ERANGE. No socket option that is
// asked for here can block, so the scheduler need not know.
func getsockopt(fd, option int, value unsafe.Pointer, size uintptr) (uintptr, error) {
	n := uint32(size)
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, uintptr(option),
		uintptr(value), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return uintptr(n), errno
	}
	return uintptr(n), nil
}
