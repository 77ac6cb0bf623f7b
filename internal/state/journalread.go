package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// A record is what copies have of it together. What they do not have is nil.
type record struct {
	id
	kind  uint32
	slots []uint32
	texts [][]byte
}

// A merged is what is in the copies, slot by slot from whichever has it whole.
type merged struct {
	step    uint64    // the last one
	records []*record // of steps that are complete, in order
	hurt    [2]int    // slots that only the other copy has whole
	lost    int       // slots that no copy has whole
	told    []error
}

// A found is a row, and its record.
type found[T Row] struct {
	record
	row T
}

func slotsIn(data []byte) int { return max(0, len(data)-headSize) / slotSize }

// merge reads the copies, of which each may be nil.
func (l *layout) merge(data [2][]byte) (m merged) {
	known := false
	for _, d := range data {
		if step, ok := committed(d); ok {
			m.step, known = max(m.step, step), true
		}
	}
	all := map[id]*record{}
	for n := range max(slotsIn(data[0]), slotsIn(data[1])) {
		l.mergeSlot(&m, all, data, n)
	}
	for _, r := range all {
		switch {
		case known && r.step > m.step: // it was never complete
		case r.texts[0] == nil: // it was about to be voided
		case slices.ContainsFunc(r.texts, func(text []byte) bool { return text == nil }):
			if m.lost == 0 {
				m.tell("a record is incomplete: %.200q", r.texts[0])
			}
		default:
			m.records = append(m.records, r)
		}
	}
	slices.SortFunc(m.records, func(a, b *record) int { return compare(a.id, b.id) })
	if !known && len(m.records) > 0 {
		m.step = m.records[len(m.records)-1].step
	}
	if more := m.lost - maxDamaged; more > 0 {
		m.tell("%d more slots are damaged", more)
	}
	return m
}

func compare(a, b id) int { return cmp.Or(cmp.Compare(a.step, b.step), cmp.Compare(a.index, b.index)) }

func (l *layout) mergeSlot(m *merged, all map[id]*record, data [2][]byte, n int) {
	var is [2]slotState
	var sample []byte
	for i, d := range data {
		if n >= slotsIn(d) {
			is[i] = absent
			continue
		}
		b := d[headSize+n*slotSize:][:slotSize]
		var h head
		var text []byte
		switch h, text, is[i] = l.parseSlot(b); is[i] {
		case damaged:
			sample = b
		case intact:
			r := all[h.id]
			if r == nil {
				r = &record{h.id, h.kind, make([]uint32, h.parts), make([][]byte, h.parts)}
				all[h.id] = r
			}
			if int(h.part) < len(r.texts) {
				r.slots[h.part], r.texts[h.part] = uint32(n), text
			}
		}
	}
	for i := range is {
		if (is[i] == damaged || is[i] == absent && data[i] != nil) && is[1-i] == intact {
			m.hurt[i]++
		}
	}
	if sample != nil && is[0] >= damaged && is[1] >= damaged {
		if m.lost++; m.lost <= maxDamaged {
			m.tell("what is in slot %d is lost: %.200q", n, bytes.TrimRight(sample[slotHead:], "\x00"))
		}
	}
}

func (m *merged) tell(format string, args ...any) {
	m.told = append(m.told, fmt.Errorf("%w: "+format, append([]any{errCorrupt}, args...)...))
}

// find finds the rows that count, in order. The error is a [NewerError]: there are rows of a newer ipcd.
func (j *Journal[T]) find(m *merged) ([]found[T], error) {
	gone := map[id]bool{}
	for _, r := range m.records {
		if r.kind == kindGone {
			for list := range slices.Chunk(bytes.Join(r.texts, nil), goneSize) {
				if len(list) == goneSize {
					gone[id{binary.NativeEndian.Uint64(list), binary.NativeEndian.Uint32(list[8:])}] = true
				}
			}
		}
	}
	byKey := map[string]found[T]{}
	for _, r := range m.records {
		if r.kind != kindRow || gone[r.id] {
			continue
		}
		text := bytes.Join(r.texts, nil)
		row, err := j.decode(text)
		var newer *NewerError
		switch {
		case errors.As(err, &newer):
			return nil, err
		case err != nil:
			m.tell("a record is no row: %w: %.200q", err, text)
		default:
			byKey[row.Key()] = found[T]{*r, row}
		}
	}
	rows := slices.SortedFunc(maps.Values(byKey), func(a, b found[T]) int { return compare(a.id, b.id) })
	taken := map[uint32]bool{}
	return slices.DeleteFunc(rows, func(f found[T]) bool {
		for _, slot := range f.slots {
			if taken[slot] {
				m.tell("two records are in slot %d: one is lost: %.200q", slot, f.texts[0])
				return true
			}
			taken[slot] = true
		}
		return false
	}), nil
}

// settle writes what a record should have in this copy, where it has something else.
func (t *table) settle(r *record) {
	for part, n := range r.slots {
		want := head{r.kind, r.id, uint16(part), uint16(len(r.slots))}
		h, text, is := t.parseSlot(t.slot(n))
		if is != intact || h != want || !bytes.Equal(text, r.texts[part]) {
			t.write(n, want, r.texts[part])
		}
	}
}
