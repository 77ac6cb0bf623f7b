package systemd

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ipcd/ipcd/ipc/wire"
)

const (
	socket     = "/run/ipcd/ipcd.sock"
	configFile = "/etc/ipcd/ipcd.toml"
)

// testActivation has the first command of a client start the daemon.
func testActivation(t *testing.T) {
	listening(t)
	// The listener is PID 1's, so SO_PEERCRED would name that; the daemon says itself who it is.
	conn := connect(t)
	hello, err := conn.Do("HELLO", "3")
	if err != nil {
		t.Fatal(err)
	}
	run(t, "systemctl", "start", "ipcd.service") // waits until systemd has taken note that the daemon is ready
	if state := property(t, "ipcd.service", "ActiveState"); state != "active" {
		t.Errorf("the daemon has answered, its unit is %s", state)
	}
	if got, want := hello.Get("pid").Text(), property(t, "ipcd.service", "MainPID"); got != want {
		t.Errorf("HELLO says pid %s, systemd %s", got, want)
	}
}

// testReadiness shows that a start is not over before the daemon is ready: here one that is held up.
func testReadiness(t *testing.T) {
	const gate = "/run/ipcd-test.gate"
	if err := syscall.Mkfifo(gate, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(gate, 0o666); err != nil {
		t.Fatal(err)
	}
	dropIn(t, "[Service]\nExecStart=\nExecStart=/bin/sh -c 'read go <"+gate+"; exec /usr/bin/ipcd'\n")
	listening(t)
	run(t, "systemctl", "start", "--no-block", "ipcd.service")
	open, err := os.OpenFile(gate, os.O_WRONLY, 0) // waits until the service is there
	if err != nil {
		t.Fatal(err)
	}
	if state := property(t, "ipcd.service", "ActiveState"); state != "activating" {
		t.Errorf("before it is ready the unit is %s", state)
	}
	if _, err := open.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	_ = open.Close()
	run(t, "systemctl", "start", "ipcd.service") // waits for the start that is under way
	if text := property(t, "ipcd.service", "StatusText"); !strings.Contains(text, socket) {
		t.Errorf("systemctl status shows %q", text)
	}
	ping(t)
}

// testJournal shows what an operator can look for.
func testJournal(t *testing.T) {
	now := mark(t)
	running(t)
	daemon, err := user.Lookup("ipcd")
	if err != nil {
		t.Fatal(err)
	}
	now.await(t, map[string]string{
		"IPCD_EVENT":        "ready",
		"IPCD_SOCKETS":      socket,
		"PRIORITY":          "6",
		"SYSLOG_IDENTIFIER": "ipcd",
		"_SYSTEMD_UNIT":     "ipcd.service",
		"_PID":              property(t, "ipcd.service", "MainPID"),
		"_UID":              daemon.Uid,
		"_CAP_EFFECTIVE":    "0",
	})
}

// testAccess lets the group in and nobody else, also after the daemon was stopped and started.
func testAccess(t *testing.T) {
	running(t)
	run(t, "systemctl", "restart", "ipcd.service")
	ping(t)
	const unreachable = 69
	r := ipcctl(t, "stranger", "raw", "PING")
	if r.status != unreachable || !strings.Contains(r.stderr, "permission denied") {
		t.Errorf("a stranger: %+v", r)
	}
	if info, err := os.Stat("/var/lib/ipcd"); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the state directory: %v, %v", info, err)
	}
}

// testStamp shows that a message bears its sender's unit.
func testStamp(t *testing.T) {
	running(t)
	messages, err := dial(t).Subscribe(t.Context(), "stamp/#")
	if err != nil {
		t.Fatal(err)
	}
	run(t, "systemd-run", "--quiet", "--collect", "--uid=member", "--unit=talker", "ipcctl", "pub", "stamp/x", "hello")
	m, err := messages.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if member := credential(t, "member"); m.Unit != "talker.service" || m.UID != int(member.Uid) || string(m.Payload) != "hello" {
		t.Errorf("got %+v", m)
	}
}

