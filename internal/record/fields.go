package record

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A field is one of a T's: what it is called in a text, and how it is written there and read. A table of them is all there is to say
// about the text of a T.
type field[T any] struct {
	name   string
	needed bool
	write  func(b []byte, t *T) []byte // appends nothing if there is nothing to say
	read   func(r *reader, t *T) error
}

// A reader is what is left of a text.
type reader struct {
	left  string
	depth int
}

// maxDepth bounds how deep fields may be nested.
const maxDepth = 10_000

var errNested = errors.New("it is nested too deep")

// appendFields appends the fields of a T that say something, each with a space before it.
func appendFields[T any](b []byte, fields []field[T], t *T) []byte {
	for i := range fields {
		f := &fields[i]
		none := len(b)
		b = append(b, ' ')
		b = append(b, f.name...)
		b = append(b, '=')
		begin := len(b)
		if b = f.write(b, t); len(b) == begin {
			b = b[:none]
		}
	}
	return b
}

// readFields reads fields up to the end of the text, or of the braces that it is in.
func readFields[T any](r *reader, fields []field[T], t *T) error {
	seen := make([]bool, len(fields))
	for r.skip(" "); r.left != "" && r.left[0] != '}'; r.skip(" ") {
		name, value, ok := strings.Cut(r.left, "=")
		i := slices.IndexFunc(fields, func(f field[T]) bool { return f.name == name })
		switch {
		case !ok || i < 0:
			return fmt.Errorf("unknown field %.40q", name)
		case seen[i]:
			return fmt.Errorf("field %q is there twice", name)
		}
		seen[i], r.left = true, value
		if err := fields[i].read(r, t); err == errNested {
			return err // but not with ten thousand names before it
		} else if err != nil {
			return fmt.Errorf("field %q: %w", name, err)
		}
	}
	for i := range fields {
		if fields[i].needed && !seen[i] {
			return fmt.Errorf("field %q is missing", fields[i].name)
		}
	}
	return nil
}

// readAs reads the fields of a T up to the end of the text.
func readAs[T any, P interface {
	*T
	Body
}](fields *[]field[T]) func(*reader) (Body, error) {
	return func(r *reader) (Body, error) {
		is := P(new(T))
		if err := readFields(r, *fields, (*T)(is)); err != nil {
			return nil, err
		}
		if r.left != "" {
			return nil, fmt.Errorf("there is more: %.40q", r.left)
		}
		return is, nil
	}
}

// skip goes on behind a text, if it is next.
func (r *reader) skip(text string) (was bool) {
	r.left, was = strings.CutPrefix(r.left, text)
	return was
}

// word takes what there is up to the next space or the end of braces.
func (r *reader) word() string {
	end := strings.IndexAny(r.left, " }]")
	if end < 0 {
		end = len(r.left)
	}
	word := r.left[:end]
	r.left = r.left[end:]
	r.skip(" ")
	return word
}

// quoted takes a text in quotes.
func (r *reader) quoted() (string, error) {
	text, err := strconv.QuotedPrefix(r.left)
	if err != nil || text[0] != '"' {
		return "", fmt.Errorf("no text in quotes: %.40q", r.left)
	}
	r.left = r.left[len(text):]
	return strconv.Unquote(text)
}

// appendQuoted is strconv.AppendQuote. Most texts have nothing in them that it would look for.
func appendQuoted(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return strconv.AppendQuote(b, text)
		}
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"')
}

// text is a field that is a text.
func text[T any](name string, at func(*T) *string) field[T] {
	return field[T]{
		name: name,
		write: func(b []byte, t *T) []byte {
			if is := *at(t); is != "" {
				return appendQuoted(b, is)
			}
			return b
		},
		read: func(r *reader, t *T) (err error) {
			*at(t), err = r.quoted()
			return err
		},
	}
}

// data is a field of bytes that may be many, which are no text: in base64, as they are neither looked through nor grow much by it.
func data[T any](name string, at func(*T) *string) field[T] {
	return field[T]{
		name:  name,
		write: func(b []byte, t *T) []byte { return base64.StdEncoding.AppendEncode(b, []byte(*at(t))) },
		read: func(r *reader, t *T) error {
			word := r.word()
			is, err := base64.StdEncoding.Strict().DecodeString(word)
			if *at(t) = string(is); err != nil {
				return fmt.Errorf("no base64: %.40q", word)
			}
			return nil
		},
	}
}

