package cli

import (
	"os"
	"path/filepath"
	"testing"
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
