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
	status := unix.WaitStatus(info.Exit_code)
	if status.Signaled() {
		return End{Signal: status.Signal()}, true
	}
	return End{Code: status.ExitStatus()}, true
}
