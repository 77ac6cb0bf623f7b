package lockmgr_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/ipcd/ipcd/lockmgr"
)

// crowdOf has so many wait for a lock that is held exclusively, and gives the token of the hold.
func crowdOf(t *testing.T, m *lockmgr.Manager, n int, r lockmgr.Request) lockmgr.Token {
	t.Helper()
	ask := func(pid int, r lockmgr.Request) {
		t.Helper()
		r.Owner.Process.PID, r.Wait = pid, lockmgr.Forever
		if _, err := m.Acquire(lockmgr.Time{}, r); err != nil {
			t.Fatal(err)
		}
	}
	ask(1, lockmgr.Request{Name: "crowd"})
	token := m.Effects()[0].Token
	for i := range n {
		ask(2+i, r)
		m.Effects()
	}
	return token
}

// granted are the processes to which a step has granted something, in order.
func granted(m *lockmgr.Manager) (pids []int) {
	for _, e := range m.Effects() {
		if e.Kind == lockmgr.Acquired {
			pids = append(pids, e.Owner.Process.PID)
		}
	}
	return pids
}

// TestManyAreGrantedBitByBit: no step grants more than a step may; those who are left are granted the lock by further steps, in
// order, and nobody overtakes them.
func TestManyAreGrantedBitByBit(t *testing.T) {
	const n = 5*lockmgr.MostGranted + 7
	m := lockmgr.New(0, lockmgr.MaxToken)
	token := crowdOf(t, m, n, lockmgr.Request{Name: "crowd", Mode: lockmgr.Shared})
	if m.Pending() {
		t.Fatal("something is pending, and the lock is held")
	}
	if err := m.Release(lockmgr.Time{}, "crowd", token); err != nil {
		t.Fatal(err)
	}
	gone := map[int]bool{}
	next := 2
	see := func() {
		t.Helper()
		got := granted(m)
		if len(got) > lockmgr.MostGranted {
			t.Fatalf("one step has granted %d", len(got))
		}
		for _, pid := range got {
			for gone[next] {
				next++
			}
			if pid != next {
				t.Fatalf("process %d was granted the lock before %d", pid, next)
			}
			next++
		}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
	}
	steps := 1
	for see(); m.Pending(); steps++ {
		// Between the steps others ask, and one of those who wait goes.
		if _, err := m.Acquire(lockmgr.Time{}, lockmgr.Request{Name: "crowd", Mode: lockmgr.Shared, Owner: lockmgr.Owner{Label: "late"}}); !errors.Is(err, lockmgr.ErrBusy) {
			t.Fatalf("who would not wait is told %v", err)
		}
		if _, err := m.Acquire(lockmgr.Time{}, lockmgr.Request{Name: fmt.Sprint(steps)}); err != nil {
			t.Fatal(err)
		}
		m.Effects()
		m.EndProcess(lockmgr.Time{}, lockmgr.Process{PID: n}, lockmgr.Exited, 0, lockmgr.All)
		gone[n] = true
		see()
		m.GrantMore(lockmgr.Time{})
		see()
	}
	if view := m.View("crowd"); len(view.Holders) != n-1 || len(view.Waiters) != 0 || steps < n/lockmgr.MostGranted/2 {
		t.Errorf("%d hold it and %d wait after %d steps", len(view.Holders), len(view.Waiters), steps)
	}
}

// TestPendingIsRestored: who was left by a step is granted the lock after a restart, too.
func TestPendingIsRestored(t *testing.T) {
	const n = 2 * lockmgr.MostGranted
	m := lockmgr.New(0, lockmgr.MaxToken)
	token := crowdOf(t, m, n, lockmgr.Request{Name: "crowd", Mode: lockmgr.Shared})
	if err := m.Release(lockmgr.Time{}, "crowd", token); err != nil {
		t.Fatal(err)
	}
	last, mark := m.Tokens()
	m = lockmgr.Restore(m.Snapshot(), last, mark)
	if err := m.Check(); err != nil || !m.Pending() {
		t.Fatalf("%v; pending: %v", err, m.Pending())
	}
	m.GrantMore(lockmgr.Time{})
	if got := granted(m); len(got) != n-lockmgr.MostGranted || m.Pending() {
		t.Errorf("%d are granted it", len(got))
	}
}

