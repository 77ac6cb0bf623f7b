package systemd

import (
	"os"
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
		if !strings.Contains(out, "SigIgn:\t0000000000001000") {
			t.Errorf("%v: SIGPIPE is not what is ignored:\n%s", command, out)
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
