package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/config"
	"github.com/ipcd/ipcd/systemd"
)

// A listener is a listening socket.
type listener struct {
	fd   int
	name string // of the socket in the configuration, and FileDescriptorName=
	path string
	own  bool // made here: its file is removed at the end
}

// InUseError says that another daemon answers on a socket.
type InUseError struct{ Path string }

func (e *InUseError) Error() string {
	return fmt.Sprintf("cannot listen on %s: another daemon answers there", e.Path)
}

// listeners takes the sockets that systemd passed and makes those of the configuration that it did not pass. One that it
// passed is known by its name, or by its path: FileDescriptorName= is easily left out of a unit.
//
// Those that cannot be made are the errors failed, as one of them must not take away the others. It is an error of all where a
// person waits for what comes out, where there is no socket at all, and where another daemon has one and systemd passed none:
// then this daemon is one too many.
func listeners(cfg *config.Config, files []systemd.File, attended bool, held ...*os.File) (all []listener, failed []error, err error) {
	defer func() {
		if err != nil {
			closeListeners(all, held...)
			all = nil
		}
	}()
	passed, passedPath := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		// The descriptor is the server's from here on; the os.File would close it when it is collected.
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		_ = f.Close()
		if err != nil {
			return all, nil, fmt.Errorf("cannot take socket %q from systemd: %w", f.Name, err)
		}
		l := listener{fd: fd, name: f.Name, path: boundTo(fd)}
		all = append(all, l)
		if ok, err := systemd.IsUnixListener(fd); err != nil {
			return all, nil, err
		} else if !ok {
			return all, nil, fmt.Errorf("cannot take socket %q from systemd: it is no listening Unix stream socket", f.Name)
		}
		passed[f.Name], passedPath[l.path] = true, true
	}
	for name, socket := range cfg.Sockets {
		if passed[name] || passedPath[socket.Path] {
			continue
		}
		fd, err := listen(socket, held...)
		var inUse *InUseError
		switch {
		case err == nil:
			all = append(all, listener{fd: fd, name: name, path: socket.Path, own: true})
		case attended, errors.As(err, &inUse) && len(files) == 0:
			return all, nil, err
		default:
			failed = append(failed, err)
		}
	}
	if len(all) == 0 {
		return nil, nil, errors.Join(failed...)
	}
	return all, failed, nil
}

func boundTo(fd int) string {
	if sa, err := unix.Getsockname(fd); err == nil {
		if u, ok := sa.(*unix.SockaddrUnix); ok {
			return u.Name
		}
	}
	return "unknown address"
}

// listen makes a listening socket. A file left by a daemon that died is replaced; a daemon that answers is not.
func listen(s *config.Socket, held ...*os.File) (int, error) {
	fail := func(err error) (int, error) { return -1, fmt.Errorf("cannot listen on %s: %w", s.Path, err) }
	gid, err := groupID(s.Group)
	if err != nil {
		return fail(err)
	}
	unlock, err := lockDir(s.Path, lockWait, held...)
	if err != nil {
		return fail(err)
	}
	defer unlock()
	if err := removeStale(s.Path); err != nil {
		var inUse *InUseError
		if errors.As(err, &inUse) {
			return -1, err
		}
		return fail(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fail(err)
	}
	// Nobody can connect before listen(2), so the order of these does not open the socket to anybody for a moment.
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: s.Path}); err == nil {
		if gid >= 0 {
			err = os.Chown(s.Path, -1, gid)
		}
		if err == nil {
			err = os.Chmod(s.Path, s.Mode)
		}
		if err == nil {
			err = unix.Listen(fd, backlog)
		}
		if err != nil {
			_ = os.Remove(s.Path)
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return fail(err)
	}
	return fd, nil
}

// lockWait bounds how long a daemon that starts waits for the others that do something beside its socket, which takes
// them some milliseconds. Who holds the lock longer is no daemon.
const lockWait = 5 * time.Second

// lockDir keeps other daemons from making or removing sockets beside path until unlock is called. One that starts must
// not take the file of another, which is bound and not listening yet, for a stale one; nor must one that stops. A directory that
// is held, as that of the state is, has been locked by this daemon already.
func lockDir(path string, wait time.Duration, held ...*os.File) (unlock func(), err error) {
	dir, err := os.OpenFile(filepath.Dir(path), os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0) // A FIFO would be waited for.
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(held, func(h *os.File) bool { return isSame(h, dir) }) {
		return func() {}, dir.Close()
	}
	for start := time.Now(); ; time.Sleep(lockWait / 500) { // flock(2) has no time-out
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { _ = dir.Close() }, nil
		case errors.Is(err, unix.EWOULDBLOCK) && time.Since(start) < wait, errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			err = fmt.Errorf("another process holds a lock (flock) on the directory %s for more than %v", dir.Name(), wait)
		}
		_ = dir.Close()
		return nil, err
	}
}

// isSame reports whether two open files are one; nil is none.
func isSame(a, b *os.File) bool {
	if a == nil {
		return false
	}
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// backlog is how many connections may wait to be accepted; the kernel bounds it by net.core.somaxconn.
const backlog = 4096

// removeStale removes the file of a socket that nobody listens on.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSocket == 0 {
		return errors.New("a file is there that is no socket")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); {
	case err == nil, errors.Is(err, unix.EAGAIN): // EAGAIN: its backlog is full
		return &InUseError{path}
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(path)
	default:
		return fmt.Errorf("cannot find out whether a daemon answers: %w", err)
	}
}

// groupID is the number of a group, -1 for "".
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	if n, err := strconv.Atoi(group); err == nil {
		return n, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return -1, fmt.Errorf("there is no group %q", group)
	}
	return strconv.Atoi(g.Gid)
}

func closeListeners(all []listener, held ...*os.File) {
	for _, l := range all {
		_ = unix.Close(l.fd)
	}
	removeFiles(all, held...)
}

// removeFiles removes the files of sockets that were made here. It is called when nobody listens on them any more; a
// file that somebody listens on is another daemon's by now.
func removeFiles(all []listener, held ...*os.File) {
	for _, l := range all {
		if !l.own {
			continue
		}
		// It does not wait: a file that is left does no harm, and who has the lock may have replaced it already.
		if unlock, err := lockDir(l.path, 0, held...); err == nil {
			_ = removeStale(l.path)
			unlock()
		}
	}
}
