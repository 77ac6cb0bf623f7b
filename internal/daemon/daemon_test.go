package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// patience bounds every wait of a test. It is there to fail a test that hangs, not to measure.
const patience = 20 * time.Second

// A process is a daemon, with a service manager that listens to what it tells.
type process struct {
	t       *testing.T
	dir     string
	socket  string
	cmd     *exec.Cmd
	told    chan string // what it tells the service manager, a line each; closed when it has ended and all is read
	stderr  output
	exited  chan struct{}
	notify  *net.UnixConn
	reading sync.WaitGroup
}

// lastWord is what the service manager is sent when the daemon has ended.
const lastWord = "it has ended"

// prepare makes a daemon that a test may still change before it is launched.
func prepare(t *testing.T, args ...string) *process {
	t.Helper()
	dir, err := os.MkdirTemp("", "ipcd") // short enough for the paths of sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &process{t: t, dir: dir, socket: filepath.Join(dir, "s"), told: make(chan string, 1000), exited: make(chan struct{})}
	p.cmd = exec.Command("/proc/self/exe", append([]string{"ipcd"}, args...)...)
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Env = []string{"IPCD_VERIFY=1", "GORACE=atexit_sleep_ms=0", "PATH=" + os.Getenv("PATH"), "NOTIFY_SOCKET=" + filepath.Join(dir, "notify")}
	return p
}

// launch starts it.
func (p *process) launch() *process {
	p.t.Helper()
	var err error
	p.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(p.dir, "notify"), Net: "unixgram"})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.reading.Go(func() {
		defer close(p.told)
		b := make([]byte, 4096)
		for {
			n, err := p.notify.Read(b)
			if err != nil || string(b[:n]) == lastWord {
				return
			}
			for line := range strings.Lines(string(b[:n])) {
				p.told <- strings.TrimSuffix(line, "\n")
			}
		}
	})
	go func() {
		_ = p.cmd.Wait()
		if _, err := p.notify.WriteTo([]byte(lastWord), p.notify.LocalAddr()); err != nil { // behind all that it told
			p.t.Error(err)
		}
		close(p.exited)
	}()
	p.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		_ = p.notify.Close()
		p.reading.Wait()
		if p.t.Failed() {
			p.t.Logf("%s", p.stderr.String())
		}
	})
	return p
}

// begin starts a daemon with a socket of its own, and waits until it is ready.
func begin(t *testing.T, args ...string) *process {
	t.Helper()
	p := prepare(t)
	p.cmd.Args = append(append(p.cmd.Args, "--socket", p.socket), args...)
	p.launch().ready()
	return p
}

// ready waits for what the service manager is told at first.
func (p *process) ready() {
	p.t.Helper()
	p.expect("READY=1", "STATUS=listening on ")
}

// expect waits for these words to the service manager, which must be the next.
func (p *process) expect(prefixes ...string) {
	p.t.Helper()
	for _, want := range prefixes {
		select {
		case got, ok := <-p.told:
			switch {
			case !ok:
				<-p.exited
				p.t.Fatalf("it has ended (%v), and did not tell %q", p.cmd.ProcessState, want)
			case !strings.HasPrefix(got, want):
				p.t.Fatalf("told %q, want %q", got, want)
			}
		case <-time.After(patience):
			p.t.Fatalf("it does not tell %q", want)
		}
	}
}

// status waits for its end.
func (p *process) status() int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatal("it does not end")
	}
	return -1
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// stop has it stop, and checks that it does so well.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if s := p.status(); s != 0 {
		p.t.Errorf("it stopped with %d", s)
	}
}

// dial connects.
func (p *process) dial() *ipc.Conn {
	p.t.Helper()
	c, err := ipc.DialConn(context.Background(), p.socket)
	if err != nil {
		p.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	p.t.Cleanup(func() { _ = c.Close() })
	return c
}

// do executes a command on a connection of its own.
func (p *process) do(words ...string) wire.Value {
	p.t.Helper()
	c := p.dial()
	defer func() { _ = c.Close() }()
	v, err := c.Do(words...)
	if err != nil {
		p.t.Fatalf("%q: %v", words, err)
	}
	return v
}

// An output is what a process has written.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // closed when more was written; nil while nobody waits
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more != nil {
		close(o.more)
		o.more = nil
	}
	return o.b.Write(p)
}

