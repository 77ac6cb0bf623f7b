package state

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// room of a half, in these tests.
const room = 16 << 20

// openStrings opens a journal of strings in a file.
func openStrings(t testing.TB, path, epoch string) *Journal[string] {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	j, err := openJournal(f, epoch, func(rows []string) error {
		if slices.Contains(rows, "nonsense") {
			return errors.New("nonsense")
		}
		return nil
	}, room)
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

// TestJournal: what was added is there, in order, at any moment, whoever opens the file.
func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j := openStrings(t, path, "one")
	if j.Rows() != nil || j.Corrupt() != nil {
		t.Fatalf("a new one has %q, %v", j.Rows(), j.Corrupt())
	}
	random := rand.New(rand.NewPCG(1, 2))
	var want []string
	for i := range 3000 {
		if random.IntN(200) == 0 {
			want = want[random.IntN(len(want)+1):]
			if err := j.Replace(slices.Values(want)); err != nil {
				t.Fatal(err)
			}
		}
		text := fmt.Sprint(i, strings.Repeat("x", random.IntN(300)))
		if _, err := j.Add(text); err != nil {
			t.Fatal(err)
		}
		want = append(want, text)
		if random.IntN(100) == 0 {
			other := openStrings(t, path, "one") // the one before was not closed: it was killed
			if !slices.Equal(other.Rows(), want) || other.Corrupt() != nil {
				t.Fatalf("after %d: %d rows, want %d; %v", i, len(other.Rows()), len(want), other.Corrupt())
			}
			j.mustClose(t)
			j = other
		}
	}
	if rows, err := j.Read(); err != nil || !slices.Equal(rows, want) {
		t.Fatalf("%d rows, want %d; %v", len(rows), len(want), err)
	}
	j.mustClose(t)

	j = openStrings(t, path, "two")
	if j.Rows() != nil || j.Corrupt() != nil {
		t.Errorf("another boot has %q, %v", j.Rows(), j.Corrupt())
	}
	j.mustClose(t)
	j = openStrings(t, path, "two")
	if j.Rows() == nil || len(j.Rows()) > 0 {
		t.Errorf("an empty one has %v", j.Rows())
	}
	j.mustClose(t)
}

// TestJournalLong: it says when it is time to replace what is there, and gives back what that took.
func TestJournalLong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j := openStrings(t, path, "one")
	defer j.mustClose(t)
	text, n := strings.Repeat("x", 1000), 0
	for long := false; !long; n++ {
		var err error
		if long, err = j.Add(text); err != nil {
			t.Fatal(err)
		}
	}
	if n*1000 < journalStep/2 || n*1000 > 2*journalStep {
		t.Errorf("it is long with %d bytes", n*1000)
	}
	big := slices.Repeat([]string{text}, 2000)
	for range 5 {
		if err := j.Replace(slices.Values(big)); err != nil {
			t.Fatal(err)
		}
	}
	if long, _ := j.Add(text); long {
		t.Error("it is long after one row more than were wanted")
	}
	var info unix.Stat_t
	if err := unix.Stat(path, &info); err != nil || info.Blocks*512 > 2_500_000 {
		t.Errorf("two megabytes take %d bytes (%v)", info.Blocks*512, err)
	}
}

// BenchmarkJournal: a record, and its share of replacing a few.
func BenchmarkJournal(b *testing.B) {
	j := openStrings(b, filepath.Join(b.TempDir(), "j"), "one")
	defer j.mustClose(b)
	text := strings.Repeat("x", 400)
	few := slices.Repeat([]string{text}, 10)
	b.ReportAllocs()
	for b.Loop() {
		long, err := j.Add(text)
		if long {
			err = j.Replace(slices.Values(few))
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// TestJournalFull: without room the journal is void, until there is.
func TestJournalFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j := openStrings(t, path, "one")
	defer j.mustClose(t)
	text := strings.Repeat("x", 1<<20)
	rows := func() []string {
		other := openStrings(t, path, "one")
		defer other.mustClose(t)
		return other.Rows()
	}
	n := 0
	for ; ; n++ {
		if _, err := j.Add(text); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			break
		}
	}
	if n < 14 {
		t.Errorf("it is full with %d MiB", n)
	}
	if rows := rows(); rows != nil {
		t.Errorf("there are %d rows", len(rows))
	}
	if err := j.Replace(slices.Values(slices.Repeat([]string{text}, 20))); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	if err := j.Replace(slices.Values([]string{"a"})); err != nil {
		t.Error(err)
	}
	if _, err := j.Add("b"); err != nil {
		t.Error(err)
	}
	if rows := rows(); !slices.Equal(rows, []string{"a", "b"}) {
		t.Errorf("there are %q", rows)
	}
}

// TestJournalKilled: one that is killed while it adds a record leaves what was there before.
func TestJournalKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j := openStrings(t, path, "one")
	for _, text := range []string{"first", "second"} {
		if _, err := j.Add(text); err != nil {
			t.Fatal(err)
		}
	}
	at := int(j.at(j.half)) + j.end
	for cut := range 40 { // of the third, all that is written before its length
		*j.word(at) = 0
		end := j.end
		if _, err := j.Add("the third of them"); err != nil {
			t.Fatal(err)
		}
		*j.word(at) = 0
		clear(j.mem[at+4+cut:][:64])
		if rows, err := j.Read(); err != nil || !slices.Equal(rows, []string{"first", "second"}) {
			t.Fatalf("cut at %d: %q, %v", cut, rows, err)
		}
		j.end = end
	}
	j.mustClose(t)
}

