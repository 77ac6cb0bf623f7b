package server

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/internal/session"
)

// A subscriber who falls behind is told himself what he misses, when he reads. For whoever looks after the machine it is an event, too: one
// for each user in a lossPeriod, however many messages his connections miss, as each event may be one more that somebody misses.

var lostTopic = []byte(bus.ReservedPrefix + "client/lost")

const lossPeriod = time.Second

// A loss is what a user's connections have missed since the last event.
type loss struct {
	messages int
	of       map[*session.Session]int // of each; some may have ended since
	worst    *session.Session         // who missed the most
}

// noteLoss takes note that a session misses n messages more.
func (s *Server) noteLoss(sess *session.Session, n int) {
	if n == 0 {
		return
	}
	if len(s.losses) == 0 {
		s.losses = map[uint32]*loss{}
		s.lossTime.Set(s.set.Now() + lossPeriod)
	}
	l := s.losses[sess.Peer.UID]
	if l == nil {
		l = &loss{of: map[*session.Session]int{}, worst: sess}
		s.losses[sess.Peer.UID] = l
	}
	*s.missed.In(sess) += n
	l.messages += n
	if l.of[sess] += n; l.of[sess] > l.of[l.worst] {
		l.worst = sess
	}
}

// announceLosses tells of what was missed since it did so last.
func (s *Server) announceLosses() {
	losses := s.losses
	s.losses = nil
	for _, uid := range slices.Sorted(maps.Keys(losses)) {
		l := losses[uid]
		s.set.LogAbout(slog.LevelWarn, uid, "lost", "subscribers are behind, and have missed messages", "client", l.worst.ID, "pid", l.worst.Peer.PID,
			"unit", l.worst.Peer.Unit, "lost", l.of[l.worst], "waiting", l.worst.Unread(), "lost_of_user", l.messages, "connections", len(l.of))
		s.announceClient(lostTopic, "lost", l.worst, func(b []byte) []byte {
			b = printable.AppendTextField(b, "name", s.nameOf(l.worst))
			b = printable.AppendIntField(b, "lost", int64(l.of[l.worst]))
			b = printable.AppendIntField(b, "lost_of_user", int64(l.messages))
			return printable.AppendIntField(b, "connections", int64(len(l.of)))
		})
	}
}
