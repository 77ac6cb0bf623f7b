package process

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A signal to the group that comes before a CMD is there, and is looked at when it is, is passed on to it. In the test, a process that
// is to run CMD has its group sent a signal; it dies of that when CMD has.
func TestCMDGetsWhatCameBeforeIt(t *testing.T) {
	const itself = "IPCCTL_TEST_EARLY"
	if os.Getenv(itself) != "" {
		runAfterSignal(t)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), itself+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // how it has ended is looked at
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != unix.SIGTERM {
		t.Errorf("it ended with %v", cmd.ProcessState)
	}
}

func runAfterSignal(t *testing.T) {
	r, err := NewRunner([]string{"cat"}, 1) // which ends when its standard input does, or by a signal
	if err != nil {
		t.Fatal(err)
	}
	r.slots <- struct{}{}
	r.mu.Lock() // so that the signal is not looked at
	if err = unix.Kill(0, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p, err := r.begin(os.Stdin, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Unlock()
	r.attend(p)
	select {}
}
