package cli

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/term"
)

// What a terminal needs to show a view in the place of what it showed before, and to get that back.
const (
	screenOn   = "\x1b[?1049h\x1b[?25l" // another page, and no cursor
	screenOff  = "\x1b[?25h\x1b[?1049l"
	screenHome = "\x1b[H"
	clearLine  = "\x1b[K"
	clearBelow = "\x1b[J"
)

// frame is the least time between two views of a terminal: what happens within it is shown together.
const frame = 50 * time.Millisecond

// gone is shown instead of what only a daemon knows.
const gone = "ipcd has ended: waiting for it to come back"

// A page is what a screen shows: a table, or if that is empty a line.
type page func() (table *term.Table, otherwise string, err error)

// onScreen shows a page on a terminal until Ctrl-C: anew each second, as ages change without an event, and soon after something has
// changed. An error, of the page or of what tells of changes, ends it. A page may wait for the daemon without end; Ctrl-C does not.
func onScreen(o *term.Output, changed <-chan error, show page) error {
	signals := make(chan os.Signal, 1)
	process.Catch(signals, process.Leaving)
	leave := func(s os.Signal) {
		o.Text(screenOff)
		_ = o.Flush() // nobody is there to see it
		process.Die(s)
	}
	o.Text(screenOn)
	for {
		var table *term.Table
		var otherwise string
		var err error
		shown := make(chan struct{})
		go func() {
			defer close(shown)
			table, otherwise, err = show()
		}()
		select {
		case <-shown:
		case s := <-signals:
			leave(s)
		}
		if err == nil {
			err = draw(o, table, otherwise)
		}
		early, late := time.After(frame), time.After(tick)
		for changes := 0; err == nil && (early != nil || changes == 0); {
			select {
			case <-early:
				early = nil
			case <-late:
				early, changes = nil, 1
			case err = <-changed:
				changes++
			case s := <-signals:
				leave(s)
			}
		}
		if err != nil {
			o.Text(screenOff)
			return err
		}
	}
}

// draw shows as much of a table as fits, or if that is empty a line.
func draw(o *term.Output, table *term.Table, otherwise string) error {
	var text strings.Builder
	paper := o.Paper(&text)
	table.Print(paper)
	_ = paper.Flush() // into memory
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	if text.Len() == 0 {
		lines[0] = otherwise
	}
	rows, columns := o.Size()
	if more := len(lines) - (rows - 1); more > 0 {
		lines = append(lines[:rows-2], "… "+strconv.Itoa(more+1)+" more")
	}
	o.Text(screenHome)
	for i, line := range lines {
		style := term.Literal("")
		if i == 0 {
			style = term.Bold
		}
		o.Styled(style, term.Cut(line, columns)).Text(clearLine + "\n")
	}
	return o.Text(clearBelow).Flush()
}
