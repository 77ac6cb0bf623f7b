package testdaemon

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait here. It is there to fail a test that hangs, not to measure: a machine may be busy.
const patience = 2 * time.Minute

// A Daemon is a running ipcd.
type Daemon struct {
	Socket string // where it listens
	Dir    string // holds its socket, configuration and state

	t      testing.TB
	uid    int      // who runs it; 0: who runs the test
	args   []string // the program and what it is told, but for the socket
	env    []string
	under  []string
	passed *os.File
	cmd    *exec.Cmd
	stderr buffer
	said   chan struct{} // closed when its log says that it is ready
	exited chan struct{} // closed when it has ended and all of stderr is read
	err    error         // of Wait; to be read after exited
	seen   bool          // the end was looked at: by Stop, or by the test itself
}

// Config is how to start a daemon. The zero value is a daemon with the built-in settings.
type Config struct {
	TOML  string   // the content of its configuration file, "" for none
	Env   []string // added to the environment: "NAME=value"
	UID   int      // who runs it, if the test is root's; 0: who runs the test
	Quick bool     // do not check all invariants in every turn, which takes time by the number of connections
}

// Start runs a daemon until the test ends.
func Start(t testing.TB, c Config) *Daemon {
	t.Helper()
	d := Command(t, c)
	d.Run()
	return d
}

// Command prepares a daemon: a test may still change where it listens and what is in its directory.
func Command(t testing.TB, c Config) *Daemon {
	t.Helper()
	d := &Daemon{t: t, Dir: shortDir(t)}
	d.Socket = filepath.Join(d.Dir, "ipcd.sock")
	d.args = []string{Program(t, "ipcd"), "--state-dir", d.State()}
	if err := os.Mkdir(d.State(), 0o700); err != nil {
		t.Fatal(err)
	}
	d.env = slices.Concat([]string{"GORACE=atexit_sleep_ms=0"}, os.Environ(), c.Env) // or each would take a second to exit
	if !c.Quick {
		d.env = append(d.env, "IPCD_VERIFY=1")
	}
	if c.UID != 0 && os.Getuid() == 0 {
		d.uid = c.UID
	}
	if c.TOML != "" {
		d.Configure(c.TOML)
		d.args = append(d.args, "--config", d.config())
	}
	return d
}

// State is its state directory.
func (d *Daemon) State() string { return filepath.Join(d.Dir, "state") }

// Under has the daemon started by a command from now on, such as prlimit(1), that becomes what the rest of its words name.
// Without words it is started as it is.
func (d *Daemon) Under(command ...string) { d.under = command }

// Pass has the daemon started with a listening socket from now on, as systemd does it: clients who come while it is down wait
// in the socket's queue.
func (d *Daemon) Pass(listener *os.File) { d.passed = listener }

func (d *Daemon) config() string { return filepath.Join(d.Dir, "ipcd.toml") }

