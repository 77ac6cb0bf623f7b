package peer

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// Ended reports whether the process of a pidfd has exited, and whether its parent has reaped it too. Kernels before
// 6.9 do not tell the latter.
func Ended(pidfd int) (exited, reaped bool) {
	fds := [1]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		var now unix.Timespec
		_, err := unix.Ppoll(fds[:], &now, nil)
		if err != unix.EINTR {
			break
		}
	}
	reaped = fds[0].Revents&unix.POLLHUP != 0
	return reaped || fds[0].Revents&unix.POLLIN != 0, reaped
}

// End is how a process ended.
type End struct {
	Code   int         // its exit status, if Signal is 0
	Signal unix.Signal // the signal that killed it
}

// String returns "exited N" or "killed N".
func (e End) String() string {
	if e.Signal != 0 {
		return "killed " + strconv.Itoa(int(e.Signal))
	}
	return "exited " + strconv.Itoa(e.Code)
}

// Status returns how the process of a pidfd ended. It is known on Linux 6.15 and later, and only after the process's
// parent has reaped it.
func Status(pidfd int) (end End, ok bool) {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := unix.IoctlPidfdInfo(pidfd, &info); err != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return End{}, false
	}
	return endOf(unix.WaitStatus(info.Exit_code)), true
}

// ZombieStatus returns how a process ended that its parent has not reaped yet, be it as slow as it likes. The kernel tells that
// to root and to the user of the process, to others it says 0: so what did exit with 0 is not known here.
func ZombieStatus(pid int, start uint64) (end End, ok bool) {
	var buf [1024]byte
	stat := procfs(buf[:], pid, "/stat")
	if startOf(stat) != start {
		return End{}, false
	}
	rest := afterName(stat)
	code, _ := number(field(rest, 52-2))
	return endOf(unix.WaitStatus(code)), string(field(rest, 3-2)) == "Z" && code != 0
}

// Exiting reports whether a process is on its way out: it has begun to exit, though its pidfd does not say so yet. On a busy
// machine that takes its time, and its connections are closed before.
func Exiting(pid int, start uint64) bool {
	const exiting = 0x4 // PF_EXITING, of the flags that field 9 has
	var buf [1024]byte
	stat := procfs(buf[:], pid, "/stat")
	flags, _ := number(field(afterName(stat), 9-2))
	return startOf(stat) == start && start != 0 && flags&exiting != 0
}

func endOf(status unix.WaitStatus) End {
	if status.Signaled() {
		return End{Signal: status.Signal()}
	}
	return End{Code: status.ExitStatus()}
}
