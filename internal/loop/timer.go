package loop

import (
	"fmt"
	"time"
)

// A Timer is something that is to be done at a time, by the thread of the loop. It belongs to what has the deadline, as a value:
// who sets it need not allocate anything, and who ends stops it.
type Timer struct {
	timers *Timers
	do     func()
	at     time.Duration // what it was set to
	due    time.Duration // the same, unless that was over already: see Timers.now
	nth    uint64        // of those that were set
	place  int           // in the heap, from 1; 0: it is not set
}

// Init says what is to be done, and among whose timers. A timer must not be copied afterwards.
func (t *Timer) Init(among *Timers, do func()) { t.timers, t.do = among, do }

// Set has the timer go off once, at a time of [Clock], in the place of what it was set to before. To set it to what it is set to
// already costs nothing.
func (t *Timer) Set(at time.Duration) {
	if t.place > 0 && t.at == at {
		return
	}
	h := t.timers
	h.sets++
	t.at, t.due, t.nth = at, max(at, h.now), h.sets
	if t.place == 0 {
		h.heap = append(h.heap, t)
		t.place = len(h.heap)
	}
	h.mend(t)
}

// Stop has the timer not go off, if it is set.
func (t *Timer) Stop() {
	if t.place > 0 {
		t.timers.remove(t)
	}
}

// At is what the timer was set to last.
func (t *Timer) At() time.Duration { return t.at }

// IsSet reports whether the timer will go off. When it does it is set no more.
func (t *Timer) IsSet() bool { return t.place > 0 }

// Timers are those of one loop that are set. They form a heap: the soonest is first, and of one moment the one that was set first.
type Timers struct {
	heap []*Timer
	now  time.Duration // of the last Run: what is set to an earlier time is due then, behind what was due before
	sets uint64        // so far
}

// Next is when the next timer is due; false if none is set.
func (h *Timers) Next() (time.Duration, bool) {
	if len(h.heap) == 0 {
		return 0, false
	}
	return h.heap[0].due, true
}

// Len is how many timers are set.
func (h *Timers) Len() int { return len(h.heap) }

// Run has the timers go off that are due: one at least, and further ones as long as more reports that there is time. The others
// stay as they are, for the next Run. Whoever has much to do at once may do some of it, and set the timer again to what is over:
// it goes on when the others that are due have had their turn.
func (h *Timers) Run(now time.Duration, more func() bool) {
	h.now = max(h.now, now)
	for len(h.heap) > 0 && h.heap[0].due <= now {
		t := h.heap[0]
		h.remove(t)
		t.do()
		if !more() {
			return
		}
	}
}

// Check looks for what contradicts itself.
func (h *Timers) Check() error {
	for i, t := range h.heap {
		switch {
		case t.place != i+1 || t.timers != h:
			return fmt.Errorf("the timer in place %d says that it is in place %d", i+1, t.place)
		case i > 0 && t.before(h.heap[(i-1)/2]):
			return fmt.Errorf("the timer in place %d, due at %v, is before the one above it, due at %v", i+1, t.due, h.heap[(i-1)/2].due)
		}
	}
	return nil
}

func (t *Timer) before(other *Timer) bool {
	return t.due < other.due || t.due == other.due && t.nth < other.nth
}

func (h *Timers) remove(t *Timer) {
	n := len(h.heap)
	last := h.heap[n-1]
	h.heap[n-1] = nil
	h.heap = h.heap[:n-1]
	if last != t {
		h.put(last, t.place)
		h.mend(last)
	}
	t.place = 0
	if c := cap(h.heap); c > fewTimers && n < c/4 { // what a burst took is given back
		h.heap = append(make([]*Timer, 0, c/2), h.heap...)
	}
}

// fewTimers is for how many there is always room.
const fewTimers = 1024

func (h *Timers) put(t *Timer, place int) {
	h.heap[place-1] = t
	t.place = place
}

// mend moves a timer, all others being in order, to where it belongs.
func (h *Timers) mend(t *Timer) {
	place := t.place
	for place > 1 {
		above := h.heap[place/2-1]
		if !t.before(above) {
			break
		}
		h.put(above, place)
		place /= 2
	}
	for 2*place <= len(h.heap) {
		below := h.heap[2*place-1]
		if 2*place < len(h.heap) && h.heap[2*place].before(below) {
			below = h.heap[2*place]
		}
		if !below.before(t) {
			break
		}
		place, below.place = below.place, place
		h.heap[below.place-1] = below
	}
	h.put(t, place)
}
