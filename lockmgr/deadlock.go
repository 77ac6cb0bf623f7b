package lockmgr

import (
	"fmt"
	"slices"
	"strings"
)

// A DeadlockError refuses a request that would have waited for ever. It is an [ErrDeadlock].
type DeadlockError struct {
	// Cycle are the steps from the request to itself. The first claim is the request; the one that a step waits for is kept
	// from ending by the one that waits in the next, the last one by the request.
	Cycle []Step
}

// A Step is one claim that waits for another of the same lock: a hold, or one before it in the queue.
type Step struct{ Waits, For Claim }

func (e *DeadlockError) Error() string {
	var b strings.Builder
	for i, s := range e.Cycle {
		if i > 0 {
			b.WriteString("; ")
		}
		has := "holds"
		if s.For.Token == 0 {
			has = "waits for"
		}
		fmt.Fprintf(&b, "%v would wait for %q, which %v %s", s.Waits.Owner, s.For.Name, s.For.Owner, has)
	}
	return b.String()
}

// Is makes it an ErrDeadlock.
func (e *DeadlockError) Is(target error) bool { return target == ErrDeadlock }

// A search looks for what a request would wait for, directly and by way of others who wait, and whether that is the request
// itself.
//
// What waits for what is a graph. A claim in a queue waits for the one before it and for the holds that it is not
// compatible with. A hold does not end before its owners have stopped waiting for other locks, and those who act for
// it (Request.Shown). Only what lasts counts: waits that time out and holds that are leased end by themselves.
//
// In that graph a cycle is a deadlock if each lock has one unit. If there are more, who waits for some may get those that
// somebody outside the cycle gives back. So the search first finds what can be reached; if the request is among it, it
// grants whatever could be granted one after the other, taking who is granted to end and give back what he holds
// (that is the reduction of a resource graph: Holt, Some Deadlock Properties of Computer Systems, 1972). If the
// request could not be granted even then, it would wait for ever.
type search struct {
	m       *Manager
	request *Request
	wants   []*lock          // that the request would have to be granted
	stuck   map[*claim]bool  // waits that were found, by the first of their request, and are not granted yet
	found   []*claim         // the same in the order of finding
	locks   map[*lock]*claim // the first in the queue that is stuck
	closed  bool             // the request waits for something of its own
	steps   int
}

// maxSteps bounds what a search may cost, which can be as much as the square of what one user may have, to some milliseconds.
// A cycle through all that one user may have takes most of them.
const maxSteps = 1 << 16

// goOn counts a step. When it reports false the search is over, and what it found means nothing.
func (s *search) goOn() bool {
	s.steps++
	return s.steps <= maxSteps
}

// findDeadlock gives the cycle that a request would close if it waited, or nil.
func (m *Manager) findDeadlock(r *Request) []Step {
	if !m.mayClose(r) {
		return nil
	}
	asked := *r // so that a request is no allocation unless there is something to search for
	s := search{m: m, request: &asked, stuck: map[*claim]bool{}, locks: map[*lock]*claim{}}
	for _, name := range r.names() {
		l := m.locks[name]
		if h, _ := m.entered(l, name, r); h == nil && l != nil {
			s.wants = append(s.wants, l)
		}
	}
	s.reach()
	if !s.closed || s.reduce() {
		return nil
	}
	cycle := s.cycle()
	if !s.goOn() {
		return nil
	}
	return cycle
}

// mayClose reports whether a request can close a cycle at all. The last in a cycle waits for a hold that the request keeps
// from ending, so somebody is in the queue of that lock; or it is the request itself, which waits for an ancestor.
func (m *Manager) mayClose(r *Request) bool {
	for c := m.holding[r.Owner.Process].First; c != nil; c = c.processLink.Next {
		if c.Owner == r.Owner && c.keeps() && c.lock.queue.Len > 0 {
			return true
		}
	}
	for _, shown := range r.Shown {
		if m.locks[shown.Name].queue.Len > 0 { // what is not held is shown no longer
			return true
		}
	}
	for _, p := range r.Ancestors {
		for c := m.holding[p].First; c != nil; c = c.processLink.Next {
			if c.keeps() && slices.Contains(r.names(), c.lock.name) {
				return true
			}
		}
	}
	return false
}

