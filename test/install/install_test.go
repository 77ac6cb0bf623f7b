package install

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

func TestUninstallLeavesTheConfigurationAlone(t *testing.T) {
	programs := t.TempDir() // another test may build its own at the same time
	for _, variables := range [][]string{nil, {"PREFIX=/usr/local", "SYSCONFDIR=/usr/local/etc"}} {
		tree := t.TempDir()
		mine := filepath.Join(tree, "usr/share/man/man1/mine.1")
		run(t, "mkdir", "-p", filepath.Dir(mine))
		run(t, "touch", mine)
		makes := func(target string) {
			run(t, "make", append([]string{"--no-print-directory", "-C", "../..", target, "PGO=off", "DESTDIR=" + tree, "BIN=" + programs}, variables...)...)
		}
		makes("install")
		if n := len(files(t, tree)); n < 20 {
			t.Errorf("%v: %d files were installed", variables, n)
		}
		makes("uninstall")
		config := "etc/ipcd/ipcd.toml"
		if variables != nil {
			config = "usr/local/" + config
		}
		if got, want := files(t, tree), []string{config, "usr/share/man/man1/mine.1"}; !slices.Equal(got, want) {
			t.Errorf("%v: what is left is %q, want %q", variables, got, want)
		}
	}
}

func run(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
}

// files are those below a directory, by their names in it.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
