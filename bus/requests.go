package bus

import (
	"errors"
	"math"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/list"
	"github.com/ipcd/ipcd/internal/spare"
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
	waiting Retained[*line[S, V]] // by topic, what nobody serves yet
	due     dueHeap[S, V]
	last    RequestID
	turns   turns
	effects []RequestEffect[S, V]

	found  []*pool[S, V]   // scratch
	whom   []*member[S, V] // scratch
	full   []*member[S, V] // scratch
	passed int             // scratch

	// What every request takes. Only what is above leads to it, so that it is spare when it is there no more.
	spareParties  spare.List[party[S, V]]
	spareRequests spare.List[request[S, V]]
	spareTasks    spare.List[task[S, V]]
}

// KeepIn has what is kept of requests that are over be in a stock. It is called before anything else.
func (r *Requests[S, V]) KeepIn(s *spare.Stock) {
	r.spareParties.KeepIn(s)
	r.spareRequests.KeepIn(s)
	r.spareTasks.KeepIn(s)
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
	// MostAsked is how many may be asked by one request, and of how many filters and groups its topic may be served.
	MostAsked = 256
	// mostLooked is how many steps are made at most to find these, and mostPassed how many who do not take it are passed over.
	mostLooked = 1 << 12
	mostPassed = MostAsked
)

// Why a request was not sent, or cannot be answered.
var (
	ErrNoResponders = errors.New("nobody is there to answer the request")
	ErrTooMany      = errors.New("too many are there to answer the request")
	ErrNotAsked     = errors.New("no such request is to be answered")
)

// A FullError says that there are responders, and that none of them takes the request.
type FullError[S comparable] struct{ Responder S } // the one whose turn it was

func (*FullError[S]) Error() string { return "the responders take no more requests" }

// A RequestKind is what happened.
type RequestKind uint8

// The kinds. Of each request there is one Over; of each Sent there is one Answered, Failed, Gone, Replaced or Revoked.
const (
	Sent     RequestKind = iota // the responder is to be sent the request
	Passed                      // the responder was not asked, as it takes none; others were
	Part                        // the responder has answered, and goes on
	Answered                    // the responder has answered
	Failed                      // the responder has said that it has no answer
	Gone                        // the responder is gone before it had answered
	Replaced                    // the responder is gone before it had begun to answer. Another is Sent it in its place
	Revoked                     // the responder is to stop: nobody waits for it any more
	Over                        // the asker is to be told: How says why
	Left                        // the responder is sent no more requests of its service
)

func (k RequestKind) String() string {
	return [...]string{"sent", "passed", "part", "answered", "failed", "gone", "replaced", "revoked", "over", "left"}[k]
}

// An Ending is why a request is over.
type Ending uint8

// The endings.
const (
	Complete   Ending = iota // there are as many answers as were wanted, or all who are left have answered
	Unanswered               // all who were asked are gone, or have no answer
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
	tasks      list.List[task[S, V]]
	answers    int

	ofAsker, inLine list.Link[request[S, V]]
	dueAt           int // in the heap, 1 for its first; 0: it is not there
}

// A line has the requests that wait for somebody to serve a topic.
type line[S comparable, V any] struct {
	topic    string
	requests list.List[request[S, V]]
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
	tasks   list.List[task[S, V]]
	ofParty list.Link[member[S, V]]
}

func (m *member[S, V]) rank() *standing { return &m.standing }

// A party is one who serves or asks.
type party[S comparable, V any] struct {
	who    S
	serves list.List[member[S, V]] // those that are in a pool, in the order in which that began
	others list.List[member[S, V]] // in the order in which they left theirs
	asks   list.List[request[S, V]]
}

// memberKey finds a member.
type memberKey[S comparable] struct {
	who S
	of  Sharing
}

// A task is a request that a responder is to answer. Nobody is asked the same twice at a time.
type task[S comparable, V any] struct {
	request             *request[S, V]
	member              *member[S, V]
	begun               bool // a part of the answer has come
	ofRequest, ofMember list.Link[task[S, V]]
}

