package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// targets are the directories to watch, and which names in them matter, to notice that a configuration changes or becomes
// another one. Directories are watched, never files: editors and package managers put a new file in the place of the old.
//
// Of the directories on the way to a file, only those are watched whose next step may change while they stay: they hold a
// symbolic link, or do not hold yet what is looked for, or hold the file itself.
type targets struct {
	dirs    map[string]bool // without symbolic links
	names   map[string]bool // the paths that matter in dirs
	dropIns string          // the drop-in directory, once it exists, in which all drop-ins matter
}

// maxLinks is where the kernel gives up, too.
const maxLinks = 40

func findTargets(path string) *targets {
	t := &targets{dirs: make(map[string]bool), names: make(map[string]bool)}
	t.trace(path)
	dir := t.trace(DropInDir(path))
	if names, err := dropIns(dir); dir != "" && (err == nil || len(names) > 0) { // Of too many it has some.
		t.dropIns = dir
		t.dirs[dir] = true
		for _, name := range names {
			t.trace(filepath.Join(dir, name))
		}
	}
	return t
}

// concerns says whether a change to name, as the watches report it, may be one of the configuration.
func (t *targets) concerns(name string) bool {
	name = filepath.Clean(name) // Below / it begins with two slashes.
	// A directory that is watched reports its own removal, under its name.
	return t.names[name] || t.dirs[name] || filepath.Dir(name) == t.dropIns && isDropIn(filepath.Base(name))
}

// trace adds what decides which file path names, and returns that file without symbolic links, or "" if there is none.
func (t *targets) trace(path string) string {
	path, err := filepath.Abs(path)
	if err != nil { // There is no working directory any more.
		return ""
	}
	at, steps, links := "/", split(path), 0
	for len(steps) > 0 {
		step := steps[0]
		steps = steps[1:]
		if step == ".." {
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, step)
		info, err := os.Lstat(next)
		isLink := err == nil && info.Mode()&fs.ModeSymlink != 0
		if err != nil || isLink || len(steps) == 0 {
			t.dirs[at] = true
			t.names[next] = true
		}
		switch {
		case err != nil:
			return ""
		case isLink:
			target, err := os.Readlink(next)
			if links++; err != nil || links > maxLinks {
				return ""
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			steps = append(split(target), steps...)
		default:
			at = next
		}
	}
	return at
}

// split returns the steps of path.
func split(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(step string) bool { return step == "" || step == "." })
}

// vanished tells that a directory went away before it could be watched.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
