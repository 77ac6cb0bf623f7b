package session

import (
	"bytes"
	"container/list"
	"encoding/binary"
	"hash/fnv"
	"iter"
	"maps"
	"time"

	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/ipc/wire"
)

// Ordinary Redis clients time out, hang up, connect again and resend. So that a command which is sent twice has its effect
// once, it may carry a REQID. The first of that id is executed, and what came of it is kept for its repeats: see settle. What it
// waits for, or was granted, may outlive the connection for a while: see [Lasting].
//
// Who takes a REQID is decided by what a second execution would do: publish twice, take another entry of a hold, leave one
// that was entered since, break the next holder's lock, mark the next day as done, remove a newer mark. To renew,
// downgrade or ask again does no more than to do it once.

const (
	// MaxRequestID is the longest REQID, in bytes.
	MaxRequestID = 64
	// MaxOutcomes is how many outcomes are kept for one user. Beyond that the oldest are forgotten. Requests that wait, and the holds
	// that they were granted, are limited as such.
	MaxOutcomes = 1024
	// MaxOutcomeBytes is how long they may be together.
	MaxOutcomeBytes = 1 << 20
	// KeepOutcome is how long one is kept, from when nothing is left of the request: neither a wait nor a hold.
	KeepOutcome = 5 * time.Minute
)

// A RequestKey is what tells one command with a REQID from all others: whose it is, of which process, and what it is called.
type RequestKey struct {
	UID   uint32
	PID   int
	Start uint64
	ID    string
}

// A Request is a command with a REQID, from when it is executed until its outcome is forgotten.
type Request struct {
	set     *Set
	key     RequestKey
	command uint64   // see hashCommand
	sess    *Session // that sent it last, and is answered; it may have ended. Invariant: not nil before the request is over
	outcome Outcome  // nil: there is none yet
	lasting Lasting  // nil: nothing

	// While it is over: nothing is left of it but its outcome.
	expires loop.Timer
	size    int
	over    *list.Element // in its user's
}

// Lasting is what there is of a request beside its outcome, and may outlive its connection: a wait, and what it was granted. A
// service has it, and is asked here for what only it knows.
type Lasting interface {
	// Waits is what a repeat of the request would wait for now, if its sender waits for the outcome; "": nothing, or the disk.
	Waits() string
	// Rejoin has a repeat, when there is no outcome yet, be answered when there is: see [Request.Attach].
	Rejoin(c *Call)
	// Retell sees to what a repeat must know beside the outcome that it is about to be told. It reports whether it may be, and has the
	// reply ready if not.
	Retell(c *Call) bool
	// Ticket is what the outcome is pushed by; 0: it is no push.
	Ticket() Ticket
	// Told says whether somebody was there to be told the outcome.
	Told(somebody bool)
	// IsLeft reports whether there is something left of the request beside its outcome, when there is one.
	IsLeft() bool
	// Over says that nothing is left, or that the request is forgotten: it leads to nobody any more.
	Over()
}

// A gate is what a call knows of its REQID.
type gate struct {
	reqid   []byte   // its value, as Call.Args; nil: there is none
	request *Request // while the call is executed and not answered; nil likewise
}

// requests are the commands with a REQID that are known.
type requests struct {
	byKey map[RequestKey]*Request
	users map[uint32]*outcomes
}

// outcomes are those of one user, the oldest first.
type outcomes struct {
	list.List
	bytes int
}

// ReadRequestID reads the value of REQID.
func (c *Call) ReadRequestID(value []byte) bool {
	if len(value) == 0 || len(value) > MaxRequestID {
		c.Fail(wire.CodeErr, "REQID wants 1 to %d bytes, not %d", MaxRequestID, len(value))
		return false
	}
	c.reqid = value
	return true
}

// ReadRequestIDAt reads the REQID of a command that has no other option, and at most that behind its first n arguments.
func (c *Call) ReadRequestIDAt(n int) bool {
	switch {
	case len(c.Args) == n:
		return true
	case len(c.Args) == n+2 && c.Keyword(n) == "REQID":
		return c.ReadRequestID(c.Args[n+1])
	}
	c.Syntax()
	return false
}

