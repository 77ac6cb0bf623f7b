package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/term"
)

// patience bounds every wait. It is there to fail a test that hangs, not to measure.
const patience = time.Minute

// TestSignalEndsAScreenThatWaits: a page that waits for a daemon, which may be stuck, does not keep a signal from ending it.
func TestSignalEndsAScreenThatWaits(t *testing.T) {
	const child = "IPCCTL_TEST_SCREEN"
	if os.Getenv(child) != "" {
		t.Fatal(onScreen(term.Onto(io.Discard, true), nil, func() (*term.Table, string, error) {
			fmt.Println("waits")
			select {}
		}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "waits\n" {
		t.Errorf("%q, %v", line, err)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // how it has ended is looked at
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != unix.SIGTERM {
		t.Errorf("it ended with %v", cmd.ProcessState)
	}
}
