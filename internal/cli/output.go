package cli

import (
	"bufio"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/printable"
)

// An output is a stream that may be a terminal.
type output struct {
	w      *bufio.Writer
	fd     int
	name   string
	tty    bool
	colour bool
}

// A descriptor that was closed when ipcctl was started is /dev/null by now: Go's runtime has opened it, and what is written
// there seems to be written. The descriptor does not tell: its flags are O_RDWR, as in /dev/null of Python's
// subprocess.DEVNULL or Node's "ignore", to which ipcctl must be able to write.
func standardOutput() *output { return newOutput(os.Stdout, 1) }
func standardError() *output  { return newOutput(os.Stderr, 2) }

// newOutput is told the descriptor: os.File.Fd would make it blocking, for everybody who shares it.
func newOutput(f *os.File, fd int) *output {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	tty := err == nil
	return &output{
		w:      bufio.NewWriter(f),
		fd:     fd,
		name:   f.Name(),
		tty:    tty,
		colour: tty && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
}

// onto is an output that is no descriptor: of the size that a terminal has when it does not say.
func onto(w io.Writer, tty bool) *output { return &output{w: bufio.NewWriter(w), fd: -1, tty: tty} }

// columns is how wide a terminal is.
func (o *output) columns() int {
	_, columns := o.size()
	return columns
}

// size is how much a terminal shows.
func (o *output) size() (rows, columns int) {
	size, err := unix.IoctlGetWinsize(o.fd, unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row < 3 {
		return 24, 80
	}
	return int(size.Row), int(size.Col)
}

// A literal is text of ours, which may hold line breaks and what controls a terminal. A constant is one by itself; a string
// is none unless it is converted, so that what others chose cannot get here unseen.
type literal string

// text writes what is ours. Errors are kept for flush.
func (o *output) text(s literal) *output {
	_, _ = o.w.WriteString(string(s))
	return o
}

// clean writes what is to be read by people, whoever chose it: terminals, logs and mails from cron get nothing that
// controls them, begins a line of its own, or looks like something else.
func (o *output) clean(s string) *output { return o.text(literal(printable.Escape(s))) }

// data writes what was asked for, byte by byte: messages, replies. Only a terminal gets it escaped.
func (o *output) data(s string) *output {
	if o.tty {
		return o.clean(s)
	}
	return o.text(literal(s))
}

// Styles of a terminal: the parameters of its SGR sequence.
const (
	bold literal = "1"
	dim  literal = "2"
)

// styled writes clean text in a style, if there is colour.
func (o *output) styled(style literal, s string) *output {
	if !o.colour || s == "" || style == "" {
		return o.clean(s)
	}
	return o.text("\x1b[" + style + "m").clean(s).text("\x1b[0m")
}

// flush writes what is buffered, and fails if anything could not be written since the start.
func (o *output) flush() error {
	if err := o.w.Flush(); err != nil {
		return fail(exitIO, "cannot write "+o.name+": "+reason(err))
	}
	return nil
}
