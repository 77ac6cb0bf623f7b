package transcript

import (
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
)

const document = "Text.\n\n```console\n$ echo one;\n> echo two\none\ntwo\n$ x=5; (exit 3)\n[3]\n```\n" +
	"```sh\n$ not run\n```\n```console other\n$ not this\n```\n\n```console\n$ echo $x; cat; echo a b; echo c\n5\n…\nc\n$ true\n```\n"

func TestParse(t *testing.T) {
	want := []Step{
		{Line: 4, Command: "echo one;\necho two", Want: []string{"one", "two"}},
		{Line: 8, Command: "x=5; (exit 3)", Want: []string{}, Status: 3},
		{Line: 19, Command: "echo $x; cat; echo a b; echo c", Want: []string{"5", "…", "c"}},
		{Line: 23, Command: "true"},
	}
	if got := Parse(document, ""); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	Run(t, path, "", t.TempDir())
}

// A session is the same under nohup.
func TestNoSignalIsIgnored(t *testing.T) {
	signal.Ignore(syscall.SIGHUP)
	defer signal.Reset(syscall.SIGHUP)
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte("```console\n$ sed -n 's/^SigIgn:.*\\([0-9a-f]\\)$/\\1/p' /proc/self/status\n0\n```\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	Run(t, path, "", t.TempDir())
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		want, got []string
		ok        bool
	}{
		{nil, nil, true},
		{nil, []string{"x"}, false},
		{[]string{"x"}, nil, false},
		{[]string{"a … c"}, []string{"a  b   c"}, true},
		{[]string{"a.c"}, []string{"abc"}, false},
		{[]string{"…"}, nil, true},
		{[]string{"…", "b"}, []string{"a", "b", "b"}, true},
		{[]string{"…", "b"}, []string{"a", "c"}, false},
	} {
		if got := match(c.want, c.got); got != c.ok {
			t.Errorf("match(%q, %q) = %t", c.want, c.got, got)
		}
	}
}

// TestWaitLine: what a terminal shows no more is not part of a line.
func TestWaitLine(t *testing.T) {
	for line, want := range map[string]string{
		"\rwaiting\x1b[Kweb1":            "web1",
		"\rwaiting\x1b[K\r\x1b[K3":       "3",
		"\rwaiting 0s\x1b[K\rw 1s\x1b[K": "\rw 1s\x1b[K", // which stays
		"plain":                          "plain",
	} {
		if got := waitLine.ReplaceAllString(line, "$1"); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
