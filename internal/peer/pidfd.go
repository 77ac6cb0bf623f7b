package peer

import (
	"errors"
	"fmt"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PIDFD returns a pidfd, close-on-exec, of the process p that connected the Unix socket sockfd. If that process is
// gone, the error is ESRCH; on Linux 6.16 and later the socket keeps even a gone process's pidfd.
func PIDFD(sockfd int, p Peer) (int, error) { return pidfdOf(sockfd, p, peerPIDFD) }

// pidfdOf is PIDFD with the way to ask the socket as a parameter, so that tests can be without it.
func pidfdOf(sockfd int, p Peer, ask func(sockfd int) (int, error)) (int, error) {
	fd, err := ask(sockfd)
	if err == unix.ENOPROTOOPT { // before Linux 6.5
		fd, err = Open(p)
	}
	if err != nil {
		return -1, fmt.Errorf("cannot get a pidfd of process %d: %w", p.PID, err)
	}
	return fd, nil
}

// peerPIDFD asks the socket. Its error is ENOPROTOOPT if the kernel does not know the option.
func peerPIDFD(sockfd int) (int, error) {
	var fd int32
	_, err := getsockopt(sockfd, unix.SO_PEERPIDFD, unsafe.Pointer(&fd), unsafe.Sizeof(fd))
	if err == unix.EINVAL || err == unix.ENODATA { // what some kernels say instead
		err = unix.ESRCH
	}
	return int(fd), err
}

// Open opens a pidfd by number. It is p's if p's start time is still found there afterwards: then nobody else has had
// the number in between. If the process is gone, the error is ESRCH. Any other error leaves that open.
func Open(p Peer) (int, error) {
	if p.Start == 0 {
		return -1, unix.ESRCH
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		// Of the number of a thread it is ENOENT, or EINVAL on older kernels, which may have other causes.
		if unix.Tgkill(p.PID, p.PID, 0) == unix.ESRCH {
			err = unix.ESRCH // no process has the number
		}
		return -1, err
	}
	if err = isStill(fd, p); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// isStill checks that a pidfd that was opened by number is that of p. If it is not, the error is ESRCH.
func isStill(fd int, p Peer) error {
	if p.Start&unseen != 0 {
		if p.Start != unseen+serial(fd) {
			return unix.ESRCH
		}
		return nil
	}
	var buf [1024]byte
	stat, err := procfsErr(buf[:], p.PID, "/stat")
	switch start := startOf(stat); {
	case start == p.Start:
		return nil
	case start != 0: // another's
		return unix.ESRCH
	case isGone(err):
		if exited, _ := Ended(fd); !exited {
			return unix.EACCES // it is there, and hidden from here (hidepid)
		}
		return unix.ESRCH
	case err == nil: // it was read, and makes no sense
		return unix.EIO
	}
	return err
}

// FromPIDFD returns the identity of the process that a pidfd refers to, without its supplementary groups. It is an
// error if fd is no pidfd, refers to a mere thread, or to a process that has ended or cannot be seen from here.
func FromPIDFD(fd int) (Peer, error) {
	p, err := fromPIDFD(fd)
	if err != nil {
		return Peer{}, fmt.Errorf("cannot identify the process of a pidfd: %w", err)
	}
	return p, nil
}

// IsPIDFD reports whether fd is a pidfd, be the process alive or gone. It may be a directory of /proc, too.
func IsPIDFD(fd int) bool {
	err := probe(fd)
	return err == nil || err == unix.EPERM || err == unix.ESRCH || err == unix.EINVAL
}

// probe sends no signal to the process of a pidfd. Only a pidfd and a directory of /proc take signals; else the error is EBADF.
// It is EINVAL if the process is outside of this PID namespace.
func probe(fd int) error { return unix.PidfdSendSignal(fd, 0, nil, 0) }

func fromPIDFD(fd int) (Peer, error) {
	// Of a pidfd and a directory of /proc, only a pidfd's fdinfo names a process.
	if err := probe(fd); err != nil && err != unix.EPERM {
		switch err {
		case unix.EBADF:
			err = errNoPIDFD
		case unix.EINVAL:
			err = errOutside
		}
		return Peer{}, err
	}
	pid, err := pidOf(fd)
	if err != nil {
		return Peer{}, err
	}
	p := Peer{PID: pid}
	switch p.PID {
	case -1:
		return Peer{}, unix.ESRCH
	case 0:
		return Peer{}, errors.New("not a pidfd of a process in sight")
	}
	var buf [4096]byte
	status := procfs(buf[:], p.PID, "/status")
	const effective = 2 // real, effective, saved, file system's
	leader, ok1 := number(field(line(status, "Tgid:"), 1))
	uid, ok2 := number(field(line(status, "Uid:"), effective))
	gid, ok3 := number(field(line(status, "Gid:"), effective))
	p.UID, p.GID = uint32(uid), uint32(gid)
	if err := p.look(); err != nil {
		return Peer{}, err
	}
	// All of this was found under the process's number, which was its own if it has not ended even now.
	switch exited, _ := Ended(fd); {
	case exited:
		return Peer{}, unix.ESRCH
	case !ok1 || !ok2 || !ok3 || p.Start == 0:
		return Peer{}, fmt.Errorf("cannot read /proc/%d: %w", p.PID, unix.EIO)
	case leader != uint64(p.PID):
		return Peer{}, fmt.Errorf("%d is a thread", p.PID)
	}
	return p, nil
}

// pidOf returns the number of the process of a pidfd: -1 if it has been reaped, 0 if it cannot be seen from this PID
// namespace or if fd is no pidfd.
func pidOf(fd int) (int, error) {
	var buf [1024]byte
	var path [64]byte
	name := strconv.AppendInt(append(path[:0], "/proc/self/fdinfo/"...), int64(fd), 10)
	info, err := read(buf[:], name)
	if err != nil {
		return 0, fmt.Errorf("cannot read %s: %w", name, err)
	}
	pid := field(line(info, "Pid:"), 1)
	if string(pid) == "-1" {
		return -1, nil
	}
	n, _ := number(pid)
	return int(n), nil
}
