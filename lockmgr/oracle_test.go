package lockmgr_test

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ipcd/ipcd/lockmgr"
)

// A verdict is whether a request would wait for ever.
type verdict int

const (
	no      verdict = iota
	unclear         // it would, but others do so already without its doing: that it closes a cycle too is not looked for
	certain
)

// oracle tries all orders in which those who wait for ever may be granted what they wait for, finish, and give everything
// back. Who does not wait finishes anyway. It would wait for ever if it is not granted in any of them.
func (m *model) oracle(r lockmgr.Request) verdict {
	var waits []lockmgr.RequestID
	for _, c := range m.claims {
		if c.Token == 0 && c.Wait < 0 && !slices.Contains(waits, c.ID) {
			waits = append(waits, c.ID)
		}
	}
	switch {
	case m.someOrder(waits, r, true, map[string]bool{}):
		return no
	case m.someOrder(waits, r, false, map[string]bool{}):
		return certain
	}
	return unclear
}

// someOrder reports whether the request is granted in some order in which these go on. keeps says whether it keeps what its
// owner holds.
func (m *model) someOrder(waits []lockmgr.RequestID, r lockmgr.Request, keeps bool, seen map[string]bool) bool {
	key := ""
	for _, id := range waits {
		key += string(rune(id))
	}
	if seen[key] {
		return false
	}
	seen[key] = true
	granted := true
	for _, name := range namesOf(r) {
		if entry, _ := m.entry(r, name); entry == nil {
			units := unitsOf(r, m.limitFor(r, name))
			granted = granted && m.mayGo(waits, name, m.lastID+1, r.Mode, units, r, keeps)
		}
	}
	if granted {
		return true
	}
	for i, id := range waits {
		goes := true
		for _, c := range m.request(id) {
			goes = goes && (c.Token != 0 || m.mayGo(waits, c.Name, id, c.Mode, c.Units, r, keeps))
		}
		if goes && m.someOrder(slices.Delete(slices.Clone(waits), i, i+1), r, keeps, seen) {
			return true
		}
	}
	return false
}

// mayGo reports whether a claim would be granted, if of the others only these still wait.
func (m *model) mayGo(waits []lockmgr.RequestID, name string, id lockmgr.RequestID, mode lockmgr.Mode, units int,
	r lockmgr.Request, keeps bool,
) bool {
	holders, waiters := m.on(name)
	for _, c := range waiters {
		if c.ID < id && slices.Contains(waits, c.ID) {
			return false
		}
	}
	for i, h := range holders {
		if i > 0 && holders[i-1].Token == h.Token || !m.kept(waits, h, r, keeps) {
			continue
		}
		if h.Mode != mode {
			return false
		}
		units += h.Units
	}
	return units <= m.limitFor(r, name)
}

// kept reports whether a hold does not end: it has no lease, and somebody who still waits holds it, or acts for it.
func (m *model) kept(waits []lockmgr.RequestID, h *modelClaim, r lockmgr.Request, keeps bool) bool {
	members, _ := m.members(h.Name, h.Token)
	waiting := func(owner lockmgr.Owner, shown []lockmgr.Shown, ancestors []lockmgr.Process) bool {
		for _, c := range members {
			its := c.Owner == owner || slices.Contains(ancestors, c.Owner.Process)
			if its && c.Expires == 0 && (c.Bind == lockmgr.ToConnection || c.Bind == lockmgr.ToProcess) {
				return true
			}
		}
		lasts := slices.ContainsFunc(members, func(c *modelClaim) bool { return c.Expires == 0 })
		return lasts && slices.Contains(shown, lockmgr.Shown{Name: h.Name, Token: h.Token})
	}
	for _, c := range m.claims {
		if c.Token == 0 && slices.Contains(waits, c.ID) && waiting(c.Owner, c.Shown, nil) {
			return true
		}
	}
	if !keeps {
		return false
	}
	ancestors := r.Ancestors
	if entry, _ := m.entry(r, h.Name); !slices.Contains(namesOf(r), h.Name) || entry != nil {
		ancestors = nil // only what it waits for itself
	}
	return waiting(r.Owner, r.Shown, ancestors)
}

// checkCycle reports whether the steps of a refusal are true: each waits for a claim that is there, before it, and the next
// is one who keeps that from going on; the last is kept by the request.
func (m *model) checkCycle(r lockmgr.Request, cycle []lockmgr.Step) error {
	if len(cycle) == 0 {
		return errors.New("a cycle without steps")
	}
	if !slices.Contains(namesOf(r), cycle[0].Waits.Name) || cycle[0].Waits.Owner != r.Owner {
		return fmt.Errorf("the cycle does not begin with the request: %+v", cycle[0])
	}
	for i, s := range cycle {
		on := m.find(s.For)
		switch {
		case on == nil || s.For.Name != s.Waits.Name:
			return fmt.Errorf("step %d waits for nothing on its lock: %+v", i, s)
		case i > 0 && (m.find(s.Waits) == nil || s.Waits.Token != 0 || s.Waits.Wait >= 0):
			return fmt.Errorf("step %d does not wait for ever: %+v", i, s)
		case s.For.Token == 0 && i > 0 && s.For.ID >= s.Waits.ID:
			return fmt.Errorf("step %d waits for one behind it: %+v", i, s)
		}
		next, keeps := r, true
		waits := []lockmgr.RequestID{}
		if i+1 < len(cycle) {
			next, keeps = lockmgr.Request{}, false
			waits = []lockmgr.RequestID{cycle[i+1].Waits.ID}
		}
		own := m.ownClaim(r, s.For.Name)
		switch {
		case s.For.Token == 0 && len(waits) > 0 && s.For.ID == waits[0]:
		case s.For.Token != 0 && m.kept(waits, on, next, keeps):
		case len(cycle) == 1 && own == on: // it would wait for its own claim
		default:
			return fmt.Errorf("step %d is not kept by the next one: %+v", i, s)
		}
	}
	return nil
}

// find is the claim of the model that another is a copy of.
func (m *model) find(is lockmgr.Claim) *modelClaim {
	for _, c := range m.claims {
		if c.Name == is.Name && c.Owner == is.Owner && c.ID == is.ID && c.Token == is.Token {
			return c
		}
	}
	return nil
}
