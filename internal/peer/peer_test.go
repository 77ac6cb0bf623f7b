package peer

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/systemd"
)

// want is the identity of a process found in other ways than this package's.
func want(t *testing.T, pid int) (start uint64, unit string) {
	t.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndex(string(stat), ") ")+2:]))
	start, err = strconv.ParseUint(fields[22-3], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	cgroup, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	_, path, _ := strings.Cut(string(cgroup), "0::")
	return start, systemd.UnitFromCgroup(strings.TrimSpace(path))
}

func TestOf(t *testing.T) {
	l, path := listen(t)
	c := start(t, nil, "connect", path, "0")
	p, err := Of(accept(t, l))
	if err != nil {
		t.Fatal(err)
	}
	wantStart, wantUnit := want(t, c.Process.Pid)
	if p.PID != c.Process.Pid || p.UID != uint32(os.Getuid()) || p.GID != uint32(os.Getgid()) {
		t.Errorf("got %+v, want pid %d, uid %d, gid %d", p, c.Process.Pid, os.Getuid(), os.Getgid())
	}
	if p.Start == 0 || p.Start != wantStart || p.Unit != wantUnit {
		t.Errorf("got %+v, want start %d, unit %q", p, wantStart, wantUnit)
	}
}

func TestOfOtherUser(t *testing.T) {
	testenv.Root(t) // to start a process as somebody else
	for _, n := range []int{0, 1, 64, 65, 1000} {
		groups := make([]uint32, n)
		for i := range groups {
			groups[i] = 70000 + uint32(i)
		}
		c, s := socketpair(t, &syscall.Credential{Uid: 12345, Gid: 54321, Groups: groups})
		p, err := Of(s)
		if err != nil {
			t.Fatal(err)
		}
		if p.UID != 12345 || p.GID != 54321 || p.PID != c.Process.Pid || !slices.Equal(p.Groups, groups) {
			t.Errorf("with %d groups: got %+v", n, p)
		}
	}
}

// socketpair is accept for a client that may not search this test's directory: the socket is in the abstract namespace.
func socketpair(t *testing.T, cred *syscall.Credential) (*client, int) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c := start(t, cred, "connect", l.Addr().String(), "0")
	return c, accept(t, l)
}

func TestOfGone(t *testing.T) {
	l, path := listen(t)
	c := start(t, nil, "connect", path, "0")
	c.end()
	p, err := Of(accept(t, l))
	if err != nil {
		t.Fatal(err)
	}
	if p.PID != c.Process.Pid || p.UID != uint32(os.Getuid()) || p.Start != 0 || p.Unit != "" {
		t.Errorf("got %+v, want pid %d, uid %d and nothing from /proc", p, c.Process.Pid, os.Getuid())
	}
}

// TestReuse gives a gone client's number to another process, which must not be taken for the client.
func TestReuse(t *testing.T) {
	testenv.Root(t) // to choose a process's number
	l, path := listen(t)
	c := start(t, nil, "connect", path, "0")
	s := accept(t, l)
	before, err := Of(s)
	if err != nil {
		t.Fatal(err)
	}
	c.end()
	other := impostor(t, before)
	after, err := Of(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := peerPIDFD(s); err != unix.ENOPROTOOPT && after.Start != 0 {
		t.Errorf("a client that is gone has got the start time of process %d: %+v", other.Process.Pid, after)
	}
	if fd, err := pidfdOf(s, before, without); !errors.Is(err, unix.ESRCH) {
		t.Errorf("got the pidfd %d (%v) of process %d for a client that is gone", fd, err, other.Process.Pid)
	}
}

// impostor starts a process with the number of p, in a later tick of the clock.
func impostor(t *testing.T, p Peer) *client {
	t.Helper()
	for until := time.Now().Add(patience); time.Now().Before(until); {
		last := strconv.Itoa(p.PID - 1)
		testenv.Allowed(t, "choose a process's number", os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(last), 0o644))
		c := start(t, nil, "keep")
		if c.Process.Pid == p.PID {
			if started, _ := want(t, p.PID); started != p.Start {
				return c
			}
		}
		c.end()
	}
	t.Fatalf("no luck in getting process number %d again", p.PID)
	return nil
}

