package process

import (
	"bytes"
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Parent finds the process that started this one: its number, and a pidfd of it. A process that is orphaned is adopted, by PID 1
// or by whoever has asked the kernel for that, and nothing tells who was its parent before. So a parent that is known to adopt, and
// runs no scripts, is refused: what it is asked to hold it would hold for ever.
func Parent() (pid, pidfd int, err error) {
	pid = os.Getppid()
	switch {
	case pid == 0:
		return 0, -1, errors.New("it is outside of this PID namespace")
	case isManager(pid):
		return 0, -1, errors.New("it is the service manager (process " + strconv.Itoa(pid) + "), or has ended")
	}
	pidfd, err = unix.PidfdOpen(pid, 0)
	if err == nil && os.Getppid() != pid { // the number may be another's
		unix.Close(pidfd)
		err = unix.ESRCH
	}
	switch {
	case errors.Is(err, unix.ESRCH):
		return 0, -1, errors.New("it has ended")
	case err != nil:
		return 0, -1, err
	}
	return pid, pidfd, nil
}

// isManager reports whether a parent is one that starts services and adopts orphans: systemd, the system's or a user's, which is in
// the scope of its own; or PID 1, unless it is a script, as it may be in a container, whose session is then this process's.
func isManager(pid int) bool {
	p, _ := Find(int64(pid))
	if p.Command == "systemd" && bytes.Contains(ReadProc("/proc/"+strconv.Itoa(pid)+"/cgroup"), []byte("/init.scope\n")) {
		return true
	}
	if pid != 1 {
		return false
	}
	its, err := unix.Getsid(pid)
	own, _ := unix.Getsid(0)
	return err != nil || its != own
}

// IsSubshell reports whether a process is a subshell of another one: a copy of it that runs no other program.
func IsSubshell(pid, of int64) bool {
	if pid == of {
		return false
	}
	line := func(pid int64) string { return string(ReadProc("/proc/" + strconv.FormatInt(pid, 10) + "/cmdline")) }
	its := line(pid)
	if its == "" || its != line(of) {
		return false
	}
	for p := range Ancestors(pid) {
		if p.PID == of {
			return true
		}
	}
	return false
}
