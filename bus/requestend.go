package bus

import "container/heap"

// Reply says what s has done about a request that it was sent: Part, Answered or Failed. The error is ErrNotAsked: s was never sent it, or
// has answered it, or it is over, which s is not told apart.
func (r *Requests[S, V]) Reply(s S, id RequestID, how RequestKind) error {
	t := r.open.get(id).taskOf(s)
	if t == nil {
		return ErrNotAsked
	}
	q := t.request
	if how == Part {
		t.begun = true
		r.emit(Part, q).Responder = s
	} else {
		r.finish(t, how)
		if how == Answered {
			q.answers++
		}
		r.endIfDone(q)
	}
	r.verify()
	return nil
}

// finish ends a task, in one of the ways.
func (r *Requests[S, V]) finish(t *task[S, V], how RequestKind) {
	q, m := t.request, t.member
	r.emit(how, q).Responder = m.party.who
	q.tasks.Remove(t, ofRequest[S, V])
	m.tasks.Remove(t, ofMember[S, V])
	r.spareTasks.Give(t)
	if m.pool != nil {
		m.pool.members.weigh(m, -1)
	} else {
		m.load--
		r.release(m)
	}
}

// release forgets a member that is in no pool and has nothing to answer any more.
func (r *Requests[S, V]) release(m *member[S, V]) {
	if m.pool == nil && m.tasks.Len == 0 {
		m.party.others.Remove(m, ofParty[S, V])
		r.members.delete(memberKey[S]{m.party.who, m.of})
		r.forget(m.party)
	}
}

// endIfDone ends a request if no more answers are to come, or wanted.
func (r *Requests[S, V]) endIfDone(q *request[S, V]) {
	switch {
	case q.answers >= q.replies || q.tasks.Len == 0 && q.answers > 0:
		r.end(q, Complete)
	case q.tasks.Len == 0:
		r.end(q, Unanswered)
	}
}

// end ends a request. Those who are answering it are told to stop.
func (r *Requests[S, V]) end(q *request[S, V], how Ending) *RequestEffect[S, V] {
	for q.tasks.First != nil {
		r.finish(q.tasks.First, Revoked)
	}
	if q.line != nil {
		r.leaveLine(q)
	}
	if q.dueAt > 0 {
		heap.Remove(&r.due, q.dueAt-1)
	}
	r.open.delete(q.id)
	q.asker.asks.Remove(q, ofAsker[S, V])
	r.forget(q.asker)
	e := r.emit(Over, q)
	e.How, e.Answers = how, q.answers
	r.spareRequests.Give(q)
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
	for ; m.tasks.Len > 0 && most > 0; most-- {
		r.lose(m.tasks.First)
	}
	return m.tasks.Len
}

// lose ends a task whose responder, who is in its pool no more, is gone. Another may be asked.
func (r *Requests[S, V]) lose(t *task[S, V]) {
	q := t.request
	if p := r.pools.all.get(t.member.of); p != nil && q.repeatable && !t.begun {
		r.beginChoice()
		if m := r.best(p, q); m != nil {
			r.finish(t, Replaced)
			r.assign(q, m)
			return
		}
	}
	r.finish(t, Gone)
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
	for ; n > 0 && p.serves.First != nil; n-- { // all, before it gives anything up, or it would be asked for that itself
		m := p.serves.First
		r.leavePool(m)
		r.release(m)
	}
	for n > 0 && p.others.First != nil {
		m := p.others.First
		before := m.tasks.Len
		n -= before - r.giveUp(m, n)
	}
	for ; n > 0 && p.asks.First != nil; n-- {
		r.end(p.asks.First, Withdrawn)
	}
	r.verify()
	return r.parties.get(s) == p
}
