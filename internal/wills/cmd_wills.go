package wills

import (
	"math"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/process"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// words are what those of a command ask for. There is one of it, which is filled anew for each command.
type words struct {
	record.Will
	self, pid bool  // whose end it is, if not that of the connection: the caller, or the process whose pidfd came with the command
	number    int64 // of the caller, as it says; 0: it does not
}

// willWords reads the words of BUS.WILL.
func (s *Service) willWords(c *session.Call) bool {
	w := &s.words
	*w = words{}
	if !readTopic(c, w) {
		return false
	}
	w.Payload = string(c.Args[1])
	for i := 2; i < len(c.Args); i++ {
		switch option := c.Keyword(i); {
		case (option == "RETAIN" || option == "CLEAR") && w.Then != record.TellOnly && w.Then.String() != option:
			c.Fail(wire.CodeErr, "RETAIN does not go with CLEAR")
			return false
		case option == "RETAIN":
			w.Then = record.ThenRetain
		case option == "CLEAR":
			w.Then = record.ThenClear
		case option == "HEADER" && i+2 < len(c.Args):
			if !(*session.Headers)(&w.Headers).Add(c, c.Args[i+1], c.Args[i+2]) {
				return false
			}
			i += 2
		case option == "EXPIRES" && i+1 < len(c.Args):
			i++
			lasts, ok := c.ReadExpires(c.Args[i])
			if !ok {
				return false
			}
			w.Lasts = lasts
		default:
			if i++; !readCommon(c, i, w) {
				return false
			}
		}
	}
	return mayBind(c, w)
}

// unwillWords reads the words of BUS.UNWILL.
func (s *Service) unwillWords(c *session.Call) bool {
	w := &s.words
	*w = words{}
	if !readTopic(c, w) {
		return false
	}
	for i := 1; i < len(c.Args); i++ {
		if i++; !readCommon(c, i, w) {
			return false
		}
	}
	return mayBind(c, w)
}

func readTopic(c *session.Call, w *words) bool {
	if err := bus.CheckTopic(c.Args[0]); err != nil {
		c.Fail(wire.CodeBadName, "%v", err)
		return false
	}
	w.Topic = string(c.Args[0])
	return true
}

// readCommon reads an option that both commands have, of which the value is word i.
func readCommon(c *session.Call, i int, w *words) bool {
	if i >= len(c.Args) {
		c.Syntax()
		return false
	}
	switch c.Keyword(i - 1) {
	case "REQID":
		return c.ReadRequestID(c.Args[i])
	case "FOR":
		switch c.Keyword(i) {
		case "SELF":
			w.self, w.pid, w.number = true, false, 0
			return true
		case "PID":
			w.self, w.pid, w.number = false, true, 0
			return true
		}
		if n, ok := session.Number(c.Args[i]); ok && n > 0 && n <= math.MaxInt32 {
			w.self, w.pid, w.number = true, false, n
			return true
		}
		c.Fail(wire.CodeErr, "FOR wants self, the caller's number or pid, not %q", session.Clip(string(c.Args[i])))
		return false
	}
	c.Syntax()
	return false
}

// mayBind checks that the caller is the peer, if it is the caller's end that is waited for.
func mayBind(c *session.Call, w *words) bool {
	if w.number != 0 {
		return c.IsPeer(int(w.number))
	}
	return !w.self || c.Proven("FOR self")
}

// whose finds out whose end it is: who that is, and which connection of it, or 0; and with FOR pid the pidfd that was sent, or else -1.
func (s *Service) whose(c *session.Call) (who *peer.Peer, conn uint64, pidfd int, ok bool) {
	w, sess := &s.words, c.Session
	switch who = &sess.Peer; {
	case w.pid:
		who, pidfd = sentProcess(c)
		return who, 0, pidfd, who != nil
	case who.Start == 0: // it would not be told from others
		c.Fail(wire.CodeNotFound, "%s", session.NotIdentified(who))
		return nil, 0, -1, false
	case w.self && who.PID == 0: // there is no number to find it by after a restart of the daemon
		c.Fail(wire.CodeNotFound, "the process that connected is outside of the daemon's PID namespace: a will may be that of its connection")
		return nil, 0, -1, false
	case w.self:
		return who, 0, -1, true
	}
	return who, sess.ID, -1, true
}

// sentProcess is the process whose pidfd came with the command. It is nil if there is none, or the peer has no right to speak for it.
func sentProcess(c *session.Call) (*peer.Peer, int) {
	sess := c.Session
	fd := sess.TakeFD()
	if fd < 0 {
		c.Fail(wire.CodeDenied, "FOR pid wants the pidfd of a process sent along (SCM_RIGHTS): %s", session.NotSent(sess))
		return nil, -1
	}
	who, err := peer.FromPIDFD(fd)
	switch {
	case err != nil:
		c.Fail(session.ProcessCode(err), "%v", err)
	case !c.MayAct(who.UID):
		c.Fail(wire.CodeDenied, "process %d is user %d's, not yours", who.PID, who.UID)
	default:
		return &who, fd
	}
	sess.Discard(fd)
	return nil, -1
}

// owner is whose end is waited for, which is watched from then on.
func (s *Service) owner(c *session.Call, who *peer.Peer, conn uint64, pidfd int) (*owner, error) {
	id := process.IDOf(who)
	if o := s.find(id, conn); o != nil {
		if pidfd >= 0 {
			c.Session.Discard(pidfd)
		}
		return o, nil
	}
	var p *process.Process
	var err error
	if pidfd >= 0 {
		p, err = s.watch.Of(who, pidfd)
	} else {
		p, err = s.watch.OfPeer(c.Session.FD(), who)
	}
	switch {
	case err != nil:
		return nil, err
	case p.Dead:
		p.Release()
		return nil, unix.ESRCH
	}
	return s.add(id, conn, who.UID, p), nil
}

func (s *Service) busWill(c *session.Call) {
	who, conn, pidfd, ok := s.whose(c)
	if !ok {
		return
	}
	o, err := s.owner(c, who, conn, pidfd)
	if err != nil {
		c.Fail(session.ProcessCode(err), "cannot watch process %d: %v", who.PID, err)
		return
	}
	defer s.forgetIfBare(o)
	w := &s.words.Will
	w.Process, w.Conn, w.UID, w.Unit = o.id, conn, o.uid, who.Unit
	if !s.room(c, o, w) {
		return
	}
	if err := s.journal.Keep(record.Of(w)); err != nil {
		c.Fail(wire.CodeIO, "the will would be lost with the daemon, as it cannot be written down: %v", err)
		return
	}
	s.put(o, w)
	if !s.words.pid {
		s.comeBack(o.id, w.Topic)
	}
	c.OK()
}

// room checks that there is room for a will, where the one before it gives up its own.
func (s *Service) room(c *session.Call, o *owner, w *record.Will) bool {
	u := s.set.Users.Of(o.uid)
	more := costOf(w)
	olds := []*will{o.wills[w.Topic]}
	if !s.words.pid {
		olds = append(olds, s.before(o.id, w.Topic)...)
	}
	for _, old := range olds {
		if old != nil {
			for i, n := range costOf(&old.Will) {
				more[i] -= n
			}
		}
	}
	for i, n := range more {
		if n <= 0 {
			continue
		}
		if err := u.Room(columns[i], n); err != nil {
			c.Fail(wire.CodeQuota, "%v", err)
			return false
		}
	}
	return s.messages.RoomForWill(c, size(w), more[ofValues], more[ofBytes])
}

// before is what a process has said for a topic on connections to a daemon before.
func (s *Service) before(id lockmgr.Process, topic string) (all []*will) {
	for _, o := range s.owners[id] {
		if w := o.wills[topic]; o.back && w != nil {
			all = append(all, w)
		}
	}
	return all
}

// comeBack takes that away, as the process has come back: what it says now is in the place of that. It reports whether there was anything.
func (s *Service) comeBack(id lockmgr.Process, topic string) (was bool) {
	for _, w := range s.before(id, topic) {
		s.revoke(w.owner, w)
		was = true
	}
	return was
}

func (s *Service) busUnwill(c *session.Call) {
	who, conn, pidfd, ok := s.whose(c)
	if !ok {
		return
	}
	if pidfd >= 0 {
		c.Session.Discard(pidfd)
	}
	id, topic, n := process.IDOf(who), s.words.Topic, int64(0)
	if o := s.find(id, conn); o != nil && o.wills[topic] != nil {
		s.revoke(o, o.wills[topic])
		n = 1
	}
	if !s.words.pid && s.comeBack(id, topic) {
		n = 1
	}
	c.Integer(n)
}
