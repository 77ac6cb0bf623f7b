package cli

import (
	"strconv"
	"strings"

	"github.com/ipcd/ipcd/internal/nearest"
)

// A table is all verbs, by their names.
type table struct {
	rows      []row
	elsewhere map[string]string // words that other programs have for what verbs do, where the nearest verb would be another one
}

// A row makes a verb when it is needed, and anew each time, as the values of a verb's options live in it.
type row struct {
	name string
	make func() *Verb
}

// shown are the verbs, without what is hidden.
func (t *table) shown() []*Verb {
	var shown []*Verb
	for _, r := range t.rows {
		if v := r.make(); v.Group != "" {
			shown = append(shown, v)
		}
	}
	return shown
}

// find is the verb called name. If there is none, the error says so, and which was meant.
func (t *table) find(name string) (*Verb, error) {
	for _, r := range t.rows {
		if r.name == name {
			return r.make(), nil
		}
	}
	f := unparsed(strconv.Quote(name), "no such verb").with("ipcctl -h lists them all")
	var names []string
	for _, v := range t.shown() {
		names = append(names, v.Name)
	}
	near := t.elsewhere[name]
	if near == "" {
		near = nearest.Word(name, names)
	}
	if near != "" {
		f.hint = "ipcctl " + near + "? " + f.hint
	}
	return nil, f
}

// with are the names of the verbs that have an option.
func (t *table) with(typed string) []string {
	var names []string
	for _, v := range t.shown() {
		p := parser{options: v.Options}
		long, isLong := strings.CutPrefix(typed, "--")
		if isLong && p.long(long) != nil || !isLong && p.short(typed[1]) != nil {
			names = append(names, v.Name)
		}
	}
	return names
}
