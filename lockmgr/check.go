package lockmgr

import (
	"errors"
	"fmt"

	"github.com/ipcd/ipcd/internal/list"
)

// Check looks for a broken invariant, and describes the first that it finds. It visits everything: it is for tests, and
// for a daemon that is told to verify itself.
func (m *Manager) Check() error {
	var n tally
	for name, l := range m.locks {
		if l.name != name {
			return fmt.Errorf("lock %q is listed as %q", l.name, name)
		}
		if err := m.checkLock(l, &n); err != nil {
			return fmt.Errorf("lock %q: %w", name, err)
		}
	}
	if err := m.checkLists(); err != nil {
		return err
	}
	if err := m.checkDeadlines(); err != nil {
		return err
	}
	if err := m.checkUnreaped(&n); err != nil {
		return err
	}
	has := tally{
		claims: len(m.claims), waits: len(m.waits), deadlines: len(m.deadlines), starving: m.starving.Len,
		waiting: size(m.waiting), holding: size(m.holding), asking: size(m.asking), bound: size(m.bound), free: size(m.remembered),
		touched: len(m.touched), unreaped: len(m.unreaped), unknown: size(m.unknown),
	}
	if has != n {
		return fmt.Errorf("the locks have %+v, the indexes %+v", n, has)
	}
	return nil
}

// A tally counts what there is on all locks, and what there should be in the indexes. Together with every element of
// an index being in its place, equal numbers mean that each index is complete.
type tally struct {
	claims, waits, deadlines, starving, waiting, holding, asking, bound, free, touched, unreaped, unknown int
}

func (m *Manager) tally(c *claim, n *tally) {
	n.claims++
	if c.hold != nil && c.Bind == ToConnection {
		n.bound++
	}
	switch {
	case c.hold == nil:
		n.waiting++
		n.asking++
		if m.waits[c.ID] == c {
			n.waits++
		}
	case onProcess(c):
		n.holding++
	}
	if c.deadline != never {
		n.deadlines++
	}
}

// onProcess reports whether a hold ends with its owner's process.
func onProcess(c *claim) bool { return c.Bind == ToConnection || c.Bind == ToProcess }

func (m *Manager) checkLock(l *lock, n *tally) error {
	if l.touched {
		return errors.New("is touched between steps")
	}
	if l.free() != l.idle {
		return fmt.Errorf("idle is %v", l.idle)
	}
	if l.idle {
		if l.previous == nil {
			return errors.New("is free, and there is nothing to remember")
		}
		n.free++
	}
	for e := l.abandoned; e != nil; e = e.Before {
		if !e.Abandoned() || e.How != Unreaped && (e.Before != nil || e != l.abandoned) {
			return fmt.Errorf("the abandoned end %+v is none, or hides another", e)
		}
	}
	if err := m.checkHolders(l, n); err != nil {
		return err
	}
	if err := m.checkQueue(l, n); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	grantable := l.queue.Len > 0 && m.grantable(l.queue.First)
	switch {
	case grantable && m.tokensFor(l.queue.First) && !m.pending:
		return fmt.Errorf("request %d could be granted, and waits", l.queue.First.ID)
	case grantable != l.starving:
		return fmt.Errorf("starving is %v", l.starving)
	case l.starving:
		n.starving++
	}
	return nil
}

func (m *Manager) checkHolders(l *lock, n *tally) error {
	var before Token
	used := 0
	for _, h := range l.holds {
		switch {
		case h.mode != l.holds[0].mode:
			return fmt.Errorf("token %d is %s, and the one before it is not", h.token, h.mode)
		case h.token <= before || h.token > m.last:
			return fmt.Errorf("token %d comes after %d, and the last was %d", h.token, before, m.last)
		case h.members.Len == 0:
			return fmt.Errorf("token %d is held by nobody", h.token)
		}
		before = h.token
		used += h.units
		err := checkList(h.members, inLine, func(c *claim) bool {
			m.tally(c, n)
			return c.hold == h && c.lock == l && c.Token == h.token && c.Mode == h.mode && c.Units == h.units &&
				c.Untold == h.untold && c.Told == h.told && c.Entries > 0 && m.known(c)
		})
		if err != nil {
			return fmt.Errorf("token %d: %w", h.token, err)
		}
	}
	if used != l.used || used > l.limit {
		return fmt.Errorf("%d units are used, and counted are %d of %d", used, l.used, l.limit)
	}
	return nil
}

func (m *Manager) checkQueue(l *lock, n *tally) error {
	var before RequestID
	return checkList(l.queue, inLine, func(c *claim) bool {
		inOrder := before < c.ID
		before = c.ID
		m.tally(c, n)
		first := m.waits[c.ID]
		return inOrder && c.lock == l && c.hold == nil && c.Token == 0 && m.known(c) && first != nil && first.ID == c.ID &&
			(c.Mode == Shared || c.Units >= 1 && c.Units <= l.limit)
	})
}

