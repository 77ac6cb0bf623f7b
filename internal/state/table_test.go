package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

type row struct {
	Name string `json:"name"`
	N    int    `json:"n,omitempty"`
}

// noBad refuses rows of that name.
func noBad(rows []row) error {
	if slices.ContainsFunc(rows, func(r row) bool { return r.Name == "bad" }) {
		return errors.New("a bad row")
	}
	return nil
}

func openTable(t *testing.T, m *Mark) *Table[row] {
	t.Helper()
	table, err := OpenTable(m, "rows", noBad)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestTableIsFoundAgain(t *testing.T) {
	dir := t.TempDir()
	mark := open(t, dir)
	for _, rows := range [][]row{
		nil,
		{{"a", 1}},
		{{"line\nend", 0}, {`"quotes" <&> end crc32c=00000000`, -1}, {"ü", 1 << 53}},
		{},
		{{strings.Repeat("x", 1<<16), 7}, {"", 0}},
	} {
		table := openTable(t, mark)
		if err := table.Save(rows); err != nil {
			t.Fatal(err)
		}
		table = openTable(t, mark)
		if !slices.Equal(table.Rows(), rows) || table.Corrupt() != nil {
			t.Errorf("found %v, corrupt: %v; want %v", table.Rows(), table.Corrupt(), rows)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "rows")); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has mode %v, error %v", info.Mode(), err)
	}
}

func TestTableFormat(t *testing.T) {
	dir := t.TempDir()
	mark := open(t, dir)
	if err := openTable(t, mark).Save([]row{{"a", 1}, {"b", 0}}); err != nil {
		t.Fatal(err)
	}
	want := withSum("ipcd rows 1\n{\"name\":\"a\",\"n\":1}\n{\"name\":\"b\"}\nend")
	if got := read(t, filepath.Join(dir, "rows")); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCorruptTableIsSetAside(t *testing.T) {
	good := withSum("ipcd rows 1\n{\"name\":\"a\"}\nend")
	for _, bad := range []string{
		"", "\x00\x00", good[:len(good)-1], good + good, strings.Replace(good, "a", "b", 1),
		withSum("end"), withSum("ipcd rows 0\nend"), withSum("ipcd others 1\nend"), withSum("ipcd rows 1 \nend"),
		withSum("ipcd rows 1\n{\"name\":3}\nend"), withSum("ipcd rows 1\n\nend"), withSum("ipcd rows 1\nnull x\nend"),
		withSum("ipcd rows 1\n{\"name\":\"bad\"}\nend"),
	} {
		dir := t.TempDir()
		mark := open(t, dir)
		path := filepath.Join(dir, "rows")
		write(t, path, bad)
		table := openTable(t, mark)
		if table.Corrupt() == nil || len(table.Rows()) != 0 || !strings.HasSuffix(table.Corrupt().Error(), "; moved to rows.corrupt-1") {
			t.Errorf("%q: rows %v, corrupt: %v", bad, table.Rows(), table.Corrupt())
		}
		if got := read(t, path+".corrupt-1"); got != bad {
			t.Errorf("set aside %q, want %q", got, bad)
		}
		if err := table.Save([]row{{"new", 1}}); err != nil {
			t.Fatal(err)
		}
		if table := openTable(t, mark); len(table.Rows()) != 1 || table.Corrupt() != nil {
			t.Errorf("afterwards found %v, corrupt: %v", table.Rows(), table.Corrupt())
		}
	}
}

func TestNewerTableIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "rows")
	newer := withSum("ipcd rows 2\nsomething else\nend")
	write(t, path, newer)
	_, err := OpenTable(open(t, dir), "rows", noBad)
	want := "cannot use " + path + ": it has format 2, of a newer ipcd; this one knows formats up to 1"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if got := read(t, path); got != newer {
		t.Errorf("the file is now %q", got)
	}
}

