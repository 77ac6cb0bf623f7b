package process

import (
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// received is what this process was started with: the signals that are ignored, those that are blocked, and by how many
// nanoseconds its timers may be late. CMD is to have them likewise, but the Go runtime installs its handlers before anything
// that is written in Go runs. So the Makefile has the kernel enter ipcctl elsewhere, at ipcctl_entry, which asks for them and
// then goes on to the runtime. In a program that is linked without that, as by "go install", nothing is known, and CMD gets
// what the runtime has made of it.
var received struct {
	known            uint64 // not 0 if the others are
	ignored, blocked signalSet
	slack            int64 // not above 0 if it is not known, or nothing that can be set: a real-time process has none
}

// slack is by how many nanoseconds the entry lets timers of ipcctl be late. The Go runtime has a thread that looks after the others
// every 20 µs at first, and here that is most often for nothing: it takes the CPU from the thread that works, and has another one
// started because that waits for the daemon. But where ipcctl has several things to do, they wait for it. See docs/adr/0026.
const slack = 500_000 //nolint:unused // the entry uses it

// A signalSet has a bit for each signal, as the kernel has it: the lowest is that of signal 1.
type signalSet uint64

func (s signalSet) has(n syscall.Signal) bool { return s>>(n-1)&1 != 0 }

func setOf(signals ...syscall.Signal) (s signalSet) {
	for _, n := range signals {
		s |= 1 << (n - 1)
	}
	return s
}

// signals are all that there are.
const signals = 64

var (
	// needed are those that ipcctl cannot ignore itself: children could not be waited for, and the runtime interrupts itself.
	needed = setOf(unix.SIGCHLD, unix.SIGURG)

	// reset are those that os.StartProcess has no child ignore: what is needed, and what package os/signal leaves to the runtime.
	reset = needed | setOf(unix.SIGILL, unix.SIGTRAP, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGSTKFLT, unix.SIGPROF, unix.SIGSYS, 33)
)

// ignoring is the first word of a command line by which ipcctl runs itself: ipcctl --ignoring SET FILE CMD [ARG…].
const ignoring = "--ignoring"

// The entry has added GOMAXPROCS=01 to the end of the environment, for the runtime alone: to start threads for more processors, and to
// end them, takes longer than what ipcctl has for them to do. One that was there before comes first, and counts.
const processors, one = "GOMAXPROCS", "01"

// Begin has this process ignore what it was told to ignore when it was started, and so those that it starts. It comes before
// all else.
func Begin() error {
	if received.known != 0 && os.Getenv(processors) == one {
		if err := os.Unsetenv(processors); err != nil {
			return err
		}
	}
	if len(os.Args) > 4 && os.Args[1] == ignoring {
		set, _ := strconv.ParseUint(os.Args[2], 16, 64)
		received.ignored |= signalSet(set)
		return Become(os.Args[3], os.Args[4:], os.Environ())
	}
	if received.ignored == 0 {
		return nil
	}
	for n := syscall.Signal(1); n <= signals; n++ {
		if received.ignored.has(n) && !needed.has(n) {
			signal.Ignore(n)
		}
	}
	return nil
}

// through puts ipcctl in front of CMD if CMD is to ignore what os.StartProcess cannot have it ignore.
func through(file string, argv []string) (string, []string) {
	set := received.ignored & reset
	if set == 0 {
		return file, argv
	}
	self := Program()
	return self, append([]string{self, ignoring, strconv.FormatUint(uint64(set), 16), file}, argv...)
}

// asReceived has this thread block the signals that were blocked when this process was started, and has its timers be as exact as they
// were then, for a call of execve, or of fork for a child. What it returns gives the thread its own mask again.
func asReceived() (undo func()) {
	if received.known == 0 {
		return func() {}
	}
	runtime.LockOSThread()
	beExact()
	var own unix.Sigset_t
	mask := unix.Sigset_t{Val: [len(own.Val)]uint64{uint64(received.blocked)}}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &mask, &own) // it cannot fail
	return func() {
		_ = unix.PthreadSigmask(unix.SIG_SETMASK, &own, nil)
		runtime.UnlockOSThread()
	}
}

// beExact takes back, for this thread, what the entry has done to timers.
func beExact() {
	if received.slack > 0 {
		_, _, _ = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, uintptr(received.slack), 0) // it cannot fail
	}
}

// ignoreReceived has this process ignore all that it was told to ignore, for a call of execve, which ends handlers, too. Of SIGSEGV Linux
// may forget it in execve, where another thread waits for a page just then: TestCMDIgnoresSIGSEGV has more of it.
func ignoreReceived() {
	for n := syscall.Signal(1); n <= signals; n++ {
		if received.ignored.has(n) {
			handle(n, ignored)
		}
	}
}

// What the kernel does with a signal that no function is called for.
const (
	byDefault uintptr = 0 // SIG_DFL
	ignored   uintptr = 1 // SIG_IGN
)

// handle has the kernel do that with a signal. Package os/signal cannot have it do so with all of them.
func handle(n syscall.Signal, what uintptr) {
	action := struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}{handler: what}
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0) // likewise
}
