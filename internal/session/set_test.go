package session

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/conn/conntest"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/spare"
)

// A host executes nothing.
type host struct{}

func (host) Execute(*Session, [][]byte) conn.Outcome { return conn.Done }
func (host) Continue(*Session) bool                  { return true }
func (host) Closed(*Session) bool                    { return true }
func (host) Receives(*Session) (lossy, strict bool)  { return false, false }
func (host) Dropped(int)                             {}
func (host) HasRoom(*Session)                        {}
func (host) Taken(*Session)                          {}
func (host) Lost(*Session, int)                      {}

func newSet(t *testing.T) (*Set, *conntest.Kernel) {
	t.Helper()
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	k := conntest.New()
	s := NewSet(l, k, conn.Pushes{}, slog.New(slog.DiscardHandler), host{}, true)
	for c := range s.Users.Limits {
		s.Users.Limits[c] = 1 << 30
	}
	return s, k
}

// TestVerifyTimers: a timer that is not set where it should be is named, of a request as of the log.
func TestVerifyTimers(t *testing.T) {
	s, _ := newSet(t)
	r := s.RestoreRequest(RequestKey{1001, 1, 2, "id"}, 3, Plain("+OK\r\n"), nil)
	r.Rest()
	for range account.LogBurst + 1 {
		s.LogAbout(slog.LevelInfo, 1001, "event", "said often")
	}
	wrong := func() (all []string) {
		s.VerifyTimers(func(what string, timer *loop.Timer, want bool) {
			if timer.IsSet() != want {
				all = append(all, fmt.Sprint(what, " ", want))
			}
		})
		return all
	}
	s.VerifyRequests()
	if got := wrong(); len(got) != 0 {
		t.Errorf("without a fault: %q", got)
	}
	r.expires.Stop()
	s.logPeriod.Stop()
	if got := strings.Join(wrong(), ", "); got != `log records true, REQID "id" true` {
		t.Errorf("the verifier says %s", got)
	}
}

// TestWhenRead: what waits until a peer has read is done in order, as much in a turn as it has time for, and waits again if the peer is behind
// again.
func TestWhenRead(t *testing.T) {
	s, k := newSet(t)
	end, now := k.Connect(), time.Duration(0)
	sess, err := s.Add(end.FD, peer.Peer{UID: 1001})
	if err != nil {
		t.Fatal(err)
	}
	const many = 20
	var done []int
	end.SetRoom(0)
	sess.Send([]byte("x"))
	for i := range many {
		sess.WhenRead(func() {
			if done = append(done, i); i == many/2 {
				end.SetRoom(0)
				sess.Send([]byte("y"))
			}
		})
	}
	turn := func() {
		s.Net.BeginTurn()
		k.Tell()
		s.Net.EndEvents()
		s.Net.WrapUp()
		s.Net.BeginRest()
		s.Net.Serve()
		s.Net.WrapUp()
		s.EndTurn()
	}
	if turn(); len(done) > 0 {
		t.Fatalf("%d are done before it has read", len(done))
	}
	s.Net.Now = func() time.Duration { now += time.Second; return now } // each part of a turn is over soon
	end.SetRoom(-1)
	for turns, before := 0, 0; len(done) <= many/2; turns, before = turns+1, len(done) {
		if turn(); len(done)-before > 2 || turns > many {
			t.Fatalf("%d are done in turn %d", len(done)-before, turns)
		}
	}
	if turn(); len(done) != many/2+1 {
		t.Fatalf("%d are done after it was behind again", len(done))
	}
	end.SetRoom(-1)
	for range many {
		turn()
	}
	if !slices.IsSorted(done) || len(done) != many {
		t.Errorf("done are %d", done)
	}
}

// TestSpareIsTrimmed: what a burst took of buffers, and what services keep, is given up when nobody has needed it for a while, and no timer
// is left.
func TestSpareIsTrimmed(t *testing.T) {
	s, k := newSet(t)
	end := k.Connect()
	sess, err := s.Add(end.FD, peer.Peer{UID: 1001})
	if err != nil {
		t.Fatal(err)
	}
	turn := func() {
		s.Net.BeginTurn()
		k.Tell()
		s.Loop.RunTimers(s.Net.Over)
		s.Net.WrapUp()
		s.EndTurn()
	}
	sess.Send(fmt.Appendf(nil, "+%s\r\n", strings.Repeat("x", 4*littleSpare)))
	for sess.Blocked() || !s.hasSpare() {
		turn()
	}
	trimmed := func(what string) {
		t.Helper()
		if !s.trim.IsSet() {
			t.Fatalf("%s: %d + %d bytes are spare, and the timer is not set", what, s.Net.Spare(), s.Spare.Bytes())
		}
		for round := 0; s.hasSpare(); round++ {
			if round == 3 {
				t.Fatalf("%s: %d + %d bytes are spare still", what, s.Net.Spare(), s.Spare.Bytes())
			}
			s.Loop.Clock.Skip(trimAfter)
			s.Loop.TimeUp()
			turn()
		}
		if s.trim.IsSet() {
			t.Errorf("%s: the timer is set for nothing", what)
		}
	}
	trimmed("buffers")

	var kept spare.List[[1 << 10]byte]
	kept.KeepIn(&s.Spare)
	for range 2 * littleSpare >> 10 {
		kept.Give(new([1 << 10]byte))
	}
	turn()
	trimmed("a service's")
}

// TestParts: each part is a session's own, of its own type, and there is none before somebody makes it.
func TestParts(t *testing.T) {
	s, k := newSet(t)
	add := func() *Session {
		sess, err := s.Add(k.Connect().FD, peer.Peer{UID: 1001})
		if err != nil {
			t.Fatal(err)
		}
		return sess
	}
	numbers, words := NewPart[int](s), NewPart[string](s)
	a, b := add(), add()
	*words.In(a) = "x"
	if words.In(a) != words.Of(a) || *words.Of(a) != "x" || numbers.Of(a) != nil || words.Of(b) != nil {
		t.Error("a part is not where it was made, or is elsewhere")
	}
	*numbers.In(a) = 1
	if *words.Of(a) != "x" || *numbers.Of(a) != 1 || words.Of(None()) != nil {
		t.Error("a part takes another's place")
	}
}
