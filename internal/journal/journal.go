package journal

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/record"
)

// A Store is where what outlives the daemon is written: see state.Journal. It does not block.
type Store interface {
	// Apply puts records in the place of those with the same keys, all of them or none, however the daemon ends. What is over
	// is removed even if there is an error, which says that there was no room for the others.
	Apply(records ...record.Record) error
	// Room says why nothing more should be asked of it: nil if there is room for what is to come.
	Room() error
	Read() ([]record.Record, error) // all that there is, for Journal.Verify
}

// A Source knows what is true: it is the service that has what records of some kinds are about.
type Source interface {
	// RecordOf is what is true of a subject now. It is over if nothing is.
	RecordOf(is record.Subject) record.Record
	// Records say all that is true now.
	Records() iter.Seq[record.Record]
}

// A Journal is the loop's side of a Store.
type Journal struct {
	loop    *loop.Loop
	log     *slog.Logger
	store   Store // nil: nothing outlives the daemon
	sources []Source
	of      []Source // by the kind

	// What could not be written, or was found in a store that was opened late, and when it is tried again.
	unwritten map[record.Subject]struct{}
	found     []record.Record
	retry     loop.Timer
	told      bool // that not all is written
	complete  bool // what the store says: see record.Complete

	// Of the step that is being recorded.
	changed []record.Subject
	seen    map[record.Subject]struct{} // the same; nil while there are few
	rows    []record.Record
}

// fewChanged is up to how many subjects are looked through rather than indexed.
const fewChanged = 16

const (
	// WriteAtOnce is how many records that could not be written are in one turn, and writeAgain how long after a failure it is tried again.
	WriteAtOnce = 256
	writeAgain  = 100 * time.Millisecond
)

// New makes a journal that keeps nothing yet.
func New(l *loop.Loop, log *slog.Logger) *Journal {
	j := &Journal{loop: l, log: log}
	j.retry.Init(&l.Timers, j.writeDue)
	return j
}

// Register has a source be asked for what is true of the subjects of these kinds.
func (j *Journal) Register(s Source, kinds ...record.Kind) {
	j.sources = append(j.sources, s)
	for _, k := range kinds {
		for len(j.of) <= int(k) {
			j.of = append(j.of, nil)
		}
		j.of[k] = s
	}
}

// Open has what outlives the daemon written from now on, in the place of what was found.
func (j *Journal) Open(s Store, found []record.Record) {
	j.store = s
	j.writeAll(j.without(found))
}

// Replace has what outlives the daemon written from now on, in the place of a Store that took nothing, so that all there is
// is unwritten. Of what is found there only that stays which is true.
func (j *Journal) Replace(s Store, found []record.Record) {
	j.store, j.found = s, j.without(found)
	j.sayComplete()
	if j.Behind() {
		j.retry.Set(j.loop.Clock.Now())
	}
}

// without notes whether a store says that it is complete, and returns what else was found there.
func (j *Journal) without(found []record.Record) []record.Record {
	j.complete = record.SaysComplete(found)
	return slices.DeleteFunc(slices.Clone(found), func(r record.Record) bool { return r.Kind == record.KindComplete })
}

// sayComplete has the store say whether it has all that is true. It does not say so before everything was written, and no more as soon as
// something could not be, for which there is always room: nobody is told of anything before that.
func (j *Journal) sayComplete() {
	complete := !j.Behind()
	if complete == j.complete {
		return
	}
	is := record.Of(&record.Complete{})
	if !complete {
		is.Is = nil
	}
	if err := j.store.Apply(is); err == nil || !complete {
		j.complete = complete
	}
}

// Behind reports whether not all in the journal is as it should be.
func (j *Journal) Behind() bool { return len(j.unwritten)+len(j.found) > 0 }

// Unwritten is how many records could not be written.
func (j *Journal) Unwritten() int { return len(j.unwritten) }

// Room says why nothing more may be had that is to outlive the daemon: it could not be written down, would be gone with the daemon, and
// nobody would know. It is nil if there is room, or nothing is kept at all.
func (j *Journal) Room() error {
	if j.store == nil {
		return nil
	}
	return inOneLine(j.store.Room())
}

func inOneLine(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
}

// Keep writes down what is not true yet, and is to be when it is written.
func (j *Journal) Keep(is record.Record) error {
	if j.store == nil {
		return nil
	}
	err := j.store.Room()
	if err == nil {
		err = j.store.Apply(is)
	}
	return inOneLine(err)
}

// Changed notes that the record of a subject is to be written by the next Record.
func (j *Journal) Changed(is record.Subject) {
	if j.seen == nil && len(j.changed) == fewChanged {
		j.seen = map[record.Subject]struct{}{}
		for _, is := range j.changed {
			j.seen[is] = struct{}{}
		}
	}
	if j.seen != nil {
		if _, seen := j.seen[is]; seen {
			return
		}
		j.seen[is] = struct{}{}
	} else if slices.Contains(j.changed, is) {
		return
	}
	j.changed = append(j.changed, is)
}

// IsKept reports whether anything outlives the daemon: else nobody need say what has changed.
func (j *Journal) IsKept() bool { return j.store != nil }

