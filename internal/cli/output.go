package cli

import (
	"bufio"
	"os"
	"strconv"
	"unicode/utf8"

	"golang.org/x/sys/unix"
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

// text writes what is ours. Errors are kept for flush.
func (o *output) text(s string) *output {
	_, _ = o.w.WriteString(s)
	return o
}

// clean writes what came from elsewhere: a terminal gets nothing that could control it.
func (o *output) clean(s string) *output {
	if o.tty {
		s = escaped(s)
	}
	return o.text(s)
}

// Styles of a terminal: the parameters of its SGR sequence.
const (
	bold = "1"
	dim  = "2"
)

// styled writes clean text in a style, if there is colour.
func (o *output) styled(style, s string) *output {
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

// escaped replaces what is not printable as Go and the shell's $'…' would write it. A backslash stays as it is: this is
// for reading, not for reading back.
func escaped(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return escapedFrom(s, i)
		}
	}
	return s
}

func escapedFrom(s string, i int) string {
	b := append(make([]byte, 0, len(s)+16), s[:i]...)
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1, r < ' ' && r != '\n' && r != '\t' && r != '\r', r == 0x7f:
			b = append(b, '\\', 'x', hex[s[i]>>4], hex[s[i]&15])
		case strconv.IsPrint(r):
			b = append(b, s[i:i+n]...)
		default:
			q := strconv.QuoteRune(r)
			b = append(b, q[1:len(q)-1]...)
		}
		i += n
	}
	return string(b)
}

const hex = "0123456789abcdef"

// quoted is a word as it appears in a message.
func quoted(s string) string { return strconv.Quote(s) }
