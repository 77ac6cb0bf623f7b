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
	m := message{ipc.Message{Topic: "a/b", Payload: []byte("x\x1b\xff"), Seq: 7, Time: time.Unix(1, 5000), PID: 42, UID: 0, Unit: "u.service"}}
	parts, err := parseFormat("%t=%p %s %u %P %U 100%%")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		tty    bool
		format format
		want   string
	}{
		{"plain", false, format{end: "\n"}, "a/b\tx\x1b\xff\n"},
		{"null", false, format{end: "\x00"}, "a/b\tx\x1b\xff\x00"},
		{"format", false, format{parts: parts, end: "\n"}, "a/b=x\x1b\xff 7 0 42 u.service 100%\n"},
		{"format on a terminal", true, format{parts: parts, end: "\n"}, "a/b=x\\x1b\\xff 7 0 42 u.service 100%\n"},
		{"terminal", true, format{end: "\n"}, m.Time.Format("15:04:05") + "  a/b  x\\x1b\\xff  root (42)\n"},
		{"json", true, format{json: true}, `{"topic":"a/b","seq":7,"time":"1970-01-01T00:00:01.000005Z","pid":42,"uid":0,"unit":"u.service","payload64":"eBv/"}` + "\n"},
	} {
		if got := shownBy(c.tty, func(o *term.Output) { c.format.print(o, &m) }); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
