package bus

import (
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what was found into testdata/*.txt as what is expected; read the diff")

// TestScripts runs testdata/*.txt, each on a new bus. A script is made of blocks divided by empty lines:
//
//	# a comment
//	COMMAND
//	…
//	----
//	what the commands say, and then the whole state (Dump)
//
// The commands, where S is a subscriber (any word), K is channel, pattern or filter, and a TEXT, NAME or TOPIC that is not a
// plain word is quoted as in Go:
//
//	sub S K TEXT      Subscribe
//	unsub S K TEXT    Unsubscribe
//	drop S            Drop
//	pub NAME          Publish: its routes and their subscribers, in order
//	topic TOPIC       SearchTopic: likewise
//	count S [K…]      Count
//	texts S K         Texts
//	channels GLOB     Channels
//	numsub TOPIC      NumSub
//	numpat            NumPat
//
// After each command all invariants are checked. With -rewrite the expectations are renewed.
func TestScripts(t *testing.T) {
	runScripts(t, "testdata/*.txt", func() world { return busWorld{New[string]()} })
}

// A world is what a script is run on.
type world interface {
	run(t *testing.T, line string, out *strings.Builder)
	check() error
	Dump(w io.Writer) error
}

type busWorld struct{ *Bus[string] }

func (b busWorld) run(t *testing.T, line string, out *strings.Builder) {
	runCommand(t, b.Bus, line, out)
}

// runScripts runs the scripts of a pattern, each on a new world.
func runScripts(t *testing.T, pattern string, begin func() world) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, begin(), string(data))
			if got == string(data) {
				return
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want := strings.Split(string(data), "\n")
			for i, line := range strings.Split(got, "\n") {
				if i >= len(want) || line != want[i] {
					t.Fatalf("%s:%d: got %q; all of it:\n%s", file, i+1, line, got)
				}
			}
			t.Fatalf("%s: lines are missing; got:\n%s", file, got)
		})
	}
}

// runScript returns the script with what the commands said as its expectations.
func runScript(t *testing.T, w world, script string) string {
	var out strings.Builder
	for i, block := range strings.Split(strings.TrimSpace(script), "\n\n") {
		commands, _, ok := strings.Cut(block+"\n", "----\n")
		if !ok {
			t.Fatalf("no ---- in block:\n%s", block)
		}
		if i > 0 {
			out.WriteString("\n")
		}
		out.WriteString(commands + "----\n")
		for line := range strings.Lines(commands) {
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			w.run(t, line, &out)
			if err := w.check(); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
		if err := w.Dump(&out); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func runCommand(t *testing.T, b *Bus[string], line string, out *strings.Builder) {
	words := splitWords(t, line)
	name, args := words[0], words[1:]
	kind := func(s string) Kind {
		for k := range Kind(numKinds) {
			if k.String() == s {
				return k
			}
		}
		t.Fatalf("%s: no kind %q", line, s)
		return 0
	}
	switch name {
	case "sub":
		r, added, err := b.Subscribe(args[0], kind(args[1]), args[2])
		switch {
		case err != nil:
			fmt.Fprintf(out, "sub: %v\n", err)
		case !added:
			fmt.Fprintf(out, "sub: had slot %d\n", r.Slot)
		}
	case "unsub":
		if !b.Unsubscribe(args[0], kind(args[1]), args[2]) {
			fmt.Fprintf(out, "unsub: had none\n")
		}
	case "drop":
		b.Drop(args[0])
	case "pub", "topic":
		search := b.Search
		if name == "topic" {
			search = b.SearchTopic
		}
		routes, _, err := search([]byte(args[0]), math.MaxInt)
		if err != nil {
			fmt.Fprintf(out, "%s: %v\n", name, err)
			return
		}
		fmt.Fprintf(out, "%s %d:\n", name, b.Take())
		for _, r := range routes {
			fmt.Fprintf(out, "  %s %q: %s\n", r.Kind, r.Text, strings.Join(r.Subs(), " "))
		}
	case "count":
		var kinds []Kind
		for _, arg := range args[1:] {
			kinds = append(kinds, kind(arg))
		}
		fmt.Fprintf(out, "count: %d\n", b.Count(args[0], kinds...))
	case "texts":
		fmt.Fprintf(out, "texts: %q\n", b.Texts(args[0], kind(args[1])))
	case "channels":
		fmt.Fprintf(out, "channels: %q\n", b.Channels(args[0]))
	case "numsub":
		fmt.Fprintf(out, "numsub: %d\n", b.NumSub(args[0]))
	case "numpat":
		fmt.Fprintf(out, "numpat: %d\n", b.NumPat())
	default:
		t.Fatalf("no command %q", name)
	}
}

func splitWords(t *testing.T, line string) []string {
	var words []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		word, rest, _ := strings.Cut(line, " ")
		if line[0] == '"' {
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			rest = line[len(quoted):]
			if word, err = strconv.Unquote(quoted); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
		words = append(words, word)
		line = rest
	}
	return words
}
