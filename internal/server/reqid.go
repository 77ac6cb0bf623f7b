package server

import (
	"bytes"
	"container/list"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"time"

	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// Ordinary Redis clients time out, hang up, connect again and resend. So that a command which is sent twice has its effect
// once, it may carry a REQID. The first of that id is executed, and what came of it is kept for its repeats: see settle. A
// lock that it waits for, or was granted, outlives the connection for a while: see detached.go.
//
// Who takes a REQID is decided by what a second execution would do: publish twice, take another entry of a hold, leave one
// that was entered since, break the next holder's lock, mark the next day as done, remove a newer mark. To renew,
// downgrade or ask again does no more than to do it once.

const (
	// maxReqID is the longest REQID, in bytes.
	maxReqID = 64
	// maxOutcomes is how many outcomes are kept for one user, and maxOutcomeBytes how long they are together. Beyond that the
	// oldest are forgotten. Requests that wait, and the holds that they were granted, are limited as such.
	maxOutcomes     = 1024
	maxOutcomeBytes = 1 << 20
	// keepOutcome is how long one is kept, from when nothing is left of the request: neither a wait nor a hold.
	keepOutcome = 5 * time.Minute
)

// A requestKey is what tells one command with a REQID from all others.
type requestKey struct {
	uid     uint32
	process lockmgr.Process
	id      string
}

// A request is a command with a REQID, from when it is executed until its outcome is forgotten.
type request struct {
	key     requestKey
	command uint64   // see hashCommand
	sess    *session // that sent it last, and is answered; it may have ended. Invariant: not nil before the request is over
	outcome outcome  // nil: there is none yet

	// Of LOCK.ACQUIRE, once it was let in.
	id       lockmgr.RequestID
	conn     lockmgr.ConnID // stands for whichever connection sess is
	owner    lockmgr.Owner
	names    []string
	previous map[string]*lockmgr.End // how the holds before ended, by name, as far as it is granted
	async    bool
	told     bool         // somebody was there to be told the outcome
	held     int          // claims of it that hold
	bound    int          // those of them that end with the connection
	ended    *lockmgr.End // the first of them that ended

	// While its connection has ended, and it has not: see detach.
	grace   *list.Element
	by      time.Duration
	process *process

	// While it is over: nothing is left of it but its outcome.
	expires loop.Timer
	size    int
	over    *list.Element // in its user's
}

// A requestSet is some of them.
type requestSet map[*request]struct{}

func (all *requestSet) add(r *request) {
	if *all == nil {
		*all = requestSet{}
	}
	(*all)[r] = struct{}{}
}

// bound is how many locks they hold that end with the connection.
func (all requestSet) bound() (n int) {
	for r := range all {
		n += r.bound
	}
	return n
}

// A gate is what a call knows of its REQID.
type gate struct {
	reqid   []byte   // its value, as call.args; nil: there is none
	request *request // while the call is executed and not answered; nil likewise
}

// requests are the commands with a REQID that are known.
type requests struct {
	byKey    map[requestKey]*request
	byID     map[lockmgr.RequestID]*request // those that wait or hold
	detached list.List                      // in the order in which their grace ends
	graces   loop.Timer                     // set to the first of these
	users    map[uint32]*outcomes
}

// outcomes are those of one user, the oldest first.
type outcomes struct {
	list.List
	bytes int
}

func (s *Server) startRequests() {
	s.requests = requests{
		byKey: map[requestKey]*request{}, byID: map[lockmgr.RequestID]*request{},
		users: map[uint32]*outcomes{},
	}
	s.requests.graces.Init(&s.loop.Timers, s.graceDue)
}

// requestID reads the value of REQID.
func (c *call) requestID(value []byte) bool {
	if len(value) == 0 || len(value) > maxReqID {
		c.fail(wire.CodeErr, "REQID wants 1 to %d bytes, not %d", maxReqID, len(value))
		return false
	}
	c.reqid = value
	return true
}

// requestIDAt reads the REQID of a command that has no other option, and at most that behind its first n arguments.
func (c *call) requestIDAt(n int) bool {
	switch {
	case len(c.args) == n:
		return true
	case len(c.args) == n+2 && c.arg(n) == "REQID":
		return c.requestID(c.args[n+1])
	}
	c.syntax()
	return false
}

// gated makes the handler of a command that takes a REQID, as its row says, of what reads its words and what does as they ask: between
// them it is found out whether it is to be done. If not, a descriptor that came with the command must not be taken for that of the
// next.
func gated(words func(*Server, *call) bool, run func(*Server, *call)) func(*Server, *call) {
	return func(s *Server, c *call) {
		if words(s, c) && (c.reqid == nil || !s.repeated(c)) {
			run(s, c)
		} else if c.takesFD {
			c.sess.CloseFDs()
		}
	}
}

// repeated sees to the REQID of a call whose words are right. If it reports true, the call is answered or waits: it was made
// before, or cannot be known again. Else it is to be executed, and what it is answered will be kept.
func (s *Server) repeated(c *call) bool {
	who := &c.sess.peer
	if who.Start == 0 {
		c.fail(wire.CodeNotFound, "REQID: %s", notIdentified(who))
		return true
	}
	key := requestKey{who.UID, processID(who), string(c.reqid)}
	command := hashCommand(c)
	switch r := s.requests.byKey[key]; {
	case r == nil:
		c.request = &request{key: key, command: command, sess: c.sess}
		s.requests.byKey[key] = c.request
		return false
	case r.command != command:
		c.fail(wire.CodeErr, "REQID %q is that of another command, which this process sent before", clip(key.id))
	case c.sess.HungUp(): // a late duplicate: the one who sent it goes on elsewhere
	case r.outcome == nil && !r.async && c.sess.is(stateExec) && s.waitsForLock(r):
		c.fail(wire.CodeBusy, "the request of REQID %q waits for %q, and nothing waits within EXEC", clip(key.id), r.names[0])
	case r.outcome == nil:
		s.rejoin(c, r)
	default:
		s.tellAgain(c, r)
	}
	return true
}

// hashCommand tells a command from others, also to the next daemon. How long it waits is no part of it: who repeats it has
// waited for a while already. The hash is FNV-1a (Fowler, Noll, Vo): it is to find mistakes, not to withstand anybody.
func hashCommand(c *call) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.cmd.Name))
	var size [8]byte
	for i, a := range c.args {
		if c.patience > 0 && (i == c.patience || i == c.patience-1) {
			continue
		}
		binary.LittleEndian.PutUint64(size[:], uint64(len(a)))
		_, _ = h.Write(size[:])
		_, _ = h.Write(a)
	}
	return h.Sum64()
}

