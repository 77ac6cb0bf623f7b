package hostile

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/test/testdaemon"
)

// Ten thousand connections that say nothing, as of ten thousand idle clients: the others do not notice them, and they
// cost little.
func TestManyIdle(t *testing.T) {
	const want = 10_000
	testenv.Descriptors(t, want+200)
	d := testdaemon.Start(t, testdaemon.Config{Quick: true})
	observer := d.Dial(t)
	observer.Do("PING")
	rss, _ := d.RSS()
	fds := d.Descriptors()
	b := watch(t, d)
	start := time.Now()
	conns := make([]*net.UnixConn, 0, want)
	for range want {
		c := dial(t, d)
		defer func() { _ = c.Close() }()
		conns = append(conns, c)
	}
	eventually(t, "all are accepted", func() bool { return status(t, observer, "connections") == want+2 })
	took := time.Since(start)
	now, _ := d.RSS()
	t.Logf("%d connections in %v, %d bytes of memory each", want, took.Round(time.Millisecond), (now-rss)/want)
	if each := (now - rss) / want; each > 2048 && !testdaemon.Race {
		t.Errorf("each idle connection takes %d bytes", each)
	}
	// Each of them is alive.
	for i := 0; i < want; i += 997 {
		p := testdaemon.NewPeer(t, conns[i])
		p.Send("PING\r\n")
		p.Want("+PONG\r\n")
	}
	start = time.Now()
	for _, c := range conns {
		_ = c.Close()
	}
	settled(t, observer, 2)
	t.Logf("gone in %v", time.Since(start).Round(time.Millisecond))
	b.calm()
	if n := d.Descriptors(); n > fds+2 {
		t.Errorf("%d descriptors, %d before", n, fds)
	}
	within(t, d, 60)
}

// Ten thousand connections one after the other, ended in every way there is, leave nothing.
func TestChurn(t *testing.T) {
	const rounds = 1000
	d := testdaemon.Start(t, testdaemon.Config{Quick: true})
	observer := d.Dial(t)
	b := watch(t, d)
	ways := []string{
		"",
		"PING\r\n",
		"QUIT\r\n",
		"*1\r\n$4\r\nPI",
		"no such\r\n",
		"\"\r\n",
		"SUBSCRIBE a b c\r\nPSUBSCRIBE a* b*\r\nBUS.SUB # RAW\r\nPUBLISH a x\r\n",
		"HELLO 3\r\nSUBSCRIBE a\r\nPUBLISH a x\r\n",
		"LOCK.ACQUIRE churn WAIT 0 OWNER a\r\nLOCK.ACQUIRE other WAIT 0 OWNER b\r\n",
		"LOCK.ACQUIRE churn OWNER c\r\n",
	}
	round := func() {
		for _, input := range ways {
			c := dial(t, d)
			_, _ = c.Write([]byte(input))
			_ = c.Close()
		}
	}
	for range rounds / 10 {
		round()
	}
	settled(t, observer, 2)
	fds := d.Descriptors()
	start := time.Now()
	for range rounds - rounds/10 {
		round()
	}
	settled(t, observer, 2)
	took := time.Since(start)
	now, _ := d.RSS()
	t.Logf("%d connections, %v each; memory after all %.1f MiB", 9*rounds, took/(9*rounds), float64(now)/mib)
	for _, key := range []string{"subscriptions", "locks_held", "locks_waiting"} {
		eventually(t, key+" are gone", func() bool { return status(t, observer, key) == 0 })
	}
	if n := d.Descriptors(); n > fds {
		t.Errorf("%d descriptors, %d before", n, fds)
	}
	b.calm()
	within(t, d, 50)
}

// One more than there may be is told why, and then there is the end: also if it has said something already. There is room
// again when somebody leaves.
func TestConnectionLimit(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{TOML: "[limits]\nconnections = 10\n"})
	var all []*testdaemon.Peer
	for range 10 {
		p := d.Dial(t)
		p.Do("PING")
		all = append(all, p)
	}
	for _, input := range []string{"", "PING\r\n", strings.Repeat("PING\r\n", 10_000)} {
		// The daemon sees the connection and its input at the same time.
		d.Signal(syscall.SIGSTOP)
		p := d.Dial(t)
		fill(t, p, input)
		d.Signal(syscall.SIGCONT)
		if got := p.Frame(); !strings.HasPrefix(got, "-QUOTA ") || !strings.Contains(got, "limits.connections") {
			t.Errorf("got %q", got)
		}
		if got, err := p.Next(); !errors.Is(err, io.EOF) || got != "" { // and no reset
			t.Errorf("then %q, %v", got, err)
		}
	}
	if n := status(t, all[0], "connections_refused"); n != 3 {
		t.Errorf("%d refused", n)
	}
	_ = all[9].Close()
	settled(t, all[0], 9)
	if got := d.Dial(t).Do("PING"); got != "+PONG\r\n" {
		t.Errorf("got %q", got)
	}
}

