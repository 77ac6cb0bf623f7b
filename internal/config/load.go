package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxFile bounds a file: more is not a configuration, but a mistake.
const maxFile = 1 << 20

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
	text, err := readFile(path)
	switch {
	case err == nil:
		d.decode(path, text)
	case explicit || !errors.Is(err, fs.ErrNotExist):
		d.fail(origin{file: path}, "cannot read: %v", err)
	}
	dir := DropInDir(path)
	names, err := dropIns(dir)
	if err != nil {
		d.fail(origin{file: dir}, "cannot read: %v", err)
	}
	for _, name := range names {
		file := filepath.Join(dir, name)
		text, err := readFile(file)
		if err != nil {
			d.fail(origin{file: file}, "cannot read: %v", err)
			continue
		}
		d.decode(file, text)
	}
	return d.result()
}

// dropIns returns the names of the drop-ins in lexical order. That there is no directory is no error.
func dropIns(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, cause(err)
	}
	var names []string
	for _, e := range entries {
		if isDropIn(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func readFile(path string) (string, error) {
	// Non-blocking, or a FIFO would hold up the daemon before it can be refused.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", cause(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", cause(err)
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("not a regular file")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", cause(err)
	}
	if len(text) > maxFile {
		return "", errors.New("larger than 1 MiB")
	}
	return string(text), nil
}

// cause strips the operation and the path, which the complaint names already.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