// recorded is what a record says of a request that was granted a lock.
func (r *request) recorded(name string) *record.Command {
	return &record.Command{
		ID: r.key.id, UID: r.key.uid, Process: r.key.process, Hash: r.command, Names: r.names, Previous: r.previous[name],
	}
}

// grantedAfter notes how the hold before a lock that is granted to the request has ended.
func (r *request) grantedAfter(name string, previous *lockmgr.End) {
	if previous == nil {
		return
	}
	if r.previous == nil {
		r.previous = map[string]*lockmgr.End{}
	}
	r.previous[name] = previous
}

// restoreRequests makes those known again that the holds were granted to. Whether they were told of it nobody knows: they are
// taken to have been, or a job would lose its lock that goes on under it, and are told again if they ask.
func (s *Server) restoreRequests(holds []*record.Hold) {
	type found struct {
		*record.Command
		id     lockmgr.RequestID
		grants grants
	}
	all := map[requestKey]*found{}
	for _, h := range holds {
		if h.Command == nil {
			continue
		}
		key := requestKey{h.Command.UID, h.Command.Process, h.Command.ID}
		f := all[key]
		if f == nil {
			f = &found{Command: h.Command, id: h.Claim.ID}
			all[key] = f
		}
		if f.id == h.Claim.ID && slices.Contains(f.Names, h.Claim.Name) {
			f.grants = append(f.grants, lockmgr.Effect{
				Kind: lockmgr.Acquired, Claim: h.Claim, Limit: h.Limit, Previous: h.Command.Previous, Abandoned: h.Claim.Told,
			})
		}
	}
	for key, f := range all {
		if len(f.grants) != len(f.Names) || s.requests.byID[f.id] != nil {
			continue // it was answered: some of it is given back already
		}
		slices.SortFunc(f.grants, func(a, b lockmgr.Effect) int { return slices.Index(f.Names, a.Name) - slices.Index(f.Names, b.Name) })
		r := &request{
			key: key, command: f.Hash, sess: noSession(), outcome: f.grants,
			id: f.id, owner: f.grants[0].Owner, names: f.Names, told: true, held: len(f.grants),
		}
		for i := range f.grants {
			r.grantedAfter(f.grants[i].Name, f.grants[i].Previous)
		}
		s.requests.byKey[key], s.requests.byID[f.id] = r, r
	}
}

