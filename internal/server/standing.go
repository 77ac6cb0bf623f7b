package server

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/lockmgr"
)

// maxStanding is how many holds and waits for such one user may have: the file is written as a whole for each change.
const maxStanding = 1024

// standing are the holds of operators.
type standing struct {
	durable
	holds map[standingKey]record.OperatorHold
}

// A standingKey names a hold: a user has at most one of a lock.
type standingKey struct {
	name string
	uid  uint32
}

// keepStanding has what happened to an operator's hold written down.
func (s *Server) keepStanding(e *lockmgr.Effect) {
	key := standingKey{e.Name, e.UID}
	switch e.Kind {
	case lockmgr.Acquired, lockmgr.Downgraded, lockmgr.Renewed:
		s.standing.holds[key] = s.asHold(&e.Claim, e.Limit)
	case lockmgr.Ended, lockmgr.Left:
		delete(s.standing.holds, key)
	default:
		return
	}
	s.change(&s.standing.durable, nil)
}

func (s *Server) asHold(c *lockmgr.Claim, limit int) record.OperatorHold {
	return record.NewOperatorHold(c, limit, lockmgr.Time{Boot: s.now(), Real: s.realTime().UnixMicro()})
}

// answerStanding tells that a lock, or several, are held by an operator, when that is on disk. If it does not get there the
// locks are given back.
func (s *Server) answerStanding(w wait, e *lockmgr.Effect) {
	got := w.got
	if got == nil {
		got = []lockmgr.Effect{*e}
	}
	s.giveSaved(w.answer, &s.standing.durable, func(err error) outcome {
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

// startHolds makes the lock engine with the holds that were kept.
func (s *Server) startHolds(mark lockmgr.Token) {
	s.standing = standing{durable{what: "the holds of operators"}, map[standingKey]record.OperatorHold{}}
	if save := s.setup.SaveHolds; save != nil {
		s.standing.write = func(done func(error)) {
			save(slices.SortedFunc(maps.Values(s.standing.holds), func(a, b record.OperatorHold) int { return cmp.Compare(a.Token, b.Token) }), done)
		}
	}
	defer s.endTurn() // this was none
	s.restoreHolds(s.lockTime(), mark)
	for v := range s.locks.All() {
		s.takeUp(&v)
		for i := range v.Holders {
			c := &v.Holders[i]
			s.admitClaim(c)
			s.held++
			if c.Bind == lockmgr.ToNobody {
				s.standing.holds[standingKey{c.Name, c.UID}] = s.asHold(c, v.Limit)
			}
		}
	}
	s.recorder.keeper = s.setup.Keep
	s.keepAll(s.setup.Kept)
}

// restoreHolds prefers what was kept since the machine started: the file of operators' holds may lag behind it.
func (s *Server) restoreHolds(now lockmgr.Time, mark lockmgr.Token) {
	records := s.setup.Kept
	if records == nil {
		records = record.OperatorHolds(s.setup.Holds, now)
	} else {
		s.change(&s.standing.durable, nil)
	}
	state, bad := record.Read(records)
	for _, err := range bad {
		s.lostHold(err)
	}
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

// lostHold tells that a hold which was kept cannot be restored.
func (s *Server) lostHold(err error) {
	s.holdsLost++
	s.log.Error("a lock that was held is free: its record cannot be used", "event", "state-failed", "error", err)
}
