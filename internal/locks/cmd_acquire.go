package locks

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

const (
	// What clients have to know, too, is in package wire. A name of a lock leaves room for its event in a topic.
	maxLockText, maxUnits, maxSet, maxShown = wire.MaxLockText, wire.MaxUnits, wire.MaxSet, wire.MaxShown
	// maxWait is the longest wait and lease that can be asked for, in milliseconds: a hundred years.
	maxWait = 100 * 365 * 24 * 3600 * 1000
	// maxSetBytes bounds the names of a set, which are shown with each of its claims.
	maxSetBytes = 2048
)

// lockAcquire lets a request in. The outcome, at once or later, comes from the step.
func (s *Service) lockAcquire(c *session.Call) {
	sess, a := c.Session, &s.acquisition
	if !mayHave(c, max(len(a.Set), 1), a.Bind) || !s.mayOutlive(c, a.Bind) {
		c.DropFD()
		return
	}
	p, ok := s.lockOwner(c, a)
	if !ok {
		return
	}
	if p != nil {
		p.claims++ // it is watched for as long as this takes
		defer s.unpin(p)
	}
	s.supersede(sess, &a.Request, c.Pays) // before it is looked at which of the holds that it names are there
	if !s.shown(c, a) {
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
	s.stepFor(c.Pays, func(now lockmgr.Time) {
		if id, err = s.locks.Acquire(now, a.Request); err != nil {
			return
		}
		w = wait{Answer: c.Later(), set: a.Set}
		if a.async {
			w.AsPush(session.Ticket(id))
		}
		s.admitted(&w.Answer, id, a)
		s.waits[id] = w
	}, func() {
		if a.async && err == nil {
			c.Integer(int64(id))
			c.Reply()
		}
	})
	if err != nil {
		s.refuseLock(c, a, err)
		return
	}
	if _, waits := s.waits[id]; waits {
		s.waitFor(id, w.Answer, c.Pays)
	}
}

// mayHave checks how many holds and waits the caller's user may have.
func mayHave(c *session.Call, more int, bind lockmgr.Binding) bool {
	return c.Room(lockColumn(bind), more)
}

// readUnits reads a number of units.
func readUnits(c *session.Call, option string, value []byte, n *int) bool {
	units, ok := session.Number(value)
	if !ok || units < 1 || units > maxUnits {
		c.Fail(wire.CodeErr, "%s wants a number from 1 to %d, not %q", option, maxUnits, session.Clip(string(value)))
		return false
	}
	*n = int(units)
	return true
}

// readMilliseconds reads a time.
func readMilliseconds(c *session.Call, option string, value []byte, least int64) (time.Duration, bool) {
	ms, ok := session.Number(value)
	if !ok || ms < least || ms > maxWait {
		c.Fail(wire.CodeErr, "%s wants milliseconds, not %q", option, session.Clip(string(value)))
		return 0, false
	}
	return time.Duration(ms) * time.Millisecond, true
}

// readToken reads word i.
func readToken(c *session.Call, i int) (lockmgr.Token, bool) { return tokenOf(c, c.Args[i]) }

func tokenOf(c *session.Call, word []byte) (lockmgr.Token, bool) {
	token, ok := session.Number(word)
	if !ok || token <= 0 || token > int64(lockmgr.MaxToken) {
		c.Fail(wire.CodeErr, "a token is a positive number, not %q", session.Clip(string(word)))
		return 0, false
	}
	return lockmgr.Token(token), true
}

// readText reads what is shown to people.
func readText(c *session.Call, option string, value []byte) (string, bool) {
	if !record.IsText(value) {
		c.Fail(wire.CodeErr, "%s wants at most %d bytes of UTF-8 without control characters", option, maxLockText)
		return "", false
	}
	return string(value), true
}

// lockOwner finds out who is to own a lock: the peer, or with FOR pid the process whose pidfd came with the command. The
// process is nil if the hold does not end with one.
func (s *Service) lockOwner(c *session.Call, a *acquisition) (p *holder, ok bool) {
	who := &c.Session.Peer
	switch {
	case a.Bind == lockmgr.ToNobody:
		a.Owner = record.Operator(who.UID)
		a.Shown = nil // it is to stand alone
	case a.group != "":
		if p = s.groupFor(c, a.group); p == nil {
			return nil, false
		}
		a.Owner = lockmgr.Owner{Process: p.ID, Label: p.Path}
		a.UID, a.GID, a.Unit = who.UID, who.GID, peer.UnitOf(p.Path)
		return p, true
	case a.forPID:
		if p, who = s.foreignProcess(c); p == nil {
			return nil, false
		}
	case who.Start == 0: // it would not be told from others
		c.Fail(wire.CodeNotFound, "%s", session.NotIdentified(who))
		return nil, false
	case who.PID == 0 && a.Bind == lockmgr.ToProcess: // there is no number to find it by after a restart of the daemon
		c.Fail(wire.CodeNotFound, "the process that connected is outside of the daemon's PID namespace: a lock may end with its connection, or a LEASE")
		return nil, false
	case a.Bind != lockmgr.ToLease:
		var err error
		if p, err = s.processOf(c.Session); err != nil {
			c.Fail(session.ProcessCode(err), "%v", err)
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
func (s *Service) foreignProcess(c *session.Call) (*holder, *peer.Peer) {
	sess := c.Session
	fd := sess.TakeFD()
	if fd < 0 {
		c.Fail(wire.CodeDenied, "FOR pid wants the pidfd of a process sent along (SCM_RIGHTS): %s", session.NotSent(sess))
		return nil, nil
	}
	who, err := peer.FromPIDFD(fd)
	if err != nil {
		sess.Discard(fd)
		c.Fail(session.ProcessCode(err), "%v", err)
		return nil, nil
	}
	if !c.MayAct(who.UID) {
		_ = unix.Close(fd)
		c.Fail(wire.CodeDenied, "process %d is user %d's, not yours", who.PID, who.UID)
		return nil, nil
	}
	is, err := s.watch.Of(&who, fd)
	if err != nil {
		c.Fail(session.ProcessCode(err), "cannot watch process %d: %v", who.PID, err)
		return nil, nil
	}
	return s.adopt(is), &who
}

// shown checks the holds that a request names. Tokens are no secret, so those of other users' holds count for nothing.
func (s *Service) shown(c *session.Call, a *acquisition) bool {
	known := a.Shown[:0]
	for _, shown := range a.Shown {
		if hold, err := s.locks.Hold(shown.Name, shown.Token); err == nil && c.MayAct(hold.UID) {
			known = append(known, lockmgr.Shown{Name: hold.Name, Token: hold.Token}) // a name that is there already: the wait may be long
		}
	}
	a.Shown = known
	if a.Join == 0 {
		return true
	}
	hold, ok := s.hold(c, a.Name, a.Join)
	return ok && owns(c, &hold)
}

// hold finds a hold by its token.
func (s *Service) hold(c *session.Call, name string, t lockmgr.Token) (lockmgr.Claim, bool) {
	hold, err := s.locks.Hold(name, t)
	switch {
	case errors.Is(err, lockmgr.ErrStale):
		c.Fail(wire.CodeStale, "token %d is not that of a present hold; %s", t, s.inTheWay(name))
	case err != nil:
		c.Fail(wire.CodeNoLock, "%q: %v", name, err)
	}
	return hold, err == nil
}

// owns checks that the caller may do something to a hold.
func owns(c *session.Call, hold *lockmgr.Claim) bool {
	if !c.MayAct(hold.UID) {
		c.Fail(wire.CodeDenied, "%q is held by user %d", hold.Name, hold.UID)
		return false
	}
	return true
}

// refuseLock says why a request was not let in, and what is in its way.
func (s *Service) refuseLock(c *session.Call, a *acquisition, err error) {
	deadlock, isDeadlock := errors.AsType[*lockmgr.DeadlockError](err)
	limit, isLimit := errors.AsType[*lockmgr.LimitError](err)
	switch {
	case errors.Is(err, lockmgr.ErrBusy):
		c.Fail(wire.CodeBusy, "%s", s.inTheWay(s.taken(&a.Request)))
	case isDeadlock:
		c.Fail(wire.CodeDeadlock, "%s", describeCycle(deadlock.Cycle))
	case errors.Is(err, lockmgr.ErrUpgrade):
		code := wire.CodeDeadlock
		if a.Wait == lockmgr.Try {
			code = wire.CodeBusy
		}
		c.Fail(code, "%q is held already, for less than is asked for: it would wait for itself", a.Name)
	case isLimit:
		c.Fail(wire.CodeLimit, "%s", s.describeLimit(limit, &a.Request))
	case errors.Is(err, lockmgr.ErrExhausted):
		c.Fail(wire.CodeIO, "no lock token can be reserved in the state directory")
	default:
		c.Fail(wire.CodeInternal, "%v", err)
	}
}

// taken is the first of the names that a request is for which is not free.
func (s *Service) taken(r *lockmgr.Request) string {
	for _, name := range r.Set {
		if _, _, ok := s.locks.Ahead(name); ok {
			return name
		}
	}
	return r.Name
}

// describeLimit says what does not fit, and where the limit comes from.
func (s *Service) describeLimit(e *lockmgr.LimitError, r *lockmgr.Request) string {
	text := fmt.Sprintf("%q has a limit of %d units, as those who use it now asked for", e.Name, e.Limit)
	switch _, _, used := s.locks.Ahead(e.Name); {
	case s.semaphores[e.Name] == e.Limit:
		text = fmt.Sprintf("%q has a limit of %d units in the configuration (semaphores)", e.Name, e.Limit)
	case !used:
		text = fmt.Sprintf("%q has a limit of %d units", e.Name, e.Limit)
	}
	if r.Units > e.Limit {
		return fmt.Sprintf("%s, and %d are asked for", text, r.Units)
	}
	return fmt.Sprintf("%s, not %d", text, r.Limit)
}
