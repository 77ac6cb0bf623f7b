package bus

import (
	"iter"
	"strings"

	"github.com/ipcd/ipcd/internal/list"
	"github.com/ipcd/ipcd/internal/spare"
)

// Groups shares messages among the members of groups: each message of a group goes to one of them. S stands for a member, and M is a
// message, which Groups only hands on.
//
// A message waits in the group's own queue until somebody can take it at once, so a member that is slow, or stands still, has nothing
// that others could have had but what was on its way to it. The caller says who can take something ([Groups.Free]) and who cannot
// ([Groups.Busy], Takes), takes one message after the other with [Groups.Next], which says whom it is for, and says what was sent
// ([Groups.Sent]). And a member may say itself how much it takes ([Groups.Take]).
type Groups[S comparable, M any] struct {
	// Verify makes every call check all invariants and panic if one does not hold, in time by what there is.
	Verify bool
	// MostQueued and MostBytes are how many messages may wait in one group that nobody can take, and how large they may be together.
	// What is more is lost, the oldest first.
	MostQueued, MostBytes int
	// Takes reports whether somebody who is free can be given a message now. If not, he is busy. It changes nothing here; nil: he can.
	Takes func(S) bool
	// Keep is told how many bytes wait in a group that nobody can take, and reports whether so many may. If not, the oldest are lost until so
	// many may. It is told, too, if there are less, the last time when the group has ended: 0. It changes nothing here; nil: as many may as MostBytes says.
	Keep func(g *Group[S, M], bytes int) bool
	// Back is told of a group when a member of it that could not be given anything may be again. It changes nothing here; nil: nobody wants to
	// know.
	Back func(*Group[S, M])
	// Gone is told of a message, once for each Put, when nobody will be given it any more: it was sent, or is lost. Of what is lost with a
	// group that ends it is not told. It changes nothing here; nil: nobody wants to know.
	Gone func(M)

	pools   pools[Group[S, M]]
	members shrinkingMap[memberKey[S], *sharer[S, M]]
	takers  shrinkingMap[S, *taker[S, M]]
	ready   list.List[Group[S, M]] // those with a message, and somebody who may be able to take it
	back    list.List[taker[S, M]] // who is free, and comes back to the groups that he is out of
	turns   turns
	lost    int
	found   []*Group[S, M] // what Match returned last, and scratch
	spare   spare.List[parcel[S, M]]
}

// A Group is those who share what a filter matches under one name. It is there as long as it has members.
type Group[S comparable, M any] struct {
	of      Sharing
	members ranking[*sharer[S, M]] // those who can take something, and some of the others
	len     int                    // of all members
	queue   list.List[parcel[S, M]]
	bytes   int // in the queue
	told    int // so many to Keep
	lost    int // of the messages, and no member was told so yet
	inReady list.Link[Group[S, M]]
	isReady bool
}

// Sharing is what the members share.
func (g *Group[S, M]) Sharing() Sharing { return g.of }

// Candidates are members, in no order: those who may be able to take something, among them.
func (g *Group[S, M]) Candidates() iter.Seq[S] {
	return func(yield func(S) bool) {
		for _, m := range g.members.in {
			if !yield(m.taker.who) {
				return
			}
		}
	}
}

// A parcel is a message on its way.
type parcel[S comparable, M any] struct {
	message M
	size    int
	group   *Group[S, M]
	member  *sharer[S, M] // who was given it; nil: it is in the queue
	lost    int           // what he is told with it is lost, unless that was sent
	at      list.Link[parcel[S, M]]
}

// A sharer is one member of one group. What it has to do is what it was given and has not been sent.
type sharer[S comparable, M any] struct {
	standing
	taker   *taker[S, M]
	group   *Group[S, M]
	ofTaker list.Link[sharer[S, M]] // among all of its
	isOut   list.Link[sharer[S, M]] // and among those that are out
	out     bool                    // of the group's ranking, until it can take something
	waits   bool                    // for that until its taker is free, in the list of those that are out
	limited bool                    // it takes only so much:
	left    int
}

// takes reports whether a member can be given something, as far as is known.
func (m *sharer[S, M]) takes() bool { return m.taker.free && (!m.limited || m.left > 0) }

func (m *sharer[S, M]) rank() *standing { return &m.standing }

// A taker is who is a member of groups, or has something to be sent still.
type taker[S comparable, M any] struct {
	who     S
	free    bool
	members list.List[sharer[S, M]] // in the order in which it joined
	out     list.List[sharer[S, M]] // those of them that are out, and wait for it
	given   list.List[parcel[S, M]] // in the order in which it was given them
	unsent  int                     // of them, and of what it is told with them
	isBack  bool                    // it is in back of the groups:
	inBack  list.Link[taker[S, M]]
}

