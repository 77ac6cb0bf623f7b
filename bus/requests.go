package bus

import (
	"container/heap"
	"errors"
	"math"
	"strings"
	"time"
)

// Requests knows who answers requests, to whom each one was sent, and when it is over. S stands for one who asks or answers, and V is
// the caller's own record of a request: Requests only hands it back. What the calls lead to is told by [Requests.Effects]. The zero
// Requests is empty.
type Requests[S comparable, V any] struct {
	// Verify makes every call check all invariants and panic if one does not hold, in time by what there is.
	Verify bool
	// Takes reports whether a responder can be sent a request now. It changes nothing. Nil: each of them always can.
	Takes func(s S, v V) bool

	pools   pools[pool[S, V]]
	parties shrinkingMap[S, *party[S, V]] // who serves or asks, or has something to answer
	members shrinkingMap[memberKey[S], *member[S, V]]
	open    shrinkingMap[RequestID, *request[S, V]]
	tasks   shrinkingMap[taskKey[S], *task[S, V]]
	waiting Retained[*line[S, V]] // by topic, what nobody serves yet
	due     dueHeap[S, V]
	last    RequestID
	turns   turns
	effects []RequestEffect[S, V]

	found []*pool[S, V]   // scratch
	whom  []*member[S, V] // scratch
	full  []*member[S, V] // scratch
}

// A RequestID names a request. They rise.
type RequestID uint64

// An Ask is what is asked for.
type Ask[S comparable, V any] struct {
	Asker S
	Topic string
	Value V

	// Replies is how many answers are wanted. One: one responder is asked. More: one of each group is, and each of those in none, until
	// so many have answered. Less than one is one; see [AllReplies].
	Replies int
	// Repeatable says that another of the group may be asked if a responder goes that has not begun to answer.
	Repeatable bool
	// Until is when to give up waiting for somebody to ask, if there is nobody; 0: not to wait.
	Until time.Duration
	// Deadline is when the request is over, in any case; 0: never.
	Deadline time.Duration
}

const (
	// AllReplies is as many answers as there are responders who were asked.
	AllReplies = math.MaxInt
	// Forever is a time that does not come.
	Forever = time.Duration(math.MaxInt64)
	// MostAsked is how many may be asked by one request.
	MostAsked = 256
	// mostLooked is how many steps are made at most to find out who is to be asked.
	mostLooked = 1 << 14
)

// Why a request was not sent, or cannot be answered.
var (
	ErrNoResponders = errors.New("nobody is there to answer the request")
	ErrTooMany      = errors.New("the request would go to too many responders")
	ErrNotAsked     = errors.New("no such request is to be answered")
)

// A FullError says that there are responders, and that none of them takes the request.
type FullError[S comparable] struct{ Responder S } // the one whose turn it was

func (*FullError[S]) Error() string { return "the responders take no more requests" }

// A RequestKind is what happened.
type RequestKind uint8

// The kinds. Of each request there is one Over; of each Sent there is one Answered, Gone or Revoked.
const (
	Sent     RequestKind = iota // the responder is to be sent the request
	Passed                      // the responder was not asked, as it takes none; others were
	Part                        // the responder has answered, and goes on
	Answered                    // the responder has answered
	Gone                        // the responder is gone before it had answered. Another may be Sent it
	Revoked                     // the responder is to stop: nobody waits for it any more
	Over                        // the asker is to be told: How says why
	Left                        // the responder is sent no more requests of its service
)

func (k RequestKind) String() string {
	return [...]string{"sent", "passed", "part", "answered", "gone", "revoked", "over", "left"}[k]
}

// An Ending is why a request is over.
type Ending uint8

// The endings.
const (
	Complete   Ending = iota // there are as many answers as were wanted, or all who are left have answered
	Unanswered               // all who were asked are gone
	TimedOut                 // its deadline has passed; there may be answers
	Unserved                 // nobody came to answer it
	Refused                  // who came takes none
	Withdrawn                // the asker has gone, or wants it no more
)

func (e Ending) String() string {
	return [...]string{"complete", "unanswered", "timedout", "unserved", "refused", "withdrawn"}[e]
}

