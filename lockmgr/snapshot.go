package lockmgr

import (
	"maps"
	"slices"
)

// A Snapshot is all of a Manager's state that outlives it, as plain data: with it, and with the effects of each step after
// it, a Manager is made again. The mark is the caller's already, and so are the limits.
type Snapshot struct {
	Last   Token
	LastID RequestID
	Locks  []View // those in use by name, then the remembered ones, of each uid in the order in which they became free
}

// Snapshot copies the state, between steps.
func (m *Manager) Snapshot() Snapshot {
	s := Snapshot{Last: m.last, LastID: m.lastID}
	for v := range m.All() {
		if !v.Free() {
			s.Locks = append(s.Locks, v)
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(m.remembered)) {
		for l := m.remembered[uid].First; l != nil; l = l.link.Next {
			s.Locks = append(s.Locks, l.view())
		}
	}
	return s
}

// Restore makes a Manager that goes on where another was. Connections and processes are taken to be what they were: of
// those that have ended meanwhile the caller tells it by [Manager.EndConn] and [Manager.EndProcess] before anything
// else. No token up to last or up to that of the snapshot is given.
func Restore(s Snapshot, last, mark Token) *Manager {
	m := New(max(last, s.Last), mark)
	m.lastID = s.LastID
	var waits []Claim
	for _, v := range s.Locks {
		l := m.open(nil, v.Name, max(v.Limit, 1))
		for _, c := range v.Holders {
			m.addHolder(l, c)
		}
		m.remember(l, &l.previous, v.Previous)
		m.remember(l, &l.abandoned, v.Abandoned)
		if v.Free() {
			m.close(l)
		}
		waits = append(waits, v.Waiters...)
	}
	for uid := range m.remembered {
		m.forgetOldest(uid)
	}
	// By the order of asking, and of a set by that of its names, as they were let in.
	slices.SortStableFunc(waits, func(a, b Claim) int {
		if a.ID != b.ID {
			return int(a.ID) - int(b.ID)
		}
		return slices.Index(a.Set, a.Name) - slices.Index(b.Set, b.Name)
	})
	for _, c := range waits {
		m.addWaiter(m.locks[c.Name], c)
	}
	for _, l := range m.touched {
		l.touched = false
		m.findStarving(l) // what was short of tokens is, until Reserve
	}
	m.pending = m.starving.Len > 0 // or of a step that grants it
	m.touched, m.effects = nil, nil
	m.last = max(last, s.Last)
	return m
}

// Replay makes the changes of one step again, of which these were the effects, and grants nothing of its own.
func (m *Manager) Replay(effects []Effect) {
	before := len(m.effects)
	for i := range effects {
		if effects[i].Kind != Forgotten {
			m.replay(&effects[i])
		}
	}
	for _, l := range m.touched {
		m.findStarving(l)
	}
	m.pending = m.starving.Len > 0
	m.closeFree()
	m.touched = emptied(m.touched)
	for i := range effects {
		if l := m.locks[effects[i].Name]; effects[i].Kind == Forgotten && l != nil {
			m.drop(l)
		}
	}
	m.effects = m.effects[:before]
}

func (m *Manager) replay(e *Effect) {
	if e.Kind == Learned {
		m.learn(m.unreaped[keyOf(m.locks[e.Name], e.End)], e.End.How, e.End.Status)
		return
	}
	m.lastID = max(m.lastID, e.ID, e.Answers)
	l := m.open(m.locks[e.Name], e.Name, e.Limit)
	c := m.claims[claimKey{l, e.Owner}]
	switch e.Kind {
	case Waiting:
		m.addWaiter(l, e.Claim)
	case Acquired:
		if c != nil {
			m.leaveOne(c)
		}
		m.addHolder(l, e.Claim)
		m.remember(l, &l.abandoned, nil)
		m.touch(l)
	case Joined:
		m.addHolder(l, e.Claim)
	case Reentered:
		c.Entries = e.Entries
	case Left, Ended:
		if e.End == nil {
			c.Entries = e.Entries
			break
		}
		m.end(e.End.At, c, e.End.How, e.End.Status, e.End.By)
		if e.Abandoned != nil { // GiveBack was called, or it is set already
			m.remember(l, &l.abandoned, e.Abandoned)
		}
	case TimedOut, Cancelled:
		m.leaveOne(c)
		delete(m.claims, claimKey{l, e.Owner})
		m.touch(l)
	case Downgraded:
		m.share(l, c.hold)
		m.touch(l)
	case Renewed:
		m.renew(c, e.Lease, e.Expires)
	case Expiring:
		m.deadlines.move(c, c.Expires)
	case Told:
		m.setTold(l, c.hold, nil)
	}
}

// leaveOne takes one claim of a request out of its queue: the others will follow, or were before.
func (m *Manager) leaveOne(c *claim) {
	if m.waits[c.ID] == nil {
		m.waits[c.ID] = c
	}
	m.leaveQueue(c)
}

func (m *Manager) add(l *lock, is Claim) *claim {
	c := &claim{Claim: is, lock: l, deadline: never}
	m.claims[claimKey{l, is.Owner}] = c
	return c
}

func (m *Manager) addWaiter(l *lock, is Claim) {
	c := m.add(l, is)
	if m.waits[c.ID] == nil {
		c.deadline = waitEnds(c.Since, c.Wait)
	}
	m.enqueue(c)
}

func (m *Manager) addHolder(l *lock, is Claim) {
	c := m.add(l, is)
	if at, ok := l.find(is.Token); ok {
		c.Told = l.holds[at].told
		m.enter(c, l.holds[at])
	} else {
		m.begin(c, is.Token)
	}
	c.Entries = is.Entries
}