// TestChildKeepsSocket shows that the identity is the connector's, whoever holds the socket later.
func TestChildKeepsSocket(t *testing.T) {
	l, path := listen(t)
	c := exec.Command("/proc/self/exe", "handover", path)
	c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close() }() // ends the child
	child, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	f, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	p, err := Of(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if p.PID != c.Process.Pid || p.PID == child {
		t.Errorf("got process %d, want the connector's, %d, not the child's, %d", p.PID, c.Process.Pid, child)
	}
	if fd, err := PIDFD(int(f.Fd()), p); err == nil {
		exited, _ := Ended(fd)
		if !exited {
			t.Error("the connector has ended, the pidfd says it has not")
		}
		_ = unix.Close(fd)
	} else if !errors.Is(err, unix.ESRCH) {
		t.Error(err)
	}
	_ = stdin.Close()
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the child has ended, the socket says %v", err)
	}
}

func TestOfNoPeer(t *testing.T) {
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = udp.Close() }()
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	unconnected, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(unconnected) }()
	inet, err := udp.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = inet.Close() }()
	for name, fd := range map[string]int{
		"a file": int(file.Fd()), "an unconnected socket": unconnected, "an Internet socket": int(inet.Fd()), "nothing": -1,
	} {
		if p, err := Of(fd); err == nil {
			t.Errorf("%s has the peer %+v", name, p)
		}
	}
}

func TestStartOf(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 19 20 0\n"
	for _, tt := range []struct {
		stat string
		want uint64
	}{
		{"12 (sh)" + rest, 4242},
		{"12 (tmux: server)" + rest, 4242},
		{"12 ((sd-pam))" + rest, 4242},
		{"12 (a) R 1 2 3 (b)" + rest, 4242},
		{"12 ()" + rest, 4242},
		{"12 ( ) )" + rest, 4242},
		{"12 (new\nline)" + rest, 4242},
		{"12 (sh) S 1 2 3", 0},
		{"12 (sh", 0},
		{"", 0},
	} {
		if got := startOf([]byte(tt.stat)); got != tt.want {
			t.Errorf("startOf(%q) = %d, want %d", tt.stat, got, tt.want)
		}
	}
}

// TestStartOddName asks the kernel about a process of which the name is a trap.
func TestStartOddName(t *testing.T) {
	old, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	wantStart, _ := want(t, os.Getpid())
	if err := os.WriteFile("/proc/self/comm", []byte(") S 1 (2 3) 4"), 0o644); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.WriteFile("/proc/self/comm", old, 0o644) }()
	p := Peer{PID: os.Getpid()}
	if err := p.look(); err != nil || p.Start != wantStart {
		t.Errorf("got start %d, error %v, want %d", p.Start, err, wantStart)
	}
}

func TestUnits(t *testing.T) {
	for range 2 {
		for _, tt := range []struct {
			cgroup string
			name   string
			user   bool
		}{
			{"0::/system.slice/cron.service\n", "cron.service", false},
			{"12:pids:/a\n1:name=systemd:/b.service\n0::/user.slice/user-5.slice/user@5.service/app.slice/x.service\n", "x.service", true},
			{"12:pids:/a.service\n", "", false},
			{"0::/\n", "", false},
			{"", "", false},
		} {
			if u := unitOf(cgroupOf([]byte(tt.cgroup))); u.name != tt.name || u.user != tt.user {
				t.Errorf("%q: got %q, %v, want %q, %v", tt.cgroup, u.name, u.user, tt.name, tt.user)
			}
		}
	}
}

// TestManyUnits has the cache's slots taken over and over.
func TestManyUnits(t *testing.T) {
	for i := range 10 * len(units.slot) {
		want := "u" + strconv.Itoa(i) + ".service"
		if u := unitOf([]byte("/system.slice/" + want)); u.name != want {
			t.Fatalf("got %q, want %q", u.name, want)
		}
	}
}

func BenchmarkOf(b *testing.B) {
	l, path := listen(b)
	start(b, nil, "connect", path, "0")
	s := accept(b, l)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Of(s); err != nil {
			b.Fatal(err)
		}
	}
}
