package lockmgr_test

import (
	"cmp"
	"slices"

	"github.com/ipcd/ipcd/lockmgr"
)

// A model is the rules once more, as simply as they can be put: one slice of claims that is searched for everything.
// It shares types with the Manager, and no code. It never forgets a free lock.
type model struct {
	claims              []*modelClaim // in the order of asking
	limit               map[string]int
	limits              map[string]int // that are set
	previous, abandoned map[string]*lockmgr.End
	starving            []string // locks whose next claim lacks but tokens, in the order in which they came to that
	touched             []string // locks that are to be looked at before the step is over
	last, mark          lockmgr.Token
	lastID              lockmgr.RequestID
	entered             int
	ending              func(*modelClaim) bool // waits that are granted nothing, as they are about to end
	effects             []lockmgr.Effect
}

type modelClaim struct {
	lockmgr.Claim
	entered int // the order in which holds came into being
	warned  bool
}

func newModel(mark lockmgr.Token) *model {
	return &model{
		mark: mark, limit: map[string]int{}, previous: map[string]*lockmgr.End{}, abandoned: map[string]*lockmgr.End{},
	}
}

// on gives the claims on a lock: who holds it, in the order of tokens, and who waits.
func (m *model) on(name string) (holders, waiters []*modelClaim) {
	for _, c := range m.claims {
		switch {
		case c.Name != name:
		case c.Token == 0:
			waiters = append(waiters, c)
		default:
			holders = append(holders, c)
		}
	}
	slices.SortStableFunc(holders, func(a, b *modelClaim) int { return cmp.Compare(a.Token, b.Token) })
	return holders, waiters
}

func (m *model) view(name string) lockmgr.View {
	v := lockmgr.View{Name: name, Limit: m.limit[name], Previous: m.previous[name], Abandoned: m.abandoned[name]}
	holders, waiters := m.on(name)
	for i, c := range holders {
		v.Holders = append(v.Holders, c.Claim)
		if i == 0 || holders[i-1].Token != c.Token {
			v.Used += c.Units
		}
	}
	for _, c := range waiters {
		v.Waiters = append(v.Waiters, c.Claim)
	}
	return v
}

// admits reports whether the holders would have one more.
func (m *model) admits(name string, mode lockmgr.Mode, units int) bool {
	v := m.view(name)
	for _, c := range v.Holders {
		if c.Mode != mode {
			return false
		}
	}
	return mode == lockmgr.Shared || len(v.Holders) == 0 || v.Used+units <= v.Limit
}

func (m *model) emit(e lockmgr.Effect) {
	e.Limit = m.limit[e.Name]
	m.effects = append(m.effects, e)
}

func (m *model) touch(name string) {
	if !slices.Contains(m.touched, name) {
		m.touched = append(m.touched, name)
	}
}

// request gives the claims of a request.
func (m *model) request(id lockmgr.RequestID) (parts []*modelClaim) {
	for _, c := range m.claims {
		if c.ID == id {
			parts = append(parts, c)
		}
	}
	return parts
}

func namesOf(r lockmgr.Request) []string {
	if r.Set == nil {
		return []string{r.Name}
	}
	return r.Set
}

func (m *model) limitFor(r lockmgr.Request, name string) int {
	if limit := m.limit[name]; limit > 0 {
		return limit
	}
	if limit := m.limits[name]; limit > 0 {
		return limit
	}
	return max(r.Limit, 1)
}

func unitsOf(r lockmgr.Request, limit int) int {
	switch {
	case r.Mode == lockmgr.Shared:
		return 0
	case r.Units == 0:
		return limit
	}
	return r.Units
}

// ownClaim is the claim that the owner of a request has on a lock.
func (m *model) ownClaim(r lockmgr.Request, name string) *modelClaim {
	for _, c := range m.claims {
		if c.Name == name && c.Owner == r.Owner {
			return c
		}
	}
	return nil
}

// entry is the hold that a request enters, as its first claim; nil if it has to be granted the lock.
func (m *model) entry(r lockmgr.Request, name string) (*modelClaim, error) {
	holders, _ := m.on(name)
	var entry *modelClaim
	shown := r.Shown
	if r.Join != 0 {
		shown = []lockmgr.Shown{{Name: name, Token: r.Join}}
	}
	for _, s := range shown {
		for _, h := range holders {
			if entry == nil && s.Name == name && s.Token == h.Token {
				entry = h
			}
		}
	}
	own := m.ownClaim(r, name)
	units := unitsOf(r, m.limitFor(r, name))
	switch {
	case r.Join != 0 && len(holders) == 0:
		return nil, lockmgr.ErrNotHeld
	case r.Join != 0 && entry == nil:
		return nil, lockmgr.ErrStale
	case own != nil && (entry == nil || own.Token != entry.Token):
		if r.Wait == 0 {
			return nil, lockmgr.ErrBusy
		}
		return nil, lockmgr.ErrDeadlock
	case entry != nil && r.Join == 0 && (entry.Mode == lockmgr.Shared && r.Mode == lockmgr.Exclusive || units > entry.Units):
		return nil, lockmgr.ErrUpgrade
	}
	return entry, nil
}

