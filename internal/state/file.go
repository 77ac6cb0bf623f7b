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
	"syscall"
)

// A file is one of the state directory. It is written as a whole.
type file struct{ dir, name string }

var errCorrupt = errors.New("corrupt")

// A NewerError says that a file was written by a newer ipcd, which will want it back.
type NewerError struct{ Format, Known int }

func (e *NewerError) Error() string {
	return fmt.Sprintf("it has format %d, of a newer ipcd; this one knows formats up to %d", e.Format, e.Known)
}

func (f file) path() string { return filepath.Join(f.dir, f.name) }

// write puts a new file in the place of the old one, so that at every moment one of them is there in full.
func (f file) write(text string) (err error) {
	t, err := f.temp()
	if err != nil {
		return err
	}
	temp := t.Name()
	defer func() {
		if err != nil {
			_ = os.Remove(temp) // Best effort: it takes room where there may be none.
		}
	}()
	_, err = t.WriteString(text)
	if err == nil {
		err = t.Sync()
	}
	if err = errors.Join(err, t.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, f.path()); err != nil {
		return err
	}
	return syncDir(f.dir)
}

// temp makes the file that is to take the place of this one.
func (f file) temp() (*os.File, error) {
	temp := f.path() + ".tmp"
	// What is there is of a daemon that crashed, or of somebody who planted a link.
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// read returns the file, but for what is beyond the limit: what is longer has not the right checksum.
func (f file) read(limit int64) (string, error) {
	// Neither following a link nor waiting for the other end of a FIFO.
	r, err := os.OpenFile(f.path(), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return "", fmt.Errorf("%w: a symbolic link", errCorrupt)
	}
	if err != nil {
		return "", err
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%w: not a regular file", errCorrupt)
	}
	text, err := io.ReadAll(io.LimitReader(r, limit))
	return string(text), err
}

// setAside renames the file to the first free name of its kind. What it returns first is for people: the cause, and that name.
func (f file) setAside(cause error) (told, err error) {
	for n := 1; ; n++ {
		aside := fmt.Sprintf("%s.corrupt-%d", f.path(), n)
		_, err := os.Lstat(aside)
		if errors.Is(err, fs.ErrNotExist) {
			err = os.Rename(f.path(), aside)
		} else if err == nil {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot set aside %s (%w): %w", f.path(), cause, err)
		}
		return fmt.Errorf("cannot use %s: %w; moved to %s", f.path(), cause, filepath.Base(aside)), nil
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumMark comes before a file's checksum, which ends it.
const sumMark = " crc32c="

// withSum appends the checksum of s.
func withSum(s string) string {
	return fmt.Sprintf("%s%s%08x\n", s, sumMark, crc32.Checksum([]byte(s), castagnoli))
}

// checked returns what withSum was given.
func checked(text string) (string, error) {
	body := text[:max(0, strings.LastIndex(text, sumMark))]
	if text != withSum(body) {
		return "", fmt.Errorf("%w: %d bytes without the right checksum", errCorrupt, len(text))
	}
	return body, nil
}
