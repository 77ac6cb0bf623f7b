package server

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/loop"
)

// TestVerifyTimers: the verifier notices a timer that is left behind for what has ended, and a deadline without one.
func TestVerifyTimers(t *testing.T) {
	for _, c := range []struct {
		name, want string
		fault      func(m *manual)
	}{
		{"a timer of nobody", "6 timers are set, 5 of them by what there is", func(m *manual) {
			left := new(loop.Timer)
			left.Init(&m.set.Loop.Timers, func() {})
			left.Set(time.Hour)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newManual(t, 1, func(s *Setup, _ *Options) { s.EndingTime = time.Hour })
			holder, waiter, detached, gone := m.connect(false), m.connect(false), m.connect(false), m.connect(false)
			holder.cmd("LOCK.ACQUIRE", "a")
			holder.cmd("BUS.PUB", "x", "y", "REQID", "1")
			m.settle()
			waiter.cmd("LOCK.ACQUIRE", "a", "OWNER", "w", "WAIT", "3600000")
			detached.cmd("LOCK.ACQUIRE", "a", "OWNER", "d", "REQID", "2")
			gone.cmd("LOCK.ACQUIRE", "b")
			m.settle()
			detached.close()
			gone.close()
			m.settle()
			for range account.LogBurst + 1 {
				m.set.LogAbout(slog.LevelInfo, 1, "event", "said often")
			}
			m.verify()
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, c.want) {
					t.Errorf("the verifier says %q, want %q", got, c.want)
				}
			}()
			c.fault(m)
			m.verify()
		})
	}
}
