package term

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ipcd/ipcd/ipc/wire"
)

func printed(tty bool, write func(*Output)) string {
	var b strings.Builder
	o := Onto(&b, tty)
	write(o)
	_ = o.Flush() // a builder takes everything
	return b.String()
}

func TestTable(t *testing.T) {
	rows := func() *Table {
		tab := &Table{Header: []string{"LOCK", "USER", "WHY"}}
		tab.Add("backup", "ann", "prune\tand\nmore")
		tab.Add("b", "", "")
		return tab
	}
	if got, want := printed(true, rows().Print), "LOCK    USER  WHY\nbackup  ann   prune\\tand\\nmore\nb       -     -\n"; got != want {
		t.Errorf("terminal: %q, want %q", got, want)
	}
	if got, want := printed(false, rows().Print), "backup\tann\tprune\\tand\\nmore\nb\t-\t-\n"; got != want {
		t.Errorf("elsewhere: %q, want %q", got, want)
	}
	if got := printed(true, (&Table{Header: []string{"LOCK"}}).Print); got != "" {
		t.Errorf("no rows: %q", got)
	}
}

// A terminal of 80 columns shows a line for each row: names are cut in the middle, and the last column has what is left.
func TestTableOnANarrowTerminal(t *testing.T) {
	tab := &Table{Header: []string{"LOCK", "PID", "UNIT", "TOKEN", "WHY"}, Names: []string{"LOCK", "UNIT"}, Hidden: []string{"TOKEN"}}
	tab.Add("/var/lib/some/where/very/deep/below/backup.lock", "4194304", "user@1000.service/app.slice/app-org.example.slice", "1795401234567890",
		"the weekly prune of all that nobody needs")
	tab.Add("b\x1b", "1", "", "1795401234567891", "")
	want := "LOCK                     PID      UNIT                      WHY\n" +
		"/var/lib/so…backup.lock  4194304  user@1000.s…xample.slice  the weekly prune of…\n" +
		"b\\x1b                    1        -                         -\n"
	if got := printed(true, tab.Print); got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
	for line := range strings.Lines(want) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if got, want := printed(false, tab.Print), "\t1795401234567890\tthe weekly prune of all that nobody needs\nb\\x1b\t1\t-\t1795401234567891\t-\n"; !strings.HasSuffix(got, want) {
		t.Errorf("elsewhere: %q, want it to end with %q", got, want)
	}
}

// Where even short names have no room, lines are longer than the terminal rather than empty.
func TestTableWithoutRoom(t *testing.T) {
	header, row := []string{}, []string{}
	for range 10 {
		header, row = append(header, "COLUMN"), append(row, "0123456789")
	}
	tab := &Table{Header: header}
	tab.Add(row...)
	if got := printed(true, tab.Print); !strings.HasSuffix(got, "0123456789  01234…\n") {
		t.Errorf("%s", got)
	}
}

func TestJSONValue(t *testing.T) {
	text := func(s string) wire.Value { return wire.Value{Kind: wire.KindBulk, Str: s} }
	list := func(v ...wire.Value) wire.Value { return wire.Value{Kind: wire.KindArray, Elems: v} }
	for _, c := range []struct {
		v    wire.Value
		want string
	}{
		{wire.Value{}, "null"},
		{wire.Value{Kind: wire.KindInt, Int: -3}, "-3"},
		{wire.Value{Kind: wire.KindBool, Int: 1}, "true"},
		{wire.Value{Kind: wire.KindDouble, Float: 1.5}, "1.5"},
		{wire.Value{Kind: wire.KindDouble, Float: inf()}, `"+Inf"`},
		{list(), "[]"},
		{list(text("a"), text("\xff")), `["a",{"base64":"/w=="}]`},
		{wire.Value{Kind: wire.KindMap, Elems: []wire.Value{text("k"), text("\xff"), text("n"), list()}}, `{"k64":"/w==","n":[]}`},
		{wire.Value{Kind: wire.KindMap}, "{}"},
	} {
		if got := string(AppendValue(nil, c.v)); got != c.want {
			t.Errorf("%+v: %s, want %s", c.v, got, c.want)
		}
	}
}

func inf() float64 { zero := 0.0; return 1 / zero }

// What we write, encoding/json reads back.
func FuzzJSON(f *testing.F) {
	f.Add("a\x00\"\\\n\t\u2028é\x7f")
	f.Fuzz(func(t *testing.T, s string) {
		var o Object
		o.Text("k", s)
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
		if got := Ordinal(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
