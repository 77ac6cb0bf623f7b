// Together puts many seeded bugs into one copy of the program, of which the environment says which one there is (SEEDED_BUG), so that
// the tests are compiled once for all. See test/seeded-bugs/run.
//
// usage: together OUT NAME=DIR…
//
// It is run at the root of the module. In each DIR are the files that a bug changes, in their places, with the bug. What is to be
// compiled instead of the tree's files is written to OUT, with an overlay for the go command. The names of the bugs that are in there are
// printed. A bug is in there if all that it does is to have functions do something else, or to add some: these choose what they do when
// they are called. Any other has to be tried by itself.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "together:", err)
		os.Exit(1)
	}
}

func run(out string, bugs []string) error {
	t := tree{files: map[string]*file{}, added: map[string]bool{}}
	for _, bug := range bugs {
		name, dir, _ := strings.Cut(bug, "=")
		changes, err := t.changesOf(dir)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if changes == nil {
			continue
		}
		t.names = append(t.names, name)
		for _, c := range changes {
			c.in.put(c, len(t.names))
			t.added[c.in.dir()+c.name] = true
		}
		fmt.Println(name)
	}
	return t.write(out)
}

// A tree is the files that bugs change, with all bugs.
type tree struct {
	files map[string]*file
	names []string        // of the bugs, which are numbered from 1 on
	added map[string]bool // functions, by folder and name
}

// A file is one of the tree's.
type file struct {
	path, pkg string
	text      []byte
	functions map[string]function
	rest      string         // what is not a function
	cases     map[string]int // where bodies begin in text, of the functions that bugs change
	chosen    map[string]string
	more      string // functions that bugs add
}

func (f *file) dir() string { return filepath.Dir(f.path) + "/" }

// A function is one as it is written.
type function struct {
	head, body string // body is without its braces
	at         int    // where it begins
	labels     bool
	results    bool
}

// A change is what a bug does to a function, or one that it adds.
type change struct {
	in   *file
	name string
	function
	added bool
}

// changesOf are what the files of a folder change in the tree; nil if that is more than what functions do.
func (t *tree) changesOf(dir string) (all []change, err error) {
	together := true
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !together {
			return err
		}
		place, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		was := t.files[place]
		if was == nil {
			if was, err = read(place, place); err != nil {
				return err
			}
			t.files[place] = was
		}
		is, err := read(path, place)
		if err != nil {
			return err
		}
		together = is.rest == was.rest
		for name := range was.functions {
			_, stays := is.functions[name]
			together = together && stays
		}
		for _, name := range slices.Sorted(maps.Keys(is.functions)) {
			now, before := is.functions[name], was.functions[name]
			switch {
			case now.body == before.body && now.head == before.head:
			case before.head == "" && !t.added[was.dir()+name]:
				all = append(all, change{was, name, now, true})
			case now.head == before.head && !now.labels && !before.labels:
				all = append(all, change{was, name, now, false})
			default:
				together = false
			}
		}
		return nil
	})
	if !together {
		return nil, err
	}
	return all, err
}

// read reads a file that has its place in the tree.
func read(path, place string) (*file, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, path, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := &file{path: place, pkg: parsed.Name.Name, text: text, functions: map[string]function{}, cases: map[string]int{}, chosen: map[string]string{}}
	at := func(p token.Pos) int { return set.Position(p).Offset }
	var rest strings.Builder
	from := 0
	for _, d := range parsed.Decls {
		d, ok := d.(*ast.FuncDecl)
		if !ok || d.Body == nil {
			continue
		}
		fn := function{
			head: string(text[at(d.Pos()):at(d.Body.Lbrace)]), body: string(text[at(d.Body.Lbrace)+1 : at(d.Body.Rbrace)]),
			at: at(d.Body.Lbrace) + 1, results: d.Type.Results != nil,
		}
		ast.Inspect(d.Body, func(n ast.Node) bool {
			_, is := n.(*ast.LabeledStmt)
			fn.labels = fn.labels || is
			return true
		})
		name := d.Name.Name
		if d.Recv != nil {
			name = string(text[at(d.Recv.List[0].Type.Pos()):at(d.Recv.List[0].Type.End())]) + "." + name
		}
		f.functions[name] = fn
		rest.Write(text[from:at(d.Pos())])
		from = at(d.End())
	}
	rest.Write(text[from:])
	f.rest = withoutComments(rest.String())
	return f, nil
}

// withoutComments is a text without the lines that are comments, and without empty ones.
func withoutComments(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// put has a function do what a bug has it do, if that is there.
func (f *file) put(c change, bug int) {
	if c.added {
		f.more += "\n" + c.head + "{" + c.body + "}\n"
		return
	}
	f.cases[c.name] = f.functions[c.name].at
	end := ""
	if !c.results {
		end = "return\n"
	}
	f.chosen[c.name] += fmt.Sprintf("case %d:\n{%s}\n%s", bug, c.body, end)
}

// write writes the overlay, and what it names.
func (t *tree) write(out string) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	replace := map[string]string{}
	write := func(place string, text []byte) error {
		path := filepath.Join(out, place)
		replace[filepath.Join(root, place)] = path
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		return os.WriteFile(path, text, 0o600)
	}
	for place, f := range t.files {
		if len(f.cases) == 0 && f.more == "" {
			continue
		}
		var b bytes.Buffer
		from := 0
		for _, name := range slices.SortedFunc(maps.Keys(f.cases), func(x, y string) int { return f.cases[x] - f.cases[y] }) {
			b.Write(f.text[from:f.cases[name]])
			fmt.Fprintf(&b, "\nswitch seededBug {\n%s}\n", f.chosen[name])
			from = f.cases[name]
		}
		b.Write(f.text[from:])
		b.WriteString(f.more)
		if err := write(place, b.Bytes()); err != nil {
			return err
		}
		which := fmt.Sprintf("package %s\n\nimport \"os\"\n\nvar seededBug = map[string]int{", f.pkg)
		for i, name := range t.names {
			which += fmt.Sprintf("%q: %d, ", name, i+1)
		}
		if err := write(f.dir()+"seeded_bug.go", []byte(which+"}[os.Getenv(\"SEEDED_BUG\")]\n")); err != nil {
			return err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "overlay"), overlay, 0o600)
}
