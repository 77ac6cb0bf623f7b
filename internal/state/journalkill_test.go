package state

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"strings"
	"testing"
)

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

// begin is what snapshot has of a file: the rest would take most of the time.
func begin(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, headSize+16*slotSize))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// watched opens a journal and returns what the files were after each store of that.
func watched(t *testing.T, dir string) (j *Journal[note], seen [][2]string) {
	t.Helper()
	// At opening one file may be there before the other is mapped: it is as it was found.
	var found [2]string
	for i, path := range files(dir) {
		found[i] = begin(t, path)
	}
	l := layout{epoch: boot, most: maxSlots}
	l.stored = func() {
		all := found
		for i, path := range files(dir) {
			all[i] = begin(t, path)
		}
		seen = append(seen, all)
	}
	j, err := openJournal(dir, "j", readNote, l)
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
	j, err := OpenJournal(dir, "j", boot, readNote)
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
