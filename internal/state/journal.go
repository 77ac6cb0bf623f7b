package state

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A Row is what a [Journal] keeps: a text, under a key. What they mean is known above.
type Row interface {
	// Key says what the row is about: of the rows with one key, the last is kept.
	Key() string
	// Over reports that the row only ends the one before it with its key, and has no text.
	Over() bool
	// Append appends the text.
	Append(b []byte) []byte
}

// A Journal keeps rows in two mapped files, which are copies of each other. What has been applied is there for whoever opens them
// later, however this process ends, as long as the machine goes on; it costs no system call unless the files grow, and never
// waits for a disk if they have none. It is not for more than one goroutine.
type Journal[T Row] struct {
	layout
	decode  func(text []byte) (T, error)
	names   [2]file
	copies  [2]*table // nil: it does not work
	rows    []T
	damaged []error
	alone   error // why only one copy works
	lack    error // why there is not as much room as there should be

	step   uint64 // the last one
	slots  int    // that each copy has
	free   []uint32
	places map[string]place

	// Of the step that is under way.
	changes []change
	gone    []byte
	text    []byte
}

// A place is where a record is.
type place struct {
	id
	first uint32   // its slot
	more  []uint32 // if it has several
}

// A change is what a row changes.
type change struct {
	key      string
	old, now place
	had, has bool
}

// ErrFull says that there is no room for a row.
var ErrFull = errors.New("the journal is full")

const (
	growBy     = 128 << 10 / slotSize // slots
	leastFree  = 256 << 10 / slotSize
	reserve    = leastFree / 2      // for what is under way when there is no more room to be had
	mostFree   = 1 << 20 / slotSize // beyond that, it is enough
	goneSize   = 12                 // bytes for each record that is gone
	maxParts   = 1 << 15
	maxText    = maxParts * slotText
	maxDamaged = 20 // that are told one by one
)

// Apply has each row take the place of the one with its key, or remove it, if it says that it is over. Whoever opens the journal
// after this process has ended, in whatever way, finds all rows applied, or, if it was killed in Apply, all or none. If there is
// no room the error wraps [ErrFull]: what removes is applied then, and what needs room is not. The next Apply tries to find room
// again.
func (j *Journal[T]) Apply(rows ...T) error {
	j.tend()
	err := j.write(rows)
	if errors.Is(err, ErrFull) {
		err = j.squeeze(rows, err)
	}
	return err
}

// Rows returns the rows that were found when the journal was opened, in the order of their last changes: nil if it was begun anew.
func (j *Journal[T]) Rows() []T { return j.rows }

// Read reads all rows anew from the files. What is wrong with them is an error.
func (j *Journal[T]) Read() ([]T, error) {
	var data [2][]byte
	for i, c := range j.copies {
		if c != nil {
			data[i] = c.mem[:c.size()]
		}
	}
	m := j.merge(data)
	found, err := j.find(&m)
	if err != nil {
		return nil, err
	}
	rows := make([]T, len(found))
	for i := range found {
		rows[i] = found[i].row
	}
	if m.hurt != [2]int{} {
		m.tell("%d and %d slots of the copies", m.hurt[0], m.hurt[1])
	}
	return rows, errors.Join(m.told...)
}

// Damaged returns what was found wrong when the journal was opened: an error for each copy that had to be mended, and for each
// row that is lost.
func (j *Journal[T]) Damaged() []error { return j.damaged }

// Problem returns what keeps rows from being kept as safely as they should be, or nil.
func (j *Journal[T]) Problem() error { return errors.Join(j.alone, j.lack) }

// Room says that no row with a new key should be applied: there is no more room to be had, and what is left is for those that
// cannot be refused any more. It is nil if there is room.
func (j *Journal[T]) Room() error {
	if j.lack != nil && len(j.free) < reserve {
		return j.lack
	}
	return nil
}

// Close gives up the files, in which everything stays.
func (j *Journal[T]) Close() error {
	var errs []error
	for i, c := range j.copies {
		if c != nil {
			errs = append(errs, c.close())
			j.copies[i] = nil
		}
	}
	return errors.Join(errs...)
}

// Mend tries again what Problem tells of. It may wait for the disk, if the files are on one.
func (j *Journal[T]) Mend() {
	if j.alone != nil {
		j.alone = j.double()
	}
	j.tend()
}

// tend sees to it that there is room before it is needed.
func (j *Journal[T]) tend() {
	if len(j.free) < min(max(j.slots/2, leastFree), mostFree) {
		j.lack = j.grow(growBy)
	}
}

