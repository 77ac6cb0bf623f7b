package lockmgr

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ipcd/ipcd/internal/list"
)

// An endKey names the end of a hold: each owner of it has ended once.
type endKey struct {
	lock  *lock
	token Token
	owner Owner
}

func keyOf(l *lock, e *End) endKey { return endKey{l, e.Token, e.Owner} }

// An unreaped is an [Unreaped] end that is remembered.
type unreaped struct {
	endKey
	end  *End
	refs int // from lock.previous, lock.abandoned and hold.told, also by way of End.Before
	link list.Link[unreaped]
}

func ofUnknown(u *unreaped) *list.Link[unreaped] { return &u.link }

// remember puts an end, or nil, into the place of another one: where a lock or a hold remembers one.
func (m *Manager) remember(l *lock, place **End, e *End) {
	for x := e; x != nil; x = x.Before {
		if x.How == Unreaped {
			m.refer(keyOf(l, x), x)
		}
	}
	for x := *place; x != nil; x = x.Before {
		if x.How == Unreaped {
			m.unrefer(keyOf(l, x))
		}
	}
	*place = e
}

func (m *Manager) refer(k endKey, e *End) {
	u := m.unreaped[k]
	if u == nil {
		u = &unreaped{endKey: k, end: e}
		m.unreaped[k] = u
		m.unknown.push(k.owner.Process, u, ofUnknown)
	}
	u.refs++
}

func (m *Manager) unrefer(k endKey) {
	u := m.unreaped[k]
	if u.refs--; u.refs > 0 {
		return
	}
	delete(m.unreaped, k)
	p := k.owner.Process
	m.unknown.remove(p, u, ofUnknown)
	if m.unknown[p].Len == 0 {
		m.nowKnown = append(m.nowKnown, p)
	}
}

// tellNext has the next holder told of an end, if it is an abandoned one.
func (m *Manager) tellNext(l *lock, e *End) {
	if e.Abandoned() {
		m.remember(l, &l.abandoned, merged(l.abandoned, e))
	}
}

// tellNextToo has the next holder told of an end, or nil, that is older than what he is to be told of. It reports whether
// that makes a difference.
func (m *Manager) tellNextToo(l *lock, e *End) bool {
	before := l.abandoned
	m.remember(l, &l.abandoned, merged(e, before))
	return l.abandoned != before
}

// mostDoubts is how many Unreaped ends the next holder of a lock is to be told of at most, of which each may turn out to
// be none: those of more sharers who ended all at once, or of ever more holders who gave the mark back.
const mostDoubts = 16

// merged is what there is to be told of two abandoned ends, or nil: what is certain goes before what may be none, the later
// before the older.
func merged(older, newer *End) *End {
	switch {
	case newer == nil:
		return older
	case older == nil || newer.How != Unreaped:
		return newer
	case older.How != Unreaped:
		return older
	}
	var doubts []*End
	for _, e := range []*End{newer, older} {
		for ; e != nil; e = e.Before {
			doubts = append(doubts, e)
		}
	}
	var all *End
	for _, e := range slices.Backward(doubts[:min(len(doubts), mostDoubts)]) {
		again := *e
		again.Before, all = all, &again
	}
	return all
}

// Learn tells how a process really ended that Unreaped was said of: all its ends that are remembered become that. The mark
// of a clean one goes away; who holds the lock, and was told of it, has been told enough. If it cannot be known any more,
// how is Unknown. It says so of so many ends, and reports whether there are more: as [Manager.EndProcess].
func (m *Manager) Learn(p Process, how How, status, most int) (more bool) {
	if how == Unreaped {
		return false
	}
	for _, u := range m.firstUnknown(p, most) {
		m.learn(u, how, status)
	}
	return m.Unreaped(p)
}

// firstUnknown gives the first of what is to be learned of a process, without a step in which all is sorted.
func (m *Manager) firstUnknown(p Process, most int) []*unreaped {
	all := m.unknown[p]
	if all.Len <= most {
		first := make([]*unreaped, 0, all.Len)
		for u := all.First; u != nil; u = u.link.Next {
			first = append(first, u)
		}
		slices.SortFunc(first, compareUnknown)
		return first
	}
	first := make([]*unreaped, 0, most+1)
	for u := all.First; u != nil; u = u.link.Next {
		if len(first) == most && compareUnknown(u, first[most-1]) > 0 {
			continue
		}
		i, _ := slices.BinarySearchFunc(first, u, compareUnknown)
		first = slices.Insert(first, i, u)
		first = first[:min(len(first), most)]
	}
	return first
}

func compareUnknown(a, b *unreaped) int {
	return cmp.Or(strings.Compare(a.lock.name, b.lock.name), cmp.Compare(a.token, b.token), strings.Compare(a.owner.Label, b.owner.Label))
}

func (m *Manager) learn(u *unreaped, how How, status int) {
	l, truth := u.lock, *u.end
	truth.How, truth.Status, truth.Before = how, status, nil
	if l.previous != nil && l.previous.How == Unreaped && keyOf(l, l.previous) == u.endKey {
		m.remember(l, &l.previous, &truth)
	}
	if e, found := corrected(l.abandoned, &truth); found {
		m.remember(l, &l.abandoned, e)
	}
	for _, h := range l.holds {
		if e, found := corrected(h.told, &truth); found {
			m.setTold(l, h, e)
		}
	}
	e := m.emitOf(Learned, l, truth.Info)
	e.Owner, e.Token, e.End = truth.Owner, truth.Token, &truth
	if !l.idle {
		e.Limit = l.limit
	}
}

// corrected is what there is to be told of an abandoned end, or nil, when the truth is known of one. It reports whether
// that one is among what there was.
func corrected(e, truth *End) (*End, bool) {
	switch {
	case e == nil || e.How != Unreaped:
		return e, false
	case e.Token == truth.Token && e.Owner == truth.Owner && truth.Abandoned():
		return truth, true
	case e.Token == truth.Token && e.Owner == truth.Owner:
		return e.Before, true
	}
	before, found := corrected(e.Before, truth)
	if !found || before != nil && before.How != Unreaped {
		return before, found
	}
	again := *e
	again.Before = before
	return &again, true
}

// Unreaped reports whether an end is remembered of a process of which it is not known how it ended: then to [Manager.Learn]
// it makes a difference.
func (m *Manager) Unreaped(p Process) bool { return m.unknown[p].Len > 0 }

// Known takes the processes of which Unreaped reports false since Known was called last, and reported true before. Of some
// it may report true again.
func (m *Manager) Known() []Process {
	taken := m.nowKnown
	m.nowKnown = nil
	return taken
}
