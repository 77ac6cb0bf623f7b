// Command gen writes what is made from the tables of verbs and commands: ipcctl's man page and completions, the
// tables in docs/protocol.md, and docs/redis.md. "make generate" runs it. The same tables give the same bytes, on any machine, at any time.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/ipcd/ipcd/internal/cli"
)

//go:generate go run .

func main() {
	root, err := moduleRoot()
	if err == nil {
		err = generate(root)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// moduleRoot is the folder of go.mod, at or above the current one.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, e := os.Stat(filepath.Join(dir, "go.mod")); e == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			err = fmt.Errorf("cannot find go.mod in this folder or above")
		}
		dir = parent
	}
	return "", err
}

// generate writes all files below root.
func generate(root string) error {
	protocol, err := renewProtocol(filepath.Join(root, "docs/protocol.md"))
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"packaging/man/ipcctl.1":            manPage(),
		"packaging/completions/ipcctl.bash": cli.CompletionScript("bash"),
		"packaging/completions/_ipcctl":     cli.CompletionScript("zsh"),
		"packaging/completions/ipcctl.fish": cli.CompletionScript("fish"),
		"docs/protocol.md":                  protocol,
		"docs/redis.md":                     redisTable(),
	} {
		if err := write(filepath.Join(root, name), text); err != nil {
			return err
		}
	}
	return nil
}

func write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return nil // its time of change stays, too
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