// testLock follows a lock that a unit holds: who holds it, and how that ended.
func testLock(t *testing.T) {
	running(t)
	c := dial(t)
	events, err := c.Subscribe(t.Context(), "ipcd/lock/+/backup")
	if err != nil {
		t.Fatal(err)
	}
	next := func(event string) (payload map[string]any) {
		t.Helper()
		m, err := events.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(m.Payload, &payload); err != nil {
			t.Fatal(err)
		}
		if payload["event"] != event {
			t.Fatalf("got %s, want %s", m.Payload, event)
		}
		return payload
	}

	run(t, "systemd-run", "--quiet", "--collect", "--uid=member", "--unit=holder", "ipcctl", "lock", "--why=test", "backup", "sleep", "infinity")
	if e := next("acquired"); e["unit"] != "holder.service" {
		t.Errorf("the event says %v", e)
	}
	holders := do(t, c, "LOCK.INFO", "backup").Get("holders").Elems
	if len(holders) != 1 {
		t.Fatalf("%d holders", len(holders))
	}
	for field, want := range map[string]string{
		"unit": "holder.service", "pid": property(t, "holder.service", "MainPID"), "bound": "process", "why": "test",
		"uid": strconv.Itoa(int(credential(t, "member").Uid)),
	} {
		if got := holders[0].Get(field).Text(); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}

	run(t, "systemctl", "stop", "holder.service")
	if e := next("released"); e["unit"] != "holder.service" {
		t.Errorf("the event says %v", e)
	}
	info := do(t, c, "LOCK.INFO", "backup")
	if n := len(info.Get("holders").Elems); n != 0 {
		t.Errorf("%d holders of a lock of which the holder was stopped", n)
	}
}

// testExamples starts the two example units that exclude each other: the second one waits for the first, and gets the lock
// however that ends.
func testExamples(t *testing.T) {
	running(t)
	units := []string{"backup.service", "scrub.service"}
	run(t, "systemd-analyze", append([]string{"verify", "--man=no"}, units...)...)
	t.Cleanup(func() {
		run(t, "systemctl", append([]string{"stop"}, units...)...)
		_ = execute(t, exec.Command("systemctl", append([]string{"reset-failed"}, units...)...)) // fails if none has
	})
	c := dial(t)
	events, err := c.Subscribe(t.Context(), "ipcd/lock/+/disk")
	if err != nil {
		t.Fatal(err)
	}
	want := func(event, unit string) {
		t.Helper()
		for {
			m, err := events.Next(t.Context())
			if err != nil {
				t.Fatalf("%s %s: %v", event, unit, err)
			}
			var payload struct{ Event, Unit string }
			if err := json.Unmarshal(m.Payload, &payload); err != nil {
				t.Fatal(err)
			}
			if payload.Event == event && payload.Unit == unit {
				return
			}
		}
	}
	alone := func(unit string) {
		t.Helper()
		holders := do(t, c, "LOCK.INFO", "disk").Get("holders").Elems
		if len(holders) != 1 || holders[0].Get("unit").Str != unit || holders[0].Get("pid").Text() != property(t, unit, "MainPID") {
			t.Errorf("held by %v, want the main process of %s alone", holders, unit)
		}
	}
	run(t, "systemctl", "start", "backup.service")
	want("acquired", "backup.service")
	alone("backup.service")
	run(t, "systemctl", "start", "scrub.service")
	want("waiting", "scrub.service")
	alone("backup.service")
	run(t, "systemctl", "stop", "backup.service")
	want("acquired", "scrub.service")
	alone("scrub.service")
	run(t, "systemctl", "start", "backup.service")
	want("waiting", "backup.service")
	run(t, "systemctl", "kill", "--signal=KILL", "scrub.service")
	want("acquired", "backup.service")
	alone("backup.service")
}

// configure writes the daemon's configuration for the time of a test.
func configure(t *testing.T, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(configFile), 0o755); err != nil {
		t.Fatal(err)
	}
	// As a whole, or the daemon, which watches the file, might see half of it.
	if err := os.WriteFile(configFile+"~", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(configFile+"~", configFile); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(configFile) })
}

