package script

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cgroup"
	"github.com/ipcd/ipcd/internal/testenv"
)

// needCgroups makes a cgroup for the script, $CGROUP, and skips it where that is not allowed. What is left in it when the script ends
// is killed.
func needCgroups(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 0, "cgroups")
	t := worldOf(ts).tb
	testenv.Root(t)
	root := cgroup.Root()
	if root == "" {
		testenv.Allowed(t, "use cgroups of version 2", unix.ENOSYS)
	}
	name := "/ipcd-test-" + strconv.Itoa(os.Getpid()) + ".slice"
	dir := root + name
	testenv.Allowed(t, "make a cgroup", unix.Mkdir(dir, 0o755))
	ts.Setenv("CGROUP", name)
	ts.Setenv("CGROUP_DIR", dir)
	t.Cleanup(func() {
		_ = os.WriteFile(dir+"/cgroup.kill", []byte("1"), 0o600) // Linux 5.14
		var dirs []string
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, _ error) error {
			if d != nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			if err := removeEmpty(dirs[i]); err != nil {
				t.Errorf("cannot remove %s: %v", dirs[i], err)
			}
		}
	})
}

// removeEmpty removes a cgroup as soon as its last process has ended.
func removeEmpty(dir string) error {
	for {
		if err := unix.Rmdir(dir); !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
}

func makeCgroup(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 1, "mkcgroup NAME")
	ts.Check(os.Mkdir(filepath.Join(ts.Getenv("CGROUP_DIR"), args[0]), 0o755))
}

func removeCgroup(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 1, "rmcgroup NAME")
	ts.Check(removeEmpty(filepath.Join(ts.Getenv("CGROUP_DIR"), args[0])))
}

// enterCgroup is the program incgroup.
func enterCgroup() {
	file, err := exec.LookPath(os.Args[2])
	if err == nil {
		err = os.WriteFile(filepath.Join(os.Getenv("CGROUP_DIR"), os.Args[1], "cgroup.procs"), []byte("0"), 0o600)
	}
	if err == nil {
		err = unix.Exec(file, os.Args[2:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