// grow makes room for n more slots in all copies.
func (j *Journal[T]) grow(n int) error {
	if j.slots+n > j.most {
		return fmt.Errorf("%w: it has %d MiB", ErrFull, j.slots*slotSize>>20)
	}
	for _, c := range j.copies {
		if c == nil {
			continue
		}
		if err := c.reserve(j.slots + n); err != nil {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	more := make([]uint32, 0, n+len(j.free))
	for slot := j.slots + n - 1; slot >= j.slots; slot-- {
		more = append(more, uint32(slot))
	}
	j.slots, j.free = j.slots+n, append(more, j.free...) // the first ones are used first, so that what is in use stays small
	return nil
}

// write carries out a step: new records go into free slots, the step is committed, and only then are old records voided. A step
// that only removes one record is a single store, if that is in one slot, or as good as one. It needs no room.
func (j *Journal[T]) write(rows []T) error {
	step := j.step + 1
	for i := range rows {
		key := rows[i].Key()
		old, had := j.places[key]
		if rows[i].Over() {
			if had {
				j.remove(key, old)
			}
			continue
		}
		j.text = rows[i].Append(j.text[:0])
		now, err := j.put(kindRow, id{step, uint32(i)}, j.text)
		if err != nil {
			j.undo()
			return fmt.Errorf("cannot keep %q: %w", key, err)
		}
		j.places[key] = now
		j.changes = append(j.changes, change{key, old, now, had, true})
	}
	var gone place
	if more := len(j.changes) > 1; more && len(j.gone) > 0 {
		var err error
		if gone, err = j.put(kindGone, id{step, uint32(len(rows))}, j.gone); err != nil {
			j.undo()
			return fmt.Errorf("cannot remove %d rows: %w", len(j.gone)/goneSize, err)
		}
	}
	if len(j.changes) > 1 || len(j.gone) == 0 && len(j.changes) > 0 {
		j.commit(step)
	}
	for i := range j.changes {
		if c := &j.changes[i]; c.had {
			j.void(&c.old)
		}
	}
	if gone.step != 0 {
		j.void(&gone)
	}
	j.forget()
	return nil
}

// remove notes that a record is gone with this step.
func (j *Journal[T]) remove(key string, old place) {
	delete(j.places, key)
	j.changes = append(j.changes, change{key: key, old: old, had: true})
	j.gone = binary.NativeEndian.AppendUint64(j.gone, old.step)
	j.gone = binary.NativeEndian.AppendUint32(j.gone, old.index)
}

// undo takes a step back that is not committed.
func (j *Journal[T]) undo() {
	for i := len(j.changes) - 1; i >= 0; i-- {
		c := &j.changes[i]
		if c.has {
			j.void(&c.now)
		}
		if c.had {
			j.places[c.key] = c.old
		} else {
			delete(j.places, c.key)
		}
	}
	j.forget()
}

func (j *Journal[T]) forget() {
	clear(j.changes)
	j.changes, j.gone = j.changes[:0], j.gone[:0]
}

// squeeze applies what it can where there is no room for all: first what removes, row by row, then the others, in the room that
// this leaves.
func (j *Journal[T]) squeeze(rows []T, full error) error {
	last := make(map[string]int, len(rows))
	for i := range rows {
		last[rows[i].Key()] = i
	}
	var rest []T
	for i := range rows {
		switch key := rows[i].Key(); {
		case last[key] != i:
		case !rows[i].Over():
			rest = append(rest, rows[i])
		default:
			if err := j.write(rows[i : i+1]); err != nil {
				return err
			}
		}
	}
	if len(rest) == len(rows) {
		return full
	}
	return j.write(rest)
}

// put writes a record into free slots of all copies.
func (j *Journal[T]) put(kind uint32, as id, text []byte) (place, error) {
	if len(text) > maxText || as.step > maxStep {
		return place{}, fmt.Errorf("step %d has %d bytes, which is too much", as.step, len(text))
	}
	parts := (len(text) + slotText - 1) / slotText
	for len(j.free) < parts {
		if err := j.grow(max(growBy, parts-len(j.free))); err != nil {
			j.lack = err
			return place{}, err
		}
	}
	at := place{id: as}
	for part := range parts {
		slot := j.free[len(j.free)-1]
		j.free = j.free[:len(j.free)-1]
		if part == 0 {
			at.first = slot
		} else {
			at.more = append(at.more, slot)
		}
		h := head{kind, as, uint16(part), uint16(parts)}
		chunk := text[part*slotText : min((part+1)*slotText, len(text))]
		for _, c := range j.copies {
			if c != nil {
				c.write(slot, h, chunk)
			}
		}
	}
	return at, nil
}

// void frees the slots of a record. Its first goes first: parts without that are none.
func (j *Journal[T]) void(at *place) {
	j.voidSlot(at.first)
	for _, slot := range at.more {
		j.voidSlot(slot)
	}
}

func (j *Journal[T]) voidSlot(slot uint32) {
	for _, c := range j.copies {
		if c != nil {
			c.void(slot)
		}
	}
	j.free = append(j.free, slot)
}

func (j *Journal[T]) commit(step uint64) {
	for _, c := range j.copies {
		if c != nil {
			c.commit(step)
		}
	}
	j.step = step
}
