package lockmgr

import "math"

// All is for a step that does all that there is to do, however much it is.
const All = math.MaxInt

// EndConn cancels the waits of a connection that is gone, and then ends the holds that are bound to it in the given way: of so
// many claims, and it reports whether there are more. It is to be called until there are none: who has very many has them ended
// in several steps, and others have theirs between them.
func (m *Manager) EndConn(now Time, id ConnID, how How, status, most int) (more bool) {
	m.ending = func(c *claim) bool { return c.Conn == id }
	most = cancelLast(m, now, m.asking, id, most)
	if m.asking[id].Len == 0 {
		loseFirst(m, now, m.bound, id, how, status, most)
	}
	m.endSome(now)
	return m.asking[id].Len+m.bound[id].Len > 0
}

// CancelConn cancels the waits of a connection that asks for nothing any more, likewise.
func (m *Manager) CancelConn(now Time, id ConnID, most int) (more bool) {
	m.ending = func(c *claim) bool { return c.Conn == id }
	cancelLast(m, now, m.asking, id, most)
	m.endSome(now)
	return m.asking[id].Len > 0
}

// EndProcess cancels the waits of a process that is gone, whichever connection asked for it, and then ends all that it holds in
// the given way, but for what it has by a lease: likewise.
func (m *Manager) EndProcess(now Time, p Process, how How, status, most int) (more bool) {
	m.ending = func(c *claim) bool { return c.Owner.Process == p }
	most = cancelLast(m, now, m.waiting, p, most)
	if m.waiting[p].Len == 0 {
		loseFirst(m, now, m.holding, p, how, status, most)
	}
	m.endSome(now)
	return m.waiting[p].Len+m.holding[p].Len > 0
}

// cancelLast cancels some of the waits in a list, the last first: in each queue they come behind those that are left, so none
// of these is granted because of it. It returns how many claims may be ended beside them.
func cancelLast[K comparable](m *Manager, now Time, waits index[K, claim], of K, most int) int {
	for most > 0 && waits[of].Len > 0 {
		before := waits[of].Len
		m.giveUp(now, m.leader(waits[of].Last), Cancelled)
		most -= before - waits[of].Len
	}
	return most
}

// loseFirst ends some of the holds in a list, the first first.
func loseFirst[K comparable](m *Manager, now Time, holds index[K, claim], of K, how How, status, most int) {
	for ; most > 0 && holds[of].Len > 0; most-- {
		m.lose(now, holds[of].First, how, status, nil)
	}
}

// endSome ends a step that ends what is about to end anyway.
func (m *Manager) endSome(now Time) {
	m.settle(now)
	m.ending = nil
}
