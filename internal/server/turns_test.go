package server

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTurnsAreCounted: a turn is counted where its time belongs, with what was read early for it, and IPCD.STATUS tells of all.
func TestTurnsAreCounted(t *testing.T) {
	var times turnTimes
	for _, us := range []int64{0, 32, 33, 40, 41, 64, 65, 1 << 40} {
		times.add(time.Duration(us) * time.Microsecond)
	}
	want := map[string]int64{"turns_us_32": 2, "turns_us_40": 2, "turns_us_48": 1, "turns_us_64": 1, "turns_us_80": 1, "turns_us_458752": 1}
	for _, row := range times.rows() {
		if row.Value != want[row.Key] {
			t.Errorf("%s: %v, want %d", row.Key, row.Value, want[row.Key])
		}
		delete(want, row.Key)
	}
	if len(want) > 0 {
		t.Errorf("not counted: %v", want)
	}
	if rows := (*turnTimes)(nil).rows(); rows != nil {
		t.Errorf("%v, and nobody measures", rows)
	}
}

// TestTurnsAreMeasured: each turn is counted once, of a loop that counts them.
func TestTurnsAreMeasured(t *testing.T) {
	s := newManual(t, 1)
	turns := 0
	turn := s.measureTurns(func([]unix.EpollEvent) { turns++ })
	s.turns.early = time.Hour
	turn(nil)
	turn(nil)
	var counted int64
	for _, n := range s.turns.counts {
		counted += n
	}
	if turns != 2 || counted != 2 || s.turns.counts[len(turnBounds)-1] != 1 || s.turns.early != 0 {
		t.Errorf("%d turns, counted %v", turns, s.turns.counts)
	}
}
