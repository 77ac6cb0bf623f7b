package signals

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/testenv"
)

// signals are all that Linux has, and every has those that can be ignored and blocked.
const signals = 64

var every = ^setOf(unix.SIGKILL, unix.SIGSTOP)

// show is a CMD that says of itself which signals it ignores, blocks and has pending, and by how much its timers may be late. It fails,
// which ends "ipcctl wait".
var show = []string{"cat", "/proc/self/status", "/proc/self/timerslack_ns", "/nonexistent"}

// showing is the same as a line of a shell, and does not fail.
const showing = "exec cat /proc/self/status /proc/self/timerslack_ns"

// ways are those by which ipcctl runs CMD.
var ways = []struct {
	name     string
	ipcctl   []string
	cmd      []string // what runs: show, unless it says otherwise
	prepared func(*world)
}{
	{name: "lock", ipcctl: []string{"lock", "x", "--"}},
	{name: "lock --on-lost", ipcctl: []string{"lock", "--on-lost=TERM", "x", "--"}},
	{name: "once", ipcctl: []string{"once", "x", "--"}},
	{name: "fence", ipcctl: []string{"fence", "leased", "TOKEN", "--"}},
	{name: "wait", ipcctl: []string{"wait", "never", "--"}},
	{name: "sub", ipcctl: []string{"sub", "-n1", "x", "--"}, prepared: func(w *world) {
		publish := w.command("sh", "-c", "until ipcctl pub -q -e 1 x; do :; done")
		if err := publish.Start(); err != nil {
			w.Fatal(err)
		}
		w.Cleanup(func() { _ = publish.Wait() }) // that it has worked is seen by what it brings about
	}},
	{name: "--on-abandoned", ipcctl: []string{"lock", "--on-abandoned=" + showing, "a", "true"},
		cmd: []string{"sh", "-c", showing}, prepared: func(w *world) { w.abandon("a") }},
}

// Each signal, ignored or blocked when ipcctl is started, is so for CMD, and no other is. Its timers are as exact. That SIGSEGV is ignored
// has a test of its own.
func TestCMDIgnoresAndBlocksWhatIpcctlWasStartedWith(t *testing.T) {
	w := newWorld(t)
	sets := [][2]uint64{{0, 0}, {every, every}}
	for bit := 1; bit < signals; bit *= 2 { // any two signals are told apart
		var with uint64
		for n := range signals {
			if n&bit != 0 {
				with |= 1 << n
			}
		}
		sets = append(sets, [2]uint64{with & every, every &^ with}, [2]uint64{every &^ with, with & every})
	}
	token := strings.TrimSpace(output(t, w.command(bin+"/ipcctl", "acquire", "-t", "-L", "1h", "leased")))
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			w := &world{t, w.daemon}
			cmd, end := show, show
			if way.cmd != nil {
				cmd, end = way.cmd, nil
			}
			for _, set := range sets {
				start := beginWith(set[0], set[1])
				want := states(output(t, w.command(slices.Concat(start, cmd)...)))
				words := slices.Concat(start, []string{"ipcctl"}, way.ipcctl, end)
				if i := slices.Index(words, "TOKEN"); i >= 0 {
					words[i] = token
				}
				if way.prepared != nil {
					way.prepared(w)
				}
				if got := states(output(t, w.command(words...))); got != want {
					t.Errorf("ignored %x, blocked %x:\n%s\nwant\n%s", set[0], set[1], got, want)
				}
			}
		})
	}
}

// CMD ignores SIGSEGV if ipcctl was started so. It does not always: where a process has several threads, as each has that is written in Go,
// Linux may forget this when it calls execve. Another thread, which is killed for that while it waits for a page, gets a SIGSEGV, and what
// is sent in this way is first made not to be ignored. (Linux 6.18 did that for one of four processes that did little but map memory, and
// for one of some 1,000 command lines here.)
func TestCMDIgnoresSIGSEGV(t *testing.T) {
	w := newWorld(t)
	start := beginWith(setOf(unix.SIGSEGV), 0)
	for _, way := range ways[:2] { // the first becomes CMD, the second starts it
		words := slices.Concat(start, []string{"ipcctl"}, way.ipcctl, show)
		const tries = 10
		ignores := func() bool { return ignored(output(t, w.command(words...)))&setOf(unix.SIGSEGV) != 0 }
		for n := 0; !ignores(); n++ {
			if n == tries {
				t.Errorf("%s: CMD does not ignore it", way.name)
				break
			}
		}
	}
}

// The environment of CMD is that of ipcctl, and what is said of the lock: the entry adds to what the runtime finds, and nothing of it is left.
func TestCMDGetsTheEnvironmentOfIpcctl(t *testing.T) {
	w := newWorld(t)
	for _, environment := range [][]string{nil, {"GOMAXPROCS=3"}, {"GOMAXPROCS="}, {"A=1", "B=2", "LONG=" + strings.Repeat("x", 100_000)}} {
		clean := slices.Concat([]string{"env", "-i", "IPCD_SOCKET=" + w.daemon.Socket}, environment)
		want := output(t, w.command(append(clean, "/usr/bin/env")...))
		for _, way := range ways[:2] {
			words := slices.Concat(clean, []string{bin + "/ipcctl"}, way.ipcctl, []string{"/usr/bin/env"})
			var got strings.Builder
			for line := range strings.Lines(output(t, w.command(words...))) {
				if !strings.HasPrefix(line, "IPC_LOCK") {
					got.WriteString(line)
				}
			}
			if got.String() != want {
				t.Errorf("%s: %q, want %q", way.name, got.String(), want)
			}
		}
	}
	arguments := slices.Repeat([]string{"argument"}, 10_000)
	want := strings.Repeat("argument ", 9_999) + "argument\n"
	if got := output(t, w.command(slices.Concat([]string{bin + "/ipcctl", "lock", "x", "echo"}, arguments)...)); got != want {
		t.Errorf("of 10,000 arguments %d bytes are left", len(got))
	}
}

