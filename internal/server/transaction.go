package server

import (
	"math"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// MULTI has the commands that follow kept, and EXEC executes them one after the other. Their replies are gathered and sent as one
// array, so nothing that others publish comes between its elements. A command that is answered later (the disk, a reload, a message
// to very many, a listing) holds the transaction up as it would hold up its connection; then others' commands may come in between.
// Nothing waits for a lock in there: who would have to is told BUSY, as Redis's BLPOP does not wait.
//
// To execute what is kept is to execute input, so it is kept as input: encoded as clients do, and cut into commands again.

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
	call   session.Call
}

func (r *replay) init() {
	r.parser.Limits = wire.Limits{Frame: math.MaxInt32, Words: math.MaxInt32} // they were within those of their connection
}

func (s *Server) transactionCommands() map[string]session.Handler {
	return map[string]session.Handler{
		"MULTI":   s.multi,
		"EXEC":    s.exec,
		"DISCARD": s.discardQueued,
		"WATCH":   s.watchKeys,
		"UNWATCH": func(c *session.Call) { c.OK() },
	}
}

func (s *Server) multi(c *session.Call) {
	sess := c.Session
	if sess.Is(session.InMulti) {
		c.Fail(wire.CodeErr, "MULTI calls can not be nested")
		return
	}
	sess.BeginTransaction()
	c.OK()
}

// watchKeys accepts keys that nobody can change, as there are none: EXEC has no reason to do nothing.
func (s *Server) watchKeys(c *session.Call) {
	if c.Session.Is(session.InMulti) {
		c.Fail(wire.CodeErr, "WATCH inside MULTI is not allowed")
		return
	}
	c.OK()
}

func (s *Server) discardQueued(c *session.Call) {
	if !c.Session.Is(session.InMulti) {
		c.Fail(wire.CodeErr, "DISCARD without MULTI")
		return
	}
	c.Session.DropTransaction()
	c.OK()
}

func (s *Server) exec(c *session.Call) {
	sess := c.Session
	switch {
	case !sess.Is(session.InMulti):
		c.Fail(wire.CodeErr, "EXEC without MULTI")
	case sess.Transaction().Refused():
		sess.DropTransaction()
		c.Fail(wire.CodeExecAbort, "Transaction discarded because of previous errors.")
	default:
		sess.BeginExec(s.opts.Limits.Output)
		s.goOnExec(sess)
	}
}

// refuseQueued sees to the transaction of a connection whose command has been refused.
func (s *Server) refuseQueued(c *session.Call) {
	switch {
	case c.Row != nil && c.Row.Name == "EXEC":
		c.Session.DropTransaction()
		why := strings.TrimPrefix(strings.TrimSpace(string(c.Out)), "-ERR ")
		c.Fail(wire.CodeExecAbort, "Transaction discarded because of: %s", why)
	case c.Session.Is(session.InMulti):
		c.Session.Transaction().Refuse()
	}
}

// goOnExec executes what is left of a transaction, as far as it can be now.
func (s *Server) goOnExec(sess *session.Session) {
	t, begun := sess.Transaction(), s.set.Net.Now()
	for i := 1; !sess.OnHold(); i++ {
		if len(t.Left()) == 0 {
			sess.EndExec()
			return
		}
		words, n, err := s.again.parser.Next(t.Left(), s.again.words)
		if err != nil {
			panic("a transaction has been spoilt: " + err.Error())
		}
		s.again.words = words
		if !s.dispatchQueued(sess, words) {
			return
		}
		t.Did(n)
		switch {
		case s.set.Stopping:
			if i%session.Stride == 0 && s.stopLate() {
				return
			}
		case (i%wholeCommands == 0 || s.isLong(&s.again.call)) && len(t.Left()) > 0 && s.set.Net.Now()-begun > longestExec:
			sess.Slice()
		}
	}
}

// isLong reports whether a command of a transaction is one that may take long by itself, as there is so much to look at.
func (s *Server) isLong(c *session.Call) bool {
	switch flags := c.Row.Flags; {
	case flags&wire.FlagSlow != 0:
		return true
	case flags&wire.FlagFanOut != 0:
		return s.messages.MatchIsSlow()
	case flags&wire.FlagQueues != 0:
		return s.locks.AskingIsSlow()
	}
	return false
}

// Continue goes on with a transaction in a later turn, and reports whether it is done: see session.Host.
func (h *host) Continue(sess *session.Session) bool {
	begun := time.Now()
	(*Server)(h).goOnExec(sess)
	sess.User().Spend(time.Since(begun))
	return !sess.Is(session.InExec)
}
