package process

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
)

// A Child is a CMD that ipcctl stays the parent of. Whoever deals with ipcctl deals with CMD: signals are passed on, and
// ipcctl ends as CMD does. ipcctl may be killed meanwhile: what CMD holds is CMD's.
type Child struct {
	process *os.Process
	witness witness
	Signals chan os.Signal
	Ended   chan struct{}
	state   *os.ProcessState // to be read after ended
	err     error            // likewise, of waiting
}

// passedOn are the signals that a child gets from ipcctl. (SIGKILL and SIGSTOP cannot be.)
var passedOn = []os.Signal{
	unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGCONT, unix.SIGTSTP,
}

// StartChild starts CMD. Whatever signal comes from then on is passed on, none is missed.
func StartChild(file string, argv, env []string) (*Child, error) {
	k := &Child{Signals: make(chan os.Signal, 16), Ended: make(chan struct{})}
	Catch(k.Signals, passedOn) // CMD begins without the others, too
	k.witness = newWitness()
	var err error
	if k.process, err = Spawn(file, argv, env, os.Stdin); err != nil {
		signal.Stop(k.Signals)
		k.witness.dismiss()
		return nil, err
	}
	signal.Notify(k.Signals, passedOn...) // but it may have other plans
	go func() {
		k.state, k.err = k.process.Wait()
		close(k.Ended)
	}()
	return k, nil
}

// Wait passes signals on until the child has ended. The error tells how: an exit.CommandStatus, or a Signalled.
func (k *Child) Wait() error {
	defer signal.Stop(k.Signals)
	for {
		select {
		case s := <-k.Signals:
			k.Pass(s)
		case <-k.Ended:
			return k.Outcome()
		}
	}
}

// Outcome is how the child has ended: as Wait says it.
func (k *Child) Outcome() error {
	k.witness.dismiss()
	if k.err != nil {
		return exit.Cannot("wait for CMD", k.err)
	}
	if s := signalThatEnded(k.state); s != 0 {
		return Signalled(s)
	}
	if status := k.state.ExitCode(); status != 0 {
		return exit.CommandStatus(status)
	}
	return nil
}

// Pass gives the child a signal that came here, unless it has it already, as a member of the group that it was sent to: a second
// Ctrl-C or SIGTERM may mean something else to it.
func (k *Child) Pass(s os.Signal) {
	number, ok := s.(syscall.Signal)
	if group := ok && k.witness.saw(number); !group || !inGroup(k.process) {
		k.Signal(s)
	}
	if s == unix.SIGTSTP {
		_ = unix.Kill(unix.Getpid(), unix.SIGSTOP) // with CMD stops its parent, so that a shell sees the job stopped
	}
}

// inGroup reports whether a child is in the process group of this process, as it was when it began.
func inGroup(child *os.Process) bool {
	group, err := unix.Getpgid(child.Pid)
	return err == nil && group == unix.Getpgrp()
}

// Signal sends the child a signal. If that has ended, its end is what counts.
func (k *Child) Signal(s os.Signal) { _ = k.process.Signal(s) }

// Signalled is the end of a CMD by a signal. ipcctl ends likewise.
type Signalled syscall.Signal

func (s Signalled) Error() string { return "CMD was killed by signal " + SignalName(syscall.Signal(s)) }

// Program is the program of this process.
func Program() string {
	file, err := os.Executable()
	if err != nil { // there is no /proc
		if found, err := LookPath(os.Args[0]); err == nil {
			return found
		}
	}
	if err != nil || executable(file) != nil { // it was replaced or removed while it ran
		return "/proc/self/exe"
	}
	return file
}
