// Package peertest has processes of a kind that tests cannot make by what package os has. They are the test's own binary, which is one of
// them from before its main function on.
package peertest

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// variable says which kind of process the binary is.
const variable = "IPCD_TEST_PROCESS"

const leaderless = "leaderless"

func init() {
	if os.Getenv(variable) == leaderless {
		runtime.LockOSThread() // the main thread, which initialises packages
		go goOn()
		_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
	}
}

// goOn says when the main thread has ended, and has the process end with its standard input.
func goOn() {
	stat := "/proc/self/task/" + strconv.Itoa(os.Getpid()) + "/stat"
	for {
		if b, err := os.ReadFile(stat); err != nil || bytes.Contains(b, []byte(") Z ")) {
			break
		}
	}
	_, _ = os.Stdout.WriteString("\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// Leaderless starts a process whose main thread has ended, as by pthread_exit, while others go on. It is killed at the end of the test.
func Leaderless(t testing.TB) (pid int) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), variable+"="+leaderless, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := bufio.NewReader(stdout).ReadByte(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}
