package account

import (
	"slices"
	"testing"
	"time"
)

// A waiter does something for so many turns of the queue, each of which takes a time.
type waiter struct {
	name  string
	user  *User
	takes time.Duration
	times int
	next  *waiter
}

func (w *waiter) Next() **waiter { return &w.next }

// A sharing is a queue with a clock of its own.
type sharing struct {
	Shares[*waiter]
	book Book
	now  time.Duration
	most time.Duration // how long a turn may be
	did  []string
}

func newSharing() *sharing {
	s := &sharing{book: Book{Slice: 10, Verify: true}, most: 10}
	s.Shares = Shares[*waiter]{
		Book: &s.book, Over: func() bool { return s.now > s.most }, Round: func() { s.did = append(s.did, "|") },
		Serve: func(w *waiter) {
			s.did = append(s.did, w.name)
			s.now += w.takes
			if w.times--; w.times > 0 {
				s.Join(w.user, w)
			}
		},
	}
	return s
}

func (s *sharing) join(uid uint32, name string, takes time.Duration, times int) {
	u := s.book.Of(uid)
	s.Join(u, &waiter{name: name, user: u, takes: takes, times: times})
}

func (s *sharing) turn(t *testing.T, want ...string) {
	t.Helper()
	s.did, s.now = nil, 0
	s.Turn()
	s.book.EndTurn()
	if !slices.Equal(s.did, want) {
		t.Errorf("a turn did %v, want %v", s.did, want)
	}
	if s.Waiting() != (s.book.Len() > 0) {
		t.Errorf("somebody waits: %v, and %d users are remembered", s.Waiting(), s.book.Len())
	}
}

// TestShares: of each user one is served in each turn, and more as long as there is time, in the order in which they came.
func TestShares(t *testing.T) {
	s := newSharing()
	s.turn(t)
	s.join(1, "a", 6, 1)
	s.join(1, "b", 4, 1)
	s.join(1, "c", 1, 1)
	s.join(2, "x", 1, 3)
	s.turn(t, "a", "x", "|", "b") // then it is over
	s.join(2, "y", 50, 1)         // more than all of a turn
	s.join(2, "z", 1, 1)
	s.turn(t, "c", "x", "|", "y")
	s.turn(t, "z", "|", "x")
	s.turn(t)
}

// TestFreshAreFirst: who had no queue in the turn before is served before those who had one, and told so before they are served.
func TestFreshAreFirst(t *testing.T) {
	s := newSharing()
	s.join(1, "a", 6, 3)
	s.join(2, "b", 6, 3)
	s.turn(t, "a", "b", "|")
	s.join(3, "c", 1, 2)
	s.join(4, "d", 1, 1)
	s.turn(t, "c", "d", "|", "a", "b", "|")
	s.turn(t, "c", "a", "b", "|") // d's line has gone, and c is as old as they are
}

// TestSharesOfMany: also if there is no time left in a turn, each user has one served.
func TestSharesOfMany(t *testing.T) {
	s := newSharing()
	for uid, name := range []string{"a", "b", "c", "d", "e"} {
		s.join(uint32(uid), name, 9, 2)
	}
	s.turn(t, "a", "b", "c", "d", "e", "|")
	s.turn(t, "a", "b", "c", "d", "e", "|")
}

// TestOverspentWaits: who has spent his time of the turn on commands is not served before the next.
func TestOverspentWaits(t *testing.T) {
	s := newSharing()
	s.join(1, "a", 1, 1)
	s.join(2, "b", 1, 1)
	s.book.Of(1).Spend(11)
	if !s.Queued(s.book.Of(1)) {
		t.Error("nobody is queued")
	}
	s.turn(t, "b", "|")
	s.turn(t, "a", "|")
	s.join(1, "a", 1, 1)
	s.book.Of(1).Spend(11)
	s.book.Unbound()
	if s.Queued(s.book.Of(1)) {
		t.Error("somebody has to wait for a turn that may not come")
	}
	s.turn(t, "a", "|")
}

// TestQueueAllocates: a queue that comes and goes allocates nothing.
func TestQueueAllocates(t *testing.T) {
	s := newSharing()
	s.Serve, s.Round = func(*waiter) {}, func() {}
	held := s.book.Of(1).Charge(Connections, 1)
	w := &waiter{user: held.User()}
	if n := testing.AllocsPerRun(100, func() {
		s.Join(w.user, w)
		s.Turn()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
