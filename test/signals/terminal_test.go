package signals

import (
	"bufio"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/test/terminal"
)

// jobs is a session at a shell with job control: a job is suspended and goes on in the foreground, is suspended and goes on in the
// background, and gets a signal there.
const jobs = `set -m
"$@"
fg %1 >/dev/null
bg %1 >/dev/null
read
kill -TERM %1
read
kill -KILL %1
wait
echo over`

// What keys on a terminal and a shell's job control do to CMD is what they do without ipcctl.
func TestKeysAndJobControl(t *testing.T) {
	testenv.Need(t, "bash")
	w := newWorld(t)
	want := w.session()
	if all := []string{"ready", "SIGINT", "SIGQUIT", "SIGCONT", "SIGCONT", "SIGTERM", "over"}; !slices.Equal(want, all) {
		t.Fatalf("without ipcctl: %q", want)
	}
	for _, parent := range append(parents, []string{"lock", "x"}) {
		if got := w.session(slices.Concat([]string{"ipcctl"}, parent)...); !slices.Equal(got, want) {
			t.Errorf("%v:\n%q\nwant\n%q", parent, got, want)
		}
	}
}

// session runs a CMD on a terminal, behind other words, and returns what was said.
func (w *world) session(before ...string) (lines []string) {
	w.Helper()
	person, process, err := terminal.Open()
	if err != nil {
		w.Fatal(err)
	}
	defer person.Close()
	cmd := w.command(slices.Concat([]string{"bash", "-c", jobs, "bash"}, before, teller(w.T, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGCONT))...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = process, process, process
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	process.Close()
	if err != nil {
		w.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { person.Close() })
	defer late.Stop()
	const interrupt, quit, suspend, enter = "\x03", "\x1c", "\x1a", "\n"
	keys := []string{interrupt, quit, suspend, suspend, enter, enter}
	for out := bufio.NewScanner(person); out.Scan(); {
		line := strings.TrimLeft(strings.TrimSpace(out.Text()), `^CZ\`) // what the terminal shows of keys
		if line != "ready" && !strings.HasPrefix(line, "SIG") && line != "over" {
			continue // the shell's words about jobs
		}
		lines = append(lines, line)
		if len(keys) > 0 {
			if _, err := person.WriteString(keys[0]); err != nil {
				w.Fatal(err)
			}
			keys = keys[1:]
		}
	}
	_ = cmd.Wait() // how the job has ended was said
	return lines
}
