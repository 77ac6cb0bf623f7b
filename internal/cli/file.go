package cli

import (
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/ipc"
)

// What is large is published as a sealed file in memory, which is copied once, however many get it. What is small is published as bytes.

const (
	// smallFile is up to how many bytes are small: to pass a file costs as much as to copy that.
	smallFile = 64 << 10
	// mostStreamed is how much is taken from where it might never end. A daemon takes no command that is larger either.
	mostStreamed = 1 << 30
)

// load reads what a file or a stream has: as a payload, or, if that is large, as a sealed file, which one that is sealed already is itself.
// Then the payload says so to those who take no files.
func load(c *verb.Call, f *os.File, name string) (payload string, sealed *os.File, err error) {
	sealed = f
	if !ipc.IsSealed(f) {
		if sealed, err = seal(c, f, name); err != nil {
			return "", nil, err
		}
	}
	size, err := sizeOf(sealed)
	if err == nil && size <= smallFile {
		b := make([]byte, size)
		_, err = sealed.ReadAt(b, 0)
		if payload, sealed = string(b), nil; errors.Is(err, io.EOF) {
			err = nil
		}
	} else {
		payload = strconv.FormatInt(size, 10) + " bytes in a file"
	}
	if err != nil {
		return "", nil, exit.Fail(exit.IO, "cannot read "+name+": "+exit.Reason(err))
	}
	return payload, sealed, nil
}

var errEndless = errors.New("it is larger than 1 GiB")

// seal copies a file or a stream to a sealed file, and counts on a terminal if that takes long.
func seal(c *verb.Call, f *os.File, name string) (*os.File, error) {
	size, err := sizeOf(f)
	if err != nil {
		size = -1
	}
	meter := copyMeter{size: size, next: time.Now().Add(tick)}
	if meter.line.tell = term.Stderr(); meter.line.tell.TTY && !term.IsTerminal(0) && !c.Quiet {
		meter.on = true
	}
	sealed, err := ipc.Seal(f, func(n int64) error {
		meter.show(n)
		if size < 0 && n > mostStreamed {
			return errEndless
		}
		return nil
	})
	meter.line.end(false)
	switch {
	case errors.Is(err, errEndless):
		return nil, exit.Fail(exit.Quota, "cannot publish "+name+": "+err.Error())
	case err != nil:
		return nil, exit.Fail(exit.IO, "cannot read "+name+": "+exit.Reason(err))
	}
	return sealed, nil
}

// sizeOf is how many bytes a regular file has.
func sizeOf(f *os.File) (int64, error) {
	about, err := f.Stat()
	if err == nil && !about.Mode().IsRegular() {
		err = errors.New("it has no size")
	}
	if err != nil {
		return 0, err
	}
	return about.Size(), nil
}

// A copyMeter tells on a terminal how far a copy is.
type copyMeter struct {
	line statusLine
	on   bool
	size int64 // below 0: nobody knows
	next time.Time
}

func (m *copyMeter) show(n int64) {
	now := time.Now()
	if !m.on || now.Before(m.next) {
		return
	}
	text := "copied " + mebibytes(n)
	if m.size >= 0 {
		text += " of " + mebibytes(m.size)
	}
	m.line.show(text)
	m.next = now.Add(tick)
}

func mebibytes(n int64) string { return strconv.FormatInt(n>>20, 10) + " MiB" }

// open opens what -f names.
func open(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		status := exit.IO
		if errors.Is(err, os.ErrNotExist) {
			status = exit.NotFound
		}
		return nil, exit.Fail(status, "cannot read "+path+": "+exit.Reason(err))
	}
	return f, nil
}

// streams reports whether the file of a message is what to show of it: one with bytes in it, which do not have to be waited for.
func (m *message) streams() bool { return m.File != nil && m.FileSize >= 0 }

// write writes what a message says: what is in its file, from the beginning, or its payload. A terminal is told what the file is.
func (m *message) write(o *term.Output) {
	switch {
	case !m.streams():
		o.Data(string(m.Payload))
	case o.TTY:
		o.Clean("(" + m.FileKind + " file, " + term.Plural(m.FileSize, "byte") + ")")
	default:
		o.Copy(io.NewSectionReader(m.File, 0, m.FileSize))
	}
}

// close closes the file of a message, if it has one.
func (m *message) close() {
	if m.File != nil {
		_ = m.File.Close()
	}
}