func ofTaker[S comparable, M any](m *sharer[S, M]) *list.Link[sharer[S, M]]  { return &m.ofTaker }
func isOut[S comparable, M any](m *sharer[S, M]) *list.Link[sharer[S, M]]    { return &m.isOut }
func inBack[S comparable, M any](t *taker[S, M]) *list.Link[taker[S, M]]     { return &t.inBack }
func inReady[S comparable, M any](g *Group[S, M]) *list.Link[Group[S, M]]    { return &g.inReady }
func ofParcel[S comparable, M any](p *parcel[S, M]) *list.Link[parcel[S, M]] { return &p.at }

// KeepIn has what is kept of messages that are gone be in a stock. It is called before anything is put.
func (g *Groups[S, M]) KeepIn(s *spare.Stock) { g.spare.KeepIn(s) }

// Join makes s a member of a group. If it is one already, nothing changes. Whoever has no groups and nothing to be sent is free at first. The
// error is a *NameError.
func (g *Groups[S, M]) Join(s S, of Sharing) (joined bool, err error) {
	if err := of.check(); err != nil {
		return false, err
	}
	if g.members.get(memberKey[S]{s, of}) != nil {
		return false, nil
	}
	group := g.pools.all.get(of)
	if group == nil {
		of = Sharing{strings.Clone(of.Filter), strings.Clone(of.Group)} // which may be a small part of a large command
		group = &Group[S, M]{of: of}
		g.pools.add(of, group)
	}
	t := g.takers.get(s)
	if t == nil {
		t = &taker[S, M]{who: s, free: true}
		g.takers.set(s, t)
	}
	m := &sharer[S, M]{taker: t, group: group}
	g.members.set(memberKey[S]{s, group.of}, m)
	t.members.Push(m, ofTaker[S, M])
	g.turns.take(m)
	group.len++
	g.enter(m)
	g.verify()
	return true, nil
}

// enter has a member be one of those who may be given something.
func (g *Groups[S, M]) enter(m *sharer[S, M]) {
	m.group.members.add(m)
	g.settle(m.group)
}

// settle has a group be among those that are ready if it is, and keep no more than it may.
func (g *Groups[S, M]) settle(group *Group[S, M]) {
	if group.members.Len() > 0 && group.bytes < group.told { // what is more is about to be given
		g.keeps(group)
	}
	for group.members.Len() == 0 && !g.keeps(group) {
		p := group.queue.First
		group.take(p)
		group.lost++
		g.lost++
		g.gone(p)
	}
	ready := group.queue.Len > 0 && group.members.Len() > 0
	switch {
	case ready && !group.isReady:
		g.ready.Push(group, inReady[S, M])
	case !ready && group.isReady:
		g.ready.Remove(group, inReady[S, M])
	}
	group.isReady = ready
}

// gone has what is known of a parcel be forgotten, when it is in no list any more.
func (g *Groups[S, M]) gone(p *parcel[S, M]) {
	m := p.message
	g.spare.Give(p)
	if g.Gone != nil {
		g.Gone(m)
	}
}

// keeps reports whether what waits in a group may.
func (g *Groups[S, M]) keeps(group *Group[S, M]) bool {
	group.told = group.bytes
	may := g.Keep == nil || g.Keep(group, group.bytes)
	return group.queue.Len == 0 || may && group.queue.Len <= g.MostQueued && group.bytes <= g.MostBytes
}

// take takes a parcel out of the queue.
func (g *Group[S, M]) take(p *parcel[S, M]) {
	g.queue.Remove(p, ofParcel[S, M])
	g.bytes -= p.size
}

// Leave undoes Join. What s was given, and has not been sent yet, stays its own. If it was the last member, what waits is lost to
// everybody: ended is how many that were, and were lost before without a member being told.
func (g *Groups[S, M]) Leave(s S, of Sharing) (ended int, found bool) {
	m := g.members.get(memberKey[S]{s, of})
	if m == nil {
		return 0, false
	}
	ended = g.leave(m)
	g.forget(m.taker)
	g.verify()
	return ended, true
}

func (g *Groups[S, M]) leave(m *sharer[S, M]) (ended int) {
	group := m.group
	m.waitNoMore()
	if !m.out {
		group.members.leave(m)
	}
	m.taker.members.Remove(m, ofTaker[S, M])
	g.members.delete(memberKey[S]{m.taker.who, group.of})
	m.group = nil
	group.len--
	g.settle(group)
	if group.len == 0 {
		g.pools.remove(group.of, group)
		ended = group.lost + group.queue.Len
		g.lost += group.queue.Len
		group.queue, group.bytes = list.List[parcel[S, M]]{}, 0
		g.keeps(group)
	}
	return ended
}

