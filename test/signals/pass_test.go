package signals

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tell is the first word of a command line by which this test runs itself as a CMD: tell SIGNAL…. It says that it is ready, and then
// which of these signals come, until its standard input ends. Other signals have their default effect.
const tell = "tell"

func tellSignals(numbers []string) {
	caught := make(chan os.Signal, 64)
	for _, s := range numbers {
		n, err := strconv.Atoi(s)
		if err != nil {
			panic(err)
		}
		signal.Notify(caught, syscall.Signal(n))
	}
	if _, err := unix.IoctlGetTermios(0, unix.TCGETS); err != nil { // on a terminal, it is not for a job in the background to read
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(7)
		}()
	}
	fmt.Println("ready")
	for s := range caught {
		fmt.Println(unix.SignalName(s.(syscall.Signal)))
	}
}

// teller is a CMD that tells of signals.
func teller(t *testing.T, signals ...unix.Signal) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	words := []string{self, tell}
	for _, s := range signals {
		words = append(words, strconv.Itoa(int(s)))
	}
	return words
}

// parents are the ways by which ipcctl stays CMD's parent.
var parents = [][]string{{"lock", "--on-lost=TERM", "x"}, {"lock", "-L", "1h", "x"}, {"once", "x", "--"}}

// A job is an ipcctl that is the parent of a teller, in a process group of its own.
type job struct {
	*testing.T
	cmd *exec.Cmd
	in  io.Closer
	out *bufio.Scanner
}

func (w *world) job(words ...string) *job {
	w.Helper()
	cmd := w.command(words...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		w.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { in.Close() })
	w.Cleanup(func() { late.Stop(); in.Close() })
	j := &job{w.T, cmd, in, bufio.NewScanner(out)}
	j.expect("ready")
	return j
}

// expect reads a line of CMD's.
func (j *job) expect(want string) {
	j.Helper()
	j.out.Scan()
	if got := j.out.Text(); got != want {
		j.Errorf("CMD says %q, want %q", got, want)
	}
}

func (j *job) signal(to int, s unix.Signal) {
	j.Helper()
	if err := unix.Kill(to, s); err != nil {
		j.Fatal(err)
	}
}

// once sends a signal, of which CMD must tell once: before that of a SIGCONT that is sent to ipcctl alone when it is through with the first.
func (j *job) once(to int, s unix.Signal) {
	j.Helper()
	pid := j.cmd.Process.Pid
	witness := j.witness()
	defer unix.Close(witness)
	j.signal(to, s)
	j.expect(unix.SignalName(s))
	if to < 0 { // CMD may have been faster than ipcctl, which has then seen it when another witness is there
		j.ended(witness)
	}
	j.signal(pid, unix.SIGCONT)
	j.expect("SIGCONT")
}

// witness is a pidfd of the process that watches the group.
func (j *job) witness() int {
	j.Helper()
	fd, err := witnessOf(j.cmd.Process.Pid)
	if err != nil {
		j.Fatal(err)
	}
	return fd
}

// ended waits for the end of a process.
func (j *job) ended(pidfd int) {
	j.Helper()
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(patience.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if n != 1 {
			j.Errorf("the witness goes on: %v", err)
		}
		return
	}
}

// end has CMD end, and ipcctl with it.
func (j *job) end() {
	j.Helper()
	j.in.Close()
	if err := j.cmd.Wait(); j.cmd.ProcessState.ExitCode() != 7 {
		j.Error(err)
	}
}

// A signal to the group and one to ipcctl alone are one signal each for CMD, in any order.
func TestCMDGetsEachSignalOnce(t *testing.T) {
	w := newWorld(t)
	for _, parent := range parents {
		t.Run(strings.Join(parent[:2], " "), func(t *testing.T) {
			w := &world{t, w.daemon}
			j := w.job(slices.Concat([]string{bin + "/ipcctl"}, parent, teller(t, unix.SIGHUP, unix.SIGUSR1, unix.SIGTERM, unix.SIGCONT))...)
			pid := j.cmd.Process.Pid
			for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1} {
				for _, to := range []int{-pid, pid, pid, -pid, -pid, pid} {
					j.once(to, s)
				}
			}
			j.end()
		})
	}
}

// A CMD that has left the group gets what was sent to the group from ipcctl.
func TestCMDInAGroupOfItsOwnGetsSignalsOfTheGroup(t *testing.T) {
	w := newWorld(t)
	for _, parent := range parents {
		j := w.job(slices.Concat([]string{bin + "/ipcctl"}, parent, []string{"setsid"}, teller(t, unix.SIGTERM, unix.SIGCONT))...)
		for _, to := range []int{-j.cmd.Process.Pid, j.cmd.Process.Pid} {
			j.once(to, unix.SIGTERM)
		}
		j.end()
	}
}

// The process that watches the group ends with ipcctl, if that is killed, too.
func TestWitnessEndsWithIpcctl(t *testing.T) {
	w := newWorld(t)
	for _, killed := range []bool{false, true} {
		j := w.job(slices.Concat([]string{bin + "/ipcctl"}, parents[0], teller(t, unix.SIGCONT))...)
		witness := j.witness()
		if killed {
			j.signal(j.cmd.Process.Pid, unix.SIGKILL)
			_ = j.cmd.Wait()
		} else {
			j.end()
		}
		j.ended(witness)
		unix.Close(witness)
	}
}

// witnessOf finds the child that is ipcctl itself: its name is another one only when it has come to run.
func witnessOf(parent int) (pidfd int, err error) {
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return -1, err
	}
	for _, file := range all {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		var pid, ppid int
		var name, state string
		if n, _ := fmt.Sscanf(string(stat), "%d (%s %s %d", &pid, &name, &state, &ppid); n == 4 && ppid == parent && strings.HasPrefix(name, "ipcctl") {
			return unix.PidfdOpen(pid, 0)
		}
	}
	return -1, fmt.Errorf("%d has no witness", parent)
}
