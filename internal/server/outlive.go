package server

import (
	"iter"
	"slices"

	"github.com/ipcd/ipcd/internal/record"
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
func (s *Server) markRecord() record.Record {
	if s.setup.RaiseMark == nil {
		return record.Record{Subject: record.Subject{Kind: record.KindMark}}
	}
	_, mark := s.locks.Tokens()
	return record.Of(&record.Mark{Token: mark})
}

// allRecords say all that is true now.
func (s *Server) allRecords() iter.Seq[record.Record] {
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
		s.retainedRecords(yield)
	}
}
