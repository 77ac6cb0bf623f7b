package lockmgr_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/ipcd/ipcd/lockmgr"
)

// tangle has process 1 hold "mine", 2 wait for it, 3 wait for all that 2 holds, and 4 for all that 3 holds: n locks each.
func tangle(t testing.TB, m *lockmgr.Manager, n int) {
	t.Helper()
	ask := func(pid int, name string) {
		if _, err := m.Acquire(lockmgr.Time{}, benchRequest(name, pid, lockmgr.Exclusive)); err != nil {
			t.Fatal(err)
		}
	}
	ask(1, "mine")
	ask(4, "wanted")
	for i := range n {
		ask(2, fmt.Sprint("2 has ", i))
		ask(3, fmt.Sprint("3 has ", i))
	}
	ask(2, "mine")
	for i := range n {
		ask(3, fmt.Sprint("2 has ", i))
		ask(4, fmt.Sprint("3 has ", i))
	}
	m.Effects()
}

// Each hold of the tangle is kept by many waits, so that a search costs their product. It must not cost much.
func TestSearchForDeadlockIsBounded(t *testing.T) {
	for _, test := range []struct {
		n    int
		want error
	}{{50, lockmgr.ErrDeadlock}, {2500, nil}} {
		m := lockmgr.New(0, lockmgr.MaxToken)
		tangle(t, m, test.n)
		_, err := m.Acquire(lockmgr.Time{}, benchRequest("wanted", 1, lockmgr.Exclusive))
		if !errors.Is(err, test.want) {
			t.Errorf("with %d locks each: %v, want %v", test.n, err, test.want)
		}
	}
}
