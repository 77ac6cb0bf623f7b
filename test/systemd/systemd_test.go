// Package systemd tests ipcd as it is installed: its units, under a systemd that is real and of this test's own.
//
// On the machine, TestSystemd builds the programs, lays out a tree like a package's, and has the script run boot a
// container from it, in which this same test binary runs again. There, with IPCD_TEST_INSIDE set, it is root of a
// machine that is its own: the tests start, stop and break things at will, one after the other, and clean up what would
// be in the way of the next. One of them:
//
//	go test -v -run TestSystemd/watchdog ./test/systemd
//
// Nothing sleeps and nothing polls. systemctl waits for its jobs; all else that happens is told by the journal, which
// is followed from a mark set before (see journal), or by ipcd's own messages.
package systemd

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/internal/transcript"
)

// inside is set in the environment inside the container.
const inside = "IPCD_TEST_INSIDE"

// patience is for everything that is expected to happen: far more than it takes.
const patience = time.Minute

// patienceWithAll is how long all tests in the container together may take.
const patienceWithAll = 12 * time.Minute

func TestSystemd(t *testing.T) {
	if os.Getenv(inside) == "" {
		runInside(t)
		return
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"readme", testReadme},
		{"units", testUnits},
		{"exposure", testExposure},
		{"activation", testActivation},
		{"readiness", testReadiness},
		{"journal", testJournal},
		{"access", testAccess},
		{"stamp", testStamp},
		{"lock", testLock},
		{"signals", testSignals},
		{"mixed", testMixed},
		{"relay", testRelay},
		{"group", testGroup},
		{"group-exited", testGroupExited},
		{"scope", testScope},
		{"parent", testParent},
		{"examples", testExamples},
		{"reload", testReload},
		{"rejected", testRejected},
		{"mistake", testMistake},
		{"mistake-first", testMistakeFirst},
		{"broken", testBroken},
		{"killed-often", testKilledOften},
		{"hint", testHint},
		{"watchdog", testWatchdog},
		{"killed", testKilled},
		{"restart", testRestart},
		{"restart-waiting", testRestartWaiting},
		{"stop", testStop},
		{"user", testUserInstance},
	} {
		t.Run(test.name, test.run)
	}
}

// runInside runs the chosen tests in a container.
func runInside(t *testing.T) {
	testenv.Systemd(t)
	testenv.Need(t, "go", "make")
	tree := t.TempDir()
	build(t, tree)
	ctx, cancel := context.WithTimeout(t.Context(), patienceWithAll)
	defer cancel()
	cmd := exec.CommandContext(ctx, "./run", tree, "env", inside+"=1", "/usr/libexec/ipcd-test",
		"-test.v", "-test.timeout="+(patienceWithAll-time.Minute).String(), "-test.run="+flag.Lookup("test.run").Value.String())
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = patience
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Run(); err != nil {
		t.Errorf("in the container: %v", err)
	}
}

// build installs ipcd in tree, as make install does, and what the tests need besides.
func build(t *testing.T, tree string) {
	t.Helper()
	cmd := exec.Command("make", "--no-print-directory", "-C", "../..", "install", "PGO=off", "DESTDIR="+tree)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		"testdata/sysusers.conf": "usr/lib/sysusers.d/ipcd-test.conf",
		"../../README.md":        readme,
		self:                     "usr/libexec/ipcd-test",

		"../../docs/examples/backup.service": "usr/lib/systemd/system/backup.service",
		"../../docs/examples/scrub.service":  "usr/lib/systemd/system/scrub.service",
		"testdata/busy":                      "usr/local/bin/backup",
	} {
		install(t, from, filepath.Join(tree, to))
	}
	install(t, "testdata/busy", filepath.Join(tree, "usr/local/bin/scrub"))
}

// readme is where README.md is inside the container.
const readme = "/usr/share/doc/ipcd/README.md"

// testReadme shows that the installation goes as README says.
func testReadme(t *testing.T) {
	transcript.Run(t, readme, "systemd", t.TempDir())
	run(t, "systemctl", "disable", "--now", "ipcd.socket")
	run(t, "systemctl", "stop", "ipcd.service")
}

func install(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, info.Mode()); err != nil {
		t.Fatal(err)
	}
}
