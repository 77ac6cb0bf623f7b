package messages

import (
	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/list"
	"github.com/ipcd/ipcd/internal/session"
)

// A session is set aside, with its commands, while it must wait for what its user has in line (delivery.go), or would rather wait for a
// receiver than have it miss something (mayblock.go). When that may be out of the way, the session looks again whether it can go on. Very many
// may wait for the same, and then they go on bit by bit, in their order.

// An obstacle is what a session waits for: a subscriber, a group, or what a user has in line. The zero one is none.
type obstacle struct {
	sess *session.Session
	of   bus.Sharing
	line bool
	user uint32
}

// A crowd is those who wait for the same.
type crowd struct {
	by      obstacle
	waiting list.List[aside]
	freed   bool
	among   list.Link[crowd] // of those that wait for groups; once it is freed, of those that are
}

// An aside is a session that is set aside.
type aside struct {
	sess *session.Session
	in   *crowd // nil: it goes on
	at   list.Link[aside]
}

func inCrowd(a *aside) *list.Link[aside]     { return &a.at }
func amongCrowds(c *crowd) *list.Link[crowd] { return &c.among }

// asides are all of them.
type asides struct {
	part   session.Part[aside]
	n      int
	crowds map[obstacle]*crowd // those that are not freed
	groups list.List[crowd]    // of these, those that wait for groups
	freed  list.List[crowd]    // who goes on, bit by bit
	sweep  int                 // so many of groups are to be freed, too: see memberTakes
}

const (
	// asidesPerStep is how many go on before the clock is looked at.
	asidesPerStep = 64
	// fewCrowds is for how many groups it is found out at once whether a member is in them.
	fewCrowds = 64
)

// setAside has a session wait with its commands until an obstacle may be out of the way.
func (s *Service) setAside(sess *session.Session, by obstacle) {
	x := &s.asides
	c := x.crowds[by]
	if c == nil {
		c = &crowd{by: by}
		x.crowds[by] = c
		if by.isGroup() {
			x.groups.Push(c, amongCrowds)
		}
	}
	a := x.part.In(sess)
	a.sess, a.in = sess, c
	c.waiting.Push(a, inCrowd)
	x.n++
	sess.Park()
}

func (o *obstacle) isGroup() bool { return o.of != bus.Sharing{} }

// free has those go on who wait for what may be out of the way, when MoveLine comes to them.
func (s *Service) free(by obstacle) {
	x := &s.asides
	c := x.crowds[by]
	if c == nil {
		return
	}
	x.forget(c)
	c.freed = true
	x.freed.Push(c, amongCrowds)
}

// forget has nobody more join a crowd.
func (x *asides) forget(c *crowd) {
	delete(x.crowds, c.by)
	if c.by.isGroup() {
		x.groups.Remove(c, amongCrowds)
	}
}

// leaveAside has a session wait for nothing any more.
func (s *Service) leaveAside(sess *session.Session) {
	x := &s.asides
	a := x.part.Of(sess)
	if a == nil || a.in == nil {
		return
	}
	c := a.in
	c.waiting.Remove(a, inCrowd)
	a.in = nil
	x.n--
	switch {
	case c.waiting.Len > 0:
	case c.freed:
		x.freed.Remove(c, amongCrowds)
	default:
		x.forget(c)
	}
}

// goOn has a session that is set aside look again whether it can go on.
func (s *Service) goOn(sess *session.Session) {
	s.leaveAside(sess)
	sess.Unpark()
}

// isFreeing reports whether somebody is to go on.
func (x *asides) isFreeing() bool { return x.freed.Len > 0 || x.sweep > 0 && x.groups.Len > 0 }

// goOnBehind has those go on whose obstacle may be out of the way, as many as this part of the turn has time for.
func (s *Service) goOnBehind() {
	x := &s.asides
	for i := 1; x.isFreeing(); i++ {
		if x.freed.Len == 0 {
			x.sweep--
			s.free(x.groups.First.by)
		}
		s.goOn(x.freed.First.waiting.First.sess)
		if i%asidesPerStep == 0 && s.set.Net.Over() && !s.set.Stopping {
			return
		}
	}
	x.sweep = 0
}

// allGoOn has all go on at once.
func (s *Service) allGoOn() {
	x := &s.asides
	for by := range x.crowds {
		s.free(by)
	}
	for x.freed.Len > 0 {
		s.goOn(x.freed.First.waiting.First.sess)
	}
}

// memberTakes has those go on who wait for a group of which a session is a member: it can be given something now, it may be. If they wait for
// very many groups, all of them look again.
func (s *Service) memberTakes(member *session.Session) {
	x := &s.asides
	if x.groups.Len > fewCrowds {
		x.sweep = x.groups.Len
		return
	}
	x.groups.All(amongCrowds, func(c *crowd) bool {
		if s.groups.IsMember(member, c.by.of) {
			s.free(c.by)
		}
		return true
	})
}

// Parked is how many sessions are set aside.
func (s *Service) Parked() int { return s.asides.n }

// verifyAsides panics if a session waits for nothing, or is counted wrongly.
func (s *Service) verifyAsides() {
	n := 0
	count := func(c *crowd) bool {
		if c.waiting.Len == 0 || !c.waiting.Check(inCrowd) || c.freed == (s.asides.crowds[c.by] == c) {
			panic("those who wait for the same are not in order")
		}
		n += c.waiting.Len
		return true
	}
	for _, c := range s.asides.crowds {
		count(c)
	}
	s.asides.freed.All(amongCrowds, count)
	if n != s.asides.n || !s.asides.freed.Check(amongCrowds) || !s.asides.groups.Check(amongCrowds) {
		panic("those who are set aside are not in order")
	}
}
