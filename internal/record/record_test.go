package record

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/lockmgr"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/rows anew: only for what no release has written yet")

func rows(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// reads checks that rows are these records.
func reads(t *testing.T, rows []string, want []Record) {
	t.Helper()
	if len(rows) != len(want) {
		t.Fatalf("there are %d rows, and %d records", len(rows), len(want))
	}
	for i, row := range rows {
		if got, err := Decode([]byte(row)); err != nil || !reflect.DeepEqual(got, want[i]) {
			t.Errorf("row\n%s\nis %+v, %v\nand not %+v", row, got, err, want[i])
		}
	}
}

// TestFormat: the format is what it is. What fails here would cost locks at an upgrade: a name or a word may not change, a field
// that comes or goes makes a new version of its kind.
func TestFormat(t *testing.T) {
	if *rewrite {
		var b []byte
		for _, r := range samples() {
			b = append(r.Append(b), '\n')
		}
		if err := os.WriteFile("testdata/rows", b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all := rows(t, "rows")
	reads(t, all, samples())
	for i, r := range samples() {
		if got := string(r.Append(nil)); got != all[i] {
			t.Errorf("got\n%s\nand not\n%s", got, all[i])
		}
	}
}

// TestFormatBefore: rows that a daemon wrote before records had kinds are the same records.
func TestFormatBefore(t *testing.T) { reads(t, rows(t, "before.rows"), samplesBefore()) }

// TestFormat1: holds of version 1, when none belonged to a cgroup, are the same.
func TestFormat1(t *testing.T) {
	reads(t, rows(t, "rows.1"), samplesBefore())
	reads(t, rows(t, "retained.1"), []Record{Of(retainedBefore())})
	reads(t, rows(t, "retained.2"), []Record{Of(retainedWithHeaders())})
	reads(t, rows(t, "will.1"), []Record{Of(willBefore())})
}

// TestSamples: every kind, and every word of every enumeration, is in what the formats are tested with.
func TestSamples(t *testing.T) {
	text := strings.Join(rows(t, "rows"), "\n")
	for i := range kinds {
		if !strings.Contains("\n"+text, "\n"+kinds[i].name+" ") {
			t.Errorf("there is no %q", kinds[i].name)
		}
	}
	for name, words := range map[string][]string{"mode": modes, "bind": bindings, "how": hows, "then": thens} {
		for _, word := range words {
			if word != "" && !strings.Contains(text, " "+name+"="+word+" ") {
				t.Errorf("there is no %s=%s", name, word)
			}
		}
	}
}

// TestWords: all that the engine may say has a word, and is the same when it is read.
func TestWords(t *testing.T) {
	for how := lockmgr.How(0); !strings.HasPrefix(how.String(), "How("); how++ {
		end := Of(&End{"a", &lockmgr.End{How: how, Token: 1}})
		if got, err := Decode(end.Append(nil)); err != nil || !reflect.DeepEqual(got, end) {
			t.Errorf("%v is %+v, %v", how, got, err)
		}
	}
	for bind := lockmgr.ToProcess; bind <= lockmgr.ToNobody; bind++ {
		h := Of(&Hold{Claim: lockmgr.Claim{Request: lockmgr.Request{Bind: bind}}})
		if got, err := Decode(h.Append(nil)); err != nil || !reflect.DeepEqual(got, h) {
			t.Errorf("%v is %+v, %v", bind, got, err)
		}
	}
}

// fill gives all that there is in a value, down to so many pointers, a value that is not zero, each another one.
func fill(v reflect.Value, n *uint64, depth int) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n, depth)
		}
	case reflect.Pointer:
		if depth > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), n, depth-1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n, depth)
		}
	case reflect.String:
		v.SetString(strings.Repeat("\xff\x00\"}\n \\= ]é", int(*n%3)+1))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8: // an enumeration
		v.SetUint(1)
	case reflect.Int, reflect.Int64:
		v.SetInt(-int64(*n) << 40)
	case reflect.Uint32:
		v.SetUint(*n<<20 | 1<<31)
	case reflect.Uint64:
		v.SetUint(*n | 1<<63)
	default:
		panic(v.Kind())
	}
}

