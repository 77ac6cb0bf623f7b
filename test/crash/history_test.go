package crash

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A want is what somebody asks for.
type want struct {
	names  []string
	shared bool
	units  int // of the semaphore's; 0 with shared
}

// semaphore is the lock that has units, so many of them.
const (
	semaphore      = "sem"
	semaphoreUnits = 3
)

// limitOf is how many units a lock has.
func limitOf(name string) int {
	if name == semaphore {
		return semaphoreUnits
	}
	return 1
}

// A history reads a ledger and finds what must never be in one.
type history struct {
	wants  map[string]want
	exact  bool                   // the kernel tells how a process has ended, and it is reaped at once
	inside map[string]*entry      // who is in
	locks  map[string]*lockRecord // by name
	in     map[string]bool        // who was ever
	ended  map[string]bool        // who has
	told   map[string]string      // who was told of an abandoned hold, by what was said
}

// An entry is somebody who is in.
type entry struct {
	id, pid string
	tokens  map[string]uint64 // by name
}

type lockRecord struct {
	inside map[string]bool
	tokens map[uint64]bool // of all who were in
	ended  uint64          // the highest token of a hold that has ended
	last   string          // how the latest hold has ended; "" if that is not certain
}

func newHistory(wants map[string]want, exact bool) *history {
	return &history{wants, exact, map[string]*entry{}, map[string]*lockRecord{}, map[string]bool{}, map[string]bool{}, map[string]string{}}
}

func (h *history) lock(name string) *lockRecord {
	if h.locks[name] == nil {
		h.locks[name] = &lockRecord{inside: map[string]bool{}, tokens: map[uint64]bool{}}
	}
	return h.locks[name]
}

// step takes up a line:
//
//	in ID PID PREVIOUS ABANDONED "TOKEN NAME TOKEN NAME…"
//	out ID HOW     it is about to end its hold in this way
//	kill ID        it is about to be killed
//	cut ID         its connection is about to end
//	end ID STATUS  the process has ended
//	down, fault, up: what becomes of the daemon
//
// PREVIOUS is "?" where nobody has looked.
func (h *history) step(words []string) error {
	switch words[0] {
	case "in":
		if len(words) != 6 {
			return fmt.Errorf("%q", words)
		}
		return h.enter(words[1], words[2], words[3], words[4], strings.Fields(words[5]))
	case "out":
		return h.leave(words[1], words[2])
	case "kill":
		return h.leave(words[1], "killed 9")
	case "cut":
		return h.leave(words[1], "")
	case "end":
		h.ended[words[1]] = true
	case "down", "fault", "up":
		for _, l := range h.locks {
			l.last = "" // nobody may have seen it
		}
	}
	return nil
}

func (h *history) enter(id, pid, previous, abandoned string, locks []string) error {
	w, known := h.wants[id]
	if !known || h.inside[id] != nil {
		return fmt.Errorf("%s is in twice, or unknown", id)
	}
	e := &entry{id, pid, map[string]uint64{}}
	for i := 0; i+1 < len(locks); i += 2 {
		token, err := strconv.ParseUint(locks[i], 10, 64)
		if err != nil {
			return err
		}
		e.tokens[locks[i+1]] = token
	}
	if got := slices.Sorted(maps.Keys(e.tokens)); !slices.Equal(got, slices.Sorted(slices.Values(w.names))) {
		return fmt.Errorf("%s has %q, and asked for %q", id, got, w.names)
	}
	h.inside[id], h.in[id] = e, true
	for name, token := range e.tokens {
		l := h.lock(name)
		units, alone := w.units, h.alone(id, name)
		for other := range l.inside {
			o := h.wants[other]
			units += o.units
			if o.shared != w.shared {
				return fmt.Errorf("%s and %s have %q at once: an overlap", other, id, name)
			}
		}
		if units > limitOf(name) {
			return fmt.Errorf("%s has %q with %v: an overlap, %d units", id, name, slices.Sorted(maps.Keys(l.inside)), units)
		}
		if l.tokens[token] || alone && token <= l.ended {
			return fmt.Errorf("%s has %q with token %d, after %d: tokens do not rise", id, name, token, l.ended)
		}
		l.inside[id], l.tokens[token] = true, true
		if h.exact && alone && len(w.names) == 1 && l.last != "" && previous != "?" && previous != l.last {
			return fmt.Errorf("%s is told that the hold of %q before it ended so: %q, and it was %q", id, name, previous, l.last)
		}
	}
	// Who asks for several is told of any of them; and one process can lose many connections, but is killed once.
	if len(w.names) == 1 && strings.Contains(abandoned, "killed") {
		key := w.names[0] + ": " + abandoned
		if by := h.told[key]; by != "" {
			return fmt.Errorf("%s is told of what %s was told of: %q", id, by, abandoned)
		}
		h.told[key] = id
	}
	return nil
}

// alone reports whether somebody shares a lock with nobody.
func (h *history) alone(id, name string) bool {
	w := h.wants[id]
	return !w.shared && w.units == limitOf(name)
}

// leave ends what somebody has. Who is killed before it is in may have been granted what it waits for.
func (h *history) leave(id, how string) error {
	e := h.inside[id]
	if e == nil {
		for _, name := range h.wants[id].names {
			h.lock(name).last = ""
		}
		return nil
	}
	delete(h.inside, id)
	for name, token := range e.tokens {
		l := h.lock(name)
		delete(l.inside, id)
		l.ended, l.last = max(l.ended, token), ""
		if h.alone(id, name) { // else somebody else may have ended his hold later, who said so before
			l.last = how
		}
	}
	return nil
}
