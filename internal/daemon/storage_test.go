package daemon

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/state"
	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/ipc/wire"
)

// mount mounts a tmpfs for the test, where that is allowed.
func mount(t *testing.T, dir, options string) {
	t.Helper()
	testenv.Allowed(t, "mount a tmpfs", syscall.Mount("tmpfs", dir, "tmpfs", 0, options))
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func remount(t *testing.T, dir string, flag uintptr, options string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flag, options); err != nil {
		t.Fatal(err)
	}
}

// fill leaves no room on a disk, until the file that it returns is removed.
func fill(t *testing.T, dir string) (filler string) {
	t.Helper()
	filler = filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 8<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	return filler
}

// degraded begins a daemon that cannot write its state, and says so.
func degraded(t *testing.T, args ...string) *process {
	t.Helper()
	p := begin(t, args...)
	if problem := p.do("IPCD.STATUS").Get("state_problem").Str; !strings.Contains(problem, "token-mark: cannot raise the token mark: ") {
		t.Errorf("status says %q", problem)
	}
	p.logged("a file of the state cannot be written")
	return p
}

// mended waits until the service manager is told that all is well.
func (p *process) mended() {
	p.t.Helper()
	for wait := time.After(patience); ; {
		select {
		case text := <-p.told:
			if text != "STATUS=listening on "+p.socket {
				continue
			}
		case <-wait:
			p.t.Fatal("it is not mended")
		}
		break
	}
	// What was being written meanwhile may fail now, as there was no room when it began. It is tried again, too.
	for deadline := time.Now().Add(patience); ; {
		problem := p.do("IPCD.STATUS").Get("state_problem")
		if problem.Str == "" && !problem.IsNull() {
			break
		}
		if problem.IsNull() || time.Now().After(deadline) {
			p.t.Fatalf("status says %+v", problem)
		}
	}
	p.logged("event=state-mended file=token-mark")
}

// crash kills it.
func (p *process) crash() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.status()
}

// TestStateFull: a full disk neither keeps the daemon from starting nor loses what is held. It begins above the mark that is there.
// What an operator holds is refused. All is as ever when there is room.
func TestStateFull(t *testing.T) {
	state := t.TempDir()
	mount(t, state, "size=1m")
	p := begin(t, "--state-dir", state)
	p.do("LOCK.ACQUIRE", "held", "FOR", strconv.Itoa(os.Getpid()))
	p.do("LOCK.ACQUIRE", "hold", "FOR", "nobody")
	p.crash()
	last, err := os.ReadFile(filepath.Join(state, "token-mark"))
	if err != nil {
		t.Fatal(err)
	}
	filler := fill(t, state)
	for range 2 {
		p = degraded(t, "--state-dir", state)
		p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "held", "OWNER", "other", "WAIT", "0")
		p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "hold", "WAIT", "0")
		p.refused(wire.CodeIO, "LOCK.ACQUIRE", "other", "FOR", "nobody")
		if token := strconv.FormatInt(p.tokenOf("new"), 10); token <= strings.Fields(string(last))[2] {
			t.Errorf("token %s after the mark %s", token, last)
		}
		p.crash()
	}
	p = degraded(t, "--state-dir", state)
	events := p.subscribe("ipcd/status/#")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	p.mended()
	until(t, events, `{"event":"problem","problem":""}`)
	p.do("LOCK.ACQUIRE", "other", "FOR", "nobody")
	p.crash()
	p = begin(t, "--state-dir", state)
	for _, name := range []string{"held", "hold", "other"} {
		p.refused(wire.CodeBusy, "LOCK.ACQUIRE", name, "OWNER", "other", "WAIT", "0")
	}
	p.stop()
}