// HasRequestID reports whether the command has a REQID.
func (c *Call) HasRequestID() bool { return c.reqid != nil }

// IsRequest reports whether what the command is answered will be kept for its repeats.
func (c *Call) IsRequest() bool { return c.request != nil }

// Gated makes the handler of a command that takes a REQID, as its row says, of what reads its words and what does as they ask: between
// them it is found out whether it is to be done.
func Gated(words func(*Call) bool, run func(*Call)) Handler {
	return func(c *Call) {
		if words(c) && (c.reqid == nil || !c.repeated()) {
			run(c)
		} else {
			c.DropFD()
		}
	}
}

// repeated sees to the REQID of a call whose words are right. If it reports true, the call is answered or waits: it was made
// before, or cannot be known again. Else it is to be executed, and what it is answered will be kept.
func (c *Call) repeated() bool {
	who, set := &c.Session.Peer, c.Session.set
	if who.Start == 0 {
		c.Fail(wire.CodeNotFound, "REQID: %s", NotIdentified(who))
		return true
	}
	key := RequestKey{who.UID, who.PID, who.Start, string(c.reqid)}
	command := hashCommand(c)
	r := set.requests.byKey[key]
	switch waits := r.waits(); {
	case r == nil:
		c.request = &Request{set: set, key: key, command: command, sess: c.Session}
		set.requests.byKey[key] = c.request
		return false
	case r.command != command:
		c.Fail(wire.CodeErr, "REQID %q is that of another command, which this process sent before", Clip(key.ID))
	case c.Session.HungUp(): // a late duplicate: the one who sent it goes on elsewhere
	case waits != "" && c.Session.Is(InExec):
		c.Fail(wire.CodeBusy, "the request of REQID %q waits for %q, and nothing waits within EXEC", Clip(key.ID), waits)
	case r.outcome == nil && r.lasting != nil:
		r.lasting.Rejoin(c)
	case r.outcome == nil:
		r.Attach(c.Session)
		a := AnswerTo(c.Session, 0)
		a.AwaitDisk()
	default:
		r.tellAgain(c)
	}
	return true
}

// waits is what a repeat would have to wait for, beside the disk.
func (r *Request) waits() string {
	if r == nil || r.outcome != nil || r.lasting == nil {
		return ""
	}
	return r.lasting.Waits()
}

// hashCommand tells a command from others, also to the next daemon. How long it waits is no part of it: who repeats it has
// waited for a while already. The hash is FNV-1a (Fowler, Noll, Vo): it is to find mistakes, not to withstand anybody.
func hashCommand(c *Call) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.Row.Name))
	var size [8]byte
	for i, a := range c.Args {
		if c.isPatience(i) {
			continue
		}
		binary.LittleEndian.PutUint64(size[:], uint64(len(a)))
		_, _ = h.Write(size[:])
		_, _ = h.Write(a)
	}
	return h.Sum64()
}

// Key tells the request from all others.
func (r *Request) Key() RequestKey { return r.key }

// Hash tells its command from others: see hashCommand.
func (r *Request) Hash() uint64 { return r.command }

// Session is the one that sent the request last; nil if the request is over.
func (r *Request) Session() *Session { return r.sess }

// Outcome is what the request is answered, nil if there is nothing yet.
func (r *Request) Outcome() Outcome { return r.outcome }

// Lasting is what there is of the request beside its outcome, nil if there never was anything.
func (r *Request) Lasting() Lasting { return r.lasting }

// SetLasting has there be something, which the service has that executes the command.
func (r *Request) SetLasting(l Lasting) { r.lasting = l }

// IsOver reports whether nothing is left of the request but its outcome.
func (r *Request) IsOver() bool { return r.over != nil }

// isKnown reports whether a repeat of it would be found.
func (r *Request) isKnown() bool { return r.set.requests.byKey[r.key] == r }

// Requests are all that are known.
func (s *Set) Requests() iter.Seq[*Request] { return maps.Values(s.requests.byKey) }

// Outcomes is how many outcomes are kept for a user of which nothing else is left, and how long they are together.
func (s *Set) Outcomes(uid uint32) (n, bytes int) {
	if mine := s.requests.users[uid]; mine != nil {
		return mine.Len(), mine.bytes
	}
	return 0, 0
}

