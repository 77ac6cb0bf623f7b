package daemon

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/ipcd/ipcd/internal/version"
)

// The test binary is also the daemon, where a test needs a process: "daemon.test ipcd ARG…".
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "ipcd" {
		os.Args = os.Args[1:]
		os.Exit(Main())
	}
	goleak.VerifyTestMain(m)
}

// write makes a file and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// noEnvironment takes away what a service manager around the test may have set.
func noEnvironment(t *testing.T) {
	for _, name := range []string{"CONFIGURATION_DIRECTORY", "STATE_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "JOURNAL_STREAM"} {
		t.Setenv(name, "")
	}
}

func TestCommandLine(t *testing.T) {
	noEnvironment(t)
	long := "/" + strings.Repeat("x", 119)
	nowhere := write(t, t.TempDir(), "ipcd.toml", "[socket.main]\npath = \"/nonexistent/s\"\n")
	for _, c := range []struct {
		args           []string
		status         int
		stdout, stderr string
	}{
		{[]string{"--version"}, 0, "ipcd " + version.String() + "\n", ""},
		{[]string{"-version"}, 0, "ipcd " + version.String() + "\n", ""},
		{[]string{"--help"}, 0, usage, ""},
		{[]string{"-h"}, 0, usage, ""},
		{[]string{"--nonsense"}, 64, "", "ipcd: cannot parse the command line: flag provided but not defined: --nonsense\nhint: ipcd --help\n"},
		{[]string{"--socket"}, 64, "", "ipcd: cannot parse the command line: flag needs an argument: --socket\nhint: ipcd --help\n"},
		{[]string{"--socket", ""}, 64, "", "ipcd: cannot parse the command line: --socket wants a path, not an empty word\nhint: ipcd --help\n"},
		{[]string{"--state-dir="}, 64, "", "ipcd: cannot parse the command line: --state-dir wants a path, not an empty word\nhint: ipcd --help\n"},
		{[]string{"--socket", long}, 64, "", "ipcd: cannot listen on " + long + ": the path of a socket has at most 107 bytes, not 120\nhint: ipcd --help\n"},
		{[]string{"start"}, 64, "", "ipcd: cannot parse the command line: unexpected argument \"start\"\nhint: ipcd --help\n"},
		{[]string{"--check-config", "--config", "/nonexistent.toml"}, 78, "", "ipcd: /nonexistent.toml: cannot read: no such file or directory\n"},
		{[]string{"--config", "/nonexistent.toml"}, 78, "", "ipcd: /nonexistent.toml: cannot read: no such file or directory\n"},
		{[]string{"--config", nowhere}, 71, "", "ipcd: cannot listen on /nonexistent/s: open /nonexistent: no such file or directory\n" +
			"hint: systemctl start ipcd.socket; to run one of your own: ipcd --socket PATH\n"},
		{[]string{"--socket", "/nonexistent/s"}, 71, "", "ipcd: cannot listen on /nonexistent/s: open /nonexistent: no such file or directory\n"},
	} {
		var stdout, stderr bytes.Buffer
		status := run(c.args, &stdout, &stderr)
		if status != c.status || stdout.String() != c.stdout || stderr.String() != c.stderr {
			t.Errorf("%q: %d, %q, %q;\nwant %d, %q, %q", c.args, status, stdout.String(), stderr.String(), c.status, c.stdout, c.stderr)
		}
	}
	for _, line := range strings.Split(usage, "\n") {
		if len(line) > 80 {
			t.Errorf("the usage has a line of %d characters: %s", len(line), line)
		}
	}
}

func TestCheckConfig(t *testing.T) {
	noEnvironment(t)
	dir := t.TempDir()
	check := func(args ...string) (int, string) {
		var stdout, stderr bytes.Buffer
		status := run(append([]string{"--check-config"}, args...), &stdout, &stderr)
		return status, strings.ReplaceAll(stdout.String()+stderr.String(), dir+"/", "")
	}
	main := write(t, dir, "ipcd.toml", "[limits]\nconnections = 10\n")
	write(t, dir, "ipcd.conf.d/10-more.toml", "[log]\nlevel = \"debug\"\n")
	if status, out := check("--config", main); status != 0 || out != "ipcd: the configuration is right (ipcd.toml, ipcd.conf.d/10-more.toml)\n" {
		t.Errorf("%d, %q", status, out)
	}
	t.Setenv("CONFIGURATION_DIRECTORY", dir)
	if status, out := check(); status != 0 || !strings.Contains(out, "ipcd.toml") {
		t.Errorf("by $CONFIGURATION_DIRECTORY: %d, %q", status, out)
	}
	if status, out := check("--socket", "/x"); status != 0 || !strings.Contains(out, "ipcd.toml") {
		t.Errorf("with a socket: %d, %q", status, out)
	}

	// All errors are told, each with its place.
	write(t, dir, "ipcd.toml", "[limits]\nconnections = 0\nconections = 1\n\n[log]\nlevel = \"loud\"\n")
	write(t, dir, "ipcd.conf.d/20-bad.toml", "nonsense = true\n")
	status, out := check("--config", main)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	want := []string{"ipcd: ipcd.toml:2:", "ipcd: ipcd.toml:3:", "ipcd: ipcd.toml:6:", "ipcd: ipcd.conf.d/20-bad.toml:1:"}
	if status != 78 || len(lines) != len(want) {
		t.Fatalf("%d:\n%s", status, out)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("%q, want %s…", lines[i], want[i])
		}
	}
}

// TestConfigPath: a daemon with a socket of its own does not take the system's configuration unless told to.
func TestConfigPath(t *testing.T) {
	noEnvironment(t)
	t.Setenv("CONFIGURATION_DIRECTORY", "/c")
	for _, c := range []struct {
		args string
		path string
		ok   bool
	}{
		{"", "/c/ipcd.toml", true},
		{"--config /f", "/f", true},
		{"--socket /s", "", false},
		{"--socket /s --config /f", "/f", true},
		{"--socket /s --check-config", "/c/ipcd.toml", true},
	} {
		f, err := parse(strings.Fields(c.args))
		if err != nil {
			t.Fatal(err)
		}
		if path, ok := f.configPath(); path != c.path || ok != c.ok {
			t.Errorf("%s: %q, %v; want %q, %v", c.args, path, ok, c.path, c.ok)
		}
	}
	t.Setenv("CONFIGURATION_DIRECTORY", "")
	var f flags
	if path, ok := f.configPath(); path != "/etc/ipcd/ipcd.toml" || !ok {
		t.Errorf("%q, %v", path, ok)
	}
	t.Setenv("STATE_DIRECTORY", "/state")
	if f, err := parse(nil); err != nil || f.stateDir != "/state" {
		t.Errorf("%q, %v", f.stateDir, err)
	}
	if f, err := parse([]string{"--state-dir", "/mine"}); err != nil || f.stateDir != "/mine" {
		t.Errorf("%q, %v", f.stateDir, err)
	}
}

// answers reports whether somebody listens on a socket.
func answers(path string) error {
	c, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	return c.Close()
}
