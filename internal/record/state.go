package record

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/ipcd/ipcd/lockmgr"
)

// A State is what records say together.
type State struct {
	Holds []*Hold                 // by lock, the latest first
	ends  map[string]*lockmgr.End // of locks
	mark  lockmgr.Token

	Retained []*Retained
	Wills    []*Will
}

// Read finds out what records say together. Those that cannot be true are left out, and one error for each says why: one that is
// damaged must not take the others along.
func Read(records []Record) (State, []error) {
	s := State{ends: map[string]*lockmgr.End{}}
	var bad []error
	for _, r := range records {
		if r.Over() {
			continue
		}
		if err := r.Is.check(); err != nil {
			err = fmt.Errorf("record of %q: %w", r.Lock+r.Topic, err)
			switch r.Kind {
			case KindRetained:
				err = &RetainedError{err}
			case KindWill:
				err = &WillError{err}
			}
			bad = append(bad, err)
			continue
		}
		r.Is.join(&s)
	}
	slices.SortFunc(s.Holds, func(a, b *Hold) int {
		return cmp.Or(cmp.Compare(a.Claim.Name, b.Claim.Name), cmp.Compare(b.Claim.Token, a.Claim.Token), cmp.Compare(a.Claim.ID, b.Claim.ID))
	})
	// Of holds that exclude each other the latest is true: it was not granted before the others had ended.
	var of holdsOfLock
	tokens := map[lockmgr.Token]string{} // where they are
	s.Holds = slices.DeleteFunc(s.Holds, func(h *Hold) bool {
		c := &h.Claim
		if of.latest == nil || of.latest.Claim.Name != c.Name {
			of = holdsOfLock{latest: h, owners: map[lockmgr.Owner]bool{}}
		}
		err := of.fits(h)
		if lock, had := tokens[c.Token]; err == nil && had && lock != c.Name {
			err = fmt.Errorf("it has token %d, and so has a hold of %q", c.Token, lock)
		}
		if err != nil {
			bad = append(bad, fmt.Errorf("hold of %q by %v: %w", c.Name, c.Owner, err))
			return true
		}
		of.add(h)
		tokens[c.Token] = c.Name
		return false
	})
	return s, bad
}

// holdsOfLock are those of one lock that are true, from the latest to the one that was looked at last.
type holdsOfLock struct {
	latest, last *Hold
	used         int // units
	owners       map[lockmgr.Owner]bool
}

// shares reports whether a hold is one with the last: who joins a hold has its token.
func (of *holdsOfLock) shares(h *Hold) bool {
	return of.last != nil && of.last.Claim.Token == h.Claim.Token
}

// fits checks a hold against the later ones of its lock.
func (of *holdsOfLock) fits(h *Hold) error {
	is, latest := &h.Claim, of.latest
	shares := of.shares(h)
	switch {
	case of.owners[is.Owner]:
		return fmt.Errorf("it has token %d, and its owner holds the lock with another", is.Token)
	case h.Limit != latest.Limit:
		return fmt.Errorf("the lock has a limit of %d, and %d for who got it later", h.Limit, latest.Limit)
	case shares && is.Bind == lockmgr.ToNobody && of.last.Claim.Bind == lockmgr.ToNobody:
		return fmt.Errorf("it has token %d, and so has another hold of an operator", is.Token)
	case is.Mode != latest.Claim.Mode || !shares && is.Mode == lockmgr.Exclusive && of.used+is.Units > h.Limit:
		return fmt.Errorf("it has token %d, and excludes the one with token %d, which was granted later", is.Token, latest.Claim.Token)
	}
	return nil
}

func (of *holdsOfLock) add(h *Hold) {
	if !of.shares(h) {
		of.used += h.Claim.Units
	}
	of.last, of.owners[h.Claim.Owner] = h, true
}

// Snapshot is the state as the engine takes it.
func (s *State) Snapshot() lockmgr.Snapshot {
	locks := map[string]*lockmgr.View{}
	view := func(name string) *lockmgr.View {
		if locks[name] == nil {
			end := s.ends[name]
			locks[name] = &lockmgr.View{Name: name, Previous: end, Abandoned: end}
		}
		return locks[name]
	}
	all := lockmgr.Snapshot{Last: s.mark}
	for _, h := range s.Holds {
		all.LastID = max(all.LastID, h.Claim.ID)
		all.Last = max(all.Last, h.Claim.Token)
		v := view(h.Claim.Name)
		v.Limit = h.Limit
		v.Holders = append(v.Holders, h.Claim)
	}
	for name := range s.ends {
		view(name)
	}
	for _, name := range slices.Sorted(maps.Keys(locks)) {
		v := locks[name]
		slices.SortStableFunc(v.Holders, func(a, b lockmgr.Claim) int { return cmp.Compare(a.Token, b.Token) })
		all.Locks = append(all.Locks, *v)
	}
	return all
}
