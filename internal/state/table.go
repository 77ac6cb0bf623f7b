package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
)

// A Table is a file of records, each of which is a JSON object. It is small enough to be written as a whole. The directory must
// be locked, which [OpenMark] does. Save may be called from several goroutines.
type Table[T any] struct {
	file    file
	rows    []T
	corrupt error
	save    sync.Mutex
}

// The file is for people and programs: a line that says what it is and the version of its format, a line for each record, and
// a last one with the checksum of all before it.
const (
	tableVersion = 1
	tableEnd     = "end"
	maxTable     = 256 << 20 // bytes
)

// OpenTable reads the table of that name in dir, or begins an empty one. check tells whether records make sense; a file with
// such that do not is taken for a damaged one.
func OpenTable[T any](dir, name string, check func([]T) error) (*Table[T], error) {
	t := &Table[T]{file: file{dir, name}}
	text, err := t.file.read(maxTable)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	var rows []T
	if err == nil {
		rows, err = t.parse(text)
	}
	if err == nil {
		if err = check(rows); err != nil {
			err = fmt.Errorf("%w: %w", errCorrupt, err)
		}
	}
	switch {
	case err == nil:
		t.rows = rows
	case errors.Is(err, errCorrupt):
		if t.corrupt, err = t.file.setAside(err); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("cannot use %s: %w", t.file.path(), err)
	}
	return t, nil
}

// Rows returns the records that were found when the table was opened.
func (t *Table[T]) Rows() []T { return t.rows }

// Corrupt returns what OpenTable found instead of a table and where it put that, or nil. There are no records then.
func (t *Table[T]) Corrupt() error { return t.corrupt }

// Save puts these records in the place of all that there are, and returns when that is on the disk. If it fails, the old ones
// or the new ones are there, and nothing else.
func (t *Table[T]) Save(rows []T) error {
	text, err := t.format(rows)
	if err == nil {
		t.save.Lock()
		defer t.save.Unlock()
		err = t.file.write(text)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", t.file.path(), err)
	}
	return nil
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
