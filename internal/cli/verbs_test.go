package cli

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// What the help, the man page and the completions need must be there, and what a user types must mean one thing.
func TestVerbTable(t *testing.T) {
	for _, e := range verbs().rows {
		v := e.make()
		t.Run(e.name, func(t *testing.T) {
			if v.Name != e.name {
				t.Errorf("the row of %s is called %s", e.name, v.Name)
			}
			if v.run == nil || v.Summary == "" || len(v.Synopsis) == 0 {
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
			if v.most > 0 && len(v.words) == 0 {
				t.Error("its words have no names")
			}
			checkOptions(t, append(GlobalOptions(), v.Options...))
			for _, code := range v.Exits {
				if FindStatus(code) == nil {
					t.Errorf("exit status %d is not in the table", code)
				}
			}
			if _, err := os.Stat("../../test/script/" + v.Name + ".txtar"); err != nil {
				t.Errorf("it has no script: %v", err)
			}
		})
	}
}

func checkOptions(t *testing.T, options []Option) {
	t.Helper()
	seen := map[string]bool{}
	for _, o := range options {
		names := o.also
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
