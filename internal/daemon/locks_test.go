package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ipcd/ipcd/internal/state"
	"github.com/ipcd/ipcd/ipc/wire"
)

// refused sends a command on a connection of its own, which has to be refused.
func (p *process) refused(code wire.Code, words ...string) {
	p.t.Helper()
	c := p.dial()
	defer func() { _ = c.Close() }()
	if v, err := c.Do(words...); !errors.Is(err, &wire.Error{Code: code}) {
		p.t.Errorf("%q: got %+v, %v; want %s", words, v, err, code)
	}
}

// TestOperatorsHold: what nobody holds outlives whoever took it and the daemon, however that ends, and a reboot.
func TestOperatorsHold(t *testing.T) {
	dir := t.TempDir()
	p := begin(t, "--state-dir", dir)
	token := p.do("LOCK.ACQUIRE", "a", "FOR", "nobody", "WHY", "new disk").Get("token").Int
	p.do("LOCK.ACQUIRE", "brief", "FOR", "nobody", "LEASE", "1")
	for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		p.signal(end)
		p.status()
		if end == syscall.SIGTERM {
			reboot(t, dir)
		}
		p = begin(t, "--state-dir", dir)
		if holder := p.do("LOCK.INFO", "a").Get("holders").Elems[0]; holder.Get("token").Int != token || holder.Get("why").Str != "new disk" {
			t.Errorf("got %+v", holder)
		}
		p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "a", "WAIT", "0")
		p.do("LOCK.ACQUIRE", "brief") // the lease was over
		if next := p.tokenOf("other"); next <= token {
			t.Errorf("token %d after %d", next, token)
		}
	}
	p.do("LOCK.RELEASE", "a")
	p.signal(syscall.SIGKILL)
	p.status()
	p = begin(t, "--state-dir", dir)
	p.do("LOCK.ACQUIRE", "a", "WAIT", "0")
	p.stop()
}

// TestOperatorsHoldAfterAStartCutShort: the first start after a boot may end between making the journal and writing to it.
func TestOperatorsHoldAfterAStartCutShort(t *testing.T) {
	dir := t.TempDir()
	p := begin(t, "--state-dir", dir)
	p.do("LOCK.ACQUIRE", "a", "FOR", "nobody")
	p.stop()
	reboot(t, dir)
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	j, err := state.OpenJournal(dir, journalName, strings.TrimSpace(string(boot)), decode)
	if err == nil {
		err = j.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p = begin(t, "--state-dir", dir)
		p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "a", "WAIT", "0")
		p.stop()
	}
	reboot(t, dir)
	p = begin(t, "--state-dir", dir)
	p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "a", "WAIT", "0")
	p.stop()
}

// tokenOf takes a lock on a connection that ends.
func (p *process) tokenOf(name string) int64 {
	p.t.Helper()
	return p.do("LOCK.ACQUIRE", name).Get("token").Int
}

// TestHoldsOutlive: what a process holds outlives the daemon, however that ends, in the runtime directory, and damage to one of
// the copies there. Damage to both costs no more than what it hits, which is told.
func TestHoldsOutlive(t *testing.T) {
	run, socket := t.TempDir(), filepath.Join(t.TempDir(), "s")
	var p *process
	begin := func() {
		t.Helper()
		p = prepare(t, "--socket", socket)
		p.socket = socket
		p.cmd.Env = append(p.cmd.Env, "RUNTIME_DIRECTORY="+filepath.Join(run, "state")+":/nowhere")
		p.launch().ready()
	}
	begin()
	token := p.do("LOCK.ACQUIRE", "mine", "FOR", strconv.Itoa(os.Getpid()), "WHY", "nightly").Get("token").Int
	p.do("LOCK.ACQUIRE", "lease", "LEASE", "3600000")
	p.do("LOCK.ACQUIRE", "conn")
	copies := [2]string{filepath.Join(run, "state", journalName+".1"), filepath.Join(run, "state", journalName+".2")}
	for i, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM} {
		p.signal(end)
		p.status()
		switch i {
		case 2:
			damage(t, copies[0], `"lease"`)
		case 3:
			if err := os.Remove(copies[1]); err != nil {
				t.Fatal(err)
			}
		}
		begin()
		holder := p.do("LOCK.INFO", "mine").Get("holders").Elems[0]
		if holder.Get("token").Int != token || holder.Get("why").Str != "nightly" || holder.Get("pid").Int != int64(os.Getpid()) {
			t.Errorf("got %+v", holder)
		}
		p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "mine", "OWNER", "other", "WAIT", "0")
		p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "lease", "WAIT", "0")
		p.do("LOCK.ACQUIRE", "conn", "WAIT", "0")
		const damaged = "the journal of locks was damaged"
		if i > 1 {
			p.logged(damaged)
		} else if strings.Contains(p.stderr.String(), damaged) {
			t.Errorf("damage is told of:\n%s", p.stderr.String())
		}
	}
	p.signal(syscall.SIGKILL)
	p.status()
	for _, path := range copies {
		damage(t, path, `"lease"`)
	}
	begin()
	p.do("LOCK.ACQUIRE", "lease", "WAIT", "0")
	p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "mine", "OWNER", "other", "WAIT", "0")
	p.stop()
	p.logged("is lost")
	if log := p.stderr.String(); !strings.Contains(log, "ease") {
		t.Errorf("what is lost is not logged: %s", log)
	}
}

