package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const (
	module = "github.com/ipcd/ipcd"
	root   = "../.."
)

// pkg is what go list says about a package.
type pkg struct {
	ImportPath string
	Imports    []string
}

// local is the package's path inside the module.
func (p pkg) local() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// load asks the go command. With -e a package that does not compile is listed all the same: the compiler reports it
// better than this test could.
func load(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-e", "-pgo=off", "-json=ImportPath,Imports"}, args...)...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var pkgs []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// isStd goes by the go command's own rule: the first element of a path outside the standard library has a dot.
func isStd(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".")
}

func report(t *testing.T, problems []string) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

// source is a file of the tree, with its syntax if it is Go. Nested modules count: rules for tests hold there too.
type source struct {
	path string // from the module's root, with slashes
	text []byte
	file *ast.File
	fset *token.FileSet
}

var sources = sync.OnceValues(func() (files []source, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); rel != "." && (name == "testdata" || name == "bin" || strings.HasPrefix(name, ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if ext := filepath.Ext(path); ext != ".go" && ext != ".txtar" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		s, err := parse(filepath.ToSlash(rel), text)
		files = append(files, s)
		return err
	})
	return files, err
})

func parse(path string, text []byte) (source, error) {
	s := source{path: path, text: text, fset: token.NewFileSet()}
	var err error
	if strings.HasSuffix(path, ".go") {
		s.file, err = parser.ParseFile(s.fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
	}
	return s, err
}

// checkSources runs a rule over the whole tree.
func checkSources(t *testing.T, rule func(source) []string) {
	t.Helper()
	files, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range files {
		report(t, rule(s))
	}
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

func (s source) at(n ast.Node) string { return s.fset.Position(n.Pos()).String() }

// selectors calls f for each "pkg.Name" in the file, pkg being the import path that the identifier stands for.
func (s source) selectors(f func(imp, name string, n ast.Node)) {
	imports := map[string]string{}
	for _, spec := range s.file.Imports {
		imp := strings.Trim(spec.Path.Value, `"`)
		name := imp[strings.LastIndex(imp, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		imports[name] = imp
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && imports[x.Name] != "" {
				f(imports[x.Name], sel.Sel.Name, n)
			}
		}
		return true
	})
}
