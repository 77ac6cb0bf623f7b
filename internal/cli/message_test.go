package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/ipc"
)

func shownBy(tty bool, write func(*term.Output)) string {
	var b strings.Builder
	o := term.Onto(&b, tty)
	write(o)
	_ = o.Flush() // a builder takes everything
	return b.String()
}

func TestFormat(t *testing.T) {
	m := message{ipc.Message{Topic: "a/b", Payload: []byte("x\x1b\xff"), Seq: 7, Count: 3, Time: time.Unix(1, 5000), PID: 42, UID: 0, Unit: "u.service"}}
	parsed := func(text, end string) format {
		f := format{end: term.Literal(end)}
		if err := f.parse(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		return f
	}
	for _, c := range []struct {
		name   string
		tty    bool
		format format
		want   string
	}{
		{"plain", false, format{end: "\n"}, "a/b\tx\x1b\xff\n"},
		{"null", false, format{end: "\x00"}, "a/b\tx\x1b\xff\x00"},
		{"format", false, parsed("%t=%p %s %u %P %U 100%%", "\n"), "a/b=x\x1b\xff 7 0 42 u.service 100%\n"},
		{"format on a terminal", true, parsed("%t=%p %s %u %P %U 100%%", "\n"), "a/b=x\\x1b\\xff 7 0 42 u.service 100%\n"},
		{"escapes", false, parsed(`%p\t\\%s\r\n\0\x1bn`, "\n"), "x\x1b\xff\t\\7\r\n\x00\x1bn\n"},
		{"escapes on a terminal", true, parsed(`\x1b[1m%p\xff`, "\n"), "\x1b[1mx\\x1b\\xff\xff\n"},
		{"no end", false, parsed(`%p\c`, "\x00"), "x\x1b\xff"},
		{"time", false, parsed("%T\xff", "\x00"), "1970-01-01T00:00:01.000005Z\xff\x00"},
		{"count", false, parsed("%s %c", "\n"), "7 3\n"},
		{"nothing", false, parsed("", "\n"), "\n"},
		{"terminal", true, format{end: "\n"}, m.Time.Format("15:04:05") + "  a/b  x\\x1b\\xff  root (42)\n"},
		{"json", true, format{json: true}, `{"topic":"a/b","seq":7,"count":3,"time":"1970-01-01T00:00:01.000005Z","pid":42,"uid":0,"unit":"u.service","payload64":"eBv/"}` + "\n"},
	} {
		if got := shownBy(c.tty, func(o *term.Output) { c.format.print(o, &m) }); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestFormatsThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"%t %y":  "expected a field, not %y",
		"%":      "expected a field, not %",
		`\q`:     `expected an escape, not \q`,
		`%t\`:    `expected an escape, not \`,
		`\xg0`:   `expected an escape, not \x`,
		`\x1`:    `expected an escape, not \x`,
		`%t\c%p`: `expected an escape, not \c`,
	} {
		var f format
		if err := f.parse(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
