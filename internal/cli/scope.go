package cli

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

// lock --scope has CMD run in a scope of systemd's: a cgroup of its own, which ends with the last process that CMD has started. The
// hold has two members, CMD and the scope, so it ends when both have, and the next holder is told if CMD was cut off.

// scoped is the verb that goes on in a scope: lock, perhaps as the child of a guard.
func scoped(child bool) func() *verb.Verb {
	return func() *verb.Verb {
		l := newLock()
		l.child, l.scoped = child, true
		v := l.verb()
		v.Group = "" // it is not for people
		return v
	}
}

// enterScope has systemd-run put this process into a scope, and become ipcctl again, by the same command line. It returns only if
// that fails.
func (l *lockVerb) enterScope(c *verb.Call) error {
	if l.lease.Set {
		return exit.Unparsed("--scope", "it does not go with --lease, which ends whoever works").With(c.Verb.Usage())
	}
	file, err := process.LookPath("systemd-run")
	manager := "--system"
	if os.Geteuid() != 0 {
		manager = "--user"
	}
	if err == nil {
		err = findManager(manager)
	}
	if err != nil {
		return exit.Fail(exit.OS, "cannot make a scope: "+exit.Reason(err)).
			With("a scope is made by systemd, a user's by that user's: loginctl enable-linger, and XDG_RUNTIME_DIR=/run/user/" + strconv.Itoa(os.Getuid()))
	}
	name := "__scoped"
	if l.child {
		name = "__lock_scoped"
	}
	argv := []string{"systemd-run", "--scope", "--quiet", "--collect", manager, "--description=ipcctl lock " + printable.Name(c.Words[0]), "--",
		process.Program(), name}
	argv = append(append(argv, c.Typed...), "--", c.Words[0])
	l.status.inherit()
	return process.Become(file, append(argv, c.Command...), os.Environ())
}

// findManager checks that systemd is there: systemd-run would fail with a status that may be CMD's.
func findManager(manager string) error {
	dir := "/run"
	if manager == "--user" {
		dir = os.Getenv("XDG_RUNTIME_DIR")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: dir + "/systemd/private"})
}

// joinScope has the scope that this process is in enter the holds.
func joinScope(c *verb.Call, grants []ipc.Hold) error {
	conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	path := process.OwnGroup()
	for _, g := range grants {
		if _, err := conn.Do("LOCK.ACQUIRE", g.Name, "JOIN", tokenText(g.Token), "FOR", path); err != nil {
			return exit.Cannot("hold "+printable.Name(g.Name)+" by cgroup "+printable.Name(path), err)
		}
	}
	return nil
}
