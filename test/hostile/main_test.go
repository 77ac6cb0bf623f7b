package hostile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/test/testdaemon"
)

// role is the environment variable that makes this program one of the processes that tests need.
const role = "IPCD_HOSTILE_ROLE"

// inherited names the connections that a process has from its parent, as descriptors 3 and up.
const inherited = "IPCD_HOSTILE_INHERITED"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "client":
		os.Exit(client())
	case "":
		os.Exit(m.Run())
	}
	fmt.Fprintln(os.Stderr, "unknown role")
	os.Exit(2)
}

// patience bounds every wait. It is there to fail a test that hangs, not to measure.
const patience = time.Minute

// slack is the longest that the daemon may do something else while a bystander waits for a reply. It is processor time, for
// on a busy machine the daemon waits, too. Where nothing is wrong it is a few milliseconds; the race detector has its share.
func slack() time.Duration {
	if testdaemon.Race {
		return 4 * time.Second
	}
	return 2 * time.Second
}

// soon is after how long a reply counts as late: then the daemon's processor time is looked at.
const soon = 20 * time.Millisecond

// A bystander asks for a reply all the time.
type bystander struct {
	t       testing.TB
	stop    chan struct{}
	done    chan struct{}
	longest time.Duration // wait for a reply
	busy    time.Duration // most processor time that the daemon had meanwhile
	count   int
	err     error
}

// watch has a bystander at work until calm is called, which fails the test if it was disturbed.
func watch(t testing.TB, d *testdaemon.Daemon) *bystander {
	t.Helper()
	b := &bystander{t: t, stop: make(chan struct{}), done: make(chan struct{})}
	p := d.Dial(t)
	go func() {
		defer close(b.done)
		pace := time.NewTicker(time.Millisecond)
		defer pace.Stop()
		for {
			_ = p.SetDeadline(time.Now().Add(patience))
			start, before := time.Now(), make(chan time.Duration, 1)
			late := time.AfterFunc(soon, func() { before <- d.CPU() })
			if _, b.err = io.WriteString(p, "PING\r\n"); b.err != nil {
				return
			}
			var reply string
			if reply, b.err = p.Next(); b.err != nil {
				return
			}
			if reply != "+PONG\r\n" {
				b.err = fmt.Errorf("got %q", reply)
				return
			}
			b.longest = max(b.longest, time.Since(start))
			if !late.Stop() {
				b.busy = max(b.busy, soon+d.CPU()-<-before)
			}
			b.count++
			select {
			case <-b.stop:
				return
			case <-pace.C:
			}
		}
	}()
	return b
}

func (b *bystander) calm() {
	b.t.Helper()
	close(b.stop)
	<-b.done
	b.t.Logf("a bystander had %d replies, the slowest after %v; the daemon was busy for %v of that at most", b.count,
		b.longest.Round(10*time.Microsecond), b.busy.Round(10*time.Microsecond))
	if b.err != nil {
		b.t.Errorf("a bystander: %v", b.err)
	}
	if b.busy > slack() || b.longest > patience {
		b.t.Errorf("a bystander waited %v for a reply, with the daemon busy for %v", b.longest, b.busy)
	}
}

const mib = 1 << 20

// within fails the test if the daemon's memory was ever above a bound, in MiB. The race detector's share is not ipcd's.
func within(t testing.TB, d *testdaemon.Daemon, bound int) {
	t.Helper()
	now, peak := d.RSS()
	t.Logf("memory: %.1f MiB, at most %.1f", float64(now)/mib, float64(peak)/mib)
	if testdaemon.Race {
		bound *= 5
	}
	if peak > bound*mib {
		t.Errorf("the daemon had %d MiB of memory, more than %d", peak/mib, bound)
	}
}

// eventually waits until f says so; what f looks at is no event that could be waited for.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-late:
			t.Fatalf("%s: not after %v", what, patience)
		case <-tick.C:
		}
	}
}

// rests waits until the daemon does nothing: no thread of it has run for some moments. One that turns in circles always has one
// that runs.
func rests(t testing.TB, d *testdaemon.Daemon) {
	t.Helper()
	last, calm := time.Duration(-1), 0
	eventually(t, "the daemon rests", func() bool {
		used := d.CPU()
		if calm++; used != last {
			last, calm = used, 0
		}
		return calm == 10
	})
}

