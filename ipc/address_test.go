package ipc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ipcd/ipcd/ipc"
	"golang.org/x/sys/unix"
)

func TestResolveAddress(t *testing.T) {
	for _, c := range []struct{ address, socket, runtime, want string }{
		{"", "", "/run/user/7", "/run/ipcd/ipcd.sock"},
		{"", "/tmp/s", "/run/user/7", "/tmp/s"},
		{"", "unix:/tmp/s", "", "/tmp/s"},
		{"", "user", "/run/user/7", "/run/user/7/ipcd/ipcd.sock"},
		{"system", "/tmp/s", "", "/run/ipcd/ipcd.sock"},
		{"user", "/tmp/s", "/run/user/7", "/run/user/7/ipcd/ipcd.sock"},
		{"/a/b", "/tmp/s", "", "/a/b"},
		{"unix:/a/b", "", "", "/a/b"},
		{"./user", "", "", "./user"},
		{"@name", "", "", "@name"},
		{"user", "", "", ""},
	} {
		t.Setenv("IPCD_SOCKET", c.socket)
		t.Setenv("XDG_RUNTIME_DIR", c.runtime)
		got, err := ipc.ResolveAddress(c.address)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

func TestDialErrors(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()

	for _, c := range []struct{ address, err, hint string }{
		{dir + "/none", "no such file or directory", "no daemon listens there; to start one: ipcd --socket " + dir + "/none"},
		{stale, "connection refused", "no daemon listens there; to start one: ipcd --socket " + stale},
		{"user", "no such file or directory", "systemctl --user start ipcd.socket"},
		{"/" + strings.Repeat("x", 200), "invalid argument", "the path of a socket is 1 to 107 bytes long, and this has 201: a symbolic link to its directory makes it shorter"},
	} {
		_, err := ipc.DialConn(context.Background(), c.address)
		var dial *ipc.DialError
		if !errors.As(err, &dial) {
			t.Fatalf("%s: %v", c.address, err)
		}
		if want := fmt.Sprintf("cannot reach ipcd: %s: %s", dial.Path, c.err); err.Error() != want {
			t.Errorf("%s: %q, want %q", c.address, err, want)
		}
		if dial.Hint() != c.hint {
			t.Errorf("%s: hint %q, want %q", c.address, dial.Hint(), c.hint)
		}
	}

	t.Setenv("XDG_RUNTIME_DIR", "")
	_, err = ipc.Dial(context.Background(), "user")
	var dial *ipc.DialError
	if !errors.As(err, &dial) {
		t.Fatal(err)
	}
	if want := "cannot reach ipcd: $XDG_RUNTIME_DIR/ipcd/ipcd.sock: XDG_RUNTIME_DIR is not set"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if want := fmt.Sprintf("export XDG_RUNTIME_DIR=/run/user/%d", os.Getuid()); !strings.Contains(dial.Hint(), want) {
		t.Errorf("hint %q, want %q", dial.Hint(), want)
	}
}

// The hints that depend on where the other daemon is, without asking for one in its real place.
func TestDialHints(t *testing.T) {
	runtime := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	for _, c := range []struct {
		path string
		err  error
		want string
	}{
		{ipc.SystemSocket, syscall.ENOENT, "systemctl start ipcd.socket"},
		{ipc.SystemSocket, syscall.EACCES, "join the group: usermod -aG ipc USER, then log in again"},
		{"/tmp/s", syscall.EACCES, "the socket belongs to another user or group: ls -l /tmp/s"},
		{"/tmp/s", context.DeadlineExceeded, "the daemon is stuck or has too much to do: systemctl status ipcd"},
		{"/tmp/s", syscall.EMFILE, ""},
	} {
		e := &ipc.DialError{Path: c.path, Err: c.err}
		if got := e.Hint(); got != c.want {
			t.Errorf("%v: %q, want %q", e, got, c.want)
		}
	}

	if err := os.Mkdir(filepath.Join(runtime, "ipcd"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(runtime, "ipcd", "ipcd.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := &ipc.DialError{Path: ipc.SystemSocket, Err: syscall.ECONNREFUSED}
	if got, want := e.Hint(), "systemctl start ipcd.socket; your own daemon is up: ipcctl --user"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A full backlog is waited for, as long as the context lasts.
func TestDialFullBacklog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil { // room for one
		t.Fatal(err)
	}
	first, err := ipc.DialConn(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()

	ctx, cancel := context.WithCancel(context.Background())
	late := start(func() (*ipc.Conn, error) { return ipc.DialConn(ctx, path) })
	cancel()
	late.fails(t, context.Canceled)
	var dial *ipc.DialError
	if !errors.As(late.err, &dial) {
		t.Error(late.err)
	}

	ctx, cancel = context.WithTimeout(context.Background(), patience)
	defer cancel()
	late = start(func() (*ipc.Conn, error) { return ipc.DialConn(ctx, path) })
	accepted, _, err := unix.Accept(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(accepted)
	late.ok(t).Close()
}

func TestDialAbstract(t *testing.T) {
	name := fmt.Sprintf("@ipcd-test-%d", os.Getpid())
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := ipc.DialConn(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
