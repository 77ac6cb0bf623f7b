package lockmgr_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/ipcd/ipcd/lockmgr"
)

// use has the lock held once and released, by a process of uid.
func use(t *testing.T, m *lockmgr.Manager, name string, uid uint32) {
	t.Helper()
	r := lockmgr.Request{Name: name, Info: lockmgr.Info{UID: uid}}
	if _, err := m.Acquire(lockmgr.Time{}, r); err != nil {
		t.Fatal(err)
	}
	if err := m.Release(lockmgr.Time{}, name, m.Effects()[0].Token); err != nil {
		t.Fatal(err)
	}
	m.Effects()
}

func remembered(m *lockmgr.Manager) (n int) {
	for v := range m.All() {
		if v.Free() {
			n++
		}
	}
	return n
}

func known(m *lockmgr.Manager, name string) bool { return m.View(name).Previous != nil }

func TestFreeLocksAreRememberedWithinBounds(t *testing.T) {
	m := lockmgr.New(0, lockmgr.MaxToken)
	use(t, m, "of another user", 2)
	use(t, m, "first", 1)
	use(t, m, "second", 1)
	use(t, m, "held", 1)
	if _, err := m.Acquire(lockmgr.Time{}, lockmgr.Request{Name: "held"}); err != nil {
		t.Fatal(err)
	}
	m.Effects()
	for i := range lockmgr.MaxRemembered - 2 {
		use(t, m, fmt.Sprint(i), 1)
	}
	if !known(m, "first") || remembered(m) != lockmgr.MaxRemembered+1 {
		t.Fatalf("%d are remembered", remembered(m))
	}

	use(t, m, "first", 1) // is now the latest
	before := m.Snapshot()
	if _, err := m.Acquire(lockmgr.Time{}, lockmgr.Request{Name: "one too many", Info: lockmgr.Info{UID: 1}}); err != nil {
		t.Fatal(err)
	}
	granted := slices.Clone(m.Effects())
	if err := m.Release(lockmgr.Time{}, "one too many", granted[0].Token); err != nil {
		t.Fatal(err)
	}
	effects := m.Effects()
	if e := effects[len(effects)-1]; e.Kind != lockmgr.Forgotten || e.Name != "second" || e.UID != 1 {
		t.Errorf("the last effect is %v of %q", e.Kind, e.Name)
	}
	if err := sameAfterReplay(m, before, granted, effects); err != nil {
		t.Error(err)
	}
	if known(m, "second") || !known(m, "first") || !known(m, "held") || !known(m, "of another user") {
		t.Error("it was not the oldest one of this user that was forgotten")
	}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
}

// A lock is charged to the uid of its last holder, whoever else held it before.
func TestMemoryIsChargedToTheLastHolder(t *testing.T) {
	m := lockmgr.New(0, lockmgr.MaxToken)
	use(t, m, "a", 1)
	use(t, m, "a", 2)
	for i := range lockmgr.MaxRemembered {
		use(t, m, fmt.Sprint(i), 1)
	}
	if !known(m, "a") {
		t.Error("a lock was forgotten on account of a user who was not its last holder")
	}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
}

// More holds end in one step than may be remembered.
func TestProcessWithManyHolds(t *testing.T) {
	m := lockmgr.New(0, lockmgr.MaxToken)
	const holds = 2 * lockmgr.MaxRemembered
	for i := range 2 * holds { // two shared ones on each lock
		r := lockmgr.Request{Name: fmt.Sprint(i / 2), Mode: lockmgr.Shared, Owner: lockmgr.Owner{Label: fmt.Sprint(i)}}
		if _, err := m.Acquire(lockmgr.Time{}, r); err != nil {
			t.Fatal(err)
		}
	}
	m.EndProcess(lockmgr.Time{}, lockmgr.Process{}, lockmgr.Exited, 0, lockmgr.All)
	if known(m, "0") || !known(m, fmt.Sprint(holds-1)) || remembered(m) != lockmgr.MaxRemembered {
		t.Errorf("%d are remembered", remembered(m))
	}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
}

// Names without number come and go, with all kinds of waits, and memory does not grow.
func TestMemoryDoesNotGrow(t *testing.T) {
	m := lockmgr.New(0, lockmgr.MaxToken)
	round := func(base int) {
		for i := range 20_000 {
			name := fmt.Sprint(base + i)
			for pid := range 4 {
				r := lockmgr.Request{
					Name: name, Wait: time.Duration(pid), Conn: lockmgr.ConnID(10*i + pid),
					Owner: lockmgr.Owner{Process: lockmgr.Process{PID: 10*i + pid}},
				}
				if _, err := m.Acquire(lockmgr.Time{}, r); err != nil {
					t.Fatal(err)
				}
			}
			m.Cancel(lockmgr.Time{}, m.Effects()[1].ID)
			m.EndConn(lockmgr.Time{}, lockmgr.ConnID(10*i+2), lockmgr.Disconnected, 0, lockmgr.All)
			m.Expire(lockmgr.Time{Boot: time.Second}, lockmgr.All)
			m.EndProcess(lockmgr.Time{}, lockmgr.Process{PID: 10 * i}, lockmgr.Killed, 9, lockmgr.All)
			m.Effects()
		}
	}
	heap := func() int {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return int(s.HeapAlloc)
	}
	round(0)
	before := heap()
	round(1_000_000)
	if grown := heap() - before; grown > 256<<10 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	if n := remembered(m); n != lockmgr.MaxRemembered {
		t.Errorf("%d are remembered", n)
	}
	runtime.KeepAlive(m)
}

func TestAllocations(t *testing.T) {
	m := lockmgr.New(0, lockmgr.MaxToken)
	use(t, m, "a", 1)
	if n := testing.AllocsPerRun(100, func() { use(t, m, "a", 1) }); n > 1 { // the end, which is remembered
		t.Errorf("a pair allocates %v times", n)
	}
	held := lockmgr.Request{Name: "a", Owner: lockmgr.Owner{Label: "holder"}}
	if _, err := m.Acquire(lockmgr.Time{}, held); err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		if _, err := m.Acquire(lockmgr.Time{}, lockmgr.Request{Name: "a"}); err != lockmgr.ErrBusy {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("a try that fails allocates %v times", n)
	}
}
