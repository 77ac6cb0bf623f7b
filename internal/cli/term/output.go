package term

import (
	"bufio"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/printable"
)

// An Output is a stream that may be a terminal.
type Output struct {
	w      *bufio.Writer
	fd     int
	name   string
	TTY    bool
	colour bool
}

// Stdout is standard output.
//
// A descriptor that was closed when ipcctl was started is /dev/null by now: Go's runtime has opened it, and what is written
// there seems to be written. The descriptor does not tell: its flags are O_RDWR, as in /dev/null of Python's
// subprocess.DEVNULL or Node's "ignore", to which ipcctl must be able to write.
func Stdout() *Output { return newOutput(os.Stdout, 1) }

// Stderr is standard error, of which the same is true.
func Stderr() *Output { return newOutput(os.Stderr, 2) }

// newOutput is told the descriptor: os.File.Fd would make it blocking, for everybody who shares it.
func newOutput(f *os.File, fd int) *Output {
	tty := IsTerminal(fd)
	return &Output{
		w:      bufio.NewWriter(f),
		fd:     fd,
		name:   f.Name(),
		TTY:    tty,
		colour: tty && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
}

// IsTerminal reports whether a descriptor is a terminal.
func IsTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// Onto is an output that is no descriptor: of the size that a terminal has when it does not say.
func Onto(w io.Writer, tty bool) *Output { return &Output{w: bufio.NewWriter(w), fd: -1, TTY: tty} }

// Paper is an output into memory that is as large as this one.
func (o *Output) Paper(w io.Writer) *Output {
	return &Output{w: bufio.NewWriter(w), fd: o.fd, TTY: o.TTY}
}

// Columns is how wide a terminal is.
func (o *Output) Columns() int {
	_, columns := o.Size()
	return columns
}

// Size is how much a terminal shows.
func (o *Output) Size() (rows, columns int) {
	size, err := unix.IoctlGetWinsize(o.fd, unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row < 3 {
		return 24, 80
	}
	return int(size.Row), int(size.Col)
}

// A Literal is text of ours, which may hold line breaks and what controls a terminal. A constant is one by itself; a string
// is none unless it is converted, so that what others chose cannot get here unseen.
type Literal string

// Text writes what is ours. Errors are kept for flush.
func (o *Output) Text(s Literal) *Output {
	_, _ = o.w.WriteString(string(s))
	return o
}

// Clean writes what is to be read by people, whoever chose it: terminals, logs and mails from cron get nothing that
// controls them, begins a line of its own, or looks like something else.
func (o *Output) Clean(s string) *Output { return o.Text(Literal(printable.Escape(s))) }

// Data writes what was asked for, byte by byte: messages, replies. Only a terminal gets it escaped.
func (o *Output) Data(s string) *Output {
	if o.TTY {
		return o.Clean(s)
	}
	return o.Text(Literal(s))
}

// Copy writes what is read, byte by byte, as Data does for who is no terminal. An error of reading is the end of it, as is one of writing,
// which is kept for flush.
func (o *Output) Copy(r io.Reader) *Output {
	_, _ = io.Copy(o.w, r)
	return o
}

// Styles of a terminal: the parameters of its SGR sequence.
const (
	Bold Literal = "1"
	Dim  Literal = "2"
)

// Styled writes clean text in a style, if there is colour.
func (o *Output) Styled(style Literal, s string) *Output {
	if !o.colour || s == "" || style == "" {
		return o.Clean(s)
	}
	return o.Text("\x1b[" + style + "m").Clean(s).Text("\x1b[0m")
}

// Flush writes what is buffered, and fails if anything could not be written since the start.
func (o *Output) Flush() error {
	if err := o.w.Flush(); err != nil {
		return exit.Fail(exit.IO, "cannot write "+o.name+": "+exit.Reason(err)).Of(err)
	}
	return nil
}
