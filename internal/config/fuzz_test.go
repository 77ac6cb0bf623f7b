package config

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

// FuzzLoad checks that whatever files hold, Load makes of them a valid configuration, or complaints that name a file and a line
// that exist; and that a configuration, written again as the file writes it, is the same.
func FuzzLoad(f *testing.F) {
	paths, err := filepath.Glob("testdata/load/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		files := archive(readText(f, path))
		f.Add(files["ipcd.toml"], files["ipcd.conf.d/1.toml"])
	}
	f.Fuzz(func(t *testing.T, text, dropIn string) {
		if len(text) > 4<<10 || len(dropIn) > 4<<10 {
			return // The parser is quadratic in the depth of a key.
		}
		files := map[string]string{"main": text, "drop-in": dropIn}
		c, err := decode("main", text, "drop-in", dropIn)
		if err == nil {
			again(t, c)
			return
		}
		complaints, ok := errors.AsType[Errors](err)
		if !ok || len(complaints) == 0 || c != nil {
			t.Fatalf("error %#v, configuration %v", err, c)
		}
		for _, e := range complaints {
			text, ok := files[e.File]
			if !ok || e.Text == "" || e.Line < 0 || e.Line > 1+strings.Count(text, "\n") {
				t.Errorf("complaint %q about a file of %d lines", e, 1+strings.Count(text, "\n"))
			}
			// Written without escapes, the name of the key is on the line.
			rest, unknown := strings.CutPrefix(e.Text, `unknown key "limits.`)
			if name, _, _ := strings.Cut(rest, `"`); unknown && e.Line > 0 && !strings.Contains(text+name, `\`) {
				if line := strings.Split(text, "\n")[e.Line-1]; !strings.Contains(line, name) {
					t.Errorf("%q, but the line is %q", e, line)
				}
			}
		}
	})
}

// decode is Load of files, each a name and a text, that need not exist.
func decode(files ...string) (*Config, error) {
	d := newDecoder()
	for ; len(files) > 0; files = files[2:] {
		d.decode(files[0], files[1])
	}
	return d.result()
}

// again writes c, reads it, and compares.
func again(t *testing.T, c *Config) {
	t.Helper()
	var b strings.Builder
	for _, table := range c.tables() {
		b.WriteString("[" + table.name + "]\n")
		for _, k := range table.keys {
			b.WriteString(toml.Key{k.name}.String() + " = " + k.value.String() + "\n")
		}
	}
	got, err := decode("again", b.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	got.Files = c.Files
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
