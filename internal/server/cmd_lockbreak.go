package server

import (
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// A breaking is what the words of LOCK.BREAK ask for, and what came of it.
type breaking struct {
	name  string
	token lockmgr.Token // 0: whoever holds it
	last  lockmgr.Token // above no token that was given when the command came: who has a later one keeps it
	pidfd bool
	by    lockmgr.Party

	broken   []lockmgr.Claim
	limit    int           // of the lock
	at       time.Duration // when
	rights   []int         // duplicates of the pidfds of those who have one
	of       []int         // for each of rights whose it is, by the place in broken
	standing bool          // one was an operator's
	answer   answer
}

// lockBreak takes a lock away from its holders. The daemon has no right to signal them; with PIDFD it hands the descriptors
// of their processes to the caller, who may have it.
func (s *Server) lockBreak(c *call) {
	b, name := c.breaking, string(c.args[0])
	b.name, b.at = name, s.now()
	b.last, _ = s.locks.Tokens()
	b.limit = s.locks.Limit(name)
	for h := range s.locks.Holders(name) {
		if b.token != 0 && h.Token != b.token {
			continue
		}
		if !c.owns(&h) {
			return
		}
		b.broken = append(b.broken, h)
		b.standing = b.standing || h.Bind == lockmgr.ToNobody
	}
	if len(b.broken) == 0 {
		_, _ = c.hold(s, name, b.token) // says why
		return
	}
	if b.pidfd {
		s.takePidfds(b)
	}
	more, err := s.breakStep(b, c.pays, func(more bool) {
		s.logBroken(name, b)
		b.answer = c.later()
		if !more && !b.standing {
			s.answerBreak(b)
		}
	})
	switch {
	case err != nil:
		b.close()
		c.fail(wire.CodeInternal, "%q: %v", name, err)
	case more:
		b.answer.awaitDisk() // at a stop, the connection is not ended before
		s.ends.Join(c.sess.user(), &ending{breaking: b, queued: true})
	case b.standing:
		b.answer.awaitDisk()
		s.saveBreak(b)
	}
}

// breakStep takes the lock away from some of those who are to lose it, and reports whether there are more. first, if not nil, tells
// before all others whom it concerns.
func (s *Server) breakStep(b *breaking, pays *account.User, first func(more bool)) (more bool, err error) {
	s.stepFor(pays, func(now lockmgr.Time) {
		more, err = s.locks.BreakSome(now, b.name, b.token, b.last, b.by, mostEnded)
	}, func() {
		if err == nil && first != nil {
			first(more)
		}
	})
	return more, err
}

// breakSome goes on with what is left of a LOCK.BREAK, when it is the turn of the user who sent it.
func (s *Server) breakSome(e *ending) {
	b := e.breaking
	more, err := s.breakStep(b, nil, nil)
	switch {
	case more && err == nil:
		s.ends.Join(s.users.Of(b.by.UID), e)
	case b.standing:
		s.saveBreak(b)
	default:
		s.answerBreak(b) // if there is an error, the others have given it back themselves
	}
}

// saveBreak answers when it is on the disk that what an operator held is broken.
func (s *Server) saveBreak(b *breaking) {
	s.change(&s.operators.savedFile, func(err error) {
		if err != nil {
			b.close()
			s.give(b.answer, notKept(err))
			return
		}
		s.answerBreak(b)
	})
}

// breakWords reads the words of LOCK.BREAK.
func (s *Server) breakWords(c *call) (ok bool) {
	c.breaking, ok = c.readBreak()
	return ok
}

func (c *call) readBreak() (*breaking, bool) {
	who := &c.sess.peer
	b := &breaking{by: lockmgr.Party{
		Process: processID(who),
		Info:    lockmgr.Info{UID: who.UID, GID: who.GID, Unit: who.Unit},
	}}
	for i := 1; i < len(c.args); i++ {
		ok := true
		switch option := c.arg(i); {
		case option == "PIDFD":
			b.pidfd = true
		case option == "TOKEN" && i+1 < len(c.args):
			i++
			b.token, ok = c.token(i)
		case option == "WHY" && i+1 < len(c.args):
			i++
			b.by.Why, ok = c.text(option, c.args[i])
		case option == "REQID" && i+1 < len(c.args):
			i++
			ok = c.requestID(c.args[i])
		default:
			c.fail(wire.CodeErr, "%q is not an option, or wants a value", clip(option))
			ok = false
		}
		if !ok {
			return nil, false
		}
	}
	if b.pidfd && c.reqid != nil {
		c.fail(wire.CodeErr, "REQID does not go with PIDFD: descriptors can be sent but once")
		return nil, false
	}
	return b, true
}

// maxRights is how many descriptors go with one reply: the kernel takes no more with one message (SCM_MAX_FD).
const maxRights = 253

// takePidfds duplicates the pidfds of those who are about to lose their holds, which are closed when nobody needs them. Of
// a process that has several there is one.
func (s *Server) takePidfds(b *breaking) {
	had := map[*process]bool{}
	for i := range b.broken {
		p := s.processes[b.broken[i].Owner.Process]
		if p == nil || !watched(&b.broken[i]) || had[p] || len(b.rights) == maxRights {
			continue
		}
		had[p] = true
		if fd, err := unix.FcntlInt(uintptr(p.pidfd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			b.rights, b.of = append(b.rights, fd), append(b.of, i)
		}
	}
}

func (b *breaking) close() {
	for _, fd := range b.rights {
		_ = unix.Close(fd)
	}
	b.rights, b.of = nil, nil
}

// answerBreak says who lost the lock. If there is no room in the socket the descriptors cannot go with the reply, which then
// says so; who waits for each reply before the next command always has room.
func (s *Server) answerBreak(b *breaking) {
	sent := len(b.rights) > 0 && s.giveRights(b.answer, b, b.rights)
	b.close()
	if !sent {
		s.give(b.answer, b)
	}
}

// append makes it an outcome.
func (b *breaking) append(reply []byte, p wire.Proto) []byte {
	reply = wire.AppendArray(reply, len(b.broken))
	of := b.of
	for i := range b.broken {
		if !b.pidfd {
			reply = appendClaim(p.AppendMap(reply, claimPairs), &b.broken[i], b.limit, b.at)
			continue
		}
		reply = appendClaim(p.AppendMap(reply, claimPairs+1), &b.broken[i], b.limit, b.at)
		reply = wire.AppendBulk(reply, "pidfd")
		has := int64(0)
		if len(of) > 0 && of[0] == i {
			has, of = 1, of[1:]
		}
		reply = wire.AppendInt(reply, has)
	}
	return reply
}

// logBroken is the audit record.
func (s *Server) logBroken(name string, b *breaking) {
	var whom []string
	for i := range b.broken {
		if i == 8 {
			whom = append(whom, "…")
			break
		}
		whom = append(whom, describeClaim(&b.broken[i]))
	}
	s.tell(slog.LevelWarn, b.by.UID, "lock-broken", "a lock was broken", "lock", name, "pid", b.by.Process.PID, "unit", b.by.Unit,
		"why", b.by.Why, "holders", len(b.broken), "whom", strings.Join(whom, ", "), "token", uint64(b.broken[0].Token))
}
