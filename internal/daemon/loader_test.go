package daemon

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipcd/ipcd/internal/config"
)

// TestLoader: a read that hangs is given up, is in the way of no other one, and is told of when it ends after all.
func TestLoader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		var hang atomic.Bool
		l := newLoader(func() (*config.Config, error) {
			if hang.Load() {
				<-answer
			}
			return config.Default(), nil
		})
		refused := func(why string, after time.Duration) {
			t.Helper()
			begin := time.Now()
			if cfg, err := l.load(); cfg != nil || err == nil || !strings.Contains(err.Error(), why) || time.Since(begin) != after {
				t.Errorf("after %v: %v, %v", time.Since(begin), cfg, err)
			}
		}
		good := func() {
			t.Helper()
			begin := time.Now()
			if cfg, err := l.load(); cfg == nil || err != nil || time.Since(begin) != 0 {
				t.Errorf("after %v: %v, %v", time.Since(begin), cfg, err)
			}
		}
		good()
		hang.Store(true)
		refused("within 5s", loadTime)
		hang.Store(false)
		good() // as when another file is there now
		hang.Store(true)
		for range maxLoads - 1 {
			refused("within 5s", loadTime)
		}
		refused("the reads before this one still hang", 0)
		select {
		case <-l.late:
			t.Error("a read has ended that hangs")
		default:
		}
		close(answer)
		<-l.late
		synctest.Wait()
		good()
	})
}
