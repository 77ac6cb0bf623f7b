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

// A life is a pipe with a name: when all who have opened it have ended, it ends.
type life struct {
	t    *testing.T
	path string
	file *os.File
}

func newLife(t *testing.T) *life {
	t.Helper()
	l := &life{t: t, path: filepath.Join(t.TempDir(), "life")}
	if err := unix.Mkfifo(l.path, 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if l.file, err = os.OpenFile(l.path, os.O_RDONLY|unix.O_NONBLOCK, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.file.Close() })
	return l
}

// over waits until nobody is left who had it.
func (l *life) over() {
	l.t.Helper()
	if err := l.file.SetReadDeadline(time.Now().Add(patience)); err != nil {
		l.t.Fatal(err)
	}
	if _, err := io.ReadAll(l.file); err != nil {
		l.t.Fatalf("somebody is left: %v", err)
	}
}

// script is one of which two processes have the life, and which says when they do.
func (l *life) script() string {
	return `exec 3>"` + l.path + `"; sleep 1000 & echo ready; wait`
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
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	l.over()
}
