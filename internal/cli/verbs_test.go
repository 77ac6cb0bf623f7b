package cli

import (
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/verb"
)

// What the help, the man page and the completions need must be there, and what a user types must mean one thing.
func TestVerbTable(t *testing.T) {
	for _, e := range verbs().Rows {
		v := e.Make()
		t.Run(e.Name, func(t *testing.T) {
			if v.Name != e.Name && v.Group != "" { // what is hidden may be another form of one that is not
				t.Errorf("the row of %s is called %s", e.Name, v.Name)
			}
			if v.Run == nil || v.Summary == "" || len(v.Synopsis) == 0 {
				t.Error("it lacks run, Summary or Synopsis")
			}
			if v.Group == "" {
				return
			}
			if !slices.Contains(groups, v.Group) {
				t.Errorf("the overview has no heading %q", v.Group)
			}
			if strings.HasSuffix(v.Summary, ".") || len(v.Summary) > 60 {
				t.Errorf("Summary %q: one short line, no full stop", v.Summary)
			}
			if len(v.About) == 0 {
				t.Error("it lacks About")
			}
			if v.Most > 0 && len(v.Words) == 0 {
				t.Error("its words have no names")
			}
			checkOptions(t, append(verb.GlobalOptions(), v.Options...))
			for _, code := range v.Exits {
				if exit.Find(code) == nil {
					t.Errorf("exit status %d is not in the table", code)
				}
			}
			if _, err := os.Stat("../../test/script/" + v.Name + ".txtar"); err != nil {
				t.Errorf("it has no script: %v", err)
			}
		})
	}
}

func checkOptions(t *testing.T, options []verb.Option) {
	t.Helper()
	seen := map[string]bool{}
	for _, o := range options {
		names := o.Also
		if o.Long != "" {
			names = append(names, o.Long)
		}
		if o.Short != 0 {
			names = append(names, string(o.Short))
		}
		for _, n := range names {
			if seen[n] {
				t.Errorf("two options are called %s", n)
			}
			seen[n] = true
		}
		if o.Help == "" || strings.HasSuffix(o.Help, ".") {
			t.Errorf("option %s: Help %q: one line, no full stop", o.Names(), o.Help)
		}
	}
}

func TestHelpFitsTheTerminal(t *testing.T) {
	for _, v := range Verbs() {
		text := shownBy(false, v.Explain)
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 && !strings.HasPrefix(line, "  ipcctl") {
				t.Errorf("%s: %d columns: %s", v.Name, n, line)
			}
			if strings.Contains(line, "`") {
				t.Errorf("%s: a backquote without its pair: %s", v.Name, line)
			}
		}
	}
}
