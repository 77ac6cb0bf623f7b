package cli

import (
	"errors"
	"iter"
	"strconv"
	"strings"
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
				"itself, with your rights, and never to another process that got the same number. It tells how " +
				"many cannot be signalled, and whom; the others are.",
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

// end signals those who held the lock, and with -k waits for their end. That one cannot be signalled is no reason to spare the others.
func (b *breakVerb) end(broken []claim, fds []int) error {
	var missed misses
	var targets []unix.PollFd
	var groups []*group
	whose := map[int32]*claim{} // nil: it is of a cgroup
	seen := map[int64]bool{}
	for h, fd := range formerHolders(broken, fds, &missed) {
		if isGroups(h) {
			groups = append(groups, &group{dir: fd, holder: h})
			continue
		}
		seen[int64(h.PID)] = true
		if err := signalProcess(fd, b.signal); err != nil {
			missed.add(h, err)
			continue
		}
		whose[int32(fd)] = h
		targets = append(targets, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	for _, g := range groups {
		targets = append(targets, g.signal(b.signal, seen)...)
	}
	if b.after.Set {
		targets = running(targets, time.Now().Add(b.after.D))
		for _, t := range targets {
			if err := signalProcess(int(t.Fd), unix.SIGKILL); err != nil && whose[t.Fd] != nil {
				missed.add(whose[t.Fd], err)
			}
		}
		for _, g := range groups { // those, too, that were started meanwhile
			targets = append(targets, g.signal(unix.SIGKILL, map[int64]bool{})...)
		}
		running(targets, time.Time{})
	}
	for _, g := range groups {
		if g.failed != nil {
			missed.add(g.holder, g.failed)
		}
	}
	return missed.failure()
}

// formerHolders gives the processes and cgroups that held a lock, each once, with a descriptor: that which the daemon has sent, if there
// was room for it, or else one of the process that had the number and has it still. One that has ended is left out.
func formerHolders(broken []claim, fds []int, missed *misses) iter.Seq2[*claim, int] {
	return func(yield func(*claim, int) bool) {
		type id struct {
			pid   int
			start uint64
		}
		had := map[id]bool{}
		var others []*claim
		for i := range broken {
			h := &broken[i]
			if h.raw.Get("pidfd").Int == 0 || len(fds) == 0 {
				others = append(others, h)
				continue
			}
			had[id{h.PID, h.Start}] = true
			if !yield(h, fds[0]) {
				return
			}
			fds = fds[1:]
		}
		for _, h := range others {
			if h.Bound == "lease" || isOperators(h) || !isGroups(h) && had[id{h.PID, h.Start}] {
				continue
			}
			had[id{h.PID, h.Start}] = true
			fd, err := openHolder(h)
			if err != nil {
				missed.add(h, err)
			} else if fd >= 0 && !yield(h, fd) {
				return
			}
		}
	}
}

// openHolder opens a pidfd of a process that held a lock: -1 if it has ended.
func openHolder(h *claim) (pidfd int, err error) {
	if h.PID == 0 {
		return -1, errors.New("the daemon could not pass a descriptor")
	}
	pidfd, err = process.Open(h.PID)
	if errors.Is(err, unix.ESRCH) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	// If it is that process now, nobody else had the number when it was opened.
	p, seen := process.Find(int64(h.PID))
	if seen && h.of(p) {
		return pidfd, nil
	}
	if !seen && len(running([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, time.Now())) > 0 {
		err = unix.EACCES // it is hidden (hidepid), and may be another one
	}
	unix.Close(pidfd)
	return -1, err
}

// misses are the former holders that could not be signalled, or not all of whose processes could be.
type misses struct {
	who    []*claim
	why    error // of the first
	denied bool  // one of them
}

func (m *misses) add(h *claim, err error) {
	if len(m.who) == 0 {
		m.why = err
	}
	m.who = append(m.who, h)
	m.denied = m.denied || errors.Is(err, unix.EPERM)
}

// mostMissed is how many of them are named.
const mostMissed = 8

// failure tells of them; nil if there are none.
func (m *misses) failure() error {
	status := exit.OS
	if m.denied {
		status = exit.Denied
	}
	var names []string
	for i, h := range m.who {
		if i == mostMissed {
			names = append(names, "…")
			break
		}
		names = append(names, describeClaim(h))
	}
	who := strings.Join(names, ", ")
	switch n := len(m.who); n {
	case 0:
		return nil
	case 1:
	default:
		who = strconv.Itoa(n) + " of those who held it: " + who
	}
	return exit.Fail(status, "cannot signal "+who+": "+exit.Reason(m.why))
}

// A group is a cgroup that held a lock, by its directory.
type group struct {
	dir    int
	holder *claim
	failed error // of one of its processes
}

// signal sends a signal to all processes of a cgroup that were not seen before, and to those that they start meanwhile. It means only
// those of the user whose hold it was: he may be in the unit of others, and its end is not his to bring about.
func (g *group) signal(s syscall.Signal, seen map[int64]bool) (found []unix.PollFd) {
	for {
		members := process.Members(g.dir, int64(g.holder.UID), seen)
		if len(members) == 0 {
			return found
		}
		for _, fd := range members {
			if err := signalProcess(fd, s); err != nil {
				g.failed = err
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
