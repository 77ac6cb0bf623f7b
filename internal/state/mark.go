package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// MaxMark is the highest mark: JSON, Lua and JavaScript carry no larger whole number exactly.
const MaxMark = 1<<53 - 1

const markName = "token-mark"

// Mark is the highest fencing token that may have been given out. Its methods may be called from several goroutines.
type Mark struct {
	file file
	last atomic.Uint64 // Atomic, so that Last does not wait for the disk.

	mu      sync.Mutex // guards the file and what follows
	lock    *os.File   // nil: the directory could not be locked yet
	found   bool       // what is in the file is known
	closed  bool
	corrupt error
}

// OpenMark opens the mark in dir, which it makes if need be, and locks dir until Close. A new mark is 0. An error says that dir is
// used by another daemon, or was by a newer one: see [InUseError], [NewerError]. Whatever else is in the way is in the way of
// Raise, which tries it all again; the mark is what could be read of it.
func OpenMark(dir string) (*Mark, error) {
	m := &Mark{file: file{dir, markName}}
	if err := m.prepare(); decisive(err) {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// decisive reports whether an error is more than a lack of something: to go on would do harm.
func decisive(err error) bool {
	var inUse *InUseError
	var newer *NewerError
	return errors.As(err, &inUse) || errors.As(err, &newer)
}

// Last returns the mark: every token up to it may have been given out.
func (m *Mark) Last() uint64 { return m.last.Load() }

// Age is how long ago the mark was written, 0 if that is not known.
func (m *Mark) Age() time.Duration {
	info, err := os.Lstat(m.file.path())
	if err != nil {
		return 0
	}
	return max(time.Since(info.ModTime()), 0)
}

// Corrupt returns what OpenMark found instead of a mark and where it put that, or nil. The mark then began at 0, and tokens
// must begin at the time of day.
func (m *Mark) Corrupt() error { return m.corrupt }

// Raise makes the mark at least to, and returns when that is on the disk. It takes as long as the disk does.
func (m *Mark) Raise(to uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.raise(to)
	if err != nil {
		return fmt.Errorf("cannot raise the token mark: %w", err)
	}
	return nil
}

func (m *Mark) raise(to uint64) error {
	if err := m.prepare(); err != nil {
		return err
	}
	if to <= m.last.Load() {
		return nil
	}
	if to > MaxMark {
		return fmt.Errorf("%d is more than %d", to, uint64(MaxMark))
	}
	if err := m.file.write(format(to)); err != nil {
		return err
	}
	m.last.Store(to)
	return nil
}

// Locked is the directory, as it was locked; nil if it could not be yet.
func (m *Mark) Locked() *os.File {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lock
}

// Hold makes sure that the directory is locked. Nothing may be written there before.
func (m *Mark) Hold() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hold()
}

func (m *Mark) hold() (err error) {
	if m.closed {
		return errors.New("it is closed")
	}
	if m.lock == nil {
		m.lock, err = LockDir(m.file.dir)
	}
	return err
}

// Close lets another daemon open the directory. It waits for a Raise to end; the mark cannot be raised afterwards.
func (m *Mark) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	if m.lock == nil {
		return nil
	}
	lock := m.lock
	m.lock = nil
	return lock.Close()
}

// prepare does what has to come before the mark can be raised: the directory is locked, and the mark known that is there.
func (m *Mark) prepare() error {
	held := m.hold()
	if decisive(held) || m.found {
		return held
	}
	text, err := m.file.read(4 << 10) // More than any mark: what is longer is none.
	var last uint64
	if err == nil {
		last, err = parse(text)
	}
	switch {
	case err == nil:
		m.last.Store(max(m.last.Load(), last))
	case errors.Is(err, errCorrupt):
		if m.corrupt, err = m.file.setAside(err); err != nil {
			return errors.Join(held, err)
		}
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
		return errors.Join(held, fmt.Errorf("cannot use the token mark in %s: %w", m.file.dir, err))
	}
	m.found = held == nil
	return held
}

// The file is one line for people and programs: what it is, the version of its format, the mark, and a checksum of all that.
// Every format ends in the checksum, so that a newer one can be told from a corrupt one.
const (
	magic   = "ipcd token-mark"
	version = 1
)

func format(mark uint64) string {
	return withSum(fmt.Sprintf("%s %d %d", magic, version, mark))
}

// parse is the inverse of format, and accepts nothing else.
func parse(text string) (mark uint64, err error) {
	body, err := checked(text)
	if err != nil {
		return 0, err
	}
	var v int
	if _, err := fmt.Sscanf(body, magic+" %d", &v); err == nil && v > version {
		return 0, &NewerError{v, version}
	}
	_, err = fmt.Sscanf(body, magic+" %d %d", &v, &mark)
	if err != nil || mark > MaxMark || text != format(mark) {
		return 0, fmt.Errorf("%w: not a mark: %q", errCorrupt, body)
	}
	return mark, nil
}
