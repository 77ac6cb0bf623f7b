package peer

import (
	"fmt"
	"strconv"
	"sync"

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

// TellsStatus reports whether this kernel tells how a process ended once its parent has reaped it (Linux 6.15).
var TellsStatus = sync.OnceValue(func() bool {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return false
	}
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	return err == nil && (major > 6 || major == 6 && minor >= 15)
})

// ZombieStatus returns how a process ended that has, and that its parent has not reaped yet, be it as slow as it likes. The
// kernel tells that to who may trace the process: root, and its own user. To anybody it tells that a process was sent
// SIGKILL. For all else it has to be reaped: see Status.
func ZombieStatus(pid int, start uint64) (end End, ok bool) {
	code, ok := zombieCode(pid, start)
	switch {
	case !ok:
		return End{}, false
	case code == 0 && wasKilled(pid, start):
		return End{Signal: unix.SIGKILL}, true
	case code == 0 && !showsCode(pid, start):
		return End{}, false
	}
	return endOf(unix.WaitStatus(code)), true
}

// zombieCode returns how a process ended, or 0 to who may not know. It is not ok unless the process has ended and was not
// reaped.
func zombieCode(pid int, start uint64) (code uint64, ok bool) {
	var buf [1024]byte
	stat := procfs(buf[:], pid, "/stat")
	rest := afterName(stat)
	code, _ = number(field(rest, 52-2))
	return code, start != 0 && startOf(stat) == start && string(field(rest, 3-2)) == "Z"
}

// showsCode reports whether zombieCode tells the truth of a process. A zombie has no program, which is said to who may trace it,
// on the same terms; who may not is denied to ask. The number may have gone to another process in between, so the zombie
// must be found there afterwards.
func showsCode(pid int, start uint64) bool {
	_, err := unix.Readlink("/proc/"+strconv.Itoa(pid)+"/exe", make([]byte, 1))
	_, same := zombieCode(pid, start)
	return err == unix.ENOENT && same
}

// wasKilled reports whether SIGKILL is why a process has ended, as everybody may see: the signal stays among those that the
// process has not taken. Once a process has begun to exit for another reason none is added to them, in a kernel of this age.
func wasKilled(pid int, start uint64) bool {
	if !TellsStatus() {
		return false
	}
	var buf [4096]byte
	pending, err := strconv.ParseUint(string(field(line(procfs(buf[:], pid, "/status"), "ShdPnd:"), 1)), 16, 64)
	_, same := zombieCode(pid, start)
	return err == nil && pending&(1<<(unix.SIGKILL-1)) != 0 && same
}

// Exiting reports whether a process is on its way out: it has begun to exit, though its pidfd does not say so yet. On a busy
// machine that takes its time, and its connections are closed before. That is not so if its main thread alone has ended, and others go on.
func Exiting(pid int, start uint64) bool {
	var buf [1024]byte
	stat := procfs(buf[:], pid, "/stat")
	threads, _ := number(field(afterName(stat), 20-2))
	if start == 0 || startOf(stat) != start || !exits(stat) {
		return false
	}
	return threads <= 1 || othersExit(pid)
}

// exits reports whether a thread has begun to exit.
func exits(stat []byte) bool {
	const exiting = 0x4 // PF_EXITING, of the flags that field 9 has
	flags, _ := number(field(afterName(stat), 9-2))
	return flags&exiting != 0
}

// mostThreads is how many threads of a process are looked at. The oldest are first, and where so many exit the others do, too.
const mostThreads = 16

// othersExit reports whether all threads of a process but its main one have begun to exit, too. What a process has open is closed by the
// last that does.
func othersExit(pid int) bool {
	var path [64]byte
	tasks := append(strconv.AppendInt(append(path[:0], "/proc/"...), int64(pid), 10), "/task"...)
	fd, err := unix.Open(string(tasks), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return isGone(err)
	}
	var entries, buf [1024]byte
	n, err := unix.ReadDirent(fd, entries[:])
	_ = unix.Close(fd)
	if err != nil {
		return isGone(err)
	}
	_, _, threads := unix.ParseDirent(entries[:n], mostThreads, nil)
	for _, tid := range threads {
		stat, err := read(buf[:], append(append(append(tasks, '/'), tid...), "/stat"...))
		if err != nil && !isGone(err) || err == nil && !exits(stat) {
			return false
		}
	}
	return true
}

func endOf(status unix.WaitStatus) End {
	if status.Signaled() {
		return End{Signal: status.Signal()}
	}
	return End{Code: status.ExitStatus()}
}
