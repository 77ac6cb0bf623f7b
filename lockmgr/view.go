package lockmgr

import (
	"iter"
	"maps"
	"slices"
)

// A View is a lock as it is at one moment. It is plain data, a copy.
type View struct {
	Name      string
	Holders   []Claim // in order of grant; more than one only if they share
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

func (l *lock) view() View {
	v := View{Name: l.name, Previous: l.previous, Abandoned: l.abandoned}
	for _, c := range l.holders {
		v.Holders = append(v.Holders, c.Claim)
	}
	for c := l.queue.first; c != nil; c = c.queueLink.next {
		v.Waiters = append(v.Waiters, c.Claim)
	}
	return v
}

// Hold finds a hold by its token. The errors are [ErrNotHeld] and [ErrStale].
func (m *Manager) Hold(name string, t Token) (Claim, error) {
	c, err := m.hold(name, t)
	if err != nil {
		return Claim{}, err
	}
	return c.Claim, nil
}

func (m *Manager) hold(name string, t Token) (*claim, error) {
	l := m.locks[name]
	if l == nil || len(l.holders) == 0 {
		return nil, ErrNotHeld
	}
	at, ok := l.find(t)
	if !ok {
		return nil, ErrStale
	}
	return l.holders[at], nil
}

// Claim finds the claim that an owner has on a lock, if any: a hold if its token is not 0, else a wait.
func (m *Manager) Claim(name string, o Owner) (Claim, bool) {
	c := m.claims[claimKey{m.locks[name], o}]
	if c == nil {
		return Claim{}, false
	}
	return c.Claim, true
}

// Claims gives all that a process holds and waits for, whatever the label, in the order of asking.
func (m *Manager) Claims(p Process) iter.Seq[Claim] {
	return func(yield func(Claim) bool) {
		for c := m.processes[p].first; c != nil; c = c.processLink.next {
			if !yield(c.Claim) {
				return
			}
		}
	}
}
