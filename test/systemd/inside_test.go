package systemd

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"os/user"
	"path"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// result is what a command said.
type result struct {
	stdout, stderr string
	status         int
}

// execute runs a command to its end, whatever that is. It kills one that takes too long.
func execute(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	err := cmd.Wait()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return result{strings.TrimSpace(stdout.String()), strings.TrimSpace(stderr.String()), cmd.ProcessState.ExitCode()}
}

// run runs a command that must succeed and returns its output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	r := execute(t, exec.Command(name, args...))
	if r.status != 0 {
		t.Fatalf("%s %s: status %d\n%s\n%s", name, strings.Join(args, " "), r.status, r.stdout, r.stderr)
	}
	return r.stdout
}

// ipcctl runs ipcctl as a user, with that user's groups.
func ipcctl(t *testing.T, name string, args ...string) result {
	t.Helper()
	cmd := exec.Command("ipcctl", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential(t, name)}
	return execute(t, cmd)
}

func credential(t *testing.T, name string) *syscall.Credential {
	t.Helper()
	number := func(s string) uint32 {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(n)
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	groups, err := u.GroupIds()
	if err != nil {
		t.Fatal(err)
	}
	c := &syscall.Credential{Uid: number(u.Uid), Gid: number(u.Gid)}
	for _, g := range groups {
		c.Groups = append(c.Groups, number(g))
	}
	return c
}

// property returns a property of a unit.
func property(t *testing.T, unit, name string) string {
	t.Helper()
	return run(t, "systemctl", "show", "--property="+name, "--value", unit)
}

// listening has the socket listen and the daemon not run, as after an installation and a boot. Afterwards nothing runs.
func listening(t *testing.T) {
	t.Helper()
	run(t, "systemctl", "start", "ipcd.socket")
	if state := property(t, "ipcd.service", "ActiveState"); state != "inactive" {
		t.Fatalf("before the test ipcd.service is %s", state)
	}
	t.Cleanup(func() {
		run(t, "systemctl", "stop", "ipcd.socket", "ipcd.service")
		run(t, "systemctl", "reset-failed")
	})
}

// running has the daemon run.
func running(t *testing.T) {
	t.Helper()
	listening(t)
	run(t, "systemctl", "start", "ipcd.service")
}

// ping fails the test unless the daemon answers.
func ping(t *testing.T) {
	t.Helper()
	if r := ipcctl(t, "member", "raw", "PING"); r != (result{stdout: "PONG"}) {
		t.Fatalf("PING: %+v", r)
	}
}

// connect connects this test to the daemon, for one command at a time.
func connect(t *testing.T) *ipc.Conn {
	t.Helper()
	conn, err := ipc.DialConn(t.Context(), "system")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// dial connects this test to the daemon.
func dial(t *testing.T) *ipc.Client {
	t.Helper()
	c, err := ipc.Dial(t.Context(), "system")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func do(t *testing.T, c *ipc.Client, words ...string) wire.Value {
	t.Helper()
	v, err := c.Do(t.Context(), words...)
	if err != nil {
		t.Fatalf("%q: %v", words, err)
	}
	return v
}

// journal is a place in the journal.
type journal struct{ cursor string }

// mark is the journal's end: all that was logged so far is before it.
func mark(t *testing.T) journal {
	t.Helper()
	run(t, "journalctl", "--sync")
	out := run(t, "journalctl", "--lines=1", "--output=json")
	var last entry
	if err := json.Unmarshal([]byte(out), &last); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cursor, _ := last["__CURSOR"].(string)
	return journal{cursor}
}

// entry is one of the journal's: fields by name.
type entry map[string]any

// has reports whether the entry has fields with these values, which may be patterns of package path.
func (e entry) has(fields map[string]string) bool {
	for name, pattern := range fields {
		value, _ := e[name].(string)
		if ok, err := path.Match(pattern, value); !ok || err != nil {
			return false
		}
	}
	return true
}

// await returns the first entry after the mark that has these fields. It waits for it.
func (j journal) await(t *testing.T, fields map[string]string) entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// journalctl could look for fields itself, but with --after-cursor it skips the first match (systemd 252).
	cmd := exec.CommandContext(ctx, "journalctl", "--follow", "--no-tail", "--after-cursor="+j.cursor, "--output=json")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait()
	}()
	for entries := json.NewDecoder(stdout); ; {
		var e entry
		if err := entries.Decode(&e); err != nil {
			t.Fatalf("no entry with %q in the journal: %v\n%s", fields, err, run(t, "journalctl", "--after-cursor="+j.cursor))
		}
		if e.has(fields) {
			return e
		}
	}
}

// started waits until systemd has started the daemon after the mark.
func (j journal) started(t *testing.T) {
	t.Helper()
	const unitStarted = "39f53479d3a045ac8e11786248231fbf"
	j.await(t, map[string]string{"UNIT": "ipcd.service", "MESSAGE_ID": unitStarted})
}
