// Package docs runs the shell sessions that the documents show. Those of the info string "console systemd" need a machine
// of their own: test/systemd runs them in its container.
package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/internal/transcript"
)

const root = "../.."

func TestDocuments(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "./cmd/ipcd", "./cmd/ipcctl")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build: %v\n%s", err, out)
	}
	path := "PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")
	for document, programs := range map[string][]string{
		"README.md":        nil,
		"HACKING.md":       {"socat", "redis-cli"},
		"docs/protocol.md": {"redis-cli"},
		"docs/guide.md":    {"sqlite3"},
	} {
		t.Run(document, func(t *testing.T) {
			t.Parallel()
			testenv.Need(t, programs...)
			file, err := filepath.Abs(filepath.Join(root, document))
			if err != nil {
				t.Fatal(err)
			}
			transcript.Run(t, file, "", t.TempDir(), path, "NO_COLOR=1")
		})
	}
}
