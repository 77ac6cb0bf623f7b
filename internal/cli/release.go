package cli

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

type releaseVerb struct {
	pid   int
	token string
}

func release() *verb.Verb {
	var r releaseVerb
	return &verb.Verb{
		Name:     "release",
		Group:    "Locks",
		Summary:  "Give a lock back",
		Synopsis: []string{"[-p PID|-t TOKEN] NAME"},
		About: []string{
			"Gives back the lock NAME that the nearest ancestor of this process holds: a script that took it with `ipcctl " +
				"acquire --parent`, or that runs under `ipcctl lock`. The daemon finds that ancestor, so it is right in containers, " +
				"too. If no ancestor holds NAME, your own `ipcctl hold NAME` ends.",
			"If several processes share a hold, because some entered the lock that they run under, the one that is found leaves " +
				"it; the hold ends with the last one. With `-t`, the whole hold ends: one of yours, or any if you are root.",
		},
		Options: []verb.Option{
			pidOption(&r.pid, "Give back what the process PID holds"),
			tokenOption(&r.token, "Give back the hold that has this token"),
		},
		Examples: []verb.Example{
			{Line: "ipcctl release deploy", Help: "At the end of a part that must not run twice at a time."},
		},
		Exits: []int{exit.Data, exit.NoLock},
		Words: []string{"NAME"},
		Least: 1,
		Most:  1,
		Run:   r.run,
	}
}

func (r *releaseVerb) run(c *verb.Call) error {
	if r.pid != 0 && r.token != "" {
		return exit.Unparsed("release", "--pid and --token exclude each other").With(c.Verb.Usage())
	}
	name := c.Words[0]
	conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	token, err := r.release(conn, name)
	if errors.Is(err, ipc.ErrNoLock) && r.token == "" {
		return r.notHeld(conn, name)
	}
	if err != nil {
		return exit.Cannot("release "+printable.Name(name), err)
	}
	if c.Verbose {
		c.Say("released " + printable.Name(name) + ", token " + token)
	}
	return nil
}

// release gives the lock back and returns the token of the hold that was meant. The daemon finds that out itself: the numbers of
// processes may be others here, or none.
func (r *releaseVerb) release(conn *ipc.Conn, name string) (token string, err error) {
	var hold wire.Value
	switch {
	case r.token != "":
		_, err = conn.Do("LOCK.RELEASE", name, r.token)
		return r.token, err
	case r.pid == 0:
		hold, err = doProven(conn, "LOCK.RELEASE", name, "FOR", "ancestor")
		return hold.Text(), err
	}
	pidfd, err := process.Open(r.pid)
	if errors.Is(err, unix.ESRCH) { // and what it held has ended, too
		err = ipc.ErrNoLock
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(pidfd)
	if err = conn.SendFDs([]int{pidfd}, "LOCK.RELEASE", name, "FOR", "pid"); err == nil {
		hold, err = conn.Reply()
	}
	return hold.Text(), err
}

func (r *releaseVerb) notHeld(conn *ipc.Conn, name string) error {
	who := "no process that this one descends from holds it, nor do you by ipcctl hold"
	if r.pid != 0 {
		who = "that process does not hold it"
	}
	f := exit.Fail(exit.NoLock, "cannot release "+printable.Name(name)+": "+who)
	v, err := viewLock(conn, name)
	if err != nil {
		return f
	}
	if len(v.holders) > 0 {
		h := &v.holders[0]
		f.Hint = "held by " + describeClaim(h) + ": ipcctl release -t " + tokenText(h.Token) + " " + printable.Name(name)
	}
	return f
}
