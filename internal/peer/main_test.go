package peer

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// The test binary is its own client: "connect SOCKET STATUS" connects, waits for the end of its standard input and
// exits; "handover SOCKET" connects, gives the socket to a child that keeps it so long, and exits at once.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 {
		os.Exit(m.Run())
	}
	switch os.Args[1] {
	case "connect":
		conn := connect(os.Args[2])
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = conn.Close()
		status, _ := strconv.Atoi(os.Args[3])
		os.Exit(status)
	case "handover":
		child := exec.Command("/proc/self/exe", "keep")
		child.ExtraFiles = []*os.File{connect(os.Args[2])}
		child.Stdin = os.Stdin
		if err := child.Start(); err != nil {
			panic(err)
		}
		fmt.Println(child.Process.Pid)
		os.Exit(0)
	case "zombie": // says what ZombieStatus does of a process, by PID and start time
		pid, _ := strconv.Atoi(os.Args[2])
		start, _ := strconv.ParseUint(os.Args[3], 10, 64)
		if end, ok := ZombieStatus(pid, start); ok {
			fmt.Print(end)
		}
		os.Exit(0)
	case "keep":
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func connect(socket string) *os.File {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		panic(err)
	}
	f, err := conn.(*net.UnixConn).File()
	if err != nil {
		panic(err)
	}
	return f
}

// listen returns a listening socket and its path.
func listen(t testing.TB) (*net.UnixListener, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, path
}

// accept returns the next connection's descriptor.
func accept(t testing.TB, l *net.UnixListener) int {
	t.Helper()
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	f, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	t.Cleanup(func() { _ = f.Close() })
	return int(f.Fd())
}

// client is a process started from this binary.
type client struct {
	*exec.Cmd
	stdin io.WriteCloser
}

func start(t testing.TB, cred *syscall.Credential, args ...string) *client {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // or each would take a second to exit
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		if cmd.ProcessState == nil {
			_ = cmd.Wait()
		}
	})
	return &client{cmd, stdin}
}

// end lets the client exit and reaps it.
func (c *client) end() {
	_ = c.stdin.Close()
	_ = c.Wait()
}
