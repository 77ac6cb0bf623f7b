package cli

import (
	"errors"
	"os"
	"os/signal"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

type acquireVerb struct {
	request
	pid    int
	parent bool
	unit   string
	print  bool
}

func acquire() *verb.Verb {
	a := acquireVerb{request: request{conflict: unset}}
	return &verb.Verb{
		Name:    "acquire",
		Group:   "Locks",
		Summary: "Take a lock for a running process, a unit, or some time",
		Synopsis: []string{
			"[-s|-x] [-n] [-w D] [-E N] [-m TEXT] [-a NAME]… [-l N] [-U N] [-t] --parent|-p PID|--unit UNIT NAME",
			"[OPTION…] -L D NAME",
		},
		About: []string{
			"With `--parent`, waits for its turn and takes the lock NAME for the process that started ipcctl: the shell that " +
				"runs the script, or the subshell, between parentheses or in the background. That process holds the lock until " +
				"`ipcctl release NAME` or until it ends, however it ends. This replaces flock(1) with a descriptor. Behind a " +
				"wrapper, as with `sudo ipcctl`, the parent is the wrapper, and the lock ends with it: use `-p` there.",
			"With `-p`, the same for the process PID: one of your own, or any if you are root. `$$` is the same process in all " +
				"subshells of a script, so by it they do not exclude each other.",
			"With `--unit`, all processes of a systemd unit hold the lock together: from the first command of ExecStartPre= to " +
				"the end of the last process, over all commands of the unit, with nobody in between. The lock ends when systemd " +
				"removes the unit's cgroup, because the unit was stopped, has failed, or has nothing left to run (also with " +
				"RemainAfterExit=), or before, by `ipcctl release NAME` in the unit. The next holder is not told how the unit ended. " +
				"The unit must be the one that this process is in, or your user's; root may name any.",
			"With `-L`, the lock is bound to no process but to time: for work that another machine does, or that one process " +
				"hands to the next. It ends with `ipcctl release -t TOKEN NAME`, or after D. `ipcctl renew -t TOKEN NAME` makes it " +
				"last longer.",
			"A process cannot change the environment of the shell that started it. If what the script starts should enter the " +
				"lock, instead of waiting for it or failing with 80, the script has to export the token itself: see the examples.",
			"With `--json`, prints an object of name, token, mode, previous (how the holder before ended) and abandoned.",
		},
		Options: append(a.options(),
			verb.Flag(0, "parent", &a.parent, "The process that started ipcctl holds the lock"),
			pidOption(&a.pid, "The process PID holds the lock"),
			verb.Text(0, "unit", "UNIT", &a.unit, "All processes of UNIT together hold the lock, until the last one has ended"),
			leaseOption(&a.lease, "The lock is held this long, whichever processes end"),
			verb.Flag('t', "print-token", &a.print, "Print the fencing token, higher than that of every earlier hold; a line for each lock"),
		),
		Examples: []verb.Example{
			{Line: "ipcctl acquire --parent deploy || exit", Help: "The rest of the script, or of the subshell, runs under the lock."},
			{Line: "token=$(ipcctl acquire -t --parent report)", Help: "Take a lock, and keep its token."},
			{Line: `export IPC_LOCKS="$token report"`, Help: "Then let what the script starts enter the lock."},
			{Line: "token=$(ipcctl acquire -t -L 30m tape) && ssh robot load --token $token", Help: "A lock that goes with the work, to another machine."},
			{Line: "ExecStartPre=ipcctl acquire --unit %n backup", Help: "All commands of the unit run under one lock."},
		},
		Exits: append(append([]int{}, requestExits...), exit.NotFound),
		Words: []string{"NAME"},
		Least: 1,
		Most:  1,
		Run:   a.run,
	}
}

func (a *acquireVerb) run(c *verb.Call) error {
	names := append([]string{c.Words[0]}, a.and...)
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
	// Whoever reads may be gone. By default that ends the process in the middle of what follows.
	process.Catch(make(chan os.Signal, 1), []os.Signal{unix.SIGPIPE})
	sayGranted(c, grants)
	for _, g := range grants {
		a.tell(c, g)
	}
	if err := c.Out.Flush(); err != nil { // who does not get the token cannot give it back
		err = giveBack(c, grants, who, err)
		if errors.Is(err, unix.EPIPE) && !signal.Ignored(unix.SIGPIPE) {
			process.Die(unix.SIGPIPE)
		}
		return err
	}
	return nil
}

// holder is who is to hold the locks.
func (a *acquireVerb) holder(c *verb.Call) (holder, error) {
	said := []string{}
	for _, o := range []struct {
		name string
		is   bool
	}{{"--parent", a.parent}, {"--pid", a.pid != 0}, {"--unit", a.unit != ""}, {"--lease", a.lease.Set}} {
		if o.is {
			said = append(said, o.name)
		}
	}
	switch {
	case len(said) > 1:
		return holder{}, exit.Unparsed("acquire", said[0]+" and "+said[1]+" exclude each other").With(c.Verb.Usage())
	case a.lease.Set:
		return holder{pid: os.Getpid(), pidfd: -1, shows: ipc.InheritedHolds()}, nil
	case a.parent:
		pid, pidfd, err := process.Parent()
		if err != nil {
			return holder{}, exit.Fail(exit.NotFound, "cannot find the process that started ipcctl: "+err.Error()).
				With("ipcctl acquire --pid PID " + printable.Name(c.Words[0]))
		}
		return holder{bound: "pid", pid: pid, pidfd: pidfd, shows: ipc.InheritedHolds()}, nil
	case a.unit != "":
		path, err := process.UnitGroup(a.unit)
		return holder{bound: path, pidfd: -1, shows: ipc.InheritedHolds()}, err
	case a.pid == 0:
		return holder{}, exit.Unparsed("acquire", "--parent is missing, or --pid, --unit or --lease").With("ipcctl acquire --parent " + printable.Name(c.Words[0]))
	}
	pidfd, err := process.Open(a.pid)
	if err != nil {
		status := exit.OS
		if errors.Is(err, unix.ESRCH) {
			status = exit.NotFound
		}
		return holder{}, exit.Fail(status, "cannot find process "+strconv.Itoa(a.pid)+": "+exit.Reason(err))
	}
	return holder{bound: "pid", pid: a.pid, pidfd: pidfd, shows: ipc.InheritedHolds()}, nil
}

// tell says what was granted.
func (a *acquireVerb) tell(c *verb.Call, grant ipc.Hold) {
	switch {
	case c.JSON:
		var o term.Object
		o.Text("name", grant.Name)
		o.Number("token", int64(grant.Token))
		o.Text("mode", grant.Mode)
		o.Text("previous", grant.Previous)
		o.Text("abandoned", grant.Abandoned)
		c.Out.Object(&o)
	case a.print:
		c.Out.Clean(tokenText(grant.Token)).Text("\n")
	}
}
