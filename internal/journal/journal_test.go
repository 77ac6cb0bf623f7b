package journal

import (
	"errors"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/record"
)

// A store keeps texts by their keys, while it has room.
type store struct {
	rows   map[record.Subject]record.Record
	most   int // records at once
	full   bool
	writes int
}

func (s *store) Apply(records ...record.Record) error {
	s.writes++
	s.most = max(s.most, len(records))
	for _, is := range records {
		if is.Over() {
			delete(s.rows, is.Subject)
		}
	}
	if s.full {
		return errors.New("there is\nno room")
	}
	for _, is := range records {
		if !is.Over() {
			s.rows[is.Subject] = is
		}
	}
	return nil
}

func (s *store) Room() error {
	if s.full {
		return errors.New("there is\nno room")
	}
	return nil
}

func (s *store) Read() (all []record.Record, err error) {
	for _, is := range s.rows {
		all = append(all, is)
	}
	return all, nil
}

// A source has the tokens of marks, of which there is one.
type source struct {
	kind record.Kind
	all  map[string]record.Body
}

func (s *source) RecordOf(is record.Subject) record.Record {
	return record.Record{Subject: is, Is: s.all[is.Topic]}
}

func (s *source) Records() iter.Seq[record.Record] {
	return func(yield func(record.Record) bool) {
		for topic := range s.all {
			if !yield(s.RecordOf(record.Subject{Kind: s.kind, Topic: topic})) {
				return
			}
		}
	}
}

// others are how many records there are that are not about the store itself, and whether it says that it is complete.
func (s *store) others() (n int, complete bool) {
	_, complete = s.rows[record.Subject{Kind: record.KindComplete}]
	if n = len(s.rows); complete {
		n--
	}
	return n, complete
}

func (s *source) set(topic, payload string) record.Subject {
	s.all[topic] = &record.Retained{Topic: topic, Payload: payload, Seq: 1}
	return record.Subject{Kind: s.kind, Topic: topic}
}

func newJournal(t *testing.T) (*Journal, *store, *source, *strings.Builder) {
	t.Helper()
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	log := new(strings.Builder)
	j := New(l, slog.New(slog.NewTextHandler(log, nil)))
	from := &source{kind: record.KindRetained, all: map[string]record.Body{}}
	j.Register(from, record.KindRetained)
	kept := &store{rows: map[record.Subject]record.Record{}}
	j.Open(kept, nil)
	return j, kept, from, log
}

// TestRecord: what has changed is written at once and once, as it is then.
func TestRecord(t *testing.T) {
	j, kept, from, _ := newJournal(t)
	writes := kept.writes
	if j.Record(); kept.writes != writes {
		t.Error("nothing is written")
	}
	for i := range 3 * fewChanged { // more than are looked through
		topic := strings.Repeat("x", 1+i%(2*fewChanged))
		j.Changed(from.set(topic, "old"))
	}
	from.set("x", "new")
	if j.Record(); kept.writes != writes+1 || kept.most != 2*fewChanged {
		t.Errorf("%d records are written at once, in %d writes", kept.most, kept.writes-writes)
	}
	if is := kept.rows[record.Subject{Kind: record.KindRetained, Topic: "x"}].Is.(*record.Retained); is.Payload != "new" {
		t.Errorf("what is written is %q", is.Payload)
	}
	j.Verify()
}

// TestNoRoom: what there was no room for is written later, as it is then, and told of once; what is over does not come back.
func TestNoRoom(t *testing.T) {
	j, kept, from, log := newJournal(t)
	kept.full = true
	if err := j.Room(); err == nil || err.Error() != "there is; no room" {
		t.Errorf("the error is %v", err)
	}
	if err := j.Keep(record.Of(&record.Retained{Topic: "a", Seq: 1})); err == nil || j.Behind() {
		t.Errorf("what is refused is owed: %v", err)
	}
	for _, topic := range []string{"a", "b", "c"} {
		j.Rewrite(from.set(topic, "old"))
	}
	if _, complete := kept.others(); j.Unwritten() != 3 || !j.retry.IsSet() || complete {
		t.Errorf("%d are not written, and it says that it is complete: %v", j.Unwritten(), complete)
	}
	from.set("a", "new")
	delete(from.all, "b")
	kept.full = false
	j.writeDue()
	if n, complete := kept.others(); j.Behind() || j.retry.IsSet() || n != 2 || !complete {
		t.Errorf("%d are not written, and there are %v", j.Unwritten(), kept.rows)
	}
	j.Verify()
	if got := log.String(); strings.Count(got, "cannot keep all") != 1 || strings.Count(got, "kept again") != 1 {
		t.Errorf("the log has\n%s", got)
	}
}

// TestReplace: a store that comes later has what is true, in writes of bounded size, and nothing else of what was found there.
func TestReplace(t *testing.T) {
	j, kept, from, _ := newJournal(t)
	kept.full = true
	for i := range 2*WriteAtOnce + 1 {
		j.Rewrite(from.set(strings.Repeat("y", i+1), "is"))
	}
	late := &store{rows: map[record.Subject]record.Record{}}
	stale := record.Of(&record.Retained{Topic: "stale", Seq: 1})
	complete := record.Of(&record.Complete{})
	late.rows[stale.Subject], late.rows[complete.Subject] = stale, complete
	j.Replace(late, []record.Record{stale, complete})
	for j.Behind() {
		if _, complete := late.others(); complete {
			t.Fatal("it says that it is complete, with what is true of another time")
		}
		if !j.retry.IsSet() {
			t.Fatal("nobody goes on with it")
		}
		j.writeDue()
	}
	if n, complete := late.others(); late.most > WriteAtOnce || n != 2*WriteAtOnce+1 || !complete {
		t.Errorf("%d are written at once, %d in all, which it says: %v", late.most, n, complete)
	}
	if subjects := slices.Collect(func(yield func(string) bool) {
		for is := range late.rows {
			yield(is.Topic)
		}
	}); slices.Contains(subjects, "stale") {
		t.Error("what was found there stays, and is not true")
	}
}

// TestNobodyIsRegistered: a kind that somebody tells of and nobody is asked for is not taken for one of which nothing is true.
func TestNobodyIsRegistered(t *testing.T) {
	j, _, _, _ := newJournal(t)
	defer func() {
		if got, want := recover(), `nobody is registered for records of "mark"`; got != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}()
	j.Rewrite(record.Subject{Kind: record.KindMark})
}
