package peer

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Connected reports whether the process of a pidfd is the one that connected the Unix socket sockfd, and whose identity is p.
// The two may be in different PID namespaces, and need no number here. It is an error if fd is no pidfd, or if the process
// that connected is gone.
func Connected(sockfd int, p Peer, fd int) (bool, error) { return connected(sockfd, p, fd, serial) }

// connected is Connected with the way to tell pidfds apart as a parameter, so that tests can be without it.
func connected(sockfd int, p Peer, fd int, serial func(pidfd int) uint64) (bool, error) {
	if !IsPIDFD(fd) {
		return false, errNoPIDFD
	}
	own, err := peerPIDFD(sockfd)
	switch {
	case err == nil:
		defer func() { _ = unix.Close(own) }()
		if n := serial(own); n != 0 {
			return n == serial(fd), nil
		}
	case err != unix.ENOPROTOOPT:
		return false, err
	}
	who, err := fromPIDFD(fd)
	if err != nil {
		return false, err
	}
	return p.Start != 0 && who.PID == p.PID && who.Start == p.Start, nil
}

var (
	errNoPIDFD = errors.New("not a pidfd")
	errOutside = errors.New("it is outside of this PID namespace")
)

// serial is the number that the kernel gave the process of a pidfd, and gives no other until the machine is started anew: the
// inode of the pidfd since Linux 6.9. Before, all pidfds have the same one, and the result is 0.
func serial(pidfd int) uint64 {
	const pidfs = 0x50494446
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(pidfd, &fs) != nil || fs.Type != pidfs || unix.Fstat(pidfd, &st) != nil {
		return 0
	}
	return st.Ino
}

// unseen marks a [Peer.Start] that is a serial. No process starts so many ticks after boot, and the sum fits a float64.
const unseen = 1 << 52

// startBySerial stands for the start time of the live process that connected sockfd if /proc does not tell it; 0 if it cannot.
func startBySerial(sockfd int) uint64 {
	fd, err := peerPIDFD(sockfd)
	if err != nil {
		return 0
	}
	defer func() { _ = unix.Close(fd) }()
	n := serial(fd)
	if exited, _ := Ended(fd); exited || n == 0 || n >= unseen {
		return 0
	}
	return unseen + n
}

// Command is the name of the command that a process runs, "" if it cannot be seen. The process chose it.
func Command(pid int) string {
	var buf [64]byte
	comm := procfs(buf[:], pid, "/comm")
	return string(comm[:max(len(comm)-1, 0)])
}