// What people put in front of commands has the effect on CMD that it has without ipcctl.
func TestCMDIsWhatOtherCommandsMadeOfIpcctl(t *testing.T) {
	w := newWorld(t)
	for _, line := range []string{
		`nohup "$@"`, `setsid --wait "$@"`, `timeout 60 "$@"`, `timeout --foreground 60 "$@"`, `nice "$@"`,
		`env -i "PATH=$PATH" "IPCD_SOCKET=$IPCD_SOCKET" "$@"`, `sh -c 'trap "" PIPE HUP; "$@"' sh "$@"`,
		`xargs -a /dev/null "$@"`, `xargs -a /dev/null -P 4 "$@"`, `find /dev/null -exec "$@" ';'`, `find /dev/null -exec "$@" {} +`,
	} {
		for _, way := range ways[:3] {
			want := states(output(t, w.command(slices.Concat([]string{"bash", "-c", line, "bash"}, show)...)))
			words := slices.Concat([]string{"bash", "-c", line, "bash", "ipcctl"}, way.ipcctl, show)
			if got := states(output(t, w.command(words...))); got != want {
				t.Errorf("%s of ipcctl %s:\n%s\nwant\n%s", line, way.name, got, want)
			}
		}
	}
}

// ipcctl itself ignores what it is to ignore, while it waits.
func TestWaitingIpcctlIgnoresWhatItWasStartedWith(t *testing.T) {
	w := newWorld(t)
	script := `trap '' TERM QUIT USR1
		ipcctl lock x -- ipcctl wait -q end & holder=$!
		until [ "$(ipcctl locks x | wc -l)" = 1 ]; do :; done
		ipcctl lock x -- echo granted & waiter=$!
		until [ "$(ipcctl locks x | wc -l)" = 2 ]; do :; done
		for s in TERM QUIT USR1; do kill -$s $waiter; done
		until ipcctl pub -q -e 1 end; do :; done
		wait $waiter`
	if got := output(t, w.command("bash", "-c", script)); got != "granted\n" {
		t.Errorf("%q", got)
	}
}

// ipcctl holds a value also where it ignores all signals that it would wait for.
func TestHeldValueOutlastsIgnoredSignals(t *testing.T) {
	w := newWorld(t)
	script := `trap '' INT TERM HUP QUIT
		ipcctl pub --hold held up & holder=$!
		until ipcctl get -q held; do :; done
		for s in INT TERM HUP QUIT; do kill -$s $holder; done
		for n in {1..20}; do ipcctl get held; done
		kill -KILL $holder
		wait $holder
		echo " $?"`
	if got := output(t, w.command("bash", "-c", script)); got != strings.Repeat("up", 20)+" 137\n" {
		t.Errorf("%q", got)
	}
}

// The other machine that has an entry of its own is emulated.
func TestEntryOfArm64(t *testing.T) {
	testenv.Need(t, "qemu-aarch64-static")
	w := newWorld(t)
	dir := w.TempDir()
	w.build(dir, "GOARCH=arm64")
	// The emulator keeps some signals for itself, so not all are tried. CMD runs without it.
	set := setOf(unix.SIGPIPE, unix.SIGTERM, unix.SIGQUIT, unix.SIGCHLD, 40)
	start := beginWith(set, 0)
	want := states(output(t, w.command(slices.Concat(start, show)...)))
	words := slices.Concat(start, []string{"qemu-aarch64-static", filepath.Join(dir, "ipcctl"), "lock", "x", "--"}, show)
	if got := states(output(t, w.command(words...))); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func setOf(signals ...unix.Signal) (set uint64) {
	for _, n := range signals {
		set |= 1 << (n - 1)
	}
	return set
}

// states are the lines of a status in /proc that tell of signals: pending, blocked and ignored ones, but whether SIGSEGV is ignored. A
// number alone is how late timers may be.
func states(status string) string {
	var lines []string
	for line := range strings.Lines(status) {
		name, set, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		if _, err := strconv.Atoi(name); err == nil {
			lines = append(lines, "late by "+name)
		}
		switch name {
		case "SigPnd":
			// The Go runtime may have interrupted itself in the very end. Nobody is troubled by a SIGURG.
			lines = append(lines, fmt.Sprintf("%s %016x", name, parseSet(set)&^setOf(unix.SIGURG)))
		case "SigIgn":
			lines = append(lines, fmt.Sprintf("%s %016x", name, parseSet(set)&^setOf(unix.SIGSEGV)))
		case "ShdPnd", "SigBlk":
			lines = append(lines, name+" "+set)
		}
	}
	return strings.Join(lines, "\n")
}

// ignored are the signals that are ignored, by a status in /proc.
func ignored(status string) uint64 {
	_, set, _ := strings.Cut(status, "SigIgn:\t")
	set, _, _ = strings.Cut(set, "\n")
	return parseSet(set)
}

// parseSet is a set of signals from a status in /proc.
func parseSet(hex string) uint64 {
	set, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		panic(err)
	}
	return set
}
