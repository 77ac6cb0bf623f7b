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
	m.EndProcess(now, backup, lockmgr.Killed, 9)

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
