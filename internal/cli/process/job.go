package process

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
)

// killAfter is how long the processes of a job have to end after SIGTERM.
const killAfter = 2 * time.Second

// A job is a CMD that runs for a request, in a process group of its own.
type job struct {
	process *os.Process
	mu      sync.Mutex
	reaped  bool // its number may be another's
}

// RunJob runs CMD with a payload on its standard input, and gives what it prints to send, part by part. What it says on standard error is
// passed on, and the last line of it is the error if it fails. When ctx ends, or send fails, its process group is killed; and so it is if
// this process is.
func RunJob(ctx context.Context, file string, argv, env []string, payload []byte, send func([]byte) error) error {
	stdin, err := payloadFile(string(payload))
	if err != nil {
		return exit.Cannot("hand over a payload", err)
	}
	defer stdin.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		return exit.Cannot("run CMD", err)
	}
	defer out.Close()
	said, stderr, err := os.Pipe()
	if err != nil {
		stdout.Close()
		return exit.Cannot("run CMD", err)
	}
	defer said.Close()
	p, err := spawn(file, argv, &os.ProcAttr{Env: env, Files: []*os.File{stdin, stdout, stderr}, Sys: &syscall.SysProcAttr{
		// For as long as there is no guard yet. The signal comes when the thread ends that has started CMD, and the runtime ends none
		// but those that a goroutine was locked to when it ended.
		Setpgid: true, Pdeathsig: unix.SIGKILL,
	}})
	stdout.Close()
	stderr.Close()
	if err != nil {
		return err
	}
	defer newGuard(p.Pid).dismiss()
	j := &job{process: p}
	defer context.AfterFunc(ctx, func() {
		j.end()
		_ = out.SetReadDeadline(time.Unix(1, 0)) // a process that has left the group may have the pipe still
	})()
	var last lastLine
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		last.follow(said)
	}()
	failed := passOn(out, send)
	if failed != nil {
		j.end()
	}
	state, err := j.wait()
	// What its own processes have said is there by now; what others of them, that go on in the background, will say is no part of it.
	_ = said.SetReadDeadline(time.Unix(1, 0)) // it fails only if the pipe is closed
	<-heard
	last.drain(said)
	switch {
	case err != nil:
		return exit.Cannot("wait for CMD", err)
	case ctx.Err() != nil:
		return ctx.Err()
	case failed != nil:
		return errors.New("CMD was killed: " + failed.Error())
	case state.Success():
		return nil
	case last.line() != "":
		return errors.New(last.line())
	}
	if s := signalThatEnded(state); s != 0 {
		return Signalled(s)
	}
	return exit.CommandStatus(state.ExitCode())
}

// passOn gives what comes from a pipe to send.
func passOn(out *os.File, send func([]byte) error) error {
	b := make([]byte, 64<<10)
	for {
		n, err := out.Read(b)
		if n > 0 {
			if err := send(b[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return nil //nolint:nilerr // it is the end
		}
	}
}

// wait waits until the job's first process has ended.
func (j *job) wait() (*os.ProcessState, error) {
	for {
		var info unix.Siginfo
		if err := unix.Waitid(unix.P_PID, j.process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			break // else the wait below says why
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.reaped = true
	return j.process.Wait()
}

// end has the processes of the job end.
func (j *job) end() {
	if j.signal(unix.SIGTERM) {
		time.AfterFunc(killAfter, func() { j.signal(unix.SIGKILL) })
	}
}

// signal sends a signal to the processes of the job, if the first of them is there still.
func (j *job) signal(s syscall.Signal) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.reaped {
		_ = unix.Kill(-j.process.Pid, s) // it fails only if they have ended
	}
	return !j.reaped
}

// A lastLine keeps the last line of what is said, and passes all of it on.
type lastLine struct {
	last []byte // the last that has something in it
	rest []byte // of one that goes on
}

// mostLine is how much of a line is kept.
const mostLine = 1 << 10

func (l *lastLine) take(b []byte) {
	_, _ = standardError().Write(b) // there is nowhere to complain
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if room := mostLine - len(l.rest); room > 0 {
			l.rest = append(l.rest, line[:min(room, len(line))]...)
		}
		if whole {
			l.end()
		}
		b = rest
	}
}

func (l *lastLine) end() {
	if len(bytes.TrimSpace(l.rest)) > 0 {
		l.last = append(l.last[:0], l.rest...)
	}
	l.rest = l.rest[:0]
}

func (l *lastLine) line() string {
	l.end()
	return strings.TrimSpace(string(l.last))
}

// follow takes what comes from a pipe, until it ends or its deadline has passed.
func (l *lastLine) follow(said *os.File) {
	b := make([]byte, 4<<10)
	for {
		n, err := said.Read(b)
		l.take(b[:n])
		if err != nil {
			return
		}
	}
}

// drain takes what is in a pipe, and does not wait for more.
func (l *lastLine) drain(said *os.File) {
	_ = said.SetReadDeadline(time.Time{})
	raw, err := said.SyscallConn()
	if err != nil {
		return
	}
	b := make([]byte, 4<<10)
	_ = raw.Read(func(fd uintptr) bool {
		for {
			n, err := unix.Read(int(fd), b)
			if n <= 0 || err != nil {
				return true
			}
			l.take(b[:n])
		}
	})
}