// await waits until a text was written, as the log is behind what it tells of.
func (o *output) await(text string) bool {
	for limit := time.After(patience); ; {
		o.mu.Lock()
		if o.more == nil {
			o.more = make(chan struct{})
		}
		more, there := o.more, strings.Contains(o.b.String(), text)
		o.mu.Unlock()
		if there {
			return true
		}
		select {
		case <-more:
		case <-limit:
			return false
		}
	}
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// TestLife: what the service manager is told, and in which order.
func TestLife(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := begin(t)
		if v := p.do("HELLO"); v.Get("pid").Int != int64(p.cmd.Process.Pid) {
			t.Errorf("%+v", v)
		}
		p.signal(syscall.SIGHUP)
		p.expect("RELOADING=1", "MONOTONIC_USEC=", "READY=1", "STATUS=listening on ")
		p.signal(sig)
		p.expect("STOPPING=1")
		if s := p.status(); s != 0 {
			t.Errorf("%v: status %d", sig, s)
		}
		if _, err := os.Lstat(p.socket); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket's file is left: %v", err)
		}
		for more := range p.told {
			t.Errorf("told %q, too", more)
		}
	}
}

// TestStatusIsDocumented: each key of IPCD.STATUS has its meaning in the protocol's document.
func TestStatusIsDocumented(t *testing.T) {
	document, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(document), "\n## The daemon's state\n")
	table, _, _ = strings.Cut(table, "\n## ")
	p := begin(t)
	state := p.do("IPCD.STATUS")
	for i := 0; i+1 < len(state.Elems); i += 2 {
		key := state.Elems[i].Str
		if strings.HasPrefix(key, "socket_") {
			key = "socket_NAME"
		}
		if !strings.Contains(table, "`"+key+"`") {
			t.Errorf("%s is not in the table", key)
		}
	}
	p.stop()
}

// TestWatchdogTold: as often as the service manager asks.
func TestWatchdogTold(t *testing.T) {
	p := prepare(t, "--socket")
	p.cmd.Args = append(p.cmd.Args, p.socket)
	p.cmd.Env = append(p.cmd.Env, "WATCHDOG_USEC=20000")
	p.launch()
	seen := map[string]int{}
	for seen["WATCHDOG=1"] < 5 || seen["READY=1"] < 1 {
		select {
		case word := <-p.told:
			seen[word]++
		case <-time.After(patience):
			t.Fatalf("told only %v", seen)
		}
	}
	if v := p.do("IPCD.STATUS"); v.Get("watchdog").Int != 10_000 {
		t.Errorf("%+v", v)
	}
	p.stop()
}

// TestNotifySocketMissing: a daemon that was told of a service manager that is not there does not start.
func TestNotifySocketMissing(t *testing.T) {
	p := prepare(t, "--socket")
	p.cmd.Args = append(p.cmd.Args, p.socket)
	p.cmd.Env = append(p.cmd.Env, "NOTIFY_SOCKET=/nonexistent")
	if err := p.cmd.Run(); p.cmd.ProcessState.ExitCode() != 71 {
		t.Errorf("%v: %s", err, p.stderr.String())
	}
}

// TestInUse: exactly one of two daemons serves a socket, and its file stays when the other gives up.
func TestInUse(t *testing.T) {
	p := begin(t)
	second := prepare(t, "--socket", p.socket)
	second.launch()
	if s := second.status(); s != 69 || !strings.Contains(second.stderr.String(), "ipcd: cannot listen on "+p.socket+": another daemon answers there\n") {
		t.Errorf("status %d: %s", s, second.stderr.String())
	}
	p.do("PING")
	p.stop()
}

// TestKilled: the file that a killed daemon left is replaced.
func TestKilled(t *testing.T) {
	p := begin(t)
	p.signal(syscall.SIGKILL)
	p.status()
	if err := answers(p.socket); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
	next := prepare(t, "--socket", p.socket)
	next.launch().ready()
	p.do("PING")
	next.stop()
}

