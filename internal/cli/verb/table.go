package verb

import (
	"strconv"
	"strings"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/nearest"
)

// A Table is all verbs, by their names.
type Table struct {
	Rows      []Row
	Elsewhere map[string]string // words that other programs have for what verbs do, where the nearest verb would be another one
}

// A Row makes a verb when it is needed, and anew each time, as the values of a verb's options live in it.
type Row struct {
	Name string
	Make func() *Verb
}

// Shown are the verbs, without what is hidden.
func (t *Table) Shown() []*Verb {
	var shown []*Verb
	for _, r := range t.Rows {
		if v := r.Make(); v.Group != "" {
			shown = append(shown, v)
		}
	}
	return shown
}

// Find is the verb called name. If there is none, the error says so, and which was meant.
func (t *Table) Find(name string) (*Verb, error) {
	for _, r := range t.Rows {
		if r.Name == name {
			return r.Make(), nil
		}
	}
	f := exit.Unparsed(strconv.Quote(name), "no such verb").With("ipcctl -h lists them all")
	var names []string
	for _, v := range t.Shown() {
		names = append(names, v.Name)
	}
	near := t.Elsewhere[name]
	if near == "" {
		near = nearest.Word(name, names)
	}
	if near != "" {
		f.Hint = "ipcctl " + near + "? " + f.Hint
	}
	return nil, f
}

// with are the names of the verbs that have an option.
func (t *Table) with(typed string) []string {
	var names []string
	for _, v := range t.Shown() {
		p := Parser{Options: v.Options}
		long, isLong := strings.CutPrefix(typed, "--")
		if isLong && p.long(long) != nil || !isLong && p.short(typed[1]) != nil {
			names = append(names, v.Name)
		}
	}
	return names
}
