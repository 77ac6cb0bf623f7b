package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// maxErrors bounds what is said about a file that is no configuration of ours at all.
const maxErrors = 50

// decoder reads one file after the other into config, and goes on after complaints.
type decoder struct {
	config *Config
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
	name string
	text string
	meta toml.MetaData
	top  map[string]toml.Primitive
}

func newDecoder() *decoder {
	return &decoder{config: Default(), from: make(map[string]origin)}
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
	d.config.Files = append(d.config.Files, name)
	// The library skips a byte order mark too, but then its offsets are short.
	f := file{name: name, text: strings.TrimPrefix(text, "\ufeff")}
	if offset, what := badCharacter(f.text); what != "" {
		d.errs = append(d.errs, f.errorAt(offset, what))
		return
	}
	var err error
	if f.meta, err = toml.Decode(f.text, &f.top); err != nil {
		d.errs = append(d.errs, f.syntaxError(err))
		return
	}
	// In the order of the file, each level of a key before the next, and below a refused one no further.
	visited := make(map[string]bool)
	for _, key := range f.meta.Keys() {
		if len(d.errs) >= maxErrors {
			d.fail(origin{file: name}, "too many errors: the others are not shown")
			return
		}
		for n := range key {
			prefix := key[:n+1]
			descend, ok := visited[prefix.String()]
			if !ok {
				descend = d.visit(&f, prefix, key)
				visited[prefix.String()] = descend
			}
			if !descend {
				break
			}
		}
	}
}

// visit takes the value of key, which is first met as a part of whole, and says whether there is more below it.
func (d *decoder) visit(f *file, key, whole toml.Key) (descend bool) {
	value, line := f.lookup(key)
	if line == 0 { // A table that is only implied, such as a in "a.b = 1".
		_, line = f.lookup(whole)
	}
	at := origin{file: f.name, line: line}
	_, isTable := value.(map[string]any)
	if t := f.meta.Type(key...); isTable && t != "" && t != "Hash" {
		// After "a.b = 1" the library takes "a = 2" for the definition of the table, and forgets the value.
		d.fail(at, "%s is a table already", key)
		return false
	}
	switch {
	case len(key) == 1 && slices.Contains(d.config.topLevel(), key[0]):
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
	for _, t := range d.config.tables() {
		if k, ok := t.find(name); ok && t.name == parent.String() {
			d.set(key, k.value, value, at)
			return false
		}
	}
	kind := "key"
	if _, isTables := value.([]map[string]any); isTable || isTables {
		kind = "table"
	}
	hint := ""
	if s := d.config.suggest(key); s != "" {
		hint = fmt.Sprintf("; did you mean %q?", s)
	}
	d.fail(at, "unknown %s %q%s", kind, key, hint)
	return false
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
	const longest = 200
	switch {
	case name == "" || len(name) > longest:
		return fmt.Errorf("a name has 1 to %d bytes", longest)
	case strings.HasPrefix(name, "ipcd/"):
		return errors.New("names under ipcd/ are the daemon's own")
	case strings.ContainsAny(name, "+#") || strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("a name has no +, # and control characters")
	}
	return nil
}

// isSocketName tells whether systemd could pass a descriptor of that name.
func isSocketName(name string) bool {
	return name != "" && len(name) <= 255 && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || r == ':'
	})
}

// lookup returns the value of key and its line. Both are the zero value where they cannot be known for certain: inside an
// array, and the line of a table that is only implied.
func (f *file) lookup(key toml.Key) (value any, line int) {
	p, ok := f.top[key[0]]
	for _, name := range key[1:] {
		var table map[string]toml.Primitive
		if err := f.meta.PrimitiveDecode(p, &table); err != nil {
			return nil, 0
		}
		p, ok = table[name]
	}
	if !ok {
		return nil, 0
	}
	if err := f.meta.PrimitiveDecode(p, &value); err != nil {
		return nil, 0
	}
	// The library keeps the position of each value, but shows it only with an error. Its line is that of the end, for a
	// string of several lines; the offset is that of the beginning, which is on the line of the key.
	err, ok := errors.AsType[toml.ParseError](f.meta.PrimitiveDecode(p, &refusal{}))
	if !ok || err.Position.Line == 0 {
		return value, 0
	}
	return value, f.lineAt(err.Position.Start)
}

// refusal is a type that no value fits.
type refusal struct{}

func (*refusal) UnmarshalTOML(any) error { return errors.New("refused") }

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
	text := strings.TrimSuffix(pe.Message, ".")
	if f.unquoted(pe.Position.Start) {
		text += ": texts, sizes and times stand in quotes"
	}
	return f.errorAt(pe.Position.Start, text)
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
