package server

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

var lockCommands = map[string]func(*Server, *call){
	"LOCK.ACQUIRE":   gated((*Server).acquireWords, (*Server).lockAcquire),
	"LOCK.RELEASE":   gated((*Server).releaseWords, (*Server).lockRelease),
	"LOCK.RENEW":     (*Server).lockRenew,
	"LOCK.DOWNGRADE": (*Server).lockDowngrade,
	"LOCK.CHECK":     (*Server).lockCheck,
	"LOCK.FOLLOW":    (*Server).lockFollow,
	"LOCK.TOLD":      (*Server).lockTold,
	"LOCK.BREAK":     gated((*Server).breakWords, (*Server).lockBreak),
	"LOCK.CANCEL":    (*Server).lockCancel,
	"LOCK.ISDONE":    (*Server).lockIsDone,
	"LOCK.DONE":      gated((*Server).doneWords, (*Server).lockDone),
	"LOCK.FORGET":    gated(func(_ *Server, c *call) bool { return c.requestIDAt(1) }, (*Server).lockForget),
	"LOCK.INFO":      (*Server).lockInfo,
	"LOCK.LIST":      (*Server).lockList,
}

const (
	// What clients have to know, too, is in package wire. A name of a lock leaves room for its event in a topic.
	maxLockText, maxUnits, maxSet, maxShown = wire.MaxLockText, wire.MaxUnits, wire.MaxSet, wire.MaxShown
	// maxWait is the longest wait and lease that can be asked for, in milliseconds: a hundred years.
	maxWait = 100 * 365 * 24 * 3600 * 1000
	// maxSetBytes bounds the names of a set, which are shown with each of its claims.
	maxSetBytes = 2048
)

// lockAcquire lets a request in. The outcome, at once or later, comes from the step.
func (s *Server) lockAcquire(c *call) {
	sess, a := c.sess, &c.acquisition
	if !c.mayHave(max(len(a.Set), 1), a.Bind) || !c.mayOutlive(s, a.Bind) {
		sess.CloseFDs() // one may have come with this command: the next command must not take it for its own
		return
	}
	p, ok := c.lockOwner(s, a)
	if !ok {
		return
	}
	if p != nil {
		p.claims++ // it is watched for as long as this takes
		defer s.unpin(p)
		s.reconnected(p)
	}
	s.supersede(sess, &a.Request, c.pays) // before it is looked at which of the holds that it names are there
	if !c.shown(s, a) {
		return
	}
	if a.Wait < 0 {
		a.Ancestors = s.ancestors(p, sess, &a.Request)
	}
	if a.Conn, ok = s.connectionFor(c); !ok {
		return
	}
	var id lockmgr.RequestID
	var err error
	var w wait
	s.stepFor(c.pays, func(now lockmgr.Time) {
		if id, err = s.locks.Acquire(now, a.Request); err != nil {
			return
		}
		w = wait{answer: c.later(), set: a.Set}
		if a.async {
			w.push = id
		}
		s.admitted(&w.answer, id, a)
		s.waits[id] = w
	}, func() {
		if a.async && err == nil {
			c.integer(int64(id))
			s.reply(c)
		}
	})
	if err != nil {
		s.refuseLock(c, a, err)
		return
	}
	if _, waits := s.waits[id]; waits {
		s.waitFor(id, w.answer, c.pays)
	}
}

// mayHave checks how many holds and waits the caller's user may have.
func (c *call) mayHave(more int, bind lockmgr.Binding) bool {
	return c.room(lockColumn(bind), more)
}

// units reads a number of units.
func (c *call) units(option string, value []byte, n *int) bool {
	units, ok := number(value)
	if !ok || units < 1 || units > maxUnits {
		c.fail(wire.CodeErr, "%s wants a number from 1 to %d, not %q", option, maxUnits, clip(string(value)))
		return false
	}
	*n = int(units)
	return true
}

// milliseconds reads a time.
func (c *call) milliseconds(option string, value []byte, least int64) (time.Duration, bool) {
	ms, ok := number(value)
	if !ok || ms < least || ms > maxWait {
		c.fail(wire.CodeErr, "%s wants milliseconds, not %q", option, clip(string(value)))
		return 0, false
	}
	return time.Duration(ms) * time.Millisecond, true
}

// token reads word i.
func (c *call) token(i int) (lockmgr.Token, bool) {
	token, ok := number(c.args[i])
	if !ok || token <= 0 || token > int64(lockmgr.MaxToken) {
		c.fail(wire.CodeErr, "a token is a positive number, not %q", clip(string(c.args[i])))
		return 0, false
	}
	return lockmgr.Token(token), true
}

// text reads what is shown to people.
func (c *call) text(option string, value []byte) (string, bool) {
	if !record.IsText(value) {
		c.fail(wire.CodeErr, "%s wants at most %d bytes of UTF-8 without control characters", option, maxLockText)
		return "", false
	}
	return string(value), true
}

// clip keeps a quotation short.
func clip(text string) string {
	if len(text) > 64 {
		return text[:64] + "…"
	}
	return text
}

