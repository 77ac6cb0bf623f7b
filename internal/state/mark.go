package state

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// MaxMark is the highest mark: JSON, Lua and JavaScript carry no larger whole number exactly.
const MaxMark = 1<<53 - 1

const markName = "token-mark"

// Mark is the highest fencing token that may have been given out. Its methods may be called from several goroutines.
type Mark struct {
	dir     string
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
	m := &Mark{dir: dir, lock: lock}
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
	if err := m.write(to); err != nil {
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
	text, err := readMark(m.path())
	var last uint64
	if err == nil {
		last, err = parse(text)
	}
	switch {
	case err == nil:
		m.last.Store(last)
		return nil
	case errors.Is(err, errCorrupt):
		aside, renameErr := setAside(m.path())
		if renameErr != nil {
			return fmt.Errorf("cannot set aside %s (%w): %w", m.path(), err, renameErr)
		}
		m.corrupt = fmt.Errorf("cannot use %s: %w; moved to %s", m.path(), err, filepath.Base(aside))
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot use the token mark in %s: %w", m.dir, err)
	}
	// Written now, so that a directory that cannot be written is found out before the first lock.
	if err := m.write(0); err != nil {
		return fmt.Errorf("cannot write the token mark: %w", err)
	}
	return nil
}

func (m *Mark) path() string { return filepath.Join(m.dir, markName) }

// write puts a new file in the place of the old one, so that at every moment one of them is there in full.
func (m *Mark) write(mark uint64) (err error) {
	temp := m.path() + ".tmp"
	// What is there is of a daemon that crashed, or of somebody who planted a link.
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp) // Best effort: it takes room where there may be none.
		}
	}()
	_, err = f.WriteString(format(mark))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, m.path()); err != nil {
		return err
	}
	return syncDir(m.dir)
}

// The file is one line for people and programs: what it is, the version of its format, the mark, and a checksum of all that.
// Every format ends in the checksum, so that a newer one can be told from a corrupt one.
const (
	magic   = "ipcd token-mark"
	version = 1
	sumMark = " crc32c="
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func format(mark uint64) string {
	return withSum(fmt.Sprintf("%s %d %d", magic, version, mark))
}

func withSum(s string) string {
	return fmt.Sprintf("%s%s%08x\n", s, sumMark, crc32.Checksum([]byte(s), castagnoli))
}

var errCorrupt = errors.New("corrupt")

// parse is the inverse of format, and accepts nothing else.
func parse(text string) (mark uint64, err error) {
	body := text[:max(0, strings.LastIndex(text, sumMark))]
	if text != withSum(body) {
		return 0, fmt.Errorf("%w: %d bytes without the right checksum", errCorrupt, len(text))
	}
	var v int
	if _, err := fmt.Sscanf(body, magic+" %d", &v); err == nil && v > version {
		// The newer daemon will want it back.
		return 0, fmt.Errorf("it has format %d, of a newer ipcd; this one knows formats up to %d", v, version)
	}
	_, err = fmt.Sscanf(body, magic+" %d %d", &v, &mark)
	if err != nil || mark > MaxMark || text != format(mark) {
		return 0, fmt.Errorf("%w: not a mark: %q", errCorrupt, body)
	}
	return mark, nil
}

func readMark(path string) (string, error) {
	// Neither following a link nor waiting for the other end of a FIFO.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return "", fmt.Errorf("%w: a symbolic link", errCorrupt)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%w: not a regular file", errCorrupt)
	}
	text, err := io.ReadAll(io.LimitReader(f, 4<<10)) // More than any mark: what is longer is none.
	return string(text), err
}

// setAside renames the file at path to the first free name of its kind.
func setAside(path string) (string, error) {
	for n := 1; ; n++ {
		aside := fmt.Sprintf("%s.corrupt-%d", path, n)
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			return aside, os.Rename(path, aside)
		} else if err != nil {
			return "", err
		}
	}
}
