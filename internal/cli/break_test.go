package cli

import (
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// heldBy is the former hold of a process, as the daemon tells of it, with a descriptor or without.
func heldBy(pid int, start uint64, bound string, passed int64) claim {
	h := claim{ipc.ClaimInfo{PID: pid, Start: start, Bound: bound, Left: ipc.NoEnd}, wire.Value{}}
	h.raw.Kind = wire.KindMap
	h.raw.Elems = []wire.Value{{Kind: wire.KindBulk, Str: "pidfd"}, {Kind: wire.KindInt, Int: passed}}
	return h
}

// sleeper is a process that does nothing until it gets a signal.
func sleeper(t *testing.T) (cmd *exec.Cmd, is process.Process) {
	t.Helper()
	cmd = exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	is, ok := process.Find(int64(cmd.Process.Pid))
	if !ok {
		t.Fatal("it is not there")
	}
	return cmd, is
}

// killedBy waits for the end of a process.
func killedBy(cmd *exec.Cmd) syscall.Signal {
	_ = cmd.Wait()
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return status.Signal()
}

// TestBreakSignalsAll: who has held the lock gets the signal, with a descriptor from the daemon or without, once. Another process that
// has the number by now gets none, nor does who has a lease.
func TestBreakSignalsAll(t *testing.T) {
	passed, is := sleeper(t)
	alone, its := sleeper(t)
	other, others := sleeper(t)
	leased, of := sleeper(t)
	fd, err := process.Open(passed.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	b := breakVerb{signal: unix.SIGUSR1}
	if err := b.end([]claim{
		heldBy(int(is.PID), uint64(is.Start), "process", 1),
		heldBy(int(is.PID), uint64(is.Start), "process", 0),
		heldBy(int(its.PID), uint64(its.Start), "connection", 0),
		heldBy(int(others.PID), uint64(others.Start)+1, "process", 0),
		heldBy(int(of.PID), uint64(of.Start), "lease", 0),
		heldBy(1<<30, 5, "process", 0),
		heldBy(0, 0, "nobody", 0),
	}, []int{fd}); err != nil {
		t.Error(err)
	}
	for _, cmd := range []*exec.Cmd{passed, alone} {
		if got := killedBy(cmd); got != unix.SIGUSR1 {
			t.Errorf("it ended with signal %v", got)
		}
	}
	for _, cmd := range []*exec.Cmd{other, leased} {
		_ = cmd.Process.Signal(unix.SIGTERM)
		if got := killedBy(cmd); got != unix.SIGTERM {
			t.Errorf("one that was not meant ended with signal %v", got)
		}
	}
}

// TestBreakTellsWhomItMissed: who cannot be signalled is told, and how many they are, and keeps nobody else from the end.
func TestBreakTellsWhomItMissed(t *testing.T) {
	cmd, is := sleeper(t)
	held := []claim{heldBy(0, 7, "process", 0), heldBy(0, 8, "process", 0), heldBy(int(is.PID), uint64(is.Start), "process", 0)}
	b := breakVerb{signal: unix.SIGCONT, after: verb.Span{Set: true, D: time.Nanosecond}}
	err := b.end(held, nil)
	var f *exit.Failure
	if !errors.As(err, &f) || f.Exit != exit.OS || !strings.Contains(f.Text, "cannot signal 2 of those who held it: a process of another PID namespace") {
		t.Errorf("got %v", err)
	}
	if got := killedBy(cmd); got != unix.SIGKILL {
		t.Errorf("it ended with signal %v", got)
	}

	var m misses
	for pid := range 10 {
		h := heldBy(1<<30+pid, 5, "process", 0)
		m.add(&h, []error{unix.EMFILE, unix.EPERM}[pid%2])
	}
	if err := m.failure(); !errors.As(err, &f) || f.Exit != exit.Denied ||
		!strings.HasPrefix(f.Text, "cannot signal 10 of those who held it: pid 1073741824 (root), ") || !strings.HasSuffix(f.Text, ", …: too many open files") {
		t.Errorf("got %v", err)
	}
}
