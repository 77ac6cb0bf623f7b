package messages

import (
	"bytes"
	"slices"
	"time"

	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A publisher may rather wait than have receivers miss something (MAYBLOCK). His command is set aside then as it came, and executed when
// the receiver in whose way it stands has taken some of what waits for it, or has gone; there may be another one then. When the time is
// over, the message is refused, and he is told who holds him up. Nobody else waits: others who publish there have receivers lose messages
// as ever, and what was executed meanwhile was before him.

// A patience is that of a session whose command is set aside.
type patience struct {
	timer loop.Timer
	until time.Duration    // 0: nothing waits
	by    *session.Session // whom it waits for; nil: it is about to be executed
	over  bool             // its time is
}

// mostLookedAt is how many subscriptions are looked at to find out who holds a message up, in some hundred microseconds.
const mostLookedAt = 4096

// MustAwaitRoom reports whether a call must not be executed before somebody has taken something: then its session is parked.
func (s *Service) MustAwaitRoom(c *session.Call) bool {
	if len(c.Args) < 4 || c.Row.Flags&wire.FlagFanOut == 0 || !slices.ContainsFunc(c.Args[2:], func(a []byte) bool {
		return bytes.EqualFold(a, []byte("MAYBLOCK"))
	}) {
		return false
	}
	sess, w := c.Session, s.patience.Of(c.Session)
	words := s.pubWords(c)
	c.Out = c.Out[:0] // what is wrong with them is said when it is executed
	by, _ := s.holdsUp(c)
	if !words || by == nil || s.publication.mayBlock <= 0 || s.set.Stopping || sess.Is(session.InExec) || w != nil && w.over {
		s.endPatience(sess)
		return false
	}
	if w == nil {
		w = s.patience.In(sess)
		w.timer.Init(&s.set.Loop.Timers, func() {
			w.over, w.until = true, 0
			s.goOn(sess)
		})
	}
	if w.until == 0 {
		w.until = s.set.Now() + s.publication.mayBlock
		w.timer.Set(w.until)
	}
	w.by = by
	by.AwaitRoom()
	s.heldUp = append(s.heldUp, sess)
	sess.Park()
	return true
}

// holdsUp is who would miss something for the message of a call, and of which subscription; nil if nobody would but who has asked for it.
func (s *Service) holdsUp(c *session.Call) (by *session.Session, filter string) {
	if !s.publication.mayBlockIs {
		return nil, ""
	}
	routes, _, err := s.bus.SearchTopic(c.Args[0], searchAtOnce)
	if err != nil {
		return nil, ""
	}
	size := len(c.Args[0]) + len(c.Args[1]) + 2*s.publication.headers.Bytes() + len(c.Session.Stamp()) + 512
	looked := 0
	for _, r := range routes {
		if !canLose(r.Kind, r.Text) {
			continue
		}
		for _, sess := range r.Subs() {
			if looked++; looked > mostLookedAt {
				return nil, ""
			}
			if sess.Blocked() && !sess.Ending() && !sess.CanTake(size+len(r.Text), r.Text) {
				return sess, r.Text
			}
		}
	}
	return nil, ""
}

// refuseHeldUp refuses the message of a call that somebody holds up, and reports whether it does.
func (s *Service) refuseHeldUp(c *session.Call) bool {
	by, filter := s.holdsUp(c)
	if by == nil {
		return false
	}
	code := wire.CodeTimeout
	if s.publication.mayBlock == 0 || c.Session.Is(session.InExec) {
		code = wire.CodeBusy
	}
	unit := ""
	if by.Peer.Unit != "" {
		unit = ", unit " + by.Peer.Unit
	}
	c.Fail(code, "client %d (pid %d, uid %d%s) is too far behind %q, and would miss messages", by.ID, by.Peer.PID, by.Peer.UID, unit, session.Clip(filter))
	return true
}

// HasRoom has those go on who wait for a session to take something: it has, or it has gone.
func (s *Service) HasRoom(by *session.Session) {
	for i := 0; i < len(s.heldUp); i++ {
		if sess := s.heldUp[i]; s.patience.Of(sess).by == by {
			s.goOn(sess)
			i--
		}
	}
}

// goOn has a command that was set aside be looked at again.
func (s *Service) goOn(sess *session.Session) {
	s.patience.Of(sess).by = nil
	s.heldUp = slices.DeleteFunc(s.heldUp, func(other *session.Session) bool { return other == sess })
	sess.Unpark()
}

// endPatience gives up what there is of a wait.
func (s *Service) endPatience(sess *session.Session) {
	w := s.patience.Of(sess)
	if w == nil {
		return
	}
	w.timer.Stop()
	w.until, w.over = 0, false
	if w.by != nil {
		w.by = nil
		s.heldUp = slices.DeleteFunc(s.heldUp, func(other *session.Session) bool { return other == sess })
	}
}
