package cli

import (
	"errors"
	"os"
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
		Summary: "Take a lock for a running process, or for some time",
		Synopsis: []string{
			"[-s|-x] [-n] [-w D] [-E N] [-m TEXT] [-a NAME]… [-l N] [-U N] [-t] --parent|-p PID|--unit UNIT NAME",
			"[OPTION…] -L D NAME",
		},
		About: []string{
			"With `--parent`, waits for its turn and takes the lock NAME for the process that started ipcctl: the shell that runs the script, or " +
				"the subshell, between parentheses or in the background. The lock is held from there on until `ipcctl release NAME` or the end of " +
				"that process, however it ends. This is what replaces flock(1) with a descriptor. Behind a wrapper, as with `sudo ipcctl`, " +
				"that process is the wrapper, and the lock ends with it: there, say which process with `-p`.",
			"With `-p`, the same for the process PID. `$$` is the script in all of its subshells, which therefore do not exclude each other by it. " +
				"Only your own processes; root: any.",
			"With `--unit`, the lock is held by a unit of systemd as a whole: from the first command of ExecStartPre= to the end of the last process, " +
				"over all commands of the unit and with nobody in between. It ends when systemd removes the unit's cgroup, because the unit was stopped, has failed, or has nothing left to run " +
				"(also with RemainAfterExit=). How it ended is not known to the next holder. `ipcctl release NAME`, in the unit, ends it before. " +
				"Only for a unit that this process is in, or that is your user's; root: any.",
			"With `-L`, the lock is bound to no process but to time: for work that is done on another machine, or handed from one process to the next. " +
				"It ends with `ipcctl release -t TOKEN NAME`, or after D. `ipcctl renew -t TOKEN NAME` has it last longer.",
			"A process cannot change the environment of the shell that started it. If what the script starts is to enter the lock as well, instead of " +
				"waiting for it or failing with 80, let the script export the token itself: see the examples.",
		},
		Options: append(a.options(),
			verb.Flag(0, "parent", &a.parent, "The process that started ipcctl is to hold the lock"),
			pidOption(&a.pid, "The process PID is to hold the lock"),
			verb.Text(0, "unit", "UNIT", &a.unit, "All processes of UNIT together are to hold the lock, until the last one has ended"),
			verb.Duration('L', "lease", &a.lease, "Hold the lock this long, whoever lives or dies"),
			verb.Flag('t', "print-token", &a.print, "Print the fencing token, higher than that of every hold before; a line for each lock"),
		),
		Examples: []verb.Example{
			{Line: "ipcctl acquire --parent deploy || exit", Help: "The rest of the script, or of the subshell, runs under the lock."},
			{Line: "token=$(ipcctl acquire -t --parent report)", Help: "Take a lock, and its token."},
			{Line: `export IPC_LOCKS="$token report"`, Help: "And let what the script starts enter the lock."},
			{Line: "token=$(ipcctl acquire -t -L 30m tape) && ssh robot load --token $token", Help: "A lock that goes with the work."},
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
	sayGranted(c, grants)
	for _, g := range grants {
		a.tell(c, g)
	}
	if err := c.Out.Flush(); err != nil { // who does not get the token cannot give it back
		return giveBack(c, grants, who, err)
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
	pidfd, err := unix.PidfdOpen(a.pid, 0)
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
