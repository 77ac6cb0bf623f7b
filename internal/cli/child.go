package cli

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// A child is a CMD that ipcctl stays the parent of. Whoever deals with ipcctl deals with CMD: signals are passed on, and
// ipcctl ends as CMD does. ipcctl may be killed meanwhile: what CMD holds is CMD's.
type child struct {
	process *os.Process
	signals chan os.Signal
	ended   chan struct{}
	state   *os.ProcessState // to be read after ended
	err     error            // likewise, of waiting
}

// passedOn are the signals that a child gets from ipcctl. (SIGKILL and SIGSTOP cannot be.)
var passedOn = []os.Signal{
	unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGCONT, unix.SIGTSTP,
}

// startChild starts CMD. Whatever signal comes from then on is passed on, none is missed.
func startChild(file string, argv, env []string, files ...*os.File) (*child, error) {
	k := &child{signals: make(chan os.Signal, 16), ended: make(chan struct{})}
	catch(k.signals, passedOn) // CMD ignores the others, too
	var err error
	if k.process, err = spawn(file, argv, env, os.Stdin, files...); err != nil {
		signal.Stop(k.signals)
		return nil, err
	}
	go func() {
		k.state, k.err = k.process.Wait()
		close(k.ended)
	}()
	return k, nil
}

// wait passes signals on until the child has ended. The error tells how: a commandStatus, or a signalled.
func (k *child) wait() error {
	defer signal.Stop(k.signals)
	for {
		select {
		case s := <-k.signals:
			k.pass(s)
		case <-k.ended:
			return k.outcome()
		}
	}
}

func (k *child) outcome() error {
	if k.err != nil {
		return cannot("wait for CMD", k.err)
	}
	if s := signalThatEnded(k.state); s != 0 {
		return signalled(s)
	}
	if status := k.state.ExitCode(); status != 0 {
		return commandStatus(status)
	}
	return nil
}

// pass gives the child a signal that came here. What keys on the terminal send goes to all processes in its foreground,
// so the child has it already: a second Ctrl-C may mean something else to it.
func (k *child) pass(s os.Signal) {
	keyed := (s == unix.SIGINT || s == unix.SIGQUIT || s == unix.SIGTSTP) && inForeground()
	if !keyed {
		k.signal(s)
	}
	if s == unix.SIGTSTP {
		_ = unix.Kill(unix.Getpid(), unix.SIGSTOP) // with CMD stops its parent, so that a shell sees the job stopped
	}
}

// signal sends the child a signal. If that has ended, its end is what counts.
func (k *child) signal(s os.Signal) { _ = k.process.Signal(s) }

// inForeground reports whether this process is in the foreground of its terminal.
func inForeground() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return false // it has none
	}
	defer unix.Close(fd)
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// signalled is the end of a CMD by a signal. ipcctl ends likewise.
type signalled syscall.Signal

func (s signalled) Error() string { return "CMD was killed by signal " + signalName(syscall.Signal(s)) }

// program is the program of this process.
func program() string {
	file, err := os.Executable()
	if err != nil { // there is no /proc
		if found, err := lookPath(os.Args[0]); err == nil {
			return found
		}
	}
	if err != nil || executable(file) != nil { // it was replaced or removed while it ran
		return "/proc/self/exe"
	}
	return file
}
