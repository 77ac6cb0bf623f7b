package lockmgr_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/ipcd/ipcd/lockmgr"
)

func (m *model) remove(c *modelClaim) {
	m.claims = slices.DeleteFunc(m.claims, func(x *modelClaim) bool { return x == c })
}

// waits reports whether some of a request waits.
func (m *model) waits(id lockmgr.RequestID) bool {
	return slices.ContainsFunc(m.request(id), func(c *modelClaim) bool { return c.Token == 0 })
}

// end ends a claim that holds.
func (m *model) end(c *modelClaim, e lockmgr.End) {
	e.Token, e.Owner, e.Info = c.Token, c.Owner, c.Info
	m.remove(c)
	if e.How == lockmgr.Killed || e.How == lockmgr.Disconnected || e.How == lockmgr.Unreaped {
		m.abandoned[c.Name] = toldOf(append(listOf(m.abandoned[c.Name]), e))
	}
	kind, untold := lockmgr.Left, (*lockmgr.End)(nil)
	if !slices.ContainsFunc(m.claims, func(x *modelClaim) bool { return x.Token == c.Token }) {
		kind = lockmgr.Ended
		m.previous[c.Name] = &e
		m.touch(c.Name)
		if c.Untold {
			untold = m.tellAgain(c.Name, c.Told)
		}
	}
	m.emit(lockmgr.Effect{Kind: kind, Claim: c.Claim, End: &e, Abandoned: untold})
}

// listOf gives the ends that are told of as one, the oldest first, and toldOf puts them together again: the latest that is
// certain, or all that may turn out to be none.
func listOf(e *lockmgr.End) (all []lockmgr.End) {
	for ; e != nil; e = e.Before {
		plain := *e
		plain.Before = nil
		all = append([]lockmgr.End{plain}, all...)
	}
	return all
}

func toldOf(all []lockmgr.End) (e *lockmgr.End) {
	for i := range all {
		if all[i].How != lockmgr.Unreaped {
			e = &all[i]
		}
	}
	for i := range all {
		if e == nil || e.How == lockmgr.Unreaped {
			all[i].Before, e = e, &all[i]
		}
	}
	return e
}

// tellAgain has the next holder told of what this one could not deal with. The result is what he is told of, if that is a
// difference.
func (m *model) tellAgain(name string, told *lockmgr.End) *lockmgr.End {
	before := m.abandoned[name]
	m.abandoned[name] = toldOf(append(listOf(told), listOf(before)...))
	if reflect.DeepEqual(m.abandoned[name], before) {
		return nil
	}
	return m.abandoned[name]
}

// learn looks for the ends of a process everywhere, and mends so many.
func (m *model) learn(p lockmgr.Process, how lockmgr.How, status, most int, names []string) (more bool) {
	if how == lockmgr.Unreaped {
		return false
	}
	key := func(e lockmgr.End) string { return fmt.Sprintf("%8d %s", e.Token, e.Owner.Label) }
	for _, name := range names {
		unknown := map[string]bool{} // by token and label
		look := func(all []lockmgr.End) {
			for _, e := range all {
				if e.How == lockmgr.Unreaped && e.Owner.Process == p {
					unknown[key(e)] = true
				}
			}
		}
		look(listOf(m.abandoned[name]))
		if e := m.previous[name]; e != nil {
			look([]lockmgr.End{*e})
		}
		holders, _ := m.on(name)
		for _, c := range holders {
			look(listOf(c.Told))
		}
		some := slices.Sorted(maps.Keys(unknown))
		some = some[:min(len(some), most)]
		most -= len(some)
		more = more || len(some) < len(unknown)
		found := map[string]lockmgr.End{}
		correct := func(all []lockmgr.End) *lockmgr.End {
			var after []lockmgr.End
			for _, e := range all {
				if e.How == lockmgr.Unreaped && e.Owner.Process == p && slices.Contains(some, key(e)) {
					e.How, e.Status = how, status
					found[key(e)] = e
					if how != lockmgr.Killed && how != lockmgr.Disconnected {
						continue
					}
				}
				after = append(after, e)
			}
			return toldOf(after)
		}
		m.abandoned[name] = correct(listOf(m.abandoned[name]))
		if e := m.previous[name]; e != nil && e.How == lockmgr.Unreaped && e.Owner.Process == p && slices.Contains(some, key(*e)) {
			correct([]lockmgr.End{*e})
			again := *e
			again.How, again.Status = how, status
			m.previous[name] = &again
		}
		for _, c := range holders {
			c.Told = correct(listOf(c.Told))
			c.Untold = c.Untold && c.Told != nil
		}
		for _, key := range slices.Sorted(maps.Keys(found)) {
			e := found[key]
			learned := lockmgr.Effect{Kind: lockmgr.Learned, End: &e}
			learned.Name, learned.Owner, learned.Token, learned.Info = name, e.Owner, e.Token, e.Info
			m.emit(learned)
		}
	}
	return more
}

