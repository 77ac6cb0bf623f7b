package server

import (
	"slices"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// A Journal is where what outlives the daemon is written: see state.Journal. It does not block.
type Journal interface {
	// Apply puts records in the place of those with the same keys, all of them or none, however the daemon ends. What is over
	// is removed even if there is an error, which says that there was no room for the others.
	Apply(records ...record.Record) error
	// Room says why nothing more should be asked of it: nil if there is room for what is to come.
	Room() error
	Read() ([]record.Record, error) // all that there is, for Setup.Verify
}

// recorder is the loop's side of a Journal.
type recorder struct {
	journal Journal // nil: nothing outlives the daemon

	// What could not be written, or was found in a journal that was opened late, and when it is tried again.
	unwritten map[record.Subject]struct{}
	found     []record.Record
	retry     loop.Timer
	told      bool // that not all is written

	// Of the step that is being recorded.
	changed []record.Subject
	seen    map[record.Subject]struct{} // the same; nil while there are few
	rows    []record.Record
}

// fewChanged is up to how many subjects are looked through rather than indexed.
const fewChanged = 16

func holdOf(lock string, owner lockmgr.Owner) record.Subject {
	return record.Subject{Kind: record.KindHold, Lock: lock, Owner: owner}
}

func endOf(lock string) record.Subject { return record.Subject{Kind: record.KindEnd, Lock: lock} }

const (
	// writeAgain is how long after a failure it is tried again, and writeAtOnce how many records in one turn.
	writeAgain  = 100 * time.Millisecond
	writeAtOnce = 256
)

// SetJournal has what outlives the daemon written from now on, in the place of a Journal that took nothing, so that all there is
// is unwritten. Of what is found there only that stays which is true.
func (s *Server) SetJournal(j Journal, found []record.Record) {
	s.Post(func() {
		r := &s.recorder
		r.journal, r.found = j, found
		if r.behind() {
			r.retry.Set(s.now())
		}
	})
}

// behind reports whether not all in the journal is as it should be.
func (r *recorder) behind() bool { return len(r.unwritten)+len(r.found) > 0 }

// mayOutlive checks that a hold which is to outlive the daemon can be written down. If it cannot there must be none: it would be
// gone with the daemon, and the lock be another's, while the first holder goes on.
func (c *call) mayOutlive(s *Server, bind lockmgr.Binding) bool {
	if s.recorder.journal == nil || bind == lockmgr.ToConnection {
		return true
	}
	err := s.recorder.journal.Room()
	if err != nil {
		c.fail(wire.CodeIO, "the lock would be lost with the daemon, as it cannot be written down: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return err == nil
}

// record writes down what a step has changed, all of it or nothing: see step.
func (s *Server) record(effects []lockmgr.Effect) {
	r := &s.recorder
	if r.journal == nil {
		return
	}
	for i := range effects {
		s.changes(&effects[i])
	}
	if len(r.changed) == 0 {
		return
	}
	for _, is := range r.changed {
		r.rows = append(r.rows, s.recordOf(is))
	}
	s.apply(r.changed)
	clear(r.changed)
	r.changed, r.seen = r.changed[:0], nil
}

// changes notes whose records an effect changes.
func (s *Server) changes(e *lockmgr.Effect) {
	r := &s.recorder
	if outlives(&e.Claim) {
		switch e.Kind {
		case lockmgr.Acquired:
			r.change(holdOf(e.Name, e.Owner))
		case lockmgr.Joined, lockmgr.Reentered, lockmgr.Renewed, lockmgr.Left, lockmgr.Ended:
			r.change(holdOf(e.Name, e.Owner))
		}
	}
	switch e.Kind {
	case lockmgr.Acquired:
		if e.Abandoned != nil {
			r.change(endOf(e.Name))
		}
	case lockmgr.Joined, lockmgr.Left, lockmgr.Ended: // of who was told there may be one now who goes on, or none any more
		if e.Told != nil || e.End != nil && e.End.Abandoned() {
			r.change(endOf(e.Name))
		}
	case lockmgr.Downgraded, lockmgr.Told: // which are told of one owner, and true of all who share the hold
		for c := range s.locks.Holders(e.Name) {
			if c.Token == e.Token && outlives(&c) {
				r.change(holdOf(e.Name, c.Owner))
			}
		}
		r.change(endOf(e.Name))
	case lockmgr.Learned: // which changes the end that the next holder is told of, or the present ones may pass on
		for c := range s.locks.Holders(e.Name) {
			if outlives(&c) {
				r.change(holdOf(e.Name, c.Owner))
			}
		}
		r.change(endOf(e.Name))
	case lockmgr.Forgotten:
		r.change(endOf(e.Name))
	}
}

// change notes that a record is to be written.
func (r *recorder) change(is record.Subject) {
	if r.seen == nil && len(r.changed) == fewChanged {
		r.seen = map[record.Subject]struct{}{}
		for _, is := range r.changed {
			r.seen[is] = struct{}{}
		}
	}
	if r.seen != nil {
		if _, seen := r.seen[is]; seen {
			return
		}
		r.seen[is] = struct{}{}
	} else if slices.Contains(r.changed, is) {
		return
	}
	r.changed = append(r.changed, is)
}

// recordOf is what is true of a subject now.
func (s *Server) recordOf(is record.Subject) record.Record {
	switch is.Kind {
	case record.KindMark:
		return s.markRecord()
	case record.KindRetained:
		if k, ok := s.retained.topics.Get(is.Topic); ok {
			return record.Of(&k.Retained)
		}
	case record.KindEnd:
		if end := untold(s.locks.Abandoned(is.Lock), s.locks.Holders(is.Lock)); end != nil {
			return record.Record{Subject: is, Is: &record.End{Lock: is.Lock, End: end}}
		}
	case record.KindHold:
		if c, ok := s.locks.Claim(is.Lock, is.Owner); ok && c.Token != 0 {
			return record.Record{Subject: is, Is: record.NewHold(c, s.locks.Limit(is.Lock), s.commandOf(&c))}
		}
	}
	return record.Record{Subject: is}
}

// apply has the rows written, which are about these subjects.
func (s *Server) apply(subjects []record.Subject) {
	r := &s.recorder
	err := r.journal.Apply(r.rows...)
	for i, is := range subjects {
		if err != nil && !r.rows[i].Over() {
			if r.unwritten == nil {
				r.unwritten = map[record.Subject]struct{}{}
			}
			r.unwritten[is] = struct{}{}
		} else {
			delete(r.unwritten, is)
		}
	}
	clear(r.rows)
	r.rows = r.rows[:0]
	switch {
	case !r.behind():
		if r.told {
			s.log.Info("all locks that are held are kept again", "event", "state-mended")
		}
		r.told = false
		r.retry.Stop()
	case err != nil:
		if !r.told {
			s.log.Error("cannot keep all locks that are held: a restart of the daemon will end those that are not kept", "event", "state-failed", "error", err)
		}
		r.told = true
		r.retry.Set(s.now() + writeAgain)
	}
}

// rewrite has what is true of a subject now be written, which is no lock's.
func (s *Server) rewrite(is record.Subject) {
	r := &s.recorder
	if r.journal == nil {
		return
	}
	r.rows = append(r.rows, s.recordOf(is))
	s.apply([]record.Subject{is})
}

// writeDue tries again to write what could not be written: some of it, and if that works the others in the next turns.
func (s *Server) writeDue() {
	r := &s.recorder
	some := min(len(r.found), writeAtOnce)
	subjects := make([]record.Subject, 0, writeAtOnce)
	for i := range r.found[:some] {
		subjects = append(subjects, r.found[i].Subject)
	}
	if r.found = r.found[some:]; len(r.found) == 0 {
		r.found = nil
	}
	for is := range r.unwritten {
		if len(subjects) == writeAtOnce {
			break
		}
		subjects = append(subjects, is)
	}
	for _, is := range subjects {
		r.rows = append(r.rows, s.recordOf(is))
	}
	if s.apply(subjects); r.behind() && !r.retry.IsSet() {
		r.retry.Set(s.now())
	}
}

// writeAll has all that there is written, and removes what else was found.
func (s *Server) writeAll(found []record.Record) {
	r := &s.recorder
	if r.journal == nil {
		return
	}
	var subjects []record.Subject
	has := map[record.Subject]bool{}
	for is := range s.allRecords() {
		subjects = append(subjects, is.Subject)
		has[is.Subject] = true
		r.rows = append(r.rows, is)
	}
	for _, was := range found {
		if !has[was.Subject] {
			subjects = append(subjects, was.Subject)
			r.rows = append(r.rows, record.Record{Subject: was.Subject})
		}
	}
	s.apply(subjects)
}