// checkUnreaped counts anew what is remembered of the ends that are Unreaped.
func (m *Manager) checkUnreaped(n *tally) error {
	refs := map[endKey]int{}
	count := func(l *lock, e *End) {
		for ; e != nil; e = e.Before {
			if e.How == Unreaped {
				refs[keyOf(l, e)]++
			}
		}
	}
	for _, l := range m.locks {
		count(l, l.previous)
		count(l, l.abandoned)
		for _, h := range l.holds {
			count(l, h.told)
		}
	}
	for k, want := range refs {
		if u := m.unreaped[k]; u == nil || u.refs != want || u.endKey != k || keyOf(k.lock, u.end) != k {
			return fmt.Errorf("lock %q remembers the end of token %d in %d places, and counted is %+v", k.lock.name, k.token, want, u)
		}
	}
	n.unreaped, n.unknown = len(refs), len(refs)
	return checkIndex("unknown end of process", m.unknown, ofUnknown, func(p Process, u *unreaped) bool {
		return u.owner.Process == p && m.unreaped[u.endKey] == u
	})
}

// known reports whether a claim is on a lock.
func (m *Manager) known(c *claim) bool {
	return m.claims[claimKey{c.lock, c.Owner}] == c && m.locks[c.Name] == c.lock
}

func (m *Manager) checkLists() error {
	err := errors.Join(
		checkIndex("waiting process", m.waiting, ofProcess, func(p Process, c *claim) bool {
			return c.Owner.Process == p && c.hold == nil && m.known(c)
		}),
		checkIndex("holding process", m.holding, ofProcess, func(p Process, c *claim) bool {
			return c.Owner.Process == p && c.hold != nil && onProcess(c) && m.known(c)
		}),
		checkIndex("asking connection", m.asking, ofConn, func(id ConnID, c *claim) bool {
			return c.Conn == id && c.hold == nil && m.known(c)
		}),
		checkIndex("bound to connection", m.bound, ofConn, func(id ConnID, c *claim) bool {
			return c.Conn == id && c.hold != nil && c.Bind == ToConnection && m.known(c)
		}),
		checkIndex("shown hold", m.acting, forHold, func(h *hold, a *acting) bool {
			return a.hold == h && a.claim.hold == nil && m.known(a.claim)
		}),
		checkIndex("part of a set", m.rest, forRest, func(k claimKey, a *acting) bool {
			member := m.claims[k]
			return a.part == k.lock && a.claim.Owner == k.owner && a.claim.hold == nil && m.known(a.claim) &&
				member != nil && member.hold != nil
		}),
		checkIndex("remembered for uid", m.remembered, among, func(uid uint32, l *lock) bool {
			return l.idle && l.previous.UID == uid && m.locks[l.name] == l
		}),
		checkList(m.starving, among, func(l *lock) bool { return l.starving && m.locks[l.name] == l }),
	)
	for uid, locks := range m.remembered {
		if locks.Len > MaxRemembered {
			err = errors.Join(err, fmt.Errorf("%d locks are remembered for uid %d", locks.Len, uid))
		}
	}
	return err
}

func checkIndex[K comparable, T any](
	what string, x index[K, T], via func(*T) *list.Link[T], belongs func(K, *T) bool,
) error {
	for k, l := range x {
		if l.Len == 0 {
			return fmt.Errorf("%s %v: is listed with nothing", what, k)
		}
		if err := checkList(l, via, func(e *T) bool { return belongs(k, e) }); err != nil {
			return fmt.Errorf("%s %v: %w", what, k, err)
		}
	}
	return nil
}

func checkList[T any](l list.List[T], via func(*T) *list.Link[T], belongs func(*T) bool) error {
	if !l.Check(via) {
		return fmt.Errorf("its %d elements are not linked both ways, or not as many", l.Len)
	}
	var err error
	at := 0
	l.All(via, func(x *T) bool {
		if !belongs(x) {
			err = fmt.Errorf("element %d does not belong there", at)
		}
		at++
		return err == nil
	})
	return err
}

func (m *Manager) checkDeadlines() error {
	for i, c := range m.deadlines {
		switch {
		case c.heapAt != i || c.hold == nil && m.waits[c.ID] != c || c.hold != nil && c.Expires == 0:
			return fmt.Errorf("deadline %d is of request %d, which has none there", i, c.ID)
		case m.deadlines.Less(i, max(i-1, 0)/2):
			return fmt.Errorf("deadline %d is before the one above it", i)
		}
	}
	return nil
}

func size[K comparable, T any](x index[K, T]) int {
	sum := 0
	for _, l := range x {
		sum += l.Len
	}
	return sum
}
