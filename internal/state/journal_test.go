package state

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A note is a row of these tests.
type note struct {
	Name, Text string
	Gone       bool `json:",omitempty"`
}

func (n note) Key() string { return n.Name }
func (n note) Over() bool  { return n.Gone }

func set(name, text string) note { return note{Name: name, Text: text} }
func gone(name string) note      { return note{Name: name, Gone: true} }

const boot = "boot-one"

// openNotes opens a journal that must work.
func openNotes(t testing.TB, dir string) *Journal[note] {
	t.Helper()
	j, err := OpenJournal[note](dir, "j", boot)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (j *Journal[T]) mustClose(t testing.TB) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// inMemory is a directory for thousands of files, which need no disk.
func inMemory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "ipcd-test")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func apply(t testing.TB, j *Journal[note], rows ...note) {
	t.Helper()
	if err := j.Apply(rows...); err != nil {
		t.Fatal(err)
	}
}

// byName is what rows say.
func byName(rows []note) map[string]string {
	m := map[string]string{}
	for _, n := range rows {
		m[n.Name] = n.Text
	}
	return m
}

// says checks that a journal has these rows, and that they can be read from its files.
func (j *Journal[T]) says(t testing.TB, want map[string]string) {
	t.Helper()
	n := any(j).(*Journal[note])
	rows, err := n.Read()
	if err != nil || !maps.Equal(byName(rows), want) {
		t.Fatalf("%d rows, want %d; %v", len(rows), len(want), err)
	}
}

// TestJournal: what was applied is there at any moment, for whoever opens the files, in the order of the last changes.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	j := openNotes(t, dir)
	if j.Rows() != nil || j.Damaged() != nil || j.Problem() != nil {
		t.Fatalf("a new one has %v, %v, %v", j.Rows(), j.Damaged(), j.Problem())
	}
	random := rand.New(rand.NewPCG(1, 2))
	want := map[string]string{}
	for i := range 3000 {
		var rows []note
		for range 1 + random.IntN(4)*random.IntN(2) {
			name := fmt.Sprint("name ", random.IntN(60))
			if random.IntN(3) == 0 {
				rows = append(rows, gone(name))
				delete(want, name)
			} else {
				rows = append(rows, set(name, fmt.Sprint(i, strings.Repeat("x\n", random.IntN(40)*random.IntN(30)))))
				want[name] = rows[len(rows)-1].Text
			}
		}
		if random.IntN(200) == 0 {
			rows = slices.DeleteFunc(rows, note.Over)
			if err := j.Replace(rows...); err != nil {
				t.Fatal(err)
			}
			want = byName(rows)
		} else {
			apply(t, j, rows...)
		}
		if random.IntN(50) == 0 {
			j.says(t, want)
			other := openNotes(t, dir) // the one before was not closed: it was killed
			if !maps.Equal(byName(other.Rows()), want) || other.Damaged() != nil || other.Problem() != nil {
				t.Fatalf("after %d: %d rows, want %d; %v, %v", i, len(other.Rows()), len(want), other.Damaged(), other.Problem())
			}
			j.mustClose(t)
			j = other
		}
	}
	if used := j.slots - len(j.free); used > 60*30 {
		t.Errorf("%d rows take %d slots", len(want), used)
	}
	for name := range want {
		apply(t, j, gone(name))
	}
	apply(t, j, set("b", "1"), set("a", "2"), set("c", "3"))
	apply(t, j, set("b", "4"))
	j.mustClose(t)
	j = openNotes(t, dir)
	if want := []note{set("a", "2"), set("c", "3"), set("b", "4")}; !slices.Equal(j.Rows(), want) {
		t.Errorf("found %v", j.Rows())
	}
	if len(j.free) < j.slots-3 {
		t.Errorf("of %d slots %d are free", j.slots, len(j.free))
	}
	j.mustClose(t)
}

