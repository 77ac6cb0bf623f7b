package daemon

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/config"
	"github.com/ipcd/ipcd/internal/testenv"
)

// stale makes the file of a socket that nobody listens on.
func stale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
}

func socketAt(path string) *config.Socket { return &config.Socket{Path: path, Mode: 0o660} }

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	stale(t, path)
	fd, err := listen(socketAt(path))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := answers(path); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}

	// A daemon that answers is left alone.
	var inUse *InUseError
	if _, err := listen(socketAt(path)); !errors.As(err, &inUse) || inUse.Path != path || err.Error() != "cannot listen on "+path+": another daemon answers there" {
		t.Errorf("got %v", err)
	}
	if err := answers(path); err != nil {
		t.Error(err)
	}

	for name, want := range map[string]string{
		write(t, dir, "file", "keep"):    "a file is there that is no socket",
		filepath.Join(dir, "none", "s"):  "no such file or directory",
		filepath.Join(dir, "file", "s"):  "not a directory",
		dir:                              "a file is there that is no socket",
		"/" + strings.Repeat("long", 30): "invalid argument",
	} {
		fd, err := listen(socketAt(name))
		if err == nil {
			_ = unix.Close(fd)
		}
		if err == nil || !strings.HasPrefix(err.Error(), "cannot listen on "+name+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(text) != "keep" {
		t.Errorf("the file has become %q, %v", text, err)
	}
}

// TestListenBehindLink: a link is no socket, whatever it points to, and is not replaced.
func TestListenBehindLink(t *testing.T) {
	dir := t.TempDir()
	stale(t, filepath.Join(dir, "target"))
	path := filepath.Join(dir, "link")
	if err := os.Symlink("target", path); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(socketAt(path)); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("got %v", err)
	}
}

// TestListenBusy: a daemon whose backlog is full is not taken for one that is gone.
func TestListenBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		defer func() { _ = unix.Close(fd) }()
		err = errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0))
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(c) }()
		_ = unix.Connect(c, &unix.SockaddrUnix{Name: path})
	}
	var inUse *InUseError
	if _, err := listen(socketAt(path)); !errors.As(err, &inUse) {
		t.Errorf("got %v", err)
	}
}

func TestSocketGroup(t *testing.T) {
	dir := t.TempDir()
	if gid, err := groupID(""); gid != -1 || err != nil {
		t.Errorf("%d, %v", gid, err)
	}
	if gid, err := groupID("root"); gid != 0 || err != nil {
		t.Errorf("%d, %v", gid, err)
	}
	s := socketAt(filepath.Join(dir, "s"))
	s.Group = "no-such-group"
	if _, err := listen(s); err == nil || !strings.Contains(err.Error(), `there is no group "no-such-group"`) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(s.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was left behind: %v", err)
	}
	testenv.Root(t)
	s.Group, s.Mode = "4321", 0o600
	fd, err := listen(s)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	info, err := os.Stat(s.Path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Sys().(*syscall.Stat_t).Gid != 4321 {
		t.Errorf("%v, group %d, %v", info.Mode(), info.Sys().(*syscall.Stat_t).Gid, err)
	}
}

// TestListenAtOnce: of daemons that start at the same time on one path, with or without a stale file there, one wins, and
// can be reached afterwards.
func TestListenAtOnce(t *testing.T) {
	for round := range 20 {
		path := filepath.Join(t.TempDir(), "s")
		if round%2 == 0 {
			stale(t, path)
		}
		var mu sync.Mutex
		var all sync.WaitGroup
		var won []int
		begin := make(chan struct{})
		for range 5 {
			all.Go(func() {
				<-begin
				fd, err := listen(socketAt(path))
				var inUse *InUseError
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won = append(won, fd)
				} else if !errors.As(err, &inUse) {
					t.Error(err)
				}
			})
		}
		close(begin)
		all.Wait()
		if len(won) != 1 {
			t.Errorf("%d of them listen", len(won))
		}
		if err := answers(path); err != nil {
			t.Error(err)
		}
		for _, fd := range won {
			_ = unix.Close(fd)
		}
	}
}

// TestStopAndStartAtOnce: a daemon that ends while another starts does not take the new one's file for its own.
func TestStopAndStartAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for range 200 {
		old, err := listen(socketAt(path))
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(old) // as the server does at its end
		var both sync.WaitGroup
		both.Go(func() { removeFiles([]listener{{path: path, own: true}}) })
		var fd int
		both.Go(func() { fd, err = listen(socketAt(path)) })
		both.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if err := answers(path); err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(fd)
		removeFiles([]listener{{path: path, own: true}, {path: "/etc/passwd", own: false}})
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("the file is left: %v", err)
		}
	}
}

// TestLockDir: the lock of a directory is waited for, and not for ever.
func TestLockDir(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	unlock, err := lockDir(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := "another process holds a lock (flock) on the directory " + dir + " for more than 20ms"
	if _, err := lockDir(path, 20*time.Millisecond); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	// What would be in the way of who does not wait is gone before the lock is.
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		fd, err := listen(socketAt(path))
		_ = unix.Close(fd)
		done <- err
	}()
	for opened(t, dir) < 2 {
		select {
		case err := <-done:
			t.Fatalf("did not wait: %v", err)
		default:
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// opened is how many descriptors of this process are of a directory.
func opened(t *testing.T, dir string) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && name == dir {
			n++
		}
	}
	return n
}
