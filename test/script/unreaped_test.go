package script

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/test/testdaemon"
)

// A parent starts "ipcctl lock z" and does not wait for it, while a daemon without any privilege watches.
type parent struct {
	*testing.T
	events *ipc.Conn
	child  *exec.Cmd
}

func newParent(t *testing.T) *parent {
	t.Helper()
	d := testdaemon.Start(t, testdaemon.Config{UID: 4321, Env: []string{"GORACE=" + gorace}})
	t.Setenv("IPCD_SOCKET", d.Socket)
	t.Setenv("GORACE", gorace)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := ipc.DialConn(ctx, d.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	for _, words := range [][]string{{"HELLO", "3"}, {"BUS.SUB", "ipcd/lock/#"}} {
		if _, err := conn.Do(words...); err != nil {
			t.Fatal(err)
		}
	}
	return &parent{T: t, events: conn}
}

// await waits for an event of the lock, and gives how a hold ended.
func (p *parent) await(event string) string {
	p.Helper()
	for {
		v, err := p.events.Receive()
		if err != nil {
			p.Fatalf("no event %s: %v", event, err)
		}
		if len(v.Elems) > 3 && v.Elems[2].Str == "ipcd/lock/"+event+"/z" {
			var e struct{ How string }
			if err := json.Unmarshal([]byte(v.Elems[3].Str), &e); err != nil {
				p.Fatal(err)
			}
			return e.How
		}
	}
}

// crash has a holder end, and returns when the daemon has said how, as far as it knows.
func (p *parent) crash(script, want string) {
	p.Helper()
	p.child = exec.Command("ipcctl", "lock", "z", "--", "sh", "-c", script)
	p.child.Stderr = os.Stderr
	if err := p.child.Start(); err != nil {
		p.Fatal(err)
	}
	if how := p.await("abandoned"); how != want {
		p.Errorf("at first: %q, want %q", how, want)
	}
}

// reap collects the status at last, and returns when the daemon has learned it.
func (p *parent) reap(want string) {
	p.Helper()
	_ = p.child.Wait()
	if how := p.await("learned"); how != want {
		p.Errorf("learned %q, want %q", how, want)
	}
}

// lock runs "ipcctl lock OPTION… z", whose command tells what it knows.
func (p *parent) lock(status int, want string, options ...string) {
	p.Helper()
	args := append(append([]string{"lock"}, options...), "z", "--", "sh", "-c", `echo "$IPC_LOCK_PREVIOUS<$IPC_LOCK_ABANDONED>"`)
	cmd := exec.Command("ipcctl", args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		p.Fatal(err)
	}
	got := strings.TrimSpace(string(out))
	if cmd.ProcessState.ExitCode() != status || !regexp.MustCompile("^"+want+"$").MatchString(got) {
		p.Errorf("%q: %v, %q; want %d, %q", options, cmd.ProcessState, got, status, want)
	}
	// It has been reaped, but on a busy machine the daemon may not have seen that in time.
	for how := ""; status == 0 && how != "exited 0"; {
		if how = p.await("released"); how == "unreaped" {
			how = p.await("learned")
		}
	}
}

// TestUnreaped: a crash is told to the next holder also if nobody has waited for the process that crashed, and the daemon may
// not know how it ended.
func TestUnreaped(t *testing.T) {
	testenv.Root(t) // for a daemon of another user
	testenv.Kernel(t, 6, 15, "how a process ended that is not one's child")
	const fail = "--on-abandoned=fail"
	const mayHave = `ipcctl: cannot lock z: it may have been abandoned by pid [0-9]+ \(uid 0.*\) unreaped`

	t.Run("SIGKILL is seen at once", func(t *testing.T) {
		p := newParent(t)
		p.crash("kill -9 $$", "killed 9")
		p.lock(81, `ipcctl: cannot lock z: it was abandoned by pid [0-9]+ \(uid 0.*\) killed 9`, fail)
		_ = p.child.Wait()
	})
	t.Run("another signal when it is reaped", func(t *testing.T) {
		p := newParent(t)
		p.crash("kill $$", "unreaped")
		p.lock(81, mayHave, fail)
		p.reap("killed 15")
		p.lock(81, `ipcctl: cannot lock z: it was abandoned by pid [0-9]+ \(uid 0.*\) killed 15`, fail, "--on-unreaped=run")
	})
	t.Run("an exit, too", func(t *testing.T) {
		p := newParent(t)
		p.crash("exit 0", "unreaped")
		p.lock(81, mayHave, fail)
		p.reap("exited 0")
		p.lock(0, "released<>", fail)

		p.crash("exit 0", "unreaped")
		p.reap("exited 0")
		p.lock(0, "exited 0<>", fail)
	})
	t.Run("who would not wait for that", func(t *testing.T) {
		p := newParent(t)
		p.crash("exit 0", "unreaped")
		p.lock(0, `unreaped<pid [0-9]+ \(uid 0.*\) unreaped>`, fail, "--on-unreaped=run")
		p.lock(0, "exited 0<>", fail) // he has been told
		_ = p.child.Wait()
	})
	t.Run("what is to be done then", func(t *testing.T) {
		p := newParent(t)
		p.crash("exit 3", "unreaped")
		p.lock(81, `ask\n`+mayHave+`; the command of --on-unreaped failed: CMD ended with status 1`, "--on-unreaped=echo ask; exit 1")
		p.lock(0, `ask\nreleased<pid [0-9]+ \(uid 0.*\) unreaped>`, "--on-unreaped=echo ask", fail)
		_ = p.child.Wait()
	})
}
