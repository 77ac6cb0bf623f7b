package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/lockname"
	"github.com/ipcd/ipcd/ipc/wire"
)

// maxErrors bounds what is said about a file that is no configuration of ours at all.
const maxErrors = 50

// decoder reads one file after the other into config, and goes on after complaints.
type decoder struct {
	config *Config
	tables []table           // of config, but for its sockets
	from   map[string]origin // where each key of config, and each socket, was set last
	errs   Errors
}

// origin is where a key stands. If its value was refused, the field has an older one.
type origin struct {
	file    string
	line    int
	refused bool
}

// file is one file while it is decoded.
type file struct {
	name  string
	text  string
	meta  toml.MetaData
	top   map[string]any
	lines []int // of meta.Keys()
}

func newDecoder() *decoder {
	c := Default()
	return &decoder{config: c, tables: c.fixedTables(), from: make(map[string]origin)}
}

// result returns what the files amount to.
func (d *decoder) result() (*Config, error) {
	d.check()
	if len(d.errs) > 0 {
		return nil, d.errs
	}
	return d.config, nil
}

func (d *decoder) decode(name, text string) {
	d.config.Files = append(d.config.Files, File{name, text})
	// The library skips a byte order mark too, but then its offsets are short.
	f := file{name: name, text: strings.TrimPrefix(text, "\ufeff")}
	if offset, what := badCharacter(f.text); what != "" {
		d.report(f.errorAt(offset, what))
		return
	}
	lines, line, err := keyLines(f.text)
	if err != nil {
		d.report(&Error{File: name, Line: line, Text: err.Error()})
		return
	}
	f.lines = lines
	if f.meta, err = toml.Decode(f.text, &f.top); err != nil {
		d.report(f.syntaxError(err))
		return
	}
	// In the order of the file, each level of a key before the next, and below a refused one no further.
	visited := make(map[string]bool)
	for i, key := range f.meta.Keys() {
		if d.full() {
			return
		}
		at := origin{file: name, line: f.line(i)}
		for n := range key {
			prefix := key[:n+1]
			descend, ok := visited[prefix.String()]
			if !ok {
				descend = d.visit(&f, prefix, at)
				visited[prefix.String()] = descend
			}
			if !descend {
				break
			}
		}
	}
}

// visit takes the value of key, which is first met there, perhaps as a part of a longer one, and says whether there is more
// below it.
func (d *decoder) visit(f *file, key toml.Key, at origin) (descend bool) {
	value := f.lookup(key)
	_, isTable := value.(map[string]any)
	if t := f.meta.Type(key...); isTable && t != "" && t != "Hash" {
		// After "a.b = 1" the library takes "a = 2" for the definition of the table, and forgets the value.
		for i, k := range f.meta.Keys() {
			if slices.Equal(k, key) {
				at.line = f.line(i)
			}
		}
		d.fail(at, "%s is a table already", key)
		return false
	}
	switch {
	case len(key) == 1 && slices.Contains(topLevel, key[0]):
		if !isTable {
			d.fail(at, "%s must be a table, not %s", key, describe(value))
		}
		return isTable
	case len(key) == 2 && key[0] == "socket":
		if !isTable {
			d.fail(at, "%s must be a table such as [socket.main], not %s", key, describe(value))
			return false
		}
		if !isSocketName(key[1]) {
			d.fail(at, "cannot name a socket %q: a name is at most 255 printable ASCII characters without colon", key[1])
			return false
		}
		if d.config.Sockets[key[1]] == nil {
			d.config.Sockets[key[1]] = newSocket()
		}
		d.from[key.String()] = at
		return true
	}
	parent, name := key[:len(key)-1], key[len(key)-1]
	if len(key) == 2 && key[0] == "semaphores" {
		if err := checkLockName(name); err != nil {
			d.fail(at, "cannot limit a lock %q: %v", name, err)
		} else {
			d.set(key, semaphore{d.config.Semaphores, name}, value, at)
		}
		return false
	}
	if k, ok := d.table(parent).find(name); ok {
		d.set(key, k.value, value, at)
		return false
	}
	kind := "key"
	if _, isTables := value.([]map[string]any); isTable || isTables {
		kind = "table"
	}
	hint := ""
	if s := suggest(key); s != "" {
		hint = fmt.Sprintf("; did you mean %q?", s)
	}
	d.fail(at, "unknown %s %q%s", kind, key, hint)
	return false
}

