package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/ipcd/ipcd/internal/loop"
)

// Peers can have things logged as often as they like: by locks that they abandon or break, by connections that they have
// ended. The journal takes so many records of a service and no more (RateLimitBurst=), so they would keep out what is about
// others. So each user has as many as anybody can want to read, and what is left out is counted.
type logLimit struct {
	since time.Duration
	told  map[logTopic]int
	over  loop.Timer // set once there is more than was logged
}

// A logTopic is what is counted together.
type logTopic struct {
	uid   uint32
	event string
}

const (
	// logBurst is how many records of a kind about a user are logged in a logPeriod.
	logBurst  = 100
	logPeriod = time.Minute
)

func (l *logLimit) init(s *Server) {
	l.told = map[logTopic]int{}
	l.over.Init(&s.loop.Timers, s.logLimitDue)
}

// tell logs what a user's doing was the cause of. It adds the event and the uid.
func (s *Server) tell(level slog.Level, uid uint32, event, message string, args ...any) {
	s.logLimitDue()
	if len(s.logLimit.told) == 0 {
		s.logLimit.since = s.now()
	}
	about := logTopic{uid, event}
	s.logLimit.told[about]++
	if s.logLimit.told[about] > logBurst {
		s.logLimit.over.Set(s.logLimit.since + logPeriod)
		return
	}
	s.log.Log(context.Background(), level, message, append([]any{"event", event, "uid", uid}, args...)...)
}

// logLimitDue says, when the period is over, how much was left out, and begins anew.
func (s *Server) logLimitDue() {
	if len(s.logLimit.told) == 0 || s.now() < s.logLimit.since+logPeriod {
		return
	}
	for about, n := range s.logLimit.told {
		if n > logBurst {
			s.log.Warn("records about a user were left out", "event", about.event, "uid", about.uid, "count", n-logBurst)
		}
	}
	clear(s.logLimit.told)
	s.logLimit.over.Stop()
}
