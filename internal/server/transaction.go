package server

import (
	"math"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/ipc/wire"
)

// MULTI has the commands that follow kept, and EXEC executes them one after the other. Their replies are gathered and sent as one
// array, so nothing that others publish comes between its elements. A command that is answered later (the disk, a reload, a message
// to very many, a listing) holds the transaction up as it would hold up its connection; then others' commands may come in between.
// Nothing waits for a lock in there: who would have to is told BUSY, as Redis's BLPOP does not wait.
//
// To execute what is kept is to execute input, so it is kept as input: encoded as clients do, and cut into commands again.

// A transaction is what a connection has asked for since MULTI.
type transaction struct {
	queue   []byte // the commands
	n       int    // how many
	refused bool   // one could not be queued: EXEC executes none

	// While EXEC executes it. See stateExec.
	at      int    // how much of the queue is executed
	replies []byte // to these commands, behind headRoom
	pushes  []byte // what the connection is told meanwhile: it comes behind the reply, in which may be what it is about

	input, output account.Charge
}

const (
	// wholeCommands is how many commands of a transaction are executed with nobody else's in between, unless one of them is
	// answered later, or is one of those that may take long: see isLong. No transaction is interrupted before longestExec.
	wholeCommands = 128
	longestExec   = 2 * time.Millisecond
)

// A replay is what commands are executed with that were queued, beside the EXEC that is being executed.
type replay struct {
	parser wire.RequestParser
	words  [][]byte
	call   call
}

func (r *replay) init() {
	r.parser.Limits = wire.Limits{Frame: math.MaxInt32, Words: math.MaxInt32} // they were within those of their connection
}

var transactionCommands = map[string]func(*Server, *call){
	"MULTI":   (*Server).multi,
	"EXEC":    (*Server).exec,
	"DISCARD": (*Server).discardQueued,
	"WATCH":   (*Server).watchKeys,
	"UNWATCH": func(_ *Server, c *call) { c.ok() },
}

func (s *Server) multi(c *call) {
	sess := c.sess
	if sess.is(stateMulti) {
		c.fail(wire.CodeErr, "MULTI calls can not be nested")
		return
	}
	sess.extra().transaction = &transaction{
		input: sess.user().Charge(account.Input, 0), output: sess.user().Charge(account.Output, 0),
	}
	sess.state |= stateMulti
	c.ok()
}

// watchKeys accepts keys that nobody can change, as there are none: EXEC has no reason to do nothing.
func (s *Server) watchKeys(c *call) {
	if c.sess.is(stateMulti) {
		c.fail(wire.CodeErr, "WATCH inside MULTI is not allowed")
		return
	}
	c.ok()
}

func (s *Server) discardQueued(c *call) {
	if !c.sess.is(stateMulti) {
		c.fail(wire.CodeErr, "DISCARD without MULTI")
		return
	}
	s.dropTransaction(c.sess)
	c.ok()
}

func (s *Server) exec(c *call) {
	sess := c.sess
	switch {
	case !sess.is(stateMulti):
		c.fail(wire.CodeErr, "EXEC without MULTI")
	case sess.more.transaction.refused:
		s.dropTransaction(sess)
		c.fail(wire.CodeExecAbort, "Transaction discarded because of previous errors.")
	default:
		sess.state = sess.state&^stateMulti | stateExec
		sess.SetUnfinished(true)
		s.goOnExec(sess)
	}
}

// refuseQueued sees to the transaction of a connection whose command has been refused.
func (s *Server) refuseQueued(c *call) {
	switch {
	case c.cmd != nil && c.cmd.Name == "EXEC":
		s.dropTransaction(c.sess)
		why := strings.TrimPrefix(strings.TrimSpace(string(c.out)), "-ERR ")
		c.fail(wire.CodeExecAbort, "Transaction discarded because of: %s", why)
	case c.sess.is(stateMulti):
		c.sess.more.transaction.refuse()
	}
}

// refuse has EXEC execute nothing.
func (t *transaction) refuse() {
	t.refused, t.queue = true, nil
	t.input.Release()
}