// damage changes a byte of each place of a file where that text is.
func damage(t *testing.T, path, text string) {
	t.Helper()
	all, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(all), text, "x"+text[1:])), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDone: what was done stays so, also for the next daemon.
func TestDone(t *testing.T) {
	state := t.TempDir()
	p := begin(t, "--state-dir", state)
	c := p.dial()
	v, err := c.Do("LOCK.ACQUIRE", "k")
	if err != nil {
		t.Fatal(err)
	}
	for _, per := range []string{"boot", "day", "ever"} {
		if _, err := c.Do("LOCK.DONE", "k", v.Get("token").Text(), "PER", per); err != nil {
			t.Error(err)
		}
	}
	p.signal(syscall.SIGKILL)
	p.status()
	path := filepath.Join(state, "done")
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), strings.TrimSpace(string(boot))) {
		t.Fatalf("%v: %s", err, text)
	}
	p = begin(t, "--state-dir", state)
	for _, per := range []string{"boot", "ever"} {
		if v := p.do("LOCK.ISDONE", "k", "PER", per); v.Get("uid").Int != int64(os.Getuid()) {
			t.Errorf("%s: %+v", per, v)
		}
	}
	if n := p.do("LOCK.FORGET", "k").Int; n != 3 {
		t.Errorf("%d are forgotten", n)
	}
	p.signal(syscall.SIGKILL)
	p.status()
	p = begin(t, "--state-dir", state)
	if v := p.do("LOCK.ISDONE", "k", "PER", "ever"); !v.IsNull() {
		t.Errorf("got %+v", v)
	}
	p.stop()
}

// TestDamagedTables: the daemon says so, keeps what it found, and goes on without.
func TestDamagedTables(t *testing.T) {
	state := t.TempDir()
	p := begin(t, "--state-dir", state)
	p.do("LOCK.ACQUIRE", "a", "FOR", "nobody")
	p.stop()
	for _, name := range []string{"holds", "done"} {
		if err := os.WriteFile(filepath.Join(state, name), []byte("nonsense"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reboot(t, state)
	p = begin(t, "--state-dir", state)
	p.do("LOCK.ACQUIRE", "a", "WAIT", "0", "FOR", "nobody")
	p.stop()
	for _, want := range []string{"file=holds", "file=done", "holds.corrupt-1", "done.corrupt-1"} {
		if !strings.Contains(p.stderr.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if text, err := os.ReadFile(filepath.Join(state, "holds.corrupt-1")); string(text) != "nonsense" {
		t.Errorf("set aside: %q, %v", text, err)
	}
	p = begin(t, "--state-dir", state)
	p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "a", "WAIT", "0")
	p.stop()
}

// reboot has a state directory be as after a reboot.
func reboot(t *testing.T, state string) {
	t.Helper()
	for _, copy := range []string{".1", ".2"} {
		if err := os.Remove(filepath.Join(state, journalName+copy)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHoldsNotWritable: what is not on disk is not granted.
func TestHoldsNotWritable(t *testing.T) {
	state := t.TempDir()
	p := begin(t, "--state-dir", state)
	if err := os.MkdirAll(filepath.Join(state, "holds.tmp", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	p.refused(wire.CodeIO, "LOCK.ACQUIRE", "a", "FOR", "nobody")
	p.do("LOCK.ACQUIRE", "a", "WAIT", "0")
	p.stop()
}

// TestSemaphores: limits come from the configuration, and a reload changes them.
func TestSemaphores(t *testing.T) {
	p := prepare(t, "--socket")
	config := write(t, p.dir, "conf/ipcd.toml", "[semaphores]\n\"build/slots\" = 3\n[limits]\nlease = \"2s\"\n")
	p.cmd.Args = append(p.cmd.Args, p.socket, "--config", config)
	p.launch().ready()
	if limit := p.do("LOCK.INFO", "build/slots").Get("limit").Int; limit != 3 {
		t.Errorf("the limit is %d", limit)
	}
	p.refused(wire.CodeLimit, "LOCK.ACQUIRE", "build/slots", "LIMIT", "4")
	p.refused(wire.CodeErr, "LOCK.ACQUIRE", "x", "LEASE", "2001")
	write(t, p.dir, "conf/ipcd.toml", "[semaphores]\n\"build/slots\" = 4\n")
	p.do("IPCD.RELOAD")
	p.do("LOCK.ACQUIRE", "build/slots", "LIMIT", "4", "UNITS", "4")
	p.do("LOCK.ACQUIRE", "x", "LEASE", "2001")
	p.stop()
	if !strings.Contains(p.stderr.String(), "changed from 3 to 4") {
		t.Error("the change is not logged")
	}
}
