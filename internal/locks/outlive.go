package locks

import (
	"iter"
	"slices"

	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// outlives reports whether a hold outlives the daemon.
func outlives(c *lockmgr.Claim) bool { return c.Bind != lockmgr.ToConnection }

// untold is the abandoned end that the next holder is to be told of if the daemon ends now: also if a holder was told who will
// be cut off by that, and nobody whose hold goes on shares it.
func untold(abandoned *lockmgr.End, holders iter.Seq[lockmgr.Claim]) *lockmgr.End {
	if abandoned != nil {
		return abandoned
	}
	var told []lockmgr.Claim // one of each hold
	for c := range holders {
		if !outlives(&c) && c.Told != nil && (len(told) == 0 || told[len(told)-1].Token != c.Token) {
			told = append(told, c)
		}
	}
	if told == nil {
		return nil
	}
	for c := range holders {
		if outlives(&c) {
			told = slices.DeleteFunc(told, func(other lockmgr.Claim) bool { return other.Token == c.Token })
		}
	}
	if len(told) == 0 {
		return nil
	}
	return told[0].Told
}

// markRecord is the record of the mark of tokens, if there is one.
func (s *Service) markRecord() record.Record {
	if s.setup.RaiseMark == nil {
		return record.Record{Subject: record.Subject{Kind: record.KindMark}}
	}
	_, mark := s.locks.Tokens()
	return record.Of(&record.Mark{Token: mark})
}

// Records say all that is true of the locks now.
func (s *Service) Records() iter.Seq[record.Record] {
	return func(yield func(record.Record) bool) {
		if mark := s.markRecord(); !mark.Over() && !yield(mark) {
			return
		}
		for v := range s.locks.All() {
			for i := range v.Holders {
				if c := &v.Holders[i]; outlives(c) && !yield(record.Of(record.NewHold(*c, v.Limit, s.commandOf(c)))) {
					return
				}
			}
			if end := untold(v.Abandoned, slices.Values(v.Holders)); end != nil && !yield(record.Of(&record.End{Lock: v.Name, End: end})) {
				return
			}
		}
	}
}

// RecordOf is what is true of a subject now: see journal.Source.
func (s *Service) RecordOf(is record.Subject) record.Record {
	switch is.Kind {
	case record.KindMark:
		return s.markRecord()
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

func holdOf(lock string, owner lockmgr.Owner) record.Subject {
	return record.Subject{Kind: record.KindHold, Lock: lock, Owner: owner}
}

func endOf(lock string) record.Subject { return record.Subject{Kind: record.KindEnd, Lock: lock} }

// mayOutlive checks that a hold which is to outlive the daemon can be written down. If it cannot there must be none: it would be
// gone with the daemon, and the lock be another's, while the first holder goes on.
func (s *Service) mayOutlive(c *session.Call, bind lockmgr.Binding) bool {
	if bind == lockmgr.ToConnection {
		return true
	}
	err := s.journal.Room()
	if err != nil {
		c.Fail(wire.CodeIO, "the lock would be lost with the daemon, as it cannot be written down: %v", err)
	}
	return err == nil
}

// record writes down what a step has changed, all of it or nothing: see step.
func (s *Service) record(effects []lockmgr.Effect) {
	if !s.journal.IsKept() {
		return
	}
	for i := range effects {
		s.changes(&effects[i])
	}
	s.journal.Record()
}

// changes notes whose records an effect changes.
func (s *Service) changes(e *lockmgr.Effect) {
	if outlives(&e.Claim) {
		switch e.Kind {
		case lockmgr.Acquired:
			s.journal.Changed(holdOf(e.Name, e.Owner))
		case lockmgr.Joined, lockmgr.Reentered, lockmgr.Renewed, lockmgr.Left, lockmgr.Ended:
			s.journal.Changed(holdOf(e.Name, e.Owner))
		}
	}
	switch e.Kind {
	case lockmgr.Acquired:
		if e.Abandoned != nil {
			s.journal.Changed(endOf(e.Name))
		}
	case lockmgr.Joined, lockmgr.Left, lockmgr.Ended: // of who was told there may be one now who goes on, or none any more
		if e.Told != nil || e.End != nil && e.End.Abandoned() {
			s.journal.Changed(endOf(e.Name))
		}
	case lockmgr.Downgraded, lockmgr.Told: // which are told of one owner, and true of all who share the hold
		for c := range s.locks.Holders(e.Name) {
			if c.Token == e.Token && outlives(&c) {
				s.journal.Changed(holdOf(e.Name, c.Owner))
			}
		}
		s.journal.Changed(endOf(e.Name))
	case lockmgr.Learned: // which changes the end that the next holder is told of, or the present ones may pass on
		for c := range s.locks.Holders(e.Name) {
			if outlives(&c) {
				s.journal.Changed(holdOf(e.Name, c.Owner))
			}
		}
		s.journal.Changed(endOf(e.Name))
	case lockmgr.Forgotten:
		s.journal.Changed(endOf(e.Name))
	}
}