// Configure replaces the content of the configuration file.
func (d *Daemon) Configure(toml string) {
	d.t.Helper()
	if err := os.WriteFile(d.config(), []byte(toml), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// Run starts the daemon and waits until it is ready.
func (d *Daemon) Run() {
	d.t.Helper()
	if !d.Try() {
		d.t.Fatalf("ipcd did not start: %v\n%s", d.err, d.stderr.String())
	}
}

// Try starts the daemon, and reports whether it is ready: else it has ended.
func (d *Daemon) Try() bool {
	d.t.Helper()
	ready, err := d.Launch()
	if err != nil {
		d.t.Fatal(err)
	}
	select {
	case <-ready:
		return true
	case <-d.said: // it may not have been able to tell
		return true
	case <-d.exited:
		d.seen = true
	case <-time.After(patience):
		d.t.Fatalf("ipcd is not ready after %v", patience)
	}
	return false
}

// Launch starts the daemon. The channel is closed when it says that it is ready.
func (d *Daemon) Launch() (ready <-chan struct{}, err error) {
	d.t.Helper()
	// Readiness is told as to systemd.
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(d.Dir, "notify"), Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	words := append(append(slices.Clone(d.under), d.args...), "--socket", d.Socket)
	if d.passed != nil {
		words = append([]string{"sh", "-c", `export LISTEN_PID=$$; exec "$@"`, "sh"}, words...)
	}
	d.cmd = exec.Command(words[0], words[1:]...)
	d.cmd.Env = append(slices.Clone(d.env), "NOTIFY_SOCKET="+notify.LocalAddr().String())
	if d.passed != nil {
		d.cmd.ExtraFiles = []*os.File{d.passed}
		d.cmd.Env = append(d.cmd.Env, "LISTEN_FDS=1", "LISTEN_FDNAMES=main")
	}
	if d.uid != 0 {
		d.cmd.Path = "/proc/self/fd/3" // it may not go by /proc to what this process has open
		d.cmd.ExtraFiles = []*os.File{program(d.t, "ipcd")}
		d.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(d.uid), Gid: uint32(d.uid)}}
	}
	said := make(chan struct{})
	d.said, d.cmd.Stderr = said, &watcher{buffer: &d.stderr, said: said}
	if err := d.giveAway(); err != nil {
		_ = notify.Close()
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		_ = notify.Close()
		return nil, err
	}
	if d.exited == nil {
		d.t.Cleanup(d.end)
	}
	exited := make(chan struct{})
	d.exited, d.seen = exited, false
	go func() {
		d.err = d.cmd.Wait()
		_ = notify.Close()
		_ = os.Remove(notify.LocalAddr().String()) // for the next one
		close(exited)
	}()
	told := make(chan struct{})
	go func() {
		b := make([]byte, 4096)
		for said := false; ; {
			n, err := notify.Read(b)
			if err != nil {
				return
			}
			if !said && bytes.Contains(b[:n], []byte("READY=1")) {
				said = true
				close(told)
			}
		}
	}()
	return told, nil
}

// giveAway has the directory, and what is in it, belong to the user who runs the daemon.
func (d *Daemon) giveAway() error {
	if d.uid == 0 {
		return nil
	}
	return filepath.WalkDir(d.Dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, d.uid, d.uid)
	})
}

// PID is the number of its process.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Signal sends it a signal.
func (d *Daemon) Signal(sig syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.t.Errorf("cannot send %v to ipcd: %v", sig, err)
	}
}

// Wait waits for the daemon to end by itself and returns its exit status and what it wrote to stderr.
func (d *Daemon) Wait() (status int, stderr string) {
	d.t.Helper()
	d.seen = true
	select {
	case <-d.exited:
	case <-time.After(patience):
		// SIGABRT has the Go runtime print where every goroutine is.
		_ = d.cmd.Process.Signal(syscall.SIGABRT)
		<-d.exited
		d.t.Errorf("ipcd did not end within %v", patience)
		d.t.Logf("%s", d.stderr.String())
	}
	d.checkLog()
	return d.cmd.ProcessState.ExitCode(), d.stderr.String()
}

// Stop ends the daemon as systemd does, and has the test fail if that does not go well.
func (d *Daemon) Stop() {
	d.t.Helper()
	d.Signal(syscall.SIGTERM)
	if status, _ := d.Wait(); status != 0 {
		d.t.Errorf("ipcd ended with %v", d.err)
	}
}

// Restart starts the daemon again, with the same socket, configuration and state, after it was stopped in whatever way.
func (d *Daemon) Restart() {
	d.t.Helper()
	<-d.exited
	d.Run()
}

// Kill ends the daemon by SIGKILL.
func (d *Daemon) Kill() {
	d.t.Helper()
	d.Signal(syscall.SIGKILL)
	d.Wait()
}

// Down ends the daemon by SIGKILL if it has not ended by itself.
func (d *Daemon) Down() {
	d.t.Helper()
	_ = d.cmd.Process.Kill() // it may have ended
	d.Wait()
}

// end is what happens to a daemon at the end of its test.
func (d *Daemon) end() {
	if !d.seen {
		select {
		case <-d.exited:
			d.t.Errorf("ipcd ended by itself: %v", d.err)
			d.checkLog()
		default:
			d.Stop()
		}
	}
	<-d.exited
	if d.t.Failed() {
		d.t.Logf("ipcd's last words:\n%s", tail(d.stderr.String(), 30))
	}
}

