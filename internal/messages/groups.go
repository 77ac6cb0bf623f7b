package messages

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/internal/spare"
	"github.com/ipcd/ipcd/ipc/wire"
)

// Who subscribes to a filter as a member of a group shares what it matches with the other members: each message goes to one of them, as
// the engine says (bus.Groups). It is in the member's outbox at once, so it comes in its place among all that the member is sent; only
// what nobody could take at once, and what comes back from a member that has ended, comes later than it was published.
//
// Whether a member can take a message is known from what it reads. Once it was given so much (window), it is given more when it has read
// that: what lies in its socket and is not read is a stalled member's own, and no other's. What was not written into its socket as a whole
// when it ends is the others'; what was written is not, whether it was read or not, as nobody knows that.

// groups are those who share messages.
type groups struct {
	bus.Groups[*session.Session, *shared]
	members session.Part[member]
	keepers map[bus.Sharing]*keepers
	bytes   int                // that wait in all groups
	output  int                // the most that may wait in a group
	given   []*session.Session // who was given something that may not be written yet
	giving  bool
	more    bool // is to be given
	scratch []byte
	spare   spare.List[shared]
	texts   spare.Bytes
}

// A member is what is known of a session that is one, in whichever groups.
type member struct {
	messages, bytes int                    // that it was given since it was known to have read all
	grown           int                    // so many times its window is twice as large
	isGiven         bool                   // it is in groups.given
	patterns        map[bus.Sharing]string // of the memberships that were asked for as patterns
}

// keepers are the users whose sessions are members of a group, as long as there are any. What waits in the group is charged to the first.
type keepers struct {
	users  []keeper // in the order in which they came
	charge account.Charge
}

type keeper struct {
	user    *account.User
	members int
}

const (
	// windowMessages and windowBytes are how much a member is given before it is known to have read it: the last message may be larger.
	// As long as nobody has time for what waits, and a member reads, its window grows to twice as many messages each time: there are no
	// others who could have them at once.
	windowMessages = 16
	windowBytes    = 64 << 10
	mostGrown      = 4
	// mostGiven is how many steps are made at once to give what waits, in some hundred microseconds.
	mostGiven = 512
	// mostQueued is how many messages may wait in a group.
	mostQueued = 1 << 16
	// queuedSize is what a message that waits counts for, beside its bytes.
	queuedSize = 256
)

func (s *Service) initGroups() {
	g := &s.groups
	g.Verify, g.MostQueued = s.set.Verify, mostQueued
	g.Takes, g.Keep, g.Gone = s.takes, s.keepsInGroup, s.gone
	g.Back = func(g *bus.Group[*session.Session, *shared]) { s.free(obstacle{of: g.Sharing()}) }
	g.KeepIn(&s.set.Spare)
	g.spare.KeepIn(&s.set.Spare)
	g.texts.KeepIn(&s.set.Spare)
	g.members, g.keepers = session.NewPart[member](s.set), map[bus.Sharing]*keepers{}
}

// takes reports whether a session can be given a message of a group now. If not, it is asked for when it has read what it was sent.
func (s *Service) takes(sess *session.Session) bool {
	m := s.groups.members.In(sess)
	switch {
	case sess.Ending():
		return false
	case sess.Blocked() || !sess.IsReceiving():
	case m.messages < windowMessages<<m.grown && m.bytes < windowBytes:
		return true
	case sess.HasTaken():
		m.messages, m.bytes = 0, 0
		return true
	}
	sess.AwaitTaken()
	return false
}

// Taken has a session, which has read what it was sent, be given more.
func (s *Service) Taken(sess *session.Session) {
	m := s.groups.members.Of(sess)
	if m == nil || sess.Ending() {
		return
	}
	m.messages, m.bytes = 0, 0
	s.groups.Sent(sess, s.groups.Unsent(sess))
	s.groups.Free(sess)
	s.give()
	if m.messages >= windowMessages<<m.grown {
		m.grown = min(m.grown+1, mostGrown)
	} else {
		m.grown = 0
	}
	s.memberTakes(sess)
}

// hasGroups reports whether a message may be for groups that do not have it.
func (m *message) hasGroups() bool { return len(m.groups) > 0 || m.groupSearch != nil }

