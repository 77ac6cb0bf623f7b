package state

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A note is a row of these tests.
type note struct {
	Name, Text string
	Gone       bool `json:",omitempty"`
}

func (n note) Key() string { return n.Name }
func (n note) Over() bool  { return n.Gone }

func (n note) Append(b []byte) []byte {
	if n.Text == newer {
		return append(b, newer...)
	}
	text, err := json.Marshal(n)
	if err != nil {
		panic(err)
	}
	return append(b, text...)
}

// newer is the text of a note that a newer ipcd has written.
const newer = "newer"

func readNote(text []byte) (n note, err error) {
	if string(text) == newer {
		return n, &NewerError{9, 1}
	}
	return n, json.Unmarshal(text, &n)
}

func set(name, text string) note { return note{Name: name, Text: text} }
func gone(name string) note      { return note{Name: name, Gone: true} }

const boot = "boot-one"

// openNotes opens a journal that must work.
func openNotes(t testing.TB, dir string) *Journal[note] {
	t.Helper()
	j, err := OpenJournal(dir, "j", boot, readNote)
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
		apply(t, j, rows...)
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
		j, err := OpenJournal(dir, "j", "boot-two", readNote)
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
		text := withSum(fmt.Sprintf("ipcd journal %d %s", journalVersion+1, epoch)) + "what it has"
		write(t, path, text)
		j, err := OpenJournal(dir, "j", boot, readNote)
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

// TestJournalNewerRow: one row of a newer daemon has the journal left alone, as the others would be lost to it.
func TestJournalNewerRow(t *testing.T) {
	dir := t.TempDir()
	j := openNotes(t, dir)
	apply(t, j, set("a", "1"))
	apply(t, j, set("b", newer))
	j.mustClose(t)
	var before [2]string
	for i, path := range files(dir) {
		before[i] = read(t, path)
	}
	j, err := OpenJournal(dir, "j", boot, readNote)
	var refused *NewerError
	if j != nil || !errors.As(err, &refused) {
		t.Fatal(err)
	}
	for i, path := range files(dir) {
		if read(t, path) != before[i] {
			t.Errorf("%s has changed", path)
		}
	}
}

// TestJournalBefore: the version before has the same slots, and says afterwards that it is of this one: an older daemon must not
// take rows for damaged that it does not understand. A daemon may have been killed when only one of the files said so.
func TestJournalBefore(t *testing.T) {
	for _, changed := range []int{1, 2} {
		dir := t.TempDir()
		j := openNotes(t, dir)
		apply(t, j, set("a", "1"), set("b", "2"))
		j.mustClose(t)
		for i, path := range files(dir) {
			if i >= changed {
				break
			}
			text := read(t, path)
			now, was := fmt.Sprintf("ipcd journal %d %s", journalVersion, boot), fmt.Sprintf("ipcd journal %d %s", journalOldest, boot)
			if !strings.HasPrefix(text, withSum(now)) {
				t.Fatalf("it begins with %.40q", text)
			}
			write(t, path, withSum(was)+text[len(withSum(was)):])
		}
		j = openNotes(t, dir)
		if got := byName(j.Rows()); got["a"] != "1" || got["b"] != "2" || j.Damaged() != nil {
			t.Errorf("found %v, %v", got, j.Damaged())
		}
		j.mustClose(t)
		for _, path := range files(dir) {
			if version, _, ok := parseHead([]byte(read(t, path))); version != journalVersion || !ok {
				t.Errorf("%s has version %d", path, version)
			}
		}
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
	if j, err := OpenJournal(dir, "j", boot, readNote); j != nil || !errors.Is(err, syscall.EROFS) {
		t.Errorf("%v, %v", j, err)
	}
	readOnly(0)
	want := small(t, dir)
	readOnly(syscall.MS_RDONLY)
	j, err := OpenJournal(dir, "j", boot, readNote)
	if !errors.Is(err, syscall.EROFS) || j == nil || !maps.Equal(byName(j.Rows()), want) {
		t.Errorf("%v", err)
	}
	j.mustClose(t)
}

// TestJournalStepsStaySmall: what a step writes, and the room that it makes, are the same among a hundred thousand rows as in an empty
// journal: nothing is ever put together anew.
func TestJournalStepsStaySmall(t *testing.T) {
	stores := 0
	j, err := openJournal(inMemory(t), "j", readNote, layout{epoch: boot, most: maxSlots, stored: func() { stores++ }})
	if err != nil {
		t.Fatal(err)
	}
	defer j.mustClose(t)
	// In both copies: write a slot and take it, commit, and free the slot of the row before.
	const replace, remove = 2 * (2 + 1 + 1), 2
	check := func(most int, row note) {
		t.Helper()
		before, slots := stores, j.slots
		apply(t, j, row)
		if stores-before > most || j.slots > slots+growBy {
			t.Fatalf("row %q took %d stores and %d new slots", row.Name, stores-before, j.slots-slots)
		}
	}
	const rows = 100_000
	name := func(n int) string { return fmt.Sprint("name ", n) }
	for n := range rows {
		check(replace, set(name(n), "1"))
	}
	if len(j.places) != rows {
		t.Fatalf("there are %d rows", len(j.places))
	}
	for n := 0; n < rows; n += 7 {
		check(replace, set(name(n), "2"))
	}
	for n := range rows {
		check(remove, gone(name(n)))
	}
	if len(j.free) != j.slots {
		t.Errorf("%d of %d slots are free", len(j.free), j.slots)
	}
}

// threadTime is how long this thread has computed.
func threadTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// BenchmarkJournal: a row that takes the place of another, and the longest that one took, in computing time.
func BenchmarkJournal(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint("rows=", n), func(b *testing.B) {
			j := openNotes(b, inMemory(b))
			defer j.mustClose(b)
			rows := make([]note, n)
			for i := range rows {
				rows[i] = set(fmt.Sprint("name ", i), strings.Repeat("x", 150))
				apply(b, j, rows[i])
			}
			b.ReportAllocs()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			longest := time.Duration(0)
			for n := 0; b.Loop(); n++ {
				begin := threadTime(b)
				if err := j.Apply(rows[n*7919%len(rows)]); err != nil {
					b.Fatal(err)
				}
				longest = max(longest, threadTime(b)-begin)
			}
			b.ReportMetric(float64(longest.Nanoseconds()), "ns-longest")
		})
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
		j := &Journal[note]{layout: l, decode: readNote}
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