// owns reports whether a hold does not end before the request does.
func (s *search) owns(l *lock, h *hold) bool {
	own := s.m.claims[claimKey{l, s.request.Owner}]
	switch {
	case own != nil && own.hold == h && own.keeps():
		return true
	case slices.Contains(s.request.Shown, Shown{l.name, h.token}):
		return s.lasts(h)
	}
	return slices.Contains(s.wants, l) && s.keptBy(h, s.request.Ancestors)
}

// keptBy reports whether one of these processes keeps a hold from ending.
func (s *search) keptBy(h *hold, processes []Process) bool {
	for c := h.members.First; c != nil && s.goOn(); c = c.lineLink.Next {
		if c.keeps() && slices.Contains(processes, c.Owner.Process) {
			return true
		}
	}
	return false
}

// keeps reports whether a member keeps its hold from ending for as long as its owner waits for something: a lease ends by
// itself, and the hold of an operator is ended by whoever may.
func (c *claim) keeps() bool { return onProcess(c) && c.Expires == 0 }

// asked is a request as the claim that it would be.
func asked(r *Request, name string) Claim {
	c := Claim{Request: *r}
	c.Name = name
	return c
}

// lasts reports whether a hold does not end by time.
func (s *search) lasts(h *hold) bool {
	for c := h.members.First; c != nil && s.goOn(); c = c.lineLink.Next {
		if c.Expires == 0 {
			return true
		}
	}
	return false
}

// keepers are the waits, by the first of their request, that keep a hold from ending.
func (s *search) keepers(h *hold) []*claim {
	var keepers []*claim
	keep := func(c *claim) {
		if c.Wait < 0 {
			keepers = append(keepers, s.m.leader(c))
		}
	}
	for c := h.members.First; c != nil && s.goOn(); c = c.lineLink.Next {
		if !c.keeps() {
			continue
		}
		for w := s.m.waiting[c.Owner.Process].First; w != nil && s.goOn(); w = w.processLink.Next {
			if w.Owner == c.Owner {
				keep(w)
			}
		}
	}
	for a := s.m.acting[h].First; a != nil && s.goOn(); a = a.link.Next {
		keep(a.claim)
	}
	return keepers
}

// before gives the nearest wait in a queue that lasts: before a claim, or the last of all.
func (s *search) before(l *lock, c *claim) *claim {
	at := l.queue.Last
	if c != nil {
		at = c.lineLink.Prev
	}
	for at != nil && at.Wait >= 0 && s.goOn() {
		at = at.lineLink.Prev
	}
	return at
}

// reach finds all that the request would wait for.
func (s *search) reach() {
	for _, l := range s.wants {
		s.reachFrom(l, nil)
	}
	for i := 0; i < len(s.found) && s.goOn(); i++ {
		for part := range s.m.waitingParts(s.found[i]) {
			s.reachFrom(part.lock, part)
		}
	}
}

// reachFrom finds what a claim on a lock waits for, or one that came last.
func (s *search) reachFrom(l *lock, c *claim) {
	if w := s.before(l, c); w != nil {
		s.find(w)
	}
	if _, ok := s.locks[l]; ok {
		return
	}
	s.locks[l] = nil
	for _, h := range l.holds {
		if !s.goOn() {
			return
		}
		if !s.lasts(h) {
			continue
		}
		s.closed = s.closed || s.owns(l, h)
		for _, w := range s.keepers(h) {
			s.find(w)
		}
	}
}

func (s *search) find(c *claim) {
	if w := s.m.leader(c); !s.stuck[w] {
		s.stuck[w] = true
		s.found = append(s.found, w)
	}
}

