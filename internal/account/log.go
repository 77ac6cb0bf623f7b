package account

import (
	"iter"
	"time"
)

// A LogLimit bounds what is logged about users. Peers can have things logged as often as they like: by locks that they abandon
// or break, by connections that they have ended. The journal takes so many records of a service and no more (RateLimitBurst=), so
// they would keep out what is about others. So each user has as many as anybody can want to read, and what is left out is
// counted.
type LogLimit struct {
	since time.Duration
	told  map[Topic]int
	more  bool // than was logged
}

// A Topic is what is counted together: records of a kind about a user.
type Topic struct {
	UID   uint32
	Event string
}

// LogBurst is how many records of a kind about a user are logged in a LogPeriod.
const LogBurst = 100

// LogPeriod is for how long records are counted together.
const LogPeriod = time.Minute

// Admit reports whether one more record of a kind about a user is to be logged. What is due must have been told.
func (l *LogLimit) Admit(now time.Duration, uid uint32, event string) bool {
	if len(l.told) == 0 {
		l.since = now
		l.told = map[Topic]int{}
	}
	about := Topic{uid, event}
	l.told[about]++
	if l.told[about] > LogBurst {
		l.more = true
		return false
	}
	return true
}

// Next is when there is something due, 0 for never.
func (l *LogLimit) Next() time.Duration {
	if !l.more {
		return 0
	}
	return l.since + LogPeriod
}

// Due begins a new period if the last one is over, and gives how many records it left out, by user and kind.
func (l *LogLimit) Due(now time.Duration) iter.Seq2[Topic, int] {
	var told map[Topic]int
	if len(l.told) > 0 && now >= l.since+LogPeriod {
		told = l.told
		*l = LogLimit{}
	}
	return func(yield func(Topic, int) bool) {
		for about, n := range told {
			if n > LogBurst && !yield(about, n-LogBurst) {
				return
			}
		}
	}
}
