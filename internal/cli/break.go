package cli

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
)

type breakVerb struct {
	why    string
	signal syscall.Signal
	after  verb.Span
}

func breakLock() *verb.Verb {
	var b breakVerb
	return &verb.Verb{
		Name:     "break",
		Group:    "Locks",
		Summary:  "Take a lock away from its holders",
		Synopsis: []string{"[-m TEXT] [--signal=SIG] [-k D] NAME"},
		About: []string{
			"Ends all holds of the lock NAME at once, and the first in the queue gets it. You may end your own user's holds; " +
				"root may end all. The daemon logs who did it, to whom and why.",
			"The holders are told, if they listen (see `--on-lost` of `ipcctl lock`); otherwise they go on as if they still held " +
				"the lock. So `--signal` sends them a signal, and `-k` also SIGKILL if they do not end in time. ipcctl sends these " +
				"itself, with your rights, and never to another process that got the same number.",
			"If a unit holds the lock, each of its processes gets the signal (see `--unit` of `ipcctl acquire`); so does all " +
				"that runs under `ipcctl lock --scope`. Otherwise a holder's children get none: they may work on when it has ended.",
		},
		Options: []verb.Option{
			verb.Text('m', "why", "TEXT", &b.why, "The reason, for the log and the holders"),
			signalOption(0, "signal", &b.signal, "Send this signal to the processes that held the lock"),
			verb.Duration('k', "kill-after", &b.after, "Send SIGTERM, or what `--signal` says, and SIGKILL to those that still run after this time; wait for their end"),
		},
		Examples: []verb.Example{
			{Line: "ipcctl break -m 'hangs since noon' backup", Help: "Let the next one have the lock."},
			{Line: "ipcctl break -k 10s backup", Help: "The same, and end the holder, by force if need be."},
		},
		Exits: []int{exit.Data, exit.NoLock},
		Words: []string{"NAME"},
		Least: 1,
		Most:  1,
		Run:   b.run,
	}
}

func (b *breakVerb) run(c *verb.Call) error {
	name := c.Words[0]
	if b.after.Set && b.signal == 0 {
		b.signal = unix.SIGTERM
	}
	conn, err := c.Dial3()
	if err != nil {
		return err
	}
	defer conn.Close()
	words := []string{"LOCK.BREAK", name}
	if b.why != "" {
		words = append(words, "WHY", b.why)
	}
	if b.signal != 0 {
		words = append(words, "PIDFD")
	}
	broken, fds, err := conn.DoFDs(words...)
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	if err != nil {
		return exit.Cannot("break "+printable.Name(name), err)
	}
	claims := claimsOf(broken)
	if len(claims) == 0 {
		return exit.Fail(exit.NoLock, "cannot break "+printable.Name(name)+": nobody holds it")
	}
	for i := range claims {
		h := &claims[i]
		if c.JSON {
			c.Out.Object(claimObject(h))
		}
		if c.Verbose {
			c.Say("broke the hold of " + describeClaim(h) + ", token " + tokenText(h.Token))
		}
	}
	if b.signal == 0 {
		return nil
	}
	return b.end(claims, fds)
}

// end signals those who held the lock, and with -k waits for their end.
func (b *breakVerb) end(broken []claim, fds []int) error {
	var failed error
	var targets []unix.PollFd
	var groups []group
	seen := map[int64]bool{}
	for i := range broken {
		seen[int64(broken[i].PID)] = true
	}
	next := 0
	for i := range broken {
		h := &broken[i]
		if h.raw.Get("pidfd").Int == 0 || next == len(fds) {
			continue
		}
		fd := fds[next]
		next++
		if isGroups(h) {
			groups = append(groups, group{fd, int64(h.UID)})
			continue
		}
		if err := signalProcess(fd, b.signal); err != nil {
			failed = cannotSignal(h, err)
			continue
		}
		targets = append(targets, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	for _, g := range groups {
		found, err := g.signal(b.signal, seen)
		if err != nil {
			failed = err
		}
		targets = append(targets, found...)
	}
	if !b.after.Set {
		return failed
	}
	targets = running(targets, time.Now().Add(b.after.D))
	for _, t := range targets {
		if err := signalProcess(int(t.Fd), unix.SIGKILL); err != nil {
			return exit.Fail(exit.Denied, "cannot kill those who held it: "+exit.Reason(err))
		}
	}
	for _, g := range groups { // those, too, that were started meanwhile
		found, err := g.signal(unix.SIGKILL, map[int64]bool{})
		if err != nil {
			failed = err
		}
		targets = append(targets, found...)
	}
	running(targets, time.Time{})
	return failed
}

// A group is a cgroup that held a lock, by its directory, for a user.
type group struct {
	dir int
	uid int64
}

// signal sends a signal to all processes of a cgroup that were not seen before, and to those that they start meanwhile. It means only
// those of the user whose hold it was: he may be in the unit of others, and its end is not his to bring about.
func (g group) signal(s syscall.Signal, seen map[int64]bool) (found []unix.PollFd, failed error) {
	for {
		members := process.Members(g.dir, g.uid, seen)
		if len(members) == 0 {
			return found, failed
		}
		for _, fd := range members {
			if err := signalProcess(fd, s); err != nil {
				failed = exit.Fail(exit.Denied, "cannot signal a process of the unit that held it: "+exit.Reason(err))
				continue
			}
			found = append(found, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
}

// signalProcess sends a signal to a process, which may have ended.
func signalProcess(pidfd int, s syscall.Signal) error {
	if err := unix.PidfdSendSignal(pidfd, s, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

func cannotSignal(h *claim, err error) *exit.Failure {
	status := exit.OS
	if errors.Is(err, unix.EPERM) {
		status = exit.Denied
	}
	return exit.Fail(status, "cannot signal "+describeClaim(h)+": "+exit.Reason(err))
}

// running waits until processes have ended, or for the deadline if there is one, and returns those that have not.
func running(targets []unix.PollFd, deadline time.Time) []unix.PollFd {
	for len(targets) > 0 {
		timeout := -1
		if !deadline.IsZero() {
			timeout = int(max(0, min(time.Until(deadline)+time.Millisecond-1, time.Hour)) / time.Millisecond)
		}
		n, err := unix.Poll(targets, timeout)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return targets // nothing can be waited for
		}
		var left []unix.PollFd
		for _, t := range targets {
			if t.Revents == 0 {
				left = append(left, t)
			}
		}
		targets = left
		if n == 0 && timeout == 0 {
			break
		}
	}
	return targets
}
