package peer

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/peer/peertest"
	"github.com/ipcd/ipcd/internal/testenv"
)

// without is the answer of a kernel before 6.5.
func without(int) (int, error) { return -1, unix.ENOPROTOOPT }

// waysToAsk are the two ways to a pidfd.
var waysToAsk = map[string]func(int) (int, error){"SO_PEERPIDFD": peerPIDFD, "pidfd_open": without}

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// awaitEnd blocks until the process of a pidfd has exited.
func awaitEnd(t *testing.T, pidfd int) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(patience.Milliseconds()))
		if n == 1 {
			return
		}
		if err != unix.EINTR {
			t.Fatalf("the process did not end: %v", err)
		}
	}
}

func TestPIDFD(t *testing.T) {
	for name, ask := range waysToAsk {
		t.Run(name, func(t *testing.T) {
			l, path := listen(t)
			c := start(t, nil, "connect", path, "3")
			s := accept(t, l)
			p, err := Of(s)
			if err != nil {
				t.Fatal(err)
			}
			fd, err := pidfdOf(s, p, ask)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Close(fd) }()
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("flags %#x (%v), want close-on-exec", flags, err)
			}
			if pid, err := pidOf(fd); err != nil || pid != c.Process.Pid {
				t.Errorf("the pidfd is of process %d, want %d", pid, c.Process.Pid)
			}
			if exited, reaped := Ended(fd); exited || reaped {
				t.Errorf("while it lives: exited %v, reaped %v", exited, reaped)
			}
			if end, ok := Status(fd); ok {
				t.Errorf("while it lives: %v", end)
			}
			_ = c.stdin.Close()
			awaitEnd(t, fd)
			if exited, _ := Ended(fd); !exited {
				t.Error("it has exited, Ended says no")
			}
			if end, ok := Status(fd); ok {
				t.Errorf("before it was reaped: %v", end)
			}
			_ = c.Wait()
			if exited, reaped := Ended(fd); !exited || !reaped && tellsReaped(t) {
				t.Errorf("when it has been reaped: exited %v, reaped %v", exited, reaped)
			}
			end, ok := Status(fd)
			if want := (End{Code: 3}); ok != tellsStatus(t) || ok && end != want {
				t.Errorf("it %v (known: %v), want %v", end, ok, want)
			}
		})
	}
}

func TestStatusKilled(t *testing.T) {
	l, path := listen(t)
	c := start(t, nil, "connect", path, "0")
	s := accept(t, l)
	p, err := Of(s)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := PIDFD(s, p)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	_ = c.Process.Kill()
	_ = c.Wait()
	end, ok := Status(fd)
	if want := (End{Signal: unix.SIGKILL}); ok != tellsStatus(t) || ok && end != want {
		t.Errorf("it %v (known: %v), want %v", end, ok, want)
	}
}

// ended returns the pidfd of a process that has exited with status 0 and been reaped.
func ended(t *testing.T) int {
	t.Helper()
	c := start(t, nil, "keep")
	fd, err := unix.PidfdOpen(c.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	c.end()
	return fd
}

// tellsStatus probes whether this kernel tells how a process ended (Linux 6.15), as TellsStatus says without trying it.
func tellsStatus(t *testing.T) bool {
	t.Helper()
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	tells := unix.IoctlPidfdInfo(ended(t), &info) == nil
	if tells != TellsStatus() {
		t.Errorf("the kernel tells how a process ended: %v, and TellsStatus says otherwise", tells)
	}
	return tells
}

// tellsReaped probes whether this kernel tells that a process has been reaped (Linux 6.9).
func tellsReaped(t *testing.T) bool {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(ended(t)), Events: unix.POLLIN}}
	_, err := unix.Poll(fds, 0)
	return err == nil && fds[0].Revents&unix.POLLHUP != 0
}