// reduce grants all that can be, and reports whether the request would be granted then.
func (s *search) reduce() bool {
	for l := range s.locks {
		s.locks[l] = l.queue.First
	}
	for granted := true; granted; {
		granted = false
		for _, w := range slices.Backward(s.found) { // the head of a queue was found after its tail
			if !s.goOn() {
				return false
			}
			if s.stuck[w] && s.grantable(w) {
				s.stuck[w] = false
				granted = true
			}
		}
	}
	for _, l := range s.wants {
		if s.head(l) != nil || !s.admits(l, s.request.Mode, l.units(s.request.Mode, s.request.Units)) {
			return false
		}
	}
	return true
}

func (s *search) grantable(w *claim) bool {
	for part := range s.m.waitingParts(w) {
		if s.head(part.lock) != part || !s.admits(part.lock, part.Mode, part.Units) {
			return false
		}
	}
	return true
}

// head is the first in a queue that is stuck.
func (s *search) head(l *lock) *claim {
	c := s.locks[l]
	for c != nil && (c.Wait >= 0 || !s.stuck[s.m.leader(c)]) && s.goOn() {
		c = c.lineLink.Next
	}
	s.locks[l] = c
	return c
}

// stays reports whether a hold does not end as it is.
func (s *search) stays(l *lock, h *hold) bool {
	return s.lasts(h) && (s.owns(l, h) || slices.ContainsFunc(s.keepers(h), func(w *claim) bool { return s.stuck[w] }))
}

// admits is [lock.admits] with the holds that stay.
func (s *search) admits(l *lock, m Mode, units int) bool {
	used := 0
	for _, h := range l.holds {
		if !s.goOn() {
			return false
		}
		if !s.stays(l, h) {
			continue
		}
		if (m == Shared) != (h.mode == Shared) {
			return false
		}
		used += h.units
	}
	return m == Shared || used+units <= l.limit
}

// cycle gives the shortest way from the request to what it keeps from ending, over what is stuck. There may be none: what
// the request would wait for may be stuck without its doing.
func (s *search) cycle() []Step {
	type node struct {
		claim *claim // nil for the request itself
		from  int    // the node before it
		waits *claim // the step by which it was reached
		on    *claim
	}
	nodes := []node{{}}
	seen := map[*claim]bool{}
	way := func(last node) []Step {
		steps := []Step{{last.waits.Claim, last.on.Claim}}
		for at := last.from; at > 0; at = nodes[at].from {
			steps = append(steps, Step{nodes[at].waits.Claim, nodes[at].on.Claim})
		}
		slices.Reverse(steps)
		return steps
	}
	for at := 0; at < len(nodes) && s.goOn(); at++ {
		for _, w := range s.blocked(nodes[at].claim) {
			if q := s.stuckBefore(w); q != nil && !seen[s.m.leader(q)] {
				seen[s.m.leader(q)] = true
				nodes = append(nodes, node{s.m.leader(q), at, w, q})
			}
			if s.admits(w.lock, w.Mode, w.Units) {
				continue
			}
			for _, h := range w.lock.holds {
				if !s.goOn() {
					return nil
				}
				if !s.stays(w.lock, h) {
					continue
				}
				first := h.members.First
				if s.owns(w.lock, h) {
					return way(node{nil, at, w, first})
				}
				for _, k := range s.keepers(h) {
					if s.stuck[k] && !seen[k] {
						seen[k] = true
						nodes = append(nodes, node{k, at, w, first})
					}
				}
			}
		}
	}
	return nil
}

// blocked gives the claims by which a request waits: those of the one that asks, if w is nil.
func (s *search) blocked(w *claim) []*claim {
	if w != nil {
		return slices.Collect(s.m.waitingParts(w))
	}
	var wants []*claim
	for _, l := range s.wants {
		c := &claim{Claim: asked(s.request, l.name), lock: l}
		c.Units = l.units(c.Mode, c.Units)
		c.lineLink.Prev = l.queue.Last
		wants = append(wants, c)
	}
	return wants
}

// stuckBefore is the nearest claim before another in its queue that is stuck.
func (s *search) stuckBefore(c *claim) *claim {
	for q := s.before(c.lock, c); q != nil && s.goOn(); q = s.before(c.lock, q) {
		if s.stuck[s.m.leader(q)] {
			return q
		}
	}
	return nil
}
