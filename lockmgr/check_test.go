package lockmgr

import (
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/list"
)

// A check that finds nothing is worth nothing: each of these breaks one thing of a state that is in order.
func TestCheckFinds(t *testing.T) {
	process := Process{PID: 1}
	owner := Owner{Process: process}
	for name, spoil := range map[string]func(*Manager){
		"holders that are not compatible": func(m *Manager) { m.locks["crowd"].holds[0].mode = Exclusive },
		"tokens out of order": func(m *Manager) {
			h := m.locks["crowd"].holds
			h[0], h[1] = h[1], h[0]
		},
		"a token above the last":         func(m *Manager) { m.last, m.mark = 1, 1 },
		"a holder with a deadline":       func(m *Manager) { m.locks["crowd"].holds[0].members.First.deadline = 5 },
		"a holder of another lock":       func(m *Manager) { m.locks["crowd"].holds[0].members.First.lock = m.locks["free"] },
		"a wait for nothing":             func(m *Manager) { m.mark++ },
		"a lock that starves unseen":     func(m *Manager) { m.locks["starving"].starving = false },
		"starvation that is not listed":  func(m *Manager) { m.starving = list.List[lock]{} },
		"a queue out of order":           func(m *Manager) { m.locks["crowd"].queue.First.ID = 99 },
		"a queue linked one way":         func(m *Manager) { m.locks["crowd"].queue.Last.lineLink.Prev = nil },
		"a queue that counts wrong":      func(m *Manager) { m.locks["crowd"].queue.Len++ },
		"a wait with a token":            func(m *Manager) { m.locks["crowd"].queue.Last.Token = 2 },
		"a claim that has no owner":      func(m *Manager) { delete(m.claims, claimKey{m.locks["crowd"], owner}) },
		"an owner of nothing":            func(m *Manager) { m.claims[claimKey{nil, Owner{}}] = &claim{} },
		"a hold that has no process":     func(m *Manager) { delete(m.holding, process) },
		"a hold of another process":      func(m *Manager) { m.holding[Process{PID: 9}] = m.holding[process] },
		"a process without holds":        func(m *Manager) { m.holding[Process{PID: 9}] = list.List[claim]{} },
		"a wait that has no process":     func(m *Manager) { delete(m.waiting, Process{PID: 3}) },
		"a wait of another process":      func(m *Manager) { m.waiting[Process{PID: 9}] = m.waiting[Process{PID: 3}] },
		"a hold among the waits":         func(m *Manager) { m.waiting[process] = m.holding[process] },
		"a hold without members":         func(m *Manager) { m.locks["crowd"].holds[0].members = list.List[claim]{} },
		"a member that knows no token":   func(m *Manager) { m.locks["crowd"].holds[0].members.First.Token = 9 },
		"a member with other units":      func(m *Manager) { m.locks["units"].holds[0].members.Last.Units = 1 },
		"a member without entries":       func(m *Manager) { m.locks["units"].holds[0].members.Last.Entries = 0 },
		"units that are not counted":     func(m *Manager) { m.locks["units"].used-- },
		"more units than there are":      func(m *Manager) { m.locks["units"].limit = 1 },
		"a wait for more than there are": func(m *Manager) { m.locks["crowd"].queue.First.Units = 2 },
		"a token shown by nobody":        func(m *Manager) { m.acting.push(nil, &acting{claim: &claim{}}, forHold) },
		"a lease that is not watched":    func(m *Manager) { m.locks["units"].holds[0].members.First.Expires = 0 },
		"a claim that has no connection": func(m *Manager) { delete(m.bound, 1) },
		"a claim of another connection":  func(m *Manager) { m.bound[9] = m.bound[1] },
		"a wait that cannot be found":    func(m *Manager) { delete(m.waits, m.locks["crowd"].queue.Last.ID) },
		"a wait that is none":            func(m *Manager) { m.waits[99] = &claim{} },
		"a deadline that is not kept":    func(m *Manager) { m.deadlines = m.deadlines[:1] },
		"deadlines out of order":         func(m *Manager) { m.deadlines[0].deadline = 99 },
		"a deadline in another place":    func(m *Manager) { m.deadlines[0].heapAt = 1 },
		"a lock under another name":      func(m *Manager) { m.locks["crowd"].name = "free" },
		"a lock without a use":           func(m *Manager) { m.locks["useless"] = &lock{name: "useless"} },
		"a free lock that stays":         func(m *Manager) { delete(m.remembered, 7) },
		"a free lock that is forgotten":  func(m *Manager) { delete(m.locks, "free") },
		"a memory of another user":       func(m *Manager) { m.locks["free"].previous = &End{} },
		"an abandoned end that is none":  func(m *Manager) { m.locks["free"].abandoned = &End{How: Released} },
		"a step that was not settled":    func(m *Manager) { m.locks["crowd"].touched = true },
		"a step that is not over":        func(m *Manager) { m.touched = append(m.touched, m.locks["crowd"]) },
	} {
		t.Run(name, func(t *testing.T) {
			m := inOrder(t)
			if err := m.Check(); err != nil {
				t.Fatal("before: ", err)
			}
			spoil(m)
			if m.Check() == nil {
				t.Error("was not found")
			}
		})
	}
}

