package lockmgr

import (
	"iter"
	"slices"
)

// enqueue makes a claim a wait; its request's first one stands for all of them.
func (m *Manager) enqueue(c *claim) {
	c.lock.queue.Push(c, inLine)
	m.asking.push(c.Conn, c, ofConn)
	m.waiting.push(c.Owner.Process, c, ofProcess)
	for _, shown := range c.Shown {
		if h, err := m.held(shown.Name, shown.Token); err == nil {
			c.acting = &acting{claim: c, hold: h, next: c.acting}
			m.acting.push(h, c.acting, forHold)
			if slices.Contains(c.Set, shown.Name) {
				c.acting.part = m.locks[shown.Name]
				m.rest.push(claimKey{c.acting.part, c.Owner}, c.acting, forRest)
			}
		}
	}
	if m.waits[c.ID] == nil {
		m.waits[c.ID] = c
		m.deadlines.add(c)
	}
	m.touch(c.lock)
}

// leaveQueue takes all waiting claims of a request out of their queues.
func (m *Manager) leaveQueue(parts ...*claim) {
	leader := m.waits[parts[0].ID]
	m.deadlines.remove(leader)
	leader.deadline = never
	delete(m.waits, leader.ID)
	for _, c := range parts {
		c.lock.queue.Remove(c, inLine)
		m.asking.remove(c.Conn, c, ofConn)
		m.waiting.remove(c.Owner.Process, c, ofProcess)
		for a := c.acting; a != nil; a = a.next {
			m.acting.remove(a.hold, a, forHold)
			if a.part != nil {
				m.rest.remove(claimKey{a.part, c.Owner}, a, forRest)
			}
		}
		c.acting = nil
	}
}

// leader is the claim that stands for all of the request that a wait is a part of.
func (m *Manager) leader(c *claim) *claim {
	if c.Set == nil {
		return c
	}
	return m.waits[c.ID]
}

// waitingParts are the claims of a request that waits: one, or those of a set that are not held yet.
func (m *Manager) waitingParts(c *claim) iter.Seq[*claim] {
	return func(yield func(*claim) bool) {
		if c.Set == nil {
			yield(c)
			return
		}
		for _, name := range c.Set {
			part := m.claims[claimKey{m.locks[name], c.Owner}]
			if part != nil && part.hold == nil && !yield(part) {
				return
			}
		}
	}
}

// giveUp ends the wait of a whole request without the lock. The kind says why: TimedOut or Cancelled. Of several locks that
// were asked for together, those that the owner was let into already, as into holds that it acts for, it leaves again.
func (m *Manager) giveUp(now Time, leader *claim, kind Kind) {
	m.leaveQueue(slices.Collect(m.waitingParts(leader))...)
	for _, name := range leader.names() {
		c := m.claims[claimKey{m.locks[name], leader.Owner}]
		switch {
		case c == nil: // that part was lost
		case c.hold != nil:
			m.leave(now, c)
		default:
			delete(m.claims, claimKey{c.lock, c.Owner})
			m.touch(c.lock)
			m.emit(kind, c).Answers = c.ID
		}
	}
}
