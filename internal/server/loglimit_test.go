package server

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/account"
)

// TestLogLimit: one user's doings do not fill the log, and how much was left out is told, once.
func TestLogLimit(t *testing.T) {
	var log *logBuffer
	m := newManual(t, 1, func(s *Setup, _ *Options) {
		log = new(logBuffer)
		s.Log = slog.New(slog.NewTextHandler(log, nil))
	})
	c := m.connect(false)
	for range account.LogBurst + 7 {
		c.cmd("LOCK.ACQUIRE", "a")
		c.cmd("LOCK.BREAK", "a")
	}
	m.settle()
	m.set.LogAbout(slog.LevelWarn, m.self.UID+1, "lock-broken", "another's")
	m.set.LogAbout(slog.LevelWarn, m.self.UID, "disconnect", "of another kind")
	count := func(words string, want int) {
		t.Helper()
		if n := strings.Count(log.String(), words); n != want {
			t.Errorf("%q is logged %d times, want %d:\n%s", words, n, want, log.String())
		}
	}
	count("a lock was broken", account.LogBurst)
	count("another's", 1)
	count("of another kind", 1)
	count("left out", 0)
	end, ok := m.set.Loop.Timers.Next()
	if !ok {
		t.Error("nothing is to be told")
	}
	m.at(end)
	count(fmt.Sprintf("records about a user were left out\" event=lock-broken uid=%d count=7", m.self.UID), 1)
	if m.set.Loop.Timers.Len() != 0 {
		t.Error("there is more to tell")
	}
	m.set.LogAbout(slog.LevelWarn, m.self.UID, "lock-broken", "after a minute")
	count("after a minute", 1)
	count("left out", 1)
}
