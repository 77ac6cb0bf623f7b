package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ipcd/ipcd/ipc"
)

func TestFindProcess(t *testing.T) {
	self, ok := findProcess(int64(os.Getpid()))
	if !ok || self.parent != int64(os.Getppid()) || self.start == 0 {
		t.Fatalf("%+v, %v", self, ok)
	}
	if got := commandOf(self.pid, self.start); got == "" || got != self.command {
		t.Errorf("commandOf: %q, want %q", got, self.command)
	}
	if got := commandOf(self.pid, self.start+1); got != "" {
		t.Errorf("another process of the same number is called %q", got)
	}
	if _, ok := findProcess(1 << 30); ok {
		t.Error("a process that does not exist is found")
	}
}

func TestReadUsers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwd")
	text := "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nann2:x:1000:1000::/:/bin/sh\n+::::::\nbad:x:y:1\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	names := readUsers(file)
	if names[0] != "root" || names[1000] != "ann" || len(names) != 2 {
		t.Errorf("%v", names)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"run": 0o755, "text": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "/nonexistent:"+dir)
	for name, want := range map[string]int{
		"run": 0, dir + "/run": 0, "absent": exitNoCmd, dir + "/absent": exitNoCmd, "text": exitNoExec, dir + "/text": exitNoExec,
		"folder": exitNoExec, dir + "/run/x": exitNoCmd, "": exitNoCmd,
	} {
		_, err := lookPath(name)
		exit := 0
		if err != nil {
			exit = cannot("look", err).exit
		}
		if exit != want {
			t.Errorf("%q: %v (%d), want %d", name, err, exit, want)
		}
	}
}

func TestLockEnvironment(t *testing.T) {
	grant := ipc.Value{Kind: ipc.KindMap}
	for _, kv := range [][2]string{{"previous", "killed 9"}, {"abandoned", "pid 7 (uid 0) killed 9"}} {
		grant.Elems = append(grant.Elems, ipc.Value{Kind: ipc.KindBulk, Str: kv[0]}, ipc.Value{Kind: ipc.KindBulk, Str: kv[1]})
	}
	grant.Elems = append(grant.Elems, ipc.Value{Kind: ipc.KindBulk, Str: "token"}, ipc.Value{Kind: ipc.KindInt, Int: 42})
	got := lockEnvironment([]string{"A=1", "IPC_LOCK=old", "IPC_LOCK_ABANDONED=x", "IPC_LOCKS=41 old", "B="}, "new", grant)
	want := []string{"A=1", "B=", "IPC_LOCK=new", "IPC_LOCK_TOKEN=42", "IPC_LOCK_PREVIOUS=killed 9",
		"IPC_LOCK_ABANDONED=pid 7 (uid 0) killed 9", "IPC_LOCKS=41 old\n42 new"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// The description of a wait is the one of the transcript in ipcctl's contract.
func TestDescribeWait(t *testing.T) {
	claim := func(pid, age int64, unit, why string) ipc.Value {
		v := ipc.Value{Kind: ipc.KindMap}
		for _, kv := range []struct {
			key string
			v   ipc.Value
		}{
			{"pid", ipc.Value{Kind: ipc.KindInt, Int: pid}}, {"start", ipc.Value{Kind: ipc.KindInt, Int: 9}},
			{"uid", ipc.Value{Kind: ipc.KindInt}}, {"unit", ipc.Value{Kind: ipc.KindBulk, Str: unit}},
			{"age", ipc.Value{Kind: ipc.KindInt, Int: age}}, {"why", ipc.Value{Kind: ipc.KindBulk, Str: why}},
		} {
			v.Elems = append(v.Elems, ipc.Value{Kind: ipc.KindBulk, Str: kv.key}, kv.v)
		}
		return v
	}
	list := func(v ...ipc.Value) ipc.Value { return ipc.Value{Kind: ipc.KindArray, Elems: v} }
	const pid = 1 << 30 // nobody's
	info := ipc.Value{Kind: ipc.KindMap, Elems: []ipc.Value{
		{Kind: ipc.KindBulk, Str: "holders"}, list(claim(pid, 252e6, "backup.service", "weekly prune")),
		{Kind: ipc.KindBulk, Str: "waiters"}, list(claim(pid+1, 38e6, "", ""), claim(pid+2, 9e6, "", "")),
	}}
	got := describeWait("backup", info, process{pid: pid + 1, start: 9})
	want := "waiting 38s for backup, 1st of 2; held 4m12s by pid 1073741824 (root, backup.service): weekly prune"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := describeWait("backup", info, process{pid: pid + 1, start: 8}); got != "" {
		t.Errorf("a process that does not wait: %s", got)
	}
	self, _ := findProcess(int64(os.Getpid()))
	mine := ipc.Value{Kind: ipc.KindMap, Elems: []ipc.Value{{Kind: ipc.KindBulk, Str: "pid"}, {Kind: ipc.KindInt, Int: self.pid},
		{Kind: ipc.KindBulk, Str: "start"}, {Kind: ipc.KindInt, Int: self.start}}}
	if got, want := describeClaim(mine), fmt.Sprintf("%s (pid %d, root)", self.command, self.pid); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
