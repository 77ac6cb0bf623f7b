package daemon

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/state"
	"github.com/ipcd/ipcd/ipc/wire"
)

// testdata/before is the state directory of a daemon that was killed. It was of the last version that wrote rows as the JSON of Go's
// structures. A client, process 6746, had locks of all kinds from it.
const (
	before        = "testdata/before"
	beforeBoot    = "ce7c9368-e119-41c7-bb90-bf6538c83d29"
	beforeProcess = `"PID":6746,"Start":1490762`
)

// A beforeRow is a row of the journal as it was.
type beforeRow string

func (r beforeRow) Key() string            { return string(r) }
func (r beforeRow) Over() bool             { return false }
func (r beforeRow) Append(b []byte) []byte { return append(b, r...) }

func readBefore(text []byte) (beforeRow, error) { return beforeRow(text), nil }

// copyBefore copies files of testdata/before.
func copyBefore(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(before, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A format is what a daemon before this one wrote its journal in.
type format struct {
	name string
	head string // of its files; "": as today
	row  func(t *testing.T, json beforeRow) beforeRow
}

var formats = []format{
	{"JSON", "ipcd journal 2", func(_ *testing.T, json beforeRow) beforeRow { return json }},
	{"version 1", "", func(t *testing.T, json beforeRow) beforeRow { // in which no cgroup held anything
		is, err := record.Decode([]byte(json))
		if err != nil {
			t.Fatal(err)
		}
		return beforeRow(regexp.MustCompile(`^hold [0-9]+ `).ReplaceAllString(string(is.Append(nil)), "hold 1 "))
	}},
}

// today makes a state directory as the daemon of a format would have it now: since the machine was started, and with this process
// as its client.
func (of format) today(t *testing.T) (dir string) {
	t.Helper()
	from, dir := t.TempDir(), t.TempDir()
	copyBefore(t, from, journalName+".1", journalName+".2")
	was, err := state.OpenJournal(from, journalName, beforeBoot, readBefore)
	if err != nil || was.Damaged() != nil {
		t.Fatal(err, was.Damaged())
	}
	self := peer.Self()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		t.Fatal(err)
	}
	expires := regexp.MustCompile(`"Expires":[1-9][0-9]*`)
	var rows []beforeRow
	for _, row := range was.Rows() {
		text := strings.ReplaceAll(string(row), beforeProcess, fmt.Sprintf(`"PID":%d,"Start":%d`, self.PID, self.Start))
		text = expires.ReplaceAllString(text, fmt.Sprint(`"Expires":`, now.Nano()+int64(time.Hour)))
		rows = append(rows, of.row(t, beforeRow(text)))
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	epoch := strings.TrimSpace(string(boot))
	j, err := state.OpenJournal(dir, journalName, epoch, readBefore)
	if err == nil {
		err = j.Apply(rows...)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if of.head == "" {
		return dir
	}
	// It is the same but for what the first line says.
	head := fmt.Sprintf("%s %s", of.head, epoch)
	head = fmt.Sprintf("%s crc32c=%08x\n", head, crc32.Checksum([]byte(head), crc32.MakeTable(crc32.Castagnoli)))
	for _, copy := range []string{".1", ".2"} {
		path := filepath.Join(dir, journalName+copy)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if end := bytes.IndexByte(text, '\n') + 1; end != len(head) {
			t.Fatalf("the head is %q", text[:end])
		}
		if err := os.WriteFile(path, append([]byte(head), text[len(head):]...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestUpgrade: locks of all kinds, and what was abandoned and done, are the same for the next version of the daemon; and for the one
// after it, which finds nothing of the format before any more.
func TestUpgrade(t *testing.T) {
	for _, of := range formats {
		t.Run(of.name, func(t *testing.T) { testUpgrade(t, of.today(t)) })
	}
}

func testUpgrade(t *testing.T, dir string) {
	copyBefore(t, dir, "holds", "done", "token-mark")
	p := begin(t, "--state-dir", dir)
	for range 2 {
		self := strconv.Itoa(os.Getpid())
		for name, want := range map[string]string{
			"lease":        "exclusive, bound to lease, pid " + self + ", token 1795779952814226: nightly <job>",
			"lease/reqid":  "exclusive, bound to lease, pid " + self + ", token 1795779952864934: ",
			"nobody":       "exclusive, bound to nobody, pid 0, token 1795779952967030: ",
			"nobody/lease": "exclusive, bound to nobody, pid 0, token 1795779953017587: ",
			"self":         "exclusive, bound to process, pid " + self + ", token 1795779953219888: ",
			"self/reqid":   "exclusive, bound to process, pid " + self + ", token 1795779953320702: ",
			"set/a":        "exclusive, bound to lease, pid " + self + ", token 1795779952916701: ",
			"set/b":        "exclusive, bound to lease, pid " + self + ", token 1795779952916700: ",
			"shared":       "shared, bound to lease, pid " + self + ", token 1795779953067857: ",
			"units":        "units, bound to lease, pid " + self + ", token 1795779953119482: ",
		} {
			holders := p.do("LOCK.INFO", name).Get("holders").Elems
			if len(holders) != 1 {
				t.Errorf("%s is held by %d", name, len(holders))
				continue
			}
			h := holders[0]
			got := fmt.Sprintf("%s, bound to %s, pid %d, token %d: %s",
				h.Get("mode").Str, h.Get("bound").Str, h.Get("pid").Int, h.Get("token").Int, h.Get("why").Str)
			if got != want {
				t.Errorf("%s is held %s\nand not %s", name, got, want)
			}
		}
		// The one who had asked for it with a REQID asks again.
		if got := p.do("LOCK.ACQUIRE", "lease/reqid", "LEASE", "86400000", "REQID", "\xff\xc1 not text").Get("token").Int; got != 1795779952864934 {
			t.Errorf("a repeat is granted token %d", got)
		}
		set := p.do("LOCK.ACQUIRE", "set/b", "AND", "set/a", "LEASE", "86400000", "REQID", "set", "OWNER", "x")
		if text := fmt.Sprint(set); !strings.Contains(text, "1795779952916700") || !strings.Contains(text, "1795779952916701") || !strings.Contains(text, "disconnected") {
			t.Errorf("a repeat is granted %s", text)
		}
		if v := p.do("LOCK.ISDONE", "done/x", "PER", "ever"); v.Get("pid").Int != 6746 {
			t.Errorf("it was done by %+v", v)
		}
		p.signal(syscall.SIGKILL)
		p.status()
		for _, copy := range []string{".1", ".2"} {
			text, err := os.ReadFile(filepath.Join(dir, journalName+copy))
			if err != nil || !bytes.HasPrefix(text, []byte("ipcd journal 3 ")) {
				t.Errorf("it begins with %.40q, %v", text, err)
			}
		}
		p = begin(t, "--state-dir", dir)
	}
	if got := p.do("LOCK.ACQUIRE", "cut").Get("abandoned").Str; !strings.Contains(got, "disconnected") {
		t.Errorf("it was abandoned: %q", got)
	}
	p.refused(wire.CodeBusy, "LOCK.ACQUIRE", "units", "UNITS", "4", "LIMIT", "5", "OWNER", "y", "WAIT", "0")
	p.do("LOCK.ACQUIRE", "units", "UNITS", "3", "LIMIT", "5", "OWNER", "y", "WAIT", "0")
	if n := p.do("IPCD.STATUS").Get("locks_lost").Int; n != 0 {
		t.Errorf("%d locks are lost", n)
	}
	p.stop()
}

// TestUpgradeAndReboot: what is to outlive the machine is the same for the next version of the daemon.
func TestUpgradeAndReboot(t *testing.T) {
	dir := t.TempDir()
	copyBefore(t, dir, "holds", "done", "token-mark")
	p := begin(t, "--state-dir", dir)
	if h := p.do("LOCK.INFO", "nobody").Get("holders").Elems; len(h) != 1 || h[0].Get("token").Int != 1795779952967030 {
		t.Errorf("it is held by %+v", h)
	}
	if v := p.do("LOCK.ISDONE", "done/x", "PER", "ever"); v.Get("pid").Int != 6746 {
		t.Errorf("it was done by %+v", v)
	}
	if token := p.tokenOf("self"); token <= 1795784247534749 {
		t.Errorf("token %d is below the mark", token)
	}
	p.stop()
}
