// Package printable makes text that others chose fit to be shown: in a message, a table, a log.
//
// A process, a user, a unit or a lock may be called anything, and whoever reads of it may read it on a terminal, in a mail
// from cron, or in a file that a program splits into lines and columns. So what is shown has no control characters, no
// line breaks but its author's, nothing that turns the direction of the text around it, nothing that cannot be seen, and is UTF-8.
// What is handed to programs as data (a payload, a reply) is not shown: it stays as it is.
package printable

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Escape replaces what is not printable as Go and the shell's $'…' would write it: \n, \x1b, \u202e. A backslash stays as it
// is, as this is for reading, not for reading back; so to escape twice is the same as once.
func Escape(s string) string {
	i := plain(s)
	if i == len(s) {
		return s
	}
	return string(escape(append(make([]byte, 0, len(s)+16), s[:i]...), s[i:]))
}

// Append appends s as Escape gives it.
func Append(b []byte, s string) []byte {
	i := plain(s)
	return escape(append(b, s[:i]...), s[i:])
}

// plain is how many bytes at the beginning are printable ASCII, as nearly everything is.
func plain(s string) int {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return i
		}
	}
	return len(s)
}

func escape(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(b, '\\', 'x', hex[s[i]>>4], hex[s[i]&15])
		case visible(r):
			b = append(b, s[i:i+n]...)
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\t':
			b = append(b, '\\', 't')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r < ' ' || r == 0x7f:
			b = append(b, '\\', 'x', hex[r>>4], hex[r&15])
		case r > 0xffff:
			b = appendHex(append(b, '\\', 'U'), uint32(r), 8)
		default:
			b = appendHex(append(b, '\\', 'u'), uint32(r), 4)
		}
		i += n
	}
	return b
}

// Name is a name as messages have it: without quotes if nobody could misread it.
func Name(name string) string {
	if name == "" || strings.ContainsAny(name, " \"'`") || Escape(name) != name {
		return strconv.Quote(name)
	}
	return name
}

// Names are names as one says them: "a, b and c".
func Names(names []string) string {
	var b strings.Builder
	for i, name := range names {
		switch {
		case i == 0:
		case i+1 == len(names):
			b.WriteString(" and ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(Name(name))
	}
	return b.String()
}

// AppendJSON appends a string of JSON, of which everything that is not printable is escaped: to a program it is the same
// string, and whoever looks at it sees what it holds. What is not UTF-8, which JSON cannot hold, becomes U+FFFD.
func AppendJSON(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case visible(r):
			b = utf8.AppendRune(b, r)
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\t':
			b = append(b, '\\', 't')
		case r > 0xffff: // two halves, as in UTF-16
			r -= 0x10000
			b = appendHex(append(b, '\\', 'u'), 0xd800+uint32(r)>>10, 4)
			b = appendHex(append(b, '\\', 'u'), 0xdc00+uint32(r)&0x3ff, 4)
		default:
			b = appendHex(append(b, '\\', 'u'), uint32(r), 4)
		}
		i += n
	}
	return append(b, '"')
}

// visible reports whether a character can be seen where it stands: letters, marks, numbers, punctuation, symbols and the
// blank. strconv knows these without package unicode's tables, which would have to be initialised first.
func visible(r rune) bool {
	if ' ' <= r && r < 0x7f {
		return true
	}
	return strconv.IsPrint(r) && !ignored(r)
}

// ignored reports whether a letter or mark prints nothing by definition (Other_Default_Ignorable_Code_Point, the combining
// grapheme joiner, Mongolian selectors): names that differ by one look the same. The other variation selectors are let through,
// as they say how the character before them is drawn: as an emoji, or as the bearer of a name writes it.
func ignored(r rune) bool {
	switch {
	case r == 0x034f, r == 0x115f, r == 0x1160, r == 0x17b4, r == 0x17b5, 0x180b <= r && r <= 0x180f, r == 0x3164, r == 0xffa0:
		return true
	}
	return false
}

const hex = "0123456789abcdef"

func appendHex(b []byte, n uint32, digits int) []byte {
	for digits--; digits >= 0; digits-- {
		b = append(b, hex[n>>(4*digits)&15])
	}
	return b
}