// TestFileOfAnother: a daemon whose file was removed, and replaced by another's, leaves that alone when it ends.
func TestFileOfAnother(t *testing.T) {
	p := begin(t)
	if err := os.Remove(p.socket); err != nil {
		t.Fatal(err)
	}
	next := prepare(t, "--socket", p.socket)
	next.launch().ready()
	p.stop()
	next.socket = p.socket
	next.do("PING")
	next.stop()
}

// TestConfiguredSockets: those of the file are made, with their mode, and removed.
func TestConfiguredSockets(t *testing.T) {
	p := prepare(t)
	other := filepath.Join(p.dir, "other")
	config := write(t, p.dir, "ipcd.toml", fmt.Sprintf("[socket.main]\npath = %q\nmode = \"0600\"\n[socket.other]\npath = %q\nmode = \"0666\"\n", p.socket, other))
	p.cmd.Args = append(p.cmd.Args, "--config", config)
	p.launch().ready()
	status := p.do("IPCD.STATUS")
	for path, want := range map[string]struct {
		name string
		mode fs.FileMode
	}{p.socket: {"main", 0o600}, other: {"other", 0o666}} {
		if err := answers(path); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want.mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
		if got := status.Get("socket_" + want.name).Str; got != path {
			t.Errorf("status says %q of %s", got, want.name)
		}
	}
	p.stop()
	for _, path := range []string{p.socket, other} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

// activate launches a daemon with a listening socket that it did not make, as the service manager does. Its descriptor is
// passed under this name.
func activate(t *testing.T, name string, config func(p *process) string) *process {
	t.Helper()
	p := prepare(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close(); _ = l.Close() })
	p.activate(name, f)
	p.cmd.Args = append(p.cmd.Args, "--config", write(t, p.dir, "ipcd.toml", config(p)))
	return p
}

// activate passes a file as systemd does. The daemon's pid is known only to the process itself: a shell sets the variable, and
// becomes the daemon.
func (p *process) activate(name string, f *os.File) {
	p.t.Helper()
	p.cmd.Path = "/bin/sh"
	exe, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd.Args = append([]string{"sh", "-c", `export LISTEN_PID=$$; exec "$0" "$@"`, exe}, p.cmd.Args[1:]...)
	p.cmd.ExtraFiles = []*os.File{f}
	p.cmd.Env = append(p.cmd.Env, "LISTEN_FDS=1")
	if name != "" {
		p.cmd.Env = append(p.cmd.Env, "LISTEN_FDNAMES="+name)
	}
}

func TestActivation(t *testing.T) {
	// By its name: what the configuration says of that socket does not matter.
	p := activate(t, "main", func(p *process) string {
		return fmt.Sprintf("[socket.main]\npath = %q\n", filepath.Join(p.dir, "elsewhere"))
	})
	p.launch().ready()
	if got := p.do("IPCD.STATUS").Get("socket_main").Str; got != p.socket {
		t.Errorf("status says %q", got)
	}
	if _, err := os.Lstat(filepath.Join(p.dir, "elsewhere")); err == nil {
		t.Error("the socket of the configuration was made, too")
	}
	p.stop()
	if _, err := os.Lstat(p.socket); err != nil {
		t.Errorf("the service manager's file was removed: %v", err)
	}

	// By its path, where the unit gives it no name.
	for _, name := range []string{"", "ipcd.socket"} {
		p = activate(t, name, func(p *process) string { return fmt.Sprintf("[socket.main]\npath = %q\n", p.socket) })
		p.launch().ready()
		p.do("PING")
		p.stop()
	}

	// Beside another that the daemon makes itself.
	p = activate(t, "extra", func(p *process) string {
		return fmt.Sprintf("[socket.main]\npath = %q\n", filepath.Join(p.dir, "own"))
	})
	p.launch().ready()
	p.do("PING")
	if err := answers(filepath.Join(p.dir, "own")); err != nil {
		t.Error(err)
	}
	p.stop()
}