func ofAsker[S comparable, V any](q *request[S, V]) *list.Link[request[S, V]] { return &q.ofAsker }
func inLine[S comparable, V any](q *request[S, V]) *list.Link[request[S, V]]  { return &q.inLine }
func ofParty[S comparable, V any](m *member[S, V]) *list.Link[member[S, V]]   { return &m.ofParty }
func ofRequest[S comparable, V any](t *task[S, V]) *list.Link[task[S, V]]     { return &t.ofRequest }
func ofMember[S comparable, V any](t *task[S, V]) *list.Link[task[S, V]]      { return &t.ofMember }

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
		r.members.set(memberKey[S]{s, of}, m)
	} else {
		m.party.others.Remove(m, ofParty[S, V])
	}
	p := r.pools.all.get(of)
	if p == nil {
		p = &pool[S, V]{of: m.of}
		r.pools.add(p.of, p)
	}
	m.pool, m.left = p, most
	m.party.serves.Push(m, ofParty[S, V])
	r.turns.take(m)
	p.members.add(m)
	r.verify()
	return true, nil
}

func (r *Requests[S, V]) party(s S) *party[S, V] {
	p := r.parties.get(s)
	if p == nil {
		p = r.spareParties.Take()
		p.who = s
		r.parties.set(s, p)
	}
	return p
}

// forget forgets a party that has nothing any more.
func (r *Requests[S, V]) forget(p *party[S, V]) {
	if p.serves.Len+p.others.Len+p.asks.Len == 0 {
		r.parties.delete(p.who)
		r.spareParties.Give(p)
	}
}

// Services returns what s serves, in the order in which that began.
func (r *Requests[S, V]) Services(s S) (all []Sharing) {
	if p := r.parties.get(s); p != nil {
		p.serves.All(ofParty[S, V], func(m *member[S, V]) bool {
			all = append(all, m.of)
			return true
		})
	}
	return all
}

// FirstService is the first of Services, if there is one. Who ends all of them one after the other need not have a list.
func (r *Requests[S, V]) FirstService(s S) (of Sharing, ok bool) {
	if p := r.parties.get(s); p != nil && p.serves.Len > 0 {
		return p.serves.First.of, true
	}
	return of, false
}

// Serves is how many Services s has.
func (r *Requests[S, V]) Serves(s S) int {
	if p := r.parties.get(s); p != nil {
		return p.serves.Len
	}
	return 0
}

// IsServed reports whether s serves that, or has something left to answer of it.
func (r *Requests[S, V]) IsServed(s S, of Sharing) bool {
	return r.members.get(memberKey[S]{s, of}) != nil
}

// Asked is the request that s was sent and has not answered; false: there is none.
func (r *Requests[S, V]) Asked(s S, id RequestID) (v V, ok bool) {
	if t := r.open.get(id).taskOf(s); t != nil {
		return t.request.value, true
	}
	return v, false
}

// taskOf is what s is to answer of a request: nil if that is nothing, as of no request. It looks at MostAsked at most.
func (q *request[S, V]) taskOf(s S) *task[S, V] {
	if q == nil {
		return nil
	}
	t := q.tasks.First
	for t != nil && t.member.party.who != s {
		t = t.ofRequest.Next
	}
	return t
}

// Open is how many requests of s are not over.
func (r *Requests[S, V]) Open(s S) int {
	if p := r.parties.get(s); p != nil {
		return p.asks.Len
	}
	return 0
}

// MostSteps is how many steps of a search it may take to find who serves a topic.
func (r *Requests[S, V]) MostSteps() int {
	return min(mostLooked, r.pools.byFilter.wild.filters.nodes.Len())
}

// Len is how many requests are not over.
func (r *Requests[S, V]) Len() int { return r.open.len() }

// leavePool has a member be sent no more.
func (r *Requests[S, V]) leavePool(m *member[S, V]) {
	p := m.pool
	p.members.leave(m)
	if p.members.Len() == 0 {
		r.pools.remove(p.of, p)
	}
	m.pool = nil
	m.party.serves.Remove(m, ofParty[S, V])
	m.party.others.Push(m, ofParty[S, V])
	e := r.emit(Left, nil)
	e.Responder, e.Service = m.party.who, m.of
}