// groupsMustLineUp is mustLineUp for the groups that a message is for: any of their members who may be able to take it is given it.
func (s *Service) groupsMustLineUp(to *audience) bool {
	budget := orderBudget
	for _, g := range to.groups {
		for _, d := range s.line {
			if budget--; budget < 0 || d.lookup == nil && bus.Match(g.Sharing().Filter, d.topic) {
				return true
			}
			for sess := range g.Candidates() {
				if s.concerns(d, sess, &budget) {
					return true
				}
			}
		}
	}
	return false
}

// give gives members what waits, as long as somebody can take it: in so many steps at once, and for what takes more, later (see giveMore).
func (s *Service) give() {
	g := &s.groups
	g.more = true
	if g.giving { // what is sent may lead to an event
		return
	}
	g.giving = true
	for step := 0; g.more && step < mostGiven; step++ {
		var given bus.Given[*session.Session, *shared]
		var ok bool
		if given, ok, g.more = g.Next(); !ok {
			continue
		}
		sess, m := given.To, *given.Message
		m.group = given.Of.Group
		x := g.members.In(sess)
		b := m.appendGiven(g.scratch[:0], sess.Proto(), &given, x.patterns[given.Of])
		sess.SendCounted(b)
		x.messages++
		x.bytes += len(b)
		if !x.isGiven {
			x.isGiven = true
			g.given = append(g.given, sess)
		}
		if g.scratch = b; cap(b) > conn.LargestKept {
			g.scratch = nil
		}
		s.set.Net.Relieve()
	}
	g.giving = false
}

// giveMore goes on to give what give has left, as long as this part of the turn has time.
func (s *Service) giveMore() {
	for s.groups.more {
		if s.give(); s.set.Net.Over() && !s.set.Stopping {
			return
		}
	}
}

// appendGiven appends what a member is given: how many messages are lost, if any are, and the message. If it was asked for as a pattern,
// it has that form.
func (m *message) appendGiven(b []byte, p wire.Proto, given *bus.Given[*session.Session, *shared], pattern string) []byte {
	switch {
	case pattern == "" && given.Lost > 0:
		b = appendGroupLost(b, p, given.Of, given.Lost)
	case given.Lost > 0:
		b = appendEnvelopeLost(b, p, pattern, int64(given.Lost))
	}
	if pattern == "" {
		return m.append(b, p, bus.Filter, given.Of.Filter)
	}
	b = appendPMessage(b, p, pattern)
	b = wire.AppendBulk(b, m.topic)
	return m.appendEnvelope(b)
}

// EndTurn takes note of what was written in this turn of what members were given.
func (s *Service) EndTurn() {
	g := &s.groups
	left := g.given[:0]
	for _, sess := range g.given {
		switch {
		case sess.Dead():
		case sess.IsWritten():
			g.Sent(sess, g.Unsent(sess))
		case sess.Blocked():
			g.Busy(sess)
			sess.AwaitTaken()
		default: // it has to wait for its turn
			left = append(left, sess)
			continue
		}
		g.members.In(sess).isGiven = false
	}
	clear(g.given[len(left):])
	g.given = left
}

// keepsInGroup charges what waits in a group, and reports whether it may.
func (s *Service) keepsInGroup(g *bus.Group[*session.Session, *shared], bytes int) bool {
	k := s.groups.keepers[g.Sharing()]
	if k == nil { // it has no members yet, and nothing waits
		return true
	}
	s.groups.bytes += bytes - k.charge.Amount()
	k.charge.Set(bytes)
	return bytes <= s.groups.output && !k.charge.User().Exceeds(account.Output, 0)
}

// joined takes note of a member more, whose user may have to pay for what waits.
func (s *Service) joined(of bus.Sharing, user *account.User) {
	k := s.groups.keepers[of]
	if k == nil {
		k = &keepers{charge: user.Charge(account.Output, 0)}
		s.groups.keepers[of] = k
	}
	for i := range k.users {
		if k.users[i].user == user {
			k.users[i].members++
			return
		}
	}
	k.users = append(k.users, keeper{user, 1})
}