// subscribes is how many filters this user may have, at most 4. Afterwards it has none.
func subscribes(t *testing.T) int {
	t.Helper()
	conn := connect(t)
	defer func() {
		if _, err := conn.Do("BUS.UNSUB"); err != nil {
			t.Error(err)
		}
	}()
	for n := range 4 {
		_, err := conn.Do("BUS.SUB", "filter/"+strconv.Itoa(n), "RAW")
		var refused *wire.Error
		if errors.As(err, &refused) && refused.Code == wire.CodeQuota {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return 4
}

// testReload shows that the new configuration is in force when systemctl returns.
func testReload(t *testing.T) {
	running(t)
	pid := property(t, "ipcd.service", "MainPID")
	now := mark(t)
	for want := 1; want <= 3; want++ {
		configure(t, "[limits]\nsubscriptions_per_user = "+strconv.Itoa(want)+"\n")
		run(t, "systemctl", "reload", "ipcd.service")
		if n := subscribes(t); n != want {
			t.Errorf("%d filters after the reload, want %d", n, want)
		}
	}
	now.await(t, map[string]string{"IPCD_EVENT": "reload", "PRIORITY": "6", "IPCD_REASON": "IPCD.RELOAD"})
	if state := property(t, "ipcd.service", "ActiveState"); state != "active" {
		t.Errorf("afterwards the unit is %s", state)
	}
	if after := property(t, "ipcd.service", "MainPID"); after != pid {
		t.Errorf("process %s has become %s", pid, after)
	}
}

// testRejected shows that a wrong configuration fails the reload and nothing else.
func testRejected(t *testing.T) {
	configure(t, "[limits]\nsubscriptions_per_user = 2\n")
	running(t)
	pid := property(t, "ipcd.service", "MainPID")
	now := mark(t)
	configure(t, "[limits]\nsubscriptions_per_user = 3\nsubscriptoins = 4\n")
	if r := execute(t, exec.Command("systemctl", "reload", "ipcd.service")); r.status == 0 {
		t.Error("the reload has succeeded")
	}
	now.await(t, map[string]string{"IPCD_EVENT": "reload-failed", "PRIORITY": "3", "MESSAGE": configFile + ":3: *subscriptoins*"})
	if n := subscribes(t); n != 2 {
		t.Errorf("%d filters, as if the rejected configuration were in force", n)
	}
	if state := property(t, "ipcd.service", "ActiveState"); state != "active" {
		t.Errorf("afterwards the unit is %s", state)
	}
	if after := property(t, "ipcd.service", "MainPID"); after != pid {
		t.Errorf("process %s has become %s", pid, after)
	}
}

// testWatchdog stops the daemon's process, which is what a stuck loop looks like from outside.
func testWatchdog(t *testing.T) {
	dropIn(t, "[Service]\nWatchdogSec=1s\n")
	running(t)
	pid := mainPID(t)
	now := mark(t)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	now.await(t, map[string]string{"_PID": strconv.Itoa(pid), "MESSAGE": "SIGABRT: abort"}) // the stacks come after it
	now.started(t)
	ping(t)
	if again := mainPID(t); again == pid {
		t.Errorf("the main process is still %d", pid)
	}
}

// testKilled shows that a daemon that dies is back, and that clients which come meanwhile wait for it.
func testKilled(t *testing.T) {
	running(t)
	pid := mainPID(t)
	now := mark(t)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ping(t)
	now.started(t)
	if again := mainPID(t); again == pid {
		t.Errorf("the main process is still %d", pid)
	}
}

// testRestart shows that what a process holds outlives the daemon, whatever happens to its unit, and that the directory of the
// journal, which makes that possible, leaves the socket's as it was.
func testRestart(t *testing.T) {
	running(t)
	ctx, cancel := context.WithCancel(t.Context())
	holder := exec.CommandContext(ctx, "ipcctl", "lock", "--why=nightly", "backup", "--", "sleep", "infinity")
	t.Cleanup(func() {
		cancel()
		_ = holder.Wait() // it is killed
	})
	events, err := dial(t).Subscribe(ctx, "ipcd/lock/acquired/backup")
	if err == nil {
		err = holder.Start()
	}
	if err == nil {
		_, err = events.Next(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	held := func() (holders []string) {
		c := dial(t)
		defer func() { _ = c.Close() }()
		for _, h := range do(t, c, "LOCK.INFO", "backup").Get("holders").Elems {
			holders = append(holders, h.Get("pid").Text()+" "+h.Get("token").Text()+" "+h.Get("why").Str)
		}
		return holders
	}
	before := held()
	if len(before) != 1 || !strings.HasPrefix(before[0], strconv.Itoa(holder.Process.Pid)+" ") || !strings.HasSuffix(before[0], " nightly") {
		t.Fatalf("held by %q", before)
	}
	files := func() string {
		return run(t, "stat", "--format=%n %U %G %a", "/run/ipcd", socket, "/run/ipcd/state")
	}
	const want = "/run/ipcd root root 755\n/run/ipcd/ipcd.sock ipcd ipc 660\n/run/ipcd/state ipcd ipcd 700"
	for _, step := range []struct {
		name    string
		restart func()
	}{
		{"restarted", func() { run(t, "systemctl", "restart", "ipcd.service") }},
		{"killed", func() {
			now := mark(t)
			if err := syscall.Kill(mainPID(t), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			now.started(t)
		}},
		{"stopped", func() {
			run(t, "systemctl", "stop", "ipcd.service")
			run(t, "systemctl", "start", "ipcd.service")
		}},
		{"failed", func() {
			badStart(t)
			run(t, "systemctl", "reset-failed", "ipcd.service", "ipcd.socket")
			run(t, "systemctl", "start", "ipcd.socket", "ipcd.service")
		}},
		{"stopped with its socket", func() {
			run(t, "systemctl", "stop", "ipcd.socket", "ipcd.service")
			run(t, "systemctl", "start", "ipcd.socket", "ipcd.service")
		}},
		{"restarted by another manager", func() {
			run(t, "systemctl", "daemon-reexec")
			run(t, "systemctl", "restart", "ipcd.service")
		}},
		{"upgraded", func() {
			run(t, "systemctl", "daemon-reload")
			run(t, "systemctl", "try-restart", "ipcd.service")
		}},
	} {
		pid := mainPID(t)
		step.restart()
		if after := held(); !slices.Equal(after, before) || mainPID(t) == pid {
			t.Errorf("%s: held by %q, and by %q before", step.name, after, before)
		}
		if got := files(); got != want {
			t.Errorf("%s: the files are\n%s\nwant\n%s", step.name, got, want)
		}
		if damaged := do(t, dial(t), "IPCD.STATUS").Get("state_damaged").Str; damaged != "" {
			t.Errorf("%s: damaged: %s", step.name, damaged)
		}
	}
}

// badStart restarts the service in a way that fails, once: an attempt that systemd makes by itself may be under way when the cause is gone
// already, and whoever starts the service then is told how that attempt ends.
func badStart(t *testing.T) {
	t.Helper()
	const dir = "/run/systemd/system/ipcd.service.d"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/bad.conf", []byte("[Service]\nExecStart=\nExecStart=/usr/bin/ipcd --wrong\nRestart=no\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "systemctl", "daemon-reload")
	if r := execute(t, exec.Command("systemctl", "restart", "ipcd.service")); r.status == 0 {
		t.Error("the start has succeeded")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	run(t, "systemctl", "daemon-reload")
}

// testRestartWaiting shows that who waits for a lock waits on.
func testRestartWaiting(t *testing.T) {
	running(t)
	events, err := dial(t).Subscribe(t.Context(), "ipcd/lock/waiting/backup")
	if err != nil {
		t.Fatal(err)
	}
	run(t, "ipcctl", "hold", "-m", "new disk", "backup")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	waiter := exec.CommandContext(ctx, "ipcctl", "lock", "-v", "backup", "--", "echo", "done")
	var out, messages strings.Builder
	waiter.Stdout, waiter.Stderr = &out, &messages
	if err := waiter.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := events.Next(ctx); err != nil {
		t.Fatal(err)
	}
	run(t, "systemctl", "restart", "ipcd.service")
	run(t, "ipcctl", "release", "backup")
	if err := waiter.Wait(); err != nil || out.String() != "done\n" {
		t.Errorf("%v: %s", err, out.String())
	}
	if !strings.Contains(messages.String(), "ipcctl: ipcd was restarted: waiting for backup anew\n") {
		t.Errorf("it says %q", messages.String())
	}
}

func mainPID(t *testing.T) int {
	t.Helper()
	pid, err := strconv.Atoi(property(t, "ipcd.service", "MainPID"))
	if err != nil || pid == 0 {
		t.Fatalf("no main process: %v", err)
	}
	return pid
}

// dropIn changes the service for the time of a test.
func dropIn(t *testing.T, text string) {
	t.Helper()
	const dir = "/run/systemd/system/ipcd.service.d"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/test.conf", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "systemctl", "daemon-reload")
	t.Cleanup(func() {
		_ = os.RemoveAll(dir)
		run(t, "systemctl", "daemon-reload")
	})
}

// testStop stops the socket, and with it the service.
func testStop(t *testing.T) {
	running(t)
	now := mark(t)
	run(t, "systemctl", "stop", "ipcd.socket")
	now.await(t, map[string]string{"IPCD_EVENT": "stop", "_SYSTEMD_UNIT": "ipcd.service"})
	for unit, properties := range map[string]map[string]string{
		"ipcd.service": {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"},
		"ipcd.socket":  {"ActiveState": "inactive", "Result": "success"},
	} {
		for name, want := range properties {
			if got := property(t, unit, name); got != want {
				t.Errorf("%s of %s is %s, want %s", name, unit, got, want)
			}
		}
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there (%v)", err)
	}
}

// testUserInstance runs the daemon of one user, which no other reaches.
func testUserInstance(t *testing.T) {
	member := credential(t, "member")
	uid := strconv.Itoa(int(member.Uid))
	manager := "user@" + uid + ".service"
	run(t, "systemctl", "start", "dbus.socket", manager)
	t.Cleanup(func() { run(t, "systemctl", "stop", manager) })
	runtimeDir := "/run/user/" + uid
	as := func(c *syscall.Credential, name string, args ...string) result {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+runtimeDir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c}
		return execute(t, cmd)
	}
	if r := as(member, "systemctl", "--user", "start", "ipcd.socket"); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	if r := as(member, "ipcctl", "--user", "raw", "PING"); r != (result{stdout: "PONG"}) {
		t.Errorf("PING: %+v", r)
	}
	// It answers before systemd has heard that it is ready: to start it is to wait for that.
	if r := as(member, "systemctl", "--user", "start", "ipcd.service"); r.status != 0 {
		t.Errorf("start: %+v", r)
	}
	if r := as(member, "systemctl", "--user", "is-active", "ipcd.service"); r.stdout != "active" {
		t.Errorf("is-active: %+v", r)
	}
	if r := as(member, "systemctl", "--user", "reload", "ipcd.service"); r.status != 0 {
		t.Errorf("reload: %+v", r)
	}
	succeeds := func(words ...string) string {
		t.Helper()
		r := as(member, words[0], words[1:]...)
		if r.status != 0 {
			t.Fatalf("%q: %+v", words, r)
		}
		return r.stdout
	}
	succeeds("systemd-run", "--user", "--quiet", "--unit=holder", "sleep", "infinity")
	pid := succeeds("systemctl", "--user", "show", "--property=MainPID", "--value", "holder.service")
	succeeds("ipcctl", "--user", "acquire", "--pid", pid, "held")
	for _, verb := range []string{"restart", "stop", "start"} {
		succeeds("systemctl", "--user", verb, "ipcd.service")
	}
	if out := succeeds("ipcctl", "--user", "locks", "held"); !strings.Contains(out, pid) {
		t.Errorf("after a stop and a start: held by %q, want %s", out, pid)
	}
	if r := as(credential(t, "stranger"), "ipcctl", "--user", "raw", "PING"); !strings.Contains(r.stderr, "permission denied") {
		t.Errorf("a stranger: %+v", r)
	}
	if r := as(member, "systemctl", "--user", "stop", "ipcd.socket"); r.status != 0 {
		t.Errorf("stop: %+v", r)
	}
}
