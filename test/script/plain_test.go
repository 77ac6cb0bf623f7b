package script

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ipcd/ipcd/internal/cli"
)

// setChars sets a variable to a text that no source file should hold as it is: nobody would see what is in it.
func setChars(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "chars VAR TEXT")
	text, err := strconv.Unquote(`"` + args[1] + `"`)
	ts.Check(err)
	ts.Setenv(args[0], text)
}

func runPlain(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) != 1, "plain [N CMD…]")
	if len(args) > 1 {
		out, err := onTerminal(ts, "", args[1:])
		checkPlain(ts, "the terminal", string(out))
		checkStatus(ts, args[0], err)
		err = ts.Exec(args[1], args[2:]...)
		checkStatus(ts, args[0], err)
	}
	for _, stream := range []string{"stdout", "stderr"} {
		checkPlain(ts, stream, ts.ReadFile(stream))
	}
}

// layout is what ipcctl itself controls a terminal with, and ends lines and columns.
var layout = strings.NewReplacer("\r\n", "", "\r", "", "\x1b[K", "", "\n", "", "\t", "")

// checkPlain fails a script for a text with a character that is not printable, or none at all.
func checkPlain(ts *testscript.TestScript, where, text string) {
	for _, r := range layout.Replace(strings.ToValidUTF8(text, "\x00")) {
		if !strconv.IsPrint(r) {
			ts.Fatalf("%s has %U: %q", where, r, text)
		}
	}
}

// A verb that is not in the script may show anything.
func TestTextOfOthersIsShownByEveryVerb(t *testing.T) {
	script, err := os.ReadFile("text-of-others.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range cli.Verbs() {
		if !v.Local && !strings.Contains(string(script), "ipcctl "+v.Name+" ") && !strings.Contains(string(script), "ipcctl "+v.Name+"\n") {
			t.Errorf("text-of-others.txtar does not run ipcctl %s", v.Name)
		}
	}
}