// acquire is told whether the Manager said that it was a deadlock, for when there is no telling.
func (m *model) acquire(now lockmgr.Time, r lockmgr.Request, deadlock bool) (lockmgr.RequestID, error) {
	if r.Shown != nil {
		present := []lockmgr.Shown{}
		for _, s := range r.Shown {
			if _, err := m.members(s.Name, s.Token); err == nil {
				present = append(present, s)
			}
		}
		r.Shown = present
	}
	var fresh []string
	mayHold := true
	for _, name := range namesOf(r) {
		limit := m.limitFor(r, name)
		if r.Join == 0 && (r.Limit != 0 && r.Limit != limit || r.Units > limit) {
			return 0, lockmgr.ErrLimit
		}
		entry, err := m.entry(r, name)
		if err != nil {
			return 0, err
		}
		if entry == nil {
			_, waiters := m.on(name)
			fresh = append(fresh, name)
			mayHold = mayHold && len(waiters) == 0 && m.admits(name, r.Mode, unitsOf(r, limit))
		}
	}
	tokens := int(m.mark) - int(m.last)
	switch {
	case mayHold && tokens >= len(fresh):
	case r.Wait == 0 && mayHold:
		return 0, lockmgr.ErrExhausted
	case r.Wait == 0:
		return 0, lockmgr.ErrBusy
	case r.Wait < 0:
		switch m.oracle(r) {
		case certain:
			return 0, lockmgr.ErrDeadlock
		case unclear:
			if deadlock {
				return 0, lockmgr.ErrDeadlock
			}
		}
	}

	m.lastID++
	more := len(fresh)
	for _, name := range namesOf(r) {
		limit := m.limitFor(r, name)
		entry, _ := m.entry(r, name)
		if own := m.ownClaim(r, name); entry != nil && own != nil {
			own.Entries++
			m.emit(lockmgr.Effect{Kind: lockmgr.Reentered, Claim: own.Claim, Answers: m.lastID})
			continue
		}
		c := &modelClaim{Claim: lockmgr.Claim{Request: r, ID: m.lastID, Since: now}}
		c.Name, c.Units = name, unitsOf(r, limit)
		m.limit[name] = limit
		m.claims = append(m.claims, c)
		switch {
		case entry != nil:
			c.Mode, c.Units, c.Told, c.Untold, c.Joined = entry.Mode, entry.Units, entry.Told, entry.Untold, true
			m.enter(now, c, entry.Token)
			m.emit(lockmgr.Effect{Kind: lockmgr.Joined, Claim: c.Claim, New: true, Answers: c.ID})
		case mayHold && tokens >= len(fresh):
			more--
			m.grant(now, c, more)
			m.effects[len(m.effects)-1].New = true
		default:
			_, waiters := m.on(name)
			m.emit(lockmgr.Effect{Kind: lockmgr.Waiting, Claim: c.Claim, New: true, Place: len(waiters)})
			m.touch(name)
		}
	}
	m.settle(now)
	return m.lastID, nil
}

func (m *model) enter(now lockmgr.Time, c *modelClaim, t lockmgr.Token) {
	m.entered++
	c.entered = m.entered
	c.Token, c.Entries = t, 1
	c.Join, c.Shown, c.Ancestors = 0, nil, nil
	if c.Lease > 0 {
		c.Expires = now.Boot + c.Lease
	}
}

// grant gives the lock to a claim, when so many more are to be granted in the same step.
func (m *model) grant(now lockmgr.Time, c *modelClaim, more int) {
	m.last++
	if int64(m.last) < now.Real && now.Real+int64(more) <= int64(m.mark) {
		m.last = lockmgr.Token(now.Real)
	}
	c.Since, c.Told = now, m.abandoned[c.Name]
	c.Untold = c.Untold && c.Told != nil
	m.enter(now, c, m.last)
	m.emit(lockmgr.Effect{
		Kind: lockmgr.Acquired, Claim: c.Claim, Answers: c.ID, Previous: m.previous[c.Name], Abandoned: m.abandoned[c.Name],
	})
	delete(m.abandoned, c.Name)
}

// settle grants what can be granted of the locks that were touched, one after the other.
func (m *model) settle(now lockmgr.Time) {
	for len(m.touched) > 0 {
		name := m.touched[0]
		m.touched = m.touched[1:]
		for {
			parts := m.grantable(name)
			if len(parts) == 0 || int(m.mark)-int(m.last) < len(parts) {
				break
			}
			if m.ending != nil && m.ending(parts[0]) {
				m.giveUp(now, parts[0].ID, lockmgr.Cancelled)
				continue
			}
			for i, c := range parts {
				m.grant(now, c, len(parts)-1-i)
				if len(parts) > 1 {
					m.touch(c.Name)
				}
			}
		}
		m.starving = slices.DeleteFunc(m.starving, func(s string) bool { return s == name && len(m.grantable(name)) == 0 })
		for _, c := range m.grantable(name) {
			if !slices.Contains(m.starving, c.Name) {
				m.starving = append(m.starving, c.Name)
			}
		}
	}
	for name := range m.limit {
		if holders, waiters := m.on(name); len(holders)+len(waiters) == 0 {
			delete(m.limit, name)
		}
	}
}

// grantable gives the claims that are to be granted together, the first in the queue of a lock among them, if they can be.
func (m *model) grantable(name string) (parts []*modelClaim) {
	_, waiters := m.on(name)
	if len(waiters) == 0 {
		return nil
	}
	for _, c := range m.request(waiters[0].ID) {
		if c.Token != 0 {
			continue
		}
		if _, before := m.on(c.Name); before[0] != c || !m.admits(c.Name, c.Mode, c.Units) {
			return nil
		}
		parts = append(parts, c)
	}
	return parts
}
