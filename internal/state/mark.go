package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
)

// MaxMark is the highest mark: JSON, Lua and JavaScript carry no larger whole number exactly.
const MaxMark = 1<<53 - 1

const markName = "token-mark"

// Mark is the highest fencing token that may have been given out. Its methods may be called from several goroutines.
type Mark struct {
	file    file
	lock    *os.File
	last    atomic.Uint64 // Atomic, so that Last does not wait for the disk.
	raise   sync.Mutex    // guards the file and lock
	corrupt error
}

// OpenMark opens the mark in dir, which it makes if need be, and locks dir until Close. A new mark is 0.
func OpenMark(dir string) (*Mark, error) {
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("cannot make the state directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	m := &Mark{file: file{dir, markName}, lock: lock}
	if err := m.open(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return m, nil
}

// Last returns the mark: every token up to it may have been given out.
func (m *Mark) Last() uint64 { return m.last.Load() }

// Corrupt returns what OpenMark found instead of a mark and where it put that, or nil. The mark then began at 0, and tokens
// must begin at the time of day.
func (m *Mark) Corrupt() error { return m.corrupt }

// Raise makes the mark at least to, and returns when that is on the disk. It takes as long as the disk does.
func (m *Mark) Raise(to uint64) error {
	m.raise.Lock()
	defer m.raise.Unlock()
	if to <= m.last.Load() {
		return nil
	}
	if m.lock == nil {
		return errors.New("cannot raise the token mark: it is closed")
	}
	if to > MaxMark {
		return fmt.Errorf("cannot raise the token mark to %d: more than %d", to, uint64(MaxMark))
	}
	if err := m.file.write(format(to)); err != nil {
		return fmt.Errorf("cannot raise the token mark: %w", err)
	}
	m.last.Store(to)
	return nil
}

// Close lets another daemon open the directory. It waits for a Raise to end; the mark cannot be raised afterwards.
func (m *Mark) Close() error {
	m.raise.Lock()
	defer m.raise.Unlock()
	if m.lock == nil {
		return nil
	}
	lock := m.lock
	m.lock = nil
	return lock.Close()
}

func (m *Mark) open() error {
	text, err := m.file.read(4 << 10) // More than any mark: what is longer is none.
	var last uint64
	if err == nil {
		last, err = parse(text)
	}
	switch {
	case err == nil:
		m.last.Store(last)
		return nil
	case errors.Is(err, errCorrupt):
		if m.corrupt, err = m.file.setAside(err); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot use the token mark in %s: %w", m.file.dir, err)
	}
	// Written now, so that a directory that cannot be written is found out before the first lock.
	if err := m.file.write(format(0)); err != nil {
		return fmt.Errorf("cannot write the token mark: %w", err)
	}
	return nil
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
