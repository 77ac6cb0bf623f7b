package bus

import (
	"fmt"
	"strings"
)

// Retained keeps one value for each of some topics, the last that was set, and finds those whose topics a filter matches. It is a
// tree of the topics' levels, so a filter that has no wildcards costs one way through it, and one that has some no more than what is
// below the levels before them. The zero Retained is empty.
type Retained[V any] struct {
	root leaf[V]
	n    int
}

// A leaf is a place in the tree; a topic's levels are the way to its own. Its children are in a list, in the order in which they
// came, so that who looks at them a few at a time can go on where he was.
//
// Invariant: below the root there is no leaf without a value and without children. One that was taken out is gone, and still says
// which was behind it.
type leaf[V any] struct {
	parent        *leaf[V]
	level         string
	children      shrinkingMap[string, *leaf[V]] // by their levels, if there were two or more
	first, last   *leaf[V]                       // of the children
	before, after *leaf[V]                       // of the parent's children

	value V
	has   bool // a value
	gone  bool
}

// Len is how many topics have a value.
func (r *Retained[V]) Len() int { return r.n }

// Get returns the value of a topic.
func (r *Retained[V]) Get(topic string) (v V, ok bool) {
	if l := r.find(topic); l != nil {
		return l.value, l.has
	}
	return v, false
}

// Set has a topic, which must be one, have a value from now on. It returns the value that it had before.
func (r *Retained[V]) Set(topic string, v V) (before V, had bool) {
	l := &r.root
	for more := true; more; {
		var level string
		level, topic, more = strings.Cut(topic, "/")
		child := l.child(level)
		if child == nil {
			child = l.add(strings.Clone(level)) // or it would keep all of the topic
		}
		l = child
	}
	before, had = l.value, l.has
	l.value, l.has = v, true
	if !had {
		r.n++
	}
	return before, had
}

// Delete has a topic have no value any more. It returns the value that it had.
func (r *Retained[V]) Delete(topic string) (v V, had bool) {
	l := r.find(topic)
	if l == nil || !l.has {
		return v, false
	}
	v = l.value
	var none V
	l.value, l.has = none, false
	r.n--
	for ; l.parent != nil && !l.has && l.first == nil; l = l.parent {
		l.parent.remove(l)
	}
	return v, true
}

func (r *Retained[V]) find(topic string) *leaf[V] {
	l := &r.root
	for more := true; more && l != nil; {
		var level string
		level, topic, more = strings.Cut(topic, "/")
		l = l.child(level)
	}
	return l
}

// child is the one of a level. Most leaves have one at most, and need no map.
func (l *leaf[V]) child(level string) *leaf[V] {
	switch {
	case l.children.len() > 0:
		return l.children.get(level)
	case l.first != nil && l.first.level == level:
		return l.first
	}
	return nil
}

func (l *leaf[V]) add(level string) *leaf[V] {
	child := &leaf[V]{parent: l, level: level, before: l.last}
	if l.last == nil {
		l.first = child
	} else {
		l.last.after = child
	}
	if l.last = child; child != l.first {
		if l.children.len() == 0 {
			l.children.set(l.first.level, l.first)
		}
		l.children.set(level, child)
	}
	return child
}

func (l *leaf[V]) remove(child *leaf[V]) {
	if child.before == nil {
		l.first = child.after
	} else {
		child.before.after = child.after
	}
	if child.after == nil {
		l.last = child.before
	} else {
		child.after.before = child.before
	}
	l.children.delete(child.level)
	child.gone = true
}

// A Lookup goes through the values whose topics a filter matches, a step at a time, for who has something else to do meanwhile. Values
// may be set and deleted between the steps: it finds each topic once that had a value all the time, with the value that it has then,
// and of the others some.
type Lookup[V any] struct {
	levels []string
	stack  []spot[V]
}

// A spot is a leaf that is to be looked at, and how many levels of the filter the way to it has used.
type spot[V any] struct {
	leaf *leaf[V]
	used int
	each bool // and those behind it among its parent's children
	all  bool // all below is matched
}

// Lookup begins to look for the values of the topics that a filter matches, which must be a filter.
func (r *Retained[V]) Lookup(filter string) *Lookup[V] {
	return &Lookup[V]{levels: strings.Split(filter, "/"), stack: []spot[V]{{leaf: &r.root}}}
}

// All begins to look for the values of all topics, also of those that no filter with a wildcard at its beginning matches.
func (r *Retained[V]) All() *Lookup[V] {
	return &Lookup[V]{stack: []spot[V]{{leaf: &r.root, all: true}}}
}

// Next looks at one leaf. It returns the value that is there, if it is one of those; more says that there is more to look at.
func (m *Lookup[V]) Next() (v V, ok, more bool) {
	if len(m.stack) == 0 {
		return v, false, false
	}
	top := &m.stack[len(m.stack)-1]
	at := *top
	l := at.leaf
	if top.leaf = l.after; !at.each || top.leaf == nil {
		*top = spot[V]{} // a leaf that has gone since would be kept from the garbage collector
		m.stack = m.stack[:len(m.stack)-1]
	}
	switch {
	case l.gone, at.each && m.levels != nil && l.parent.parent == nil && l.level == reservedLevel: // which no wildcard matches
	case at.all:
		v, ok = l.value, l.has
		m.look(spot[V]{leaf: l.first, each: true, all: true})
	case at.used == len(m.levels):
		v, ok = l.value, l.has
	case m.levels[at.used] == "#":
		v, ok = l.value, l.has
		m.look(spot[V]{leaf: l.first, each: true, all: true})
	case m.levels[at.used] == "+":
		m.look(spot[V]{leaf: l.first, used: at.used + 1, each: true})
	default:
		m.look(spot[V]{leaf: l.child(m.levels[at.used]), used: at.used + 1})
	}
	return v, ok, len(m.stack) > 0
}

func (m *Lookup[V]) look(at spot[V]) {
	if at.leaf != nil {
		m.stack = append(m.stack, at)
	}
}

// Check looks for what contradicts itself, in time by what there is.
func (r *Retained[V]) Check() error {
	n := 0
	err := r.root.check(&n)
	if err == nil && n != r.n {
		err = fmt.Errorf("%d values are retained, counted %d", n, r.n)
	}
	return err
}

func (l *leaf[V]) check(n *int) error {
	if l.has {
		*n++
	}
	if l.gone || l.parent != nil && !l.has && l.first == nil {
		return fmt.Errorf("the leaf %q is there for nothing, gone: %v", l.level, l.gone)
	}
	count := 0
	var before *leaf[V]
	for child := l.first; child != nil; before, child = child, child.after {
		count++
		if child.parent != l || child.before != before || l.child(child.level) != child {
			return fmt.Errorf("the leaf %q is not where it belongs", child.level)
		}
		if err := child.check(n); err != nil {
			return err
		}
	}
	if named := l.children.len(); l.last != before || count != named && (count > 1 || named > 0) {
		return fmt.Errorf("%d leaves are listed below %q, and %d are there", count, l.level, l.children.len())
	}
	return nil
}
