package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A grouped is a unit whose processes hold the lock "grouped" together: one that takes it, and then two commands, each of which runs
// until the test lets it go on.
type grouped struct{ t *testing.T }

const groupedUnit = "grouped.service"

func makeGrouped(t *testing.T, more string) grouped {
	t.Helper()
	const file = "/run/systemd/system/" + groupedUnit
	text := "[Service]\nType=oneshot\nUser=member\nExecStartPre=ipcctl acquire --unit %n grouped\n" + more
	for _, gate := range []string{"one", "two"} {
		fifo := "/run/grouped." + gate
		if err := syscall.Mkfifo(fifo, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(fifo, 0o666); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(fifo) })
		text += "ExecStart=/bin/sh -c 'read go <" + fifo + "; :'\n"
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "systemctl", "daemon-reload")
	t.Cleanup(func() {
		run(t, "systemctl", "stop", groupedUnit)
		_ = execute(t, exec.Command("systemctl", "reset-failed", groupedUnit)) // fails if it has not
		_ = os.Remove(file)
		run(t, "systemctl", "daemon-reload")
	})
	return grouped{t}
}

// start starts it, and returns when its first command runs.
func (g grouped) start() (first *os.File) {
	g.t.Helper()
	run(g.t, "systemctl", "start", "--no-block", groupedUnit)
	return g.command("one")
}

// command returns when a command runs; it ends when the file is closed.
func (g grouped) command(gate string) *os.File {
	g.t.Helper()
	f, err := os.OpenFile("/run/grouped."+gate, os.O_WRONLY, 0)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = f.Close() })
	return f
}

// held fails the test unless the unit holds the lock, by this token if it is not "".
func (g grouped) held(token string) string {
	g.t.Helper()
	r := ipcctl(g.t, "member", "locks", "--json", "grouped")
	if r.status != 0 || !strings.Contains(r.stdout, `"unit":"grouped.service","owner":"/system.slice/grouped.service","bound":"cgroup"`) {
		g.t.Fatalf("held by: %+v", r)
	}
	if r := ipcctl(g.t, "root", "lock", "-n", "grouped", "true"); r.status != 75 {
		g.t.Errorf("somebody else: %+v", r)
	}
	_, rest, _ := strings.Cut(r.stdout, `"token":`)
	now, _, _ := strings.Cut(rest, ",")
	if token != "" && now != token {
		g.t.Errorf("it was granted anew: %s, and not %s", now, token)
	}
	return now
}

// free returns when the lock is free.
func (g grouped) free() {
	g.t.Helper()
	r := ipcctl(g.t, "root", "lock", "-w", "20", "grouped", "sh", "-c", "echo $IPC_LOCK_PREVIOUS")
	if r != (result{stdout: "unknown"}) {
		g.t.Errorf("the next one: %+v", r)
	}
}

// freeze has the unit's processes stop ("1"), or go on ("0"). systemctl does so only when the unit has started.
func (g grouped) freeze(frozen string) {
	g.t.Helper()
	const dir = "/sys/fs/cgroup/system.slice/" + groupedUnit
	if err := os.WriteFile(dir+"/cgroup.freeze", []byte(frozen), 0o600); err != nil {
		g.t.Fatal(err)
	}
	for {
		events, err := os.ReadFile(dir + "/cgroup.events")
		if err != nil {
			g.t.Fatal(err)
		}
		if strings.Contains(string(events), "frozen "+frozen) {
			return
		}
	}
}

// testGroup: a lock that a unit takes is held over all of its commands, and in between, until it is inactive.
func testGroup(t *testing.T) {
	running(t)
	g := makeGrouped(t, "")
	one := g.start()
	token := g.held("")
	_ = one.Close()
	two := g.command("two")
	g.held(token)
	run(t, "systemctl", "restart", "ipcd.service")
	g.held(token)
	run(t, "systemctl", "kill", "--signal=KILL", "ipcd.service")
	g.held(token)
	_ = two.Close()
	g.free()

	g.start()
	g.held("")
	run(t, "systemctl", "stop", groupedUnit)
	g.free()

	g.start()
	g.held("")
	run(t, "systemctl", "kill", "--signal=KILL", groupedUnit)
	g.free()

	one = g.start() // while there is no daemon it ends
	g.held("")
	run(t, "systemctl", "stop", "ipcd.socket", "ipcd.service")
	run(t, "systemctl", "stop", groupedUnit)
	run(t, "systemctl", "start", "ipcd.socket")
	g.free()
	_ = one.Close()

	g.start()
	g.held("")
	g.freeze("1")
	if r := ipcctl(t, "member", "why", "grouped"); !strings.Contains(r.stdout, "grouped.service is frozen, and goes on when its cgroup is thawed: systemctl thaw grouped.service.") {
		t.Errorf("why: %+v", r)
	}
	g.freeze("0")
	if r := ipcctl(t, "root", "break", "-k", "20", "grouped"); r != (result{}) {
		t.Errorf("break: %+v", r)
	}
	if r := ipcctl(t, "root", "lock", "-n", "grouped", "true"); r.status != 0 {
		t.Errorf("after break: %+v", r)
	}
}

