package account

import "slices"

// A Waiter is what stands in the queue of its user: a pointer to something that has room for who comes behind it.
type Waiter[T any] interface {
	comparable
	Next() *T
}

// Shares share a turn by users. What has something to do that the turn has no time for stands in the queue of its user. A turn
// looks after each user who has a queue, in rounds of one waiter each, as long as there is time: so who has thousands of
// connections that all want something waits for himself.
type Shares[T Waiter[T]] struct {
	Book  *Book
	Over  func() bool // reports whether there is no more time in the turn; who is served keeps to it, too
	Serve func(T)     // does something for who stood in a queue, who may take his place in it again
	Round func()      // is called when each user was looked after once, and before that those who had no queue in the turn before

	lines map[*User]*line[T]
	busy  []*line[T] // the same, in the order in which they are looked after
	old   int        // how many of these had a queue in the turn before
	spare []*line[T]
}

// A line is a user's queue.
type line[T Waiter[T]] struct {
	user        *User
	first, last T
}

// Join has somebody stand in the queue of a user. It must not stand in one already.
func (s *Shares[T]) Join(u *User, x T) {
	var none T
	l := s.lines[u]
	if l == nil {
		l = s.open(u)
	}
	if l.first == none {
		l.first = x
	} else {
		*l.last.Next() = x
	}
	l.last = x
}

func (s *Shares[T]) open(u *User) *line[T] {
	var l *line[T]
	if n := len(s.spare); n > 0 {
		l, s.spare = s.spare[n-1], s.spare[:n-1]
	} else {
		l = new(line[T])
	}
	l.user = u
	u.tie(1)
	if s.lines == nil {
		s.lines = map[*User]*line[T]{}
	}
	s.lines[u] = l
	s.busy = append(s.busy, l)
	return l
}

// leave takes the first off a queue.
func (l *line[T]) leave() T {
	var none T
	x := l.first
	next := x.Next()
	l.first, *next = *next, none
	if l.first == none {
		l.last = none
	}
	return x
}

// Waiting reports whether somebody stands in a queue.
func (s *Shares[T]) Waiting() bool { return len(s.busy) > 0 }

// Queued reports whether others of a user wait, so that who comes now has to wait behind them.
func (s *Shares[T]) Queued(u *User) bool {
	if len(s.busy) == 0 || s.Book.endless {
		return false
	}
	var none T
	l := s.lines[u]
	return l != nil && l.first != none
}

// Turn looks after the queues: after each once, and then as long as there is time. Those who had none in the turn before are first,
// as they ask for little.
func (s *Shares[T]) Turn() {
	var none T
	fresh := len(s.busy) - s.old
	if fresh > 0 && s.old > 0 { // fresh and old change places
		slices.Reverse(s.busy[:s.old])
		slices.Reverse(s.busy[s.old:])
		slices.Reverse(s.busy)
	}
	for round := 0; ; round++ {
		served := false
		for i := 0; i < len(s.busy); i++ { // who is served may make others busy
			if round == 0 && i == fresh && s.old > 0 && served {
				s.Round()
			}
			l := s.busy[i]
			if l.first == none || l.user.Overspent() || round > 0 && s.Over() {
				continue
			}
			s.Serve(l.leave())
			served = true
		}
		if !served {
			break
		}
		if round == 0 {
			s.Round()
		}
	}
	still := s.busy[:0]
	for _, l := range s.busy {
		if l.first != none {
			still = append(still, l)
			continue
		}
		u := l.user
		delete(s.lines, u)
		*l = line[T]{}
		s.spare = append(s.spare, l)
		u.tie(-1)
	}
	clear(s.busy[len(still):])
	s.busy, s.old = still, len(still)
	if len(still) == 0 {
		s.spare = s.spare[:min(len(s.spare), mostSpare)]
	}
}

// mostSpare is how many queues are kept for those who will need one.
const mostSpare = 16
