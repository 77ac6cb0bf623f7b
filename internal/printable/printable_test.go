package printable_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/ipcd/ipcd/internal/printable"
)

func TestEscape(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"ASCII", `plain "quoted" back\slash`, `plain "quoted" back\slash`},
		{"letters and symbols", "grün 日本 é ✔ €", "grün 日本 é ✔ €"},
		{"an emoji and its selector", "⚠\ufe0f", "⚠\ufe0f"},
		{"colours", "db\x1b[2J", `db\x1b[2J`},
		{"lines and columns", "a\nb\tc\r", `a\nb\tc\r`},
		{"other control characters", "\x00\a\b\v\f\x7f", `\x00\x07\x08\x0b\x0c\x7f`},
		{"control characters of eight bits", "\u0085\u009b31m", `\u0085\u009b31m`},
		{"invalid UTF-8", "\xff\xc3", `\xff\xc3`},
		{"eight-bit control characters that are no UTF-8", "\x9b31m", `\x9b31m`},
		{"half of a pair", "\xed\xa0\x80", `\xed\xa0\x80`},
		{"too long an encoding", "\xc0\x8a", `\xc0\x8a`},
		{"the replacement character", "\ufffd", "\ufffd"},
		{"embeddings and overrides", "\u202a\u202b\u202c\u202d\u202e", `\u202a\u202b\u202c\u202d\u202e`},
		{"isolates", "\u2066\u2067\u2068\u2069", `\u2066\u2067\u2068\u2069`},
		{"marks of direction", "\u200e\u200f\u061c", `\u200e\u200f\u061c`},
		{"zero width", "\u200b\u200c\u200d\u2060\ufeff", `\u200b\u200c\u200d\u2060\ufeff`},
		{"lines and paragraphs", "\u2028\u2029", `\u2028\u2029`},
		{"blanks that look like one", "\u00a0\u2003\u3000", `\u00a0\u2003\u3000`},
		{"a soft hyphen", "\u00ad", `\u00ad`},
		{"letters that are not seen", "\u3164\u115f\uffa0", `\u3164\u115f\uffa0`},
		{"private use", "\ue000\U00100000", `\ue000\U00100000`},
		{"nobody's", "\u0378\uffff", `\u0378\uffff`},
		{"tags", "\U000e0041", `\U000e0041`},
		{"after a letter", "é\x1b", `é\x1b`},
	} {
		if got := printable.Escape(c.text); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if got := string(printable.Append([]byte("x"), c.text)); got != "x"+c.want {
			t.Errorf("%s: appended: %s, want x%s", c.name, got, c.want)
		}
	}
}

// shown are the categories of Unicode whose characters stay as they are.
var shown = []*unicode.RangeTable{unicode.L, unicode.M, unicode.N, unicode.P, unicode.S}

// Of every character there is: it stays if its category is one of those that are seen, and it is not ignored by definition.
func TestEscapeByCategory(t *testing.T) {
	selectors := &unicode.RangeTable{
		R16: []unicode.Range16{{Lo: 0xfe00, Hi: 0xfe0f, Stride: 1}},
		R32: []unicode.Range32{{Lo: 0xe0100, Hi: 0xe01ef, Stride: 1}},
	}
	count := map[bool]int{}
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		stays := r == ' ' || unicode.In(r, shown...) &&
			(unicode.Is(selectors, r) || !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector))
		text := "a" + string(r) + "b"
		if got := printable.Escape(text); (got == text) != stays {
			t.Errorf("%U: %q becomes %q", r, text, got)
		}
		count[stays]++
	}
	if count[true] < 100_000 || count[false] < 100_000 {
		t.Errorf("%v characters were looked at", count)
	}
}

func TestEscapeDoesNotAllocateForPlainText(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { _ = printable.Escape("backup, held by restic") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAppendJSON(t *testing.T) {
	for text, want := range map[string]string{
		`a "b" \`:            `"a \"b\" \\"`,
		"\n\t\r\x1b\x7f":     `"\n\t\u000d\u001b\u007f"`,
		"\u0085\u202e\u200b": `"\u0085\u202e\u200b"`,
		"\u2028\u2029":       `"\u2028\u2029"`,
		"é日✔":                `"é日✔"`,
		"\U000e0041":         `"\udb40\udc41"`,
		"\U0001f600":         "\"\U0001f600\"",
		"a\xffb":             "\"a\ufffdb\"",
	} {
		if got := string(printable.AppendJSON(nil, text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"a\x1b[2J\u202e\xff", "a\x00\"\\\n\t\u2028é\x7f", "\U000e0041\U0001f600\ufe0f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := printable.Escape(s)
		for _, r := range once {
			if !strconv.IsPrint(r) {
				t.Errorf("%q: %q has %U", s, once, r)
			}
		}
		if !utf8.ValidString(once) {
			t.Errorf("%q: %q is not UTF-8", s, once)
		}
		if twice := printable.Escape(once); twice != once {
			t.Errorf("%q: %q becomes %q", s, once, twice)
		}
		encoded := printable.AppendJSON(nil, s)
		if got := printable.Escape(string(encoded)); got != string(encoded) {
			t.Errorf("%q: %q has what is not printable", s, encoded)
		}
		var back string
		if err := json.Unmarshal(encoded, &back); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); utf8.ValidString(s) && back != want {
			t.Errorf("%q comes back as %q", s, back)
		}
	})
}
