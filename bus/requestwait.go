package bus

import (
	"cmp"
	"container/heap"
	"time"
)

// lineUp has a request wait for somebody to serve its topic.
func (r *Requests[S, V]) lineUp(q *request[S, V]) {
	l, ok := r.waiting.Get(q.topic)
	if !ok {
		l = &line[S, V]{topic: q.topic}
		r.waiting.Set(q.topic, l)
	}
	l.requests.Push(q, inLine[S, V])
	q.line = l
}

func (r *Requests[S, V]) leaveLine(q *request[S, V]) {
	l := q.line
	l.requests.Remove(q, inLine[S, V])
	q.line = nil
	if l.requests.Len == 0 {
		r.waiting.Delete(l.topic)
	}
}

// Waiting is how many topics somebody has a request for that waits.
func (r *Requests[S, V]) Waiting() int { return r.waiting.Len() }

// An Offer goes through the requests that wait for somebody to serve what a filter matches, a step at a time, for who has something
// else to do meanwhile. Of each topic it takes those that asked first. Requests that are asked meanwhile are sent at once.
type Offer[S comparable, V any] struct {
	requests *Requests[S, V]
	lookup   *Lookup[*line[S, V]]
	line     *line[S, V]
}

// Offer begins to send the requests that wait. It is to be called when somebody has begun to serve what the filter matches.
func (r *Requests[S, V]) Offer(filter string) *Offer[S, V] {
	return &Offer[S, V]{requests: r, lookup: r.waiting.Lookup(filter)}
}

// Next sends one request, if it finds one, and reports whether there may be more. One that nobody takes is over; if nobody serves it
// any more, it goes on waiting.
func (o *Offer[S, V]) Next() (more bool) {
	r := o.requests
	if o.line == nil || o.line.requests.Len == 0 {
		var ok bool
		if o.line, ok, more = o.lookup.Next(); !ok {
			o.line = nil
		}
		return ok || more
	}
	q := o.line.requests.First
	switch err := r.choose(q).(type) { //nolint:errorlint // they are ours
	case nil:
		r.leaveLine(q)
		r.send(q)
		r.wake(q)
	case *FullError[S]:
		r.end(q, Refused).Responder = err.Responder
	default:
		if err == ErrTooMany { //nolint:errorlint // it is ours
			r.end(q, Refused)
		} else {
			o.line = nil
		}
	}
	r.verify()
	return true
}

// Deadline is when Expire is to be called next, if it is.
func (r *Requests[S, V]) Deadline() (at time.Duration, ok bool) {
	if len(r.due) == 0 {
		return 0, false
	}
	return r.due[0].due(), true
}

// Expire ends the requests whose time is over: so many at most. more says that there are more of these.
func (r *Requests[S, V]) Expire(now time.Duration, most int) (more bool) {
	for ; len(r.due) > 0 && r.due[0].due() <= now; most-- {
		if most <= 0 {
			return true
		}
		q := r.due[0]
		if q.line != nil && q.until <= now && (q.deadline == 0 || q.deadline > now) {
			r.end(q, Unserved)
		} else {
			r.end(q, TimedOut)
		}
	}
	r.verify()
	return false
}

// due is when a request's time is over; Forever: never.
func (q *request[S, V]) due() time.Duration {
	at := Forever
	if q.deadline != 0 {
		at = q.deadline
	}
	if q.line != nil {
		at = min(at, q.until)
	}
	return at
}

// wake has a request be ended in time, after that time may have changed.
func (r *Requests[S, V]) wake(q *request[S, V]) {
	ends := q.due() != Forever
	switch {
	case q.dueAt > 0 && ends:
		heap.Fix(&r.due, q.dueAt-1)
	case q.dueAt > 0:
		heap.Remove(&r.due, q.dueAt-1)
	case ends:
		heap.Push(&r.due, q)
	}
}

// A dueHeap has the requests that end by time, the soonest first, and of one moment the one that was asked first.
type dueHeap[S comparable, V any] []*request[S, V]

// Len, Less, Swap, Push and Pop are for container/heap.

func (d dueHeap[S, V]) Len() int { return len(d) }

func (d dueHeap[S, V]) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(d[i].due(), d[j].due()), cmp.Compare(d[i].id, d[j].id)) < 0
}

func (d dueHeap[S, V]) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].dueAt, d[j].dueAt = i+1, j+1
}

func (d *dueHeap[S, V]) Push(x any) {
	q := x.(*request[S, V])
	*d = append(*d, q)
	q.dueAt = len(*d)
}

func (d *dueHeap[S, V]) Pop() any {
	last := len(*d) - 1
	q := (*d)[last]
	(*d)[last] = nil
	*d = shrink((*d)[:last])
	q.dueAt = 0
	return q
}
