package cli

import (
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

type lockVerb struct {
	request
	status    statusFile
	shell     string // -c
	version   bool
	abandoned string         // what to do if the hold before was: "" is run
	unreaped  string         // what to do if it may have been, and that is not known yet: "" is what abandoned says
	lost      syscall.Signal // 0: CMD is not told
	child     bool           // that of a guard
	scope     bool           // it is to run in a scope
	scoped    bool           // and does

	then func(*verb.Call, []ipc.Hold) error // done by the process that becomes CMD, under the locks; nil: nothing
}

func newLock() *lockVerb { return &lockVerb{request: request{conflict: unset}} }

func lock() *verb.Verb { return newLock().verb() }

func (l *lockVerb) verb() *verb.Verb {
	options := append(l.options(),
		leaseOption(&l.lease, "Hold the lock by a lease of this length, which ipcctl renews while CMD runs: the lock is free this long after the last renewal"),
		verb.Text(0, "on-abandoned", "run|fail|CMD", &l.abandoned, "If the last holder was cut off: `run` CMD all the same (the default); "+
			"`fail` with 81; or run this command first, by `sh -c`, and fail with 81 if it fails"),
		verb.Text(0, "on-unreaped", "run|fail|CMD", &l.unreaped, "The same if the last holder's process has ended, and nobody knows yet how. "+
			"The default is what `--on-abandoned` says, since it may have been killed"),
		signalOption(0, "on-lost", &l.lost, "Send CMD this signal when the lock is taken from it, by `ipcctl break` or by the end of its lease"),
		verb.Flag(0, "scope", &l.scope, "Run CMD in a scope of systemd's, and hold the lock until all that CMD has started has ended"),
		l.status.option(),
		verb.Text('c', "command", "STRING", &l.shell, "CMD is `$SHELL -c STRING`"),
		verb.Pick('u', "unlock", &l.mode, unlock, "The same as `ipcctl release NAME`"),
		verb.Accepted('o', "close", "Accepted, since flock(1) has it: what CMD starts never inherits the lock"),
		verb.Accepted('F', "no-fork", "Accepted, since flock(1) has it: ipcctl never forks, unless it stays as CMD's parent"),
		verb.Flag('V', "version", &l.version, "The same as `ipcctl version`"),
	)
	return &verb.Verb{
		Name:    "lock",
		Group:   "Locks",
		Summary: "Run CMD while holding a lock",
		Synopsis: []string{
			"[-s|-x] [-n] [-w D] [-E N] [-m TEXT] [-a NAME]… [-l N] [-U N] NAME [--] CMD [ARG…]",
			"[OPTION…] NAME -c STRING",
		},
		About: []string{
			"Waits for its turn, takes the lock NAME, and becomes CMD: no other process stays in between. That process alone " +
				"holds the lock, not those that it starts, and gives it back when it ends, however it ends. No file goes stale, no " +
				"background job keeps the lock, and no process that later gets the same number is mistaken for the holder.",
			"CMD ignores and blocks the same signals as if nohup(1), a shell or a unit had started it without ipcctl.",
			"The queue is strictly first come, first served, for readers (`-s`) and writers alike. While ipcctl waits, a " +
				"terminal shows who holds the lock, for how long and why; `ipcctl why NAME` tells more. Elsewhere ipcctl writes " +
				"nothing while it waits, so that cron sends no mail, unless `-v` asks for it. A time-out names the holder. Ctrl-C " +
				"leaves the queue. CMD is looked up first: if there is no such command, ipcctl fails at once.",
			"A restart of the daemon does not end the hold. If ipcctl is still waiting, it asks the next daemon, as every verb " +
				"that waits does. It gives that daemon as long as `-w` or `--wait-daemon` says, or else ten seconds. If none comes, " +
				"it fails with 69, and CMD has not run.",
			"The daemon sees the process that connected to it. A relay (socat, systemd-socket-proxyd, `ssh -L`) would hold the " +
				"lock in ipcctl's place, so ipcctl fails with 77 behind one.",
			"Options may follow NAME. The first other word, or a `--` right after them, begins CMD; all that follows is CMD's.",
			"`-a` takes several locks together, as soon as the request is first in all their queues. Such requests never " +
				"deadlock with each other, in whatever order they name the locks.",
			"A lock with a limit, `-l`, is a semaphore: it has N units, and a holder takes one, or as many as `-U` says. The " +
				"administrator sets the limit in ipcd.toml(5), or else the first user does, until the lock is free again. `-x` takes " +
				"all units.",
			"A nested `ipcctl lock NAME` enters the lock that it runs under instead of waiting for itself. It finds that lock in " +
				"$IPC_LOCKS, which everything inherits that CMD starts. If the variable was lost on the way, it fails with 80. So " +
				"does every request without `-w` or `-n` that would close a circle of waiting processes; the message says which " +
				"process waits for which.",
			"If the last holder was killed or cut off, the lock is abandoned: what it guards may be half done. " +
				"$IPC_LOCK_ABANDONED tells CMD who that was and how it ended; `--on-abandoned` decides before CMD runs. With `fail`, " +
				"or if its command fails, or if ipcctl is killed or loses the lock meanwhile, the next holder is told of it again.",
			"How a process ended may not be known until its parent has waited for it, unless SIGKILL killed it, or the daemon " +
				"runs as root or as the same user. Until then the end is called `unreaped`, and counts as abandoned. If CMD did not " +
				"run because of that, the same command may know more later. `--on-unreaped=run` does not wait for it.",
			"With `--on-lost`, ipcctl stays as CMD's parent, and ends as CMD does. It passes signals on to CMD, except those " +
				"that were sent to the process group of both: CMD has got them itself. If ipcctl is killed, CMD keeps the lock. " +
				"systemd signals each process of a unit by itself, so a unit with such a line needs `KillMode=mixed`.",
			"The lock ends with CMD alone: what CMD has started may work on beside the next holder. This also happens if CMD is " +
				"a shell, as with `-c`, and is killed: only a single command takes the shell's place, and in some shells the last " +
				"one of several. With `--scope`, CMD runs in a scope of systemd's (see systemd-run(1)). The lock is then held until " +
				"the last process in the scope has ended, and `ipcctl break --signal` reaches all of them. That needs systemd: root " +
				"uses the system's, others their own.",
			"With `-L`, too, ipcctl stays as CMD's parent, and renews the lease three times in its length. If ipcctl is killed " +
				"or stopped, the machine is suspended, or the daemon is away for longer than the lease, the next one in the queue " +
				"gets the lock. ipcctl then says so, and sends CMD the signal that `--on-lost` names. Of several locks it does so " +
				"for each, and renews those that are left.",
			"`ipcctl lock` accepts flock(1)'s options, with these differences. NAME is not a file, even if it looks like one: " +
				"nothing is created, and programs that use flock(2) are not kept out. There is no form for a descriptor: in the " +
				"middle of a script or of a subshell, use `ipcctl acquire --parent NAME`. A busy lock gives 75 and a time-out 124, " +
				"not 1: use `-E 1` if a script depends on it.",
			"A status from 64 to 127 may also be CMD's own. `--status-fd` tells which.",
		},
		Options: options,
		Env:     lockEnv,
		Examples: []verb.Example{
			{Line: "ipcctl lock backup -- ./backup.sh", Help: "Never two backups at a time; the second waits."},
			{Line: "ipcctl lock -n -E 0 nightly -- ./nightly", Help: "For cron: if the last run has not ended, do nothing, quietly."},
			{Line: "ipcctl lock -w 1m -m 'weekly prune' backup -- restic prune", Help: "Wait at most a minute, and tell others why they wait."},
			{Line: "ipcctl lock deploy -c 'git pull && make install'", Help: "Several commands under one lock."},
			{Line: "ipcctl lock --scope deploy -c './build; ./publish'", Help: "The same, and whatever they start, until all of it has ended."},
			{Line: "ipcctl lock site -a database -- ./migrate", Help: "Two locks at once, without a deadlock."},
			{Line: "ipcctl lock -l 4 encode -- ffmpeg -i in.mov out.mp4", Help: "Up to four at a time; the others wait in line."},
			{Line: "ipcctl lock --on-abandoned='./repair' ledger -- ./book", Help: "If the last run was cut off, repair first."},
			{Line: "ipcctl lock --on-lost=TERM -L 1min report -- ./report", Help: "If the job is suspended, others wait for a minute at most; the job is ended if it has lost the lock."},
			{Line: "ExecStart=ipcctl lock web -- /usr/bin/server", Help: "A service that is its only instance: systemd sees only the server."},
		},
		Exits:   append(append([]int{}, requestExits...), exit.Abandoned, exit.NoLock, exit.NoExec, exit.NoCmd),
		Words:   []string{"NAME"},
		Most:    1,
		Grammar: verb.NameCommand,
		Failed:  l.status.failed,
		Run:     l.run,
	}
}

// lockEnv is what CMD finds in its environment.
var lockEnv = []verb.Variable{
	{Name: "IPC_LOCK", Help: "the name of the lock, the first one if there are several"},
	{Name: "IPC_LOCK_TOKEN", Help: "its fencing token, higher than that of every earlier hold"},
	{Name: "IPC_LOCK_PREVIOUS", Help: "how the last hold ended: `released`, `exited 1`, `killed 9`, `disconnected`, `expired`, `broken`, `unreaped` " +
		"(nobody knows yet how), `unknown`; empty if there was none"},
	{Name: "IPC_LOCK_ABANDONED", Help: "empty, or who was cut off while it held the lock, and how: what the lock guards may be half done"},
	{Name: "IPC_LOCKS", Help: "all locks that CMD runs under, as lines of TOKEN NAME"},
}

func (l *lockVerb) run(c *verb.Call) error {
	if l.version {
		return versionVerb().Run(c)
	}
	command, err := l.argv(c)
	if err != nil {
		return err
	}
	if l.mode == unlock {
		return new(releaseVerb).run(c)
	}
	file, err := lookPath(c, command[0])
	if err != nil {
		return err
	}
	if (l.lost != 0 || l.lease.Set) && !l.child {
		return l.guard(c)
	}
	if l.scope && !l.scoped {
		return l.enterScope(c)
	}
	names := append([]string{c.Words[0]}, l.and...)
	if l.unreaped == "" {
		l.unreaped = l.abandoned
	}
	l.untold = acts(l.abandoned) || acts(l.unreaped)
	who := thisProcess()
	grants, err := l.take(c, names, who)
	if err != nil {
		return err
	}
	if l.scoped {
		if err := joinScope(c, grants); err != nil {
			return giveBack(c, grants, who, err)
		}
	}
	sayGranted(c, grants)
	if l.child {
		l.status.tokens(heldWord, grants)
	}
	env := lockEnvironment(os.Environ(), grants)
	if err := l.repair(c, grants, env); err != nil {
		return giveBack(c, grants, who, err)
	}
	if l.then != nil {
		if err := l.then(c, grants); err != nil {
			return giveBack(c, grants, who, err)
		}
	}
	l.status.tokens(runWord, grants)
	return giveBack(c, grants, who, process.Become(file, command, env))
}

// acts reports whether --on-abandoned or --on-unreaped says something else than to run CMD.
func acts(what string) bool { return what != "" && what != "run" }

// repair does what --on-abandoned says, if one of the locks is; or --on-unreaped, if that is not known of any.
func (l *lockVerb) repair(c *verb.Call, grants []ipc.Hold, env []string) error {
	who := abandonedBy(grants)
	if who == "" || !l.untold {
		return nil
	}
	option, what, lead := "--on-abandoned", l.abandoned, "it was abandoned by "
	switch certain := certainlyAbandoned(grants); {
	case !certain && len(grants) > 1:
		option, what, lead = "--on-unreaped", l.unreaped, "perhaps abandoned: "
	case !certain:
		option, what, lead = "--on-unreaped", l.unreaped, "it may have been abandoned by "
	case len(grants) > 1:
		lead = "abandoned: "
	}
	if !acts(what) {
		return dealt(c, grants)
	}
	f := exit.Fail(exit.Abandoned, "cannot lock "+printable.Names(namesOf(grants))+": "+lead+who)
	if what == "fail" {
		return f
	}
	// The command joins the holds, one after the other: should ipcctl be killed, nobody gets them while it runs.
	argv := append(append([]string{"env"}, env[len(env)-len(lockEnv):]...), "sh", "-c", what)
	for _, g := range slices.Backward(grants) {
		argv = append(append(self(c), "fence", "--", g.Name, tokenText(g.Token), "--"), argv...)
	}
	k, err := process.StartChild(argv[0], argv, env)
	if err != nil {
		return err
	}
	if err := k.Wait(); err != nil {
		f.Text += "; the command of " + option + " failed: " + err.Error()
		return f
	}
	return dealt(c, grants)
}

// dealt says that an abandoned hold has been dealt with, so that nobody else is told of it.
func dealt(c *verb.Call, grants []ipc.Hold) error {
	conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, g := range grants {
		if g.Abandoned == "" {
			continue // it may be a hold that was entered, and not be for this process to say
		}
		if _, err := conn.Do("LOCK.TOLD", g.Name, tokenText(g.Token)); err != nil {
			return exit.Cannot("go on under "+printable.Name(g.Name), err)
		}
	}
	return nil
}

// giveBack gives locks back that were granted and that no use was made of, because of err: whoever comes next is told that
// they were abandoned, if they were. It returns err.
func giveBack(c *verb.Call, grants []ipc.Hold, who holder, err error) error {
	conn, e := c.DialNow()
	if e != nil {
		return err // most end with their process
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	for _, g := range grants {
		_ = who.release(conn, g) // likewise
	}
	return err
}

// argv is what to run, nil with -u.
func (l *lockVerb) argv(c *verb.Call) ([]string, error) {
	if len(c.Words) == 0 {
		return nil, exit.Unparsed("lock", "NAME is missing").With(c.Verb.Usage())
	}
	name := c.Words[0]
	none := len(c.Command) == 0
	switch {
	case none && l.shell == "" && isNumber(name):
		instead := "ipcctl acquire --parent NAME"
		if l.mode == unlock {
			instead = "ipcctl release NAME"
		}
		return nil, exit.Unparsed(strconv.Quote(name), "descriptors cannot be locked, only names").With(instead)
	case l.mode == unlock && (!none || l.shell != ""):
		return nil, exit.Unparsed("-u", "it runs no CMD").With("ipcctl release NAME")
	case l.mode == unlock:
		return nil, nil
	case none && l.shell == "":
		return nil, exit.Unparsed("lock", "CMD is missing").With(c.Verb.Usage())
	case l.shell == "":
		return c.Command, nil
	case !none:
		return nil, exit.Unparsed(strconv.Quote(c.Command[0]), "-c takes one string and nothing more").With(c.Verb.Usage())
	}
	shell := os.Getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	return []string{shell, "-c", l.shell}, nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 31)
	return err == nil
}
