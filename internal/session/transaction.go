package session

import (
	"fmt"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A Transaction is what a connection has asked for since MULTI. The server executes it; here is what is kept of it, what it costs,
// and where the replies go meanwhile.
type Transaction struct {
	queue   []byte // the commands, encoded as clients do
	n       int    // how many
	refused bool   // one could not be queued: EXEC executes none

	// While EXEC executes it. See InExec.
	at      int    // how much of the queue is executed
	most    int    // how many bytes of replies there may be before a command, and in a listing
	replies output // to these commands, behind headRoom
	heldUp  bool   // all are there, and wait for the socket: see Session.EndExec
	pushes  []byte // what the connection is told meanwhile: it comes behind the reply, in which may be what it is about

	input, output account.Charge
}

// Transaction is what the session has asked for since MULTI, nil if it has not said that.
func (s *Session) Transaction() *Transaction {
	if s.more == nil {
		return nil
	}
	return s.more.transaction
}

// BeginTransaction has what the session asks for be kept.
func (s *Session) BeginTransaction() {
	s.extra().transaction = &Transaction{
		input: s.User().Charge(account.Input, 0), output: s.User().Charge(account.Output, 0),
	}
	s.state |= InMulti
}

// Len is how many commands there are.
func (t *Transaction) Len() int { return t.n }

// Memory is how much they take.
func (t *Transaction) Memory() int { return cap(t.queue) }

// Refused reports whether EXEC executes nothing.
func (t *Transaction) Refused() bool { return t.refused }

// Refuse has EXEC execute nothing.
func (t *Transaction) Refuse() {
	t.refused, t.queue = true, nil
	t.input.Release()
}

// Keep adds a command to the transaction of its session, of which all commands may have so many bytes.
func (c *Call) Keep(words [][]byte, most int) bool {
	t, size := c.Session.more.transaction, 0
	for _, w := range words {
		size += len(w)
	}
	if !c.Room(account.Input, size) {
		return false
	}
	t.queue = wire.AppendArray(t.queue, len(words))
	for _, w := range words {
		t.queue = wire.AppendBulk(t.queue, w)
	}
	if len(t.queue) > most {
		c.Fail(wire.CodeQuota, "the commands of a transaction have more than %d bytes together (limits.input)", most)
		return false
	}
	t.n++
	t.input.Set(cap(t.queue))
	return true
}

// BeginExec has the replies to what follows be gathered. If they have more than so many bytes, there is no room for another one.
func (s *Session) BeginExec(most int) {
	s.more.transaction.most = most
	s.state = s.state&^InMulti | InExec
	s.SetUnfinished(true)
}

// Left are the commands that are not executed.
func (t *Transaction) Left() []byte { return t.queue[t.at:] }

// Did takes the first so many bytes off them.
func (t *Transaction) Did(n int) { t.at += n }

// RoomForReply reports whether a command of a transaction may have a reply, and has the one ready that it has instead.
func (c *Call) RoomForReply() bool {
	t := c.Session.more.transaction
	if err := t.tooLong(&t.replies); err != nil {
		c.Fail(wire.CodeQuota, "%v", err)
		return false
	}
	return c.Room(account.Buffers, 0)
}

// tooLong says why nothing more is said behind what is said in a transaction: the replies, or a part of the next one.
func (t *Transaction) tooLong(o *output) error {
	if len(o.out) > t.most {
		return fmt.Errorf("the replies of a transaction have more than %d bytes (limits.output)", t.most)
	}
	return nil
}

// EndExec answers EXEC: if the reply is long, and the socket has not taken what was said before, when it has. Then it is called again.
func (s *Session) EndExec() {
	t := s.more.transaction
	if t.heldUp = !s.Is(ReplyOff|ReplySkip) && s.heldUpBy(&t.replies); t.heldUp {
		s.Await()
		return
	}
	s.state &^= InExec
	t.gather(nil)
	var room [headRoom]byte
	head := wire.AppendArray(room[:0], t.n)
	from := headRoom - len(head)
	copy(t.replies.out[from:], head)
	if s.Is(ReplyOff|ReplySkip) || !s.sendLong(&t.replies, from, nil) {
		s.say(t.replies.out[from:])
	}
	s.state &^= ReplySkip
	if len(t.pushes) > 0 {
		s.Send(t.pushes)
	}
	s.DropTransaction()
}

// DropTransaction forgets what a connection has asked for since MULTI.
func (s *Session) DropTransaction() {
	if x := s.more; x != nil && x.transaction != nil {
		x.transaction.input.Release()
		x.transaction.output.Release()
		x.transaction.replies.unmap()
		x.transaction = nil
		s.state &^= InMulti | InExec
		s.SetUnfinished(false)
	}
}

// checkTransaction panics if the flags of a session say something else than what it has.
func (s *Session) checkTransaction() {
	if in := s.Transaction() != nil; in != s.Is(InMulti|InExec) || s.Is(InMulti) && s.Is(InExec) {
		panic(fmt.Sprintf("session %d has a transaction: %v", s.ID, in))
	}
}

// gather adds to the replies of a transaction.
func (t *Transaction) gather(b []byte) {
	if t.replies.out == nil {
		t.replies.out = make([]byte, headRoom, headRoom+len(b))
	}
	t.replies.makeRoom(len(b))
	t.replies.out = append(t.replies.out, b...)
	t.replies.moved()
	t.output.Set(cap(t.replies.out) + cap(t.pushes))
}

// say tells a connection what a command is answered, unless CLIENT REPLY has that left out.
func (s *Session) say(b []byte) {
	switch s.state & (ReplyOff | ReplySkip | InExec) {
	case 0:
		s.Send(b)
	case InExec:
		s.more.transaction.gather(b)
	}
}

// Tell tells a connection what it did not ask for now, as the outcome of a ticket or the end of a lock.
func (s *Session) Tell(b []byte) {
	if !s.Is(InExec) {
		s.Send(b)
		return
	}
	t := s.more.transaction
	t.pushes = append(t.pushes, b...)
	t.output.Set(cap(t.replies.out) + cap(t.pushes))
}

// Confirm is say for what confirms a subscription, or its end, which CLIENT REPLY does not have left out.
func (s *Session) Confirm(b []byte) {
	if s.state&(ReplyOff|ReplySkip|InExec) == InExec {
		s.more.transaction.gather(b)
	} else {
		s.Send(b)
	}
}