// A user's limit is nobody else's.
func TestConnectionsPerUser(t *testing.T) {
	testenv.Root(t)
	d := testdaemon.Command(t, testdaemon.Config{TOML: "[limits]\nconnections_per_user = 5\n[socket.main]\nmode = \"0666\"\n"})
	if err := os.Chmod(d.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d.Run()
	b := watch(t, d) // as root
	var strangers []*process
	for i := range 7 {
		p := spawnAs(t, d, 65534)
		got := p.tell("do a PING")
		if ok := got == "+PONG\r\n"; ok != (i < 5) {
			t.Errorf("connection %d: got %q", i, got)
		} else if !ok && (!strings.HasPrefix(got, "-QUOTA ") || !strings.Contains(got, "limits.connections_per_user")) {
			t.Errorf("connection %d: got %q", i, got)
		}
		strangers = append(strangers, p)
	}
	for range 20 { // root is exempt
		d.Dial(t).Do("PING")
	}
	strangers[0].die()
	settled(t, d.Dial(t), 26)
	if got := spawnAs(t, d, 65534).tell("do a PING"); got != "+PONG\r\n" {
		t.Errorf("after one has left: got %q", got)
	}
	b.calm()
}

// Descriptors that nobody asked for are closed. So many at once that they cannot all be taken are no different.
func TestUnaskedDescriptors(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{})
	observer := d.Dial(t)
	observer.Do("PING")
	b := watch(t, d)
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	rights := func(n int) []byte {
		fds := make([]int, n)
		for i := range fds {
			fds[i] = int(null.Fd())
		}
		return unix.UnixRights(fds...)
	}
	before := d.Descriptors()
	most := 0
	for range 100 {
		for _, c := range []struct {
			input string
			fds   int
		}{
			{"PING\r\n", 1}, {"PING\r\n", 8}, {"PING\r\n", 9}, {"PING\r\n", 28}, {"PING\r\n", 29}, {"PING\r\n", 253},
			{"*1\r\n$4\r\nPI", 3}, {"\"\r\n", 3}, {"LOCK.ACQUIRE a WAIT 0 FOR pid\r\n", 2}, {"LOCK.ACQUIRE\r\n", 1},
			{"LOCK.ACQUIRE a b\r\n", 1}, {"LOCK.INFO a\r\n", 1}, {"QUIT\r\n", 5},
		} {
			p := d.Dial(t)
			if _, _, err := p.WriteMsgUnix([]byte(c.input), rights(c.fds), nil); err != nil {
				t.Fatal(err)
			}
			if c.input == "PING\r\n" && c.fds == 1 {
				p.Want("+PONG\r\n")
			}
			_ = p.Close()
		}
		most = max(most, d.Descriptors())
	}
	settled(t, observer, 2)
	eventually(t, "descriptors are closed", func() bool { return d.Descriptors() <= before+1 }) // the bystander's

	// A peer that goes on sending them cannot pile them up.
	p := d.Dial(t)
	for range 200 {
		if _, _, err := p.WriteMsgUnix([]byte("PING\r\n"), rights(5), nil); err != nil {
			break // it was ended for it: as good
		}
		if _, err := p.Next(); err != nil {
			break
		}
	}
	eventually(t, "they are closed", func() bool { return d.Descriptors() <= before+20 })
	// Nor can many, by a few each.
	var all []*testdaemon.Peer
	for range 100 {
		p := d.Dial(t)
		if _, _, err := p.WriteMsgUnix([]byte("PING\r\n"), rights(8), nil); err != nil {
			t.Fatal(err)
		}
		p.Want("+PONG\r\n")
		all = append(all, p)
	}
	t.Logf("%d descriptors at most for a hundred who came and went", most-before)
	eventually(t, "what no command took is closed", func() bool { return d.Descriptors()-before-len(all) <= 10 })
	b.calm()
}

