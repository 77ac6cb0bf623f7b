package cli

import (
	"strconv"
	"strings"

	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A format says how messages are printed.
type format struct {
	json   bool
	end    term.Literal // of a record
	parts  []part       // nil: as fits the output
	endOff bool         // by the format: nothing ends a record
}

// A part of a format is text, and a field of the message behind it.
type part struct {
	text  term.Literal // as the user typed it
	field *field       // nil: none
}

// A field of a message is what a format has after "%".
type field struct {
	letter byte
	name   string
	of     func(*message) string
}

// fields are all that there are.
var fields = []field{
	{'t', "topic", func(m *message) string { return m.Topic }},
	{'p', "payload", func(m *message) string { return string(m.Payload) }},
	{'s', "number", func(m *message) string { return strconv.FormatUint(m.Seq, 10) }},
	{'c', "count", func(m *message) string { return count(m.Count) }},
	{'g', "group", func(m *message) string { return m.Group }},
	{'T', "time", func(m *message) string { return stamp(m.Time) }},
	{'u', "uid", func(m *message) string { return strconv.Itoa(m.UID) }},
	{'P', "pid", func(m *message) string { return strconv.Itoa(m.PID) }},
	{'U', "unit", func(m *message) string { return m.Unit }},
	{'e', "how the sender ended", func(m *message) string { return m.Ended }},
	{'%', "a percent sign", func(*message) string { return "%" }},
}

// escapes are what a format may have after a backslash, besides x and c, and escaped what they stand for.
const (
	escapes     = `ntr0\`
	escaped     = "\n\t\r\x00\\"
	escapesHelp = `\n \t \r \0 \\ \x1b, and \c at the end`
)

func fieldsHelp() string {
	var all []string
	for _, f := range fields {
		all = append(all, "%"+string(f.letter)+" "+f.name)
	}
	return strings.Join(all, ", ") + ", %{content-type} a header"
}

// parse takes what the user typed. It need not be UTF-8.
func (f *format) parse(s string) error {
	f.parts, f.endOff = []part{}, false
	var text []byte
	for i := 0; i < len(s); i++ {
		rest := s[i+1:]
		switch s[i] {
		case '%':
			field, n := fieldAt(rest)
			if field == nil {
				return verb.Expectation{What: "a field, not " + s[i:min(i+2, len(s))], Examples: fieldsHelp()}
			}
			f.add(text, field)
			text = nil
			i += n
		case '\\':
			if rest == "c" {
				f.endOff = true
				i++
				break
			}
			c, n := escapeAt(rest)
			if n == 0 {
				return verb.Expectation{What: "an escape, not " + s[i:min(i+2, len(s))], Examples: escapesHelp}
			}
			text = append(text, c...)
			i += n
		default:
			text = append(text, s[i])
		}
	}
	f.add(text, nil)
	return nil
}

// add adds text and a field behind it.
func (f *format) add(text []byte, behind *field) {
	f.parts = append(f.parts, part{text: term.Literal(text), field: behind})
}

// fieldAt is the field that a text begins with, and how long its name is there; nil if it is none.
func fieldAt(s string) (*field, int) {
	for i := range fields {
		if s != "" && fields[i].letter == s[0] {
			return &fields[i], 1
		}
	}
	if header, _, ok := strings.Cut(s, "}"); ok && strings.HasPrefix(header, "{") && wire.IsHeaderName(header[1:]) {
		return &field{of: func(m *message) string { return m.Headers[header[1:]] }}, len(header) + 1
	}
	return nil, 0
}

// escapeAt is what an escape means that a text begins with, and how long that is; 0 if it is none.
func escapeAt(s string) (string, int) {
	if s == "" {
		return "", 0
	}
	if s[0] == 'x' && len(s) >= 3 {
		b, err := strconv.ParseUint(s[1:3], 16, 8)
		if err == nil {
			return string([]byte{byte(b)}), 3
		}
	}
	if i := strings.IndexByte(escapes, s[0]); i >= 0 {
		return escaped[i : i+1], 1
	}
	return "", 0
}

func (f *format) print(o *term.Output, m *message) {
	switch {
	case f.json:
		m.json(o)
	case f.parts != nil:
		for i := range f.parts {
			p := &f.parts[i]
			switch o.Text(p.text); {
			case p.field == nil:
			case p.field.letter == 'p':
				m.write(o)
			default:
				o.Data(p.field.of(m))
			}
		}
		if !f.endOff {
			o.Text(f.end)
		}
	case o.TTY && f.end == "\n":
		o.Styled(term.Dim, m.Time.Format("15:04:05")).Text("  ").Styled(term.Bold, m.Topic).Text("  ")
		if len(m.Payload) > 0 || m.streams() {
			m.write(o)
			o.Text("  ")
		}
		who := process.UserName(int64(m.UID)) + " (" + strconv.Itoa(m.PID) + ")"
		if m.Ended != "" {
			who += " " + m.Ended
		}
		o.Styled(term.Dim, who).Text("\n")
	default:
		m.write(o.Data(m.Topic).Text("\t"))
		o.Text(f.end)
	}
}