// left takes note that a session is no more a member.
func (s *Service) left(of bus.Sharing, sess *session.Session) {
	user, k := sess.User(), s.groups.keepers[of]
	if m := s.groups.members.Of(sess); m != nil {
		delete(m.patterns, of)
	}
	user.Count(account.Subscriptions, -bus.Weight(of.Filter))
	for i := range k.users {
		if k.users[i].user != user {
			continue
		}
		if k.users[i].members--; k.users[i].members > 0 {
			return
		}
		k.users = append(k.users[:i], k.users[i+1:]...)
		break
	}
	bytes := k.charge.Amount()
	if len(k.users) == 0 {
		delete(s.groups.keepers, of)
		s.free(obstacle{of: of})
	} else if k.charge.User() == user {
		k.charge.Release()
		k.charge = k.users[0].user.Charge(account.Output, bytes)
	}
}

// join makes a session a member of a group, which is given so many messages more, below 0 as many as come; as a pattern, if it was asked
// for as one. It reports whether it is one now, and has the reply ready if not.
func (s *Service) join(c *session.Call, of bus.Sharing, take int, pattern string) bool {
	sess := c.Session
	x := s.groups.members.In(sess)
	switch is := s.groups.IsMember(sess, of); {
	case is && x.patterns[of] != pattern:
		c.Fail(wire.CodeErr, "this connection is subscribed to %q in group %q already, in another form", session.Clip(of.Filter), session.Clip(of.Group))
		return false
	case !is && !c.Room(account.Subscriptions, bus.Weight(of.Filter)):
		return false
	}
	joined, err := s.groups.Join(sess, of)
	if err != nil {
		c.Fail(wire.CodeBadName, "%v", err)
		return false
	}
	if joined {
		sess.Mark(session.Subscribed)
		sess.User().Count(account.Subscriptions, bus.Weight(of.Filter))
		s.joined(of, sess.User())
		if pattern != "" {
			if x.patterns == nil {
				x.patterns = map[bus.Sharing]string{}
			}
			x.patterns[of] = pattern
		}
	}
	s.groups.Take(sess, of, take)
	s.free(obstacle{of: of}) // it may be given something now
	return true
}

// leave undoes join.
func (s *Service) leave(sess *session.Session, of bus.Sharing) bool {
	_, found := s.groups.Leave(sess, of) // what is lost with the group is counted
	if found {
		s.left(of, sess)
	}
	return found
}

// leaveAll gives what a session that is gone was not sent to the other members, and ends its memberships, or as many as may be ended at
// once. It reports whether none is left.
func (s *Service) leaveAll(sess *session.Session) bool {
	g := &s.groups
	if !sess.Is(session.Subscribed) {
		return true
	}
	list, first := g.Joined(sess), make([]bus.Sharing, 0, MostDropped)
	for of, ok := list.Next(); ok && len(first) < MostDropped; of, ok = list.Next() {
		first = append(first, of)
	}
	g.Sent(sess, g.Unsent(sess)-sess.Unsent())
	_, more := g.Drop(sess, MostDropped)
	for _, of := range first {
		s.left(of, sess)
	}
	s.give()
	return !more
}

// cutGroup is the group that a pattern means, and its filter. They need not be right.
func cutGroup(pattern string) (of bus.Sharing, ok bool) {
	rest, ok := strings.CutPrefix(pattern, bus.GroupPattern)
	of.Group, of.Filter, _ = strings.Cut(rest, "/")
	return of, ok
}

// joinAsPattern is join for a pattern, in which both names are.
func (s *Service) joinAsPattern(c *session.Call, of bus.Sharing, pattern string) bool {
	if err := bus.CheckGroup(of.Group); err != nil {
		c.Fail(wire.CodeBadName, "%v", err)
		return false
	}
	return s.join(c, of, -1, pattern)
}

// A groupList gives memberships of a session, those that were asked for as patterns or the others. The zero one gives none.
type groupList struct {
	all        bus.JoinedList[*session.Session, *shared]
	patterns   map[bus.Sharing]string
	asPatterns bool
}

func (s *Service) groupsBy(sess *session.Session, asPatterns bool) groupList {
	m := s.groups.members.Of(sess)
	if m == nil {
		return groupList{}
	}
	return groupList{s.groups.Joined(sess), m.patterns, asPatterns}
}

// next looks at so many memberships at most for one more, and gives it if one of them is, and its pattern. It reports whether there may be
// more: see [bus.TextList].
func (l *groupList) next(most int) (of bus.Sharing, pattern string, found, more bool) {
	for ; most > 0; most-- {
		if of, more = l.all.Next(); !more {
			return of, "", false, false
		}
		if pattern = l.patterns[of]; (pattern != "") == l.asPatterns {
			return of, pattern, true, true
		}
	}
	return of, "", false, true
}