// A descriptor may take a minute to be closed, as its maker wanted it so. Nobody waits for that, wherever it is found.
func TestLingeringDescriptors(t *testing.T) {
	testenv.Root(t)
	d := testdaemon.Command(t, testdaemon.Config{TOML: "[limits]\nconnections = 100\n[socket.main]\nmode = \"0666\"\n"})
	if err := os.Chmod(d.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d.Run()
	observer := d.Dial(t)
	b := watch(t, d)
	lingering := func() (fd int, drop func()) {
		t.Helper()
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() }) // which never reads, so that something is left to be sent
		c, err := net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n > 0; { // until both ends are full
			_ = c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			if n, err = c.Write(make([]byte, mib)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
		}
		f, err := c.File()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetLinger(0) // or this test would linger; the one that is sent has it back
		_ = c.Close()
		linger := func(on int32) {
			if err := unix.SetsockoptLinger(int(f.Fd()), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: on, Linger: 60}); err != nil {
				t.Fatal(err)
			}
		}
		linger(1)
		return int(f.Fd()), func() { _ = f.Close() }
	}
	send := func(before, beside string) (p *testdaemon.Peer) {
		t.Helper()
		fd, drop := lingering()
		// Only one who is the last to close it has to wait.
		err := unix.Kill(d.PID(), unix.SIGSTOP)
		if err == nil {
			err = unix.Waitid(unix.P_PID, d.PID(), nil, unix.WSTOPPED, nil) // a signal takes a moment
		}
		if p = d.Dial(t); before != "" {
			_, _ = p.Write([]byte(before))
		}
		_, _, err2 := p.WriteMsgUnix([]byte(beside), unix.UnixRights(fd), nil)
		drop()
		if err := errors.Join(err, err2, unix.Kill(d.PID(), unix.SIGCONT)); err != nil {
			t.Fatal(err)
		}
		return p
	}
	send("", "PING\r\n").Want("+PONG\r\n")
	send("", "LOCK.ACQUIRE a FOR pid\r\n")
	send("QUIT\r\n"+strings.Repeat("x", 100_000), "PING\r\n").Want("+OK\r\n") // what is behind it is never read
	var all []*testdaemon.Peer
	for range 100 {
		all = append(all, d.Dial(t))
	}
	if got, err := send("", "PING\r\n").Next(); !strings.HasPrefix(got, "-QUOTA ") {
		t.Errorf("one connection too many got %q, %v", got, err)
	}
	b.calm()

	// They are not piled up either: with too many of them a user's connections are ended, and nobody else's.
	for _, p := range all {
		_ = p.Close()
	}
	settled(t, observer, 10)
	other := spawnAs(t, d, 65534)
	if got := other.tell("do a PING"); got != "+PONG\r\n" {
		t.Errorf("another user got %q", got)
	}
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	eventually(t, "the user's connections are ended", func() bool {
		p := d.Dial(t)
		defer func() { _ = p.Close() }()
		_, _, _ = p.WriteMsgUnix([]byte("PING\r\n"), unix.UnixRights(slices.Repeat([]int{int(null.Fd())}, 200)...), nil)
		got, _ := p.Next()
		return strings.Contains(got, "cannot be closed")
	})
	if got := other.tell("do a PING"); got != "+PONG\r\n" {
		t.Errorf("another user got %q", got)
	}
	if got, err := observer.Next(); err == nil {
		t.Errorf("a connection of the user goes on: %q", got)
	}
	if n := d.Descriptors(); n > 6000 {
		t.Errorf("%d descriptors", n)
	}
}

// With no descriptor left for another connection the newcomer is told, nobody else notices, and the daemon does not turn
// in circles.
func TestNoDescriptorLeft(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{Quick: true})
	limit := d.Descriptors() + 20
	if err := unix.Prlimit(d.PID(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(limit), Max: uint64(limit)}, nil); err != nil {
		testenv.Allowed(t, "limit another process", err)
	}
	b := watch(t, d)
	observer := d.Dial(t)
	var all []*testdaemon.Peer
	refused := 0
	for range 60 {
		p := d.Dial(t)
		_, _ = p.Write([]byte("PING\r\n")) // it may be refused already
		switch got, err := p.Next(); {
		case got == "+PONG\r\n":
			all = append(all, p)
		case strings.HasPrefix(got, "-QUOTA "):
			refused++
		default:
			t.Fatalf("got %q, %v", got, err)
		}
	}
	t.Logf("%d accepted, %d refused", len(all), refused)
	if refused < 30 {
		t.Errorf("%d refused", refused)
	}
	// Locks need a descriptor each time, for the process; that there is none is an answer, too.
	got := all[0].Do("LOCK.ACQUIRE", "a", "WAIT", "0")
	t.Logf("LOCK.ACQUIRE: %.80q", got)
	b.calm()
	rests(t, d)
	for _, p := range all {
		_ = p.Close()
	}
	settled(t, observer, 2)
	if got := d.Dial(t).Do("PING"); got != "+PONG\r\n" {
		t.Errorf("got %q", got)
	}
}