// A RequestEffect is one thing that happened.
type RequestEffect[S comparable, V any] struct {
	Kind      RequestKind
	ID        RequestID
	Value     V
	Responder S       // all but Over; of an Over that is Refused, too
	Service   Sharing // of the responder: Sent, Left
	How       Ending  // Over
	Answers   int     // Over: how many there were
}

// request is one that is not over.
type request[S comparable, V any] struct {
	id         RequestID
	asker      *party[S, V]
	topic      string
	value      V
	replies    int
	repeatable bool
	until      time.Duration
	deadline   time.Duration
	line       *line[S, V] // where it waits for somebody to ask; nil: it was sent
	tasks      chain[task[S, V]]
	answers    int

	ofAsker, inLine place[request[S, V]]
	dueAt           int // in the heap, 1 for its first; 0: it is not there
}

// A line has the requests that wait for somebody to serve a topic.
type line[S comparable, V any] struct {
	topic    string
	requests chain[request[S, V]]
}

// A pool has those who serve one filter in one group, or in none.
type pool[S comparable, V any] struct {
	of      Sharing
	members ranking[*member[S, V]]
}

// A member is one who serves a pool, or did and has something to answer still.
type member[S comparable, V any] struct {
	standing
	party   *party[S, V]
	of      Sharing
	left    int         // how many more requests it takes; 0: any number
	pool    *pool[S, V] // nil: it takes no more
	tasks   chain[task[S, V]]
	ofParty place[member[S, V]]
}

func (m *member[S, V]) rank() *standing { return &m.standing }

// A party is one who serves or asks.
type party[S comparable, V any] struct {
	who      S
	services int // how many of members are in a pool
	members  chain[member[S, V]]
	asks     chain[request[S, V]]
}

// memberKey finds a member.
type memberKey[S comparable] struct {
	who S
	of  Sharing
}

// A task is a request that a responder is to answer.
type task[S comparable, V any] struct {
	request             *request[S, V]
	member              *member[S, V]
	begun               bool // a part of the answer has come
	ofRequest, ofMember place[task[S, V]]
}

// taskKey finds a task. Nobody is asked the same twice at a time.
type taskKey[S comparable] struct {
	responder S
	id        RequestID
}

func ofAsker[S comparable, V any](q *request[S, V]) *place[request[S, V]] { return &q.ofAsker }
func inLine[S comparable, V any](q *request[S, V]) *place[request[S, V]]  { return &q.inLine }
func ofParty[S comparable, V any](m *member[S, V]) *place[member[S, V]]   { return &m.ofParty }
func ofRequest[S comparable, V any](t *task[S, V]) *place[task[S, V]]     { return &t.ofRequest }
func ofMember[S comparable, V any](t *task[S, V]) *place[task[S, V]]      { return &t.ofMember }

// Effects takes the effects of all calls since it was called last, in the order in which they happened. They must be used before the
// next call, which reuses the memory.
func (r *Requests[S, V]) Effects() []RequestEffect[S, V] {
	taken := r.effects
	if r.effects = taken[:0]; cap(taken) > keptEffects {
		r.effects = nil
	}
	return taken
}

// keptEffects is the size up to which the memory of effects is used again.
const keptEffects = 64

func (r *Requests[S, V]) emit(k RequestKind, q *request[S, V]) *RequestEffect[S, V] {
	r.effects = append(r.effects, RequestEffect[S, V]{Kind: k})
	e := &r.effects[len(r.effects)-1]
	if q != nil {
		e.ID, e.Value = q.id, q.value
	}
	return e
}

// Serve has s answer requests whose topics a filter matches, as one of a group; with no name of a group, alone. most is how many it
// takes, after which it serves no more; 0: any number. If s serves that already, nothing changes. Those that waited for somebody to
// serve are sent by [Requests.Offer]. The error is a *NameError.
func (r *Requests[S, V]) Serve(s S, of Sharing, most int) (added bool, err error) {
	if err := of.check(); err != nil {
		return false, err
	}
	m := r.members.get(memberKey[S]{s, of})
	if m != nil && m.pool != nil {
		return false, nil
	}
	if m == nil {
		of = Sharing{strings.Clone(of.Filter), strings.Clone(of.Group)} // which may be a small part of a large command
		m = &member[S, V]{party: r.party(s), of: of}
		m.party.members.push(m, ofParty[S, V])
		r.members.set(memberKey[S]{s, of}, m)
	}
	p := r.pools.all.get(of)
	if p == nil {
		p = &pool[S, V]{of: m.of}
		r.pools.add(p.of, p)
	}
	m.pool, m.left = p, most
	m.party.services++
	r.turns.take(m)
	p.members.add(m)
	r.verify()
	return true, nil
}