// texts is a field that is a list of texts.
func texts[T any](name string, at func(*T) *[]string) field[T] {
	return field[T]{
		name: name,
		write: func(b []byte, t *T) []byte {
			all := *at(t)
			if len(all) == 0 {
				return b
			}
			b = append(b, '[')
			for i, is := range all {
				if i > 0 {
					b = append(b, ' ')
				}
				b = appendQuoted(b, is)
			}
			return append(b, ']')
		},
		read: func(r *reader, t *T) error {
			if !r.skip("[") {
				return fmt.Errorf("no list: %.40q", r.left)
			}
			for {
				is, err := r.quoted()
				if err != nil {
					return err
				}
				*at(t) = append(*at(t), is)
				if r.skip("]") {
					return nil
				}
				r.skip(" ")
			}
		},
	}
}

// number is a field that is a number.
func number[T any, N ~int | ~int64 | ~uint32 | ~uint64](name string, at func(*T) *N) field[T] {
	var zero N
	signed := zero-1 < 0
	return field[T]{
		name: name,
		write: func(b []byte, t *T) []byte {
			switch is := *at(t); {
			case is == 0:
				return b
			case signed:
				return strconv.AppendInt(b, int64(is), 10)
			default:
				return strconv.AppendUint(b, uint64(is), 10)
			}
		},
		read: func(r *reader, t *T) error {
			word := r.word()
			if signed {
				n, err := strconv.ParseInt(word, 10, 64)
				if *at(t) = N(n); err != nil || int64(N(n)) != n {
					return fmt.Errorf("no number: %.40q", word)
				}
				return nil
			}
			n, err := strconv.ParseUint(word, 10, 64)
			if *at(t) = N(n); err != nil || uint64(N(n)) != n {
				return fmt.Errorf("no number: %.40q", word)
			}
			return nil
		},
	}
}

// truth is a field that is there, as 1, or not.
func truth[T any](name string, at func(*T) *bool) field[T] {
	return field[T]{
		name: name,
		write: func(b []byte, t *T) []byte {
			if *at(t) {
				return append(b, '1')
			}
			return b
		},
		read: func(r *reader, t *T) error {
			if word := r.word(); word != "1" {
				return fmt.Errorf("neither 1 nor left out: %.40q", word)
			}
			*at(t) = true
			return nil
		},
	}
}

// word is a field that is one word of an enumeration. It is always there.
func word[T any, E ~uint8](name string, words []string, at func(*T) *E) field[T] {
	return field[T]{
		name: name, needed: true,
		write: func(b []byte, t *T) []byte { return append(b, words[*at(t)]...) },
		read: func(r *reader, t *T) error {
			word := r.word()
			i := slices.Index(words, word)
			if i < 0 || word == "" {
				return fmt.Errorf("unknown word %.40q", word)
			}
			*at(t) = E(i)
			return nil
		},
	}
}

// group is a field that has fields of its own, or is not there.
func group[T, G any](name string, fields *[]field[G], at func(*T) **G) field[T] {
	return field[T]{
		name: name,
		write: func(b []byte, t *T) []byte {
			is := *at(t)
			if is == nil {
				return b
			}
			b = append(b, '{')
			b = appendFields(b, *fields, is)
			return append(b, " }"...)
		},
		read: func(r *reader, t *T) error {
			if r.depth++; r.depth > maxDepth {
				return errNested
			}
			defer func() { r.depth-- }()
			if !r.skip("{") {
				return fmt.Errorf("no group: %.40q", r.left)
			}
			is := new(G)
			if err := readFields(r, *fields, is); err != nil {
				return err
			}
			if !r.skip("}") {
				return errors.New("it has no end")
			}
			*at(t) = is
			return nil
		},
	}
}

// of are the fields of a part of T, as fields of T.
func of[T, P any](fields []field[P], at func(*T) *P) []field[T] {
	all := make([]field[T], len(fields))
	for i := range fields {
		f := &fields[i]
		all[i] = field[T]{
			name: f.name, needed: f.needed,
			write: func(b []byte, t *T) []byte { return f.write(b, at(t)) },
			read:  func(r *reader, t *T) error { return f.read(r, at(t)) },
		}
	}
	return all
}
