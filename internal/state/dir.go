package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// makeDir makes dir and its parents, durably, for the daemon alone. It leaves alone what is there.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) && parent != dir {
		if err := makeDir(parent); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return err
	}
	return syncDir(parent)
}

// syncDir makes what was created in dir, or renamed to it, survive a loss of power.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// An InUseError says that another daemon uses a directory.
type InUseError struct{ Dir, By string }

func (e *InUseError) Error() string {
	return fmt.Sprintf("cannot lock the state directory %s: %s is using it", e.Dir, e.By)
}

// LockDir makes dir if need be and takes it for this process until the file that it returns is closed, by whatever ends the process
// too. What is locked is the directory itself, for which nothing needs to be written. The file "lock" in it tells people by whom.
func LockDir(dir string) (*os.File, error) {
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("cannot make the state directory: %w", err)
	}
	d, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the state directory: %w", err)
	}
	name := file{dir, "lock"}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = &InUseError{dir, holder(name)}
		} else {
			err = fmt.Errorf("cannot lock the state directory %s: %w", dir, err)
		}
		return nil, errors.Join(err, d.Close())
	}
	// Without it, as on a full disk, the lock is as good.
	if f, err := os.OpenFile(name.path(), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600); err == nil {
		if f.Truncate(0) == nil { // which is possible for a regular file alone
			_, _ = f.WriteString(strconv.Itoa(os.Getpid()) + "\n")
		}
		_ = f.Close()
	}
	return d, nil
}

// holder names who locked a directory.
func holder(f file) string {
	text, err := f.read(32)
	if pid, err2 := strconv.Atoi(strings.TrimSpace(text)); err == nil && err2 == nil {
		return "pid " + strconv.Itoa(pid)
	}
	return "another process"
}
