package config

import (
	"fmt"
	"slices"

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
	after := next.tables()
	for _, old := range running.tables() {
		i := slices.IndexFunc(after, func(t table) bool { return t.name == old.name })
		if i < 0 {
			changes = append(changes, Change{Key: old.name, Old: old.keys[0].value.String(), Restart: old.restart})
			continue
		}
		changes = append(changes, old.changes(&after[i])...)
		after = slices.Delete(after, i, i+1)
	}
	for _, t := range after {
		changes = append(changes, Change{Key: t.name, New: t.keys[0].value.String(), Restart: t.restart})
	}
	return changes
}

// changes compares two tables of one name.
func (t *table) changes(next *table) []Change {
	var changes []Change
	change := func(k key, before, now string) {
		if before != now {
			changes = append(changes, Change{t.name + "." + toml.Key{k.name}.String(), before, now, t.restart})
		}
	}
	for _, k := range t.keys {
		now := ""
		if same, ok := next.find(k.name); ok {
			now = same.value.String()
		}
		change(k, k.value.String(), now)
	}
	for _, k := range next.keys {
		if _, ok := t.find(k.name); !ok {
			change(k, "", k.value.String())
		}
	}
	return changes
}