func (r *Requests[S, V]) party(s S) *party[S, V] {
	p := r.parties.get(s)
	if p == nil {
		p = &party[S, V]{who: s}
		r.parties.set(s, p)
	}
	return p
}

// forget forgets a party that has nothing any more.
func (r *Requests[S, V]) forget(p *party[S, V]) {
	if p.members.len == 0 && p.asks.len == 0 {
		r.parties.delete(p.who)
	}
}

// Services returns what s serves, in the order in which that began.
func (r *Requests[S, V]) Services(s S) (all []Sharing) {
	if p := r.parties.get(s); p != nil {
		p.members.all(ofParty[S, V], func(m *member[S, V]) bool {
			if m.pool != nil {
				all = append(all, m.of)
			}
			return true
		})
	}
	return all
}

// Serves is how many Services s has.
func (r *Requests[S, V]) Serves(s S) int {
	if p := r.parties.get(s); p != nil {
		return p.services
	}
	return 0
}

// Open is how many requests of s are not over.
func (r *Requests[S, V]) Open(s S) int {
	if p := r.parties.get(s); p != nil {
		return p.asks.len
	}
	return 0
}

// Len is how many requests are not over.
func (r *Requests[S, V]) Len() int { return r.open.len() }

// Ask sends a request to whom it is for, or has it wait for somebody. Of several responders it goes to the one that has the fewest to
// answer, and of these to the one that was asked longest ago; those that do not take it are passed over. The error is a *NameError,
// ErrNoResponders, ErrTooMany or a *FullError; then nothing was asked.
func (r *Requests[S, V]) Ask(a Ask[S, V]) (RequestID, error) {
	if err := CheckTopic(a.Topic); err != nil {
		return 0, err
	}
	q := &request[S, V]{
		topic: a.Topic, value: a.Value, replies: max(a.Replies, 1), repeatable: a.Repeatable, until: a.Until, deadline: a.Deadline,
	}
	err := r.choose(q)
	waits := err == ErrNoResponders && q.until > 0 //nolint:errorlint // it is ours
	if err != nil && !waits {
		return 0, err
	}
	r.last++
	q.id, q.asker = r.last, r.party(a.Asker)
	q.asker.asks.push(q, ofAsker[S, V])
	r.open.set(q.id, q)
	if waits {
		q.topic = strings.Clone(q.topic)
		r.lineUp(q)
	} else {
		r.send(q)
	}
	r.wake(q)
	r.verify()
	return q.id, nil
}

// choose finds whom to send a request to, and those who are passed over. It changes nothing but r.whom and r.full.
func (r *Requests[S, V]) choose(q *request[S, V]) error {
	r.whom, r.full = emptied(r.whom), emptied(r.full)
	found, ok := r.pools.match(emptied(r.found), q.topic, mostLooked)
	r.found = found
	switch {
	case !ok:
		return ErrTooMany
	case len(found) == 0:
		return ErrNoResponders
	case q.replies == 1:
		for _, p := range found {
			if m := r.best(p, q); m != nil && (len(r.whom) == 0 || m.compare(&r.whom[0].standing) < 0) {
				r.whom = append(r.whom[:0], m)
			}
		}
	default:
		n := 0
		for _, p := range found {
			if n++; p.of.Group == "" {
				n += len(p.members.in) - 1
			}
		}
		if n > MostAsked {
			return ErrTooMany
		}
		for _, p := range found {
			r.chooseOf(p, q)
		}
	}
	if len(r.whom) == 0 {
		return &FullError[S]{r.full[0].party.who}
	}
	return nil
}

