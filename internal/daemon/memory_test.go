package daemon

import "testing"

// TestMemoryIsGivenBack: after a burst, at the first calm, and once for what stays.
func TestMemoryIsGivenBack(t *testing.T) {
	const mib = 1 << 20
	s := saver{last: heap{10 * mib, 8 * mib}, left: 8 * mib}
	for _, step := range []struct {
		name string
		now  heap
		due  bool
		left uint64 // if it is due
	}{
		{"little", heap{11 * mib, 10 * mib}, false, 0},
		{"a burst", heap{500 * mib, 300 * mib}, false, 0},
		{"which goes on", heap{900 * mib, 400 * mib}, false, 0},
		{"the calm", heap{901 * mib, 400 * mib}, true, 120 * mib},
		{"what stays is needed", heap{902 * mib, 122 * mib}, false, 0},
		{"another burst", heap{1500 * mib, 300 * mib}, false, 0},
		{"the calm after it", heap{1501 * mib, 300 * mib}, true, 20 * mib},
		{"a long calm", heap{1501 * mib, 20 * mib}, false, 0},
	} {
		if got := s.due(step.now); got != step.due {
			t.Errorf("%s: %v", step.name, got)
		}
		if step.due {
			s.left, s.last.held = step.left, step.left
		}
	}
}
