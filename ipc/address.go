package ipc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// SystemSocket is where the system's daemon listens.
const SystemSocket = "/run/ipcd/ipcd.sock"

// errNoRuntimeDir says why there is no path to the user's own daemon.
var errNoRuntimeDir = errors.New("XDG_RUNTIME_DIR is not set")

// userSocket is where the user's own daemon listens.
func userSocket() (path string, err error) {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		return "", &DialError{Path: "$XDG_RUNTIME_DIR/ipcd/ipcd.sock", Err: errNoRuntimeDir}
	}
	return dir + "/ipcd/ipcd.sock", nil
}

// ResolveAddress gives the path of the socket that an address means; the package's documentation lists the addresses.
// There is no fallback from one daemon to another: two programs that mean the same lock must never end up on two
// daemons because one of them runs from cron.
func ResolveAddress(address string) (path string, err error) {
	if address == "" {
		if address = os.Getenv("IPCD_SOCKET"); address == "" {
			return SystemSocket, nil
		}
	}
	switch address {
	case "system":
		return SystemSocket, nil
	case "user":
		return userSocket()
	}
	return strings.TrimPrefix(address, "unix:"), nil
}

// A DialError says that no daemon could be reached.
type DialError struct {
	Path string // of the socket
	Err  error
}

func (e *DialError) Error() string { return "cannot reach ipcd: " + e.Path + ": " + e.Err.Error() }

// Unwrap gives the cause, mostly a syscall.Errno.
func (e *DialError) Unwrap() error { return e.Err }

// Hint says what may help, for a person at a terminal, in one line, or "" if nothing is known to. It looks whether the
// other of the two daemons, the system's and the user's, would answer.
func (e *DialError) Hint() string {
	switch {
	case errors.Is(e.Err, errNoRuntimeDir):
		return fmt.Sprintf("log in properly (su and sudo do not), or: export XDG_RUNTIME_DIR=/run/user/%d", os.Getuid())
	case errors.Is(e.Err, unix.EACCES):
		if e.Path == SystemSocket {
			return "join the group: usermod -aG ipc USER, then log in again"
		}
		return "the socket belongs to another user or group: ls -l " + e.Path
	case errors.Is(e.Err, unix.EINVAL):
		return fmt.Sprintf("the path of a socket is 1 to 107 bytes long, and this has %d: a symbolic link to its directory makes it shorter", len(e.Path))
	case errors.Is(e.Err, context.DeadlineExceeded):
		return "the daemon is stuck or has too much to do: systemctl status ipcd"
	case errors.Is(e.Err, unix.ENOENT), errors.Is(e.Err, unix.ECONNREFUSED):
		return e.startHint()
	}
	return ""
}

func (e *DialError) startHint() string {
	user, err := userSocket()
	switch {
	case e.Path == SystemSocket && err == nil && answers(user):
		return "systemctl start ipcd.socket; your own daemon is up: ipcctl --user"
	case e.Path == SystemSocket:
		return "systemctl start ipcd.socket"
	case e.Path == user && answers(SystemSocket):
		return "systemctl --user start ipcd.socket; the system's daemon is up: ipcctl --system"
	case e.Path == user:
		return "systemctl --user start ipcd.socket"
	}
	return "no daemon listens there; to start one: ipcd --socket " + e.Path
}

// answers reports whether a daemon listens at path.
func answers(path string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	return err == nil || errors.Is(err, unix.EAGAIN)
}

// dial connects to the daemon at address. The descriptor is non-blocking.
func dial(ctx context.Context, address string) (fd int, err error) {
	path, err := ResolveAddress(address)
	if err != nil {
		return -1, err
	}
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, &DialError{Path: path, Err: err}
	}
	if err := connect(ctx, fd, path); err != nil {
		unix.Close(fd)
		return -1, &DialError{Path: path, Err: err}
	}
	return fd, nil
}

// connect tries again while the daemon's backlog is full, which a Unix socket says with EAGAIN and no poll(2) can wait
// for.
func connect(ctx context.Context, fd int, path string) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it accepts no more connections: %w", ctx.Err())
		case <-time.After(pause):
		}
	}
}
