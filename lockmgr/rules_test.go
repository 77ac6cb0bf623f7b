package lockmgr_test

import (
	"errors"
	"slices"

	"github.com/ipcd/ipcd/lockmgr"
)

// fair looks at what came of one step, without the model: who was granted stood before all who still wait, nobody at
// the head waits for nothing, and tokens rise.
func fair(m *lockmgr.Manager, lastBefore lockmgr.Token, effects []lockmgr.Effect) error {
	last, mark := m.Tokens()
	for _, e := range effects {
		if e.Kind != lockmgr.Acquired {
			continue
		}
		if e.Token <= lastBefore || e.Token > mark {
			return errors.New("a token did not rise, or rose above the mark")
		}
		lastBefore = e.Token
		if w := m.View(e.Name).Waiters; len(w) > 0 && w[0].ID < e.ID {
			return errors.New("a request was granted before one that waited for longer")
		}
	}
	if last != max(last, lastBefore) {
		return errors.New("the last token fell")
	}
	views := map[string]lockmgr.View{}
	for v := range m.All() {
		views[v.Name] = v
		if err := compatible(v); err != nil {
			return err
		}
	}
	for _, v := range views {
		if len(v.Waiters) > 0 && headGoes(views, v.Waiters[0], int(mark)-int(last)) {
			return errors.New("a request at the head waits for nothing")
		}
	}
	return nil
}

// compatible reports whether the holds of a lock are: all shared, or all with units of which there are enough.
func compatible(v lockmgr.View) error {
	used := map[lockmgr.Token]int{}
	sum := 0
	for _, c := range v.Holders {
		if c.Mode != v.Holders[0].Mode {
			return errors.New("a lock is held by shared and by exclusive holders")
		}
		if _, ok := used[c.Token]; !ok {
			sum += c.Units
		}
		used[c.Token] = c.Units
	}
	if sum > v.Limit || sum != v.Used {
		return errors.New("more units are held than there are, or than are counted")
	}
	return nil
}

// headGoes reports whether the request of a claim at the head of a queue could be granted, if there are so many tokens.
func headGoes(views map[string]lockmgr.View, c lockmgr.Claim, tokens int) bool {
	for _, name := range namesOf(c.Request) {
		v := views[name]
		if slices.ContainsFunc(v.Holders, func(h lockmgr.Claim) bool { return h.Owner == c.Owner }) {
			continue // it was entered at once
		}
		tokens--
		if v.Waiters[0].ID != c.ID {
			return false
		}
		for _, h := range v.Holders {
			if h.Mode != c.Mode {
				return false
			}
		}
		if c.Mode == lockmgr.Exclusive && len(v.Holders) > 0 && v.Used+v.Waiters[0].Units > v.Limit {
			return false
		}
	}
	return tokens >= 0
}
