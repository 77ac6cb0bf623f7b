package config

import (
	"fmt"

	"github.com/BurntSushi/toml"
)

// Change is a setting that differs between two configurations.
type Change struct {
	Key      string // "limits.input", or "socket.admin" for a socket that only one of them has
	Old, New string // as the file writes them, of a socket its path; "" where there is none
	Restart  bool   // a reload does not carry it out, the next start does
}

func (c Change) String() string {
	var s string
	switch {
	case c.Old == "":
		s = c.Key + " added"
	case c.New == "":
		s = c.Key + " removed"
	default:
		s = fmt.Sprintf("%s changed from %s to %s", c.Key, c.Old, c.New)
	}
	if c.Restart {
		s += ": takes effect at the next start"
	}
	return s
}

// Changes returns what differs between the running configuration and the next one.
func Changes(running, next *Config) []Change {
	var changes []Change
	tables := next.tables()
	after := make(map[string]*table, len(tables))
	for i := range tables {
		after[tables[i].name] = &tables[i]
	}
	for _, old := range running.tables() {
		if now := after[old.name]; now != nil {
			changes = append(changes, old.changes(now)...)
		} else {
			changes = append(changes, Change{Key: old.name, Old: old.keys[0].value.String(), Restart: old.restart})
		}
		delete(after, old.name)
	}
	for _, t := range tables {
		if after[t.name] != nil {
			changes = append(changes, Change{Key: t.name, New: t.keys[0].value.String(), Restart: t.restart})
		}
	}
	return changes
}

// changes compares two tables of one name.
func (t *table) changes(next *table) []Change {
	var changes []Change
	change := func(name, before, now string) {
		if before != now {
			changes = append(changes, Change{t.name + "." + toml.Key{name}.String(), before, now, t.restart})
		}
	}
	after := make(map[string]string, len(next.keys))
	for _, k := range next.keys {
		after[k.name] = k.value.String()
	}
	for _, k := range t.keys {
		change(k.name, k.value.String(), after[k.name])
		delete(after, k.name)
	}
	for _, k := range next.keys {
		change(k.name, "", after[k.name])
	}
	return changes
}
