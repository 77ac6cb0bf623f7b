package server

import (
	"bytes"

	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// An answer is where the outcome of a command goes. Who is to tell it, now or later, holds one and gives it the outcome: a wait for
// a lock, a write to the disk, a reload. It knows how that is delivered: as the reply; as the reply that the connection waits for
// meanwhile; as a push, if that was asked for (ASYNC); or, if the command had a REQID, to whichever connection sent it last, and to
// those that will repeat it.
type answer struct {
	sess *session
	push lockmgr.RequestID // the ticket of a push; 0: it is the reply
	req  *request          // nil: it has no REQID
}

// An outcome is what a command is answered with. It is data where the two protocols say it differently: who is told may speak
// another one than who asked.
type outcome interface {
	append(b []byte, p wire.Proto) []byte
}

// A plain outcome is the same bytes in both protocols.
type plain []byte

func (o plain) append(b []byte, _ wire.Proto) []byte { return append(b, o...) }

// grants are what LOCK.ACQUIRE was granted.
type grants []lockmgr.Effect

func (g grants) append(b []byte, p wire.Proto) []byte {
	if len(g) > 1 {
		return appendGrants(b, p, g)
	}
	return appendGrant(b, p, &g[0])
}

// granted is a grant for one moment: an effect of the present step.
type granted lockmgr.Effect

func (g *granted) append(b []byte, p wire.Proto) []byte {
	return appendGrant(b, p, (*lockmgr.Effect)(g))
}

// later takes the answer of a call, which then has none of its own.
func (c *call) later() answer {
	a := answer{sess: c.sess, req: c.request}
	c.request = nil
	return a
}

// reply gives what a call has as its outcome so far, unless CLIENT REPLY has it left out.
func (s *Server) reply(c *call) {
	if c.request != nil && len(c.out) > 0 {
		s.settle(c.request, plain(bytes.Clone(c.out)), len(c.out))
		c.request = nil
	}
	if len(c.out) > 0 {
		s.say(c.sess, c.out)
	}
	c.out = c.out[:0]
}

// giveNow makes an outcome that is data the reply.
func giveNow[O outcome](s *Server, c *call, o O) {
	c.out = o.append(c.out, c.sess.proto)
	if c.request != nil {
		s.settle(c.request, o, len(c.out))
		c.request = nil
	}
}

// to is the connection to answer now. It may have ended.
func (a *answer) to() *session {
	if a.req != nil {
		return a.req.sess
	}
	return a.sess
}

// lasts reports whether who asked may come back for the outcome on another connection.
func (a *answer) lasts() bool { return a.req != nil }

// give delivers an outcome.
func (s *Server) give(a answer, o outcome) {
	sess := a.to()
	b := s.said[:0]
	if a.push != 0 {
		b = sess.proto.AppendPush(b, 3)
		b = wire.AppendBulk(b, "done")
		b = wire.AppendInt(b, int64(a.push))
	}
	b = o.append(b, sess.proto)
	if s.said = b; cap(b) > conn.LargestKept {
		s.said = nil
	}
	switch {
	case a.push == 0:
		s.say(sess, b)
		s.goOnAfter(sess)
	case sess.proto == wire.RESP3: // else it would be taken for a reply, after RESET
		sess.tell(b)
	}
	s.keepOutcome(a, o, len(b))
}

// keepOutcome keeps an outcome, of so many bytes, for those who will repeat the command, if it had a REQID: for who delivers it in
// another way.
func (s *Server) keepOutcome(a answer, o outcome, size int) {
	if a.req != nil {
		s.settle(a.req, o, size)
	}
}

// giveRights delivers an outcome with descriptors beside it. It reports false if the socket does not take them now, or the reply
// is left out, or one of many in that to EXEC: then nothing is delivered.
func (s *Server) giveRights(a answer, o outcome, fds []int) bool {
	sess := a.to()
	if sess.is(stateReplyOff|stateReplySkip|stateExec) || !sess.SendRights(o.append(nil, sess.proto), fds) {
		return false
	}
	s.goOnAfter(sess)
	return true
}

// await has the connection wait for the answer: its later commands are not executed before.
func (a *answer) await() { a.hold(0, 0) }

// awaitLock is await for a lock: if the peer sends no more, the request is cancelled.
func (a *answer) awaitLock(id lockmgr.RequestID) { a.hold(0, id) }

// awaitDisk is await for the disk: at a stop, the connection is not ended before.
func (a *answer) awaitDisk() { a.hold(stateSaving, 0) }

func (a *answer) hold(more sessionState, id lockmgr.RequestID) {
	if a.push != 0 {
		return
	}
	sess := a.to()
	sess.Await()
	sess.state |= more
	if id != 0 || sess.more != nil {
		sess.extra().wait = id
	}
}

// goOnAfter has the later commands of a session executed, when the one that it waited for is answered.
func (s *Server) goOnAfter(sess *session) {
	if !sess.Waiting() {
		return
	}
	if s.stopping && sess.is(stateSaving) {
		s.Post(func() { // after what it has sent since is executed, which may be more of that kind
			if !sess.is(stateSaving) {
				sess.Finish()
			}
		})
	}
	sess.state &^= stateSaving
	if !sess.is(stateExec) {
		sess.state &^= stateReplySkip
	}
	if sess.more != nil {
		sess.more.wait = 0
	}
	sess.GoOn()
}