// TestEveryField: no field is lost, whatever is in it. One that is new in the engine has to be put into a table, or into what
// NewHold says that a hold has not.
func TestEveryField(t *testing.T) {
	n := uint64(0)
	of := map[Kind]bool{}
	for _, sample := range samples() {
		if of[sample.Kind] {
			continue
		}
		of[sample.Kind] = true
		is := reflect.New(reflect.TypeOf(sample.Is).Elem()).Interface().(Body)
		fill(reflect.ValueOf(is).Elem(), &n, 4)
		if h, ok := is.(*Hold); ok {
			is = NewHold(h.Claim, h.Limit, h.Command)
		}
		r := Of(is)
		text := r.Append(nil)
		got, err := Decode(text)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s\nis %+v, %v\nand not %+v", text, got, err, r)
		}
		if bytes.ContainsAny(text, "\n\x00\xff") {
			t.Errorf("it is no line of text: %q", text)
		}
	}
}

// TestUnknown: what is not in a table is refused, and said.
func TestUnknown(t *testing.T) {
	const hold = `hold 1 lock="a" mode=exclusive bind=process `
	for text, want := range map[string]string{
		"":                                   `no record: it begins with ""`,
		"hold":                               `no record: it begins with "hold"`,
		"hold x":                             `no record: it begins with "hold x"`,
		"hold 0 ":                            `no record: it begins with "hold 0 "`,
		"cursor 1":                           `a record "cursor" has version 1, of a newer ipcd; this one knows versions up to 0`,
		"hold 3 x=1":                         `a record "hold" has version 3, of a newer ipcd; this one knows versions up to 2`,
		hold + "color=3":                     `hold: unknown field "color"`,
		hold + "token=3 token=4":             `hold: field "token" is there twice`,
		hold + "token":                       `hold: unknown field "token"`,
		hold + "token=":                      `hold: field "token": no number: ""`,
		hold + "token=-1":                    `hold: field "token": no number: "-1"`,
		hold + "token=18446744073709551616":  `hold: field "token": no number: "18446744073709551616"`,
		hold + "uid=4294967296":              `hold: field "uid": no number: "4294967296"`,
		hold + "joined=yes":                  `hold: field "joined": neither 1 nor left out: "yes"`,
		hold + "why=x":                       `hold: field "why": no text in quotes: "x"`,
		hold + "why=`x`":                     "hold: field \"why\": no text in quotes: \"`x`\"",
		hold + `why="x`:                      `hold: field "why": no text in quotes: "\"x"`,
		hold + "}":                           `hold: there is more: "}"`,
		hold + "told={ how=vanished }":       `hold: field "told": field "how": unknown word "vanished"`,
		hold + "told={ how= }":               `hold: field "told": field "how": unknown word ""`,
		hold + "told={ token=1 }":            `hold: field "told": field "how" is missing`,
		hold + "told={ how=killed":           `hold: field "told": it has no end`,
		hold + "told=1":                      `hold: field "told": no group: "1"`,
		hold + "command={ names=1 }":         `hold: field "command": field "names": no list: "1 }"`,
		hold + `command={ names=["a" 1] }`:   `hold: field "command": field "names": no text in quotes: "1] }"`,
		`hold 1 lock="a" bind=process`:       `hold: field "mode" is missing`,
		`hold 1 mode=exclusive bind=`:        `hold: field "bind": unknown word ""`,
		`hold 1 mode=exclusive bind=nothing`: `hold: field "bind": unknown word "nothing"`,
		`retained 1 topic="a" payload=%`:     `retained: field "payload": no base64: "%"`,
		`retained 1 topic="a" payload=YR==`:  `retained: field "payload": no base64: "YR=="`,
		`mark 1 token=x`:                     `mark: field "token": no number: "x"`,
		`{"Lock":"a"}`:                       "it has no record in it",
		`{"Lock":"a","Abandoned":{"How":8}}`: "a hold ended in way 8",
		`{"Lock":"a","Owner":{},"Hold":{}}`:  `the hold is of "", by process 0/0`,
		`{"Lock":"","Owner":{},"Hold":{}}`:   "the hold has mode 0 and binding 0",
		`{"Lock":"","Owner":{},"Hold":{"Bind":1,"Mode":2}}`: "the hold has mode 2 and binding 1",
		`{`: "unexpected end of JSON input",
	} {
		r, err := Decode([]byte(text))
		if r != (Record{}) || err == nil || err.Error() != want {
			t.Errorf("%s\nis %+v, %v\nand not: %s", text, r, err, want)
		}
		if newer := (*NewerError)(nil); errors.As(err, &newer) != strings.Contains(want, "newer") {
			t.Errorf("%s: %v", text, err)
		}
	}
	deep := hold + "told=" + strings.Repeat("{ how=killed before=", 1_000_000)
	if _, err := Decode([]byte(deep)); !errors.Is(err, errNested) {
		t.Errorf("nested deep: %.100v", err)
	}
}

