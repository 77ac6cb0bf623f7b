package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// reply makes a map of keys and values, as the daemon would answer.
func reply(keysAndValues ...any) wire.Value {
	v := wire.Value{Kind: wire.KindMap}
	for _, x := range keysAndValues {
		switch x := x.(type) {
		case string:
			v.Elems = append(v.Elems, wire.Value{Kind: wire.KindBulk, Str: x})
		case int:
			v.Elems = append(v.Elems, wire.Value{Kind: wire.KindInt, Int: int64(x)})
		case wire.Value:
			v.Elems = append(v.Elems, x)
		}
	}
	return v
}

func array(elems ...wire.Value) wire.Value { return wire.Value{Kind: wire.KindArray, Elems: elems} }

func word(s string) wire.Value { return wire.Value{Kind: wire.KindBulk, Str: s} }

func viewsOf(replies ...wire.Value) []*lockView {
	var views []*lockView
	for _, v := range replies {
		views = append(views, viewOf(v))
	}
	return views
}

var null = wire.Value{Kind: wire.KindNull}

func TestLockEnvironment(t *testing.T) {
	before := []string{"A=1", "IPC_LOCK=old", "IPC_LOCK_TOKEN=41", "IPC_LOCK_PREVIOUS=exited 0", "IPC_LOCK_ABANDONED=x", "IPC_LOCKS=41 old", "B="}
	abandoned := ipc.Hold{Name: "new", Token: 42, Previous: "killed 9", Abandoned: "pid 7 (uid 0) killed 9"}
	second := ipc.Hold{Name: "two", Token: 43, Previous: "released"}
	for _, c := range []struct {
		grants []ipc.Hold
		want   []string
	}{
		{[]ipc.Hold{abandoned}, []string{"A=1", "B=", "IPC_LOCK=new", "IPC_LOCK_TOKEN=42", "IPC_LOCK_PREVIOUS=killed 9",
			"IPC_LOCK_ABANDONED=pid 7 (uid 0) killed 9", "IPC_LOCKS=41 old\n42 new"}},
		// One that is not the first must not be overlooked.
		{[]ipc.Hold{second, abandoned}, []string{"A=1", "B=", "IPC_LOCK=two", "IPC_LOCK_TOKEN=43", "IPC_LOCK_PREVIOUS=released",
			"IPC_LOCK_ABANDONED=new by pid 7 (uid 0) killed 9", "IPC_LOCKS=41 old\n43 two\n42 new"}},
		// Who enters the hold that he runs under knows how it began.
		{[]ipc.Hold{{Name: "old", Token: 41}}, []string{"A=1", "B=", "IPC_LOCK=old", "IPC_LOCK_TOKEN=41",
			"IPC_LOCK_PREVIOUS=exited 0", "IPC_LOCK_ABANDONED=x", "IPC_LOCKS=41 old"}},
	} {
		if got := lockEnvironment(before, c.grants); !slices.Equal(got, c.want) {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}

// nobody is a process that there is none of.
const nobody = 1 << 30

func claimOf(pid int, more ...any) wire.Value {
	return reply(append(more, "pid", pid, "start", 9, "uid", 0, "left", -1)...)
}

const year = 365 * 24 * time.Hour

// The description of a wait is the one of the transcript in ipcctl's contract.
func TestDescribeWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the time of day is the same for what is said and what is expected
		prune := claimOf(nobody, "age", 252_000_000, "unit", "backup.service", "why", "weekly prune", "mode", "exclusive", "units", 1, "token", 1)
		queue := array(claimOf(nobody+1, "age", 38_000_000, "units", 1, "client", 11), claimOf(nobody+2, "age", 9_000_000, "units", 1, "client", 12))
		disk := reply("bound", "nobody", "pid", 0, "uid", 0, "age", 5_000_000, "left", int(year/time.Microsecond), "token", 2, "why", "new disk", "mode", "exclusive")
		backup := reply("limit", 1, "holders", array(prune), "waiters", queue)
		for _, c := range []struct {
			names []string
			infos []wire.Value
			who   asker
			want  string
		}{
			{[]string{"backup"}, []wire.Value{backup}, 11,
				"waiting 38s for backup, 1st of 2; held 4m12s by pid 1073741824 (root, backup.service): weekly prune"},
			{[]string{"backup"}, []wire.Value{backup}, 1, ""},
			// Of several, what is told is of the one that is in the way.
			{[]string{"a", "backup"}, []wire.Value{reply("limit", 1, "holders", array(), "waiters", array(queue.Elems[1])), backup},
				12,
				"waiting 9s for a and backup, 2nd of 2 for backup; held 4m12s by pid 1073741824 (root, backup.service): weekly prune"},
			// An operator's hold, and a wait for one.
			{[]string{"backup"}, []wire.Value{reply("limit", 1, "holders", array(disk), "waiters", queue)}, 11,
				"waiting 38s for backup, 1st of 2; held since " + term.Clock(time.Now().Add(-5*time.Second)) + " by root for maintenance until " + term.Clock(time.Now().Add(year)) + ": new disk"},
			{[]string{"backup"}, []wire.Value{reply("limit", 1, "holders", array(prune), "waiters", array(reply("bound", "nobody", "pid", 0, "owner", "uid 5", "age", 1_000_000, "units", 1, "client", 13)))},
				13, "waiting 1s for backup, 1st of 1; held 4m12s by pid 1073741824 (root, backup.service): weekly prune"},
			// Units, and several holders; one that has entered a hold is none of its own.
			{[]string{"gpu"}, []wire.Value{reply("limit", 4, "holders", array(prune, claimOf(nobody+4, "token", 1, "joined", 1), claimOf(nobody+5, "units", 3)),
				"waiters", array(claimOf(nobody+1, "age", 0, "mode", "units", "units", 2, "client", 11)))}, 11,
				"waiting 0s for gpu (2 of 4 units), 1st of 1; held 4m12s by pid 1073741824 (root, backup.service) and 1 more: weekly prune"},
			// It is his own if the one who began it has left.
			{[]string{"gpu"}, []wire.Value{reply("limit", 4, "holders", array(claimOf(nobody+5, "units", 3, "token", 2), claimOf(nobody+4, "token", 1, "joined", 1)),
				"waiters", array(claimOf(nobody+1, "age", 0, "mode", "units", "units", 2, "client", 11)))}, 11,
				"waiting 0s for gpu (2 of 4 units), 1st of 1; held 0s by pid 1073741829 (root) and 1 more"},
		} {
			if got := describeWait(c.names, viewsOf(c.infos...), c.who); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		}
	})
}

