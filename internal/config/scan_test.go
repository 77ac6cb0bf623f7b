package config

import (
	"fmt"
	"strings"
	"testing"
)

// fill repeats what line makes of 0, 1, 2 … as often as it fits into a file.
func fill(head string, line func(n int) string) string {
	var b strings.Builder
	b.WriteString(head)
	for n := 0; ; n++ {
		l := line(n)
		if b.Len()+len(l) > maxFile {
			return b.String()
		}
		b.WriteString(l)
	}
}

func numbered(format string) func(n int) string {
	return func(n int) string { return fmt.Sprintf(format, n) }
}

// TestWork: the work for a file is bounded, whatever it says. What is allocated counts as work.
func TestWork(t *testing.T) {
	long := strings.Repeat("x", maxKey-100)
	for name, test := range map[string]struct {
		text string
		want string // how the first complaint begins, "" for none
	}{
		"header of many names": {"[" + strings.Repeat("a.", 10_000) + "a]\n",
			"f:1: nested too deeply: a key has at most 8 names, with those of its table and a name for each array"},
		"key of many names": {"\n" + strings.Repeat("'a' . ", 10_000) + "a = 1\n", "f:2: nested too deeply"},
		"names of names":    {"[a.b.c.d]\ne.f.g.h = 1\ne.f.g.h.i = 1\n", "f:3: nested too deeply"},
		"inline tables":     {strings.Repeat("a = {\n", 10_000), "f:9: nested too deeply"},
		"arrays":            {"a = " + strings.Repeat("[", 10_000), "f:1: nested too deeply"},
		"arrays of tables":  {"a = [\n{ b = [\n{ c = [\n{ d = [\n{ e = 1", "f:5: nested too deeply"},
		"array of nothing":  {"}" + strings.Repeat("[", 10_000), "f:1: nested too deeply"},
		"long name":         {"[" + strings.Repeat("a", 10_000) + "]\n", "f:1: the key is too long: it has at most 512 bytes, with those of its table"},
		"long names":        {"[" + long + "]\n" + strings.Repeat("b", 101) + " = 1\n", "f:2: the key is too long"},

		"many keys":                {fill("", numbered("%x=1\n")), `f:1: unknown key "0"`},
		"many keys of many names":  {fill("[a.a.a."+long+"]\n", numbered("%x.a.a.a=1\n")), `f:1: unknown table "a"`},
		"many keys in a long name": {fill("[limits."+long+"]\n", numbered("%x=1\n")), "f:1: unknown table"},
		"many semaphores":          {fill("[semaphores]\n", numbered("%x=1\n")), ""},
		"many sockets":             {fill("", numbered("[socket.%x]\npath='/%[1]x'\n")), ""},
		"sockets without a path":   {fill("", numbered("[socket.%x]\n")), "f:1: socket.0 has no path"},

		"long word":        {"a = " + strings.Repeat("b", 100_000), `f:1:5: expected value but found "bbb`},
		"long number":      {"a = " + strings.Repeat("9", 100_000), "f:1:5: 9999"},
		"many strings":     {fill("a=[", numbered(`"\n%x",`)) + "]", `f:1: unknown key "a"`},
		"long string":      {fill("a='''", numbered("''%x\n")) + "'''", `f:1: unknown key "a"`},
		"comments":         {fill("", numbered("#%x[a.a.a.a.a.a.a.a.a.a]\n")), ""},
		"names in strings": {`limits.lease = "` + strings.Repeat("a.", 100) + `"`, "f:1: limits.lease must be a time"},
	} {
		t.Run(name, func(t *testing.T) {
			before := allocated()
			_, err := decode("f", test.text)
			if work, most := allocated()-before, mostWork(len(test.text)); work > most {
				t.Errorf("%d bytes were allocated for %d bytes of text, more than %d", work, len(test.text), most)
			}
			said := ""
			if err != nil {
				said = err.Error()
			}
			if !strings.HasPrefix(said, test.want) || (said == "") != (test.want == "") {
				t.Errorf("got %.200q, want %q", said, test.want)
			}
			if len(said) > 60_000 {
				t.Errorf("it says %d bytes", len(said))
			}
			sameKeys(t, test.text)
		})
	}
}

// TestChangesWork: what differs between two large configurations is told, too.
func TestChangesWork(t *testing.T) {
	text := fill("[semaphores]\n", numbered("%x=1\n"))
	running, err := decode("f", text)
	if err != nil {
		t.Fatal(err)
	}
	next, err := decode("f", strings.ReplaceAll(text, "=1", "=2"))
	if err != nil {
		t.Fatal(err)
	}
	before := allocated()
	if got := len(Changes(running, next)); got != strings.Count(text, "=") {
		t.Errorf("%d changes of %d", got, strings.Count(text, "="))
	}
	if work, most := allocated()-before, mostWork(len(text)); work > most {
		t.Errorf("%d bytes were allocated, more than %d", work, most)
	}
}
