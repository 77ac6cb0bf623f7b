package server

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/lockmgr"
)

var lockCommands = map[string]func(*Server, *call){
	"LOCK.ACQUIRE": (*Server).lockAcquire,
	"LOCK.RELEASE": (*Server).lockRelease,
	"LOCK.CANCEL":  (*Server).lockCancel,
	"LOCK.INFO":    (*Server).lockInfo,
	"LOCK.LIST":    (*Server).lockList,
}

const (
	// maxLockName leaves room for lockTopic and the name of an event in a topic.
	maxLockName = 200
	// maxLockText bounds WHY and OWNER, in bytes.
	maxLockText = 256
	// maxWait is the longest wait that can be asked for, in milliseconds: a hundred years.
	maxWait = 100 * 365 * 24 * 3600 * 1000
)

// An acquisition is what the words of LOCK.ACQUIRE ask for.
type acquisition struct {
	lockmgr.Request
	forPID bool
	async  bool
}

// lockAcquire lets a request in. The outcome, at once or later, comes from carryOut.
func (s *Server) lockAcquire(c *call) {
	sess := c.sess
	a, ok := c.acquisition()
	if !ok {
		sess.closeFDs() // one may have come with this command: the next command must not take it for its own
		return
	}
	if u := s.users[sess.peer.UID]; u != nil && u.locks >= s.opts.Limits.LocksPerUser {
		c.fail(ipc.CodeQuota, "user %d holds or waits for %d locks already (limits.locks_per_user)", sess.peer.UID, u.locks)
		sess.closeFDs() // likewise
		return
	}
	p, who := c.lockProcess(s, a.forPID)
	if p == nil {
		return
	}
	s.reconnected(p)
	a.Owner.Process = p.id
	a.Conn = lockmgr.ConnID(sess.id)
	a.UID, a.GID, a.Unit = who.UID, who.GID, who.Unit
	now := s.lockTime()
	id, err := s.locks.Acquire(now, a.Request)
	if err != nil {
		s.refuseLock(c, &a, err)
		s.unwatch(p)
		return
	}
	s.admitClaim(who.UID, sess, p)
	s.waits[id] = wait{sess, a.async}
	if a.async {
		c.integer(int64(id))
		s.reply(c)
	}
	s.carryOut()
	if _, waits := s.waits[id]; !waits {
		return
	}
	if !a.async {
		sess.state |= stateWaiting
		sess.extra().wait = id
	}
	if s.stopping || sess.is(stateHalfClosed) { // too late to wait
		s.locks.Cancel(now, id)
		s.carryOut()
	}
}

// acquisition reads the words of LOCK.ACQUIRE.
func (c *call) acquisition() (a acquisition, ok bool) {
	if !c.lockName() {
		return a, false
	}
	a.Name = string(c.args[0])
	a.Wait = lockmgr.Forever
	for i := 1; i < len(c.args); i++ {
		option := c.arg(i)
		switch option {
		case "SHARED":
			a.Mode = lockmgr.Shared
			continue
		case "ASYNC":
			if c.sess.proto != ipc.RESP3 {
				c.fail(ipc.CodeErr, "ASYNC needs RESP3: send HELLO 3 first")
				return a, false
			}
			a.async = true
			continue
		}
		if i++; i == len(c.args) {
			c.fail(ipc.CodeErr, "%q is not an option, or wants a value", clip(option))
			return a, false
		}
		value := c.args[i]
		switch option {
		case "WAIT":
			ms, ok := number(value)
			if !ok || ms < 0 || ms > maxWait {
				c.fail(ipc.CodeErr, "WAIT wants milliseconds, not %q", clip(string(value)))
				return a, false
			}
			a.Wait = time.Duration(ms) * time.Millisecond
		case "FOR":
			switch c.arg(i) {
			case "SELF":
			case "PID":
				a.forPID = true
			default:
				c.fail(ipc.CodeErr, "FOR wants self or pid, not %q", clip(string(value)))
				return a, false
			}
			a.Bind = lockmgr.ToProcess
		case "OWNER", "WHY":
			if !isText(value) {
				c.fail(ipc.CodeErr, "%s wants at most %d bytes of UTF-8 without control characters", option, maxLockText)
				return a, false
			}
			if option == "WHY" {
				a.Why = string(value)
			} else {
				a.Owner.Label = string(value)
			}
		default:
			c.fail(ipc.CodeErr, "unknown option %q", clip(option))
			return a, false
		}
	}
	return a, true
}

