package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/state"
)

const (
	wrong   = "[limits]\nconections = 5\n"
	mistake = `ipcd.toml:2: unknown key "limits.conections"; did you mean "connections"?`
)

// A site is where daemons are started one after the other: it has a configuration and a state directory.
type site struct {
	t             *testing.T
	config, state string
}

func newSite(t *testing.T, config string) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t, filepath.Join(dir, "ipcd.toml"), filepath.Join(dir, "state")}
	s.configure(config)
	return s
}

// configure puts another file in the place of the configuration.
func (s *site) configure(text string) {
	s.t.Helper()
	write(s.t, filepath.Dir(s.config), "new", text)
	if err := os.Rename(filepath.Join(filepath.Dir(s.config), "new"), s.config); err != nil {
		s.t.Fatal(err)
	}
}

// prepare makes a daemon that has a socket of its own.
func (s *site) prepare() *process {
	s.t.Helper()
	p := prepare(s.t, "--config", s.config, "--state-dir", s.state, "--socket")
	p.cmd.Args = append(p.cmd.Args, p.socket)
	return p
}

// once starts a daemon and stops it.
func (s *site) once() {
	s.t.Helper()
	p := s.prepare()
	p.launch().ready()
	p.stop()
}

// in waits until settings are in force that come from there, allow so many connections, and were not taken from the files
// because of that mistake, if any.
func (p *process) in(from source, connections int64, mistake string) {
	p.t.Helper()
	c := p.dial()
	defer func() { _ = c.Close() }()
	for limit := time.Now().Add(patience); ; {
		v, err := c.Do("IPCD.STATUS")
		if err != nil {
			p.t.Fatal(err)
		}
		rejected := v.Get("config_rejected").Str
		if v.Get("config_source").Str == string(from) && v.Get("connections_limit").Int == connections &&
			strings.Contains(rejected, mistake) && (rejected == "") == (mistake == "") {
			return
		}
		if time.Now().After(limit) {
			p.t.Fatalf("settings from %q, for %d connections, rejected %q; want %q, %d, %q",
				v.Get("config_source").Str, v.Get("connections_limit").Int, rejected, from, connections, mistake)
		}
	}
}

// logged checks that a daemon which has ended has said something.
func (p *process) logged(lines ...string) {
	p.t.Helper()
	for _, line := range lines {
		if !p.stderr.await(line) {
			p.t.Errorf("the log lacks %q", line)
		}
	}
}

// TestStartLastGood: a daemon whose configuration is wrong starts with the one that was in force last, says so everywhere, and
// mends itself when the file is right.
func TestStartLastGood(t *testing.T) {
	s := newSite(t, "limits.connections = 100\n")
	p := s.prepare()
	p.launch().ready()
	p.in(fromFiles, 100, "")
	s.configure("limits.connections = 200\n")
	p.in(fromFiles, 200, "")
	p.stop()

	s.configure(wrong)
	for range 2 { // The second finds what the first has left.
		p = s.prepare()
		p.launch()
		p.expect("READY=1", "STATUS=listening on "+p.socket+"; the configuration was rejected, the last good one is in force: "+s.config+":2: unknown key")
		p.in(fromLastGood, 200, mistake)
		p.stop()
		p.logged("ipcd.toml:2: unknown key", "the configuration was rejected: the last good one is in force, until it is right")
	}

	p = s.prepare()
	p.launch().ready()
	s.configure(strings.ReplaceAll(wrong, "5", "6\ninputs = 1"))
	p.in(fromLastGood, 200, "inputs")
	s.configure("limits.connections = 300\n")
	p.in(fromFiles, 300, "")
	p.expect("RELOADING=1", "MONOTONIC_USEC=", "READY=1", "STATUS=listening on "+p.socket+"; the configuration was rejected",
		"RELOADING=1", "MONOTONIC_USEC=", "READY=1", "STATUS=listening on "+p.socket)
	s.configure(wrong)
	p.in(fromFiles, 300, mistake)
	p.stop()
	p.logged("the configuration was rejected: the one of before is kept, until it is right")

	p = s.prepare()
	p.launch().ready()
	p.in(fromLastGood, 300, mistake)
	p.stop()
}

// TestStartLastGoodDropIns: the last good configuration is all of its files.
func TestStartLastGoodDropIns(t *testing.T) {
	s := newSite(t, "limits.connections = 100\n")
	dropIn := write(t, filepath.Dir(s.config), "ipcd.conf.d/a.toml", "limits.connections = 200\n")
	s.once()
	write(t, filepath.Dir(s.config), "ipcd.conf.d/a.toml", "limits.connections = 0\n")
	p := s.prepare()
	p.launch().ready()
	p.in(fromLastGood, 200, dropIn+":1: ")
	if err := os.Remove(dropIn); err != nil {
		t.Fatal(err)
	}
	p.in(fromFiles, 100, "")
	p.stop()
}