// unreaped reports whether there is something to learn of a process.
func (m *model) unreaped(p lockmgr.Process) bool {
	its := func(e lockmgr.End) bool { return e.How == lockmgr.Unreaped && e.Owner.Process == p }
	for _, e := range m.abandoned {
		if slices.ContainsFunc(listOf(e), its) {
			return true
		}
	}
	for _, e := range m.previous {
		if its(*e) {
			return true
		}
	}
	return slices.ContainsFunc(m.claims, func(c *modelClaim) bool { return slices.ContainsFunc(listOf(c.Told), its) })
}

// lose ends a claim that holds, and whatever its owner waits for together with it.
func (m *model) lose(now lockmgr.Time, c *modelClaim, e lockmgr.End) {
	m.end(c, e)
	for _, w := range slices.Clone(m.claims) {
		if w.Token == 0 && w.Owner == c.Owner && slices.Contains(w.Set, c.Name) && m.waits(w.ID) {
			m.giveUp(now, w.ID, lockmgr.Cancelled)
		}
	}
}

// leave takes back one entry.
func (m *model) leave(now lockmgr.Time, c *modelClaim) {
	if c.Entries > 1 {
		c.Entries--
		m.emit(lockmgr.Effect{Kind: lockmgr.Left, Claim: c.Claim})
		return
	}
	m.lose(now, c, lockmgr.End{How: lockmgr.Released, At: now})
}

func (m *model) giveUp(now lockmgr.Time, id lockmgr.RequestID, kind lockmgr.Kind) {
	r := m.request(id)[0].Request
	var parts []*modelClaim
	for _, name := range namesOf(r) {
		parts = append(parts, m.ownClaim(r, name))
	}
	for _, c := range parts { // first of all, or to leave one part would cancel the others
		if c != nil && c.Token == 0 {
			m.remove(c)
		}
	}
	for _, c := range parts {
		switch {
		case c == nil:
		case c.Token != 0:
			m.leave(now, c)
		default:
			m.touch(c.Name)
			m.emit(lockmgr.Effect{Kind: kind, Claim: c.Claim, Answers: id})
		}
	}
}

// members gives those who have a token, in the order of joining.
func (m *model) members(name string, t lockmgr.Token) (members []*modelClaim, err error) {
	holders, _ := m.on(name)
	for _, c := range holders {
		if c.Token == t {
			members = append(members, c)
		}
	}
	switch {
	case len(members) > 0:
		return members, nil
	case len(holders) == 0:
		return nil, lockmgr.ErrNotHeld
	default:
		return nil, lockmgr.ErrStale
	}
}

func (m *model) endHold(now lockmgr.Time, members []*modelClaim, e lockmgr.End) {
	e.At = now
	for _, c := range slices.Backward(members) {
		m.lose(now, c, e)
	}
}

func (m *model) release(now lockmgr.Time, name string, t lockmgr.Token) error {
	members, err := m.members(name, t)
	m.endHold(now, members, lockmgr.End{How: lockmgr.Released})
	m.settle(now)
	return err
}

