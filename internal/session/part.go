package session

// A Part is where a service keeps what it knows of sessions: one T for each session that it knows something of. It is asked for with the
// session, so that a session need not know its services; and most sessions have none.
type Part[T any] struct{ at int }

// NewPart makes a part of the sessions of a set. Whoever makes it gives it back when it is no more needed: when the session is closed.
func NewPart[T any](s *Set) Part[T] {
	s.parts++
	return Part[T]{s.parts - 1}
}

// Of is the part of a session, nil if it has none.
func (p Part[T]) Of(s *Session) *T {
	x := s.more
	if x == nil || p.at >= len(x.parts) {
		return nil
	}
	t, _ := x.parts[p.at].(*T)
	return t
}

// In is the part of a session, which is made if it has none.
func (p Part[T]) In(s *Session) *T {
	if t := p.Of(s); t != nil {
		return t
	}
	x, t := s.extra(), new(T)
	for len(x.parts) <= p.at {
		x.parts = append(x.parts, nil)
	}
	x.parts[p.at] = t
	return t
}
