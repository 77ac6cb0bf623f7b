package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Journal is a mapped file to which records are added, each a JSON value. What has been added is there for whoever opens the
// file later, however this process ends, as long as the machine goes on; it costs no system call, and never waits for a disk.
// It is not for more than one goroutine.
type Journal[T any] struct {
	file    *os.File
	mem     []byte
	rows    []T
	corrupt error

	room  int    // of a half
	half  uint32 // which one is in use
	end   int    // where the next record goes in it
	base  int    // where that was after Replace
	there [2]int // how far each half has memory, or room on the disk, for certain
	text  bytes.Buffer
	out   *json.Encoder
}

// The file is a page that says what it is, and two halves, of which one is in use: records are added to it, and to replace them
// all they are written into the other, which then becomes the one in use. Pages that were never written take no memory. A
// record is its length, its checksum and its text; a length of 0 ends them. The length is written last, so that a process
// that is killed leaves a whole record or none.
const (
	journalHead    = "ipcd journal %d %s\n" // version, epoch; without its first byte, the journal is void
	journalVersion = 1
	journalPage    = 4096
	journalHalf    = 256 << 20
	journalStep    = 64 << 10 // in which a half grows
	journalSpare   = 1 << 20  // how much the half that is not in use may keep
	halfAt         = journalPage - 8
	recordHead     = 8
)

// ErrFull says that there is no room for a record, or for all of them.
var ErrFull = errors.New("the journal is full")

// OpenJournal maps a file and reads what is in it, or begins anew if it is empty, or of another epoch. check tells whether
// records make sense; a file with such that do not is taken for a damaged one, and begun anew, too. The Journal owns file.
func OpenJournal[T any](file *os.File, epoch string, check func([]T) error) (*Journal[T], error) {
	return openJournal(file, epoch, check, journalHalf)
}

func openJournal[T any](file *os.File, epoch string, check func([]T) error, room int) (*Journal[T], error) {
	j := &Journal[T]{file: file, room: room}
	j.out = json.NewEncoder(&j.text)
	j.out.SetEscapeHTML(false)
	if err := j.open(fmt.Sprintf(journalHead, journalVersion, epoch), check); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot use the journal %s: %w", file.Name(), err), j.Close())
	}
	return j, nil
}

func (j *Journal[T]) open(head string, check func([]T) error) error {
	size := journalPage + 2*j.room
	fd := int(j.file.Fd())
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil {
		return err
	}
	if info.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("not a regular file")
	}
	if info.Size != int64(size) {
		if err := unix.Ftruncate(fd, int64(size)); err != nil {
			return err
		}
	}
	// Else a store would be a SIGBUS if there is no room.
	err := unix.Fallocate(fd, 0, 0, journalPage)
	if err == nil {
		j.mem, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		return err
	}
	switch {
	case bytes.HasPrefix(j.mem, []byte(head)):
		j.half = atomic.LoadUint32(j.word(halfAt))
		j.rows, j.end, err = j.read()
		if err == nil {
			err = check(j.rows)
		}
		if err == nil {
			j.there[j.half] = j.end // what is there has room
			return nil
		}
		j.corrupt = fmt.Errorf("%w: %w", errCorrupt, err)
		j.rows, j.half = nil, 0
	case j.mem[0] == 0: // new, or void
	default:
		var version int
		var epoch string
		_, err := fmt.Sscanf(string(j.mem[:journalPage/2]), journalHead, &version, &epoch)
		if err != nil || version != journalVersion {
			j.corrupt = fmt.Errorf("%w: it begins with %.40q", errCorrupt, j.mem[:journalPage])
		}
	}
	j.void()
	copy(j.mem[1:], head[1:])
	return j.Replace(func(func(T) bool) {})
}

// Rows returns the records that were found when the journal was opened: nil if it was begun anew.
func (j *Journal[T]) Rows() []T { return j.rows }

// Read returns all records, if the journal is not void.
func (j *Journal[T]) Read() ([]T, error) {
	rows, _, err := j.read()
	return rows, err
}

// Corrupt returns what OpenJournal found instead of a journal, or nil. There are no records then.
func (j *Journal[T]) Corrupt() error { return j.corrupt }

// Add adds a record. It reports that there are so many since Replace that it is time for it again. If there is no room the error
// wraps [ErrFull], and the journal is void: whoever opens it finds nothing, rather than what is no longer true, until Replace
// succeeds.
func (j *Journal[T]) Add(row T) (long bool, err error) {
	if err = j.add(&row); err != nil {
		j.void()
	}
	return j.end-j.base > max(j.base, journalStep), err
}