// What its parent has not reaped, /proc tells of: to root and to the same user all, to others only that it was killed by
// SIGKILL.
func TestZombieStatus(t *testing.T) {
	l, path := listen(t)
	for _, c := range []struct {
		status       string
		signal       syscall.Signal
		want, others string
	}{
		{"3", 0, "exited 3", ""},
		{"0", 0, "exited 0", ""},
		{"0", syscall.SIGKILL, "killed 9", "killed 9"},
		{"0", syscall.SIGTERM, "killed 15", ""},
	} {
		child := start(t, nil, "connect", path, c.status)
		p, err := Of(accept(t, l))
		if err != nil {
			t.Fatal(err)
		}
		pidfd, err := unix.PidfdOpen(p.PID, 0)
		if err != nil {
			t.Fatal(err)
		}
		if end, ok := ZombieStatus(p.PID, p.Start); ok || Exiting(p.PID, p.Start) {
			t.Errorf("while it lives: %v", end)
		}
		if c.signal != 0 {
			if err := child.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
		} else {
			_ = child.stdin.Close()
		}
		awaitEnd(t, pidfd)
		_ = unix.Close(pidfd)
		end, ok := ZombieStatus(p.PID, p.Start)
		if !ok || end.String() != c.want {
			t.Errorf("got %v, %v, want %q", end, ok, c.want)
		}
		if os.Getuid() == 0 {
			for _, as := range []struct {
				uid  uint32
				want string
			}{{0, c.want}, {4321, c.others}} {
				if got := zombieStatusAs(t, as.uid, p); got != as.want && (TellsStatus() || got != "") {
					t.Errorf("user %d is told %q of what %s, want %q", as.uid, got, c.want, as.want)
				}
			}
		}
		if !Exiting(p.PID, p.Start) {
			t.Error("is not exiting")
		}
		if _, ok := ZombieStatus(p.PID, p.Start+1); ok || Exiting(p.PID, p.Start+1) {
			t.Error("another process that had this number")
		}
		_ = child.Wait() // killed, or exited with what it was told
		if end, ok := ZombieStatus(p.PID, p.Start); ok || Exiting(p.PID, p.Start) {
			t.Errorf("when it is reaped: %v", end)
		}
	}
}

// TestExiting: a process is not on its way out because its main thread has ended, while others go on.
func TestExiting(t *testing.T) {
	pid := peertest.Leaderless(t)
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	p, err := FromPIDFD(pidfd)
	if err != nil {
		t.Fatal(err)
	}
	if Exiting(p.PID, p.Start) {
		t.Error("it is exiting while it goes on")
	}
	if ended, _ := Ended(pidfd); ended {
		t.Error("it has ended while it goes on")
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, pidfd)
	if !Exiting(p.PID, p.Start) {
		t.Error("it is not exiting when it was killed")
	}
}

// A user is told of his own processes, without any privilege; and of a zombie that is sent SIGKILL only what was before.
func TestZombieStatusOfOwnUser(t *testing.T) {
	testenv.Root(t)
	own := &syscall.Credential{Uid: 4321, Gid: 4321}
	l, err := net.Listen("unix", "@ipcd-peer-test-"+strconv.Itoa(os.Getpid())) // which others can reach
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	child := start(t, own, "connect", l.Addr().String(), "0")
	p, err := Of(accept(t, l.(*net.UnixListener)))
	if err != nil {
		t.Fatal(err)
	}
	pidfd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	_ = child.stdin.Close()
	awaitEnd(t, pidfd)
	_ = unix.Kill(p.PID, unix.SIGKILL)
	if got := zombieStatusAs(t, own.Uid, p); got != "exited 0" {
		t.Errorf("its user is told %q", got)
	}
	if got := zombieStatusAs(t, own.Uid+1, p); got != "" {
		t.Errorf("another user is told %q", got)
	}
}

// zombieStatusAs is what ZombieStatus says to another user.
func zombieStatusAs(t *testing.T, uid uint32, p Peer) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "zombie", strconv.Itoa(p.PID), strconv.FormatUint(p.Start, 10))
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestPIDFDGone(t *testing.T) {
	for name, ask := range waysToAsk {
		t.Run(name, func(t *testing.T) {
			l, path := listen(t)
			c := start(t, nil, "connect", path, "0")
			s := accept(t, l)
			p, err := Of(s)
			if err != nil {
				t.Fatal(err)
			}
			c.end()
			fd, err := pidfdOf(s, p, ask)
			if err == nil { // newer kernels keep it with the socket
				if exited, _ := Ended(fd); !exited {
					t.Error("the process has exited, its pidfd says it has not")
				}
				_ = unix.Close(fd)
			} else if !errors.Is(err, unix.ESRCH) {
				t.Errorf("got %v, want ESRCH", err)
			}
		})
	}
}

