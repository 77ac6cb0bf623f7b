package server

import (
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A child is another process.
type child struct {
	client
	cmd   *exec.Cmd
	pid   int // of the client: the child itself, or the one that it looks after
	stdin io.WriteCloser
}

// client starts a process that connects; it exits with the status when end is called. The options are run on the
// command before it is started.
func (h *harness) client(status int, options ...func(*exec.Cmd)) *child {
	h.t.Helper()
	return spawn(h.t, options, "client", h.address, strconv.Itoa(status))
}

// reaped is client for a process that is reaped by the kernel itself.
func (h *harness) reaped(status int) *child {
	h.t.Helper()
	c := spawn(h.t, nil, "nanny", "client", h.address, strconv.Itoa(status))
	_ = c.set(time.Now().Add(patience))
	line, err := c.r.ReadString('\n')
	if err != nil {
		h.t.Fatal(err)
	}
	c.pid = must(strconv.Atoi(strings.TrimSpace(line)))
	return c
}

// as has a process run as another user.
func as(uid uint32) func(*exec.Cmd) {
	return func(c *exec.Cmd) { c.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid} }
}

// spawn starts a helper. It is killed and reaped at the end of the test, if it was not before.
func spawn(t testing.TB, options []func(*exec.Cmd), args ...string) *child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", append([]string{"helper"}, args...)...)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // or each would take a second to exit
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	for _, f := range options {
		f(cmd)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	// Not cmd.StdoutPipe, which Wait would close: what a process said before it ended may be read afterwards.
	stdout, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = w
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, pid: cmd.Process.Pid, stdin: stdin}
	c.client = client{t: t, w: stdin, from: stdout, set: stdout.SetReadDeadline, proven: true}
	c.read(stdout)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = stdin.Close()
		_ = stdout.Close()
	})
	return c
}

// end has the process exit, and does not reap it.
func (c *child) end() { _ = c.stdin.Close() }

// kill kills the process with a signal, and does not reap it.
func (c *child) kill(sig syscall.Signal) {
	c.t.Helper()
	if err := syscall.Kill(c.pid, sig); err != nil {
		c.t.Fatal(err)
	}
}

// pidfd opens a pidfd of a process until the end of the test.
func pidfd(t testing.TB, pid int) int {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}
