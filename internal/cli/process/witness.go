package process

import (
	"bytes"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A witness tells which signals were sent to the process group of this process, as by a key of the terminal, a shell's "kill %1" or
// the end of a session, and not to this process alone: nothing that comes along with a signal does. It is a process of that
// group which blocks all signals and sleeps. So what is sent to the group is pending there for ever, and /proc shows it.
//
// When a signal has come here, the witness has got it already if it is to get it: the kernel goes through a group from its
// youngest process to its oldest, and makes the signal pending in each before it goes on.
type witness struct {
	pid  int       // 0: there is none, and all signals are taken to have been sent to this process alone
	life int       // the end of a pipe: the witness ends when nobody has it any more
	seen signalSet // what was seen of witnesses before, and not been asked for
}

// newWitness begins to watch, if it can.
func newWitness() (w witness) {
	w.pid, w.life = newSleeper(0)
	return w
}

// newSleeper forks a process that blocks all signals and sleeps until nobody has the other end of a pipe any more, which is life. If it
// is one of another process group, it ends all of that then. pid is 0 if there is none.
func newSleeper(group int) (pid, life int) {
	pipe := make([]int, 2)
	if unix.Pipe2(pipe, unix.O_CLOEXEC) != nil {
		return 0, 0
	}
	defer unix.Close(pipe[0])
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, own unix.Sigset_t
	for i := range all.Val {
		all.Val[i]--
	}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &all, &own) // it cannot fail
	sleeper, errno := forkSleeper(uintptr(pipe[0]), uintptr(pipe[1]), uintptr(group))
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &own, nil)
	if errno != 0 {
		unix.Close(pipe[1])
		return 0, 0
	}
	return int(sleeper), pipe[1]
}

// sleeperName is what a witness is called by ps, and guardName what a guard is.
var (
	sleeperName = [...]byte{'i', 'p', 'c', 'c', 't', 'l', '-', 'w', 'i', 't', 'n', 'e', 's', 's', 0}
	guardName   = [...]byte{'i', 'p', 'c', 'c', 't', 'l', '-', 'g', 'u', 'a', 'r', 'd', 0}
)

// forkSleeper forks a process that keeps nothing of this one open but the pipe, and ends with that; with it ends the group, if that is
// not 0. There, nothing of the Go runtime may run: the calling thread is all that is left, and its signals are blocked.
//
//go:norace
//go:noinline
func forkSleeper(pipe, life, group uintptr) (pid uintptr, errno syscall.Errno) {
	pid, _, errno = unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	if group == 0 {
		_, _, _ = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(&sleeperName)), 0)
	} else {
		_, _, _ = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(&guardName)), 0)
		if _, _, failed := unix.RawSyscall(unix.SYS_SETPGID, 0, group, 0); failed != 0 { // the group has ended
			group = 0
		}
	}
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, life, 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE_RANGE, pipe+1, uintptr(^uint32(0)), 0)
	if pipe > 0 {
		_, _, _ = unix.RawSyscall(unix.SYS_CLOSE_RANGE, 0, pipe-1, 0)
	}
	var b byte
	_, _, _ = unix.RawSyscall(unix.SYS_READ, pipe, uintptr(unsafe.Pointer(&b)), 1)
	if group != 0 {
		_, _, _ = unix.RawSyscall(unix.SYS_KILL, 0, uintptr(unix.SIGKILL), 0) // the group that it is in
	}
	for {
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// saw reports whether a signal that has come here was sent to the whole group. It is asked once for each.
func (w *witness) saw(s syscall.Signal) bool {
	pending := w.pending()
	if s == unix.SIGCONT && pending.has(unix.SIGTSTP) {
		return true // the group was stopped again, which discards a SIGCONT; to pass it on would wake CMD
	}
	if !w.seen.has(s) && pending.has(s) {
		// What is pending cannot be taken back, so another one is to watch for the next.
		next := newWitness()
		next.seen = w.seen | pending | w.pending() // what came meanwhile, the next one may have missed
		w.dismiss()
		*w = next
	}
	seen := w.seen.has(s)
	w.seen &^= setOf(s)
	return seen
}

// pending are the signals that the witness has got.
func (w *witness) pending() signalSet {
	if w.pid == 0 {
		return 0
	}
	status := ReadProc("/proc/" + strconv.Itoa(w.pid) + "/status")
	// In the /proc of other processes' namespace, the number is that of somebody else.
	if parent, ok := statusField(status, "PPid"); !ok || parent != strconv.Itoa(unix.Getpid()) {
		return 0
	}
	text, _ := statusField(status, "ShdPnd")
	set, _ := strconv.ParseUint(text, 16, 64)
	return signalSet(set)
}

// statusField is a line of a status in /proc.
func statusField(status []byte, name string) (string, bool) {
	_, after, ok := bytes.Cut(status, []byte("\n"+name+":\t"))
	line, _, _ := bytes.Cut(after, []byte("\n"))
	return string(line), ok
}

// dismiss ends the witness.
func (w *witness) dismiss() {
	if w.pid == 0 {
		return
	}
	unix.Close(w.life)
	_ = unix.Kill(w.pid, unix.SIGKILL) // it has ended, or does so now
	for {
		if _, err := unix.Wait4(w.pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}
