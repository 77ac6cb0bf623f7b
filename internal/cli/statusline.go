package cli

import (
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/printable"
)

// A statusLine is a line of a terminal that tells how something stands, and updates in place.
type statusLine struct {
	tell *term.Output
	text string // what stands there, unfinished; "": nothing does
}

// show has the line be a text.
func (l *statusLine) show(text string) {
	l.text = term.Cut(printable.Escape("ipcctl: "+text), l.tell.Columns()-len("^C ")) // what is echoed stays in the line
	l.put()
	_ = l.tell.Flush() // nobody to tell
}

// put shows the line in the place of what it was before, and of what the terminal has echoed behind it.
func (l *statusLine) put() { l.tell.Text("\r").Clean(l.text).Text(clearLine) }

// end ends the line: what it said last stays if it is to be kept. The keys by which it was ended do not.
func (l *statusLine) end(keep bool) {
	switch {
	case l.text != "" && keep:
		l.put()
		l.tell.Text("\n")
	case l.text != "":
		l.tell.Text("\r" + clearLine)
	}
	_ = l.tell.Flush()
	l.text = ""
}
