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
	KindRetained
	KindWill
	KindComplete
)

// kinds are what the kinds are called, and how they are read.
var kinds = [...]struct {
	name    string
	version int // that is written, and the last that is known
	read    func(*reader) (Body, error)
}{
	KindHold:     {"hold", 2, readAs(&holdFields)},
	KindEnd:      {"end", 1, readAs(&lockEndFields)},
	KindMark:     {"mark", 1, readAs(&markFields)},
	KindRetained: {"retained", 3, readAs(&retainedFields)},
	KindWill:     {"will", 2, readAs(&willFields)},
	KindComplete: {"complete", 1, readAs(&completeFields)},
}

// A Record says what is true of its subject from now on. It is plain data.
type Record struct {
	Subject
	Is Body // nil: there is nothing any more
}

// A Body is what a record says: a [Hold], an [End], a [Mark], a [Retained], a [Will] or a [Complete].
type Body interface {
	subject() Subject
	// append appends the text from which decode makes the same again.
	append(b []byte) []byte
	// check looks at what does not depend on other records.
	check() error
	// join adds it, which is checked, to what records say together.
	join(s *State)
}

// Of is the record that says so.
func Of(is Body) Record { return Record{is.subject(), is} }

// Over reports that there is nothing any more.
func (r Record) Over() bool { return r.Is == nil }

// Append appends the text from which [Decode] makes the same record again. One that is over has none.
func (r Record) Append(b []byte) []byte {
	if r.Over() {
		return b
	}
	k := &kinds[r.Kind]
	b = append(b, k.name...)
	b = append(b, ' ')
	return r.Is.append(strconv.AppendInt(b, int64(k.version), 10))
}

// A Subject is what one record is about: the hold that an owner has of a lock, the end that the next holder of a lock is to be told
// of, the mark of the tokens, the retained value of a topic, the will that an owner has for one, or the journal itself.
type Subject struct {
	Kind  Kind
	Lock  string
	Owner lockmgr.Owner
	Topic string
}

// Key tells a subject from all others.
func (s Subject) Key() string {
	b := make([]byte, 0, 128)
	b = append(b, kinds[s.Kind].name...)
	if s.Kind == KindHold || s.Kind == KindWill {
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(s.Owner.Process.PID), 10)
		b = append(b, '/')
		b = strconv.AppendUint(b, s.Owner.Process.Start, 10)
		b = append(b, ' ')
		b = appendQuoted(b, s.Owner.Label)
	}
	if name := s.Lock + s.Topic; name != "" { // it has one of them
		b = append(b, ' ')
		b = append(b, name...)
	}
	return string(b)
}

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
	is, err := decode(text)
	if err != nil {
		return Record{}, err
	}
	return Of(is), nil
}

func decode(text []byte) (Body, error) {
	if bytes.HasPrefix(text, []byte("{")) {
		return decodeBefore(text)
	}
	r := reader{left: string(text)}
	name, version := r.word(), r.word()
	n, err := strconv.Atoi(version)
	if err != nil || name == "" || n < 1 {
		return nil, fmt.Errorf("no record: it begins with %.40q", text)
	}
	known := 0
	for i := range kinds {
		if k := &kinds[i]; k.name == name {
			if n <= k.version {
				is, err := k.read(&r)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", name, err)
				}
				return is, nil
			}
			known = k.version
		}
	}
	return nil, &NewerError{name, n, known}
}