// TestKeys: no two subjects have one key, and a record has that of its subject.
func TestKeys(t *testing.T) {
	all := []Subject{{Kind: KindMark}, {Kind: KindComplete}}
	for _, lock := range []string{"a", "a b", `a" b`} {
		all = append(all, Subject{Kind: KindEnd, Lock: lock}, Subject{Kind: KindRetained, Topic: lock})
		for _, label := range []string{"", "a", `" a`, "\xff"} {
			for _, pid := range []int{1, 12} {
				all = append(all, Subject{Kind: KindHold, Lock: lock, Owner: lockmgr.Owner{Process: lockmgr.Process{PID: pid, Start: 2}, Label: label}})
			}
		}
	}
	had := map[string]Subject{}
	for _, s := range all {
		if other, twice := had[s.Key()]; twice {
			t.Errorf("%+v and %+v have key %q", s, other, s.Key())
		}
		had[s.Key()] = s
	}
	for _, r := range samples() {
		if gone := (Record{Subject: r.Subject}); gone.Key() != r.Key() || !gone.Over() || gone.Append(nil) != nil || r.Over() {
			t.Errorf("%+v has key %q, and is over with %q", r, r.Key(), gone.Key())
		}
	}
}

// FuzzDecode: whatever a row is, it is refused, or the same when it is written and read again.
func FuzzDecode(f *testing.F) {
	for _, r := range samples() {
		f.Add(string(r.Append(nil)))
	}
	text, err := os.ReadFile("testdata/before.rows")
	if err != nil {
		f.Fatal(err)
	}
	for row := range strings.Lines(string(text)) {
		f.Add(row)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Decode([]byte(text))
		if err != nil {
			return
		}
		again, err := Decode(r.Append(nil))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%q is %+v, and then %+v, %v", text, r, again, err)
		}
		if state, _ := Read([]Record{r}); len(state.Holds) > 0 {
			if err := lockmgr.Restore(state.Snapshot(), 0, lockmgr.MaxToken).Check(); err != nil {
				t.Error(err)
			}
		}
	})
}

// BenchmarkAppend: the text and the key of a hold.
func BenchmarkAppend(b *testing.B) {
	h := samples()[1]
	var text []byte
	b.ReportAllocs()
	for b.Loop() {
		_ = h.Key()
		text = h.Append(text[:0])
	}
	b.ReportMetric(float64(len(text)), "bytes")
}

// BenchmarkDecode: the same, read.
func BenchmarkDecode(b *testing.B) {
	text := samples()[1].Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(text); err != nil {
			b.Fatal(err)
		}
	}
}
