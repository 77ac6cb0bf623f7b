package systemd

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
)

// A client is one that asks the daemon for an answer, and waits.
type client struct {
	cmd *exec.Cmd
	out bytes.Buffer
}

// ask starts a client, as root.
func ask(t *testing.T) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	c := &client{cmd: exec.CommandContext(ctx, "ipcctl", "raw", "PING")}
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.out
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// answered waits for the answer.
func (c *client) answered(t *testing.T) {
	t.Helper()
	if err := c.cmd.Wait(); err != nil || c.out.String() != "PONG\n" {
		t.Errorf("%v: %s", err, c.out.String())
	}
}

// inode tells a socket's file from one that was made anew.
func inode(t *testing.T) uint64 {
	t.Helper()
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

// inForce checks where the settings come from, how many filters they allow, and whether the files are wrong.
func inForce(t *testing.T, source string, filters int, mistake string) {
	t.Helper()
	status, err := connect(t).Do("IPCD.STATUS")
	if err != nil {
		t.Fatal(err)
	}
	if got := status.Get("config_source").Str; got != source {
		t.Errorf("settings from %q, want %q", got, source)
	}
	if n := subscribes(t); n != filters {
		t.Errorf("%d filters, want %d", n, filters)
	}
	text := property(t, "ipcd.service", "StatusText")
	for _, said := range []string{status.Get("config_rejected").Str, text} {
		if !strings.Contains(said, mistake) {
			t.Errorf("it says %q, want %q", said, mistake)
		}
	}
	if mistake == "" && text != "listening on "+socket {
		t.Errorf("systemctl status shows %q", text)
	}
}

const mistake = configFile + `:2: unknown key "limits.subscriptoins"`

// testMistake restarts the daemon with a mistake in its configuration: clients are served with the one of before, what is held
// stays held, and when the mistake is repaired, nobody has to do more.
func testMistake(t *testing.T) {
	configure(t, "[limits]\nsubscriptions_per_user = 2\n")
	running(t)
	socketBefore := inode(t)
	self := strconv.Itoa(os.Getpid())
	run(t, "ipcctl", "acquire", "--pid", self, "held")
	t.Cleanup(func() { run(t, "ipcctl", "release", "--pid", self, "held") })
	inForce(t, "files", 2, "")

	configure(t, "[limits]\nsubscriptoins = 4\n")
	now := mark(t)
	run(t, "systemctl", "restart", "ipcd.service")
	ping(t)
	inForce(t, "last-good", 2, mistake)
	now.await(t, map[string]string{"IPCD_EVENT": "config-rejected", "PRIORITY": "3", "MESSAGE": configFile + ":2: *subscriptoins*"})
	now.await(t, map[string]string{"IPCD_EVENT": "config-rejected", "PRIORITY": "3", "IPCD_SOURCE": "last-good",
		"MESSAGE": "the configuration was rejected: the last good one is in force, until it is right *" + configFile})
	holders := do(t, dial(t), "LOCK.INFO", "held").Get("holders").Elems
	if len(holders) != 1 || holders[0].Get("pid").Text() != self {
		t.Errorf("the lock is held by %v", holders)
	}

	events := mark(t)
	configure(t, "[limits]\nsubscriptions_per_user = 3\n")
	events.await(t, map[string]string{"IPCD_EVENT": "reload"})
	run(t, "systemctl", "reload", "ipcd.service") // so that what the one before told the service manager is there
	inForce(t, "files", 3, "")
	if inode(t) != socketBefore {
		t.Error("the socket was made anew")
	}
}

// testMistakeFirst starts a daemon that never had another configuration than a wrong one.
func testMistakeFirst(t *testing.T) {
	if err := os.RemoveAll("/var/lib/ipcd"); err != nil {
		t.Fatal(err)
	}
	listening(t)
	configure(t, "[limits]\nsubscriptoins = 4\n")
	ping(t)
	run(t, "systemctl", "start", "ipcd.service") // waits until systemd knows what the daemon has told
	inForce(t, "built-in", 4, mistake)
}

// testBroken has a daemon that ends at once, however it does. The socket stays, starts are paced, and the client that came
// meanwhile is answered when there is a daemon that works.
func testBroken(t *testing.T) {
	listening(t)
	before := inode(t)
	for name, c := range map[string]struct {
		command  string
		restarts int
	}{
		"fails":           {"/bin/false", 6}, // more often than systemd's usual limit
		"stops":           {"/bin/true", 2},
		"is not there":    {"/nonexistent", 2},
		"wrong arguments": {"/usr/bin/ipcd --nonsense", 2},
	} {
		t.Run(name, func(t *testing.T) {
			dropIn(t, "[Service]\nExecStart=\nExecStart="+c.command+"\n")
			now := mark(t)
			waiting := ask(t)
			const restartScheduled = "5eb03494b6584870a536b337290809b3"
			last := time.Duration(0)
			for n := 1; n <= c.restarts; n++ {
				e := now.await(t, map[string]string{"UNIT": "ipcd.service", "MESSAGE_ID": restartScheduled, "MESSAGE": fmt.Sprintf("*restart counter is at %d.", n)})
				micros, err := strconv.ParseInt(e["__MONOTONIC_TIMESTAMP"].(string), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				at := time.Duration(micros) * time.Microsecond
				if paced := 250 * time.Millisecond; n > 1 && at-last < paced {
					t.Errorf("restart %d came %v after the one before", n, at-last)
				}
				last = at
			}
			if state := property(t, "ipcd.socket", "ActiveState"); state != "active" {
				t.Errorf("the socket is %s", state)
			}
			if err := os.Remove("/run/systemd/system/ipcd.service.d/test.conf"); err != nil {
				t.Fatal(err)
			}
			run(t, "systemctl", "daemon-reload")
			waiting.answered(t)
			if inode(t) != before {
				t.Error("the socket was made anew")
			}
			run(t, "systemctl", "stop", "ipcd.service")
		})
	}
}

// testKilledOften kills one daemon after the other while clients wait for the next.
func testKilledOften(t *testing.T) {
	running(t)
	before := inode(t)
	for range 10 {
		now := mark(t)
		if err := syscall.Kill(mainPID(t), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		c := ask(t)
		now.started(t)
		c.answered(t)
	}
	if inode(t) != before {
		t.Error("the socket was made anew")
	}
}

// testHint follows the hint that clients get when the socket is gone: stopped, or failed because systemd could not start a
// service of which the unit was wrong.
func testHint(t *testing.T) {
	follow := func(t *testing.T) {
		t.Helper()
		r := ipcctl(t, "member", "raw", "PING")
		_, hint, ok := strings.Cut(r.stderr, "\nhint: ")
		if r.status != 69 || !ok {
			t.Fatalf("PING: %+v", r)
		}
		run(t, "sh", "-c", hint)
		ping(t)
	}
	listening(t)
	run(t, "systemctl", "stop", "ipcd.socket")
	follow(t)
	run(t, "systemctl", "stop", "ipcd.socket", "ipcd.service")
	run(t, "systemctl", "start", "ipcd.socket")

	t.Run("wrong unit", func(t *testing.T) {
		dropIn(t, "[Service]\nExecStart=\n")
		now := mark(t)
		if _, err := ipc.Dial(t.Context(), "system"); err == nil {
			t.Error("a daemon answers")
		}
		now.await(t, map[string]string{"UNIT": "ipcd.socket", "MESSAGE": "*Failed with result*"})
	})
	follow(t)
}
