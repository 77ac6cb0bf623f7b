package config

import (
	"fmt"
	"strings"
)

// What the parser makes of a file costs for each key as much as the names of the key and of all tables that it is in, for each of
// these names: a header of ten thousand of them takes gigabytes. So a text is looked at before it is parsed, and refused where it
// nests deeper than a configuration can. Keys of ours have three names at most.
const (
	maxDepth = 8   // names of a key, and tables and arrays that it is in
	maxKey   = 512 // bytes of all these names, as they are written
)

// A scan finds the keys of a text, headers included, in one pass. It knows as much of TOML as it takes to tell keys from all else,
// and leaves mistakes to the parser: that stops at the first one, so it does not matter what the scan takes the rest for.
type scan struct {
	text string
	pos  int
	line int

	keys []int   // the line of each key, in the order in which the parser has them
	open []scope // what is open at pos, the outermost first: the table of the last header, then arrays and inline tables
}

// A scope is a table or array. Its names are those before its keys and values, with one for each array.
type scope struct {
	bracket byte // '[', '{', or 0: the table of a header
	names   int
	bytes   int
}

// keyLines returns the line of each key of a text, or an error and the line where that is.
func keyLines(text string) (lines []int, line int, err error) {
	s := scan{text: text, line: 1, open: make([]scope, 1, maxDepth)}
	err = s.run()
	return s.keys, s.line, err
}

func (s *scan) run() (err error) {
	value := scope{} // what the value at pos is in: a key, or an array
	for atKey := true; s.pos < len(s.text) && err == nil; {
		in := &s.open[len(s.open)-1]
		switch c := s.text[s.pos]; {
		case c == '#':
			comment, _, _ := strings.Cut(s.text[s.pos:], "\n")
			s.pos += len(comment)
		case c == '\n':
			s.pos++
			s.line++
			atKey = atKey || in.bracket == 0
		case c == ' ', c == '\t', c == '\r':
			s.pos++
		case atKey && c == '[' && in.bracket == 0:
			s.pos += len("[")
			if strings.HasPrefix(s.text[s.pos:], "[") {
				s.pos += len("[")
			}
			*in, err = s.key(scope{}, ']')
			atKey = false
		case atKey && c != '}':
			value, err = s.key(*in, '=')
			atKey = false
		case c == '[', c == '{':
			value.bracket = c
			if c == '[' {
				value.names++
				err = value.check()
			}
			s.open = append(s.open, value)
			s.pos++
			atKey = c == '{'
		case c == ']', c == '}':
			s.open = s.open[:max(1, len(s.open)-1)]
			s.pos++
			atKey = false
		case c == ',':
			value = *in
			s.pos++
			atKey = in.bracket == '{'
		case c == '"', c == '\'':
			s.quoted(c, strings.HasPrefix(s.text[s.pos+1:], string([]byte{c, c})))
		default:
			s.pos++
		}
	}
	return err
}

// key reads a key of a table, up to the character that ends it, and returns what is below it.
func (s *scan) key(in scope, end byte) (below scope, err error) {
	s.keys = append(s.keys, s.line)
	below = scope{names: in.names + 1}
	begin := s.pos
	for s.pos < len(s.text) && !strings.ContainsRune("#\n", rune(s.text[s.pos])) && s.text[s.pos] != end {
		switch c := s.text[s.pos]; c {
		case '"', '\'':
			s.quoted(c, false)
			continue
		case '.':
			below.names++
		}
		s.pos++
	}
	below.bytes = in.bytes + s.pos - begin
	return below, below.check()
}

// quoted skips a string, up to the end of its line unless it may have several.
func (s *scan) quoted(quote byte, multiline bool) {
	end := string(quote)
	if multiline {
		end = strings.Repeat(end, 3)
	}
	s.pos += len(end)
	for ; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; {
		case strings.HasPrefix(s.text[s.pos:], end):
			s.pos += len(end)
			// The quotes that end a string of several lines may follow up to two that are in it.
			for n := 0; multiline && n < 2 && strings.HasPrefix(s.text[s.pos:], string(quote)); n++ {
				s.pos++
			}
			return
		case c == '\n' && !multiline:
			return
		case c == '\n':
			s.line++
		case c == '\\' && quote == '"' && !strings.HasPrefix(s.text[s.pos+1:], "\n"):
			s.pos++ // the next one is no end
		}
	}
	s.pos = min(s.pos, len(s.text))
}

func (s scope) check() error {
	switch {
	case s.names > maxDepth:
		return fmt.Errorf("nested too deeply: a key has at most %d names, with those of its table and a name for each array", maxDepth)
	case s.bytes > maxKey:
		return fmt.Errorf("the key is too long: it has at most %d bytes, with those of its table", maxKey)
	}
	return nil
}
