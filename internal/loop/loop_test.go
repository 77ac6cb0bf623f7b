package loop

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newLoop(t *testing.T) *Loop {
	t.Helper()
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// turn waits for an event and makes a turn, as whoever owns a loop does.
func (l *Loop) turn(t *testing.T) {
	t.Helper()
	events, err := l.Wait(true)
	if err != nil {
		t.Fatal(err)
	}
	l.Dispatch(events)
	l.RunTimers(func() bool { return false })
	l.Clock.EndTurn()
}

// isIdle reports whether there is nothing to be handled.
func (l *Loop) isIdle(t *testing.T) bool {
	t.Helper()
	events, err := l.Wait(false)
	if err != nil {
		t.Fatal(err)
	}
	return len(events) == 0
}

// pair is a pair of connected sockets, closed with the test if they are not before.
func pair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

// TestKinds: events of a descriptor go to the handler of its kind, and all there are, also if they are more than the kernel tells at
// once; and a new kind is one line.
func TestKinds(t *testing.T) {
	l := newLoop(t)
	got := map[string][]int{}
	var kinds []Kind
	for _, name := range []string{"a", "b"} {
		kinds = append(kinds, l.Handle(func(fd int, events uint32) {
			if events&unix.EPOLLIN == 0 {
				t.Errorf("descriptor %d: %x", fd, events)
			}
			got[name] = append(got[name], fd)
		}))
	}
	want := map[string][]int{}
	var fds []int
	for i := range MostEvents + 10 {
		x, y := pair(t)
		if err := l.Add(x, kinds[i%2], unix.EPOLLIN|Edge); err != nil {
			t.Fatal(err)
		}
		want["ab"[i%2:i%2+1]] = append(want["ab"[i%2:i%2+1]], x)
		if _, err := unix.Write(y, []byte("x")); err != nil {
			t.Fatal(err)
		}
		fds = append(fds, x, y)
	}
	l.turn(t)
	for name, all := range want {
		slices.Sort(got[name])
		slices.Sort(all)
		if !slices.Equal(got[name], all) {
			t.Errorf("%s got %v, want %v", name, got[name], all)
		}
	}
	clear(got)
	if !l.isIdle(t) {
		t.Error("there are events that were told before")
	}
	l.Modify(fds[0], kinds[0], unix.EPOLLIN|Edge) // looks again
	l.turn(t)
	l.Remove(fds[0])
	if !slices.Equal(got["a"], fds[:1]) || !l.isIdle(t) {
		t.Errorf("got %v", got)
	}
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// TestTimersWakeTheLoop: a wait ends when a timer is due, and at once if one was left over from the turn before.
func TestTimersWakeTheLoop(t *testing.T) {
	l := newLoop(t)
	var off []int
	timers := make([]Timer, 3)
	for i := range timers {
		timers[i].Init(&l.Timers, func() {
			if l.Clock.Now() < timers[i].At() {
				t.Errorf("timer %d goes off before its time", i)
			}
			off = append(off, i)
		})
		timers[i].Set(l.Clock.Read() + time.Duration(i)*time.Millisecond)
	}
	timers[1].Set(-1) // also a time before the machine was started
	for len(off) < len(timers) {
		n := len(off)
		events, err := l.Wait(true)
		if err != nil {
			t.Fatal(err)
		}
		l.Dispatch(events)
		l.RunTimers(func() bool { return true }) // no time for more than one
		l.Clock.EndTurn()
		if len(off) > n+1 {
			t.Fatalf("in one turn %v have gone off", off[n:])
		}
	}
	if !slices.Equal(off, []int{1, 0, 2}) {
		t.Errorf("the order is %v", off)
	}
	var spec unix.ItimerSpec
	l.arm()
	if err := unix.TimerfdGettime(l.timerfd, &spec); err != nil || spec.Value.Nano() != 0 {
		t.Errorf("the kernel's timer is set (%v), and there is none", err)
	}
}

// TestLately: the clock is looked at every tick, also if nobody asks and the loop never blocks.
func TestLately(t *testing.T) {
	l := newLoop(t)
	begun := l.Clock.Read() // which the loop does not know of
	rises := 0
	for rises < 5 && l.Clock.Read() < begun+time.Minute {
		before := l.Clock.Lately()
		events, err := l.Wait(false)
		if err != nil {
			t.Fatal(err)
		}
		l.Dispatch(events)
		l.Clock.EndTurn()
		if lately := l.Clock.Lately(); lately > l.Clock.Read() || lately < before {
			t.Fatalf("it was %v lately, and %v before that", lately, before)
		} else if lately > before {
			rises++
		}
	}
	if rises < 5 {
		t.Errorf("in a minute the clock was looked at %d times", rises)
	}
}

// TestPost: what is posted is run in order, and what that posts in a later turn. When the loop has ended nothing is.
func TestPost(t *testing.T) {
	l := newLoop(t)
	var order []int
	posted := make(chan bool)
	go func() {
		for i := range 100 {
			l.Post(func() {
				order = append(order, i)
				if i == 99 {
					l.Post(func() { order = append(order, 100) })
				}
			})
		}
		close(posted)
	}()
	<-posted
	l.turn(t)
	if len(order) != 100 || !slices.IsSorted(order) {
		t.Errorf("the order is %v", order)
	}
	l.turn(t)
	if len(order) != 101 {
		t.Errorf("%d have run", len(order))
	}
	l.Post(func() { t.Error("it is run though the loop has ended") })
	l.End()
	if l.Post(func() {}) {
		t.Error("the loop has ended, and takes more")
	}
	<-l.Ended()
	l.turn(t)
}

// TestWaitFails with a cause that can be told.
func TestWaitFails(t *testing.T) {
	l := newLoop(t)
	l.Close()
	if _, err := l.Wait(true); err == nil || !strings.HasPrefix(err.Error(), "cannot wait for events: ") {
		t.Errorf("got %v", err)
	}
}