// TestJournalDamaged: each changed bit of what is there is noticed, or changes nothing; what makes no sense is damaged, too.
func TestJournalDamaged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "j")
	j := openStrings(t, path, "one")
	for _, text := range []string{"first", "second"} {
		if _, err := j.Add(text); err != nil {
			t.Fatal(err)
		}
	}
	start := int(j.at(j.half))
	end := start + j.end + 4
	j.mustClose(t)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	good := make([]byte, end)
	if _, err := f.ReadAt(good, 0); err != nil {
		t.Fatal(err)
	}
	for i := range end {
		if i > 32 && i < halfAt || i >= halfAt+4 && i < start {
			continue
		}
		if _, err := f.WriteAt([]byte{good[i] ^ 4}, int64(i)); err != nil {
			t.Fatal(err)
		}
		j := openStrings(t, path, "one")
		if j.Rows() != nil && !slices.Equal(j.Rows(), []string{"first", "second"}) {
			t.Errorf("with byte %d changed: %q", i, j.Rows())
		}
		j.mustClose(t)
		if _, err := f.WriteAt(good, 0); err != nil {
			t.Fatal(err)
		}
	}

	j = openStrings(t, path, "one")
	if _, err := j.Add("nonsense"); err != nil {
		t.Fatal(err)
	}
	j.mustClose(t)
	j = openStrings(t, path, "one")
	if j.Rows() != nil || j.Corrupt() == nil {
		t.Errorf("got %q, %v", j.Rows(), j.Corrupt())
	}
	j.mustClose(t)

	for text, damaged := range map[string]bool{"ipcd journal 2 one\n": true, "something else": true, "ipcd journal 1 two\n": false} {
		if _, err := f.WriteAt([]byte(text), 0); err != nil {
			t.Fatal(err)
		}
		j = openStrings(t, path, "one")
		if j.Rows() != nil || (j.Corrupt() != nil) != damaged {
			t.Errorf("%q: got %q, %v", text, j.Rows(), j.Corrupt())
		}
		j.mustClose(t)
	}

	// What is no file at all is refused.
	dirFile, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(dirFile, "one", func([]string) error { return nil }); err == nil {
		t.Error("a directory is taken for a journal")
	}
}

// FuzzJournal: whatever a half has in it, reading gives records, which are there again if they are added to another, or an error.
func FuzzJournal(f *testing.F) {
	const room = 16 << 10
	inMemory := func() *Journal[string] {
		j := &Journal[string]{mem: make([]byte, journalPage+2*room), room: room, there: [2]int{room, room}}
		j.out = json.NewEncoder(&j.text)
		return j
	}
	record := func(text string) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(len(text)))
		b = binary.NativeEndian.AppendUint32(b, crc32.Checksum([]byte(text), castagnoli))
		return append(append(b, text...), make([]byte, recordSize(len(text))-recordHead-len(text))...)
	}
	f.Add(uint32(0), []byte{})
	f.Add(uint32(1), slices.Concat(record(`"first"`+"\n"), record(`"second"`+"\n")))
	f.Add(uint32(1), slices.Concat(record(`"first"`+"\n"), record(`{"a":`)))
	f.Add(uint32(2), []byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, half uint32, content []byte) {
		j, again := inMemory(), inMemory()
		j.half = half
		copy(j.mem[j.at(min(half, 1)):][:room], content)
		rows, err := j.Read()
		if err != nil {
			return
		}
		for _, row := range rows {
			if _, err := again.Add(row); errors.Is(err, ErrFull) { // JSON can be written in more and in fewer bytes
				return
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if got, err := again.Read(); err != nil || !slices.Equal(got, rows) {
			t.Errorf("got %q, %v, want %q", got, err, rows)
		}
	})
}
