package locks

import (
	"log/slog"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/session"
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

	broken   [][]lockmgr.Claim // as they were, by steps
	count    int               // how many they are
	limit    int               // of the lock
	at       time.Duration     // when
	rights   []int             // duplicates of the pidfds of those who have one
	of       []int             // for each of rights whose it is, by the place in broken
	had      map[*holder]bool  // those who are among them
	standing bool              // one was an operator's
	answer   session.Answer
}

// lockBreak takes a lock away from its holders. The daemon has no right to signal them; with PIDFD it hands the descriptors
// of their processes to the caller, who may have it.
func (s *Service) lockBreak(c *session.Call) {
	b, name := s.breaking, string(c.Args[0])
	b.name, b.at = name, s.set.Now()
	b.last, _ = s.locks.Tokens()
	b.limit = s.locks.Limit(name)
	held := false
	for h := range s.locks.Holders(name) {
		if b.token != 0 && h.Token != b.token {
			continue
		}
		if !owns(c, &h) {
			return
		}
		held = true
		b.standing = b.standing || h.Bind == lockmgr.ToNobody
	}
	if !held {
		_, _ = s.hold(c, name, b.token) // says why
		return
	}
	more, err := s.breakStep(b, c.Pays, func(more bool) {
		b.answer = c.Later()
		if !more {
			s.logBroken(b)
		}
		if !more && !b.standing {
			s.answerBreak(b)
		}
	})
	switch {
	case err != nil:
		b.close()
		c.Fail(wire.CodeInternal, "%q: %v", name, err)
	case more:
		b.answer.AwaitDisk() // at a stop, the connection is not ended before
		s.queueEnding(&ending{breaking: b})
	case b.standing:
		b.answer.AwaitDisk()
		s.saveBreak(b)
	}
}

// breakStep takes the lock away from some of those who are to lose it, and reports whether there are more. first, if not nil, tells
// before all others whom it concerns.
func (s *Service) breakStep(b *breaking, pays *account.User, first func(more bool)) (more bool, err error) {
	s.stepFor(pays, func(now lockmgr.Time) {
		var broken []lockmgr.Claim
		if broken, more, err = s.locks.BreakSome(now, b.name, b.token, b.last, b.by, mostEnded); b.pidfd {
			s.takePidfds(b, broken)
		}
		b.broken = append(b.broken, broken)
		b.count += len(broken)
	}, func() {
		if err == nil && first != nil {
			first(more)
		}
	})
	return more, err
}

// breakSome goes on with what is left of a LOCK.BREAK, when it is the turn of the user who sent it.
func (s *Service) breakSome(e *ending) {
	b := e.breaking
	more, err := s.breakStep(b, nil, nil)
	if more && err == nil {
		s.queueEnding(e)
		return
	}
	s.logBroken(b)
	if b.standing {
		s.saveBreak(b)
	} else {
		s.answerBreak(b) // if there is an error, the others have given it back themselves
	}
}

// saveBreak answers when it is on the disk that what an operator held is broken.
func (s *Service) saveBreak(b *breaking) {
	s.change(&s.operators.savedFile, func(err error) {
		if err != nil {
			b.close()
			b.answer.Give(notKept(err))
			return
		}
		s.answerBreak(b)
	})
}

// breakWords reads the words of LOCK.BREAK.
func (s *Service) breakWords(c *session.Call) (ok bool) {
	s.breaking, ok = readBreak(c)
	return ok
}

func readBreak(c *session.Call) (*breaking, bool) {
	who := &c.Session.Peer
	b := &breaking{by: lockmgr.Party{
		Process: processID(who),
		Info:    lockmgr.Info{UID: who.UID, GID: who.GID, Unit: who.Unit},
	}}
	for i := 1; i < len(c.Args); i++ {
		ok := true
		switch option := c.Keyword(i); {
		case option == "PIDFD":
			b.pidfd = true
		case option == "TOKEN" && i+1 < len(c.Args):
			i++
			b.token, ok = readToken(c, i)
		case option == "WHY" && i+1 < len(c.Args):
			i++
			b.by.Why, ok = readText(c, option, c.Args[i])
		case option == "REQID" && i+1 < len(c.Args):
			i++
			ok = c.ReadRequestID(c.Args[i])
		default:
			c.Fail(wire.CodeErr, "%q is not an option, or wants a value", session.Clip(string(c.Args[i])))
			ok = false
		}
		if !ok {
			return nil, false
		}
	}
	if b.pidfd && c.HasRequestID() {
		c.Fail(wire.CodeErr, "REQID does not go with PIDFD: descriptors can be sent but once")
		return nil, false
	}
	return b, true
}

