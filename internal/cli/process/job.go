package process

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
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
	guard   guard // of its group
	mu      sync.Mutex
	kill    time.Time // when its processes are killed, as they were told to end; zero: they were not
	reaped  bool      // the first process is not there any more
	over    bool      // the guard is not either
}

// newJob is the job of which the first process has just begun.
func newJob(p *os.Process) *job { return &job{process: p, guard: newGuard(p.Pid)} }

// RunJob runs CMD with a payload on its standard input, and gives what it prints to send, part by part. What it says on standard error is
// passed on, and the last line of it is the error if it fails. When ctx ends, or send fails, its process group is killed, before RunJob
// returns; and so it is if this process is.
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
	j := newJob(p)
	defer j.dismiss()
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

// wait waits until the job's first process has ended; if all were told to end, until they have, or are killed.
func (j *job) wait() (*os.ProcessState, error) {
	for {
		var info unix.Siginfo
		if err := unix.Waitid(unix.P_PID, j.process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			break // else the wait below says why
		}
	}
	j.mu.Lock()
	state, err := j.process.Wait()
	j.reaped = true
	kill := j.kill
	j.mu.Unlock()
	if !kill.IsZero() {
		j.waitForRest(kill)
	}
	return state, err
}

// end has the processes of the job end, unless the first of them has been waited for: what goes on then is no part of the job.
func (j *job) end() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.reaped || !j.kill.IsZero() {
		return
	}
	j.kill = time.Now().Add(killAfter)
	j.signal(unix.SIGTERM)
	time.AfterFunc(killAfter, j.killAll)
}

// killAll kills the processes of the job.
func (j *job) killAll() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.signal(unix.SIGKILL)
}

// signal sends a signal to the processes of the job. Their group has its number for as long as the first of them is there, or the guard,
// though that has ended: else it may be another's by now.
func (j *job) signal(s syscall.Signal) {
	if !j.reaped || j.guard.pid != 0 && !j.over {
		_ = unix.Kill(-j.process.Pid, s) // it fails only if they have ended
	}
}

// dismiss lets go of the processes that are left of a job.
func (j *job) dismiss() {
	j.mu.Lock()
	j.over = true
	j.mu.Unlock()
	j.guard.dismiss()
}

// waitForRest waits until the others of the group of a job have ended, of which the first has. Those that have not are killed at a time.
func (j *job) waitForRest(kill time.Time) {
	if j.guard.pid == 0 {
		return
	}
	list := func() []byte { return processesOf(j.process.Pid) }
	guard := int64(j.guard.pid)
	if seen := map[int64]bool{guard: true}; slices.Contains(slices.Collect(numbers(list())), guard) {
		for rest := members(list, 0, seen); len(rest) > 0; rest = members(list, 0, seen) {
			for _, fd := range rest {
				waitForEnd(fd, kill)
				unix.Close(fd)
			}
		}
	} else {
		time.Sleep(time.Until(kill)) // the /proc is that of other processes' namespace
	}
	if !time.Now().Before(kill) {
		j.killAll()
	}
}

// waitForEnd waits until the process of a pidfd has ended, or a time has come.
func waitForEnd(pidfd int, until time.Time) {
	for left := time.Until(until); left > 0; left = time.Until(until) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// processesOf are the processes of a group, a number in each line.
func processesOf(group int) (list []byte) {
	proc, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(proc)
	for _, name := range below(proc) {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue // it is no process
		}
		if g, err := unix.Getpgid(pid); err == nil && g == group {
			list = append(append(list, name...), '\n')
		}
	}
	return list
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
