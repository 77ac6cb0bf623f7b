package systemd

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// File is an open file that systemd passed to this process.
type File struct {
	Name string // as in FileDescriptorName= or FDNAME=; "unknown" if nobody gave one
	*os.File
}

// firstFile is the descriptor of the first passed file.
const firstFile = 3

// Files returns the files that systemd passed to this process, in no particular order, and none if it passed none.
// They are close-on-exec. It works once in a process: the environment variables are removed, so that children do not
// take them for their own.
func Files() ([]File, error) {
	names, err := passedNames(os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES"))
	if err != nil {
		return nil, fmt.Errorf("cannot take the files passed by systemd: %w", err)
	}
	passed := activation.Files(true)
	if len(passed) != len(names) {
		return nil, fmt.Errorf("cannot take the files passed by systemd: got %d of %d", len(passed), len(names))
	}
	files := make([]File, len(names))
	for i, name := range names {
		files[i] = File{Name: name, File: passed[i]}
	}
	return files, nil
}

// passedNames validates what systemd says in the environment. It returns one name for each passed file.
func passedNames(listenPID, listenFDs, listenNames string) ([]string, error) {
	if listenPID == "" && listenFDs == "" {
		return nil, nil
	}
	pid, err := strconv.Atoi(listenPID)
	if err != nil || pid <= 0 {
		return nil, fmt.Errorf("LISTEN_PID=%q is no process", listenPID)
	}
	if pid != os.Getpid() {
		return nil, nil // meant for an ancestor
	}
	n, err := strconv.Atoi(listenFDs)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("LISTEN_FDS=%q is no number of files", listenFDs)
	}
	for fd := firstFile; fd < firstFile+n; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 { // such as the Go runtime's own
			return nil, fmt.Errorf("LISTEN_FDS=%d, but descriptor %d was not passed", n, fd)
		}
	}
	names := make([]string, n)
	if listenNames == "" {
		for i := range names {
			names[i] = "unknown" // as sd_listen_fds_with_names(3)
		}
		return names, nil
	}
	if got := strings.Count(listenNames, ":") + 1; got != n {
		return nil, fmt.Errorf("LISTEN_FDS=%d, but LISTEN_FDNAMES=%q has %d names", n, listenNames, got)
	}
	copy(names, strings.Split(listenNames, ":"))
	return names, nil
}

// IsUnixListener reports whether the descriptor fd is a listening stream socket of the Unix domain.
func IsUnixListener(fd int) (bool, error) {
	for _, option := range []struct{ name, want int }{
		{unix.SO_DOMAIN, unix.AF_UNIX},
		{unix.SO_TYPE, unix.SOCK_STREAM},
		{unix.SO_ACCEPTCONN, 1},
	} {
		got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option.name)
		if err == unix.ENOTSOCK {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("cannot examine descriptor %d: %w", fd, err)
		}
		if got != option.want {
			return false, nil
		}
	}
	return true, nil
}
