package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A copy of a journal is a page that says what it is, and slots. A record takes as many slots as its text needs, which need not
// be neighbours. Each slot says for itself which part of which record it has, and has a checksum, so that damage costs no more
// than the slot that it is in. Whether a slot is taken is one word, which is written last, and cleared first: a process that is
// killed leaves a slot taken and whole, or free.
const (
	headSize = 4096
	commitAt = headSize - 8 // the last step that is complete
	slotSize = 512
	slotHead = 32
	slotText = slotSize - slotHead

	// What a slot is. No flipped bit makes one of another.
	kindFree = 0
	kindRow  = 0x1bc3a55a
	kindGone = 0x1b3c5aa5 // a list of records which a step removes, until they are voided

	maxStep  = 1<<48 - 1
	maxSlots = 256 << 20 / slotSize
)

const (
	journalMagic   = "ipcd journal"
	journalVersion = 3 // rows say what they are: see internal/record
	journalOldest  = 2 // that is read; it has the same slots
)

// A layout is what all files of a journal have in common.
type layout struct {
	epoch string
	tag   uint32 // a checksum of epoch, in each slot
	most  int    // slots
	// stored is called after each store that changes what a reader would find: tests look at the files then.
	stored func()
}

func tag(epoch string) uint32 { return crc32.Checksum([]byte(epoch), castagnoli) }

func (l *layout) head() string {
	return withSum(fmt.Sprintf("%s %d %s", journalMagic, journalVersion, l.epoch))
}

// parseHead reads what a file says it is. All versions begin alike.
func parseHead(data []byte) (version int, epoch string, ok bool) {
	line, _, _ := bytes.Cut(data[:min(len(data), headSize/2)], []byte("\n"))
	body, err := checked(string(line) + "\n")
	if err == nil {
		_, err = fmt.Sscanf(body, journalMagic+" %d %s", &version, &epoch)
	}
	return version, epoch, err == nil
}

// An id names a record: the step that wrote it, and which of that step's it is.
type id struct {
	step  uint64
	index uint32
}

// A head is what a slot says of itself.
type head struct {
	kind uint32
	id
	part, parts uint16
}

// A table is one copy. It is mapped once, with room to grow; only what is allocated may be touched, or the kernel ends the process.
type table struct {
	*layout
	file  *os.File
	mem   []byte
	slots int // that are allocated
}

// newTable maps a file, in which at least so many slots are allocated.
func newTable(l *layout, file *os.File, slots int) (*table, error) {
	mem, err := unix.Mmap(int(file.Fd()), 0, headSize+l.most*slotSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	t := &table{layout: l, file: file, mem: mem}
	size := headSize + slots*slotSize
	// A part of a slot at the end is none, nor must it be the beginning of one that is made later.
	info, err := file.Stat()
	if err == nil && info.Size() > int64(size) {
		err = file.Truncate(int64(size))
	}
	if err == nil {
		err = t.allocate(0, size)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(mem))
	}
	t.slots = slots
	return t, nil
}

func (t *table) close() error { return errors.Join(unix.Munmap(t.mem), t.file.Close()) }

func (t *table) size() int { return headSize + t.slots*slotSize }

// reserve makes sure that there are at least so many slots.
func (t *table) reserve(slots int) error {
	if slots <= t.slots {
		return nil
	}
	if err := t.allocate(t.size(), headSize+slots*slotSize); err != nil {
		return err
	}
	t.slots = slots
	return nil
}

// allocate makes sure that a part of the file has memory, or room on the disk: else a store would end the process with SIGBUS.
func (t *table) allocate(from, to int) error {
	err := unix.EINTR
	for err == unix.EINTR {
		if e := unix.Fallocate(int(t.file.Fd()), 0, int64(from), int64(to-from)); e != nil {
			err, _ = e.(unix.Errno)
			continue
		}
		return nil
	}
	if err != unix.EOPNOTSUPP {
		return fmt.Errorf("cannot make room in %s: %w", t.file.Name(), err)
	}
	// As fallocate(3) does: what there is stays, what there is not yet is written.
	info, e := t.file.Stat()
	if e != nil {
		return e
	}
	from = max(from, int(info.Size()))
	_, e = t.file.WriteAt(make([]byte, max(0, to-from)), int64(from))
	return e
}