// chooseOf chooses whom of a pool to send a request that wants several answers.
func (r *Requests[S, V]) chooseOf(p *pool[S, V], q *request[S, V]) {
	if p.of.Group != "" {
		full := len(r.full)
		if m := r.best(p, q); m != nil {
			r.full = r.full[:full] // one of theirs is asked
			r.whom = append(r.whom, m)
		} else {
			r.full = r.full[:min(full+1, len(r.full))]
		}
		return
	}
	for _, m := range p.members.sorted() {
		switch {
		case r.isChosen(m, q):
		case r.takes(m, q):
			r.whom = append(r.whom, m)
		default:
			r.full = append(r.full, m)
		}
	}
}

// best is whose turn it is in a pool: nil if there is nobody who takes a request. Those who do not are in r.full then, or as many as were
// tried.
func (r *Requests[S, V]) best(p *pool[S, V], q *request[S, V]) (best *member[S, V]) {
	var tried []*member[S, V]
	for best == nil && p.members.Len() > 0 {
		m := p.members.in[0]
		switch {
		case r.isChosen(m, q):
		case r.takes(m, q):
			best = m
			continue
		default:
			r.full = append(r.full, m)
		}
		p.members.leave(m)
		tried = append(tried, m)
	}
	for _, m := range tried {
		p.members.add(m)
	}
	return best
}

// isChosen reports whether a request was sent to somebody already, or is about to be.
func (r *Requests[S, V]) isChosen(m *member[S, V], q *request[S, V]) bool {
	if q.replies > 1 {
		for _, x := range r.whom {
			if x.party == m.party {
				return true
			}
		}
	}
	return q.tasks.len > 0 && r.tasks.get(taskKey[S]{m.party.who, q.id}) != nil
}

func (r *Requests[S, V]) takes(m *member[S, V], q *request[S, V]) bool {
	return r.Takes == nil || r.Takes(m.party.who, q.value)
}

// send sends a request to those who were chosen.
func (r *Requests[S, V]) send(q *request[S, V]) {
	for _, m := range r.whom {
		r.assign(q, m)
	}
	if q.replies > 1 {
		for _, m := range r.full {
			r.emit(Passed, q).Responder = m.party.who
		}
	}
}

func (r *Requests[S, V]) assign(q *request[S, V], m *member[S, V]) {
	t := &task[S, V]{request: q, member: m}
	r.tasks.set(taskKey[S]{m.party.who, q.id}, t)
	q.tasks.push(t, ofRequest[S, V])
	m.tasks.push(t, ofMember[S, V])
	r.turns.take(m)
	m.pool.members.weigh(m, 1)
	e := r.emit(Sent, q)
	e.Responder, e.Service = m.party.who, m.of
	if m.left == 1 {
		r.leavePool(m)
	} else if m.left > 1 {
		m.left--
	}
}

// leavePool has a member be sent no more.
func (r *Requests[S, V]) leavePool(m *member[S, V]) {
	p := m.pool
	p.members.leave(m)
	if p.members.Len() == 0 {
		r.pools.remove(p.of, p)
	}
	m.pool = nil
	m.party.services--
	e := r.emit(Left, nil)
	e.Responder, e.Service = m.party.who, m.of
}

// Reply says that s has answered a request that it was sent, or a part of that, with more to come. The error is ErrNotAsked: s was
// never sent it, or has answered it, or it is over, which s is not told apart.
func (r *Requests[S, V]) Reply(s S, id RequestID, more bool) error {
	t := r.tasks.get(taskKey[S]{s, id})
	if t == nil {
		return ErrNotAsked
	}
	q := t.request
	if more {
		t.begun = true
		r.emit(Part, q).Responder = s
	} else {
		r.finish(t, Answered)
		q.answers++
		r.endIfDone(q)
	}
	r.verify()
	return nil
}

// finish ends a task, in one of the ways.
func (r *Requests[S, V]) finish(t *task[S, V], how RequestKind) {
	q, m := t.request, t.member
	r.emit(how, q).Responder = m.party.who
	r.tasks.delete(taskKey[S]{m.party.who, q.id})
	q.tasks.remove(t, ofRequest[S, V])
	m.tasks.remove(t, ofMember[S, V])
	if m.pool != nil {
		m.pool.members.weigh(m, -1)
	} else {
		m.load--
		r.release(m)
	}
}

