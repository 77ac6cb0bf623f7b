package server

import (
	"context"
	"log/slog"
	"time"
)

// Peers can have things logged as often as they like: by locks that they abandon or break, by connections that they have
// ended. The journal takes so many records of a service and no more (RateLimitBurst=), so they would keep out what is about
// others. So each user has as many as anybody can want to read, and what is left out is counted.
type gossip struct {
	since time.Duration
	told  map[topic]int
	more  bool // than was logged
}

// A topic is what is counted together.
type topic struct {
	uid   uint32
	event string
}

const (
	// mostTold is how many records of a kind about a user are logged in a gossipTime.
	mostTold   = 100
	gossipTime = time.Minute
)

// tell logs what a user's doing was the cause of. It adds the event and the uid.
func (s *Server) tell(level slog.Level, uid uint32, event, message string, args ...any) {
	s.gossipDue()
	if len(s.gossip.told) == 0 {
		s.gossip.since = s.now()
	}
	about := topic{uid, event}
	s.gossip.told[about]++
	if s.gossip.told[about] > mostTold {
		s.gossip.more = true
		return
	}
	s.log.Log(context.Background(), level, message, append([]any{"event", event, "uid", uid}, args...)...)
}

// gossipNext is when gossipDue has something to say, 0 for never.
func (s *Server) gossipNext() time.Duration {
	if !s.gossip.more {
		return 0
	}
	return s.gossip.since + gossipTime
}

// gossipDue says how much was left out, and begins anew.
func (s *Server) gossipDue() {
	if len(s.gossip.told) == 0 || s.now() < s.gossip.since+gossipTime {
		return
	}
	for about, n := range s.gossip.told {
		if n > mostTold {
			s.log.Warn("records about a user were left out", "event", about.event, "uid", about.uid, "count", n-mostTold)
		}
	}
	s.gossip = gossip{told: map[topic]int{}}
}