// maxRights is how many descriptors go with one reply: the kernel takes no more with one message (SCM_MAX_FD).
const maxRights = 253

// takePidfds duplicates the pidfds of those who lose their holds, which are closed when nobody needs them. Of a process that has
// several there is one.
func (s *Service) takePidfds(b *breaking, broken []lockmgr.Claim) {
	for i := range broken {
		p := s.processes[broken[i].Owner.Process]
		if p == nil || !watched(&broken[i]) || b.had[p] || len(b.rights) == maxRights {
			continue
		}
		if b.had == nil {
			b.had = map[*holder]bool{}
		}
		b.had[p] = true
		if fd, err := p.Duplicate(); err == nil {
			b.rights, b.of = append(b.rights, fd), append(b.of, b.count+i)
		}
	}
}

func (b *breaking) close() {
	for _, fd := range b.rights {
		_ = unix.Close(fd)
	}
	b.rights, b.of = nil, nil
}

// mostShown is how many of those who lost a lock are shown in one step.
const mostShown = 64

// answerBreak says who lost the lock. If there is no room in the socket the descriptors cannot go with the reply, which then
// says so; who waits for each reply before the next command always has room.
func (s *Service) answerBreak(b *breaking) {
	if b.count > mostShown {
		s.showBroken(b)
		return
	}
	sent := len(b.rights) > 0 && b.answer.GiveRights(b, b.rights)
	b.close()
	if !sent {
		b.answer.Give(b)
	}
}

// showBroken is answerBreak of very many: it is a task of the connection that waits for it. Of the outcome that a repeat is told, how
// long it is, is known roughly.
func (s *Service) showBroken(b *breaking) {
	sess := b.answer.To()
	b.answer.KeepOutcome(b, b.count*len(appendClaim(nil, &b.broken[0][0], b.limit, b.at)))
	if sess.Dead() {
		b.close()
		return
	}
	p, next, place, of := sess.Proto(), 0, 0, b.of
	t := &session.Task{Head: session.NoHead, Held: b.count * int(unsafe.Sizeof(lockmgr.Claim{})), Rights: b.rights}
	b.rights = nil
	t.Step = func(out []byte) ([]byte, bool) {
		if next == 0 {
			out = wire.AppendArray(out, b.count)
		}
		for i := range b.broken[next] {
			before := len(of)
			out, of = b.appendOne(out, p, &b.broken[next][i], place, of)
			if len(of) < before {
				t.Promises = append(t.Promises, len(out)-len("1\r\n"))
			}
			place++
		}
		next++
		return out, next < len(b.broken)
	}
	sess.Perform(t)
}

// Append makes it an outcome.
func (b *breaking) Append(reply []byte, p wire.Proto) []byte {
	reply = wire.AppendArray(reply, b.count)
	of, place := b.of, 0
	for _, some := range b.broken {
		for i := range some {
			reply, of = b.appendOne(reply, p, &some[i], place, of)
			place++
		}
	}
	return reply
}

// appendOne appends the one who had a place among all. of are the places of those from there on whose descriptors come along.
func (b *breaking) appendOne(reply []byte, p wire.Proto, c *lockmgr.Claim, place int, of []int) (_ []byte, rest []int) {
	if !b.pidfd {
		return appendClaim(p.AppendMap(reply, claimPairs), c, b.limit, b.at), of
	}
	reply = appendClaim(p.AppendMap(reply, claimPairs+1), c, b.limit, b.at)
	reply = wire.AppendBulk(reply, "pidfd")
	has := int64(0)
	if len(of) > 0 && of[0] == place {
		has, of = 1, of[1:]
	}
	return wire.AppendInt(reply, has), of
}

// logBroken is the audit record.
func (s *Service) logBroken(b *breaking) {
	var whom []string
	for i := range b.broken[0] {
		if i == 8 {
			whom = append(whom, "…")
			break
		}
		whom = append(whom, describeClaim(&b.broken[0][i]))
	}
	s.set.LogAbout(slog.LevelWarn, b.by.UID, "lock-broken", "a lock was broken", "lock", b.name, "pid", b.by.Process.PID, "unit", b.by.Unit,
		"why", b.by.Why, "holders", b.count, "whom", strings.Join(whom, ", "), "token", uint64(b.broken[0][0].Token))
}
