package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/cli"
	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/ipc/wire"
)

func TestManPage(t *testing.T) {
	page := manPage()
	if page != manPage() {
		t.Error("the same table gives two pages")
	}
	for _, v := range cli.Verbs() {
		if !strings.Contains(page, "\n.Ss ipcctl "+v.Name+"\n") {
			t.Errorf("no section about %s", v.Name)
		}
	}
	testenv.Need(t, "mandoc")
	cmd := exec.Command("mandoc", "-Tlint", "-Wstyle")
	cmd.Stdin = strings.NewReader(page)
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		// Which other pages there are depends on what is installed.
		if strings.HasPrefix(line, "mandoc: ") && !strings.Contains(line, "referenced manual not found") && !strings.Contains(line, "mandoc.db") {
			t.Errorf("%s (%v)", strings.TrimSpace(line), err)
		}
	}
}

func TestProtocol(t *testing.T) {
	file := filepath.Join(t.TempDir(), "protocol.md")
	fresh, err := renewProtocol(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range wire.Commands {
		if !strings.Contains(fresh, "`"+c.Name) {
			t.Errorf("nothing about %s", c.Name)
		}
	}
	for _, c := range wire.Codes {
		if !strings.Contains(fresh, "| "+string(c.Code)+" |") {
			t.Errorf("nothing about %s", c.Code)
		}
	}
	// What is written by hand stays; what is generated is replaced.
	old := "By hand.\n" + strings.Replace(fresh, "`PING", "`PONG", 1) + "The end.\n"
	if err := os.WriteFile(file, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := renewProtocol(file); err != nil || got != "By hand.\n"+fresh+"The end.\n" {
		t.Errorf("error %v, or what was by hand has changed", err)
	}
	if err := os.WriteFile(file, []byte("By hand.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := renewProtocol(file); err == nil {
		t.Error("a document without room for the tables is renewed")
	}
}
