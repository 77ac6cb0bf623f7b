package lockmgr_test

import (
	"errors"
	"slices"
	"time"

	"github.com/ipcd/ipcd/lockmgr"
)

// A model is the rules once more, as simply as they can be put: one slice of claims that is searched for everything.
// It shares types with the Manager, and no code. It never forgets a free lock.
type model struct {
	claims              []lockmgr.Claim // in the order of asking
	previous, abandoned map[string]*lockmgr.End
	starving            []string // locks whose next claim lacks but a token, in the order in which they came to that
	last, mark          lockmgr.Token
	lastID              lockmgr.RequestID
	effects             []lockmgr.Effect
}

func newModel(mark lockmgr.Token) *model {
	return &model{mark: mark, previous: map[string]*lockmgr.End{}, abandoned: map[string]*lockmgr.End{}}
}

func (m *model) view(name string) lockmgr.View {
	v := lockmgr.View{Name: name, Previous: m.previous[name], Abandoned: m.abandoned[name]}
	for _, c := range m.claims {
		switch {
		case c.Name != name:
		case c.Token == 0:
			v.Waiters = append(v.Waiters, c)
		default:
			v.Holders = append(v.Holders, c)
		}
	}
	slices.SortFunc(v.Holders, func(a, b lockmgr.Claim) int { return int(a.Token) - int(b.Token) })
	return v
}

// admits reports whether the holders would have one more of this mode.
func (m *model) admits(name string, mode lockmgr.Mode) bool {
	for _, c := range m.view(name).Holders {
		if c.Mode == lockmgr.Exclusive || mode == lockmgr.Exclusive {
			return false
		}
	}
	return true
}

func (m *model) acquire(now lockmgr.Time, r lockmgr.Request) error {
	before := m.view(r.Name)
	for _, c := range append(before.Holders, before.Waiters...) {
		if c.Owner == r.Owner && r.Wait == 0 {
			return lockmgr.ErrBusy
		} else if c.Owner == r.Owner {
			return lockmgr.ErrDeadlock
		}
	}
	mayHold := len(before.Waiters) == 0 && m.admits(r.Name, r.Mode)
	switch {
	case r.Wait == 0 && !mayHold:
		return lockmgr.ErrBusy
	case r.Wait == 0 && m.last == m.mark:
		return lockmgr.ErrExhausted
	}
	m.lastID++
	m.claims = append(m.claims, lockmgr.Claim{Request: r, ID: m.lastID, Since: now})
	if !mayHold || m.last == m.mark {
		e := lockmgr.Effect{Kind: lockmgr.Waiting, Claim: m.claims[len(m.claims)-1], Place: len(before.Waiters) + 1}
		m.effects = append(m.effects, e)
	}
	m.grantAll(now, []string{r.Name})
	return nil
}

// grantAll grants what can be granted of these locks, one after the other.
func (m *model) grantAll(now lockmgr.Time, names []string) {
	for _, name := range names {
		starving := false
		for !starving {
			waiters := m.view(name).Waiters
			if len(waiters) == 0 || !m.admits(name, waiters[0].Mode) {
				break
			}
			if m.last == m.mark {
				starving = true
				break
			}
			m.grant(now, waiters[0].ID)
		}
		if !starving {
			m.starving = slices.DeleteFunc(m.starving, func(s string) bool { return s == name })
		} else if !slices.Contains(m.starving, name) {
			m.starving = append(m.starving, name)
		}
	}
}

func (m *model) grant(now lockmgr.Time, id lockmgr.RequestID) {
	i := m.find(func(c lockmgr.Claim) bool { return c.ID == id })
	c := &m.claims[i]
	m.last++
	for now.Real <= int64(m.mark) && int64(m.last) < now.Real {
		m.last++
	}
	c.Token, c.Since = m.last, now
	e := lockmgr.Effect{Kind: lockmgr.Acquired, Claim: *c, Previous: m.previous[c.Name], Abandoned: m.abandoned[c.Name]}
	m.effects = append(m.effects, e)
	delete(m.abandoned, c.Name)
}

func (m *model) find(is func(lockmgr.Claim) bool) int { return slices.IndexFunc(m.claims, is) }

