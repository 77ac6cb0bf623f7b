package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// OpenJournal opens the journal of that name in dir, which it makes if need be, and reads what is in it, or begins anew if there is
// nothing, or that is of another epoch. decode makes a row of its text; if one of its errors is a [NewerError], so is that of
// OpenJournal, and nothing is touched. With an error the journal cannot be written; it is not nil if rows were found all the same,
// and only good for them. An [UnreadError] says that there may be rows which could not be read for want of descriptors or memory.
func OpenJournal[T Row](dir, name, epoch string, decode func(text []byte) (T, error)) (*Journal[T], error) {
	return openJournal(dir, name, decode, layout{epoch: epoch, most: maxSlots})
}

func openJournal[T Row](dir, name string, decode func([]byte) (T, error), l layout) (*Journal[T], error) {
	l.tag = tag(l.epoch)
	j := &Journal[T]{layout: l, decode: decode, names: [2]file{{dir, name + ".1"}, {dir, name + ".2"}}, places: map[string]place{}}
	err := makeDir(dir)
	if err == nil {
		err = j.open()
	}
	if err == nil {
		return j, nil
	}
	err = fmt.Errorf("cannot use the journal %s in %s: %w", name, dir, err)
	if j.rows == nil {
		return nil, err
	}
	return j, err
}

// An UnreadError says that what is in a file may be as it should be, but could not be read.
type UnreadError struct {
	Path string
	Err  error
}

func (e *UnreadError) Error() string { return fmt.Sprintf("cannot read %s: %v", e.Path, e.Err) }
func (e *UnreadError) Unwrap() error { return e.Err }

// What a file was found to be.
type finding int

const (
	missing  finding = iota
	foreign          // of another epoch
	unknown          // it does not say what it is
	current          // of this journal
	unusable         // it is no file, or cannot be read
)

// A source is one file, as it was found.
type source struct {
	name  file
	is    finding
	file  *os.File // nil if it cannot be written
	data  []byte
	err   error // why it is unusable, or cannot be written
	stale bool
}

func (j *Journal[T]) open() error {
	from := [2]source{{name: j.names[0]}, {name: j.names[1]}}
	for i := range from {
		j.load(&from[i])
	}
	m, rows, err := j.weigh(&from)
	if err != nil {
		for i := range from {
			if from[i].file != nil {
				_ = from[i].file.Close()
			}
		}
		return err
	}
	return j.mend(&from, &m, rows)
}

// weigh finds out what the files say together.
func (j *Journal[T]) weigh(from *[2]source) (merged, []found[T], error) {
	for i := range from {
		if err := j.identify(&from[i]); err != nil {
			return merged{}, nil, err
		}
	}
	j.choose(from)
	counts := func(is finding) (data [2][]byte, some bool) {
		for i := range from {
			if s := &from[i]; s.is == is && !s.stale {
				data[i], some = s.data, true
			}
		}
		return data, some
	}
	data, some := counts(current)
	for i := range from {
		if err := from[i].err; !some && lacking(err) {
			return merged{}, nil, &UnreadError{from[i].name.path(), err}
		}
	}
	if !some { // then whatever is whole in them is better than nothing
		data, _ = counts(unknown)
	}
	m := j.merge(data)
	rows, err := j.find(&m)
	if err != nil {
		return merged{}, nil, err
	}
	if some || len(rows) > 0 {
		j.rows = make([]T, len(rows))
		for i := range rows {
			j.rows[i] = rows[i].row
		}
		j.damaged = append(j.damaged, m.told...)
		for i, n := range m.hurt {
			if n > 0 {
				j.tell(&from[i], "%w: %d slots, which are whole in the other copy", errCorrupt, n)
			}
		}
	}
	return m, rows, nil
}

// load reads a file.
func (j *Journal[T]) load(s *source) {
	info, err := os.Lstat(s.name.path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err == nil && !info.Mode().IsRegular():
		err = fmt.Errorf("%w: not a regular file", errCorrupt)
	case err == nil:
		const flags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK
		s.file, err = os.OpenFile(s.name.path(), os.O_RDWR|flags, 0)
		reader := s.file
		if err != nil { // then it may be read at least
			s.err = err
			if reader, err = os.OpenFile(s.name.path(), os.O_RDONLY|flags, 0); err == nil {
				defer reader.Close()
			}
		}
		if err == nil {
			s.data, err = readMost(reader, info.Size(), headSize+j.most*slotSize)
		}
	}
	if err != nil {
		s.is, s.err = unusable, err
	}
}

// readMost reads what a file has, up to so many bytes, into memory that is not moved while it has the size that it is said to have.
func readMost(f *os.File, size int64, most int) ([]byte, error) {
	b := bytes.NewBuffer(make([]byte, 0, min(int(size), most)+bytes.MinRead))
	_, err := b.ReadFrom(io.LimitReader(f, int64(most)))
	return b.Bytes(), err
}

// lacking reports whether an error says nothing of what a file has, but that it could not be read at that moment: the machine
// was out of something, or the disk did not answer.
func lacking(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EIO)
}

// identify finds out what a file is.
func (j *Journal[T]) identify(s *source) error {
	if s.is == unusable || len(s.data) == 0 {
		return nil
	}
	switch version, epoch, ok := parseHead(s.data); {
	case !ok:
		s.is = unknown
	case epoch != j.epoch:
		s.is = foreign
	case version > journalVersion:
		return &NewerError{Format: version, Known: journalVersion}
	case version >= journalOldest:
		s.is = current
	default:
		s.is = unknown
	}
	return nil
}