// tail is the last n lines of a text.
func tail(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

// checkLog looks for what the daemon must never say.
func (d *Daemon) checkLog() {
	d.t.Helper()
	log := d.stderr.String()
	for _, bad := range []string{"panic:", "fatal error:", "DATA RACE", "event=bug"} {
		if strings.Contains(log, bad) {
			d.t.Errorf("ipcd said %q", bad)
		}
	}
}

// Log is what the daemon has written to stderr so far, its end if it is long.
func (d *Daemon) Log() string { return d.stderr.String() }

// RSS is the memory that the daemon has now, and the most it had, in bytes.
func (d *Daemon) RSS() (now, peak int) {
	d.t.Helper()
	b, err := os.ReadFile(d.proc("status"))
	if err != nil {
		d.t.Fatal(err)
	}
	field := func(name string) int {
		_, rest, _ := strings.Cut(string(b), "\n"+name+":")
		n, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			d.t.Fatal(err)
		}
		return n << 10
	}
	return field("VmRSS"), field("VmHWM")
}

// CPU is the processor time that the daemon has used.
func (d *Daemon) CPU() time.Duration {
	d.t.Helper()
	tasks, err := filepath.Glob(d.proc("task/*/schedstat"))
	if err != nil {
		d.t.Fatal(err)
	}
	var sum time.Duration
	for _, path := range tasks {
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread ended
		}
		if err != nil {
			d.t.Fatal(err)
		}
		var ns int64
		if _, err := fmt.Sscan(string(b), &ns); err != nil {
			d.t.Fatalf("cannot read %s: %v", path, err)
		}
		sum += time.Duration(ns)
	}
	return sum
}

// Descriptors is how many the daemon has open.
func (d *Daemon) Descriptors() int {
	d.t.Helper()
	entries, err := os.ReadDir(d.proc("fd"))
	if err != nil {
		d.t.Fatal(err)
	}
	return len(entries)
}

func (d *Daemon) proc(file string) string { return fmt.Sprintf("/proc/%d/%s", d.PID(), file) }

// shortDir is a t.TempDir whose name is short enough for the address of a Unix socket in it.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ipcd-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Program is the path of one of our programs, which is built once. No file is left of it: it is run by its open descriptor.
func Program(t testing.TB, name string) string {
	t.Helper()
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), program(t, name).Fd())
}

func program(t testing.TB, name string) *os.File {
	t.Helper()
	f, err := programs[name]()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The daemon is built with the race detector if the test is. ipcctl is not: many of it are started.
var programs = map[string]func() (*os.File, error){
	"ipcd":   sync.OnceValues(func() (*os.File, error) { return build("ipcd", Race) }),
	"ipcctl": sync.OnceValues(func() (*os.File, error) { return build("ipcctl", false) }),
}

func build(name string, race bool) (*os.File, error) {
	dir, err := os.MkdirTemp("", "ipcd-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // nothing depends on it
	path := filepath.Join(dir, name)
	// In its own module: the test may be one of a module that has no use for what ipcd is made of.
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/ipcd/ipcd").Output()
	if err != nil {
		return nil, fmt.Errorf("cannot find ipcd's module: %w", err)
	}
	cmd := exec.Command("go", "build", "-buildvcs=false", "-pgo=off", "-race="+strconv.FormatBool(race), "-o", path, "./cmd/"+name)
	cmd.Dir = strings.TrimSpace(string(module))
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot build %s: %w\n%s", name, err, out)
	}
	return os.Open(path) // as long as this process lives
}

// buffer keeps the end of what is written to it.
type buffer struct {
	mu sync.Mutex
	b  []byte
}

const bufferSize = 256 << 10

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b = append(b.b, p...)
	if len(b.b) > 2*bufferSize {
		b.b = append([]byte("…"), b.b[len(b.b)-bufferSize:]...)
	}
	return len(p), nil
}

// A watcher passes on what a daemon writes, and notices when it says that it is ready. A record is written at once.
type watcher struct {
	*buffer
	said chan struct{}
	once sync.Once
}

func (w *watcher) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("event=ready")) {
		w.once.Do(func() { close(w.said) })
	}
	return w.buffer.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.b)
}
