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
	replies []byte // to these commands, behind headRoom
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

// BeginExec has the replies to what follows be gathered.
func (s *Session) BeginExec() {
	s.state = s.state&^InMulti | InExec
	s.SetUnfinished(true)
}

// Left are the commands that are not executed.
func (t *Transaction) Left() []byte { return t.queue[t.at:] }

// Did takes the first so many bytes off them.
func (t *Transaction) Did(n int) { t.at += n }

// EndExec answers EXEC.
func (s *Session) EndExec() {
	t := s.more.transaction
	s.state &^= InExec
	t.gather(nil)
	var room [headRoom]byte
	head := wire.AppendArray(room[:0], t.n)
	from := headRoom - len(head)
	copy(t.replies[from:], head)
	s.say(t.replies[from:])
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
	if t.replies == nil {
		t.replies = make([]byte, headRoom, headRoom+len(b))
	}
	t.replies = append(t.replies, b...)
	t.output.Set(cap(t.replies) + cap(t.pushes))
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
	t.output.Set(cap(t.replies) + cap(t.pushes))
}

// Confirm is say for what confirms a subscription, or its end, which CLIENT REPLY does not have left out.
func (s *Session) Confirm(b []byte) {
	if s.state&(ReplyOff|ReplySkip|InExec) == InExec {
		s.more.transaction.gather(b)
	} else {
		s.Send(b)
	}
}
