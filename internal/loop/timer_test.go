package loop

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// always is for a Run that has all the time it needs.
func always() bool { return true }

// A modelTimer is a timer as one would write it without regard to cost: all that are set are in one list.
type modelTimer struct {
	number  int
	at, due time.Duration
	nth     int
}

type modelTimers struct {
	set  []modelTimer
	now  time.Duration
	sets int
}

func (m *modelTimers) has(number int) int {
	return slices.IndexFunc(m.set, func(t modelTimer) bool { return t.number == number })
}

func (m *modelTimers) stop(number int) {
	m.set = slices.DeleteFunc(m.set, func(t modelTimer) bool { return t.number == number })
}

func (m *modelTimers) setTo(number int, at time.Duration) {
	if i := m.has(number); i >= 0 && m.set[i].at == at {
		return
	}
	m.stop(number)
	m.sets++
	m.set = append(m.set, modelTimer{number, at, max(at, m.now), m.sets})
	slices.SortFunc(m.set, func(a, b modelTimer) int { return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.nth, b.nth)) })
}

// next takes the first that is due, -1 if none is.
func (m *modelTimers) next(now time.Duration) int {
	if len(m.set) == 0 || m.set[0].due > now {
		return -1
	}
	number := m.set[0].number
	m.stop(number)
	return number
}

// TestTimersAgainstModel sets, stops and runs timers at random, also those that are running and others meanwhile, and compares the
// order in which they go off with that of a list.
func TestTimersAgainstModel(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		var h Timers
		var m modelTimers
		timers := make([]Timer, 1+random.IntN(40))
		now, off := time.Duration(0), 0
		change := func() {
			i := random.IntN(len(timers))
			if random.IntN(3) == 0 {
				timers[i].Stop()
				m.stop(i)
				return
			}
			at := now + time.Duration(random.IntN(30)-10) // also what is over
			timers[i].Set(at)
			m.setTo(i, at)
		}
		for i := range timers {
			timers[i].Init(&h, func() {
				off++
				if want := m.next(now); want != i {
					t.Fatalf("seed %d: at %v timer %d goes off, and not %d", seed, now, i, want)
				}
				if timers[i].IsSet() {
					t.Fatalf("seed %d: timer %d is set while it goes off", seed, i)
				}
				for range random.IntN(3) {
					change()
				}
			})
		}
		for range 500 {
			switch random.IntN(4) {
			case 0:
				now += time.Duration(random.IntN(8))
				m.now = now
				left, more := random.IntN(20), false
				h.Run(now, func() bool { left--; more = left > 0; return more })
				if more && m.next(now) >= 0 {
					t.Fatalf("seed %d: at %v not all have gone off that are due", seed, now)
				}
			default:
				change()
			}
			if err := h.Check(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if at, ok := h.Next(); ok != (len(m.set) > 0) || ok && at != m.set[0].due || h.Len() != len(m.set) {
				t.Fatalf("seed %d: the next of %d is at %v, want %+v", seed, h.Len(), at, m.set)
			}
			for i := range timers {
				if timers[i].IsSet() != (m.has(i) >= 0) {
					t.Fatalf("seed %d: timer %d is set: %v", seed, i, timers[i].IsSet())
				}
			}
		}
		if off == 0 {
			t.Fatalf("seed %d: none has gone off: this tests nothing", seed)
		}
	}
}

// TestTimersShareATurn: when there is no more time the others that are due wait for the next turn, and who sets itself again to go
// on at once goes on behind them.
func TestTimersShareATurn(t *testing.T) {
	var h Timers
	var order []string
	var greedy, late, early Timer
	greedy.Init(&h, func() { order = append(order, "greedy"); greedy.Set(0) })
	early.Init(&h, func() { order = append(order, "early") })
	late.Init(&h, func() { order = append(order, "late") })
	greedy.Set(0)
	late.Set(20)
	early.Set(10)
	for now := range time.Duration(5) {
		h.Run(20+now, func() bool { return false })
	}
	if want := []string{"greedy", "early", "late", "greedy", "greedy"}; !slices.Equal(order, want) {
		t.Errorf("the order is %q, want %q", order, want)
	}
}

// TestTimerThatIsSetAgainKeepsItsPlace: who is told the same deadline again and again is not put behind others by that.
func TestTimerThatIsSetAgainKeepsItsPlace(t *testing.T) {
	var h Timers
	var order []int
	timers := make([]Timer, 10)
	for i := range timers {
		timers[i].Init(&h, func() { order = append(order, i) })
		timers[i].Set(time.Duration(5))
	}
	for range timers {
		timers[9].Set(5)
		h.Run(100+time.Duration(len(order)), func() bool { return false })
	}
	if want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}; !slices.Equal(order, want) {
		t.Errorf("the order is %v", order)
	}
}

// TestTimersDoNotAllocate once there is room for as many as are set.
func TestTimersDoNotAllocate(t *testing.T) {
	var h Timers
	timers := make([]Timer, 100)
	for i := range timers {
		timers[i].Init(&h, func() {})
		timers[i].Set(0)
	}
	now := time.Duration(0)
	if n := testing.AllocsPerRun(100, func() {
		now++
		for i := range timers {
			timers[i].Set(now + time.Duration(i*i%17))
		}
		timers[50].Stop()
		h.Run(now+8, always)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestTimersGiveBack the room that very many took, and not while few come and go.
func TestTimersGiveBack(t *testing.T) {
	var h Timers
	timers := make([]Timer, 100_000)
	for i := range timers {
		timers[i].Init(&h, func() {})
		timers[i].Set(time.Duration(i))
	}
	for i := range timers {
		timers[i].Stop()
		if i%5000 != 0 {
			continue
		}
		if err := h.Check(); err != nil {
			t.Fatal(err)
		}
	}
	if c := cap(h.heap); c > fewTimers {
		t.Errorf("there is room for %d when none is set", c)
	}
	if n := testing.AllocsPerRun(10, func() {
		for i := range fewTimers / 2 {
			timers[i].Set(0)
		}
		for i := range fewTimers / 2 {
			timers[i].Stop()
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTimerSetAgain(b *testing.B) {
	for _, c := range []struct {
		name string
		step time.Duration
	}{{"unchanged", 0}, {"later", 1}} {
		b.Run(c.name, func(b *testing.B) {
			var h Timers
			timers := make([]Timer, 10_000)
			for i := range timers {
				timers[i].Init(&h, func() {})
				timers[i].Set(time.Duration(i))
			}
			at := time.Duration(len(timers))
			for b.Loop() {
				at += c.step
				timers[5000].Set(at)
			}
		})
	}
}