// drop ends one claim, and what kind of end it is for a wait.
func (m *model) drop(now lockmgr.Time, i int, kind lockmgr.Kind, how lockmgr.How, status int) {
	c := m.claims[i]
	m.claims = slices.Delete(m.claims, i, i+1)
	if c.Token == 0 {
		m.effects = append(m.effects, lockmgr.Effect{Kind: kind, Claim: c})
		return
	}
	end := &lockmgr.End{Token: c.Token, Owner: c.Owner, Info: c.Info, How: how, Status: status, At: now}
	m.previous[c.Name] = end
	if how == lockmgr.Killed || how == lockmgr.Disconnected {
		m.abandoned[c.Name] = end
	}
	m.effects = append(m.effects, lockmgr.Effect{Kind: lockmgr.Ended, Claim: c, End: end})
}

func (m *model) release(now lockmgr.Time, name string, t lockmgr.Token) error {
	i := m.find(func(c lockmgr.Claim) bool { return c.Name == name && c.Token == t && t != 0 })
	switch {
	case i >= 0:
		m.drop(now, i, lockmgr.Ended, lockmgr.Released, 0)
		m.grantAll(now, []string{name})
		return nil
	case len(m.view(name).Holders) == 0:
		return lockmgr.ErrNotHeld
	default:
		return lockmgr.ErrStale
	}
}

// endAll ends the claims that are meant: first the waits, then the holds.
func (m *model) endAll(now lockmgr.Time, how lockmgr.How, status int, meant func(lockmgr.Claim) bool) {
	var names []string
	for _, waits := range []bool{true, false} {
		for {
			i := m.find(func(c lockmgr.Claim) bool { return meant(c) && (c.Token == 0) == waits })
			if i < 0 {
				break
			}
			if name := m.claims[i].Name; !slices.Contains(names, name) {
				names = append(names, name)
			}
			m.drop(now, i, lockmgr.Cancelled, how, status)
		}
	}
	m.grantAll(now, names)
}

func (m *model) cancel(now lockmgr.Time, id lockmgr.RequestID) bool {
	before := len(m.claims)
	m.endAll(now, 0, 0, func(c lockmgr.Claim) bool { return c.ID == id && c.Token == 0 })
	return len(m.claims) < before
}

func (m *model) endConn(now lockmgr.Time, id lockmgr.ConnID, how lockmgr.How, status int) {
	m.endAll(now, how, status, func(c lockmgr.Claim) bool {
		return c.Conn == id && (c.Token == 0 || c.Bind == lockmgr.ToConnection)
	})
}

func (m *model) endProcess(now lockmgr.Time, p lockmgr.Process, how lockmgr.How, status int) {
	m.endAll(now, how, status, func(c lockmgr.Claim) bool { return c.Owner.Process == p })
}

// deadline is the index of the wait that ends first, and when that is.
func (m *model) deadline() (first int, at time.Duration, ok bool) {
	for i, c := range m.claims {
		end := c.Since.Boot + c.Wait
		if c.Token == 0 && c.Wait > 0 && (!ok || end < at) {
			first, at, ok = i, end, true
		}
	}
	return first, at, ok
}

func (m *model) expire(now lockmgr.Time) {
	var names []string
	for {
		i, at, ok := m.deadline()
		if !ok || at > now.Boot {
			break
		}
		if name := m.claims[i].Name; !slices.Contains(names, name) {
			names = append(names, name)
		}
		m.drop(now, i, lockmgr.TimedOut, 0, 0)
	}
	m.grantAll(now, names)
}

func (m *model) reserve(now lockmgr.Time, mark lockmgr.Token) {
	m.mark = max(m.mark, mark)
	m.grantAll(now, slices.Clone(m.starving))
}

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
	for v := range m.All() {
		if len(v.Waiters) == 0 || last == mark {
			continue
		}
		if len(v.Holders) == 0 || v.Waiters[0].Mode == lockmgr.Shared && v.Holders[0].Mode == lockmgr.Shared {
			return errors.New("a request at the head waits for nothing")
		}
	}
	return nil
}