// choose finds out which files count, and notes why one does not.
func (j *Journal[T]) choose(from *[2]source) {
	a, b := &from[0], &from[1]
	stepA, okA := committed(a.data)
	stepB, okB := committed(b.data)
	// A file that has lost its head to damage is as good as the other, if it has taken part in the same steps.
	near := okA && okB && max(stepA, stepB)-min(stepA, stepB) <= 1
	for i := range from {
		s, other := &from[i], &from[1-i]
		if s.is == unknown && other.is == current && near {
			j.tell(s, "%w: it begins with %.40q", errCorrupt, s.data[:min(len(s.data), 40)])
			s.is = current
		}
	}
	if a.is == current && b.is == current && okA && okB && !near {
		// It was out of use while the other one went on.
		if stepA < stepB {
			a.stale = true
		} else {
			b.stale = true
		}
	}
	for i := range from {
		s, other := &from[i], &from[1-i]
		switch {
		case s.is == unusable:
			j.tell(s, "%w", s.err)
		case s.is == unknown:
			j.tell(s, "%w: it begins with %.40q", errCorrupt, s.data[:min(len(s.data), 40)])
		case s.is == current && s.stale:
			j.tell(s, "it ends at an earlier step than the other copy")
		case s.is == current && s.err != nil:
			j.tell(s, "%w", s.err)
		case s.is == missing && other.is == current:
			j.tell(s, "it is missing or empty")
		case s.is == foreign && other.is == current:
			j.tell(s, "it is of another boot")
		}
	}
}

func (j *Journal[T]) tell(s *source, format string, args ...any) {
	j.damaged = append(j.damaged, fmt.Errorf("cannot use "+s.name.path()+": "+format, args...))
}

// mend makes the files what they should be: the rows that were found, and nothing else. It can be killed at any time, and begun
// again: rows come first, then goes what they supersede, and last what says that rows are gone.
func (j *Journal[T]) mend(from *[2]source, m *merged, rows []found[T]) error {
	need := 0
	taken := make(map[uint32]bool, len(rows))
	for i := range rows {
		for _, slot := range rows[i].slots {
			taken[slot], need = true, max(need, int(slot)+1)
		}
	}
	for i := range from {
		if s := &from[i]; s.file != nil && s.is == unusable {
			_ = s.file.Close() // it cannot be read: a new one takes its place
		} else if s.file != nil {
			if j.copies[i], s.err = newTable(&j.layout, s.file, max(need, slotsIn(s.data))); s.err != nil {
				_ = s.file.Close()
			}
		}
	}
	j.step = m.step
	j.settle(j.copies[:], rows, taken)
	for i := range from {
		if j.copies[i] == nil && j.copies[1-i] == nil {
			j.copies[i], from[i].err = j.create(j.names[i], need, func(t *table) { j.settle([]*table{t}, rows, taken) })
		}
	}
	if j.copies[0] == nil && j.copies[1] == nil {
		return errors.Join(from[0].err, from[1].err)
	}
	j.slots = maxSlots
	for _, t := range j.copies {
		if t != nil {
			if least := need + growBy; t.slots > least+mostFree {
				if err := t.shrink(least); err != nil {
					return errors.Join(err, j.Close())
				}
			}
			j.slots = min(j.slots, t.slots)
		}
	}
	for slot := j.slots - 1; slot >= 0; slot-- {
		if !taken[uint32(slot)] {
			j.free = append(j.free, uint32(slot))
		}
	}
	for i := range rows {
		f := &rows[i]
		j.places[f.row.Key()] = place{f.id, f.slots[0], f.slots[1:]}
	}
	if j.alone = j.double(); j.alone != nil {
		// The other copy, if there is one, misses what comes now. It must be known by that.
		j.commit(j.step + 2)
	}
	j.tend()
	return nil
}

// settle makes copies what they should be.
func (j *Journal[T]) settle(copies []*table, rows []found[T], taken map[uint32]bool) {
	for _, t := range copies {
		for i := range rows {
			if t != nil {
				t.settle(&rows[i].record)
			}
		}
	}
	for _, last := range []bool{false, true} {
		for _, t := range copies {
			for n := uint32(0); t != nil && int(n) < t.slots; n++ {
				if kind := t.kind(n); kind != kindFree && !taken[n] && (last || kind != kindGone) {
					t.void(n)
				}
			}
		}
	}
	for _, t := range copies {
		if t != nil {
			t.commit(j.step)
			if !strings.HasPrefix(string(t.mem[:headSize/2]), t.head()) {
				t.setHead()
			}
		}
	}
}

// double makes the copy that does not work anew, from the one that does.
func (j *Journal[T]) double() error {
	for i, t := range j.copies {
		base := j.copies[1-i]
		if t != nil || base == nil {
			continue
		}
		var err error
		if j.copies[i], err = j.create(j.names[i], j.slots, func(t *table) {
			copy(t.mem[headSize:t.size()], base.mem[headSize:])
			t.commit(j.step)
			t.setHead()
		}); err != nil {
			return fmt.Errorf("cannot keep a second copy: %w", err)
		}
	}
	return nil
}

// create makes a file, which is there as a whole or not at all.
func (j *Journal[T]) create(name file, slots int, fill func(*table)) (*table, error) {
	if info, err := os.Lstat(name.path()); err == nil && !info.Mode().IsRegular() {
		told, err := name.setAside(fmt.Errorf("%w: not a regular file", errCorrupt))
		if err != nil {
			return nil, err
		}
		j.damaged = append(j.damaged, told)
	}
	temp, err := name.temp()
	if err != nil {
		return nil, err
	}
	t, err := newTable(&j.layout, temp, slots)
	if err != nil {
		return nil, errors.Join(err, temp.Close(), os.Remove(temp.Name()))
	}
	fill(t)
	if err := os.Rename(temp.Name(), name.path()); err != nil {
		return nil, errors.Join(err, t.close(), os.Remove(temp.Name()))
	}
	return t, nil
}