// forget forgets a taker that has nothing any more.
func (g *Groups[S, M]) forget(t *taker[S, M]) {
	if t.members.Len+t.given.Len == 0 {
		g.takers.delete(t.who)
		g.backNoMore(t)
	}
}

// Drop ends all that s has in groups: what it was given and has not been sent, which the caller bounds, goes to the others, before what
// waits, and then it leaves, in the order in which it joined. It leaves so many groups at most; more says that some are left, and Drop is to
// be called again. Before that s must not join or be free. ended is as of Leave.
func (g *Groups[S, M]) Drop(s S, most int) (ended int, more bool) {
	t := g.takers.get(s)
	if t == nil {
		return 0, false
	}
	t.free = false
	t.unsent = 0
	touched := emptied(g.found)
	for p := t.given.Last; p != nil; p = t.given.Last {
		t.given.Remove(p, ofParcel[S, M])
		p.member.unload()
		p.member = nil
		if p.group.len == 0 {
			ended += 1 + p.lost
			g.lost++
			g.gone(p)
			continue
		}
		p.group.lost += p.lost // which was not told
		p.lost = 0
		p.group.queue.PushFirst(p, ofParcel[S, M])
		p.group.bytes += p.size
		touched = append(touched, p.group)
	}
	for _, group := range touched { // only now, or something older might be kept than what is lost
		g.settle(group)
	}
	g.found = touched
	for ; most > 0 && t.members.Len > 0; most-- {
		ended += g.leave(t.members.First)
	}
	g.forget(t)
	g.verify()
	return ended, g.takers.get(s) == t
}

// Put has a group have a message, unless the group has ended. taken says that it has it, and lost how many messages it has lost for it:
// older ones, or this one, which is not taken then.
func (g *Groups[S, M]) Put(group *Group[S, M], message M, size int) (taken bool, lost int) {
	p := g.spare.Take()
	p.message, p.size, p.group = message, size, group
	if group.len == 0 {
		g.gone(p)
		return false, 0
	}
	before := group.lost
	group.queue.Push(p, ofParcel[S, M])
	group.bytes += size
	g.settle(group)
	g.verify()
	return group.queue.Len > 0, group.lost - before
}

// Lost is how many messages all groups have lost so far, also those that have ended, whether somebody was told so or not.
func (g *Groups[S, M]) Lost() int { return g.lost }

// Waiting is how many messages wait in a group that nobody could take, and how large they are together.
func (g *Group[S, M]) Waiting() (messages, bytes int) { return g.queue.Len, g.bytes }

// All are the groups, in no order.
func (g *Groups[S, M]) All() iter.Seq[*Group[S, M]] {
	return func(yield func(*Group[S, M]) bool) {
		g.pools.all.all(func(_ Sharing, group *Group[S, M]) bool { return yield(group) })
	}
}

// A Given is a message for a member of a group.
type Given[S comparable, M any] struct {
	To      S
	Of      Sharing
	Message M
	Lost    int // so many that were older are lost to the group, which nobody was told before
}

// sendings is how many things are to be sent with a message: itself, and, before it, how many are lost.
func (p *parcel[S, M]) sendings(lost int) int {
	if p.lost = lost; lost > 0 {
		return 2
	}
	return 1
}

// Sent says that the first n of what s was given, and was not sent yet, have been sent: messages, and how many are lost, which is before the
// message that it comes with.
func (g *Groups[S, M]) Sent(s S, n int) {
	t := g.takers.get(s)
	if t == nil {
		return
	}
	for ; n > 0 && t.given.Len > 0; n-- {
		t.unsent--
		p := t.given.First
		if p.lost > 0 {
			p.lost = 0
			continue
		}
		t.given.Remove(p, ofParcel[S, M])
		p.member.unload()
		g.gone(p)
	}
	g.forget(t)
	g.verify()
}

// unload counts one less that a member has to be sent. It may have left meanwhile.
func (m *sharer[S, M]) unload() {
	if m.group == nil {
		m.load--
	} else {
		m.group.members.weigh(m, -1)
	}
}

// Unsent is how much s was given and has not been sent, counted as by Sent.
func (g *Groups[S, M]) Unsent(s S) int {
	if t := g.takers.get(s); t != nil {
		return t.unsent
	}
	return 0
}
