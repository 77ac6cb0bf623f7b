package process

import (
	"errors"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
)

// LookPath finds the program that CMD names, as a shell would.
func LookPath(name string) (string, error) {
	if name == "" {
		return "", exit.Fail(exit.NoCmd, `cannot run "": it is no command`)
	}
	if strings.Contains(name, "/") {
		if err := executable(name); err != nil {
			return "", notRun(name, err)
		}
		return name, nil
	}
	path, set := os.LookupEnv("PATH")
	if !set {
		path = "/bin:/usr/bin"
	}
	var found error = unix.ENOENT
	for dir := range strings.SplitSeq(path, ":") {
		if dir == "" {
			dir = "."
		}
		file := dir + "/" + name
		err := executable(file)
		if err == nil {
			return file, nil
		}
		if !missing(err) {
			found = err // but another directory may have one that works
		}
	}
	if missing(found) {
		return "", exit.Fail(exit.NoCmd, "cannot run "+name+": it is not found").With("PATH is " + path)
	}
	return "", notRun(name, found)
}

func executable(file string) error {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return unix.EACCES
	}
	return unix.Faccessat(unix.AT_FDCWD, file, unix.X_OK, unix.AT_EACCESS)
}

func missing(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) }

func notRun(name string, err error) *exit.Failure {
	status := exit.NoExec
	if missing(err) {
		status = exit.NoCmd
	}
	return exit.Fail(status, "cannot run "+name+": "+exit.Reason(err))
}

// Become replaces this process by CMD, which gets signals and timers as this process got them. It returns only if that fails.
func Become(file string, argv, env []string) error {
	ignoreReceived()
	if received.blocked == 0 {
		beExact() // To lock this thread would start another. Nothing waits from here on, so this is the one that calls execve.
	} else {
		defer asReceived()()
	}
	err := unix.Exec(file, argv, env)
	if errors.Is(err, unix.ENOEXEC) { // a script without #!, which shells have always run
		err = unix.Exec("/bin/sh", append([]string{"sh", file}, argv[1:]...), env)
	}
	return notRun(argv[0], err)
}

// Spawn starts CMD as a child, which gets signals, timers and descriptors as this process got them.
func Spawn(file string, argv, env []string, stdin *os.File) (*os.Process, error) {
	return spawn(file, argv, &os.ProcAttr{Env: env, Files: []*os.File{stdin, os.Stdout, os.Stderr}})
}

// standardError is where what a job says goes.
func standardError() *os.File { return os.Stderr }

func spawn(file string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	name := argv[0]
	file, argv = through(file, argv)
	defer asReceived()()
	p, err := os.StartProcess(file, argv, attr)
	if errors.Is(err, unix.ENOEXEC) {
		p, err = os.StartProcess("/bin/sh", append([]string{"sh", file}, argv[1:]...), attr)
	}
	if err != nil {
		return nil, notRun(name, err)
	}
	return p, nil
}

// Ended waits for a child and gives its status as a shell would.
func Ended(p *os.Process) (exit.CommandStatus, error) {
	state, err := p.Wait()
	if err != nil {
		return 0, exit.Cannot("wait for CMD", err)
	}
	if s := signalThatEnded(state); s != 0 {
		return exit.CommandStatus(128 + int(s)), nil
	}
	return exit.CommandStatus(state.ExitCode()), nil
}

// signalThatEnded is the signal that killed a child, or 0.
func signalThatEnded(state *os.ProcessState) syscall.Signal {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return status.Signal()
	}
	return 0
}