// lockName checks the first argument.
func (c *call) lockName() bool {
	if err := bus.CheckName("lock name", c.args[0], maxLockName); err != nil {
		c.fail(ipc.CodeBadName, "%v", err)
		return false
	}
	if reserved(c.args[0]) {
		c.fail(ipc.CodeDenied, "names under %s are the daemon's own", bus.ReservedPrefix)
		return false
	}
	return true
}

// isText reports whether a value may be shown to people.
func isText(value []byte) bool {
	if len(value) > maxLockText || !utf8.Valid(value) {
		return false
	}
	return strings.IndexFunc(string(value), unicode.IsControl) < 0
}

// clip keeps a quotation short.
func clip(text string) string {
	if len(text) > 64 {
		return text[:64] + "…"
	}
	return text
}

// lockProcess is the process that is to own a lock: the peer, or with FOR pid the one whose pidfd came with the
// command. It is nil if there is none, or the peer has no right to speak for it.
func (c *call) lockProcess(s *Server, forPID bool) (*process, *peer.Peer) {
	sess := c.sess
	if !forPID {
		p, err := s.processOf(sess)
		if err != nil {
			c.fail(ipc.CodeNotFound, "%v", err)
			return nil, nil
		}
		return p, &sess.peer
	}
	fd := sess.takeFD()
	if fd < 0 {
		c.fail(ipc.CodeErr, "FOR pid wants the pidfd of a process sent along (SCM_RIGHTS)")
		return nil, nil
	}
	who, err := peer.FromPIDFD(fd)
	if err != nil {
		_ = unix.Close(fd)
		c.fail(ipc.CodeNotFound, "%v", err)
		return nil, nil
	}
	if sess.peer.UID != 0 && sess.peer.UID != who.UID {
		_ = unix.Close(fd)
		c.fail(ipc.CodeDenied, "process %d is user %d's, not yours", who.PID, who.UID)
		return nil, nil
	}
	p, err := s.watchProcess(&who, fd)
	if err != nil {
		c.fail(ipc.CodeInternal, "%v", err)
		return nil, nil
	}
	return p, &who
}

// refuseLock says why a request was not let in, and what is in its way.
func (s *Server) refuseLock(c *call, a *acquisition, err error) {
	switch {
	case errors.Is(err, lockmgr.ErrBusy):
		c.fail(ipc.CodeBusy, "%s", s.inTheWay(a.Name))
	case errors.Is(err, lockmgr.ErrDeadlock):
		c.fail(ipc.CodeDeadlock, "%s", s.ownClaim(a))
	case errors.Is(err, lockmgr.ErrExhausted):
		c.fail(ipc.CodeIO, "no lock token can be reserved in the state directory")
	default:
		c.fail(ipc.CodeInternal, "%v", err)
	}
}

// ownClaim says what the owner of a request has already.
func (s *Server) ownClaim(a *acquisition) string {
	claim, ok := s.locks.Claim(a.Name, a.Owner)
	switch {
	case !ok:
		return "it would wait for itself"
	case claim.Token == 0:
		return fmt.Sprintf("pid %d waits for %q already", claim.Owner.Process.PID, a.Name)
	}
	return fmt.Sprintf("pid %d holds %q already, with token %d: it would wait for itself", claim.Owner.Process.PID, a.Name, claim.Token)
}

// inTheWay says who holds a lock, or waits for it before anybody who comes now.
func (s *Server) inTheWay(name string) string {
	v := s.locks.View(name)
	switch {
	case len(v.Holders) > 0:
		text := fmt.Sprintf("%q is held by %s", name, describeClaim(&v.Holders[0]))
		if n := len(v.Holders) - 1; n > 0 {
			text += fmt.Sprintf(" and %d more", n)
		}
		return text
	case len(v.Waiters) > 0:
		return fmt.Sprintf("%q is waited for by %s", name, describeClaim(&v.Waiters[0]))
	}
	return fmt.Sprintf("nobody holds %q now", name)
}