// TestStateFullAtFirst: with no room from the beginning, nothing is granted that should outlive the daemon until there is, and what
// ends with a connection is.
func TestStateFullAtFirst(t *testing.T) {
	state := t.TempDir()
	mount(t, state, "size=1m")
	filler := fill(t, state)
	p := degraded(t, "--state-dir", state)
	p.refused(wire.CodeIO, "LOCK.ACQUIRE", "held", "FOR", strconv.Itoa(os.Getpid()))
	p.refused(wire.CodeIO, "LOCK.ACQUIRE", "held", "LEASE", "60000")
	c := p.dial()
	for _, words := range [][]string{{"LOCK.ACQUIRE", "held", "WAIT", "0"}, {"LOCK.RELEASE", "held"}} {
		if _, err := c.Do(words...); err != nil {
			t.Errorf("%q: %v", words, err)
		}
	}
	_ = c.Close()
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	p.mended()
	p.do("LOCK.ACQUIRE", "held", "FOR", strconv.Itoa(os.Getpid()))
	p.crash()
	p = begin(t, "--state-dir", state)
	p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "held", "OWNER", "other", "WAIT", "0")
	p.stop()
}

// TestJournalFullAtFirst: with no room for the journal's rows since the boot, what operators hold is held all the same, and again after
// the next start, whatever there is room for then.
func TestJournalFullAtFirst(t *testing.T) {
	state, run := t.TempDir(), t.TempDir()
	mount(t, run, "size=64k") // which is enough for what the files begin with
	begin := func() *process {
		p := prepare(t)
		p.cmd.Args = append(p.cmd.Args, "--socket", p.socket)
		p.cmd.Env = append(p.cmd.Env, "RUNTIME_DIRECTORY="+run, "STATE_DIRECTORY="+state)
		p.launch().ready()
		return p
	}
	p := begin()
	p.refused(wire.CodeIO, "LOCK.ACQUIRE", "a", "FOR", "nobody")
	p.crash()
	remount(t, run, 0, "size=1m")
	p = begin()
	p.do("LOCK.ACQUIRE", "a", "FOR", "nobody")
	p.crash()
	reboot(t, run)
	remount(t, run, 0, "size=64k")
	for range 2 {
		p = begin()
		p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "a", "WAIT", "0")
		p.crash()
	}
	remount(t, run, 0, "size=1m")
	for range 2 {
		p = begin()
		p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "a", "WAIT", "0")
		p.crash()
	}
}

// TestStateReadOnly: what can be read counts; what ends meanwhile is not held again when the directory can be written.
func TestStateReadOnly(t *testing.T) {
	state := t.TempDir()
	mount(t, state, "size=1m")
	p := begin(t, "--state-dir", state)
	p.do("LOCK.ACQUIRE", "held", "FOR", strconv.Itoa(os.Getpid()))
	p.do("LOCK.ACQUIRE", "over", "FOR", strconv.Itoa(os.Getpid()))
	p.crash()
	remount(t, state, syscall.MS_RDONLY, "")
	p = degraded(t, "--state-dir", state)
	p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "held", "OWNER", "other", "WAIT", "0")
	p.do("LOCK.RELEASE", "over")
	second := prepare(t, "--socket", filepath.Join(p.dir, "other"), "--state-dir", state)
	second.launch()
	if s := second.status(); s != 71 || !strings.Contains(second.stderr.String(), "is using it") {
		t.Errorf("a second daemon: status %d: %s", s, second.stderr.String())
	}
	remount(t, state, 0, "")
	p.mended()
	p.crash()
	p = begin(t, "--state-dir", state)
	p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "held", "OWNER", "other", "WAIT", "0")
	p.do("LOCK.ACQUIRE", "over", "WAIT", "0")
	p.stop()
}

// TestStateNoDirectory: where there is no directory, and cannot be one.
func TestStateNoDirectory(t *testing.T) {
	p := degraded(t, "--state-dir", "/dev/null/state")
	p.do("LOCK.ACQUIRE", "a")
	p.refused(wire.CodeIO, "LOCK.ACQUIRE", "b", "FOR", strconv.Itoa(os.Getpid()))
	p.refused(wire.CodeIO, "LOCK.ACQUIRE", "b", "FOR", "nobody")
	p.stop()
}

