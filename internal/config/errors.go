package config

import (
	"fmt"
	"strings"
)

// Error is one complaint about one file. A Line or Column of 0 is not known.
type Error struct {
	File         string
	Line, Column int
	Text         string
}

func (e *Error) Error() string {
	place := e.File
	if e.Line > 0 {
		place = fmt.Sprintf("%s:%d", place, e.Line)
		if e.Column > 0 {
			place = fmt.Sprintf("%s:%d", place, e.Column)
		}
	}
	return place + ": " + e.Text
}

// Errors are all complaints about a configuration, a line each, in the order of the files and their lines, and then those
// about what no single line shows.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}
