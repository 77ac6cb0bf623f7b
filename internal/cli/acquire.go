package cli

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

type acquireVerb struct {
	request
	pid   int
	print bool
}

func acquire() *Verb {
	a := acquireVerb{request: request{conflict: unset}}
	return &Verb{
		Name:    "acquire",
		Group:   "Locks",
		Summary: "Take a lock for a running process, or for some time",
		Synopsis: []string{
			"[-s|-x] [-n] [-w D] [-E N] [-m TEXT] [-a NAME]… [-l N] [-U N] [-t] -p PID NAME",
			"[OPTION…] -L D NAME",
		},
		About: []string{
			"With `-p`, waits for its turn and takes the lock NAME for the process PID, mostly `$$`: the shell script itself. The lock " +
				"is held from there on until `ipcctl release NAME` or the end of that process, however it ends. This is what " +
				"replaces flock(1) with a descriptor. Only your own processes; root: any.",
			"With `-L`, the lock is bound to no process but to time: for work that is done on another machine, or handed from one process to the next. " +
				"It ends with `ipcctl release -t TOKEN NAME`, or after D. There is no verb to renew it: `ipcctl raw LOCK.RENEW NAME TOKEN LEASE MS`, " +
				"where MS is milliseconds from now.",
			"A process cannot change the environment of the shell that started it. If what the script starts is to enter the lock as well, instead of " +
				"waiting for it or failing with 80, let the script export the token itself: see the examples.",
		},
		Options: append(a.options(),
			number('p', "pid", "PID", &a.pid, 1, many, "The process that is to hold the lock"),
			duration('L', "lease", &a.lease, "Hold the lock this long, whoever lives or dies"),
			flag('t', "print-token", &a.print, "Print the fencing token, higher than that of every hold before; a line for each lock"),
		),
		Examples: []Example{
			{"ipcctl acquire --pid $$ deploy", "The rest of the script runs under the lock."},
			{"token=$(ipcctl acquire -t -p $$ report)", "Take a lock, and its token."},
			{`export IPC_LOCKS="$token report"`, "And let what the script starts enter the lock."},
			{"token=$(ipcctl acquire -t -L 30m tape) && ssh robot load --token $token", "A lock that goes with the work."},
		},
		Exits: append(append([]int{}, requestExits...), exitNotFound),
		words: []string{"NAME"},
		least: 1,
		most:  1,
		run:   a.run,
	}
}

func (a *acquireVerb) run(c *call) error {
	names := append([]string{c.words[0]}, a.and...)
	who, err := a.holder(c)
	if err != nil {
		return err
	}
	if who.pidfd >= 0 {
		defer unix.Close(who.pidfd)
	}
	grants, err := a.take(c, names, who)
	if err != nil {
		return err
	}
	for _, g := range grants {
		a.tell(c, g)
	}
	if err := c.out.flush(); err != nil { // who does not get the token cannot give it back
		return giveBack(c, grants, who, err)
	}
	return nil
}

// holder is who is to hold the locks.
func (a *acquireVerb) holder(c *call) (holder, error) {
	switch {
	case a.lease.set && a.pid != 0:
		return holder{}, unparsed("acquire", "--pid and --lease exclude each other").with(c.verb.usage())
	case a.lease.set:
		return holder{pid: os.Getpid(), pidfd: -1, shows: ipc.InheritedHolds()}, nil
	case a.pid == 0:
		return holder{}, unparsed("acquire", "--pid is missing, or --lease").with("ipcctl acquire --pid $$ " + printable.Name(c.words[0]))
	}
	pidfd, err := unix.PidfdOpen(a.pid, 0)
	if err != nil {
		status := exitOS
		if errors.Is(err, unix.ESRCH) {
			status = exitNotFound
		}
		return holder{}, fail(status, "cannot find process "+strconv.Itoa(a.pid)+": "+reason(err))
	}
	return holder{bound: "pid", pid: a.pid, pidfd: pidfd, shows: ipc.InheritedHolds()}, nil
}

// tell says what was granted.
func (a *acquireVerb) tell(c *call, grant ipc.Hold) {
	if c.verbose {
		c.say(describeGrant(grant))
	}
	switch {
	case c.json:
		var o object
		o.text("name", grant.Name)
		o.number("token", int64(grant.Token))
		o.text("mode", grant.Mode)
		o.text("previous", grant.Previous)
		o.text("abandoned", grant.Abandoned)
		c.out.object(&o)
	case a.print:
		c.out.clean(tokenText(grant.Token)).text("\n")
	}
}