// settle keeps what a request was answered, which has a size of so many bytes. All that was decided is an outcome, also that
// the lock was busy or the wait timed out: a duplicate that comes late must not be executed after its sender was told no.
// But who had no room, here or on the disk, may try again.
func (s *Server) settle(r *request, o outcome, size int) {
	if s.requests.byKey[r.key] != r {
		return // nobody came back for it
	}
	if p, ok := o.(plain); ok && (bytes.HasPrefix(p, quotaError) || bytes.HasPrefix(p, ioError)) {
		s.forgetRequest(r)
		return
	}
	if g, ok := o.(*granted); ok {
		o = grants{lockmgr.Effect(*g)}
	}
	r.outcome, r.size = o, size+len(r.key.id)
	r.told = !r.sess.Dead() && !r.sess.HungUp()
	s.rest(r)
}

var (
	quotaError = []byte("-" + wire.CodeQuota + " ")
	ioError    = []byte("-" + wire.CodeIO + " ")
)

// rest notes that nothing is left of a request but its outcome, if that is so.
func (s *Server) rest(r *request) {
	if r.outcome == nil || r.held > 0 || s.requests.byKey[r.key] != r {
		return
	}
	s.leaveGrace(r)
	s.unlink(r)
	r.sess = nil
	const precision = time.Second // so that one turn does for all of a second
	r.expires.Init(&s.loop.Timers, func() { s.forgetRequest(r) })
	r.expires.Set((s.now() + keepOutcome + precision - 1).Truncate(precision))
	q := &s.requests
	mine := q.users[r.key.uid]
	if mine == nil {
		mine = new(outcomes)
		q.users[r.key.uid] = mine
	}
	r.over = mine.PushBack(r)
	mine.bytes += r.size
	for mine.Len() > maxOutcomes || mine.bytes > maxOutcomeBytes {
		s.forgetRequest(mine.Front().Value.(*request))
	}
}

// unlink takes a request from what leads to it besides its key.
func (s *Server) unlink(r *request) {
	delete(s.requests.byID, r.id)
	if r.sess != nil && r.sess.more != nil {
		delete(r.sess.more.requests, r)
	}
}

// forgetRequest forgets a request. What it waits for or holds is not touched.
func (s *Server) forgetRequest(r *request) {
	q := &s.requests
	delete(q.byKey, r.key)
	s.leaveGrace(r)
	s.unlink(r)
	if r.over == nil {
		return
	}
	mine := q.users[r.key.uid]
	r.expires.Stop()
	mine.Remove(r.over)
	mine.bytes -= r.size
	if mine.Len() == 0 {
		delete(q.users, r.key.uid)
	}
}

// tellAgain answers a repeat of what is decided. It must not tell of a lock that is not held any more.
func (s *Server) tellAgain(c *call, r *request) {
	if g, ok := r.outcome.(grants); ok {
		if lost := s.lost(r, g); lost != nil {
			how := ""
			if r.ended != nil && r.ended.Token == lost.Token {
				how = ": " + r.ended.String()
			}
			c.fail(wire.CodeStale, "%q was granted with token %d, and that hold has ended%s", lost.Name, lost.Token, how)
			return
		}
		r.told = true
		if r.held > 0 && !s.attach(c, r) {
			return
		}
	}
	if !r.async || r.id == 0 {
		c.out = r.outcome.append(c.out, c.sess.proto)
		return
	}
	c.integer(int64(r.id))
	s.reply(c)
	s.give(answer{sess: c.sess, push: r.id}, r.outcome)
}

// count takes note of a claim of the request that begins or ends to hold.
func (r *request) count(e *lockmgr.Effect, n int) {
	r.held += n
	if e.Kind == lockmgr.Acquired {
		r.grantedAfter(e.Name, e.Previous)
	}
	if e.Bind == lockmgr.ToConnection {
		r.bound += n
	}
	if r.ended == nil {
		r.ended = e.End
	}
}

// lost is the first of the grants that is not held any more, or was left by its owner.
func (s *Server) lost(r *request, g grants) *lockmgr.Effect {
	for i := range g {
		if _, err := s.locks.Hold(g[i].Name, g[i].Token); err != nil || r.ended != nil && r.ended.Token == g[i].Token {
			return &g[i]
		}
	}
	return nil
}
