package process

import (
	"errors"
	"iter"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
)

// OwnGroup is the path of the cgroup that this process is in; "" if it cannot be seen.
func OwnGroup() string {
	b, _ := os.ReadFile("/proc/self/cgroup") // of what cannot be read there is no line
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n")
		}
	}
	return ""
}

// UnitGroup is the path of a unit's cgroup: that of the unit which this process is in, or else as systemctl says.
func UnitGroup(unit string) (string, error) {
	if !strings.Contains(unit, ".") {
		unit += ".service"
	}
	parts := strings.Split(OwnGroup(), "/")
	for i, part := range parts {
		if strings.TrimPrefix(part, "_") == unit { // what may be taken for a file of the kernel's is escaped so
			return strings.Join(parts[:i+1], "/"), nil
		}
	}
	for _, manager := range []string{"--system", "--user"} {
		text, err := output("systemctl", manager, "show", "--property=ControlGroup", "--value", "--", unit)
		if text = strings.TrimSpace(text); err == nil && text != "" {
			return text, nil
		}
	}
	return "", exit.Fail(exit.NotFound, "cannot find unit "+unit+": it has no processes, or systemctl does not know it").
		With("systemctl status " + unit)
}

// output runs a program and returns what it prints.
func output(argv ...string) (string, error) {
	file, err := LookPath(argv[0])
	if err != nil {
		return "", err
	}
	in, out, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer in.Close()
	p, err := os.StartProcess(file, argv, &os.ProcAttr{Files: []*os.File{nil, out, nil}})
	out.Close()
	if err != nil {
		return "", err
	}
	var text strings.Builder
	_, err = in.WriteTo(&text)
	status, ended := Ended(p)
	switch {
	case ended != nil:
		err = ended
	case status != 0:
		err = status
	}
	return text.String(), err
}

// Members gives a pidfd of each other process of a user's, or of anybody's if that is root, in a cgroup and below it that was not seen before.
// The cgroup is an open directory.
func Members(dir int, uid int64, seen map[int64]bool) (pidfds []int) {
	pidfds = members(func() []byte { return readAt(dir, "cgroup.procs") }, uid, seen)
	for _, name := range below(dir) {
		if fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0); err == nil {
			pidfds = append(pidfds, Members(fd, uid, seen)...)
			unix.Close(fd)
		}
	}
	return pidfds
}

// members is Members for the processes that a list has now. Between a look at the list and the opening of a pidfd, a process may end and
// its number be another's, who has nothing to do with the cgroup: so only those count that the list still has.
func members(list func() []byte, uid int64, seen map[int64]bool) (pidfds []int) {
	opened := map[int64]int{}
	for pid := range numbers(list()) {
		if seen[pid] || pid == int64(os.Getpid()) {
			continue
		}
		if fd, err := unix.PidfdOpen(int(pid), 0); err == nil { // else it has ended
			opened[pid] = fd
		}
	}
	if len(opened) == 0 {
		return nil
	}
	for pid := range numbers(list()) {
		if fd, ok := opened[pid]; ok && (uid == 0 || realUser(pid) == uid) {
			delete(opened, pid)
			seen[pid] = true
			pidfds = append(pidfds, fd)
		}
	}
	for _, fd := range opened {
		unix.Close(fd)
	}
	return pidfds
}

// numbers are the process numbers in a list with one in each line. Those of processes that cannot be seen from here are 0, and left out.
func numbers(list []byte) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for line := range strings.Lines(string(list)) {
			if pid, err := strconv.ParseInt(strings.TrimSuffix(line, "\n"), 10, 64); err == nil && pid > 0 && !yield(pid) {
				return
			}
		}
	}
}

// below are the directories in one.
func below(dir int) (names []string) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) // with a position of its own
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), ".")
	defer f.Close()
	entries, _ := f.ReadDir(-1) // or it was removed
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// readAt reads a file of a directory that is open, nil if there is none.
func readAt(dir int, name string) (all []byte) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	b := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return all
		}
		all = append(all, b[:n]...)
	}
}

// realUser is whose process it is, -1 if it has ended.
func realUser(pid int64) int64 {
	_, rest, _ := strings.Cut(string(ReadProc("/proc/"+strconv.FormatInt(pid, 10)+"/status")), "\nUid:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return -1
	}
	uid, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return -1
	}
	return uid
}
