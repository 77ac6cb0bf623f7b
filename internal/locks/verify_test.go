package locks

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/list"
	"github.com/ipcd/ipcd/internal/loop"
)

// verifyTimers panics as the server's verifier does, which asks all services.
func (m *manual) verifyTimers() {
	known := 0
	check := func(what string, t *loop.Timer, want bool) {
		if t.IsSet() != want {
			panic(fmt.Sprintf("the timer of %s is set: %v", what, t.IsSet()))
		}
		if want {
			known++
		}
	}
	m.VerifyTimers(check)
	m.set.VerifyTimers(check)
	if n := m.set.Loop.Timers.Len(); n != known {
		panic(fmt.Sprintf("%d timers are set, %d of them by what there is", n, known))
	}
}

// TestVerifyTimers: a timer that is not set when it should be, or is left behind, is named.
func TestVerifyTimers(t *testing.T) {
	for _, c := range []struct {
		name, want string
		fault      func(m *manual)
	}{
		{"a wait that would not end", "the timer of waits and leases is set: false", func(m *manual) { m.expiry.Stop() }},
		{"a wait that would end late", "the lock engine is called at", func(m *manual) { m.expiry.Set(m.expiry.At() + 1) }},
		{"a grace that stays", "the timer of graces is set: false", func(m *manual) { m.requests.graces.Stop() }},
		{"an ending that stays", "an ending of process", func(m *manual) {
			for _, p := range m.processes {
				p.endings.First.over.Stop()
			}
		}},
		{"an ending of nobody", "3 timers are set, 2", func(m *manual) {
			for _, p := range m.processes {
				p.endings = list.List[ending]{}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newManual(t, func(s *manualSetup) { s.EndingTime = time.Hour })
			holder, waiter, detached, gone := m.connect(false), m.connect(false), m.connect(false), m.connect(false)
			holder.cmd("LOCK.ACQUIRE", "a")
			m.settle()
			waiter.cmd("LOCK.ACQUIRE", "a", "OWNER", "w", "WAIT", "3600000")
			detached.cmd("LOCK.ACQUIRE", "a", "OWNER", "d", "REQID", "2")
			gone.cmd("LOCK.ACQUIRE", "b")
			m.settle()
			detached.close()
			gone.close()
			m.settle()
			m.verify()
			m.verifyTimers()
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, c.want) {
					t.Errorf("the verifier says %q, want %q", got, c.want)
				}
			}()
			c.fault(m)
			m.verifyTimers()
		})
	}
}