// fill sends as much of an input as the socket of a daemon that is stopped takes.
func fill(t testing.TB, p *testdaemon.Peer, input string) {
	t.Helper()
	raw, err := p.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Write(func(fd uintptr) bool {
		for b := []byte(input); len(b) > 0; {
			n, err := unix.Write(int(fd), b)
			if err != nil {
				return true // EAGAIN: it is full
			}
			b = b[n:]
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
}

// field is the value of a key in a reply that is a map of RESP2.
func field(t testing.TB, reply, key string) string {
	t.Helper()
	_, rest, ok := strings.Cut(reply, fmt.Sprintf("$%d\r\n%s\r\n", len(key), key))
	if !ok || rest == "" {
		t.Fatalf("no %s in %q", key, reply)
	}
	line, rest, _ := strings.Cut(rest, "\r\n")
	if line[0] == ':' {
		return line[1:]
	}
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}

// status is a figure of IPCD.STATUS.
func status(t testing.TB, p *testdaemon.Peer, key string) int {
	t.Helper()
	return figure(t, p.Do("IPCD.STATUS"), key)
}

// figure is one in an answer to IPCD.STATUS.
func figure(t testing.TB, answer, key string) int {
	t.Helper()
	n, err := strconv.Atoi(field(t, answer, key))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// settled waits until the daemon has buried all connections but n, of which one asks. As long as those that are not buried yet hold all that
// their user may, a question of his may be refused, and end the connection: then another one asks.
func settled(t testing.TB, p *testdaemon.Peer, n int) {
	t.Helper()
	eventually(t, "connections are gone", func() bool {
		answer, err := p.Ask("IPCD.STATUS")
		if isEnd(err) {
			p = testdaemon.Dial(t, p.RemoteAddr().String())
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		return !strings.HasPrefix(answer, "-QUOTA ") && figure(t, answer, "connections") <= n
	})
}

// isEnd reports whether an error is how a connection looks that the daemon has ended. It is a reset, or a broken pipe, if
// there was something that the daemon has not read.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// pour sends b over and over, reading nothing, until the daemon takes no more, or total bytes are sent. It returns how
// much was sent and what ended it, nil if the daemon is still there.
func pour(p *testdaemon.Peer, b string, total int) (sent int, err error) {
	stuck := 300 * time.Millisecond
	for sent < total {
		_ = p.SetWriteDeadline(time.Now().Add(stuck))
		n, err := io.WriteString(p.UnixConn, b)
		sent += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return sent, nil
		}
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// A process is another one than this, which connects to the daemon and does what it is told.
type process struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// dial connects as a client does that is told that there is a queue: again.
func dial(t testing.TB, d *testdaemon.Daemon) (c *net.UnixConn) {
	t.Helper()
	eventually(t, "connected", func() bool {
		var err error
		c, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: d.Socket, Net: "unix"})
		if err != nil && !errors.Is(err, syscall.EAGAIN) {
			t.Fatal(err)
		}
		return err == nil
	})
	return c
}

// spawn starts a process. It ends with the test, at the latest.
func spawn(t testing.TB, d *testdaemon.Daemon) *process {
	t.Helper()
	return spawnAs(t, d, os.Getuid())
}

// spawnAs is spawn for another user.
func spawnAs(t testing.TB, d *testdaemon.Daemon, uid int) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command("/proc/self/exe")}
	if uid != os.Getuid() {
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	p.cmd.Env = append(os.Environ(), role+"=client", "IPCD_SOCKET="+d.Socket)
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	return p
}

// tell has the process do something, and returns what it says, up to the end of a line.
func (p *process) tell(format string, args ...any) string {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.in, format+"\n", args...); err != nil {
		p.t.Fatal(err)
	}
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("process: %v", err)
	}
	line = strings.TrimSuffix(line, "\n")
	if text, err := strconv.Unquote(line); err == nil {
		return text
	}
	return line
}

// die has it killed and reaped.
func (p *process) die() {
	p.t.Helper()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// prove has the daemon know that it is this process that connected.
func prove(c *net.UnixConn) error {
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	_, _, err = c.WriteMsgUnix([]byte(testdaemon.Cmd("IPCD.PROVE")), unix.UnixRights(pidfd), nil)
	if errors.Is(err, unix.EPIPE) { // it was refused, which the reply says
		return nil
	}
	return err
}

// client is the other side of a process. Its orders, one a line:
//
//	do NAME WORD...   on connection NAME, made when first used, send a command and print the reply, quoted
//	send NAME WORD... likewise, without a reply
//	read NAME         print the next reply
//	close NAME        close it
//	heir              start a child that inherits all connections and follows orders instead, and exit 3
//	exit N            exit
func client() int {
	conns := map[string]*net.UnixConn{}
	readers := map[string]*bufio.Reader{}
	unread := map[string]bool{} // the reply to prove
	for i, name := range strings.Fields(os.Getenv(inherited)) {
		c, err := net.FileConn(os.NewFile(uintptr(3+i), name))
		if err != nil {
			return 4
		}
		conns[name] = c.(*net.UnixConn)
	}
	in := bufio.NewReaderSize(os.Stdin, 1) // so that nothing is taken that is an heir's
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0
		}
		words := strings.Fields(line)
		var name string
		if len(words) > 1 {
			name = words[1]
		}
		if conns[name] == nil && words[0] != "exit" && words[0] != "heir" {
			c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: os.Getenv("IPCD_SOCKET"), Net: "unix"})
			if err != nil {
				return 5
			}
			if err := prove(c); err != nil {
				return 8
			}
			conns[name], unread[name] = c, true
		}
		switch words[0] {
		case "do", "send", "read":
			if readers[name] == nil {
				readers[name] = bufio.NewReader(conns[name])
			}
			if words[0] != "read" {
				// If it fails, what there is to be read says why.
				_, _ = io.WriteString(conns[name], testdaemon.Cmd(words[2:]...))
			}
			if words[0] == "send" {
				fmt.Println("sent")
				continue
			}
			reply, err := testdaemon.ReadFrame(readers[name])
			if unread[name] && reply == "+OK\r\n" {
				reply, err = testdaemon.ReadFrame(readers[name])
			}
			unread[name] = false
			if err != nil {
				reply += err.Error()
			}
			fmt.Printf("%q\n", reply)
		case "close":
			_ = conns[name].Close()
			delete(conns, name)
			fmt.Println("closed")
		case "heir":
			cmd := exec.Command("/proc/self/exe")
			var names []string
			for name, c := range conns {
				f, err := c.File()
				if err != nil {
					return 6
				}
				names = append(names, name)
				cmd.ExtraFiles = append(cmd.ExtraFiles, f)
			}
			cmd.Env = append(os.Environ(), inherited+"="+strings.Join(names, " "))
			cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
			if err := cmd.Start(); err != nil {
				return 7
			}
			fmt.Println(cmd.Process.Pid)
			return 3
		case "exit":
			n, _ := strconv.Atoi(name)
			return n
		}
	}
}