// lockOwner finds out who is to own a lock: the peer, or with FOR pid the process whose pidfd came with the command. The
// process is nil if the hold does not end with one.
func (c *call) lockOwner(s *Server, a *acquisition) (p *process, ok bool) {
	who := &c.sess.peer
	switch {
	case a.Bind == lockmgr.ToNobody:
		a.Owner = record.Operator(who.UID)
		a.Shown = nil // it is to stand alone
	case a.group != "":
		if p = c.groupFor(s, a.group); p == nil {
			return nil, false
		}
		a.Owner = lockmgr.Owner{Process: p.id, Label: p.path}
		a.UID, a.GID, a.Unit = who.UID, who.GID, peer.UnitOf(p.path)
		return p, true
	case a.forPID:
		if p, who = c.foreignProcess(s); p == nil {
			return nil, false
		}
	case who.Start == 0: // it would not be told from others
		c.fail(wire.CodeNotFound, "%s", notIdentified(who))
		return nil, false
	case who.PID == 0 && a.Bind == lockmgr.ToProcess: // there is no number to find it by after a restart of the daemon
		c.fail(wire.CodeNotFound, "the process that connected is outside of the daemon's PID namespace: a lock may end with its connection, or a LEASE")
		return nil, false
	case a.Bind != lockmgr.ToLease:
		var err error
		if p, err = s.processOf(c.sess); err != nil {
			c.fail(processCode(err), "%v", err)
			return nil, false
		}
	}
	if a.Bind != lockmgr.ToNobody {
		a.Owner.Process = processID(who)
	}
	a.UID, a.GID, a.Unit = who.UID, who.GID, who.Unit
	return p, true
}

// foreignProcess is the process whose pidfd came with the command. It is nil if there is none, or the peer has no right to
// speak for it.
func (c *call) foreignProcess(s *Server) (*process, *peer.Peer) {
	sess := c.sess
	fd := sess.TakeFD()
	if fd < 0 {
		c.fail(wire.CodeDenied, "FOR pid wants the pidfd of a process sent along (SCM_RIGHTS): %s", notSent(sess))
		return nil, nil
	}
	who, err := peer.FromPIDFD(fd)
	if err != nil {
		sess.Discard(fd)
		c.fail(processCode(err), "%v", err)
		return nil, nil
	}
	if !c.mayAct(who.UID) {
		_ = unix.Close(fd)
		c.fail(wire.CodeDenied, "process %d is user %d's, not yours", who.PID, who.UID)
		return nil, nil
	}
	p, err := s.watchProcess(&who, fd)
	if err != nil {
		c.fail(processCode(err), "cannot watch process %d: %v", who.PID, err)
		return nil, nil
	}
	return p, &who
}

// shown checks the holds that a request names. Tokens are no secret, so those of other users' holds count for nothing.
func (c *call) shown(s *Server, a *acquisition) bool {
	known := a.Shown[:0]
	for _, shown := range a.Shown {
		if hold, err := s.locks.Hold(shown.Name, shown.Token); err == nil && c.mayAct(hold.UID) {
			known = append(known, lockmgr.Shown{Name: hold.Name, Token: hold.Token}) // a name that is there already: the wait may be long
		}
	}
	a.Shown = known
	if a.Join == 0 {
		return true
	}
	hold, ok := c.hold(s, a.Name, a.Join)
	return ok && c.owns(&hold)
}

// hold finds a hold by its token.
func (c *call) hold(s *Server, name string, t lockmgr.Token) (lockmgr.Claim, bool) {
	hold, err := s.locks.Hold(name, t)
	switch {
	case errors.Is(err, lockmgr.ErrStale):
		c.fail(wire.CodeStale, "token %d is not that of a present hold; %s", t, s.inTheWay(name))
	case err != nil:
		c.fail(wire.CodeNoLock, "%q: %v", name, err)
	}
	return hold, err == nil
}

// refuseLock says why a request was not let in, and what is in its way.
func (s *Server) refuseLock(c *call, a *acquisition, err error) {
	deadlock, isDeadlock := errors.AsType[*lockmgr.DeadlockError](err)
	limit, isLimit := errors.AsType[*lockmgr.LimitError](err)
	switch {
	case errors.Is(err, lockmgr.ErrBusy):
		c.fail(wire.CodeBusy, "%s", s.inTheWay(s.taken(&a.Request)))
	case isDeadlock:
		c.fail(wire.CodeDeadlock, "%s", describeCycle(deadlock.Cycle))
	case errors.Is(err, lockmgr.ErrUpgrade):
		code := wire.CodeDeadlock
		if a.Wait == lockmgr.Try {
			code = wire.CodeBusy
		}
		c.fail(code, "%q is held already, for less than is asked for: it would wait for itself", a.Name)
	case isLimit:
		c.fail(wire.CodeLimit, "%s", s.describeLimit(limit, &a.Request))
	case errors.Is(err, lockmgr.ErrExhausted):
		c.fail(wire.CodeIO, "no lock token can be reserved in the state directory")
	default:
		c.fail(wire.CodeInternal, "%v", err)
	}
}

// taken is the first of the names that a request is for which is not free.
func (s *Server) taken(r *lockmgr.Request) string {
	for _, name := range r.Set {
		if _, _, ok := s.locks.Ahead(name); ok {
			return name
		}
	}
	return r.Name
}

// describeLimit says what does not fit, and where the limit comes from.
func (s *Server) describeLimit(e *lockmgr.LimitError, r *lockmgr.Request) string {
	text := fmt.Sprintf("%q has a limit of %d units, as those who use it now asked for", e.Name, e.Limit)
	switch _, _, used := s.locks.Ahead(e.Name); {
	case s.opts.Semaphores[e.Name] == e.Limit:
		text = fmt.Sprintf("%q has a limit of %d units in the configuration (semaphores)", e.Name, e.Limit)
	case !used:
		text = fmt.Sprintf("%q has a limit of %d units", e.Name, e.Limit)
	}
	if r.Units > e.Limit {
		return fmt.Sprintf("%s, and %d are asked for", text, r.Units)
	}
	return fmt.Sprintf("%s, not %d", text, r.Limit)
}