// TestJournalEpoch: what another boot has left is nothing; an empty journal of this one is not.
func TestJournalEpoch(t *testing.T) {
	dir := t.TempDir()
	j := openNotes(t, dir)
	apply(t, j, set("a", "1"), set("b", strings.Repeat("2", 5000)))
	j.mustClose(t)
	for _, again := range []bool{false, true} {
		j, err := OpenJournal[note](dir, "j", "boot-two")
		if err != nil || len(j.Rows()) > 0 || (j.Rows() != nil) != again || j.Damaged() != nil || j.Problem() != nil {
			t.Fatalf("again %v: %v, %v, %v, %v", again, j.Rows(), err, j.Damaged(), j.Problem())
		}
		if len(j.free) != j.slots {
			t.Errorf("%d of %d slots are free", len(j.free), j.slots)
		}
		j.mustClose(t)
	}
}

// TestJournalNewer: the journal of a newer daemon is left alone, unless it is of another boot.
func TestJournalNewer(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "j.2")
	for epoch, refused := range map[string]bool{boot: true, "another": false} {
		text := withSum("ipcd journal 3 "+epoch) + "what it has"
		write(t, path, text)
		j, err := OpenJournal[note](dir, "j", boot)
		var newer *NewerError
		if errors.As(err, &newer) != refused {
			t.Errorf("%s: %v", epoch, err)
		}
		if refused {
			if got := read(t, path); got != text {
				t.Errorf("it is now %.40q", got)
			}
		} else {
			j.mustClose(t)
		}
	}
}

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
				j := &Journal[note]{layout: layout{epoch: boot, tag: tag(boot)}}
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
			if at > 100 && at < commitAt || at%7 != 0 && at > headSize {
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

// snapshot is both files as they are now, as far as they are in use.
func snapshot(j *Journal[note]) (all [2]string) {
	for i, c := range j.copies {
		if c != nil {
			all[i] = string(c.mem[:min(c.size(), headSize+16*slotSize)])
		}
	}
	return all
}

// put is a directory with these files.
func put(t *testing.T, all [2]string) (dir string) {
	t.Helper()
	dir = inMemory(t)
	for i, path := range files(dir) {
		write(t, path, all[i])
	}
	return dir
}

// watched opens a journal and returns what the files were after each store of that.
func watched(t *testing.T, dir string) (j *Journal[note], seen [][2]string) {
	t.Helper()
	// At opening one file may be there before the other is mapped: it is as it was found.
	var found [2]string
	for i, path := range files(dir) {
		found[i] = read(t, path)
	}
	l := layout{epoch: boot, most: maxSlots}
	l.stored = func() {
		all := found
		for i, path := range files(dir) {
			all[i] = read(t, path)
			all[i] = all[i][:min(len(all[i]), headSize+16*slotSize)]
		}
		seen = append(seen, all)
	}
	j, err := openJournal[note](dir, "j", l)
	if err != nil {
		t.Fatal(err)
	}
	return j, seen
}

// TestJournalKilledAnywhere: a process that is killed between any two stores leaves a step whole or not begun, and so does one
// that is killed between any two stores of putting in order what the first has left.
func TestJournalKilledAnywhere(t *testing.T) {
	long := strings.Repeat("long ", 200)
	j := openNotes(t, t.TempDir())
	defer j.mustClose(t)
	for n, step := range [][]note{
		{set("a", "1")},
		{set("a", "2")},
		{set("b", long), set("c", "3")},
		{gone("a")},
		{set("a", "4")},
		{gone("a"), set("d", "5")},
		{gone("b"), gone("c")},
		{set("b", long), set("a", long)},
		{gone("d"), set("d", long), set("a", "6"), gone("b"), set("e", "7")},
		{set("f", "8"), gone("f"), gone("a")},
		{gone("d")},
	} {
		says := func() map[string]string {
			rows, err := j.Read()
			if err != nil {
				t.Fatal(err)
			}
			return byName(rows)
		}
		before := says()
		var seen [][2]string
		j.stored = func() { seen = append(seen, snapshot(j)) }
		apply(t, j, step...)
		j.stored = nil
		after := says()
		turned := false
		for i, files := range seen {
			found, again := watched(t, put(t, files))
			got := byName(found.Rows())
			switch {
			case maps.Equal(got, after):
				turned = true
			case !maps.Equal(got, before) || turned:
				t.Fatalf("step %d, killed after store %d of %d: %q, turned: %v", n, i+1, len(seen), got, turned)
			}
			if found.says(t, got); found.Damaged() != nil {
				t.Fatalf("step %d, killed after store %d of %d: %v", n, i+1, len(seen), found.Damaged())
			}
			// It goes on, with numbers that must not bring back what was never complete.
			apply(t, found, set("next", "9"))
			got = byName(found.Rows())
			got["next"] = "9"
			found.says(t, got)
			next := openNotes(t, put(t, snapshot(found)))
			next.says(t, got)
			next.mustClose(t)
			found.mustClose(t)
			delete(got, "next")
			for k, files := range again {
				third := openNotes(t, put(t, files))
				if !maps.Equal(byName(third.Rows()), got) {
					t.Fatalf("step %d, killed after store %d, and again after %d of %d: %v, want %q", n, i+1, k+1, len(again), third.Rows(), got)
				}
				third.mustClose(t)
			}
		}
		if !turned || len(seen) < 2 {
			t.Fatalf("step %d has %d stores, and is never there: %v", n, len(seen), !turned)
		}
	}
}

func noteForEver(dir string) {
	j, err := OpenJournal[note](dir, "j", boot)
	for n := 0; err == nil; n++ {
		// Who has it passes it on, in one step.
		err = j.Apply(gone(fmt.Sprint("holder ", n-1)), set(fmt.Sprint("holder ", n), strings.Repeat("x", n%1000)), set("last", fmt.Sprint(n)))
		if err == nil {
			fmt.Println(n)
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

// TestJournalKilled: what a process had applied when it was killed is there, and nothing by half.
func TestJournalKilled(t *testing.T) {
	dir := t.TempDir()
	for round := range 10 {
		if err := errors.Join(os.RemoveAll(files(dir)[0]), os.RemoveAll(files(dir)[1])); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "IPCD_TEST_NOTE="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := 0
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if _, err := fmt.Sscan(lines.Text(), &said); err != nil {
				t.Error(lines.Text())
			}
			if n == 200+round*37 {
				if err := cmd.Process.Kill(); err != nil {
					t.Error(err)
				}
			}
		}
		_ = cmd.Wait() // It was killed.
		j := openNotes(t, dir)
		got := byName(j.Rows())
		last := 0
		if _, err := fmt.Sscan(got["last"], &last); err != nil || last < said || last > said+1 || len(got) != 2 || len(got[fmt.Sprint("holder ", last)]) != last%1000 || j.Damaged() != nil {
			t.Errorf("found %d rows, the last %q; it said %d; %v", len(got), got["last"], said, j.Damaged())
		}
		j.mustClose(t)
	}
}

// TestJournalFull: without room, what is there stays, what removes is applied, and all is well when there is room again.
func TestJournalFull(t *testing.T) {
	dir := mount(t, "size=1m")
	j := openNotes(t, dir)
	defer j.mustClose(t)
	want := map[string]string{}
	var err error
	problem := 0
	for n := 0; err == nil; n++ {
		if j.Problem() != nil && problem == 0 {
			problem = n
		}
		row := set(fmt.Sprint("row ", n), strings.Repeat("x", 300))
		if err = j.Apply(row); err == nil {
			want[row.Name] = row.Text
		}
	}
	if !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) || problem == 0 || len(want)-problem < leastFree/2 {
		t.Fatalf("%v; told when there were %d of %d rows", err, problem, len(want))
	}
	j.says(t, want)
	full := func() {
		t.Helper()
		j.says(t, want)
		other := openNotes(t, dir)
		if other.says(t, want); other.Damaged() != nil {
			t.Error(other.Damaged())
		}
		other.mustClose(t)
	}
	full()
	// One that removes is applied, and leaves room for one.
	if err := j.Apply(set("new", "1"), gone("row 1"), set("row 2", strings.Repeat("y", 2000))); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	delete(want, "row 1")
	full()
	if err := j.Apply(gone("row 3"), set("new", "1")); err != nil {
		t.Error(err)
	}
	delete(want, "row 3")
	want["new"] = "1"
	full()
	testJournalRoom(t, j, dir, want)
}

func testJournalRoom(t *testing.T, j *Journal[note], dir string, want map[string]string) {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=2m"); err != nil {
		t.Fatal(err)
	}
	apply(t, j, set("room", strings.Repeat("y", 2000)))
	want["room"] = strings.Repeat("y", 2000)
	if j.says(t, want); j.Problem() != nil {
		t.Error(j.Problem())
	}
}

// TestJournalUnwritable: where nothing can be written, what is there can be read.
func TestJournalUnwritable(t *testing.T) {
	dir := mount(t, "size=1m")
	readOnly := func(flag uintptr) {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flag, ""); err != nil {
			t.Fatal(err)
		}
	}
	readOnly(syscall.MS_RDONLY)
	if j, err := OpenJournal[note](dir, "j", boot); j != nil || !errors.Is(err, syscall.EROFS) {
		t.Errorf("%v, %v", j, err)
	}
	readOnly(0)
	want := small(t, dir)
	readOnly(syscall.MS_RDONLY)
	j, err := OpenJournal[note](dir, "j", boot)
	if !errors.Is(err, syscall.EROFS) || j == nil || !maps.Equal(byName(j.Rows()), want) {
		t.Errorf("%v", err)
	}
	j.mustClose(t)
}