// TestSetIsGrantedWhole: a set is granted in one step, also if that has granted nearly as much as it may.
func TestSetIsGrantedWhole(t *testing.T) {
	m := lockmgr.New(0, lockmgr.MaxToken)
	set := []string{"crowd"}
	for i := range lockmgr.MostGranted {
		set = append(set, fmt.Sprint(i))
	}
	token := crowdOf(t, m, 1, lockmgr.Request{Name: "crowd", Set: set})
	if err := m.Release(lockmgr.Time{}, "crowd", token); err != nil {
		t.Fatal(err)
	}
	if got := granted(m); len(got) != len(set) || m.Pending() {
		t.Errorf("%d of %d are granted", len(got), len(set))
	}
}

// TestPendingThatEnds: the waits of a connection that has ended, of which very many might be granted, are given up some in a step.
func TestPendingThatEnds(t *testing.T) {
	const n, most = 10 * lockmgr.MostGranted, 16
	m := lockmgr.New(0, lockmgr.MaxToken)
	token := crowdOf(t, m, n, lockmgr.Request{Name: "crowd", Mode: lockmgr.Shared, Conn: 7})
	if err := m.Release(lockmgr.Time{}, "crowd", token); err != nil {
		t.Fatal(err)
	}
	m.Effects()
	for more := true; more; {
		more = m.CancelConn(lockmgr.Time{}, 7, most)
		if effects := m.Effects(); len(effects) > most+lockmgr.MostGranted {
			t.Fatalf("one step has ended %d", len(effects))
		}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
	}
	m.GrantMore(lockmgr.Time{})
	if view := m.View("crowd"); len(view.Waiters) != 0 || len(view.Holders) != lockmgr.MostGranted || m.Pending() {
		t.Errorf("%d wait, %d hold it", len(view.Waiters), len(view.Holders))
	}
}

// TestManyAreBrokenBitByBit: a lock is taken away from very many some in a step, and who is granted it meanwhile keeps it. That some
// share a hold makes no difference.
func TestManyAreBrokenBitByBit(t *testing.T) {
	const n, most = 40, 16
	m := lockmgr.New(0, lockmgr.MaxToken)
	hold := func(pid int, join lockmgr.Token) lockmgr.Token {
		t.Helper()
		r := lockmgr.Request{Name: "crowd", Mode: lockmgr.Shared, Join: join, Owner: lockmgr.Owner{Process: lockmgr.Process{PID: pid}}}
		if _, err := m.Acquire(lockmgr.Time{}, r); err != nil {
			t.Fatal(err)
		}
		return m.Effects()[0].Token
	}
	for i := range n {
		if token := hold(1+i, 0); i == 0 {
			for j := range n {
				hold(1000+j, token)
			}
		}
	}
	last, _ := m.Tokens()
	var by lockmgr.Party
	broken := 0
	for more := true; more; {
		var some []lockmgr.Claim
		var err error
		if some, more, err = m.BreakSome(lockmgr.Time{}, "crowd", 0, last, by, most); err != nil {
			t.Fatal(err)
		}
		effects := m.Effects()
		if len(effects) > most || len(some) != len(effects) {
			t.Fatalf("one step has broken %d, and tells of %d", len(effects), len(some))
		}
		for _, e := range effects {
			if e.End == nil || e.End.How != lockmgr.Broken {
				t.Fatalf("a step has led to %v", e)
			}
		}
		broken += len(effects)
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		hold(2000+broken, 0)
	}
	if view := m.View("crowd"); broken != 2*n || len(view.Holders) != (2*n+most-1)/most {
		t.Errorf("%d are broken, and %d hold it", broken, len(view.Holders))
	}
}
