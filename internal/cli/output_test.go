package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ipcd/ipcd/ipc"
)

func testOutput(tty bool) (*output, *bytes.Buffer) {
	var b bytes.Buffer
	return &output{w: bufio.NewWriter(&b), tty: tty}, &b
}

func printed(tty bool, write func(*output)) string {
	o, b := testOutput(tty)
	write(o)
	_ = o.w.Flush() // a buffer takes everything
	return b.String()
}

func TestTable(t *testing.T) {
	rows := func() *table {
		tab := &table{header: []string{"LOCK", "USER", "WHY"}}
		tab.add("backup", "ann", "prune\tand\nmore")
		tab.add("b", "", "")
		return tab
	}
	if got, want := printed(true, rows().print), "LOCK    USER  WHY\nbackup  ann   prune\\tand\\nmore\nb       -     -\n"; got != want {
		t.Errorf("terminal: %q, want %q", got, want)
	}
	if got, want := printed(false, rows().print), "backup\tann\tprune\\tand\\nmore\nb\t-\t-\n"; got != want {
		t.Errorf("elsewhere: %q, want %q", got, want)
	}
	if got := printed(true, (&table{header: []string{"LOCK"}}).print); got != "" {
		t.Errorf("no rows: %q", got)
	}
}

func TestFormat(t *testing.T) {
	m := message{topic: "a/b", payload: "x\x1b\xff", seq: 7, time: time.Unix(1, 5000), pid: 42, uid: 0, unit: "u.service"}
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
		{"terminal", true, format{end: "\n"}, m.time.Format("15:04:05") + "  a/b  x\\x1b\\xff  root (42)\n"},
		{"json", true, format{json: true}, `{"topic":"a/b","seq":7,"time":"1970-01-01T00:00:01.000005Z","pid":42,"uid":0,"unit":"u.service","payload64":"eBv/"}` + "\n"},
	} {
		if got := printed(c.tty, func(o *output) { c.format.print(o, &m) }); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestJSONValue(t *testing.T) {
	text := func(s string) ipc.Value { return ipc.Value{Kind: ipc.KindBulk, Str: s} }
	list := func(v ...ipc.Value) ipc.Value { return ipc.Value{Kind: ipc.KindArray, Elems: v} }
	for _, c := range []struct {
		v    ipc.Value
		want string
	}{
		{ipc.Value{}, "null"},
		{ipc.Value{Kind: ipc.KindInt, Int: -3}, "-3"},
		{ipc.Value{Kind: ipc.KindBool, Int: 1}, "true"},
		{ipc.Value{Kind: ipc.KindDouble, Float: 1.5}, "1.5"},
		{ipc.Value{Kind: ipc.KindDouble, Float: inf()}, `"+Inf"`},
		{list(), "[]"},
		{list(text("a"), text("\xff")), `["a",{"base64":"/w=="}]`},
		{ipc.Value{Kind: ipc.KindMap, Elems: []ipc.Value{text("k"), text("\xff"), text("n"), list()}}, `{"k64":"/w==","n":[]}`},
		{ipc.Value{Kind: ipc.KindMap}, "{}"},
	} {
		if got := string(appendValue(nil, c.v)); got != c.want {
			t.Errorf("%+v: %s, want %s", c.v, got, c.want)
		}
	}
}

func inf() float64 { zero := 0.0; return 1 / zero }

// What we write, encoding/json reads back.
func FuzzJSON(f *testing.F) {
	f.Add("a\x00\"\\\n\t\u2028é\x7f")
	f.Fuzz(func(t *testing.T, s string) {
		var o object
		o.text("k", s)
		var back map[string]any
		if err := json.Unmarshal(o.end(), &back); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if utf8.ValidString(s) && back["k"] != s {
			t.Errorf("%q comes back as %q", s, back["k"])
		}
	})
}

func TestOrdinals(t *testing.T) {
	for n, want := range map[int]string{1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 12: "12th", 13: "13th", 21: "21st", 111: "111th", 122: "122nd"} {
		if got := ordinal(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestHelpFitsTheTerminal(t *testing.T) {
	for _, v := range Verbs() {
		text := printed(false, v.explain)
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 && !strings.HasPrefix(line, "  ipcctl") {
				t.Errorf("%s: %d columns: %s", v.Name, n, line)
			}
			if strings.Contains(line, "`") {
				t.Errorf("%s: a backquote without its pair: %s", v.Name, line)
			}
		}
	}
}
