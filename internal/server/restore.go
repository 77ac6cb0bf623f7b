package server

import (
	"errors"

	"github.com/ipcd/ipcd/internal/locks"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/lockmgr"
)

// restore begins the services with what a daemon before this one has written down, and has what is true now be written. It prefers the
// journal, which is of this boot, to the file of operators' holds, which counts for what a journal lacks that is not complete.
func (s *Server) restore() {
	defer s.set.EndTurn() // this was none
	now := lockmgr.Time{Boot: s.set.Now(), Real: s.set.RealMicro()}
	state, bad := record.Read(record.WithOperatorHolds(s.setup.Records, s.setup.Holds, now))
	var lost []error
	for _, err := range bad {
		_, retained := errors.AsType[*record.RetainedError](err)
		_, will := errors.AsType[*record.WillError](err)
		switch {
		case retained:
			s.set.Log.Error("a retained value is lost: its record cannot be used", "event", "state-failed", "error", err)
		case will:
			s.set.Log.Error("a will is lost: its record cannot be used", "event", "state-failed", "error", err)
		default:
			lost = append(lost, err)
		}
	}
	s.messages.Restore(state.Retained)
	s.wills.Restore(state.Wills)
	setup := s.setup.Setup
	setup.FromJournal = s.setup.Records != nil
	s.locks = locks.New(s.set, s.journal, s.watch, s.messages, setup, &state, lost)
	s.messages.SetHolds(s.locks.Holds)
	s.journal.Register(s.locks, record.KindMark, record.KindHold, record.KindEnd)
	s.journal.Register(s.messages, record.KindRetained)
	s.journal.Register(s.wills, record.KindWill)
	s.journal.Open(s.setup.Journal, s.setup.Records)
}
