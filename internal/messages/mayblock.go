package messages

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/openfile"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A publisher may rather wait than have receivers miss something (MAYBLOCK). His command is set aside then as it came, and executed when
// the receiver in whose way it stands has taken some of what waits for it, or has gone; there may be another one then. When the time is
// over, the message is refused, and he is told who holds him up. Nobody else waits: others who publish there have receivers lose messages
// as ever, and what was executed meanwhile was before him. A group is a receiver, too: it takes something when a member does.

// A patience is that of a session whose command is set aside.
type patience struct {
	timer loop.Timer
	until time.Duration // 0: nothing waits
	over  bool          // its time is
}

// mostLookedAt is how many subscriptions are looked at to find out who holds a message up, in some hundred microseconds.
const mostLookedAt = 4096

// MustAwaitRoom reports whether a call must not be executed before somebody has taken something: then its session is parked.
func (s *Service) MustAwaitRoom(c *session.Call) bool { return len(c.Args) >= 4 && s.mustAwaitRoom(c) }

func (s *Service) mustAwaitRoom(c *session.Call) bool {
	if c.Row.Flags&wire.FlagFanOut == 0 || !slices.ContainsFunc(c.Args[2:], func(a []byte) bool {
		return bytes.EqualFold(a, []byte("MAYBLOCK"))
	}) {
		return false
	}
	sess, w := c.Session, s.patience.Of(c.Session)
	words := s.pubWords(c)
	c.Out = c.Out[:0] // what is wrong with them is said when it is executed
	by, _ := s.holdsUp(c)
	if !words || by == (obstacle{}) || s.publication.mayBlock <= 0 || s.set.Stopping || sess.Is(session.InExec) || w != nil && w.over {
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
	if by.sess != nil {
		by.sess.AwaitRoom()
	}
	s.setAside(sess, by)
	return true
}

// holdsUp is who would miss something for the message of a call, and has not asked for that, and by which filter.
func (s *Service) holdsUp(c *session.Call) (by obstacle, filter string) {
	if !s.publication.mayBlockIs {
		return by, ""
	}
	var to audience
	if s.audienceOf(&to, topicName, c.Args[0]) != nil {
		return by, ""
	}
	size := len(c.Args[0]) + len(c.Args[1]) + 2*s.publication.headers.Bytes() + len(c.Session.Stamp()) + 512
	looked := 0
	for _, r := range to.routes {
		if !canLose(r.Kind, r.Text) {
			continue
		}
		for _, sess := range r.Subs() {
			if looked++; looked > mostLookedAt {
				return by, ""
			}
			if sess.Blocked() && !sess.Ending() && !sess.CanTake(size+len(r.Text), r.Text) {
				return obstacle{sess: sess}, r.Text
			}
		}
	}
	groups := to.groups
	if to.groupSearch != nil {
		groups, _ = to.groupSearch.Next(mostLookedAt)
	}
	if len(groups) == 0 {
		return by, ""
	}
	size = s.sizeInGroup(c, &message{topic: c.Args[0], payload: c.Args[1], headers: s.publication.headers})
	for _, g := range groups {
		if looked++; looked > mostLookedAt {
			break
		}
		if !s.groupCanTake(g, size, &looked) {
			return obstacle{of: g.Sharing()}, g.Sharing().Filter
		}
	}
	return by, ""
}

// sizeInGroup is what the message of a call counts for that waits in a group: its members are told what is in a file that is not large.
func (s *Service) sizeInGroup(c *session.Call, m *message) int {
	fd := c.Session.NextFD()
	if s.publication.fd != wire.FileSealed || fd < 0 {
		return m.size()
	}
	about := openfile.Look(fd)
	if about.Size > wire.MaxFileRead || about.Sealed() != nil {
		return m.size()
	}
	return m.size() - len(m.payload) + int(about.Size)
}

// groupCanTake reports whether a group can have a message of a size without that one is lost: there is room for it among those that wait, or
// a member may be able to take it at once.
func (s *Service) groupCanTake(g *bus.Group[*session.Session, *shared], size int, looked *int) bool {
	user := s.groups.keepers[g.Sharing()].charge.User()
	if n, bytes := g.Waiting(); n < mostQueued && bytes+size <= s.groups.output && !user.Exceeds(account.Output, size) {
		return true
	}
	for sess := range g.Candidates() {
		if *looked++; *looked > mostLookedAt || s.takes(sess) {
			return true
		}
	}
	return false
}

// refuseHeldUp refuses the message of a call that somebody holds up, and reports whether it does.
func (s *Service) refuseHeldUp(c *session.Call) bool {
	by, filter := s.holdsUp(c)
	if by == (obstacle{}) {
		return false
	}
	code := wire.CodeTimeout
	if s.publication.mayBlock == 0 || c.Session.Is(session.InExec) {
		code = wire.CodeBusy
	}
	who := fmt.Sprintf("group %q", by.of.Group)
	if by.sess != nil {
		p := &by.sess.Peer
		unit := ""
		if p.Unit != "" {
			unit = ", unit " + p.Unit
		}
		who = fmt.Sprintf("client %d (pid %d, uid %d%s)", by.sess.ID, p.PID, p.UID, unit)
	}
	c.Fail(code, "%s is too far behind %q, and would miss messages", who, session.Clip(filter))
	return true
}

// HasRoom has those go on who wait for a session to take something: it has, or it has gone.
func (s *Service) HasRoom(by *session.Session) { s.free(obstacle{sess: by}) }

// endPatience gives up what there is of a wait.
func (s *Service) endPatience(sess *session.Session) {
	w := s.patience.Of(sess)
	if w == nil {
		return
	}
	w.timer.Stop()
	w.until, w.over = 0, false
}
