package bus

// Len is how many members there are.
func (g *Groups[S, M]) Len() int { return g.members.len() }

// IsMember reports whether s is a member.
func (g *Groups[S, M]) IsMember(s S, of Sharing) bool {
	return g.members.get(memberKey[S]{s, of}) != nil
}

// Count is of how many groups s is a member.
func (g *Groups[S, M]) Count(s S) int {
	if t := g.takers.get(s); t != nil {
		return t.members.Len
	}
	return 0
}

// A JoinedList gives what somebody shares, in the order in which it joined, for who must not look at very much at once. What it gave last may
// be left; if s leaves others, the list may end, too.
type JoinedList[S comparable, M any] struct{ next *sharer[S, M] }

// Joined is what s shares.
func (g *Groups[S, M]) Joined(s S) JoinedList[S, M] {
	if t := g.takers.get(s); t != nil {
		return JoinedList[S, M]{t.members.First}
	}
	return JoinedList[S, M]{}
}

// Next gives one more, if there is one.
func (l *JoinedList[S, M]) Next() (of Sharing, ok bool) {
	m := l.next
	if m == nil || m.group == nil { // it has left
		return Sharing{}, false
	}
	l.next = m.ofTaker.Next
	return m.group.of, true
}

// MayReceive reports whether s is a member of a group that a message of a topic is for. It looks at no more memberships than the budget has
// left, and says yes if there are more.
func (g *Groups[S, M]) MayReceive(s S, topic []byte, budget *int) bool {
	for l := g.Joined(s); ; {
		of, ok := l.Next()
		if !ok {
			return false
		}
		if *budget--; *budget < 0 || Match(of.Filter, topic) {
			return true
		}
	}
}