// groupPattern is the pattern as which a membership was asked for, "" if it was not, or there is none.
func (s *Service) groupPattern(sess *session.Session, of bus.Sharing) string {
	if m := s.groups.members.Of(sess); m != nil {
		return m.patterns[of]
	}
	return ""
}

// groupPatterns is how many memberships were asked for as patterns.
func (s *Service) groupPatterns(sess *session.Session) int {
	if m := s.groups.members.Of(sess); m != nil {
		return len(m.patterns)
	}
	return 0
}

// Memberships is of how many groups a session is a member.
func (s *Service) Memberships(sess *session.Session) int { return s.groups.Count(sess) }

// Groups is how many groups there are, and how many bytes wait in them.
func (s *Service) Groups() (groups, bytes int) { return len(s.groups.keepers), s.groups.bytes }

// countGroups counts what a session has of groups, and its user is charged for.
func (s *Service) countGroups(sess *session.Session, found account.Count) {
	list := s.groups.Joined(sess)
	for of, ok := list.Next(); ok; of, ok = list.Next() {
		found.Add(sess.User().UID(), account.Subscriptions, bus.Weight(of.Filter))
	}
}

// verifyGroups panics if somebody else pays for a group than should, and counts what it costs whom.
func (s *Service) verifyGroups(found account.Count) {
	if !s.groups.spare.Check() {
		panic("a message that no group has is not as if it were new")
	}
	groups, all := 0, 0
	for g := range s.groups.All() {
		groups++
		k := s.groups.keepers[g.Sharing()]
		if k == nil || k.charge.User() != k.users[0].user {
			panic(fmt.Sprintf("the group %s is kept by somebody else", g.Sharing()))
		}
		_, bytes := g.Waiting()
		found.Add(k.charge.User().UID(), account.Output, bytes)
		all += bytes
	}
	if groups != len(s.groups.keepers) || all != s.groups.bytes {
		panic(fmt.Sprintf("there are %d groups with %d bytes, counted %d with %d", groups, all, len(s.groups.keepers), s.groups.bytes))
	}
}

// appendGroupLost appends the push that says that n messages are lost to a group.
func appendGroupLost(b []byte, p wire.Proto, of bus.Sharing, n int) []byte {
	b = p.AppendPush(b, 4)
	b = append(b, "$8\r\nbus.lost\r\n"...)
	b = wire.AppendBulk(b, of.Filter)
	b = wire.AppendInt(b, int64(n))
	b = p.AppendMap(b, 1)
	b = wire.AppendBulk(b, "group")
	return wire.AppendBulk(b, of.Group)
}

// isOfGroup reports whether a value is what was given to a member of a group: a message (see [message.appendMore]), or how many are lost.
func isOfGroup(v []byte) bool {
	if len(v) == 0 || v[0] != '>' && v[0] != '*' {
		return false
	}
	if rest, ok := bytes.CutPrefix(v[1:], []byte("4\r\n$8\r\nbus.lost\r\n")); ok {
		_, rest = cutBulk(rest)
		return len(rest) > 0 && rest[0] == ':'
	}
	if rest, ok := bytes.CutPrefix(v[1:], []byte("4\r\n$8\r\npmessage\r\n")); ok {
		pattern, _ := cutBulk(rest)
		return bytes.HasPrefix(pattern, []byte(bus.GroupPattern))
	}
	rest, ok := bytes.CutPrefix(v[1:], []byte("11\r\n$11\r\nbus.message\r\n"))
	if !ok {
		return false
	}
	for range 3 { // the filter, the topic, the payload
		if _, rest = cutBulk(rest); rest == nil {
			return false
		}
	}
	for range 4 { // the numbers: seq, time, pid, uid
		if rest = cutInt(rest); rest == nil {
			return false
		}
	}
	if _, rest = cutBulk(rest); rest == nil { // the unit
		return false
	}
	if rest = cutInt(rest); rest == nil { // the count
		return false
	}
	_, line := conn.Head(rest)
	return bytes.HasPrefix(rest[line:], []byte("$5\r\ngroup\r\n"))
}

// cutInt takes a number off; nil if there is none.
func cutInt(b []byte) (rest []byte) {
	if len(b) == 0 || b[0] != ':' {
		return nil
	}
	_, line := conn.Head(b)
	return b[line:]
}