func TestPIDFDWithoutStart(t *testing.T) {
	// Nothing could show that the number is still the peer's.
	if _, err := pidfdOf(-1, Peer{PID: os.Getpid()}, without); !errors.Is(err, unix.ESRCH) {
		t.Errorf("got %v, want ESRCH", err)
	}
}

func TestFromPIDFD(t *testing.T) {
	var cred *syscall.Credential
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	if uid == 0 {
		uid, gid = 12345, 54321
		cred = &syscall.Credential{Uid: uid, Gid: gid}
	}
	c := start(t, cred, "keep")
	fd, err := unix.PidfdOpen(c.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	p, err := FromPIDFD(fd)
	if err != nil {
		t.Fatal(err)
	}
	wantStart, wantUnit := want(t, c.Process.Pid)
	if p.PID != c.Process.Pid || p.UID != uid || p.GID != gid || p.Start != wantStart || p.Unit != wantUnit {
		t.Errorf("got %+v, want pid %d, uid %d, gid %d, start %d, unit %q", p, c.Process.Pid, uid, gid, wantStart, wantUnit)
	}

	_ = c.stdin.Close()
	awaitEnd(t, fd)
	if p, err := FromPIDFD(fd); !errors.Is(err, unix.ESRCH) {
		t.Errorf("of a process that has exited: %+v, %v, want ESRCH", p, err)
	}
	_ = c.Wait()
	if p, err := FromPIDFD(fd); !errors.Is(err, unix.ESRCH) {
		t.Errorf("of a process that has been reaped: %+v, %v, want ESRCH", p, err)
	}
}

// TestFromOther shows that nothing but a process's pidfd is accepted: peers choose what they send.
func TestFromOther(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	proc, err := os.Open("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = proc.Close() }()
	for name, fd := range map[string]int{"/dev/null": int(null.Fd()), "/proc/self": int(proc.Fd()), "nothing": -1} {
		if p, err := FromPIDFD(fd); err == nil {
			t.Errorf("%s was taken for the pidfd of %+v", name, p)
		}
	}
}

func TestEndString(t *testing.T) {
	for end, want := range map[End]string{{}: "exited 0", {Code: 3}: "exited 3", {Signal: unix.SIGKILL}: "killed 9"} {
		if got := end.String(); got != want {
			t.Errorf("%#v: %q, want %q", end, got, want)
		}
	}
}

// thread returns the number of a thread of this process that is not its first, for as long as the test runs.
func thread(t *testing.T) int {
	t.Helper()
	tid := make(chan int)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	for range 2 { // one of the two is not the first thread
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			tid <- unix.Gettid()
			<-done
		}()
	}
	a, b := <-tid, <-tid
	if a == os.Getpid() {
		return b
	}
	return a
}

func TestFromThread(t *testing.T) {
	testenv.Kernel(t, 6, 9, "pidfds of threads")
	const pidfdThread = unix.O_EXCL // PIDFD_THREAD
	fd, err := unix.PidfdOpen(thread(t), pidfdThread)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if p, err := FromPIDFD(fd); err == nil {
		t.Errorf("a thread was taken for the process %+v", p)
	}
}

func BenchmarkPIDFD(b *testing.B) {
	for name, ask := range waysToAsk {
		b.Run(name, func(b *testing.B) {
			l, path := listen(b)
			start(b, nil, "connect", path, "0")
			s := accept(b, l)
			p, err := Of(s)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				fd, err := pidfdOf(s, p, ask)
				if err != nil {
					b.Fatal(err)
				}
				_ = unix.Close(fd)
			}
		})
	}
}

func BenchmarkFromPIDFD(b *testing.B) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := FromPIDFD(fd); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEnded(b *testing.B) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	b.ReportAllocs()
	for b.Loop() {
		Ended(fd)
	}
}
