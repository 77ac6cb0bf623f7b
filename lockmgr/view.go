package lockmgr

import (
	"iter"
	"maps"
	"slices"

	"github.com/ipcd/ipcd/internal/list"
)

// A View is a lock as it is at one moment. It is plain data, a copy.
type View struct {
	Name      string
	Limit     int     // how many units there are; 0 if the lock is free, and so has no limit yet
	Used      int     // how many of them are held by exclusive holders
	Holders   []Claim // in order of grant; those who share a token stand together, in the order of joining
	Waiters   []Claim // in order of the queue
	Previous  *End    // the latest end of a hold, nil if none is known
	Abandoned *End    // the latest abandoned end that the next holder will be told of, mostly nil
}

// Free reports whether nobody holds the lock or waits for it.
func (v View) Free() bool { return len(v.Holders) == 0 && len(v.Waiters) == 0 }

// View shows one lock. Any name will do: a lock that nobody knows is free.
func (m *Manager) View(name string) View {
	if l := m.locks[name]; l != nil {
		return l.view()
	}
	return View{Name: name}
}

// Look is View in the memory of an earlier one: for who looks at very many, or at long queues again and again.
func (m *Manager) Look(name string, v *View) {
	*v = View{Name: name, Holders: v.Holders[:0], Waiters: v.Waiters[:0]}
	if l := m.locks[name]; l != nil {
		l.show(v)
	}
}

// All shows all locks by name, the free ones that are remembered too.
func (m *Manager) All() iter.Seq[View] {
	return func(yield func(View) bool) {
		for _, name := range slices.Sorted(maps.Keys(m.locks)) {
			if !yield(m.locks[name].view()) {
				return
			}
		}
	}
}

// Names gives the names of all locks, the free ones that are remembered too, in no order.
func (m *Manager) Names() iter.Seq[string] { return maps.Keys(m.locks) }

func (l *lock) view() (v View) {
	l.show(&v)
	return v
}

func (l *lock) show(v *View) {
	v.Name, v.Used, v.Previous, v.Abandoned = l.name, l.used, l.previous, l.abandoned
	if !l.idle {
		v.Limit = l.limit
	}
	n := 0
	for _, h := range l.holds {
		n += h.members.Len
	}
	v.Holders = slices.Grow(v.Holders, n)
	for c := range l.holders() {
		v.Holders = append(v.Holders, c.Claim)
	}
	v.Waiters = slices.Grow(v.Waiters, l.queue.Len)
	for c := l.queue.First; c != nil; c = c.lineLink.Next {
		v.Waiters = append(v.Waiters, c.Claim)
	}
}

// Limit is how many units a lock has, 0 if it is free, and so has no limit yet.
func (m *Manager) Limit(name string) int {
	if l := m.locks[name]; l != nil && !l.idle {
		return l.limit
	}
	return 0
}

// Hold finds a hold by its token, as the claim of its first owner. The errors are [ErrNotHeld] and [ErrStale].
func (m *Manager) Hold(name string, t Token) (Claim, error) {
	h, err := m.held(name, t)
	if err != nil {
		return Claim{}, err
	}
	return h.members.First.Claim, nil
}

// Claim finds the claim that an owner has on a lock, if any: a hold if its token is not 0, else a wait.
func (m *Manager) Claim(name string, o Owner) (Claim, bool) {
	c := m.claims[claimKey{m.locks[name], o}]
	if c == nil {
		return Claim{}, false
	}
	return c.Claim, true
}

// Claims gives all that a process waits for, in the order of asking, and then the holds that end with it, in the order in
// which it entered them, whatever the label. What it has by a lease alone is not among them.
func (m *Manager) Claims(p Process) iter.Seq[Claim] {
	return func(yield func(Claim) bool) {
		for _, claims := range []list.List[claim]{m.waiting[p], m.holding[p]} {
			for c := claims.First; c != nil; c = c.processLink.Next {
				if !yield(c.Claim) {
					return
				}
			}
		}
	}
}

// Abandoned is what View says of that, at a cost that does not depend on how many hold the lock or wait for it.
func (m *Manager) Abandoned(name string) *End {
	if l := m.locks[name]; l != nil {
		return l.abandoned
	}
	return nil
}

// Ahead gives the claim that is first in the way of one who comes now, the first holder or else the first in the queue,
// and how many more there are of its kind; false if the lock is free. Unlike View it costs the same for any number.
func (m *Manager) Ahead(name string) (first Claim, more int, ok bool) {
	l := m.locks[name]
	switch {
	case l == nil || l.free():
		return Claim{}, 0, false
	case len(l.holds) > 0:
		return l.holds[0].members.First.Claim, len(l.holds) - 1, true
	}
	return l.queue.First.Claim, l.queue.Len - 1, true
}

// Holders gives the claims that hold a lock, as View does.
func (m *Manager) Holders(name string) iter.Seq[Claim] {
	return func(yield func(Claim) bool) {
		if l := m.locks[name]; l != nil {
			for c := range l.holders() {
				if !yield(c.Claim) {
					return
				}
			}
		}
	}
}

func (l *lock) holders() iter.Seq[*claim] {
	return func(yield func(*claim) bool) {
		for _, h := range l.holds {
			for c := h.members.First; c != nil; c = c.lineLink.Next {
				if !yield(c) {
					return
				}
			}
		}
	}
}
