package state

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// small are rows that are checked against damage: short ones and one of several slots.
func small(t testing.TB, dir string) (want map[string]string) {
	j := openNotes(t, dir)
	defer j.mustClose(t)
	apply(t, j, set("gone", "0"), set("short", "old"))
	apply(t, j, set("long", strings.Repeat("long ", 200)), gone("gone"))
	apply(t, j, set("short", "new"))
	apply(t, j, set("other", "text"))
	want = map[string]string{"long": strings.Repeat("long ", 200), "short": "new", "other": "text"}
	j.says(t, want)
	return want
}

// smallSize is how much of a file has something of small in it.
const smallSize = headSize + 8*slotSize

func files(dir string) [2]string {
	return [2]string{filepath.Join(dir, "j.1"), filepath.Join(dir, "j.2")}
}

// TestJournalFlipped: no flipped bit of a copy changes what is found.
func TestJournalFlipped(t *testing.T) {
	dir := inMemory(t)
	want := small(t, dir)
	var good [2][]byte
	for i, path := range files(dir) {
		good[i] = []byte(read(t, path))
	}
	for i := range good {
		for at := range smallSize {
			if at > 128 && at < commitAt || at >= headSize && at%slotSize > 4 && good[i][at/slotSize*slotSize] == 0 {
				continue // where nothing is
			}
			for bit := range 8 {
				good[i][at] ^= 1 << bit
				j := &Journal[note]{layout: layout{epoch: boot, tag: tag(boot)}, decode: readNote}
				if _, _, err := j.weigh(&[2]source{{data: good[0][:smallSize]}, {data: good[1][:smallSize]}}); err != nil || !maps.Equal(byName(j.rows), want) {
					t.Fatalf("bit %d of byte %d of copy %d: %v, %v", bit, at, i+1, err, j.rows)
				}
				good[i][at] ^= 1 << bit
			}
		}
	}
	// And is mended.
	for i, path := range files(dir) {
		for at := range smallSize {
			if at > 100 && at < commitAt || at%31 != 0 && at > headSize {
				continue
			}
			bad := slices.Clone(good[i])
			bad[at] ^= 1 << (at % 8)
			write(t, path, string(bad))
			for _, again := range []bool{false, true} {
				j := openNotes(t, dir)
				if j.says(t, want); !maps.Equal(byName(j.Rows()), want) || j.Problem() != nil || again && j.Damaged() != nil {
					t.Fatalf("byte %d of copy %d, again %v: %v, %v", at, i+1, again, j.Problem(), j.Damaged())
				}
				j.mustClose(t)
			}
		}
	}
}

// TestJournalLost: what is damaged in both copies is told, and costs nothing else.
func TestJournalLost(t *testing.T) {
	dir := t.TempDir()
	want := small(t, dir)
	var good [2]string
	for i, path := range files(dir) {
		good[i] = read(t, path)
	}
	for name := range want {
		for _, shift := range []int{0, 3} { // a byte of the text, or of the head of its slot
			for i, path := range files(dir) {
				bad := []byte(good[i])
				at := strings.LastIndex(good[i], `"`+name+`"`)
				if shift > 0 {
					at = (at-headSize)/slotSize*slotSize + headSize + shift
				}
				bad[at+i] ^= 1 << i
				write(t, path, string(bad))
			}
			j := openNotes(t, dir)
			rest := maps.Clone(want)
			delete(rest, name)
			if j.says(t, rest); !maps.Equal(byName(j.Rows()), rest) {
				t.Errorf("%s is damaged: %v", name, j.Rows())
			}
			if len(j.Damaged()) != 1 || !strings.Contains(j.Damaged()[0].Error(), "is lost") || !strings.Contains(j.Damaged()[0].Error(), "Text") {
				t.Errorf("%s is damaged: %v", name, j.Damaged())
			}
			j.mustClose(t)
		}
	}
	// Without any head, what is whole is found.
	for i, path := range files(dir) {
		write(t, path, "x"+good[i][1:])
	}
	j := openNotes(t, dir)
	if j.says(t, want); len(j.Damaged()) != 2 {
		t.Errorf("without heads: %v", j.Damaged())
	}
	j.mustClose(t)
	// What is no journal at all is none.
	for _, path := range files(dir) {
		write(t, path, strings.Repeat("something else\n", 10000))
	}
	j = openNotes(t, dir)
	if j.Rows() != nil || len(j.Damaged()) != 2 {
		t.Errorf("of something else: %v, %v", j.Rows(), j.Damaged())
	}
	j.says(t, map[string]string{})
	j.mustClose(t)
}

// TestJournalTruncated: a copy that ends anywhere is made whole from the other.
func TestJournalTruncated(t *testing.T) {
	dir := inMemory(t)
	want := small(t, dir)
	for i, path := range files(dir) {
		for size := range smallSize {
			if size > 100 && size < commitAt-10 || size > headSize && size%5 != 0 {
				continue
			}
			if err := os.Truncate(path, int64(size)); err != nil {
				t.Fatal(err)
			}
			j := openNotes(t, dir)
			if j.says(t, want); !maps.Equal(byName(j.Rows()), want) || j.Problem() != nil {
				t.Fatalf("%d bytes of copy %d: %v", size, i+1, j.Problem())
			}
			if size < headSize && j.Damaged() == nil {
				t.Fatalf("%d bytes of copy %d: nobody is told", size, i+1)
			}
			j.mustClose(t)
		}
	}
}