// One that cannot be saved stays as it was.
func TestTableSaveFails(t *testing.T) {
	dir := t.TempDir()
	mark := open(t, dir)
	table := openTable(t, mark)
	if err := table.Save([]row{{"a", 1}}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "rows.tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "rows.tmp", "in the way"), "")
	if err := table.Save(nil); err == nil || !strings.HasPrefix(err.Error(), "cannot write "+dir) {
		t.Errorf("error %v", err)
	}
	if table := openTable(t, mark); len(table.Rows()) != 1 {
		t.Errorf("found %v", table.Rows())
	}
}

func TestTableSaveConcurrently(t *testing.T) {
	dir := t.TempDir()
	mark := open(t, dir)
	table := openTable(t, mark)
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			if err := table.Save([]row{{"a", n}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if table := openTable(t, mark); len(table.Rows()) != 1 || table.Corrupt() != nil {
		t.Errorf("found %v, corrupt: %v", table.Rows(), table.Corrupt())
	}
	if _, err := os.Lstat(filepath.Join(dir, "rows.tmp")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary file is still there: %v", err)
	}
}

// Whatever a file holds, it is a table or an error that says why not. With the right checksum it is read on: nobody but a
// daemon writes that, but perhaps an older or a newer one.
func FuzzTable(f *testing.F) {
	for _, seed := range []string{
		"", "end", "ipcd rows 1\nend", "ipcd rows 2\nend", "ipcd rows 99999999999999999999\nend", "ipcd others 1\nend",
		"ipcd rows 1\n{\"name\":\"a\",\"n\":1}\n{\"name\":\"\\u2028 crc32c=00000000\"}\nend",
		"ipcd rows 1\nnull\n{}\nend", "ipcd rows 1\n{\"name\":\"\xff\",\"n\":1e3}\nend", "ipcd rows 1\n{\"N\":1,\"n\":-2}\n\nend",
	} {
		f.Add(seed)
		f.Add(withSum(seed))
	}
	f.Fuzz(func(t *testing.T, text string) {
		table := &Table[row]{file: file{"dir", "rows"}}
		for _, text := range []string{text, withSum(text)} {
			rows, err := table.parse(text)
			if err != nil {
				if !errors.Is(err, errCorrupt) && !strings.Contains(err.Error(), "of a newer ipcd") {
					t.Errorf("%q: %v", text, err)
				}
				continue
			}
			if len(rows) > strings.Count(text, "\n") {
				t.Errorf("%q became %d records", text, len(rows))
			}
			again, err := table.format(rows)
			if err != nil {
				t.Fatal(err)
			}
			if found, err := table.parse(again); err != nil || !slices.Equal(found, rows) {
				t.Errorf("%q became %v, and that %v, %v", text, rows, found, err)
			}
		}
	})
}

// TestTableUnread: what could not be read at the start is not written over. What is in the way is set aside as soon as it can be.
func TestTableUnread(t *testing.T) {
	dir := mount(t, "size=64k")
	mark := open(t, dir)
	path := filepath.Join(dir, "rows")
	if err := openTable(t, mark).Save([]row{{"a", 1}}); err != nil {
		t.Fatal(err)
	}
	before := read(t, path)
	table := &Table[row]{mark: mark, file: file{dir, "rows"}, check: noBad, unread: errors.New("an I/O error")}
	for range 2 {
		if err := table.Save([]row{{"b", 2}}); err == nil || read(t, path) != before {
			t.Errorf("error %v; the file is now %q", err, read(t, path))
		}
	}

	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	undo := blockRename(t, path)
	table = openTable(t, mark)
	if err := table.Save([]row{{"b", 2}}); table.Unread() == nil || !errors.Is(err, syscall.EBUSY) {
		t.Errorf("unread: %v, saved: %v", table.Unread(), err)
	}
	undo()
	if err := table.SaveAgain(); err != nil {
		t.Error(err)
	}
	if rows := openTable(t, mark).Rows(); !slices.Equal(rows, []row{{"b", 2}}) {
		t.Errorf("found %v", rows)
	}
	if err := table.SaveAgain(); err != nil {
		t.Error(err)
	}
}
