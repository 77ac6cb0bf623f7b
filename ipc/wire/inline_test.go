package wire_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/ipc/wire"
)

// sdssplitargs is what Redis documents about its inline commands, written down without a thought to speed: white space
// separates; in double quotes \n \r \t \b \a, \xHH and any other escaped character; in single quotes only \'; a
// closing quote ends the word and must be followed by white space or the end. ok is false for unbalanced quotes.
func sdssplitargs(line string) (words []string, ok bool) {
	const (
		plain = iota
		double
		single
	)
	isSpace := func(c byte) bool { return strings.IndexByte(" \t\n\v\f\r", c) >= 0 }
	at := func(i int) byte { // C's strings end with a NUL
		if i < len(line) {
			return line[i]
		}
		return 0
	}
	for i := 0; ; {
		for i < len(line) && isSpace(line[i]) {
			i++
		}
		if i == len(line) {
			return words, true
		}
		state, word := plain, ""
	scan:
		for ; ; i++ {
			c := at(i)
			end := i >= len(line)
			switch state {
			case double:
				switch {
				case end:
					return nil, false
				case c == '\\' && at(i+1) == 'x' && isHexDigit(at(i+2)) && isHexDigit(at(i+3)):
					word += string([]byte{hexDigit(at(i+2))*16 + hexDigit(at(i+3))})
					i += 3
				case c == '\\' && i+1 < len(line):
					i++
					if e, ok := map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', 'b': '\b', 'a': '\a'}[line[i]]; ok {
						word += string([]byte{e})
					} else {
						word += line[i : i+1]
					}
				case c == '"':
					if i+1 < len(line) && !isSpace(line[i+1]) {
						return nil, false
					}
					i++
					break scan
				default:
					word += line[i : i+1]
				}
			case single:
				switch {
				case end:
					return nil, false
				case c == '\\' && at(i+1) == '\'':
					i++
					word += "'"
				case c == '\'':
					if i+1 < len(line) && !isSpace(line[i+1]) {
						return nil, false
					}
					i++
					break scan
				default:
					word += line[i : i+1]
				}
			default:
				switch {
				case end, c == ' ', c == '\n', c == '\r', c == '\t':
					break scan
				case c == '"':
					state = double
				case c == '\'':
					state = single
				default:
					word += line[i : i+1]
				}
			}
		}
		words = append(words, word)
	}
}

func isHexDigit(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 }

func hexDigit(c byte) byte {
	return byte(strings.IndexByte("0123456789abcdef", strings.ToLower(string(c))[0]))
}

func TestInline(t *testing.T) {
	for _, c := range []struct {
		line string
		want []string // nil: unbalanced quotes
	}{
		{`PING`, []string{"PING"}},
		{"  PUBLISH \t a/b  hi ", []string{"PUBLISH", "a/b", "hi"}},
		{`a "b c" 'd e'`, []string{"a", "b c", "d e"}},
		{`"" ''`, []string{"", ""}},
		{`"\n\r\t\b\a\\\"\q"`, []string{"\n\r\t\b\a\\\"q"}},
		{`"\x41\x7f\xFf\x0"`, []string{"A\x7f\xffx0"}},
		{`'\n\''`, []string{`\n'`}},
		{`a"b c"`, []string{"ab c"}}, // a quote may open inside a word
		{`a'b c'`, []string{"ab c"}},
		{`a\ b`, []string{`a\`, "b"}},
		{"a\vb", []string{"a\vb"}},
		{"\v\fa", []string{"a"}},
		{"\"a\"\vb", []string{"a", "b"}},
		{"é \"ü\"", []string{"é", "ü"}},
		{`"a"b`, nil}, // but must close at its end
		{`'a'b`, nil},
		{`"a`, nil},
		{`'a`, nil},
		{`'\\'`, nil},
		{`"a\`, nil},
		{`"a\"`, nil},
		{`a"`, nil},
	} {
		got, err := parse(wire.DefaultLimits, c.line+"\r\n")
		switch {
		case c.want == nil && err == nil:
			t.Errorf("%q: %q, want an error", c.line, got)
		case c.want != nil && (err != nil || len(got) != 1 || !slices.Equal(got[0], c.want)):
			t.Errorf("%q: %q, %v, want %q", c.line, got, err, c.want)
		}
		if words, ok := sdssplitargs(c.line); ok != (c.want != nil) || !slices.Equal(words, c.want) {
			t.Errorf("%q: the model says %q, %v, want %q", c.line, words, ok, c.want)
		}
	}
}

// A line of quoted words costs no more memory than a few times its length.
func TestInlineMemory(t *testing.T) {
	line := []byte(strings.Repeat(`"" `, 1000) + strings.Repeat(" ", 1<<19) + "\n")
	p := wire.RequestParser{Limits: wire.DefaultLimits}
	words := make([][]byte, 0, 1024)
	size := allocated(func() {
		var n int
		var err error
		if words, n, err = p.Next(line, words); err != nil || n != len(line) || len(words) != 1000 {
			t.Error(len(words), n, err)
		}
	})
	if size > uint64(2*len(line)) {
		t.Errorf("%d bytes allocated for a line of %d", size, len(line))
	}
}

func FuzzInline(f *testing.F) {
	for _, seed := range []string{`PING`, `a "b\x20c" 'd\'e'`, `a"b`, `"a"b`, "\v a\fb\r", `"\`, `''""`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\n\x00") || strings.HasPrefix(line, "*") {
			return // another line, the end of a C string, no inline command
		}
		want, ok := sdssplitargs(line)
		if len(line) >= wire.DefaultLimits.Frame || len(want) > wire.DefaultLimits.Words {
			return
		}
		got, err := parse(wire.DefaultLimits, line+"\n")
		switch {
		case ok && (err != nil || len(want) > 0 && (len(got) != 1 || !slices.Equal(got[0], want))):
			t.Errorf("%q: %q, %v, want %q", line, got, err, want)
		case !ok && err == nil:
			t.Errorf("%q: %q, want an error", line, got)
		}
	})
}