func TestDescribeClaim(t *testing.T) {
	self, _ := process.Find(int64(os.Getpid()))
	mine := reply("pid", int(self.PID), "start", int(self.Start), "uid", 0, "left", -1)
	if got, want := describeClaim(&claimsOf(array(mine))[0]), fmt.Sprintf("%s (pid %d, root)", self.Command, self.PID); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	leased := reply("pid", nobody, "uid", 0, "owner", "tape", "token", 7, "left", 90_000_000)
	if got, want := describeClaim(&claimsOf(array(leased))[0]), "pid 1073741824 (root, tape, 1m30s left)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What why says is what the transcript in ipcctl's contract shows.
func TestExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the time of day is the same for what is said and what is expected
		fsck := claimOf(nobody+88, "age", 300_000_000, "units", 1, "token", 2, "mode", "exclusive")
		disk := reply("name", "disk", "limit", 1, "holders", array(fsck), "waiters", array(claimOf(nobody, "units", 1)))
		tape := reply("name", "tape", "limit", 1, "holders", array(), "waiters", array(claimOf(nobody+1, "units", 1), claimOf(nobody+88, "units", 1)))
		backup := reply("name", "backup", "limit", 1,
			"holders", array(claimOf(nobody, "age", 252_000_000, "unit", "backup.service", "why", "weekly prune", "units", 1, "mode", "exclusive", "token", 1)),
			"waiters", array(
				claimOf(nobody+1, "age", 38_000_000, "mode", "exclusive", "units", 1),
				claimOf(nobody+2, "age", 9_000_000, "mode", "shared", "why", "hourly", "set", array(word("backup"), word("disk"), word("tape")))),
			"previous", reply("pid", 3977, "how", "killed 9", "uid", 0), "abandoned", null)
		gpu := reply("name", "gpu", "limit", 4, "holders", array(
			claimOf(nobody, "age", 1_000_000, "units", 1, "mode", "units", "token", 5),
			claimOf(nobody+1, "age", 0, "units", 1, "mode", "units", "token", 5, "joined", 1),
			claimOf(nobody+2, "age", 2_000_000, "units", 2, "mode", "units", "token", 6)), "waiters", array(), "previous", null, "abandoned", null)
		ago := int(time.Now().Add(-2 * time.Minute).UnixMicro())
		free := reply("name", "x y", "limit", 1, "holders", array(), "waiters", array(), "previous", reply("pid", 0, "uid", 0, "how", "broken", "at", ago,
			"by", reply("pid", 9, "uid", 0, "why", "enough")), "abandoned", reply("pid", 12, "how", "disconnected", "at", ago))
		for _, c := range []struct {
			info wire.Value
			want []string
		}{
			{backup, []string{
				"backup is held by pid 1073741824 (root, backup.service) for 4m12s: weekly prune.",
				"pid 1073741824 itself waits for disk, held 5m by pid 1073741912 (root).",
				"pid 1073741912 in turn waits for tape behind pid 1073741825.",
				"The holder before it, pid 3977, was killed by signal 9.",
				"1st waits pid 1073741825 (root), exclusive, 38s.",
				"2nd waits pid 1073741826 (root), shared, 9s, behind pid 1073741825, together with disk and tape: hourly.",
			}},
			{gpu, []string{
				"gpu is held by pid 1073741824 (root), 1 of 4 units, for 1s.",
				"pid 1073741825 (root) has entered that hold 0s ago.",
				"pid 1073741826 (root) holds it too, 2 of 4 units, for 2s.",
				"pid 1073741824 itself waits for disk, held 5m by pid 1073741912 (root).",
				"pid 1073741912 in turn waits for tape behind pid 1073741825.",
				"pid 1073741825 itself waits for backup, held 4m12s by pid 1073741824 (root, backup.service): weekly prune.",
			}},
			{free, []string{
				`"x y" is free.`,
				"The last holder, root, had it taken away by root (pid 9), 2m ago: enough.",
				"The next holder will be told that pid 12 has abandoned it.",
			}},
		} {
			e := explanation{all: viewsOf(backup, disk, tape), seen: map[string]bool{c.info.Get("name").Str: true}, parents: map[int64][]process.Process{}}
			e.explain(viewOf(c.info))
			if !slices.Equal(e.sentences, c.want) {
				t.Errorf("got  %s\nwant %s", strings.Join(e.sentences, "\n     "), strings.Join(c.want, "\n     "))
			}
		}
	})
}

