package systemd

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// testSignals compares what a command of a unit ignores and blocks with what it does under ipcctl. By default, it is to
// ignore SIGPIPE.
func testSignals(t *testing.T) {
	running(t)
	file := filepath.Join(t.TempDir(), "status")
	signals := func(command ...string) string {
		t.Helper()
		unit := []string{"--quiet", "--collect", "--property=Type=oneshot", "--property=StandardOutput=truncate:" + file}
		run(t, "systemd-run", slices.Concat(unit, command, []string{"grep", "-E", "^Sig(Ign|Blk):", "/proc/self/status"})...)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out := string(text)
		if _, ignored, _ := strings.Cut(out, "SigIgn:\t"); len(ignored) < 16 || ignored[12] != '1' { // others may be ignored all around
			t.Errorf("%v: SIGPIPE is not ignored:\n%s", command, out)
		}
		return out
	}
	want := signals()
	for _, way := range [][]string{{"lock", "x"}, {"lock", "--on-lost=TERM", "x"}, {"lock", "--scope", "x"}, {"once", "signals", "--"}} {
		if got := signals(slices.Concat([]string{"ipcctl"}, way)...); got != want {
			t.Errorf("ipcctl %v:\n%s\nwant\n%s", way, got, want)
		}
	}
}

// testMixed: what is under lock --on-lost in a unit with KillMode=mixed is told once that the unit stops. Without ipcctl it is, too.
func testMixed(t *testing.T) {
	running(t)
	const unit = "mixed.service"
	c := dial(t)
	said, err := c.Subscribe(t.Context(), "mixed/+")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	expect := func(topic string) {
		t.Helper()
		if m, err := said.Next(ctx); err != nil || m.Topic != topic {
			t.Fatalf("%q, %v; want %q", m.Topic, err, topic)
		}
	}
	const command = `trap 'ipcctl pub -q mixed/TERM' TERM
		trap 'ipcctl pub -q mixed/USR1' USR1
		trap 'exit 0' USR2
		sleep infinity &
		ipcctl pub -q mixed/ready
		while :; do wait; done`
	for _, way := range [][]string{nil, {"ipcctl", "lock", "--on-lost=TERM", "mixed"}} {
		run(t, "systemd-run", slices.Concat([]string{"--quiet", "--collect", "--unit=" + unit, "--property=KillMode=mixed"}, way, []string{"sh", "-c", command})...)
		expect("mixed/ready")
		stop := exec.CommandContext(ctx, "systemctl", "stop", unit)
		if err := stop.Start(); err != nil {
			t.Fatal(err)
		}
		expect("mixed/TERM")
		// A second SIGTERM would have been sent by now: it would be told before what is sent last.
		run(t, "systemctl", "kill", "--kill-whom=main", "--signal=USR1", unit)
		expect("mixed/USR1")
		run(t, "systemctl", "kill", "--kill-whom=main", "--signal=USR2", unit)
		if err := stop.Wait(); err != nil {
			t.Errorf("stop: %v", err)
		}
		do(t, c, "BUS.PUB", "mixed/end", "")
		expect("mixed/end")
		if r := ipcctl(t, "root", "lock", "-n", "mixed", "true"); r != (result{}) {
			t.Errorf("afterwards: %+v", r)
		}
	}
}
