package bus

import "strings"

// Ask sends a request to whom it is for, or has it wait for somebody. Of several responders it goes to the one that has the fewest to
// answer, and of these to the one that was asked longest ago; those that do not take it are passed over. The error is a *NameError,
// ErrNoResponders, ErrTooMany or a *FullError; then nothing was asked.
func (r *Requests[S, V]) Ask(a Ask[S, V]) (RequestID, error) {
	if err := CheckTopic(a.Topic); err != nil {
		return 0, err
	}
	q := r.spareRequests.Take()
	q.topic, q.value, q.replies, q.repeatable = a.Topic, a.Value, max(a.Replies, 1), a.Repeatable
	q.until, q.deadline = a.Until, a.Deadline
	err := r.choose(q)
	waits := err == ErrNoResponders && q.until > 0 //nolint:errorlint // it is ours
	if err != nil && !waits {
		r.spareRequests.Give(q)
		return 0, err
	}
	r.open.keep, r.parties.keep = fewRequests, fewRequests
	r.last++
	q.id, q.asker = r.last, r.party(a.Asker)
	q.asker.asks.Push(q, ofAsker[S, V])
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

// fewRequests is up to how many the maps of requests are kept when the last is over: mostly the next one comes soon.
const fewRequests = 8

// choose finds whom to send a request to, and those who are passed over. It changes nothing but r.whom, r.full and r.passed.
func (r *Requests[S, V]) choose(q *request[S, V]) error {
	r.beginChoice()
	found, ok := r.pools.match(emptied(r.found), q.topic, mostLooked, MostAsked)
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

// beginChoice has nobody be chosen yet, or passed over.
func (r *Requests[S, V]) beginChoice() {
	r.whom, r.full, r.passed = emptied(r.whom), emptied(r.full), 0
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

// best is whose turn it is in a pool: nil if there is nobody who takes a request, among so many as may be looked at. Those who do not are in
// r.full then, or as many as were tried.
func (r *Requests[S, V]) best(p *pool[S, V], q *request[S, V]) (best *member[S, V]) {
	p.members.inOrder(func(m *member[S, V]) bool {
		switch {
		case r.isChosen(m, q):
		case r.takes(m, q):
			best = m
			return false
		default:
			r.full = append(r.full, m)
		}
		r.passed++
		return r.passed <= mostPassed
	})
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
	return q.taskOf(m.party.who) != nil
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
	t := r.spareTasks.Take()
	t.request, t.member = q, m
	q.tasks.Push(t, ofRequest[S, V])
	m.tasks.Push(t, ofMember[S, V])
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

// emptied is a slice with room for as much, unless that was for a rare event.
func emptied[T any](s []T) []T {
	if cap(s) > keptEffects {
		return nil
	}
	clear(s)
	return s[:0]
}