// describeClaim is a claim's process in words, as in "pid 3977 (uid 0, backup.service)".
func describeClaim(c *lockmgr.Claim) string {
	text := describe(c.Owner, c.Info)
	if c.Why != "" {
		text += ": " + c.Why
	}
	return text
}

func describe(o lockmgr.Owner, i lockmgr.Info) string {
	if i.Unit != "" {
		return fmt.Sprintf("pid %d (uid %d, %s)", o.Process.PID, i.UID, i.Unit)
	}
	return fmt.Sprintf("pid %d (uid %d)", o.Process.PID, i.UID)
}

// describeEnd is how a hold ended in words, "" for none.
func describeEnd(e *lockmgr.End) string {
	if e == nil {
		return ""
	}
	return describe(e.Owner, e.Info) + " " + e.String()
}

// appendGrant is the reply to a request that was granted.
func appendGrant(b []byte, p ipc.Proto, e *lockmgr.Effect) []byte {
	b = p.AppendMap(b, 5)
	b = ipc.AppendBulk(b, "name")
	b = ipc.AppendBulk(b, e.Name)
	b = ipc.AppendBulk(b, "token")
	b = ipc.AppendInt(b, int64(e.Token))
	b = ipc.AppendBulk(b, "mode")
	b = ipc.AppendBulk(b, e.Mode.String())
	b = ipc.AppendBulk(b, "previous")
	b = ipc.AppendBulk(b, e.Previous.String())
	b = ipc.AppendBulk(b, "abandoned")
	return ipc.AppendBulk(b, describeEnd(e.Abandoned))
}

func (s *Server) appendTimeout(b []byte, c *lockmgr.Claim) []byte {
	return ipc.AppendError(b, ipc.CodeTimeout, fmt.Sprintf("timed out after %v; %s", c.Wait, s.inTheWay(c.Name)))
}

func (s *Server) appendCancelled(b []byte) []byte {
	if s.stopping {
		return ipc.AppendError(b, ipc.CodeShutdown, "the daemon is stopping")
	}
	return ipc.AppendError(b, ipc.CodeCancelled, "the wait was cancelled")
}

// lockRelease ends a hold: by its token, as any process of its user may, or the caller's own.
func (s *Server) lockRelease(c *call) {
	if !c.lockName() {
		return
	}
	name := string(c.args[0])
	var hold lockmgr.Claim
	if len(c.args) > 1 {
		token, ok := number(c.args[1])
		if !ok || token <= 0 {
			c.fail(ipc.CodeErr, "a token is a positive number, not %q", clip(string(c.args[1])))
			return
		}
		var err error
		if hold, err = s.locks.Hold(name, lockmgr.Token(token)); errors.Is(err, lockmgr.ErrStale) {
			c.fail(ipc.CodeStale, "token %d is not that of a present hold; %s", token, s.inTheWay(name))
			return
		} else if err != nil {
			c.fail(ipc.CodeNoLock, "%q: %v", name, err)
			return
		}
		if c.sess.peer.UID != 0 && c.sess.peer.UID != hold.UID {
			c.fail(ipc.CodeDenied, "%q is held by user %d", name, hold.UID)
			return
		}
	} else {
		var ok bool
		hold, ok = s.locks.Claim(name, lockmgr.Owner{Process: lockmgr.Process{PID: c.sess.peer.PID, Start: c.sess.peer.Start}})
		if !ok || hold.Token == 0 {
			c.fail(ipc.CodeNoLock, "%q is not held by process %d; show the token to release it for another", name, c.sess.peer.PID)
			return
		}
	}
	if err := s.locks.Release(s.lockTime(), name, hold.Token); err != nil {
		c.fail(ipc.CodeInternal, "%q: %v", name, err)
		return
	}
	c.ok()
	s.reply(c)
	s.carryOut()
}

// lockCancel ends an ASYNC wait of this connection. Its outcome is pushed, as any.
func (s *Server) lockCancel(c *call) {
	ticket, ok := number(c.args[0])
	if !ok || ticket <= 0 {
		c.fail(ipc.CodeErr, "a ticket is a positive number, not %q", clip(string(c.args[0])))
		return
	}
	id := lockmgr.RequestID(ticket)
	if w, ok := s.waits[id]; !ok || w.sess != c.sess || !s.locks.Cancel(s.lockTime(), id) {
		c.integer(0)
		return
	}
	c.integer(1)
	s.carryOut()
}
