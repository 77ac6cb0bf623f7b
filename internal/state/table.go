package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"
)

// A Table is a file of records, each of which is a JSON object. It is small enough to be written as a whole. It is in
// the directory of a [Mark], which locks that. Save may be called from several goroutines.
type Table[T any] struct {
	mark    *Mark // of the same directory
	file    file
	check   func([]T) error
	rows    []T
	corrupt error

	mu     sync.Mutex
	unread error // why what is in the file is not known
	wanted []T   // what could not be written
	failed error // why
}

// The file is for people and programs: a line that says what it is and the version of its format, a line for each record, and
// a last one with the checksum of all before it.
const (
	tableVersion = 1
	tableEnd     = "end"
	maxTable     = 256 << 20 // bytes
)

// OpenTable reads the table of that name in the directory of the mark, or begins an empty one. check tells whether records make sense; a file with
// such that do not is taken for a damaged one. An error is a [NewerError]. Any other is in the way of Save, which looks again.
func OpenTable[T any](mark *Mark, name string, check func([]T) error) (*Table[T], error) {
	t := &Table[T]{mark: mark, file: file{mark.file.dir, name}, check: check}
	if t.unread = t.open(); decisive(t.unread) {
		return nil, t.unread
	}
	return t, nil
}

func (t *Table[T]) open() error {
	text, err := t.file.read(maxTable)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	var rows []T
	if err == nil {
		rows, err = t.parse(text)
	}
	if err == nil {
		if err = t.check(rows); err != nil {
			err = fmt.Errorf("%w: %w", errCorrupt, err)
		}
	}
	switch {
	case err == nil:
		t.rows = rows
		return nil
	case errors.Is(err, errCorrupt):
		t.corrupt, err = t.file.setAside(err)
		return err
	}
	return fmt.Errorf("cannot use %s: %w", t.file.path(), err)
}

// Rows returns the records that were found when the table was opened.
func (t *Table[T]) Rows() []T { return t.rows }

// Corrupt returns what OpenTable found instead of a table and where it put that, or nil. There are no records then.
func (t *Table[T]) Corrupt() error { return t.corrupt }

// Unread returns why the table could not be read, or nil. There are no records then, and none can be saved before it was.
func (t *Table[T]) Unread() error { return t.unread }

// Save puts these records in the place of all that there are, and returns when that is on the disk. If it fails, the old ones
// or the new ones are there, and nothing else.
func (t *Table[T]) Save(rows []T) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.save(rows)
}

// SaveAgain is Save of what could not be saved, if nothing has been since.
func (t *Table[T]) SaveAgain() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed == nil {
		return t.readAgain()
	}
	return t.save(t.wanted)
}

func (t *Table[T]) save(rows []T) error {
	err := t.mark.Hold()
	var text string
	if err == nil {
		err = t.readAgain()
	}
	if err == nil {
		text, err = t.format(rows)
	}
	if err == nil {
		err = t.file.write(text)
	}
	if t.wanted, t.failed = nil, nil; err != nil {
		err = fmt.Errorf("cannot write %s: %w", t.file.path(), err)
		t.wanted, t.failed = rows, err
	}
	return err
}

// readAgain sees to it that nothing is written over that nobody has read.
func (t *Table[T]) readAgain() error {
	if t.unread == nil {
		return nil
	}
	t.unread = t.open()
	if t.unread == nil && len(t.rows) > 0 {
		t.unread = errors.New("it has records that could not be read at the start: they count when ipcd is started again")
	}
	return t.unread
}

func (t *Table[T]) format(rows []T) (string, error) {
	var b strings.Builder
	b.WriteString(t.head(tableVersion))
	out := json.NewEncoder(&b)
	for i := range rows {
		if err := out.Encode(&rows[i]); err != nil {
			return "", err
		}
	}
	return withSum(b.String() + tableEnd), nil
}

func (t *Table[T]) head(version int) string { return fmt.Sprintf("ipcd %s %d\n", t.file.name, version) }

// parse is the inverse of format.
func (t *Table[T]) parse(text string) ([]T, error) {
	body, err := checked(text)
	if err != nil {
		return nil, err
	}
	head, lines, _ := strings.Cut(strings.TrimSuffix(body, tableEnd), "\n")
	var v int
	if _, err := fmt.Sscanf(head, "ipcd "+t.file.name+" %d", &v); err == nil && v > tableVersion {
		return nil, &NewerError{v, tableVersion}
	}
	if head+"\n" != t.head(tableVersion) {
		return nil, fmt.Errorf("%w: it begins with %.40q", errCorrupt, head)
	}
	var rows []T
	for line := range strings.Lines(lines) {
		var row T
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			return nil, fmt.Errorf("%w: record %d: %w", errCorrupt, len(rows)+1, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}