func (m *model) giveBack(now lockmgr.Time, name string, t lockmgr.Token) error {
	members, err := m.members(name, t)
	m.endHold(now, members, lockmgr.End{How: lockmgr.Released})
	if err == nil && !members[0].Untold { // else it has been done
		untold := m.tellAgain(name, members[0].Told)
		for i := range m.effects {
			if m.effects[i].Kind == lockmgr.Ended && m.effects[i].Token == t {
				m.effects[i].Abandoned = untold
			}
		}
	}
	m.settle(now)
	return err
}

func (m *model) told(name string, t lockmgr.Token) error {
	members, err := m.members(name, t)
	dealt := err == nil && members[0].Told != nil
	for _, c := range members {
		c.Told, c.Untold = nil, false
	}
	if dealt {
		m.emit(lockmgr.Effect{Kind: lockmgr.Told, Claim: members[0].Claim})
	}
	return err
}

func (m *model) leaveHold(now lockmgr.Time, name string, t lockmgr.Token, p lockmgr.Process) error {
	members, err := m.members(name, t)
	if err != nil {
		return err
	}
	for _, c := range slices.Backward(members) {
		if c.Owner.Process == p {
			m.leave(now, c)
			m.settle(now)
			return nil
		}
	}
	return lockmgr.ErrNotHeld
}

func (m *model) breakIt(now lockmgr.Time, name string, t lockmgr.Token, by lockmgr.Party) error {
	tokens := []lockmgr.Token{t}
	if t == 0 {
		tokens = nil
		holders, _ := m.on(name)
		for _, c := range holders {
			tokens = append(tokens, c.Token)
		}
		if tokens == nil {
			return lockmgr.ErrNotHeld
		}
	}
	var err error
	for _, t := range slices.Compact(tokens) {
		var members []*modelClaim
		members, err = m.members(name, t)
		m.endHold(now, members, lockmgr.End{How: lockmgr.Broken, By: &by})
	}
	m.settle(now)
	return err
}

func (m *model) downgrade(now lockmgr.Time, name string, t lockmgr.Token) error {
	members, err := m.members(name, t)
	switch {
	case err != nil:
		return err
	case members[0].Mode == lockmgr.Shared:
		return nil
	case members[0].Units != m.limit[name]:
		return lockmgr.ErrShares
	}
	for _, c := range members {
		c.Mode, c.Units = lockmgr.Shared, 0
	}
	m.emit(lockmgr.Effect{Kind: lockmgr.Downgraded, Claim: members[0].Claim})
	m.touch(name)
	m.settle(now)
	return nil
}

func (m *model) renew(now lockmgr.Time, name string, t lockmgr.Token, lease time.Duration) error {
	members, err := m.members(name, t)
	if err != nil {
		return err
	}
	err = lockmgr.ErrNotLeased
	for _, c := range members {
		if c.Expires > 0 {
			c.Lease, c.Expires, c.warned, err = lease, now.Boot+lease, false, nil
			m.emit(lockmgr.Effect{Kind: lockmgr.Renewed, Claim: c.Claim})
		}
	}
	return err
}

// endSome ends so many of the claims that are meant: the waits from the last to the first, and if none is left the holds from
// the first to the last. None of the waits that are left is granted anything. It reports whether there are more.
func (m *model) endSome(now lockmgr.Time, how lockmgr.How, status, most int, waits, holds func(*modelClaim) bool) bool {
	waiting := func() []*modelClaim {
		return slices.DeleteFunc(slices.Clone(m.claims), func(c *modelClaim) bool { return c.Token != 0 || !waits(c) })
	}
	holding := func() []*modelClaim {
		its := slices.DeleteFunc(slices.Clone(m.claims), func(c *modelClaim) bool { return c.Token == 0 || !holds(c) })
		slices.SortFunc(its, func(a, b *modelClaim) int { return a.entered - b.entered })
		return its
	}
	for w := waiting(); most > 0 && len(w) > 0; {
		m.giveUp(now, w[len(w)-1].ID, lockmgr.Cancelled)
		left := waiting()
		most -= len(w) - len(left)
		w = left
	}
	for len(waiting()) == 0 && most > 0 && len(holding()) > 0 {
		m.lose(now, holding()[0], lockmgr.End{How: how, Status: status, At: now})
		most--
	}
	m.ending = waits
	m.settle(now)
	m.ending = nil
	return len(waiting())+len(holding()) > 0
}

