package session

import (
	"bytes"

	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/ipc/wire"
)

// An Answer is where the outcome of a command goes. Who is to tell it, now or later, holds one and gives it the outcome: a wait for
// a lock, a write to the disk, a reload. It knows how that is delivered: as the reply; as the reply that the connection waits for
// meanwhile; as a push, if that was asked for (ASYNC); or, if the command had a REQID, to whichever connection sent it last, and to
// those that will repeat it.
type Answer struct {
	sess *Session
	push Ticket   // of a push; 0: it is the reply
	req  *Request // nil: it has no REQID
}

// A Ticket is the number that a service knows by what a command waits for, and that its sender is told of if the outcome is pushed.
type Ticket uint64

// An Outcome is what a command is answered with. It is data where the two protocols say it differently: who is told may speak
// another one than who asked.
type Outcome interface {
	Append(b []byte, p wire.Proto) []byte
}

// A Passing outcome is one for one moment, of which Kept is the same for longer.
type Passing interface {
	Outcome
	Kept() Outcome
}

// A Plain outcome is the same bytes in both protocols.
type Plain []byte

// Append makes it an outcome.
func (o Plain) Append(b []byte, _ wire.Proto) []byte { return append(b, o...) }

// Later takes the answer of a call, which then has none of its own.
func (c *Call) Later() Answer {
	a := Answer{sess: c.Session, req: c.request}
	c.request = nil
	return a
}

// AnswerTo is an answer to a session alone: as the reply, or as the push with that ticket if it is not 0.
func AnswerTo(s *Session, push Ticket) Answer { return Answer{sess: s, push: push} }

// Reply gives what a call has as its outcome so far, unless CLIENT REPLY has it left out.
func (c *Call) Reply() {
	if len(c.Out) == 0 {
		return
	}
	if c.request != nil {
		c.request.settle(Plain(bytes.Clone(c.Out)), len(c.Out))
		c.request = nil
	}
	c.Session.say(c.Out)
	c.Out = c.Out[:0]
}

// GiveNow makes an outcome that is data the reply.
func GiveNow[O Outcome](c *Call, o O) {
	c.Out = o.Append(c.Out, c.Session.proto)
	if c.request != nil {
		c.request.settle(o, len(c.Out))
		c.request = nil
	}
}

// AsPush has the outcome be told by a push, which begins with the ticket.
func (a *Answer) AsPush(t Ticket) { a.push = t }

// Request is the command with a REQID that is answered, nil if it has none.
func (a *Answer) Request() *Request { return a.req }

// To is the connection to answer now. It may have ended.
func (a *Answer) To() *Session {
	if a.req != nil {
		return a.req.sess
	}
	return a.sess
}

// Lasts reports whether who asked may come back for the outcome on another connection.
func (a *Answer) Lasts() bool { return a.req != nil }

// Give delivers an outcome.
func (a Answer) Give(o Outcome) { Give(a, o) }

// Give is [Answer.Give] of an outcome that is no garbage then, unless it is kept.
func Give[O Outcome](a Answer, o O) {
	sess := a.To()
	set := sess.set
	b := set.said[:0]
	if a.push != 0 {
		b = sess.proto.AppendPush(b, 3)
		b = wire.AppendBulk(b, "done")
		b = wire.AppendInt(b, int64(a.push))
	}
	b = o.Append(b, sess.proto)
	if set.said = b; cap(b) > conn.LargestKept {
		set.said = nil
	}
	switch {
	case a.push == 0:
		sess.say(b)
		sess.goOnAfter()
	case sess.proto == wire.RESP3: // else it would be taken for a reply, after RESET
		sess.Tell(b)
	}
	if a.req != nil {
		a.req.settle(o, len(b))
	}
}

// KeepOutcome keeps an outcome, of so many bytes, for those who will repeat the command, if it had a REQID: for who delivers it in
// another way.
func (a Answer) KeepOutcome(o Outcome, size int) {
	if a.req != nil {
		a.req.settle(o, size)
	}
}

// GiveRights delivers an outcome with descriptors beside it. It reports false if the socket does not take them now, or the reply
// is left out, or one of many in that to EXEC: then nothing is delivered.
func (a Answer) GiveRights(o Outcome, fds []int) bool {
	sess := a.To()
	if sess.Is(ReplyOff|ReplySkip|InExec) || !sess.SendRights(o.Append(nil, sess.proto), fds) {
		return false
	}
	sess.goOnAfter()
	return true
}

// Await has the connection wait for the answer: its later commands are not executed before.
func (a *Answer) Await() { a.hold(0, awaited{}) }

// AwaitTicket is Await for what is cancelled if the peer sends no more, by the service that has given it this number.
func (a *Answer) AwaitTicket(t Ticket, by Canceller) { a.hold(0, awaited{t, by}) }

// A Canceller ends a wait for which there is nobody any more to take what is waited for.
type Canceller interface {
	CancelWait(t Ticket)
}

// awaited is what a session's later commands wait for, if that can be cancelled.
type awaited struct {
	ticket Ticket
	by     Canceller
}

// AwaitDisk is Await for the disk: at a stop, the connection is not ended before.
func (a *Answer) AwaitDisk() { a.hold(Saving, awaited{}) }

func (a *Answer) hold(more State, what awaited) {
	if a.push != 0 {
		return
	}
	sess := a.To()
	sess.Await()
	sess.state |= more
	if what.by != nil || sess.more != nil {
		sess.extra().awaits = what
	}
}

// goOnAfter has the later commands of a session executed, when the one that it waited for is answered.
func (s *Session) goOnAfter() {
	if !s.Waiting() {
		return
	}
	if s.set.Stopping && s.Is(Saving) {
		s.set.Loop.Post(func() { // after what it has sent since is executed, which may be more of that kind
			if !s.Is(Saving) {
				s.Finish()
			}
		})
	}
	s.state &^= Saving
	if !s.Is(InExec) {
		s.state &^= ReplySkip
	}
	if s.more != nil {
		s.more.awaits = awaited{}
	}
	s.GoOn()
}
