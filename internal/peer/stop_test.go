package peer

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cgroup"
	"github.com/ipcd/ipcd/internal/testenv"
)

// sleeper starts a process that does nothing.
func sleeper(t *testing.T) (pid int, start uint64) {
	t.Helper()
	cmd := exec.Command("cat")
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var buf [1024]byte
	return cmd.Process.Pid, startOf(procfs(buf[:], cmd.Process.Pid, "/stat"))
}

func TestStopBySignal(t *testing.T) {
	pid, start := sleeper(t)
	if got := StopOf(pid, start); got != Runs {
		t.Errorf("a process that runs: %q", got)
	}
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if got := StopOf(pid, start); got != BySignal {
		t.Errorf("a stopped process: %q", got)
	}
	if got := StopOf(pid, start+1); got != Runs {
		t.Errorf("another process of that number: %q", got)
	}
}

func TestStopByFreezer(t *testing.T) {
	testenv.Root(t)
	if cgroup.Root() == "" {
		testenv.Allowed(t, "use cgroups of version 2", unix.ENOSYS)
	}
	dir := filepath.Join(cgroup.Root(), "ipcd-test-"+strconv.Itoa(os.Getpid()))
	testenv.Allowed(t, "make a cgroup", unix.Mkdir(dir, 0o755))
	pid, start := sleeper(t)
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { // before the process is killed: a group can be removed when it is empty
		write("cgroup.freeze", "0")
		_ = os.WriteFile(filepath.Join(cgroup.Root(), "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600)
		if err := unix.Rmdir(dir); err != nil {
			t.Error(err)
		}
	})
	write("cgroup.procs", strconv.Itoa(pid))
	write("cgroup.freeze", "1")
	for !cgroup.IsFrozen([]byte("/" + filepath.Base(dir))) {
		runtime.Gosched()
	}
	if got := StopOf(pid, start); got != ByFreezer {
		t.Errorf("a frozen process: %q", got)
	}
	write("cgroup.freeze", "0")
	for StopOf(pid, start) == ByFreezer {
		runtime.Gosched()
	}
}
