package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/locks"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// marks has the test answer for the disk.
func marks(token, mark uint64) (chan uint64, func(*Setup, *Options)) {
	asked := make(chan uint64, 100)
	return asked, func(s *Setup, _ *Options) {
		s.Token, s.Mark = token, mark
		s.RaiseMark = func(to uint64) { asked <- to }
	}
}

// TestMarkAhead: with room ahead, nobody asks for more; at half of it, one does.
func TestMarkAhead(t *testing.T) {
	now := uint64(time.Now().UnixMicro())
	asked, setup := marks(0, now+locks.TokenBatch)
	h := start(t, setup)
	c := h.dial()
	c.acquire("a")
	c.do("LOCK.RELEASE", "a")
	select {
	case to := <-asked:
		t.Errorf("asked for %d already", to)
	default:
	}
	asked, setup = marks(0, now+locks.TokenBatch/2-1)
	h = start(t, setup)
	first := <-asked // on the way up, before anybody asks for a lock
	if first < now+locks.TokenBatch || first > now+locks.TokenBatch+1e9 {
		t.Errorf("asked for %d, want %d", first, now+locks.TokenBatch)
	}
	// One question at a time.
	c = h.dial()
	c.acquire("a")
	c.acquire("b")
	select {
	case to := <-asked:
		t.Errorf("asked for %d, too", to)
	default:
	}
	h.MarkRaised(first, nil)
	h.until("the mark is raised", func() bool { _, mark := h.locks.Tokens(); return mark == lockmgr.Token(first) })
}

// TestMarkExhausted: without tokens nothing is granted; requests wait, or are told, until the disk has answered. A
// failure is logged, and tried again.
func TestMarkExhausted(t *testing.T) {
	const last = 1 << 52 // far in the future: tokens go on from there one by one
	asked, setup := marks(last, last)
	h := start(t, setup)
	first := <-asked
	c, waiter := h.dial(), h.dial3()
	c.refused(wire.CodeIO, "no lock token can be reserved", "LOCK.ACQUIRE", "a", "WAIT", "0")
	h.MarkRaised(0, errors.New("the disk is full"))
	waiter.cmd("LOCK.ACQUIRE", "a")
	second := <-asked
	if first != last+locks.TokenBatch || second != first {
		t.Errorf("asked for %d, %d; want %d", first, second, uint64(last+locks.TokenBatch))
	}
	if !strings.Contains(h.log.String(), "cannot reserve lock tokens") || !strings.Contains(h.log.String(), "the disk is full") {
		t.Error("the failure is not logged")
	}
	h.until("the request waits", func() bool { return h.figures().Requests == 1 })
	waiter.quiet()
	h.MarkRaised(last+2, nil)
	if g := waiter.granted(); g.token != fmt.Sprint(uint64(last+1)) {
		t.Errorf("got %+v", g)
	}
	if third := <-asked; third != last+1+locks.TokenBatch {
		t.Errorf("asked for %d", third)
	}
	c.acquire("b")
	c.refused(wire.CodeIO, "", "LOCK.ACQUIRE", "c", "WAIT", "0")
	h.claims(2)
}

// TestMarkMax: at the end of all tokens nobody asks for more.
func TestMarkMax(t *testing.T) {
	asked, setup := marks(uint64(lockmgr.MaxToken)-1, uint64(lockmgr.MaxToken))
	h := start(t, setup)
	c := h.dial()
	if g := c.acquire("a"); g.token != fmt.Sprint(uint64(lockmgr.MaxToken)) {
		t.Errorf("got %+v", g)
	}
	c.refused(wire.CodeIO, "", "LOCK.ACQUIRE", "b", "WAIT", "0")
	if len(asked) != 0 {
		t.Errorf("asked for %d", <-asked)
	}
}

func TestNextMark(t *testing.T) {
	now := time.UnixMicro(1_000_000)
	for last, want := range map[uint64]uint64{
		0:                        1_000_000 + locks.TokenBatch,
		5_000_000:                5_000_000 + locks.TokenBatch,
		uint64(lockmgr.MaxToken): uint64(lockmgr.MaxToken),
	} {
		if got := locks.NextMark(last, now); got != want {
			t.Errorf("after %d: %d, want %d", last, got, want)
		}
	}
	if got := locks.NextMark(7, time.Unix(-1, 0)); got != 7+locks.TokenBatch {
		t.Errorf("before 1970: %d", got)
	}
}
