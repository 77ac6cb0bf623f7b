package session

import (
	"context"
	"log/slog"
)

// LogAbout logs what a user's doing was the cause of, unless too much is logged about him: see account.LogLimit. It adds the event
// and the uid.
func (s *Set) LogAbout(level slog.Level, uid uint32, event, message string, args ...any) {
	s.logLimitDue()
	if !s.logLimit.Admit(s.Now(), uid, event) {
		s.logPeriod.Set(s.logLimit.Next())
		return
	}
	s.Log.Log(context.Background(), level, message, append([]any{"event", event, "uid", uid}, args...)...)
}

// logLimitDue says how much was left out, if the time has come for it.
func (s *Set) logLimitDue() {
	for about, n := range s.logLimit.Due(s.Now()) {
		s.Log.Warn("records about a user were left out", "event", about.Event, "uid", about.UID, "count", n)
	}
	if s.logLimit.Next() == 0 {
		s.logPeriod.Stop()
	}
}
