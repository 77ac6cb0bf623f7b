package bus

// Whoever is a member of very many groups, for which messages wait, may be able to take a few of them, and then none again for a while. So he
// does not come back to all groups at once when he is free, nor is he taken out of all of them when he is not: with each step of Next he comes
// back to one more, as long as he is free, and that one is the next to give.

// Free says that s can take messages, until Busy says that it cannot.
func (g *Groups[S, M]) Free(s S) {
	t := g.takers.get(s)
	if t == nil || t.free {
		return
	}
	t.free = true
	if t.out.Len > 0 && !t.isBack {
		t.isBack = true
		g.back.Push(t, inBack[S, M])
	}
	g.verify()
}

// Busy says that s cannot take any message now.
func (g *Groups[S, M]) Busy(s S) {
	if t := g.takers.get(s); t != nil {
		t.free = false
	}
}

// Take has a member be given n messages more, and then none before it says so again; below 0: as many as come. It reports whether s is
// a member. Who joins takes as many as come.
func (g *Groups[S, M]) Take(s S, of Sharing, n int) bool {
	m := g.members.get(memberKey[S]{s, of})
	if m == nil {
		return false
	}
	if !m.limited {
		m.left = 0
	}
	m.limited, m.left = n >= 0, m.left+max(n, 0)
	if m.out {
		g.comeBack(m)
	}
	g.verify()
	return true
}

// isSated reports whether a member takes nothing before it says so.
func (m *sharer[S, M]) isSated() bool { return m.limited && m.left == 0 }

// stayOut has a member that is out wait until its taker is free, unless it has to say itself that it takes something.
func (m *sharer[S, M]) stayOut() {
	m.out = true
	if m.waits = !m.isSated(); m.waits {
		m.taker.out.Push(m, isOut[S, M])
	}
}

func (m *sharer[S, M]) waitNoMore() {
	if m.waits {
		m.waits = false
		m.taker.out.Remove(m, isOut[S, M])
	}
}

// comeBack has a member that is out be one of those who may be given something, if it can take it.
func (g *Groups[S, M]) comeBack(m *sharer[S, M]) {
	m.waitNoMore()
	if !m.takes() {
		m.stayOut()
		return
	}
	m.out = false
	g.enter(m)
	if g.Back != nil {
		g.Back(m.group)
	}
}

// canTake reports whether somebody can be given a message. If not, he is not free.
func (g *Groups[S, M]) canTake(t *taker[S, M]) bool {
	t.free = t.free && (g.Takes == nil || g.Takes(t.who))
	return t.free
}

// bringBack has the first of those who are free come back to one group, which is then the first that is ready, if it was not.
func (g *Groups[S, M]) bringBack() {
	t := g.back.First
	if t == nil {
		return
	}
	if m := t.out.First; m != nil && g.canTake(t) {
		was := m.group.isReady
		if g.comeBack(m); m.group.isReady && !was {
			g.ready.Remove(m.group, inReady[S, M])
			g.ready.PushFirst(m.group, inReady[S, M])
		}
	}
	if !t.free || t.out.Len == 0 {
		g.backNoMore(t)
	}
}

func (g *Groups[S, M]) backNoMore(t *taker[S, M]) {
	if t.isBack {
		t.isBack = false
		g.back.Remove(t, inBack[S, M])
	}
}

// Next gives a message, if the step leads to one: the oldest of a group, to the member that was given the least which it has not been sent, and
// of these to the one that had none for the longest time. The groups take turns. more says that there is more to be done. Next is to be
// called after all other calls until it says that there is not, for some of that time later if it is very much: what is not given yet waits.
func (g *Groups[S, M]) Next() (given Given[S, M], ok, more bool) {
	g.bringBack()
	if group := g.ready.First; group != nil {
		given, ok = g.giveOf(group)
	}
	g.verify()
	return given, ok, g.ready.Len+g.back.Len > 0
}

// giveOf gives a message of a group that is ready, unless whose turn it is cannot take it.
func (g *Groups[S, M]) giveOf(group *Group[S, M]) (given Given[S, M], ok bool) {
	m := group.members.in[0]
	if !m.takes() || !g.canTake(m.taker) {
		group.members.leave(m)
		m.stayOut()
		g.settle(group)
		return given, false
	}
	p := group.queue.First
	group.take(p)
	p.member = m
	if m.limited {
		m.left--
	}
	m.taker.given.Push(p, ofParcel[S, M])
	g.turns.take(m)
	group.members.weigh(m, 1)
	given = Given[S, M]{m.taker.who, group.of, p.message, group.lost}
	m.taker.unsent += p.sendings(group.lost)
	group.lost = 0
	g.ready.Remove(group, inReady[S, M])
	group.isReady = false
	g.settle(group) // behind the others
	return given, true
}
