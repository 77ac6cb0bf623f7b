package locks

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/lockmgr"
)

// MaxOperatorHolds is how many holds and waits for such one user may have: the file is written as a whole for each change.
const MaxOperatorHolds = 1024

// operators are the holds of operators.
type operators struct {
	savedFile
	holds map[operatorKey]record.OperatorHold
}

// A operatorKey names a hold: a user has at most one of a lock.
type operatorKey struct {
	name string
	uid  uint32
}

// noteOperator has what happened to an operator's hold written down.
func (s *Service) noteOperator(e *lockmgr.Effect) {
	key := operatorKey{e.Name, e.UID}
	switch e.Kind {
	case lockmgr.Acquired, lockmgr.Downgraded, lockmgr.Renewed:
		s.operators.holds[key] = s.asHold(&e.Claim, e.Limit)
	case lockmgr.Ended, lockmgr.Left:
		delete(s.operators.holds, key)
	default:
		return
	}
	s.change(&s.operators.savedFile, nil)
}

func (s *Service) asHold(c *lockmgr.Claim, limit int) record.OperatorHold {
	return record.NewOperatorHold(c, limit, lockmgr.Time{Boot: s.set.Now(), Real: s.set.RealMicro()})
}

// answerOperator tells that a lock, or several, are held by an operator, when that is on disk. If it does not get there the
// locks are given back.
func (s *Service) answerOperator(w wait, e *lockmgr.Effect) {
	got := w.got
	if got == nil {
		got = []lockmgr.Effect{*e}
	}
	s.giveSaved(w.Answer, &s.operators.savedFile, func(err error) session.Outcome {
		if err == nil {
			return grants(got)
		}
		s.step(func(now lockmgr.Time) {
			for i := range got {
				_ = s.locks.Release(now, got[i].Name, got[i].Token) // or it ended meanwhile
			}
		})
		return takenBack(err)
	})
}

// startHolds makes the lock engine with the holds that were written down.
func (s *Service) startHolds(mark lockmgr.Token, state *record.State) {
	s.operators = operators{savedFile{what: "the holds of operators"}, map[operatorKey]record.OperatorHold{}}
	if save := s.setup.SaveHolds; save != nil {
		s.operators.write = func(done func(error)) {
			save(slices.SortedFunc(maps.Values(s.operators.holds), func(a, b record.OperatorHold) int { return cmp.Compare(a.Token, b.Token) }), done)
		}
	}
	if s.setup.FromJournal { // the file may lag behind the journal
		s.change(&s.operators.savedFile, nil)
	}
	s.restoreHolds(mark, state)
	for v := range s.locks.All() {
		s.takeUp(&v)
		for i := range v.Holders {
			c := &v.Holders[i]
			s.admitClaim(c)
			s.held++
			if c.Bind == lockmgr.ToNobody {
				s.operators.holds[operatorKey{c.Name, c.UID}] = s.asHold(c, v.Limit)
			}
		}
	}
}

func (s *Service) restoreHolds(mark lockmgr.Token, state *record.State) {
	last := lockmgr.Token(s.setup.Token)
	s.locks = lockmgr.Restore(state.Snapshot(), last, mark)
	if err := s.locks.Check(); err != nil {
		for _, h := range state.Holds {
			s.lostHold(fmt.Errorf("hold of %q by %v: %w", h.Claim.Name, h.Claim.Owner, err))
		}
		s.locks, state.Holds = lockmgr.New(last, mark), nil
	}
	s.restoreRequests(state.Holds)
}

// lostHold tells that a hold which was written down cannot be restored.
func (s *Service) lostHold(err error) {
	s.holdsLost++
	s.set.Log.Error("a lock that was held is free: its record cannot be used", "event", "state-failed", "error", err)
}
