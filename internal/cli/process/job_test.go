package process

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait. It is there to fail a test that hangs, not to measure.
const patience = 30 * time.Second

// runScript runs a script of sh as a job.
func runScript(ctx context.Context, script, payload string, send func([]byte) error) error {
	return RunJob(ctx, "/bin/sh", []string{"sh", "-c", script}, os.Environ(), []byte(payload), send)
}

// A life is a pipe with a name: when all who have opened it have ended, it ends. By another pipe they are asked whether they are there, and
// answer by the first.
type life struct {
	t         *testing.T
	path, ask string
	file      *os.File
}

func newLife(t *testing.T) *life {
	t.Helper()
	dir := t.TempDir()
	l := &life{t: t, path: filepath.Join(dir, "life"), ask: filepath.Join(dir, "ask")}
	err := errors.Join(unix.Mkfifo(l.path, 0o600), unix.Mkfifo(l.ask, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if l.file, err = os.OpenFile(l.path, os.O_RDONLY|unix.O_NONBLOCK, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.file.Close() })
	return l
}

// over waits until nobody is left who had it. A signal must have been sent to all of them: who is to end by it answers nothing.
func (l *life) over() {
	l.t.Helper()
	if err := l.file.SetReadDeadline(time.Now().Add(patience)); err != nil {
		l.t.Fatal(err)
	}
	ask, err := unix.Open(l.ask, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		_, _ = unix.Write(ask, []byte("\n"))
		_ = unix.Close(ask)
	} else if !errors.Is(err, unix.ENXIO) { // nobody has it
		l.t.Fatal(err)
	}
	if said, err := io.ReadAll(l.file); err != nil || len(said) > 0 {
		l.t.Fatalf("somebody is left: %q, %v", said, err)
	}
}

// script is one of which two processes have the life, and which says when they do. The second answers.
func (l *life) script() string {
	return `exec 3>"` + l.path + `" 4<>"` + l.ask + `"; { read line <&4; echo I am >&3; } & echo ready; wait`
}

// childrenOf are descriptors of the processes that a process has started.
func childrenOf(t *testing.T, pid int) (pidfds []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		text, _ := os.ReadFile(path) // it fails if the process has ended
		_, behind, _ := strings.Cut(string(text), ") ")
		if is := strings.Fields(behind); len(is) < 2 || is[1] != strconv.Itoa(pid) {
			continue
		}
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		fd, err := unix.PidfdOpen(child, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		pidfds = append(pidfds, fd)
	}
	return pidfds
}

// ended waits until all of these processes have.
func ended(t *testing.T, pidfds []int) {
	t.Helper()
	for _, fd := range pidfds {
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if n != 1 {
				t.Fatalf("a process is left: %v", err)
			}
			break
		}
	}
}

// TestRunJob: what CMD prints is passed on; its end, or the last line that it said, is the error.
func TestRunJob(t *testing.T) {
	for _, c := range []struct{ script, out, err string }{
		{"cat; echo done", "payload done\n", ""},
		{"cat >/dev/null; exit 3", "", "CMD ended with status 3"},
		{"kill -9 $$", "", "CMD was killed by signal KILL"},
		{"echo half; echo no >&2; echo '  why ' >&2; echo >&2; exit 1", "half\n", "why"},
		{"echo fine >&2", "", ""},
	} {
		var out strings.Builder
		err := runScript(context.Background(), c.script, "payload ", func(b []byte) error { out.Write(b); return nil })
		said := ""
		if err != nil {
			said = err.Error()
		}
		if out.String() != c.out || said != c.err {
			t.Errorf("%s: %q, %v; want %q, %q", c.script, out.String(), err, c.out, c.err)
		}
	}
}

// TestJobLeavesOthers: what CMD leaves behind in the background is not waited for, and goes on.
func TestJobLeavesOthers(t *testing.T) {
	var out strings.Builder
	err := runScript(context.Background(), "sleep 1000 >/dev/null 2>&1 & echo $!", "", func(b []byte) error { out.Write(b); return nil })
	pid, bad := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil || bad != nil {
		t.Fatalf("%q, %v", out.String(), err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Errorf("it has ended: %v", err)
	}
}

// TestJobEndsWithGroup: when nobody waits for what CMD prints, or it cannot be sent, all processes of its group end.
func TestJobEndsWithGroup(t *testing.T) {
	l := newLife(t)
	ctx, cancel := context.WithCancel(context.Background())
	err := runScript(ctx, l.script(), "", func([]byte) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	l.over()

	l = newLife(t)
	err = runScript(context.Background(), l.script(), "", func([]byte) error { return errors.New("too much") })
	if err == nil || err.Error() != "CMD was killed: too much" {
		t.Errorf("it ended with %v", err)
	}
	l.over()
}

// TestJobEndsWithRestOfGroup: the processes of a group that has lost its first have as long to end as that, and are killed then.
func TestJobEndsWithRestOfGroup(t *testing.T) {
	l := newLife(t)
	ctx, cancel := context.WithCancel(context.Background())
	script := `exec 3>"` + l.path + `" 4<>"` + l.ask + `"; (trap "" TERM; echo ready; read line <&4; echo I am >&3) & wait`
	if err := runScript(ctx, script, "", func([]byte) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	l.over()
}

// TestJobWaitsForRestOfGroup: when the first process of a job has ended, the others of its group are waited for, if they were told to end: as
// long as they take, and no longer, though they may have started others meanwhile.
func TestJobWaitsForRestOfGroup(t *testing.T) {
	l := newLife(t)
	script := `exec 3>"` + l.path + `"; (trap "sh -c : & echo last >&3; exit" TERM; sh -c "echo ready; exec sleep 1000" & wait) & wait`
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Errorf("got %q, %v", line, err)
	}
	j := newJob(cmd.Process)
	defer j.dismiss()
	j.end()
	j.kill = time.Now().Add(10 * patience) // and it is not the time that ends them
	waited := make(chan error, 1)
	go func() {
		_, err := j.wait()
		waited <- err
	}()
	select {
	case err := <-waited:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("those that have ended are waited for")
	}
	for _, fd := range members(func() []byte { return processesOf(cmd.Process.Pid) }, 0, map[int64]bool{int64(j.guard.pid): true}) {
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); n != 1 { // it may be that nobody has waited for it
			t.Errorf("a process is left: %v", err)
		}
		_ = unix.Close(fd)
	}
	if err := l.file.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(l.file); string(said) != "last\n" {
		t.Errorf("its last word is %q, %v", said, err)
	}
}

// TestJobOutlivesNoIpcctl: if the process that runs CMD is killed, all processes of CMD's group are.
func TestJobOutlivesNoIpcctl(t *testing.T) {
	const script = "JOB_TEST_SCRIPT"
	if text := os.Getenv(script); text != "" { // this is that process
		t.Log(runScript(context.Background(), text, "", func(b []byte) error {
			_, err := os.Stdout.Write(b)
			return err
		}))
		return
	}
	l := newLife(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestJobOutlivesNoIpcctl$")
	cmd.Env = append(os.Environ(), script+`=trap "" TERM; `+l.script())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Errorf("got %q, %v", line, err)
	}
	own := childrenOf(t, cmd.Process.Pid) // the first process of CMD, and the one that sees to the others
	if len(own) != 2 {
		t.Errorf("it has %d children", len(own))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	ended(t, own)
	l.over()
}