// BenchmarkJournal: a row that takes the place of another.
func BenchmarkJournal(b *testing.B) {
	j := openNotes(b, b.TempDir())
	defer j.mustClose(b)
	var rows []note
	for n := range 1000 {
		rows = append(rows, set(fmt.Sprint("name ", n), strings.Repeat("x", 400)))
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if err := j.Apply(rows[n%len(rows)]); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzJournal: whatever the copies have in them, opening gives rows or errors: none twice, none of a step that is not complete.
// A slot is made of six bytes: what it is, its step, index, part and parts, and the text.
func FuzzJournal(f *testing.F) {
	f.Add([]byte{1, 1, 0, 0, 1, 'a', 1, 2, 0, 0, 1, 'b'}, []byte{1, 1, 0, 0, 1, 'a', 1, 2, 0, 0, 1, 'b'}, uint8(2), uint8(2))
	f.Add([]byte{1, 1, 0, 0, 2, 'a', 1, 1, 0, 1, 2, 'b', 2, 2, 0, 0, 1, 1}, []byte{5, 1, 0, 0, 2, 'a', 0}, uint8(1), uint8(9))
	f.Fuzz(func(t *testing.T, a, b []byte, stepA, stepB uint8) {
		l := layout{epoch: boot, tag: tag(boot)}
		from := [2]source{{data: fuzzed(&l, a, stepA)}, {data: fuzzed(&l, b, stepB)}}
		j := &Journal[note]{layout: l}
		m, kept, err := j.weigh(&from)
		if err != nil {
			t.Fatal(err)
		}
		keys, slots := map[string]bool{}, map[uint32]bool{}
		for i := range kept {
			k := &kept[i]
			if k.row.Over() || keys[k.row.Key()] || k.step > m.step {
				t.Errorf("found %v", kept)
			}
			keys[k.row.Key()] = true
			for _, slot := range k.slots {
				if slots[slot] {
					t.Errorf("slot %d has two rows", slot)
				}
				slots[slot] = true
			}
		}
		if len(j.rows) != len(kept) {
			t.Errorf("%d rows, and %d are kept", len(j.rows), len(kept))
		}
	})
}

// fuzzed is a copy made of six bytes for each slot.
func fuzzed(l *layout, slots []byte, step uint8) []byte {
	data := append(make([]byte, headSize), make([]byte, len(slots)/6*slotSize)...)
	copy(data, l.head())
	t := &table{layout: l, mem: data}
	if step != 0 {
		t.commit(uint64(step))
	}
	for n := range len(slots) / 6 {
		s := slots[6*n:][:6]
		h := head{kind: []uint32{kindFree, kindRow, kindGone, 7}[s[0]%4], id: id{uint64(s[1]), uint32(s[2])}, part: uint16(s[3]), parts: uint16(s[4])}
		text := fmt.Appendf(nil, `{"Name":"%c"}`, 'a'+s[5]%4)
		switch {
		case h.kind == kindGone:
			text = binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint64(nil, uint64(s[5]%8)), uint32(s[5]/8))
		case h.parts == 2 && h.part < 2: // half each
			text = [][]byte{text[:5], text[5:]}[h.part]
		}
		t.write(uint32(n), h, text)
		if s[0]&4 != 0 {
			t.slot(uint32(n))[slotHead] ^= 4
		}
	}
	return data
}
