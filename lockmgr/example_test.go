package lockmgr_test

import (
	"fmt"
	"time"

	"github.com/ipcd/ipcd/lockmgr"
)

// Two processes want the same lock. The one that holds it is killed.
func Example() {
	m := lockmgr.New(0, 1_000_000)

	now := lockmgr.Time{Boot: 10 * time.Second}
	backup := lockmgr.Process{PID: 4121, Start: 700}
	restore := lockmgr.Process{PID: 4380, Start: 900}
	for i, process := range []lockmgr.Process{backup, restore} {
		_, err := m.Acquire(now, lockmgr.Request{
			Name:  "disk",
			Owner: lockmgr.Owner{Process: process},
			Conn:  lockmgr.ConnID(i),
			Wait:  time.Minute,
		})
		if err != nil {
			fmt.Println("refused:", err)
		}
	}

	if at, ok := m.Deadline(); ok {
		fmt.Println("call Expire at", at)
	}
	now.Boot += 5 * time.Second
	m.EndProcess(now, backup, lockmgr.Killed, 9, lockmgr.All)

	for _, e := range m.Effects() {
		switch e.Kind {
		case lockmgr.Waiting:
			fmt.Println(e.Owner, "waits in place", e.Place)
		case lockmgr.Acquired:
			fmt.Println(e.Owner, "has token", e.Token)
			if e.Abandoned != nil {
				fmt.Println("  after", e.Abandoned.Owner, "was", e.Abandoned)
			}
		case lockmgr.Ended:
			fmt.Println(e.Owner, "had token", e.Token)
		}
	}

	// Output:
	// call Expire at 1m10s
	// process 4121/700 has token 1
	// process 4380/900 waits in place 1
	// process 4121/700 had token 1
	// process 4380/900 has token 2
	//   after process 4121/700 was killed 9
}

// A semaphore has several units: here two may work at once.
func Example_semaphore() {
	m := lockmgr.New(0, 1_000_000)
	for pid := range 3 {
		ask(m, lockmgr.Request{
			Name: "gpu", Limit: 2, Units: 1, Wait: lockmgr.Forever,
			Owner: lockmgr.Owner{Process: lockmgr.Process{PID: 1 + pid}},
		})
	}
	if err := m.Release(lockmgr.Time{}, "gpu", 1); err != nil {
		fmt.Println(err)
	}
	printEffects(m)

	// Output:
	// acquired "gpu": process 1/0, token 1
	// acquired "gpu": process 2/0, token 2
	// waiting "gpu": process 3/0
	// ended "gpu": process 1/0, token 1
	// acquired "gpu": process 3/0, token 3
}

// A set is granted in one step. It holds nothing while it waits.
func ExampleRequest_set() {
	m := lockmgr.New(0, 1_000_000)
	ask(m, lockmgr.Request{Name: "disk", Owner: lockmgr.Owner{Process: lockmgr.Process{PID: 1}}})
	ask(m, lockmgr.Request{
		Name: "disk", Set: []string{"disk", "tape"}, Wait: lockmgr.Forever,
		Owner: lockmgr.Owner{Process: lockmgr.Process{PID: 2}},
	})
	if err := m.Release(lockmgr.Time{}, "disk", 1); err != nil {
		fmt.Println(err)
	}
	printEffects(m)

	// Output:
	// acquired "disk": process 1/0, token 1
	// waiting "disk": process 2/0
	// waiting "tape": process 2/0
	// ended "disk": process 1/0, token 1
	// acquired "disk": process 2/0, token 2
	// acquired "tape": process 2/0, token 3
}

// A lease ends a hold by time, unless it is renewed.
func ExampleManager_Renew() {
	m := lockmgr.New(0, 1_000_000)
	ask(m, lockmgr.Request{
		Name: "leader", Bind: lockmgr.ToLease, Lease: time.Minute,
		Owner: lockmgr.Owner{Process: lockmgr.Process{PID: 1}},
	})
	now := lockmgr.Time{Boot: 30 * time.Second}
	if err := m.Renew(now, "leader", 1, time.Minute); err != nil {
		fmt.Println(err)
	}
	for {
		at, ok := m.Deadline()
		if !ok {
			break
		}
		fmt.Println("Expire is due at", at)
		now.Boot = at
		m.Expire(now, lockmgr.All)
	}
	printEffects(m)

	// Output:
	// Expire is due at 1m10s
	// Expire is due at 1m30s
	// acquired "leader": process 1/0, token 1
	// renewed "leader": process 1/0, token 1
	// expiring "leader": process 1/0, token 1
	// ended "leader": process 1/0, token 1
}

// Two who hold what the other one wants: the second to ask is refused, and told why.
func ExampleDeadlockError() {
	m := lockmgr.New(0, 1_000_000)
	first := lockmgr.Owner{Process: lockmgr.Process{PID: 1}}
	second := lockmgr.Owner{Process: lockmgr.Process{PID: 2}}
	ask(m, lockmgr.Request{Name: "a", Owner: first})
	ask(m, lockmgr.Request{Name: "b", Owner: second})
	ask(m, lockmgr.Request{Name: "b", Owner: first, Wait: lockmgr.Forever})
	ask(m, lockmgr.Request{Name: "a", Owner: second, Wait: lockmgr.Forever})
	printEffects(m)

	// Output:
	// refused: process 2/0 would wait for "a", which process 1/0 holds; process 1/0 would wait for "b", which process 2/0 holds
	// acquired "a": process 1/0, token 1
	// acquired "b": process 2/0, token 2
	// waiting "b": process 1/0
}

func ask(m *lockmgr.Manager, r lockmgr.Request) {
	if _, err := m.Acquire(lockmgr.Time{}, r); err != nil {
		fmt.Println("refused:", err)
	}
}

func printEffects(m *lockmgr.Manager) {
	for _, e := range m.Effects() {
		fmt.Printf("%s %q: %s", e.Kind, e.Name, e.Owner)
		if e.Token != 0 {
			fmt.Printf(", token %d", e.Token)
		}
		fmt.Println()
	}
}
