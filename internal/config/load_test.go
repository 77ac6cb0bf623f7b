package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files and the generated ones")

// write makes files, by name, below dir.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// archive returns the files of a txtar archive, each of which begins with a line "-- name --".
func archive(text string) map[string]string {
	files := make(map[string]string)
	name := ""
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(rest, " --\n") {
			name = strings.TrimSuffix(rest, " --\n")
			files[name] = ""
		} else if name != "" {
			files[name] += line
		}
	}
	return files
}

// outcome is what Load says about the configuration in dir: its complaints, or how it differs from the default.
func outcome(dir string) string {
	c, err := Load(filepath.Join(dir, "ipcd.toml"), false)
	if err != nil {
		return strings.ReplaceAll(err.Error(), dir+"/", "") + "\n"
	}
	var b strings.Builder
	for _, change := range Changes(Default(), c) {
		fmt.Fprintf(&b, "%s %s\n", change.Key, change.New)
	}
	return b.String()
}

// Each file of testdata/load is a configuration and, as "want", its outcome.
func TestLoad(t *testing.T) {
	paths, err := filepath.Glob("testdata/load/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no test data", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			given, want, ok := strings.Cut(string(text), "-- want --\n")
			if !ok {
				t.Fatal("it does not say what it wants")
			}
			dir := t.TempDir()
			write(t, dir, archive(given))
			got := outcome(dir)
			if *update {
				want = got
				if err := os.WriteFile(path, []byte(given+"-- want --\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the outcome differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ipcd.toml")
	c, err := Load(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), c); diff != "" {
		t.Errorf("a missing file is not the default (-want +got):\n%s", diff)
	}
	want := path + ": cannot read: no such file or directory"
	if _, err := Load(path, true); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestParse: what was read once can be read again, when the files say something else.
func TestParse(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"ipcd.toml": "limits.input = 5000\n", "ipcd.conf.d/a.toml": "[semaphores]\ngpu = 4\n"})
	c, err := Load(filepath.Join(dir, "ipcd.toml"), true)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"ipcd.toml": "nonsense"})
	again, err := Parse(c.Files)
	if diff := cmp.Diff(c, again); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := Parse([]File{{"f", "limits.input = 1\n"}}); err == nil || !strings.HasPrefix(err.Error(), "f:1: limits.input must be") {
		t.Errorf("got %v", err)
	}
}

func TestFilesAreNamedInOrder(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"ipcd.toml": "", "ipcd.conf.d/b.toml": "", "ipcd.conf.d/a.toml": ""})
	c, err := Load(filepath.Join(dir, "ipcd.toml"), true)
	if err != nil {
		t.Fatal(err)
	}
	want := []File{{Path: dir + "/ipcd.toml"}, {Path: dir + "/ipcd.conf.d/a.toml"}, {Path: dir + "/ipcd.conf.d/b.toml"}}
	if diff := cmp.Diff(want, c.Files); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// dropInFiles makes drop-ins 1.toml, 2.toml and so on.
func dropInFiles(dir string, n int, text string) error {
	err := os.Mkdir(dir+"/ipcd.conf.d", 0o700)
	for i := range n {
		err = errors.Join(err, os.WriteFile(fmt.Sprintf("%s/ipcd.conf.d/%d.toml", dir, i+1), []byte(text), 0o600))
	}
	return err
}