// inOrder has a free lock, one with holders and waiters, and one that waits for tokens.
func inOrder(t *testing.T) *Manager {
	m := New(0, 4)
	acquire := func(name string, pid int, mode Mode, wait time.Duration) {
		t.Helper()
		_, err := m.Acquire(Time{}, Request{
			Name: name, Mode: mode, Owner: Owner{Process: Process{PID: pid}}, Conn: ConnID(pid), Wait: wait,
			Info: Info{UID: 7},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	acquire("free", 1, Exclusive, Forever)
	m.EndConn(Time{}, 1, Disconnected, 0, All)
	acquire("crowd", 1, Shared, Forever)
	acquire("crowd", 2, Shared, Forever)
	acquire("crowd", 3, Exclusive, 5)
	acquire("crowd", 4, Shared, 6)
	_, err := m.Acquire(Time{}, Request{Name: "units", Units: 2, Limit: 3, Lease: 9, Owner: Owner{Process: Process{PID: 6}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Acquire(Time{}, Request{Name: "units", Join: 4, Owner: Owner{Process: Process{PID: 7}}}); err != nil {
		t.Fatal(err)
	}
	acquire("starving", 5, Exclusive, Forever)
	return m
}

// TestFirstOfManyHoldsMovesNone: of very many holds of a lock that end one after the other from the first, as they do when a connection
// ends, those that stay are not moved for each; nor those behind one in the middle, if there are more of them than before it.
func TestFirstOfManyHoldsMovesNone(t *testing.T) {
	const n = 1000
	m := New(0, MaxToken)
	for i := range n {
		if _, err := m.Acquire(Time{}, Request{Name: "a", Mode: Shared, Owner: Owner{Process: Process{PID: i}}}); err != nil {
			t.Fatal(err)
		}
	}
	l := m.locks["a"]
	last := &l.holds[n-1]
	end := func(at int) {
		t.Helper()
		if err := m.Release(Time{}, "a", l.holds[at].token); err != nil {
			t.Fatal(err)
		}
		m.Effects()
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
	}
	end(100)
	for len(l.holds) > n/2 {
		if end(0); &l.holds[len(l.holds)-1] != last {
			t.Fatalf("with %d left, the last is moved", len(l.holds))
		}
	}
	first := &l.holds[0]
	if end(len(l.holds) - 2); &l.holds[0] != first {
		t.Error("the first is moved for one of the last")
	}
	for len(l.holds) > 0 {
		end(len(l.holds) / 3)
	}
}

// However claims end, nothing is left of them, and of locks only what is remembered.
func TestNothingIsLeft(t *testing.T) {
	for _, mark := range []Token{0, 1000} { // without tokens nothing is held, and so nothing remembered
		m := New(0, mark)
		var ids []RequestID
		for i := range 400 {
			id, err := m.Acquire(Time{}, Request{
				Name: string(rune('a' + i%7)), Mode: Mode(min(i/7%8, 1)), Owner: Owner{Process: Process{PID: i}},
				Conn: ConnID(i), Bind: Binding(i / 14 % 2), Wait: []time.Duration{Forever, 10}[i/4%2],
			})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		for i := 0; i < 400; i += 4 {
			m.Cancel(Time{}, ids[i])
			m.EndConn(Time{}, ConnID(i+1), Disconnected, 0, All)
		}
		m.Expire(Time{Boot: time.Second}, All)
		for i := range 400 {
			m.EndProcess(Time{}, Process{PID: i}, Exited, 0, All)
		}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		left := len(m.claims) + len(m.waiting) + len(m.holding) + len(m.waits) + len(m.asking) + len(m.bound) + len(m.deadlines) + m.starving.Len
		if left != 0 {
			t.Errorf("mark %d: %d entries are left of claims", mark, left)
		}
		for name, l := range m.locks {
			if cap(l.holds) > keepHolds {
				t.Errorf("lock %q has room for %d holders, and none", name, cap(l.holds))
			}
		}
		if locks := len(m.locks); mark == 0 && locks != 0 || mark != 0 && locks != 7 {
			t.Errorf("mark %d: %d locks are known", mark, locks)
		}
	}
}