func TestActivationRefused(t *testing.T) {
	p := prepare(t)
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	p.cmd.Args = append(p.cmd.Args, "--socket", p.socket)
	p.activate("main", null)
	p.launch()
	if s := p.status(); s != 71 || !strings.Contains(p.stderr.String(), `ipcd: cannot take socket "main" from systemd: it is no listening Unix stream socket`) {
		t.Errorf("status %d: %s", s, p.stderr.String())
	}
}

// TestReload: by signal, by command and by a changed file; what is wrong is refused as a whole, and what runs is kept.
func TestReload(t *testing.T) {
	p := prepare(t, "--socket")
	p.cmd.Args = append(p.cmd.Args, p.socket)
	config := write(t, p.dir, "conf/ipcd.toml", "[limits]\nconnections = 100\n")
	p.cmd.Args = append(p.cmd.Args, "--config", config)
	p.launch().ready()
	c := p.dial()
	events := p.subscribe("ipcd/config/#")
	check := func(connections, rejected string) {
		t.Helper()
		var status wire.Value
		for limit := time.Now().Add(patience); time.Now().Before(limit); {
			var err error
			if status, err = c.Do("IPCD.STATUS"); err != nil {
				t.Fatal(err)
			}
			said := status.Get("config_rejected").Str
			if status.Get("connections_limit").Text() == connections && strings.Contains(said, rejected) && (said == "") == (rejected == "") {
				return
			}
		}
		t.Fatalf("%s connections, rejected %q; want %s, %q", status.Get("connections_limit").Text(), status.Get("config_rejected").Str, connections, rejected)
	}
	logged := func(words string) {
		t.Helper()
		for limit := time.Now().Add(patience); !strings.Contains(p.stderr.String(), words); {
			if time.Now().After(limit) {
				t.Fatalf("it does not log %q", words)
			}
			check("300", "") // it is alive meanwhile
		}
	}
	check("100", "")

	// A changed file, by its watch.
	write(t, p.dir, "conf/ipcd.toml", "[limits]\nconnections = 200\n")
	check("200", "")
	write(t, p.dir, "conf/ipcd.toml", "[limits]\nconnections = 0\ninputs = 1\n")
	check("200", `ipcd.toml:2: limits.connections must be from 1 to 1000000, not 0; `)

	// By command.
	if _, err := c.Do("IPCD.RELOAD"); !errors.Is(err, &ipc.Error{Code: wire.CodeConfig}) || !strings.Contains(err.Error(), "ipcd.toml:2:") {
		t.Errorf("got %v", err)
	}
	check("200", "ipcd.toml:2:")
	write(t, p.dir, "conf/ipcd.toml", "[limits]\nconnections = 250\n")
	if v, err := c.Do("IPCD.RELOAD"); err != nil || v.Str != "OK" {
		t.Errorf("got %+v, %v", v, err)
	}
	check("250", "")

	// By signal, with a drop-in.
	write(t, p.dir, "conf/ipcd.conf.d/x.toml", "[limits]\nconnections = 300\n[log]\nlevel = \"debug\"\n")
	p.signal(syscall.SIGHUP)
	check("300", "")
	logged("reason=SIGHUP")

	// What needs a restart is said, and nothing else happens to it.
	write(t, p.dir, "conf/ipcd.conf.d/x.toml", "[limits]\nconnections = 400\n[socket.more]\npath = \"/nonexistent/s\"\n")
	check("400", "")

	// Each of that was an event, in this order.
	for _, want := range []string{
		`{"event":"reloaded","why":"FILE changed","config":"FILE","changed":"limits.connections"}`,
		`{"event":"refused","why":"FILE changed","file":"FILE","line":2,"error":"limits.connections must be from 1 to 1000000, not 0"}`,
		`"file":"FILE","line":3,"error":"unknown key \"limits.inputs\"; did you mean \"input\"?"}`,
		`"why":"IPCD.RELOAD","file":"FILE","line":2,`,
		`"why":"IPCD.RELOAD","config":"FILE","changed":"limits.connections"}`,
		`"why":"SIGHUP",`,
		` socket.more"}`,
	} {
		until(t, events, strings.ReplaceAll(want, "FILE", config))
	}
	p.stop()
	for _, want := range []string{
		"limits.connections changed from 100 to 200", "limits.connections changed from 250 to 300", "limits.connections changed from 300 to 400",
		"the configuration was rejected: the one of before is kept, until it is right", "reason=SIGHUP", "reason=IPCD.RELOAD", "ipcd.toml changed",
		"socket.more added: takes effect at the next start",
	} {
		if !strings.Contains(p.stderr.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

// subscribe gives a connection that gets events.
func (p *process) subscribe(filter string) *ipc.Conn {
	p.t.Helper()
	events := p.dial()
	if _, err := events.Do("BUS.SUB", filter, "RAW"); err != nil {
		p.t.Fatal(err)
	}
	return events
}

// until reads events up to one whose payload contains a text.
func until(t *testing.T, events *ipc.Conn, text string) {
	t.Helper()
	for {
		v, err := events.Receive()
		switch {
		case err != nil:
			t.Fatalf("no event has %s: %v", text, err)
		case len(v.Elems) == 10 && strings.Contains(v.Elems[3].Str, text):
			return
		}
	}
}

// TestReloadBuiltIn: without a file there is nothing to be wrong.
func TestReloadBuiltIn(t *testing.T) {
	p := begin(t)
	if v := p.do("IPCD.RELOAD"); v.Str != "OK" {
		t.Errorf("got %+v", v)
	}
	if v := p.do("IPCD.STATUS"); !strings.Contains(v.Get("config").Str, "built-in settings") {
		t.Errorf("got %+v", v)
	}
	p.stop()
}

// token takes a lock and gives it back.
func (p *process) token() uint64 {
	p.t.Helper()
	c := p.dial()
	defer func() { _ = c.Close() }()
	v, err := c.Do("LOCK.ACQUIRE", "a")
	if err == nil {
		_, err = c.Do("LOCK.RELEASE", "a")
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return uint64(v.Get("token").Int)
}

// TestStateDirectory: tokens rise from one daemon to the next, whatever the clock says, and two never share a directory.
func TestStateDirectory(t *testing.T) {
	p := begin(t)
	p.stop()
	if !strings.Contains(p.stderr.String(), "no state directory") {
		t.Error("that nothing is kept is not said")
	}
	state := filepath.Join(t.TempDir(), "made", "state")
	last := uint64(0)
	for range 3 {
		p := begin(t, "--state-dir", state)
		if got := p.do("IPCD.STATUS").Get("state_dir").Str; got != state {
			t.Errorf("status says %q", got)
		}
		token := p.token()
		if token <= last {
			t.Errorf("token %d after %d", token, last)
		}
		last = token

		second := prepare(t, "--socket", filepath.Join(p.dir, "other"), "--state-dir", state)
		second.launch()
		want := "pid " + strconv.Itoa(p.cmd.Process.Pid) + " is using it"
		if s := second.status(); s != 71 || !strings.Contains(second.stderr.String(), want) {
			t.Errorf("status %d: %s", s, second.stderr.String())
		}
		if _, err := os.Lstat(filepath.Join(p.dir, "other")); err == nil {
			t.Error("the socket's file is there")
		}
		p.signal(syscall.SIGKILL) // a crash
		p.status()
	}
}

// TestDamagedMark: the daemon says so and goes on from the time of day.
func TestDamagedMark(t *testing.T) {
	state := t.TempDir()
	p := begin(t, "--state-dir", state)
	first := p.token()
	p.stop()
	marks, err := filepath.Glob(filepath.Join(state, "*mark*"))
	if err != nil || len(marks) != 1 {
		t.Fatal(marks, err)
	}
	if err := os.WriteFile(marks[0], []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	p = begin(t, "--state-dir", state)
	if token := p.token(); token <= first {
		t.Errorf("token %d after %d", token, first)
	}
	p.stop()
	if !strings.Contains(p.stderr.String(), "the mark of the lock tokens was damaged") {
		t.Error("it is not said")
	}
}

// TestStateDirectoryUnusable: no daemon is better than one whose tokens may repeat.
