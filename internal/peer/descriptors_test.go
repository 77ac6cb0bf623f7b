package peer

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFewDescriptors: a daemon that has too few descriptors to look at a process is told so. It must not take the process for one
// that is gone, nor for one without a start time, whichever of the steps has none left.
func TestFewDescriptors(t *testing.T) {
	l, path := listen(t)
	c := start(t, nil, "connect", path, "0")
	s := accept(t, l)
	p, err := Of(s)
	if err != nil || p.PID != c.Process.Pid || p.Start == 0 {
		t.Fatal(p, err)
	}
	for _, left := range []int{0, 1} {
		leave(t, left, func() {
			if fd, err := Open(p); !errors.Is(err, unix.EMFILE) {
				t.Errorf("with %d descriptors Open gives %d, error %v", left, fd, err)
			}
			if left > 0 {
				return
			}
			if p, err := Of(s); !errors.Is(err, unix.EMFILE) {
				t.Errorf("with %d descriptors Of gives %+v, error %v", left, p, err)
			}
			if fd, err := PIDFD(s, p); !errors.Is(err, unix.EMFILE) {
				t.Errorf("with %d descriptors PIDFD gives %d, error %v", left, fd, err)
			}
		})
	}
}

// TestOpenGone: a number that is not that process.s any more is a process that is gone.
func TestOpenGone(t *testing.T) {
	p := Self()
	p.Start++
	if _, err := Open(p); err != unix.ESRCH {
		t.Errorf("of another start time: %v", err)
	}
	if _, err := Open(Peer{PID: os.Getpid()}); err != unix.ESRCH {
		t.Errorf("of no start time: %v", err)
	}
}

// TestOpenThread: a number that a thread has by now is that of a process that is gone.
func TestOpenThread(t *testing.T) {
	tid := thread(t)
	var buf [1024]byte
	start := startOf(procfs(buf[:], tid, "/stat"))
	for _, p := range []Peer{{PID: tid, Start: 1}, {PID: tid, Start: start}} {
		if _, err := Open(p); start == 0 || err != unix.ESRCH {
			t.Errorf("of the number of a thread, which began at %d: %+v: %v", start, p, err)
		}
	}
}

// leave runs f while the process can open so many descriptors more.
func leave(t *testing.T, n int, f func()) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	next, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(next)
	low := unix.Rlimit{Cur: uint64(next), Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}()
	// All below are taken, but perhaps some that were closed: fill them.
	var filled []int
	for {
		fd, err := unix.Dup(0)
		if err != nil {
			break
		}
		filled = append(filled, fd)
	}
	low.Cur += uint64(n)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Error(err)
	}
	f()
	for _, fd := range filled {
		_ = unix.Close(fd)
	}
}
