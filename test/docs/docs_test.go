// Package docs runs the shell sessions that the documents show. Those of the info string "console systemd" need a machine
// of their own: test/systemd runs them in its container.
package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/internal/transcript"
)

const root = "../.."

func TestDocuments(t *testing.T) {
	path := "PATH=" + build(t) + string(os.PathListSeparator) + os.Getenv("PATH")
	for document, programs := range map[string][]string{
		"README.md":        nil,
		"HACKING.md":       {"socat", "redis-cli"},
		"docs/protocol.md": {"redis-cli"},
		"docs/guide.md":    {"sqlite3"},
	} {
		t.Run(document, func(t *testing.T) {
			t.Parallel()
			testenv.Need(t, programs...)
			show(t, document, path)
		})
	}
}

// The scripts of the guide say #!/bin/sh, and that is another shell on every other machine.
func TestGuideInEveryShell(t *testing.T) {
	bin := build(t)
	for name, shell := range map[string][]string{
		"bash": {"bash", "--posix"}, "dash": {"dash"}, "busybox": {"busybox", "sh"}, "mksh": {"mksh"}, "zsh": {"zsh", "--emulate", "sh"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testenv.Need(t, name, "sqlite3")
			dir := t.TempDir()
			script := "#!/bin/sh\nexec " + strings.Join(shell, " ") + ` "$@"` + "\n"
			if err := os.WriteFile(filepath.Join(dir, "sh"), []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			show(t, "docs/guide.md", "PATH="+strings.Join([]string{dir, bin, os.Getenv("PATH")}, string(os.PathListSeparator)))
		})
	}
}

// The Go of the guide is a part of the client's examples, which are compiled and run.
func TestGoOfTheGuide(t *testing.T) {
	read := func(file string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	guide, examples := read("docs/guide.md"), read("ipc/example_test.go")
	listings := strings.Split(guide, "```go\n")[1:]
	if len(listings) == 0 {
		t.Error("there is none")
	}
	for _, listing := range listings {
		listing, _, _ = strings.Cut(listing, "```")
		if strings.HasPrefix(listing, "package main\n") { // with a client for Redis, which test/conformance runs
			continue
		}
		var body strings.Builder // in a function
		for line := range strings.Lines(listing) {
			if line != "\n" {
				body.WriteByte('\t')
			}
			body.WriteString(line)
		}
		if !strings.Contains(examples, body.String()) {
			t.Errorf("no example has\n%s", listing)
		}
	}
	for _, name := range regexp.MustCompile("`(Example\\w+)`").FindAllStringSubmatch(guide, -1) {
		if !strings.Contains(examples, "func "+name[1]+"()") {
			t.Errorf("there is no %s", name[1])
		}
	}
}

// build makes the programs and returns the directory that they are in.
func build(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	build := exec.Command("make", "--no-print-directory", "build", "PGO=off", "BIN="+bin)
	build.Dir = root
	build.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build: %v\n%s", err, out)
	}
	return bin
}

// show runs a document's session.
func show(t *testing.T, document, path string) {
	t.Helper()
	file, err := filepath.Abs(filepath.Join(root, document))
	if err != nil {
		t.Fatal(err)
	}
	transcript.Run(t, file, "", t.TempDir(), path, "NO_COLOR=1")
}
