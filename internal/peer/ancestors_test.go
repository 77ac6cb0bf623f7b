package peer

import (
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// self is this process.
func self(t *testing.T) Process {
	t.Helper()
	me := Self()
	return Process{me.PID, me.Start}
}

func TestAncestors(t *testing.T) {
	me := self(t)
	mine := Ancestors(me.PID, me.Start)
	if parent := os.Getppid(); parent > 1 && (len(mine) == 0 || mine[0].PID != parent) {
		t.Errorf("got %v, want parent %d", mine, parent)
	}
	if slices.ContainsFunc(mine, func(p Process) bool { return p.PID < 1 || p.Start == 0 || p.Start > me.Start }) {
		t.Errorf("got %v", mine)
	}
	// A grandchild, which says its number.
	cmd := exec.Command("sh", "-c", `sh -c 'echo $$; read x'; true`)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 32)
	n, err := stdout.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		t.Fatal(err)
	}
	p := Peer{PID: pid}
	if err := p.look(); err != nil {
		t.Fatal(err)
	}
	got := Ancestors(pid, p.Start)
	if len(got) != len(mine)+2 || got[0].PID != cmd.Process.Pid || got[1] != me || !slices.Equal(got[2:], mine) {
		t.Errorf("got %v, want %d, %v, %v", got, cmd.Process.Pid, me, mine)
	}
	if got := Ancestors(pid, p.Start+1); got != nil {
		t.Errorf("of another process of that number: %v", got)
	}
	_, _ = io.WriteString(stdin, "\n")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if got := Ancestors(pid, p.Start); got != nil {
		t.Errorf("of one that is gone: %v", got)
	}
}

func TestParentOf(t *testing.T) {
	for stat, want := range map[string]int{
		"":                        0,
		"7 (a) S":                 0,
		"7 (a) S 5 6":             5,
		"7 (a) S 9) R 3 4) S 8 6": 8,
		"7 (x":                    0,
	} {
		if got := parentOf([]byte(stat)); got != want {
			t.Errorf("%q: %d, want %d", stat, got, want)
		}
	}
}