// Record writes down what is true now of all subjects that have changed, all of it or nothing.
func (j *Journal) Record() {
	if len(j.changed) == 0 {
		return
	}
	for _, is := range j.changed {
		j.rows = append(j.rows, j.recordOf(is))
	}
	j.apply(j.changed)
	clear(j.changed)
	j.changed, j.seen = j.changed[:0], nil
}

// Rewrite writes down what is true of one subject now.
func (j *Journal) Rewrite(is record.Subject) {
	if j.store == nil {
		return
	}
	j.rows = append(j.rows, j.recordOf(is))
	j.apply([]record.Subject{is})
}

// recordOf is what is true of a subject now. To take a subject of which nobody says anything for one that is over would lose it.
func (j *Journal) recordOf(is record.Subject) record.Record {
	if int(is.Kind) >= len(j.of) || j.of[is.Kind] == nil {
		panic(fmt.Sprintf("nobody is registered for records of %q", is.Key()))
	}
	return j.of[is.Kind].RecordOf(is)
}

// all say all that is true now.
func (j *Journal) all() iter.Seq[record.Record] {
	return func(yield func(record.Record) bool) {
		for _, s := range j.sources {
			for is := range s.Records() {
				if !yield(is) {
					return
				}
			}
		}
	}
}

// apply has the rows written, which are about these subjects.
func (j *Journal) apply(subjects []record.Subject) {
	err := j.store.Apply(j.rows...)
	for i, is := range subjects {
		if err != nil && !j.rows[i].Over() {
			if j.unwritten == nil {
				j.unwritten = map[record.Subject]struct{}{}
			}
			j.unwritten[is] = struct{}{}
		} else {
			delete(j.unwritten, is)
		}
	}
	clear(j.rows)
	j.rows = j.rows[:0]
	j.sayComplete()
	switch {
	case !j.Behind():
		if j.told {
			j.log.Info("all locks that are held are kept again", "event", "state-mended")
		}
		j.told = false
		j.retry.Stop()
	case err != nil:
		if !j.told {
			j.log.Error("cannot keep all locks that are held: a restart of the daemon will end those that are not kept", "event", "state-failed", "error", err)
		}
		j.told = true
		j.retry.Set(j.loop.Clock.Now() + writeAgain)
	}
}

// writeDue tries again to write what could not be written: some of it, and if that works the others in the next turns.
func (j *Journal) writeDue() {
	some := min(len(j.found), WriteAtOnce)
	subjects := make([]record.Subject, 0, WriteAtOnce)
	for i := range j.found[:some] {
		subjects = append(subjects, j.found[i].Subject)
	}
	if j.found = j.found[some:]; len(j.found) == 0 {
		j.found = nil
	}
	for is := range j.unwritten {
		if len(subjects) == WriteAtOnce {
			break
		}
		subjects = append(subjects, is)
	}
	for _, is := range subjects {
		j.rows = append(j.rows, j.recordOf(is))
	}
	if j.apply(subjects); j.Behind() && !j.retry.IsSet() {
		j.retry.Set(j.loop.Clock.Now())
	}
}

// writeAll has all that there is written, and removes what else was found.
func (j *Journal) writeAll(found []record.Record) {
	if j.store == nil {
		return
	}
	var subjects []record.Subject
	has := map[record.Subject]bool{}
	for is := range j.all() {
		subjects = append(subjects, is.Subject)
		has[is.Subject] = true
		j.rows = append(j.rows, is)
	}
	for _, was := range found {
		if !has[was.Subject] {
			subjects = append(subjects, was.Subject)
			j.rows = append(j.rows, record.Record{Subject: was.Subject})
		}
	}
	j.apply(subjects)
}

// Verify compares what is in the store with what is, and panics if they differ. It costs much.
func (j *Journal) Verify() {
	if j.store == nil || j.store.Room() != nil || j.Behind() {
		return
	}
	records, err := j.store.Read()
	if err != nil {
		panic(fmt.Sprintf("the journal cannot be read: %v", err))
	}
	if _, bad := record.Read(records); bad != nil {
		panic(fmt.Sprintf("the journal: %v", errors.Join(bad...)))
	}
	if record.SaysComplete(records) != j.complete {
		panic(fmt.Sprintf("the journal does not say whether it is complete, which it is: %v", j.complete))
	}
	records = slices.DeleteFunc(records, func(r record.Record) bool { return r.Kind == record.KindComplete })
	if got, want := texts(slices.Values(records)), texts(j.all()); !slices.Equal(got, want) {
		panic(fmt.Sprintf("the journal has\n%s\nand not\n%s", strings.Join(got, "\n"), strings.Join(want, "\n")))
	}
}

// texts are records as text, in order.
func texts(records iter.Seq[record.Record]) []string {
	var all []string
	for is := range records {
		all = append(all, string(is.Append(nil)))
	}
	slices.Sort(all)
	return all
}

// VerifyTimers names the timers of the journal.
func (j *Journal) VerifyTimers(check func(what string, t *loop.Timer, want bool)) {
	check("records of what outlives the daemon", &j.retry, j.Behind())
}