// Expires is when the outcome of a request that is over will be forgotten.
func (r *Request) Expires() time.Duration { return r.expires.At() }

// RestoreRequest has a request be known again that a daemon before this one has answered.
func (s *Set) RestoreRequest(key RequestKey, hash uint64, o Outcome, l Lasting) *Request {
	r := &Request{set: s, key: key, command: hash, sess: None(), outcome: o, lasting: l}
	s.requests.byKey[key] = r
	return r
}

// settle keeps what a request was answered, which has a size of so many bytes. All that was decided is an outcome, also that
// the lock was busy or the wait timed out: a duplicate that comes late must not be executed after its sender was told no.
// But whose words were wrong, or who had no room, here or on the disk, may try again.
func (r *Request) settle(o Outcome, size int) {
	if !r.isKnown() {
		return // nobody came back for it
	}
	if p, ok := o.(Plain); ok && bytes.HasPrefix(p, []byte("-")) {
		code, _, _ := bytes.Cut(p, []byte(" "))
		switch string(code) {
		case "-" + string(wire.CodeErr), "-" + string(wire.CodeBadName), "-" + string(wire.CodeQuota), "-" + string(wire.CodeIO):
			r.Forget()
			return
		}
	}
	if p, ok := o.(Passing); ok {
		o = p.Kept()
		if size > MaxOutcomeBytes/4 { // which it may be no more
			size = len(o.Append(nil, wire.RESP3))
		}
	}
	r.outcome, r.size = o, size+len(r.key.ID)
	if r.lasting != nil {
		r.lasting.Told(!r.sess.Dead() && !r.sess.HungUp())
	}
	r.Rest()
}

// Rest notes that nothing is left of a request but its outcome, if that is so.
func (r *Request) Rest() {
	if r.outcome == nil || r.lasting != nil && r.lasting.IsLeft() || !r.isKnown() {
		return
	}
	if r.lasting != nil {
		r.lasting.Over()
	}
	r.sess = nil
	const precision = time.Second // so that one turn does for all of a second
	r.expires.Init(&r.set.Loop.Timers, r.Forget)
	r.expires.Set((r.set.Now() + KeepOutcome + precision - 1).Truncate(precision))
	q := &r.set.requests
	mine := q.users[r.key.UID]
	if mine == nil {
		mine = new(outcomes)
		q.users[r.key.UID] = mine
	}
	r.over = mine.PushBack(r)
	mine.bytes += r.size
	for mine.Len() > MaxOutcomes || mine.bytes > MaxOutcomeBytes {
		mine.Front().Value.(*Request).Forget()
	}
}

// Forget forgets a request. What it waits for or holds is not touched.
func (r *Request) Forget() {
	q := &r.set.requests
	delete(q.byKey, r.key)
	if r.lasting != nil {
		r.lasting.Over()
	}
	if r.over == nil {
		return
	}
	mine := q.users[r.key.UID]
	r.expires.Stop()
	mine.Remove(r.over)
	mine.bytes -= r.size
	if mine.Len() == 0 {
		delete(q.users, r.key.UID)
	}
}

// Attach has a request belong to a session, and no more to the one that it came on before. If that is there still, and waits, it is
// told.
func (r *Request) Attach(s *Session) {
	old := r.sess
	if old == s {
		return
	}
	r.sess = s
	if r.outcome != nil || old.Dead() {
		return
	}
	push := Ticket(0)
	if r.lasting != nil {
		push = r.lasting.Ticket()
	}
	AnswerTo(old, push).Give(Plain(wire.AppendError(nil, wire.CodeCancelled, "the request was repeated, and goes on, on another connection (REQID)")))
}

// tellAgain answers a repeat of what is decided.
func (r *Request) tellAgain(c *Call) {
	if r.lasting == nil {
		c.Out = r.outcome.Append(c.Out, c.Session.proto)
		return
	}
	if !r.lasting.Retell(c) {
		return
	}
	push := r.lasting.Ticket()
	if push == 0 {
		c.Out = r.outcome.Append(c.Out, c.Session.proto)
		return
	}
	c.Integer(int64(push))
	c.Reply()
	AnswerTo(c.Session, push).Give(r.outcome)
}
