package process

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
)

func TestFindProcess(t *testing.T) {
	self, ok := Find(int64(os.Getpid()))
	if !ok || self.parent != int64(os.Getppid()) || self.Start == 0 {
		t.Fatalf("%+v, %v", self, ok)
	}
	if got := CommandOf(self.PID, self.Start); got == "" || got != self.Command {
		t.Errorf("commandOf: %q, want %q", got, self.Command)
	}
	if got := CommandOf(self.PID, self.Start+1); got != "" {
		t.Errorf("another process of the same number is called %q", got)
	}
	if _, ok := Find(1 << 30); ok {
		t.Error("a process that does not exist is found")
	}
}

// TestOpenThread: a number that a thread has is that of no process.
func TestOpenThread(t *testing.T) {
	tid, done := make(chan int), make(chan struct{})
	defer close(done)
	for range 2 { // one of the two is not the first thread
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			tid <- unix.Gettid()
			<-done
		}()
	}
	for _, n := range []int{<-tid, <-tid, 1 << 30} {
		fd, err := Open(n)
		if n == os.Getpid() {
			_ = unix.Close(fd)
		} else if !errors.Is(err, unix.ESRCH) {
			t.Errorf("of %d: %v", n, err)
		}
	}
}

func TestReadUsers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwd")
	text := "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nann2:x:1000:1000::/:/bin/sh\n+::::::\nbad:x:y:1\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	names := readUsers(file)
	if names[0] != "root" || names[1000] != "ann" || len(names) != 2 {
		t.Errorf("%v", names)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"run": 0o755, "text": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "/nonexistent:"+dir)
	for name, want := range map[string]int{
		"run": 0, dir + "/run": 0, "absent": exit.NoCmd, dir + "/absent": exit.NoCmd, "text": exit.NoExec, dir + "/text": exit.NoExec,
		"folder": exit.NoExec, dir + "/run/x": exit.NoCmd, "": exit.NoCmd,
	} {
		_, err := LookPath(name)
		status := 0
		if err != nil {
			status = exit.Cannot("look", err).Exit
		}
		if status != want {
			t.Errorf("%q: %v (%d), want %d", name, err, status, want)
		}
	}
}