// TestStartUnreadable: what stands where the file should be, and is none, is as bad as a wrong line, and no worse.
func TestStartUnreadable(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"fifo":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"device":    func(path string) error { return os.Symlink("/dev/zero", path) },
		"no file":   func(string) error { return nil },
	} {
		s := newSite(t, "limits.connections = 100\n")
		s.once()
		if err := os.Remove(s.config); err != nil {
			t.Fatal(err)
		}
		if err := plant(s.config); err != nil {
			t.Fatal(name, err)
		}
		p := s.prepare()
		p.launch().ready()
		p.in(fromLastGood, 100, s.config+": cannot read: ")
		p.stop()
	}
}

// TestSocketInStateDirectory: the daemon does not wait for itself, and removes its socket in the end.
func TestSocketInStateDirectory(t *testing.T) {
	p := prepare(t)
	p.cmd.Args = append(p.cmd.Args, "--socket", p.socket, "--state-dir", p.dir)
	p.launch().ready()
	p.stop()
	if _, err := os.Lstat(p.socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket's file is left: %v", err)
	}
}

// TestStartBuiltIn: where there is no last good configuration that can be used, the built-in settings are in force.
func TestStartBuiltIn(t *testing.T) {
	const builtIn = 20_000
	for name, c := range map[string]struct {
		before func(s *site)
		want   string
	}{
		"none": {func(*site) {}, ""},
		"none in force": {func(s *site) {
			s.configure("")
			s.once()
		}, ""},
		"damaged": {func(s *site) {
			s.configure("limits.connections = 100\n")
			s.once()
			write(t, s.state, lastGoodName, "nonsense")
		}, "cannot read the last good configuration"},
		"of another version": {func(s *site) {
			s.configure("limits.connections = 100\n")
			s.once()
			mark, err := state.OpenMark(s.state)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = mark.Close() }()
			l, err := openLastGood(mark, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			rows := l.table.Rows()
			rows[0].Text = "limits.of_a_newer_one = 1\n"
			if err := l.table.Save(rows); err != nil {
				t.Fatal(err)
			}
		}, "cannot use the last good configuration"},
	} {
		s := newSite(t, wrong)
		c.before(s)
		s.configure(wrong)
		p := s.prepare()
		p.launch().ready()
		from := fromBuiltIn
		if name == "none in force" { // but an empty file
			from = fromLastGood
		}
		p.in(from, builtIn, mistake)
		p.stop()
		p.logged(c.want)
		if from == fromBuiltIn {
			p.logged("the configuration was rejected: the built-in settings are in force, until it is right")
		}
	}
}

// TestStartActivated: a socket that was passed is served whatever the configuration says.
func TestStartActivated(t *testing.T) {
	p := activate(t, "main", func(*process) string { return wrong })
	p.launch().ready()
	p.in(fromBuiltIn, 20_000, mistake)
	p.stop()
}

// TestStartRefused: it is not safe to guess where to listen, and a person who waits for what the daemon says is told.
func TestStartRefused(t *testing.T) {
	s := newSite(t, wrong)
	p := prepare(t, "--config", s.config, "--state-dir", s.state)
	p.launch()
	if got := p.status(); got != 78 {
		t.Errorf("status %d", got)
	}
	p.logged("ipcd.toml:2: unknown key", "ipcd: cannot start: the configuration is wrong, and nothing else says where to listen\n")

	s.configure("")
	s.once()
	s.configure(wrong)
	p = s.prepare()
	p.cmd.Env = p.cmd.Env[:len(p.cmd.Env)-1] // NOTIFY_SOCKET
	p.launch()
	if got, want := p.status(), "ipcd: "+s.config+":2: unknown key \"limits.conections\"; did you mean \"connections\"?\n"; got != 78 || p.stderr.String() != want {
		t.Errorf("status %d: %s", got, p.stderr.String())
	}
}

// TestSocketMissing: a socket that cannot be made does not take away those that are there.
func TestSocketMissing(t *testing.T) {
	missing := "[socket.extra]\npath = \"/nonexistent/s\"\n"
	const why = "cannot listen on /nonexistent/s: open /nonexistent: no such file or directory"
	check := func(p *process) {
		t.Helper()
		p.launch()
		p.expect("READY=1", "STATUS=listening on "+p.socket+"; "+why)
		v := p.do("IPCD.STATUS")
		if got := v.Get("sockets_failed").Str; got != why || v.Get("socket_main").Str != p.socket || v.Get("socket_extra").Str != "" {
			t.Errorf("status says %q", got)
		}
		p.stop()
		p.logged("a socket of the configuration is missing until the next start", why)
	}
	check(activate(t, "main", func(*process) string { return missing }))
	s := newSite(t, missing)
	check(s.prepare())

	// Also one that another daemon has, if the main one was passed: but who was passed none is one daemon too many.
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	taken := fmt.Sprintf("[socket.extra]\npath = %q\n", l.Addr())
	p := activate(t, "main", func(*process) string { return taken })
	p.launch().ready()
	p.stop()
	p.logged("another daemon answers there")
	s.configure(taken)
	p = s.prepare()
	p.launch()
	if got := p.status(); got != 69 {
		t.Errorf("status %d", got)
	}

	// By hand it is an error.
	s.configure(missing)
	p = s.prepare()
	p.cmd.Env = p.cmd.Env[:len(p.cmd.Env)-1] // NOTIFY_SOCKET
	p.launch()
	if got := p.status(); got != 71 {
		t.Errorf("status %d", got)
	}
}
