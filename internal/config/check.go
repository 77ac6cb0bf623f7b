package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/BurntSushi/toml"
)

// check looks at what no single value shows. Where a value was refused already, its default would only mislead.
func (d *decoder) check() {
	l := d.config.Limits
	d.atLeast("limits.output", l.Output, "limits.input", l.Input)
	d.atLeast("limits.buffers_per_user", l.BuffersPerUser, "limits.output", l.Output)
	users := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(d.config.Sockets)) {
		socket, path := toml.Key{"socket", name}.String(), d.config.Sockets[name].Path
		if d.refused(socket + ".path") {
			continue
		}
		if path == "" {
			d.fail(d.from[socket], "%s has no path", socket)
			continue
		}
		if other, ok := users[path]; ok {
			d.fail(d.origin(socket+".path", other+".path"), "%s and %s have the same path: %q", other, socket, path)
		}
		users[path] = socket
	}
}

// atLeast complains unless the size of one key is at least that of another.
func (d *decoder) atLeast(key string, n int, other string, least int) {
	if n < least && !d.refused(key, other) {
		d.fail(d.origin(key, other), "%s (%s) must not be smaller than %s (%s)", key, formatSize(n), other, formatSize(least))
	}
}

// origin returns where the first of keys that does not have its default was set.
func (d *decoder) origin(keys ...string) origin {
	for _, k := range keys {
		if at, ok := d.from[k]; ok {
			return at
		}
	}
	return origin{}
}

func (d *decoder) refused(keys ...string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { return d.from[k].refused })
}

func (d *decoder) fail(at origin, format string, args ...any) {
	d.report(&Error{File: at.file, Line: at.line, Text: fmt.Sprintf(format, args...)})
}

// report adds a complaint, or says once that there are too many.
func (d *decoder) report(e *Error) {
	switch {
	case d.full():
		return
	case len(d.errs) == maxErrors:
		e = &Error{File: e.File, Text: "too many errors: the others are not shown"}
	}
	d.errs = append(d.errs, e)
}

// full says that no complaint is added any more.
func (d *decoder) full() bool { return len(d.errs) > maxErrors }