// testGroupExited: a unit that remains active, and has nothing left to run, holds no lock.
func testGroupExited(t *testing.T) {
	running(t)
	g := makeGrouped(t, "RemainAfterExit=yes\n")
	one := g.start()
	g.held("")
	_ = one.Close()
	_ = g.command("two").Close()
	run(t, "systemctl", "start", groupedUnit) // waits until it is active
	g.free()
	if state := property(t, groupedUnit, "SubState"); state != "exited" {
		t.Errorf("the unit is %s", state)
	}
}

// testScope: a lock that is held by a scope is held until all that was started in it has ended, and break ends all of it.
func testScope(t *testing.T) {
	running(t)
	out := filepath.Join(t.TempDir(), "child")
	for _, more := range []string{"--status-fd=3", "--on-lost=USR1"} {
		status, err := os.Create(filepath.Join(t.TempDir(), "status"))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("ipcctl", "lock", "--scope", more, "scoped", "--", "sh", "-c", "sleep infinity >/dev/null 2>&1 & echo $! >"+out+"; kill -9 $$")
		cmd.ExtraFiles = []*os.File{status}
		if r := execute(t, cmd); r.status != -1 { // as killed by a signal
			t.Errorf("%s: %+v", more, r)
		}
		if said, err := os.ReadFile(status.Name()); err != nil || strings.HasPrefix(string(said), "run ") != (more == "--status-fd=3") {
			t.Errorf("%s: the status file has %q (%v)", more, said, err)
		}
		_ = status.Close()
		if r := ipcctl(t, "member", "locks", "scoped"); !strings.Contains(r.stdout, "unit\troot\trun-") {
			t.Errorf("%s: held by %+v", more, r)
		}
		if r := ipcctl(t, "root", "break", "-k", "20", "scoped"); r != (result{}) {
			t.Errorf("%s: break: %+v", more, r)
		}
		child, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(child)) + "/stat"); err == nil && !strings.Contains(string(stat), ") Z ") {
			t.Errorf("%s: what the command has started is there: %s", more, stat)
		}
		r := ipcctl(t, "root", "lock", "scoped", "sh", "-c", "echo $IPC_LOCK_PREVIOUS, $IPC_LOCK_ABANDONED")
		if !strings.HasPrefix(r.stdout, "broken, pid ") || !strings.HasSuffix(r.stdout, "killed 9") {
			t.Errorf("%s: the next one: %+v", more, r)
		}
	}
	// The command's status, its end and its process are its own.
	if r := ipcctl(t, "root", "lock", "--scope", "scoped", "sh", "-c", "exit 7"); r != (result{status: 7}) {
		t.Errorf("%+v", r)
	}
	if r := ipcctl(t, "root", "lock", "-w", "20", "scoped", "true"); r != (result{}) {
		t.Errorf("afterwards: %+v", r)
	}
	if r := ipcctl(t, "member", "lock", "--scope", "scoped", "true"); r.status != 71 || !strings.Contains(r.stderr, "cannot make a scope: ") {
		t.Errorf("a user without a manager: %+v", r)
	}
	member := credential(t, "member")
	manager := "user@" + strconv.Itoa(int(member.Uid)) + ".service"
	run(t, "systemctl", "start", "dbus.socket", manager)
	t.Cleanup(func() { run(t, "systemctl", "stop", manager) })
	cmd := exec.Command("ipcctl", "lock", "--scope", "scoped", "ipcctl", "locks", "scoped")
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR=/run/user/"+strconv.Itoa(int(member.Uid)))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: member}
	if r := execute(t, cmd); r.status != 0 || !strings.Contains(r.stdout, "unit\tmember\trun-") {
		t.Errorf("a user with a manager: %+v", r)
	}
}

// testParent: who starts units is no holder, as it never ends.
func testParent(t *testing.T) {
	running(t)
	file := filepath.Join(t.TempDir(), "stderr")
	_ = execute(t, exec.Command("systemd-run", "--quiet", "--collect", "--property=Type=oneshot", "--property=StandardError=truncate:"+file,
		"ipcctl", "acquire", "--parent", "x")) // fails
	said, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(said), "the process that started ipcctl: it is the service manager (process 1), or has ended") {
		t.Errorf("%s", said)
	}
}
