package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// More than these is not a configuration that a person wrote, but a mistake.
const (
	maxFile    = 256 << 10 // bytes
	maxFiles   = 1 << 20   // bytes of all together
	maxDropIns = 100
	maxEntries = 10_000 // of the drop-in directory, read or not
)

// DropInDir is the directory of the drop-ins that belong to the configuration at path.
func DropInDir(path string) string { return filepath.Join(filepath.Dir(path), "ipcd.conf.d") }

// isDropIn says whether a file of that name in the drop-in directory is read. Hidden ones are what editors and package
// managers leave beside the real one.
func isDropIn(name string) bool {
	return strings.HasSuffix(name, ".toml") && !strings.HasPrefix(name, ".")
}

// Load reads the configuration at path and its drop-ins. Unless explicit, which is when the user named the file, it may be
// missing. An error is an [Errors].
func Load(path string, explicit bool) (*Config, error) {
	d := newDecoder()
	room := maxFiles
	read := func(path string, must bool) {
		text, err := readFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !must:
		case err != nil:
			d.fail(origin{file: path}, "cannot read: %v", err)
		default:
			if room -= len(text); room >= 0 {
				d.decode(path, text)
			} else {
				d.fail(origin{file: path}, "cannot read: the files are larger than 1 MiB together")
			}
		}
	}
	read(path, explicit)
	dir := DropInDir(path)
	names, err := dropIns(dir)
	if err != nil {
		d.fail(origin{file: dir}, "cannot read: %v", err)
	}
	for _, name := range names {
		if room >= 0 {
			read(filepath.Join(dir, name), true)
		}
	}
	return d.result()
}

// Parse makes a configuration of files that Load has read before. An error is an [Errors].
func Parse(files []File) (*Config, error) {
	d := newDecoder()
	for _, f := range files {
		d.decode(f.Path, f.Text)
	}
	return d.result()
}

// dropIns returns the names of the drop-ins in lexical order, and of too many the first. That there is no directory is no error.
func dropIns(dir string) (names []string, err error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	entries, err := f.Readdirnames(maxEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, cause(err)
	}
	if len(entries) > maxEntries {
		err = fmt.Errorf("it has more than %d files", maxEntries)
	} else {
		err = nil
	}
	names = slices.DeleteFunc(entries, func(name string) bool { return !isDropIn(name) })
	slices.Sort(names)
	if len(names) > maxDropIns {
		return names[:maxDropIns], fmt.Errorf("it has more than %d drop-ins", maxDropIns)
	}
	return names, err
}

func readFile(path string) (string, error) {
	// To open a device may do something, and to open a FIFO waits for its other end. The first look avoids the one, the flag the
	// other if there is a FIFO by now.
	info, err := os.Stat(path)
	if err != nil {
		return "", cause(err)
	}
	if !info.Mode().IsRegular() {
		return "", errNotRegular
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", cause(err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return "", cause(err)
	}
	if !info.Mode().IsRegular() {
		return "", errNotRegular
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", cause(err)
	}
	if len(text) > maxFile {
		return "", errors.New("larger than 256 KiB")
	}
	return string(text), nil
}

var errNotRegular = errors.New("not a regular file")

// cause strips the operation and the path, which the complaint names already.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