// void has the next one who opens the journal begin anew.
func (j *Journal[T]) void() { j.mem[0] = 0 }

// Replace puts these records in the place of all that there are, at once. If it fails the journal is void, as after Add.
func (j *Journal[T]) Replace(rows iter.Seq[T]) error {
	err := j.begin(1 - j.half)
	for row := range rows {
		if err != nil {
			break
		}
		err = j.add(&row)
	}
	if err != nil {
		j.void()
		return err
	}
	j.base = j.end
	atomic.StoreUint32(j.word(halfAt), j.half)
	j.mem[0] = journalHead[0]
	if other := 1 - j.half; j.there[other] > journalSpare {
		const giveBack = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
		j.there[other] = 0
		_ = unix.Fallocate(int(j.file.Fd()), giveBack, j.at(other), int64(j.room)) // or it is used again
	}
	return nil
}

// Close gives up the file, in which everything stays.
func (j *Journal[T]) Close() error {
	var err error
	if j.mem != nil {
		err = unix.Munmap(j.mem)
		j.mem = nil
	}
	return errors.Join(err, j.file.Close())
}

// at is where a half is in the file.
func (j *Journal[T]) at(half uint32) int64 { return journalPage + int64(half)*int64(j.room) }

// word is a number of the file that is written in one step. Its place is a multiple of 4.
func (j *Journal[T]) word(at int) *uint32 { return (*uint32)(unsafe.Pointer(&j.mem[at])) }

// begin makes a half the one to add to, and empty.
func (j *Journal[T]) begin(half uint32) error {
	j.half, j.end, j.base = half, 0, 0
	if err := j.reserve(0); err != nil {
		return err
	}
	atomic.StoreUint32(j.word(int(j.at(half))), 0)
	return nil
}

// reserve makes sure that a record of that size can be added, and the end behind it.
func (j *Journal[T]) reserve(size int) error {
	need := j.end + recordHead + size + 4 + recordHead
	if need > j.room {
		return ErrFull
	}
	if need > j.there[j.half] {
		there := (need + journalStep - 1) / journalStep * journalStep
		if err := unix.Fallocate(int(j.file.Fd()), 0, j.at(j.half), int64(there)); err != nil {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
		j.there[j.half] = there
	}
	return nil
}

func (j *Journal[T]) add(row *T) error {
	j.text.Reset()
	if err := j.out.Encode(row); err != nil {
		return err
	}
	text := j.text.Bytes()
	if err := j.reserve(len(text)); err != nil {
		return err
	}
	at := int(j.at(j.half)) + j.end
	next := at + recordSize(len(text))
	atomic.StoreUint32(j.word(next), 0)
	copy(j.mem[at+recordHead:], text)
	*j.word(at + 4) = crc32.Checksum(text, castagnoli)
	atomic.StoreUint32(j.word(at), uint32(len(text)))
	j.end += next - at
	return nil
}

// recordSize is what a record takes: the next one begins at a multiple of 4.
func recordSize(text int) int { return recordHead + (text+3)/4*4 }

// read reads the half that is in use. It returns its end, too.
func (j *Journal[T]) read() (rows []T, end int, err error) {
	if j.half > 1 {
		return nil, 0, fmt.Errorf("half %d is in use", j.half)
	}
	rows = []T{}
	for half := j.mem[j.at(j.half):][:j.room]; ; {
		rest := half[end:]
		if len(rest) < recordHead {
			return nil, 0, errors.New("it has no end")
		}
		n := int(binary.NativeEndian.Uint32(rest))
		if n == 0 {
			return rows, end, nil
		}
		if n > len(rest)-recordHead {
			return nil, 0, fmt.Errorf("record %d has %d bytes", len(rows)+1, n)
		}
		text := rest[recordHead:][:n]
		if crc32.Checksum(text, castagnoli) != binary.NativeEndian.Uint32(rest[4:]) {
			return nil, 0, fmt.Errorf("record %d has the wrong checksum", len(rows)+1)
		}
		var row T
		if err := json.Unmarshal(text, &row); err != nil {
			return nil, 0, fmt.Errorf("record %d: %w", len(rows)+1, err)
		}
		rows = append(rows, row)
		end = min(end+recordSize(n), j.room)
	}
}
