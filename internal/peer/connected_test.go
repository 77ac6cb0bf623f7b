package peer

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/testenv"
)

// noSerial is the answer of a kernel before 6.9.
func noSerial(int) uint64 { return 0 }

func TestConnected(t *testing.T) {
	for name, serial := range map[string]func(int) uint64{"by serial": serial, "by number": noSerial} {
		t.Run(name, func(t *testing.T) {
			l, path := listen(t)
			c := start(t, nil, "connect", path, "3")
			s := accept(t, l)
			p, err := Of(s)
			if err != nil {
				t.Fatal(err)
			}
			open := func(pid int) int {
				fd, err := unix.PidfdOpen(pid, 0)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = unix.Close(fd) })
				return fd
			}
			own := open(c.Process.Pid)
			if same, err := connected(s, p, own, serial); !same || err != nil {
				t.Errorf("its own: %v, %v", same, err)
			}
			if same, err := connected(s, p, open(os.Getpid()), serial); same || err != nil {
				t.Errorf("another's: %v, %v", same, err)
			}
			for _, path := range []string{os.DevNull, "/proc/self"} {
				f, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				if same, err := connected(s, p, int(f.Fd()), serial); same {
					t.Errorf("%s: %v, %v", path, same, err)
				}
				_ = f.Close()
			}
			unknown := p
			unknown.Start = 0
			if same, err := connected(s, unknown, own, noSerial); same || err != nil {
				t.Errorf("of one that is not known: %v, %v", same, err)
			}
			if Command(p.PID) == "" || Command(-1) != "" {
				t.Errorf("commands %q and %q", Command(p.PID), Command(-1))
			}
		})
	}
}

// TestSerial: what /proc does not tell is told by the kernel's own number of a process.
func TestSerial(t *testing.T) {
	testenv.Kernel(t, 6, 9, "pidfds that differ by process")
	l, path := listen(t)
	c := start(t, nil, "connect", path, "3")
	s := accept(t, l)
	first := startBySerial(s)
	other := start(t, nil, "connect", path, "3")
	again := accept(t, l)
	if second := startBySerial(again); first < unseen || second < unseen || first == second || first >= 1<<53 || startBySerial(s) != first {
		t.Errorf("%d and %d", first, second)
	}
	fd, err := Open(Peer{PID: c.Process.Pid, Start: first})
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	if fd, err := Open(Peer{PID: other.Process.Pid, Start: first}); err != unix.ESRCH {
		t.Errorf("of another process: %d, %v", fd, err)
	}
	pidfd, err := PIDFD(s, Peer{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	_ = c.stdin.Close()
	awaitEnd(t, pidfd)
	if n := startBySerial(s); n != 0 {
		t.Errorf("of one that has ended: %d", n)
	}
}
