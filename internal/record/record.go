package record

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/ipcd/ipcd/lockmgr"
)

// A Kind is what a record is a record of.
type Kind uint8

// The kinds.
const (
	KindHold Kind = iota
	KindEnd
	KindMark
)

// kinds are what the kinds are called, and how they are read.
var kinds = [...]struct {
	name    string
	version int // that is written, and the last that is known
	read    func(*reader) (Record, error)
}{
	KindHold: {"hold", 1, readHold},
	KindEnd:  {"end", 1, readEnd},
	KindMark: {"mark", 1, readMark},
}

// A Record says what is true of its subject from now on. It is plain data.
type Record interface {
	Subject() Subject
	Key() string // of the subject
	// Over reports that there is nothing any more.
	Over() bool
	// Append appends the text from which [Decode] makes the same record again, unless it is over.
	Append(b []byte) []byte
	// check looks at what does not depend on other records.
	check() error
}

// A Subject is what one record is about: the hold that an owner has of a lock, the end that the next holder of a lock is to be told
// of, or the mark of the tokens.
type Subject struct {
	Kind  Kind
	Lock  string
	Owner lockmgr.Owner
}

// Key tells a subject from all others.
func (s *Subject) Key() string {
	b := make([]byte, 0, 128)
	b = append(b, kinds[s.Kind].name...)
	if s.Kind == KindHold {
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(s.Owner.Process.PID), 10)
		b = append(b, '/')
		b = strconv.AppendUint(b, s.Owner.Process.Start, 10)
		b = append(b, ' ')
		b = appendQuoted(b, s.Owner.Label)
	}
	if s.Lock != "" {
		b = append(b, ' ')
		b = append(b, s.Lock...)
	}
	return string(b)
}

// A Gone says of its subject that there is nothing any more.
type Gone struct{ Of Subject }

func (g *Gone) Subject() Subject       { return g.Of }
func (g *Gone) Key() string            { return g.Of.Key() }
func (g *Gone) Over() bool             { return true }
func (g *Gone) Append(b []byte) []byte { return b }
func (g *Gone) check() error           { return nil }

// A NewerError says that a record is of a kind, or has a version, which is not known here.
type NewerError struct {
	Kind           string
	Version, Known int // 0: the kind is not known
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("a record %q has version %d, of a newer ipcd; this one knows versions up to %d", e.Kind, e.Version, e.Known)
}

// Decode makes a record of its text. It does not say whether the record can be true: see [Read].
func Decode(text []byte) (Record, error) {
	if bytes.HasPrefix(text, []byte("{")) {
		return decodeBefore(text)
	}
	r := reader{left: string(text)}
	name, version := r.word(), r.word()
	n, err := strconv.Atoi(version)
	if err != nil || name == "" || n < 1 {
		return nil, fmt.Errorf("no record: it begins with %.40q", text)
	}
	for i := range kinds {
		k := &kinds[i]
		switch {
		case k.name != name:
		case n > k.version:
			return nil, &NewerError{name, n, k.version}
		default:
			return k.read(&r)
		}
	}
	return nil, &NewerError{name, n, 0}
}

// appendHead begins the text of a record.
func appendHead(b []byte, k Kind) []byte {
	b = append(b, kinds[k].name...)
	b = append(b, ' ')
	return strconv.AppendInt(b, int64(kinds[k].version), 10)
}