// shrink gives slots back.
func (t *table) shrink(slots int) error {
	if slots >= t.slots {
		return nil
	}
	t.slots = slots
	return t.file.Truncate(int64(t.size()))
}

func (t *table) slot(n uint32) []byte { return t.mem[headSize+int(n)*slotSize:][:slotSize] }

// word is where a number is that is written in one step.
func (t *table) word(at int) *uint32 { return (*uint32)(unsafe.Pointer(&t.mem[at])) }

func (t *table) kind(n uint32) uint32 { return binary.NativeEndian.Uint32(t.slot(n)) }

func (t *table) setKind(n, kind uint32) {
	atomic.StoreUint32(t.word(headSize+int(n)*slotSize), kind)
	t.tell()
}

func (t *table) void(n uint32) { t.setKind(n, kindFree) }

// write fills a slot. It is free, or not to be believed anyhow.
func (t *table) write(n uint32, h head, text []byte) {
	b := t.slot(n)
	if binary.NativeEndian.Uint32(b) != kindFree {
		t.void(n)
	}
	binary.NativeEndian.PutUint64(b[8:], h.step)
	binary.NativeEndian.PutUint32(b[16:], h.index)
	binary.NativeEndian.PutUint16(b[20:], h.part)
	binary.NativeEndian.PutUint16(b[22:], h.parts)
	binary.NativeEndian.PutUint32(b[24:], uint32(len(text)))
	binary.NativeEndian.PutUint32(b[28:], t.tag)
	copy(b[slotHead:], text)
	putSum(b, len(text))
	t.tell()
	t.setKind(n, h.kind)
}

func putSum(slot []byte, size int) {
	binary.NativeEndian.PutUint32(slot[4:], crc32.Checksum(slot[8:slotHead+size], castagnoli))
}

// commit says that all steps up to this one are complete, in one store.
func (t *table) commit(step uint64) {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&t.mem[commitAt])), step<<16|uint64(stepSum(step)))
	t.tell()
}

func (t *table) tell() {
	if t.stored != nil {
		t.stored()
	}
}

// setHead says what the file is. Its first byte is written last.
func (t *table) setHead() {
	text := t.head()
	t.mem[0] = 0
	copy(t.mem[1:], text[1:])
	t.tell()
	t.mem[0] = text[0]
	t.tell()
}

func stepSum(step uint64) uint16 {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], step)
	return uint16(crc32.Checksum(b[:], castagnoli))
}

// committed is the last step that is complete, if that is to be believed.
func committed(data []byte) (step uint64, ok bool) {
	if len(data) < headSize {
		return 0, false
	}
	word := binary.NativeEndian.Uint64(data[commitAt:])
	step = word >> 16
	return step, uint16(word) == stepSum(step)
}

type slotState int

const (
	free slotState = iota
	intact
	damaged
	absent
)

// parseSlot says what is in a slot. What another epoch has left there is nothing.
func (l *layout) parseSlot(b []byte) (h head, text []byte, is slotState) {
	h = head{
		kind:  binary.NativeEndian.Uint32(b),
		id:    id{binary.NativeEndian.Uint64(b[8:]), binary.NativeEndian.Uint32(b[16:])},
		part:  binary.NativeEndian.Uint16(b[20:]),
		parts: binary.NativeEndian.Uint16(b[22:]),
	}
	size := binary.NativeEndian.Uint32(b[24:])
	switch {
	case h.kind == kindFree:
		return h, nil, free
	case h.kind != kindRow && h.kind != kindGone, size > slotText,
		crc32.Checksum(b[8:slotHead+size], castagnoli) != binary.NativeEndian.Uint32(b[4:]):
		return h, nil, damaged
	case binary.NativeEndian.Uint32(b[28:]) != l.tag:
		return h, nil, free
	case h.step > maxStep || h.part >= h.parts || h.parts > maxParts:
		return h, nil, damaged
	}
	return h, b[slotHead : slotHead+size], intact
}
