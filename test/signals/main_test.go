package signals

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/test/testdaemon"
)

// patience bounds every wait. It is there to fail a test that hangs, not to measure.
const patience = time.Minute

// begin is the first word of a command line by which this test runs itself, to become a program that begins with signals
// ignored and blocked, and with timers that may be late.
const begin = "begin-with"

var bin string // where the programs are

func TestMain(m *testing.M) {
	if len(os.Args) > 4 && os.Args[1] == begin {
		become(os.Args[2], os.Args[3], os.Args[4:])
	}
	if len(os.Args) > 2 && os.Args[1] == tell {
		tellSignals(os.Args[2:])
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "ipcd-test-")
	if err != nil {
		panic(err)
	}
	bin = dir
	status := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	return status
}

// world is a daemon, and programs that find it.
type world struct {
	*testing.T
	daemon *testdaemon.Daemon
}

func newWorld(t *testing.T) *world {
	t.Helper()
	testenv.Need(t, "go", "make")
	w := &world{t, testdaemon.Start(t, testdaemon.Config{})}
	if _, err := os.Stat(filepath.Join(bin, "ipcctl")); err != nil {
		w.build(bin)
	}
	return w
}

// build builds the programs as make does: go build alone would leave out what is tested here.
func (w *world) build(dir string, env ...string) {
	w.Helper()
	build := exec.Command("make", "--no-print-directory", "-C", "../..", "build", "PGO=off", "BIN="+dir)
	build.Env = append(append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL="), env...)
	if out, err := build.CombinedOutput(); err != nil {
		w.Fatalf("%v\n%s", err, out)
	}
}

// command is a command line that is killed if it takes too long.
func (w *world) command(words ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	w.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = w.TempDir()
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "IPCD_SOCKET="+w.daemon.Socket)
	return cmd
}

// late is by how many nanoseconds they may be: neither what the kernel has by itself, nor what ipcctl has.
const late = 123_456

// beginWith is the beginning of a command line for a program that is to begin with these signals ignored and blocked.
func beginWith(ignored, blocked uint64) []string {
	return []string{"/proc/self/exe", begin, strconv.FormatUint(ignored, 16), strconv.FormatUint(blocked, 16)}
}

func become(ignored, blocked string, argv []string) {
	runtime.LockOSThread()
	for n := 1; n <= signals; n++ {
		action := [4]uint64{parseSet(ignored) >> (n - 1) & 1} // SIG_DFL or SIG_IGN
		if n == int(unix.SIGKILL) || n == int(unix.SIGSTOP) {
			continue
		}
		if _, _, err := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0); err != 0 {
			panic(err)
		}
	}
	var mask unix.Sigset_t
	mask.Val[0] = parseSet(blocked)
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &mask, nil); err != nil {
		panic(err)
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, late, 0, 0, 0); err != nil {
		panic(err)
	}
	file, err := exec.LookPath(argv[0])
	if err == nil {
		err = unix.Exec(file, argv, os.Environ())
	}
	panic(err)
}

// abandon leaves a lock as one whose holder was cut off.
func (w *world) abandon(name string) {
	w.Helper()
	do := func(conn *ipc.Conn, words ...string) {
		if _, err := conn.Do(words...); err != nil {
			w.Fatal(err)
		}
	}
	events, holder := w.dial(), w.dial()
	do(events, "HELLO", "3")
	do(events, "BUS.SUB", "ipcd/lock/released/"+name)
	do(holder, "LOCK.ACQUIRE", name)
	holder.Close()
	if _, err := events.Receive(); err != nil {
		w.Fatal(err)
	}
}

func (w *world) dial() *ipc.Conn {
	w.Helper()
	conn, err := ipc.DialConn(w.Context(), w.daemon.Socket)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// output runs a command to its end, whatever that is, and returns what it has written.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	if len(out) == 0 {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, stderr.String())
	}
	return string(out)
}
