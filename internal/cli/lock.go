package cli

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc"
)

type lockVerb struct {
	request
	status  statusFile
	shell   string // -c
	version bool
}

func lock() *Verb {
	l := lockVerb{request: request{conflict: unset}}
	options := append(l.options(),
		Option{Long: "status-fd", Value: "N", set: l.status.open,
			Help: "Write `run TOKEN` to descriptor N before CMD starts, or `CODE STATUS` if ipcctl fails"},
		text('c', "command", "STRING", &l.shell, "CMD is `$SHELL -c STRING`"),
		pick('u', "unlock", &l.mode, unlock, "The same as `ipcctl release NAME`"),
		accepted('o', "close", "Accepted, for flock(1)'s sake: CMD never inherits the lock"),
		accepted('F', "no-fork", "Accepted, for flock(1)'s sake: it is never done otherwise"),
		flag('V', "version", &l.version, "The same as `ipcctl version`"),
	)
	return &Verb{
		Name:     "lock",
		Group:    "Locks",
		Summary:  "Run CMD while holding a lock",
		Synopsis: []string{"[-s] [-n] [-w D] [-E N] [-m TEXT] NAME [--] CMD [ARG…]", "[-s] [-n] [-w D] [-E N] [-m TEXT] NAME -c STRING"},
		About: []string{
			"Waits for its turn, takes the lock NAME, and becomes CMD: no other process stays in between. The lock is " +
				"held by that process and by none that it starts, and is given back when it ends, however it ends.",
			"The queue is strictly first come, first served. On a terminal, who holds the lock is shown while waiting. " +
				"Ctrl-C leaves the queue. CMD is looked up before, so that none waits for hours to find that it is not there.",
			"Options may follow NAME. The first other word, or `--` right after them, begins CMD; all that follows is CMD's.",
			"It reads what is written for flock(1), with these differences. NAME is not a file, even if it looks like one: " +
				"nothing is created, and who uses flock(2) is not kept out. There is no form for a descriptor; in the middle of a " +
				"script, use `ipcctl acquire NAME --pid $$`. A lock that is busy gives 75 and a time-out 124, not 1: " +
				"`-E 1` if a script depends on it.",
			"A status of 75, 124, 126 or 127 may also be CMD's own. `--status-fd` tells which.",
		},
		Options: options,
		Env: []Variable{
			{"IPC_LOCK", "the name of the lock"},
			{"IPC_LOCK_TOKEN", "the fencing token: higher than that of every hold before"},
			{"IPC_LOCK_PREVIOUS", "how the hold before ended: `released`, `exited 1`, `killed 9`, `unknown`; empty if there was none"},
			{"IPC_LOCK_ABANDONED", "empty, or who died with the lock and how: what it guards may be half done"},
			{"IPC_LOCKS", "every lock that is held, as lines of TOKEN NAME"},
		},
		Examples: []Example{
			{"ipcctl lock backup -- ./backup.sh", "Never two backups at a time; the second waits."},
			{"ipcctl lock -n -E 0 nightly -- ./nightly", "For cron: if it still runs, do nothing, quietly."},
			{"ipcctl lock -w 1m -m 'weekly prune' backup -- restic prune", "Wait at most a minute, and tell others why they wait."},
			{"ipcctl lock deploy -c 'git pull && make install'", "Several commands under one lock."},
			{"ExecStart=ipcctl lock web -- /usr/bin/server", "A service that is its only instance: systemd sees only the server."},
		},
		Exits:   append(append([]int{}, requestExits...), exitNoLock, exitNoExec, exitNoCmd),
		words:   []string{"NAME"},
		most:    1,
		grammar: nameCommand,
		status:  &l.status,
		run:     l.run,
	}
}

func (l *lockVerb) run(c *call) error {
	if l.version {
		return versionVerb().run(c)
	}
	command, err := l.argv(c)
	if err != nil {
		return err
	}
	if l.mode == unlock {
		return new(releaseVerb).run(c)
	}
	file, err := lookPath(command[0])
	if err != nil {
		return err
	}
	name := c.words[0]
	grant, err := l.take(c, name, os.Getpid(), -1)
	if err != nil {
		return err
	}
	if c.verbose {
		c.say(describeGrant(grant))
	}
	l.status.run(grant.Get("token").Text())
	return become(file, command, lockEnvironment(os.Environ(), name, grant))
}

// argv is what to run, nil with -u.
func (l *lockVerb) argv(c *call) ([]string, error) {
	if len(c.words) == 0 {
		return nil, unparsed("lock", "NAME is missing").with(c.verb.usage())
	}
	name := c.words[0]
	none := len(c.command) == 0
	switch {
	case none && l.shell == "" && isNumber(name):
		return nil, unparsed(quoted(name), "descriptors cannot be locked, only names").with("ipcctl acquire NAME --pid $$")
	case l.mode == unlock && (!none || l.shell != ""):
		return nil, unparsed("-u", "it runs no CMD").with("ipcctl release NAME")
	case l.mode == unlock:
		return nil, nil
	case none && l.shell == "":
		return nil, unparsed("lock", "CMD is missing").with(c.verb.usage())
	case l.shell == "":
		return c.command, nil
	case !none:
		return nil, unparsed(quoted(c.command[0]), "-c takes one string and nothing more").with(c.verb.usage())
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

// lockEnvironment adds what CMD gets to know of its lock.
func lockEnvironment(env []string, name string, grant ipc.Value) []string {
	token := grant.Get("token").Text()
	locks := token + " " + name
	kept := make([]string, 0, len(env)+5)
	for _, e := range env {
		key, value, _ := strings.Cut(e, "=")
		switch key {
		case "IPC_LOCKS":
			if value != "" {
				locks = value + "\n" + locks
			}
		case "IPC_LOCK", "IPC_LOCK_TOKEN", "IPC_LOCK_PREVIOUS", "IPC_LOCK_ABANDONED":
		default:
			kept = append(kept, e)
		}
	}
	return append(kept, "IPC_LOCK="+name, "IPC_LOCK_TOKEN="+token, "IPC_LOCK_PREVIOUS="+grant.Get("previous").Str,
		"IPC_LOCK_ABANDONED="+grant.Get("abandoned").Str, "IPC_LOCKS="+locks)
}

// describeGrant is what -v tells.
func describeGrant(grant ipc.Value) string {
	text := "locked " + shown(grant.Get("name").Str) + ", token " + grant.Get("token").Text()
	if previous := grant.Get("previous").Str; previous != "" {
		text += "; the hold before: " + previous
	}
	if abandoned := grant.Get("abandoned").Str; abandoned != "" {
		text += "; abandoned by " + abandoned
	}
	return text
}

// A statusFile is the descriptor of --status-fd, 0 if there is none.
type statusFile int

// open takes the descriptor from now on, and keeps CMD from getting it.
func (f *statusFile) open(value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 3 {
		return expectation{what: "a descriptor from 3"}
	}
	flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(n), unix.F_SETFD, flags|unix.FD_CLOEXEC)
	}
	if err != nil {
		return expectation{what: "an open descriptor", examples: "ipcctl lock --status-fd=" + value + " … " + value + ">FILE"}
	}
	*f = statusFile(n)
	return nil
}

// run says that CMD is about to start.
func (f statusFile) run(token string) { f.write("run " + token) }

// failed says that ipcctl itself failed.
func (f statusFile) failed(e *failure) { f.write(e.name + " " + strconv.Itoa(e.exit)) }

func (f statusFile) write(line string) {
	if f != 0 {
		_, _ = unix.Write(int(f), []byte(line+"\n")) // who does not read it does not want to know
	}
}
