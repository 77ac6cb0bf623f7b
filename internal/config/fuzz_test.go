package config

import (
	"errors"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

// FuzzLoad checks that whatever files hold, Load makes of them a valid configuration, or complaints that name a file and a line
// that exist, with work that is bounded by their length; and that a configuration, written again as the file writes it, is the same.
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
		if len(text) > maxFile || len(dropIn) > maxFile {
			return
		}
		sameKeys(t, text)
		sameKeys(t, dropIn)
		files := map[string]string{"main": text, "drop-in": dropIn}
		before := allocated()
		c, err := decode("main", text, "drop-in", dropIn)
		if work, most := allocated()-before, mostWork(len(text)+len(dropIn)); work > most {
			t.Errorf("%d bytes were allocated for %d bytes of text, more than %d", work, len(text)+len(dropIn), most)
		}
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

// allocated counts what this process has allocated so far. All that the parser does too often, it allocates for.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// mostWork is what may be allocated for so many bytes of text: some for an empty one, and a constant for each byte.
func mostWork(size int) uint64 { return 4<<20 + uint64(size)*8*maxKey }

// sameKeys checks that the scan finds the keys that the parser finds.
func sameKeys(t *testing.T, text string) {
	t.Helper()
	text = strings.TrimPrefix(text, "\ufeff")
	if _, bad := badCharacter(text); bad != "" {
		return
	}
	lines, _, err := keyLines(text)
	if err != nil {
		return // It is not parsed.
	}
	var top map[string]any
	if meta, err := toml.Decode(text, &top); err == nil && len(meta.Keys()) != len(lines) {
		t.Errorf("the scan finds keys in the lines %v, the parser finds %v", lines, meta.Keys())
	}
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