// keep adds a command to a transaction, within the limits.
func (c *call) keep(s *Server, t *transaction, words [][]byte) bool {
	size := 0
	for _, w := range words {
		size += len(w)
	}
	if !c.room(account.Input, size) {
		return false
	}
	t.queue = wire.AppendArray(t.queue, len(words))
	for _, w := range words {
		t.queue = wire.AppendBulk(t.queue, w)
	}
	if most := s.opts.Limits.Input; len(t.queue) > most {
		c.fail(wire.CodeQuota, "the commands of a transaction have more than %d bytes together (limits.input)", most)
		return false
	}
	t.n++
	t.input.Set(cap(t.queue))
	return true
}

// goOnExec executes what is left of a transaction, as far as it can be now.
func (s *Server) goOnExec(sess *session) {
	t, begun := sess.more.transaction, s.net.Now()
	for i := 1; !sess.OnHold(); i++ {
		if t.at == len(t.queue) {
			s.endExec(sess)
			return
		}
		words, n, err := s.again.parser.Next(t.queue[t.at:], s.again.words)
		if err != nil {
			panic("a transaction has been spoilt: " + err.Error())
		}
		s.again.words = words
		if !s.dispatchQueued(sess, words) {
			return
		}
		t.at += n
		switch {
		case s.stopping:
			if i%stride == 0 && s.stopLate() {
				return
			}
		case (i%wholeCommands == 0 || s.isLong(&s.again.call)) && t.at < len(t.queue) && s.net.Now()-begun > longestExec:
			sess.Slice()
		}
	}
}

// isLong reports whether a command of a transaction is one that may take long by itself, as there is so much to look at.
func (s *Server) isLong(c *call) bool {
	switch flags := c.cmd.Flags; {
	case flags&wire.FlagSlow != 0:
		return true
	case flags&wire.FlagFanOut != 0:
		return s.bus.NumPat() > fewPatterns
	case flags&wire.FlagQueues != 0:
		return s.held+s.queued > fewClaims
	}
	return false
}

// resumeExec goes on with a transaction in a later turn, and reports whether it is done.
func (s *Server) resumeExec(sess *session) bool {
	begun := time.Now()
	s.goOnExec(sess)
	sess.user().Spend(time.Since(begun))
	return !sess.is(stateExec)
}

// endExec answers EXEC.
func (s *Server) endExec(sess *session) {
	t := sess.more.transaction
	sess.state &^= stateExec
	t.gather(nil)
	var room [headRoom]byte
	head := wire.AppendArray(room[:0], t.n)
	from := headRoom - len(head)
	copy(t.replies[from:], head)
	s.say(sess, t.replies[from:])
	sess.state &^= stateReplySkip
	if len(t.pushes) > 0 {
		sess.Send(t.pushes)
	}
	s.dropTransaction(sess)
}

// dropTransaction forgets what a connection has asked for since MULTI.
func (s *Server) dropTransaction(sess *session) {
	if x := sess.more; x != nil && x.transaction != nil {
		x.transaction.input.Release()
		x.transaction.output.Release()
		x.transaction = nil
		sess.state &^= stateMulti | stateExec
		sess.SetUnfinished(false)
	}
}

// gather adds to the replies of a transaction.
func (t *transaction) gather(b []byte) {
	if t.replies == nil {
		t.replies = make([]byte, headRoom, headRoom+len(b))
	}
	t.replies = append(t.replies, b...)
	t.output.Set(cap(t.replies) + cap(t.pushes))
}

// say tells a connection what a command is answered, unless CLIENT REPLY has that left out.
func (s *Server) say(sess *session, b []byte) {
	switch sess.state & (stateReplyOff | stateReplySkip | stateExec) {
	case 0:
		sess.Send(b)
	case stateExec:
		sess.more.transaction.gather(b)
	}
}

// tell tells a connection what it did not ask for now, as the outcome of a ticket or the end of a lock.
func (s *session) tell(b []byte) {
	if !s.is(stateExec) {
		s.Send(b)
		return
	}
	t := s.more.transaction
	t.pushes = append(t.pushes, b...)
	t.output.Set(cap(t.replies) + cap(t.pushes))
}

// confirmTo is say for what confirms a subscription, or its end, which CLIENT REPLY does not have left out.
func (s *Server) confirmTo(sess *session, b []byte) {
	if sess.state&(stateReplyOff|stateReplySkip|stateExec) == stateExec {
		sess.more.transaction.gather(b)
	} else {
		sess.Send(b)
	}
}