func nothing(*modelClaim) bool { return false }

func (m *model) cancel(now lockmgr.Time, id lockmgr.RequestID) bool {
	found := m.waits(id)
	m.endSome(now, 0, 0, lockmgr.All, func(c *modelClaim) bool { return c.ID == id }, nothing)
	return found
}

func (m *model) cancelConn(now lockmgr.Time, id lockmgr.ConnID, most int) bool {
	return m.endSome(now, 0, 0, most, func(c *modelClaim) bool { return c.Conn == id }, nothing)
}

func (m *model) endConn(now lockmgr.Time, id lockmgr.ConnID, how lockmgr.How, status, most int) bool {
	asked := func(c *modelClaim) bool { return c.Conn == id }
	return m.endSome(now, how, status, most, asked, func(c *modelClaim) bool { return asked(c) && c.Bind == lockmgr.ToConnection })
}

func (m *model) endProcess(now lockmgr.Time, p lockmgr.Process, how lockmgr.How, status, most int) bool {
	its := func(c *modelClaim) bool { return c.Owner.Process == p }
	return m.endSome(now, how, status, most, its, func(c *modelClaim) bool {
		return its(c) && (c.Bind == lockmgr.ToConnection || c.Bind == lockmgr.ToProcess)
	})
}

// deadline is what has to be looked at first, and when that is.
func (m *model) deadline() (first *modelClaim, at time.Duration, ok bool) {
	for _, c := range m.claims {
		var due time.Duration
		switch {
		case c.Token == 0 && c.Wait > 0:
			due = c.Since.Boot + c.Wait
		case c.Token != 0 && c.Expires > 0 && c.warned:
			due = c.Expires
		case c.Token != 0 && c.Expires > 0:
			due = c.Expires - min(c.Lease/3, 30*time.Second)
		default:
			continue
		}
		sooner := first == nil || due < at
		if first != nil && due == at {
			sooner = c.ID < first.ID || c.ID == first.ID && c.Token < first.Token
		}
		if sooner {
			first, at = c, due
		}
	}
	return first, at, first != nil
}

func (m *model) expire(now lockmgr.Time, most int) {
	for ; ; most-- {
		c, at, ok := m.deadline()
		switch {
		case !ok || at > now.Boot || most == 0:
			m.settle(now)
			return
		case c.Token == 0:
			m.giveUp(now, c.ID, lockmgr.TimedOut)
		case now.Boot < c.Expires:
			c.warned = true
			m.emit(lockmgr.Effect{Kind: lockmgr.Expiring, Claim: c.Claim})
		default:
			m.lose(now, c, lockmgr.End{How: lockmgr.Expired, At: now})
		}
	}
}

func (m *model) reserve(now lockmgr.Time, mark lockmgr.Token) {
	m.mark = max(m.mark, mark)
	for _, name := range m.starving {
		m.touch(name)
	}
	m.settle(now)
}

// restart is what a snapshot does not tell: the order of what happened on different locks, and who was warned.
func (m *model) restart(names []string) {
	m.starving = nil
	for _, name := range names {
		holders, _ := m.on(name)
		for _, c := range holders {
			m.entered++
			c.entered, c.warned = m.entered, false
		}
	}
	for _, c := range m.claims {
		if c.Token != 0 {
			continue
		}
		for _, part := range m.grantable(c.Name) {
			if !slices.Contains(m.starving, part.Name) {
				m.starving = append(m.starving, part.Name)
			}
		}
	}
}