// TestJournalFileReplaced: whatever is in the place of a copy is not followed nor waited for, and a new copy takes its place.
func TestJournalFileReplaced(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other")
	for name, plant := range map[string]func(string) error{
		"nothing":   func(string) error { return nil },
		"empty":     func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"directory": func(p string) error { return os.MkdirAll(filepath.Join(p, "in it"), 0o700) },
		"fifo":      func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"link":      func(p string) error { return os.Symlink(other, p) },
		"loop":      func(p string) error { return os.Symlink(p, p) },
		"device":    func(p string) error { return os.Symlink("/dev/full", p) },
	} {
		for i := range 3 {
			t.Run(fmt.Sprint(name, i), func(t *testing.T) {
				write(t, other, "untouched")
				dir := t.TempDir()
				want := small(t, dir)
				for k, path := range files(dir) {
					if i == 2 || i == k {
						if err := errors.Join(os.Remove(path), plant(path)); err != nil {
							t.Fatal(err)
						}
					}
				}
				if i == 2 {
					want = map[string]string{}
				}
				j := openNotes(t, dir)
				if j.says(t, want); (j.Rows() == nil) != (i == 2) || j.Problem() != nil || (j.Damaged() == nil) != (i == 2 && len(name) < 8 && name != "fifo" && name != "link" && name != "loop" && name != "device") {
					t.Errorf("found %v, %v, %v", j.Rows(), j.Damaged(), j.Problem())
				}
				j.mustClose(t)
				if got := read(t, other); got != "untouched" {
					t.Errorf("another file is now %.40q", got)
				}
				j = openNotes(t, dir)
				if j.says(t, want); j.Damaged() != nil {
					t.Error(j.Damaged())
				}
				j.mustClose(t)
			})
		}
	}
}

// TestJournalAlone: with one copy it goes on, says so, and makes the other again. A copy that was not there for a while does not
// count, however little it missed.
func TestJournalAlone(t *testing.T) {
	for i := range 2 {
		for steps := range 3 {
			dir := t.TempDir()
			want := small(t, dir)
			path := files(dir)[i]
			old := read(t, path)
			// A directory that is not to be moved.
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
			undo := blockRename(t, path)
			j := openNotes(t, dir)
			if j.Problem() == nil || len(j.Damaged()) == 0 {
				t.Fatalf("alone: %v, %v", j.Problem(), j.Damaged())
			}
			undo()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			write(t, path, old) // as if it could not have been opened
			if steps > 0 {
				apply(t, j, gone("short"), gone("other"))
				delete(want, "short")
				delete(want, "other")
			}
			if steps > 1 {
				apply(t, j, set("long", "5"))
				want["long"] = "5"
			}
			j.mustClose(t)
			j = openNotes(t, dir)
			if j.says(t, want); j.Problem() != nil || len(j.Damaged()) != 1 {
				t.Errorf("copy %d, %d steps: %v, %v", i+1, steps, j.Problem(), j.Damaged())
			}
			j.mustClose(t)
		}
	}
	// In time it is made again while the journal is in use.
	dir := t.TempDir()
	want := small(t, dir)
	path := files(dir)[1]
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	undo := blockRename(t, path)
	j := openNotes(t, dir)
	undo()
	apply(t, j, set("new", "1"))
	want["new"] = "1"
	if j.Mend(); j.Problem() != nil {
		t.Fatal(j.Problem())
	}
	if err := os.Remove(files(dir)[0]); err != nil {
		t.Fatal(err)
	}
	j.mustClose(t)
	j = openNotes(t, dir)
	j.says(t, want)
	j.mustClose(t)
}

// blockRename has a path be a mount point, which cannot be moved.
func blockRename(t *testing.T, path string) (undo func()) {
	t.Helper()
	mountAt(t, path, "size=4k")
	return func() {
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	}
}

// TestJournalFewDescriptors: without a descriptor the journal is not begun anew, with one all is read, and neither loses a row.
func TestJournalFewDescriptors(t *testing.T) {
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	want := small(t, dir)
	next, err := syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Close(next)
	refused := 0
	for more := range 5 {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(next + more), Max: was.Max}); err != nil {
			t.Fatal(err)
		}
		j, err := OpenJournal(dir, "j", boot, readNote)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
		var unread *UnreadError
		if errors.As(err, &unread) && errors.Is(err, syscall.EMFILE) {
			refused++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if j.says(t, want); !maps.Equal(byName(j.Rows()), want) {
			t.Errorf("with %d descriptors: %v", more, j.Rows())
		}
		j.mustClose(t)
	}
	if refused == 0 {
		t.Error("it was never refused")
	}
	j := openNotes(t, dir)
	if j.says(t, want); j.Problem() != nil {
		t.Error(j.Problem())
	}
	j.mustClose(t)
}