// release forgets a member that is in no pool and has nothing to answer any more.
func (r *Requests[S, V]) release(m *member[S, V]) {
	if m.pool == nil && m.tasks.len == 0 {
		m.party.members.remove(m, ofParty[S, V])
		r.members.delete(memberKey[S]{m.party.who, m.of})
		r.forget(m.party)
	}
}

// endIfDone ends a request if no more answers are to come, or wanted.
func (r *Requests[S, V]) endIfDone(q *request[S, V]) {
	switch {
	case q.answers >= q.replies || q.tasks.len == 0 && q.answers > 0:
		r.end(q, Complete)
	case q.tasks.len == 0:
		r.end(q, Unanswered)
	}
}

// end ends a request. Those who are answering it are told to stop.
func (r *Requests[S, V]) end(q *request[S, V], how Ending) *RequestEffect[S, V] {
	for q.tasks.first != nil {
		r.finish(q.tasks.first, Revoked)
	}
	if q.line != nil {
		r.leaveLine(q)
	}
	if q.dueAt > 0 {
		heap.Remove(&r.due, q.dueAt-1)
	}
	r.open.delete(q.id)
	q.asker.asks.remove(q, ofAsker[S, V])
	r.forget(q.asker)
	e := r.emit(Over, q)
	e.How, e.Answers = how, q.answers
	return e
}

// Cancel withdraws a request of s. It reports whether s had it open.
func (r *Requests[S, V]) Cancel(s S, id RequestID) bool {
	q := r.open.get(id)
	if q == nil || q.asker.who != s {
		return false
	}
	r.end(q, Withdrawn)
	r.verify()
	return true
}

// Unserve undoes Serve. What s was sent of that and has not answered is lost to it: at most so many of these are told of, and left is
// how many remain. Unserve is to be called again for them. found is false if there is no such service and nothing left of it.
func (r *Requests[S, V]) Unserve(s S, of Sharing, most int) (left int, found bool) {
	m := r.members.get(memberKey[S]{s, of})
	if m == nil {
		return 0, false
	}
	if m.pool != nil {
		r.leavePool(m)
		r.release(m)
	}
	left = r.giveUp(m, most)
	r.verify()
	return left, true
}

// giveUp takes away tasks of a member that is in no pool. It returns how many are left.
func (r *Requests[S, V]) giveUp(m *member[S, V], most int) (left int) {
	for ; m.tasks.len > 0 && most > 0; most-- {
		r.lose(m.tasks.first)
	}
	return m.tasks.len
}

// lose ends a task whose responder is gone. Another may be asked.
func (r *Requests[S, V]) lose(t *task[S, V]) {
	q, of, again := t.request, t.member.of, t.request.repeatable && !t.begun
	r.finish(t, Gone)
	if p := r.pools.all.get(of); again && p != nil {
		r.whom, r.full = emptied(r.whom), emptied(r.full)
		if m := r.best(p, q); m != nil {
			r.assign(q, m)
		}
	}
	r.endIfDone(q)
}

// Drop ends all that s has to do with requests: what it serves, what it was to answer and what it has asked for, at most so many of
// each, in this order. more says that something is left, for which Drop is to be called again; before that s must serve and ask for
// nothing.
func (r *Requests[S, V]) Drop(s S, most int) (more bool) {
	p := r.parties.get(s)
	if p == nil {
		return false
	}
	n := most
	// First it leaves all pools, or it would be asked itself for what it gives up.
	p.members.all(ofParty[S, V], func(m *member[S, V]) bool {
		if m.pool != nil {
			r.leavePool(m)
			r.release(m)
			n--
		}
		return n > 0
	})
	for n > 0 && p.members.first != nil {
		m := p.members.first
		before := m.tasks.len
		n -= before - r.giveUp(m, n)
	}
	for ; n > 0 && p.asks.first != nil; n-- {
		r.end(p.asks.first, Withdrawn)
	}
	r.verify()
	return r.parties.get(s) == p
}

// emptied is a slice with room for as much, unless that was for a rare event.
func emptied[T any](s []T) []T {
	if cap(s) > keptEffects {
		return nil
	}
	clear(s)
	return s[:0]
}