// What text files cannot show.
func TestRefusedFiles(t *testing.T) {
	long := strings.Repeat("#", maxFile)
	for name, test := range map[string]struct {
		plant func(dir string) error
		want  string
	}{
		"directory": {
			func(dir string) error { return os.Mkdir(dir+"/ipcd.toml", 0o700) },
			"ipcd.toml: cannot read: not a regular file\n",
		},
		"fifo": {
			func(dir string) error { return syscall.Mkfifo(dir+"/ipcd.toml", 0o600) },
			"ipcd.toml: cannot read: not a regular file\n",
		},
		"device": {
			func(dir string) error { return os.Symlink("/dev/zero", dir+"/ipcd.toml") },
			"ipcd.toml: cannot read: not a regular file\n",
		},
		"large": {
			func(dir string) error { return os.WriteFile(dir+"/ipcd.toml", []byte(long), 0o600) },
			"",
		},
		"too large": {
			func(dir string) error { return os.WriteFile(dir+"/ipcd.toml", []byte(long+"\n"), 0o600) },
			"ipcd.toml: cannot read: larger than 256 KiB\n",
		},
		"no drop-in directory": {
			func(dir string) error { return os.WriteFile(dir+"/ipcd.conf.d", nil, 0o600) },
			"ipcd.conf.d: cannot read: not a directory\n",
		},
		"fifo for drop-ins": {
			func(dir string) error { return syscall.Mkfifo(dir+"/ipcd.conf.d", 0o600) },
			"ipcd.conf.d: cannot read: not a directory\n",
		},
		"fifo and directory among drop-ins": {
			func(dir string) error {
				return errors.Join(os.Mkdir(dir+"/ipcd.conf.d", 0o700), syscall.Mkfifo(dir+"/ipcd.conf.d/a.toml", 0o600),
					os.Mkdir(dir+"/ipcd.conf.d/b.toml", 0o700))
			},
			"ipcd.conf.d/a.toml: cannot read: not a regular file\nipcd.conf.d/b.toml: cannot read: not a regular file\n",
		},
		"as many drop-ins as are read": {
			func(dir string) error { return dropInFiles(dir, maxDropIns, "") },
			"",
		},
		"more drop-ins": {
			func(dir string) error { return dropInFiles(dir, maxDropIns+1, "") },
			"ipcd.conf.d: cannot read: it has more than 100 drop-ins\n",
		},
		"drop-ins that are too large together": {
			func(dir string) error { return dropInFiles(dir, 6, long) },
			"ipcd.conf.d/5.toml: cannot read: the files are larger than 1 MiB together\n",
		},
		"dangling drop-ins": {
			func(dir string) error {
				return errors.Join(os.Mkdir(dir+"/ipcd.conf.d", 0o700),
					os.Symlink("nowhere", dir+"/ipcd.conf.d/a.toml"),
					os.Symlink("b.toml", dir+"/ipcd.conf.d/b.toml"))
			},
			"ipcd.conf.d/a.toml: cannot read: no such file or directory\n" +
				"ipcd.conf.d/b.toml: cannot read: too many levels of symbolic links\n",
		},
		"UTF-16": {
			func(dir string) error {
				return os.WriteFile(dir+"/ipcd.toml", []byte("\xff\xfe[\x00a\x00]\x00"), 0o600)
			},
			"ipcd.toml:1:1: not UTF-8: byte 0xff\n",
		},
		"byte order mark and CRLF": {
			func(dir string) error {
				return os.WriteFile(dir+"/ipcd.toml", []byte("\ufeff[limits]\r\ninput = 4096\r\n[limit]\r\n"), 0o600)
			},
			"ipcd.toml:3: unknown table \"limit\"; did you mean \"limits\"?\n",
		},
		"not UTF-8": {
			func(dir string) error { return os.WriteFile(dir+"/ipcd.toml", []byte("# a\n# ä\ufffd\xff\n"), 0o600) },
			"ipcd.toml:2:5: not UTF-8: byte 0xff\n",
		},
		"control character": {
			func(dir string) error { return os.WriteFile(dir+"/ipcd.toml", []byte("# a\r\n\t\x7f"), 0o600) },
			"ipcd.toml:2:2: control character 0x7f\n",
		},
		"carriage return": {
			func(dir string) error { return os.WriteFile(dir+"/ipcd.toml", []byte("# a\r# b"), 0o600) },
			"ipcd.toml:1:4: control character 0x0d\n",
		},
		"something else": {
			func(dir string) error {
				var b strings.Builder
				for n := range 1000 {
					fmt.Fprintf(&b, "[something%d]\nelse = 1\n", n)
				}
				return os.WriteFile(dir+"/ipcd.toml", []byte(b.String()), 0o600)
			},
			func() string {
				var b strings.Builder
				for n := range maxErrors {
					fmt.Fprintf(&b, "ipcd.toml:%d: unknown table \"something%d\"\n", 1+2*n, n)
				}
				return b.String() + "ipcd.toml: too many errors: the others are not shown\n"
			}(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := test.plant(dir); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, outcome(dir)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