func TestDescribeEnd(t *testing.T) {
	for how, want := range map[string]string{
		"released": "gave it back", "exited 1": "ended with status 1", "killed 9": "was killed by signal 9", "disconnected": "lost its connection",
		"expired": "held it until its lease was over", "broken": "had it taken away", "unknown": "is gone, and how it ended is not known",
		"unreaped":    "has ended, and how is not known before its parent has waited for it",
		"yet to come": "is gone, and how it ended is not known",
	} {
		if who, got, _ := describeEnd(&ipc.EndInfo{PID: 5, How: how}); got != want || who != "pid 5" {
			t.Errorf("%s: %s %s, want %s", how, who, got, want)
		}
	}
}

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 12, 31, 17, 30, 0, 0, time.FixedZone("", 3600))
	for s, want := range map[string]string{
		"18:00": "2026-12-31T18:00:00+01:00", "17:30": "2027-01-01T17:30:00+01:00", "9:05": "2027-01-01T09:05:00+01:00",
		"18:00:30": "2026-12-31T18:00:30+01:00", "2027-02-01T00:00:00Z": "2027-02-01T00:00:00Z",
		"2026-12-31T16:00:00Z": "", "25:00": "", "": "", "soon": "", "18": "",
	} {
		got, ok := parseTime(s, now)
		if ok != (want != "") || ok && got.Format(time.RFC3339) != want {
			t.Errorf("%q: %v, %v; want %q", s, got, ok, want)
		}
	}
}

func TestSignalOption(t *testing.T) {
	for s, want := range map[string]int{"TERM": 15, "SIGTERM": 15, "term": 15, "9": 9, "usr1": 10, "64": 64, "0": 0, "65": 0, "": 0, "SIG": 0, "NO": 0} {
		l := lockVerb{}
		o := signalOption(0, "on-lost", &l.lost, "")
		if err := o.Set(s); (err == nil) != (want != 0) || int(l.lost) != want {
			t.Errorf("%q: %v, %v; want %d", s, l.lost, err, want)
		}
	}
}

func TestJSONField(t *testing.T) {
	const event = `{"event":"released","name":"a\"token\":7","why":"how\":9","token":42,"how":"broken"}`
	for key, want := range map[string]string{"token": "42", "how": "broken", "event": "released", "none": ""} {
		if got := jsonField(event, key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
}

func TestCommandAhead(t *testing.T) {
	for line, want := range map[string]string{
		"ipcctl lock x /usr/bin/pg_dump shop":             "pg_dump",
		"ipcctl --json lock -w 1m x -a y -- rsync -a b c": "rsync",
		"ipcctl once k -- ./report":                       "report",
		"ipcctl lock x -c date":                           "",
		"ipcctl acquire -p 1 x":                           "",
		"ipcctl lock --nonsense x true":                   "",
		"ipcctl":                                          "",
		"":                                                "",
	} {
		if got := commandAhead([]byte(strings.ReplaceAll(line, " ", "\x00") + "\x00")); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	if got := commandAhead(nil); got != "" {
		t.Errorf("of no process: %q", got)
	}
}