// table returns the table of that name, or one without keys.
func (d *decoder) table(name toml.Key) table {
	if len(name) == 2 && name[0] == "socket" {
		return d.config.Sockets[name[1]].table(name[1])
	}
	i := slices.IndexFunc(d.tables, func(t table) bool { return t.name == name.String() })
	if i < 0 {
		return table{}
	}
	return d.tables[i]
}

// set gives a field the value that the file has for it.
func (d *decoder) set(key toml.Key, field value, value any, at origin) {
	if err := field.set(value); err != nil {
		d.fail(at, "%s %v", key, err)
		at.refused = true
	}
	d.from[key.String()] = at
}

// checkLockName says why nobody could lock a name.
func checkLockName(name string) error {
	switch err := lockname.Check(name); {
	case strings.HasPrefix(name, bus.ReservedPrefix):
		return errors.New("names under " + bus.ReservedPrefix + " are the daemon's own")
	case err == nil:
		return nil
	case name == "" || len(name) > wire.MaxLockName:
		return fmt.Errorf("a name has 1 to %d bytes", wire.MaxLockName)
	}
	return errors.New("a name is UTF-8 without control characters, and %, + and # count three times in its length")
}

// isSocketName tells whether systemd could pass a descriptor of that name.
func isSocketName(name string) bool {
	return name != "" && len(name) <= 255 && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || r == ':'
	})
}

// line is that of the i-th key, or 0 if the scan has not taken for a key what the parser has.
func (f *file) line(i int) int {
	if i < len(f.lines) {
		return f.lines[i]
	}
	return 0
}

// lookup returns the value of key, or nil if it is in an array.
func (f *file) lookup(key toml.Key) any {
	var value any = f.top
	for _, name := range key {
		table, _ := value.(map[string]any)
		value = table[name]
	}
	return value
}

// badCharacter finds what may stand nowhere in TOML. The library finds it too, but not always where it is.
func badCharacter(text string) (offset int, what string) {
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd"):
			return i, fmt.Sprintf("not UTF-8: byte 0x%02x", text[i])
		case r == '\r' && !strings.HasPrefix(text[i:], "\r\n"), r < ' ' && !strings.ContainsRune("\t\r\n", r), r == 0x7f:
			return i, fmt.Sprintf("control character 0x%02x", r)
		}
	}
	return 0, ""
}

func (f *file) syntaxError(err error) *Error {
	pe, ok := errors.AsType[toml.ParseError](err)
	if !ok {
		return &Error{File: f.name, Text: err.Error()}
	}
	text := shorten(strings.TrimSuffix(pe.Message, "."))
	if f.unquoted(pe.Position.Start) {
		text += ": texts, sizes and times stand in quotes"
	}
	return f.errorAt(pe.Position.Start, text)
}

// shorten cuts a text that quotes the file, of which a word may be as long as all of it.
func shorten(text string) string {
	const most = 300
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// unquoted reports whether the line of a mistake has a value such as 24h, 1MiB or off, without quotes.
func (f *file) unquoted(offset int) bool {
	offset = min(offset, len(f.text))
	line, _, _ := strings.Cut(f.text[strings.LastIndexByte(f.text[:offset], '\n')+1:], "\n")
	_, value, _ := strings.Cut(line, "=")
	value = strings.TrimLeft(value, " \t0123456789")
	return value != "" && unicode.IsLetter(rune(value[0]))
}

func (f *file) errorAt(offset int, text string) *Error {
	return &Error{File: f.name, Line: f.lineAt(offset), Column: f.columnAt(offset), Text: text}
}

func (f *file) lineAt(offset int) int {
	return 1 + strings.Count(f.text[:min(offset, len(f.text))], "\n")
}

// columnAt counts characters, as editors do.
func (f *file) columnAt(offset int) int {
	before := f.text[:min(offset, len(f.text))]
	return 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
}