// TestStateFileSize: under ulimit -f, whatever it is, the daemon starts and serves, and what cannot be kept is not granted.
func TestStateFileSize(t *testing.T) {
	for _, blocks := range []string{"0", "1", "8", "64", "1000"} {
		state := t.TempDir()
		p := prepare(t)
		p.cmd.Path = "/bin/sh"
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		p.cmd.Args = []string{"sh", "-c", "ulimit -f " + blocks + `; exec "$0" "$@"`, exe, "ipcd", "--socket", p.socket, "--state-dir", state}
		p.launch()
		p.ready()
		for _, name := range []string{"a", "b", "c"} {
			p.do("LOCK.ACQUIRE", "bound to the connection: "+name)
			if blocks == "1000" {
				p.do("LOCK.ACQUIRE", name, "FOR", strconv.Itoa(os.Getpid()))
			} else {
				p.refused(wire.CodeIO, "LOCK.ACQUIRE", name, "FOR", strconv.Itoa(os.Getpid()))
			}
		}
		problem := p.do("IPCD.STATUS").Get("state_problem").Str
		if (problem == "") != (blocks == "1000") || problem != "" && !strings.Contains(problem, "file too large") {
			t.Errorf("%s blocks: status says %q", blocks, problem)
		}
		p.crash()
		p = begin(t, "--state-dir", state)
		if blocks == "1000" {
			p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "c", "OWNER", "other", "WAIT", "0")
		}
		p.stop()
	}
}

// TestStateFileReplaced: whatever is in the place of a file of the state, it is neither followed nor waited for, and no reason not
// to start.
func TestStateFileReplaced(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other")
	for kind, plant := range map[string]func(string) error{
		"directory": func(p string) error { return os.MkdirAll(filepath.Join(p, "in it"), 0o700) },
		"fifo":      func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"link":      func(p string) error { return os.Symlink(other, p) },
	} {
		for _, name := range []string{"token-mark", "holds", "done", "lock", journalName + ".1", journalName + ".2"} {
			t.Run(kind+" "+name, func(t *testing.T) {
				if err := os.WriteFile(other, []byte("untouched"), 0o600); err != nil {
					t.Fatal(err)
				}
				state := t.TempDir()
				p := begin(t, "--state-dir", state)
				p.do("LOCK.ACQUIRE", "held", "FOR", strconv.Itoa(os.Getpid()))
				p.do("LOCK.ACQUIRE", "hold", "FOR", "nobody")
				p.crash()
				path := filepath.Join(state, name)
				if err := errors.Join(os.RemoveAll(path), plant(path)); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					p = begin(t, "--state-dir", state)
					p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "held", "OWNER", "other", "WAIT", "0")
					p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "hold", "WAIT", "0")
					p.do("LOCK.ACQUIRE", name, "FOR", "nobody")
					p.do("LOCK.RELEASE", name)
					if problem := p.do("IPCD.STATUS").Get("state_problem").Str; problem != "" {
						t.Errorf("status says %q", problem)
					}
					p.crash()
				}
				if text, err := os.ReadFile(other); string(text) != "untouched" {
					t.Errorf("another file is now %.40q, %v", text, err)
				}
			})
		}
	}
}

// TestStateTriedAgain: what cannot be written is tried again as often as it takes.
func TestStateTriedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	mark, err := state.OpenMark(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mark.Close() }()
	d := &daemon{mark: mark, storage: newStorage(), log: slog.New(slog.DiscardHandler)}
	_, save, err := openTable(d, "holds", record.CheckOperatorHolds)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	save(nil, func(err error) { failed <- err })
	if err := <-failed; err == nil {
		t.Fatal("it can be written")
	}
	for range 3 {
		for _, again := range d.storage.tries() {
			again()
		}
		if problem, _ := d.storage.texts(); problem == "" {
			t.Fatal("it is mended")
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, again := range d.storage.tries() {
		again()
	}
	if problem, _ := d.storage.texts(); problem != "" {
		t.Errorf("it is not mended: %s", problem)
	}
}
