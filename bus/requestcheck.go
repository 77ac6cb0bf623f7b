package bus

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/ipcd/ipcd/internal/list"
)

// Dump writes the whole state in a form made for eyes and tests: the last request's number; a line for each service with its members,
// the first whose turn it is, with how many requests each has to answer; a line for each request that is not over.
func (r *Requests[S, V]) Dump(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "last %d\n", r.last)
	for _, p := range r.sortedPools() {
		fmt.Fprintf(&out, "service %s:", p.of)
		for _, m := range p.members.sorted() {
			fmt.Fprintf(&out, " %v/%d", m.party.who, m.load)
			if m.left > 0 {
				fmt.Fprintf(&out, "(%d more)", m.left)
			}
		}
		out.WriteByte('\n')
	}
	for _, id := range slices.Sorted(maps.Keys(r.open.whole())) {
		q := r.open.get(id)
		fmt.Fprintf(&out, "request %d of %v %q", q.id, q.asker.who, q.topic)
		if q.repeatable {
			out.WriteString(" repeatable")
		}
		if at := q.due(); at != Forever {
			fmt.Fprintf(&out, " until %d", at)
		}
		if q.line != nil {
			out.WriteString(" waits")
		} else if q.replies != 1 {
			fmt.Fprintf(&out, " answers %d", q.answers)
		}
		out.WriteString(":")
		q.tasks.All(ofRequest[S, V], func(t *task[S, V]) bool {
			fmt.Fprintf(&out, " %v", t.member.party.who)
			if t.begun {
				out.WriteString("(begun)")
			}
			return true
		})
		out.WriteByte('\n')
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func (s Sharing) String() string {
	if s.Group == "" {
		return fmt.Sprintf("%q", s.Filter)
	}
	return fmt.Sprintf("%q group %q", s.Filter, s.Group)
}

func (r *Requests[S, V]) sortedPools() (all []*pool[S, V]) {
	for _, route := range r.pools.byFilter.sorted() {
		all = append(all, route.Subs()...)
	}
	return all
}

func (r *Requests[S, V]) verify() {
	if !r.Verify {
		return
	}
	if err := r.check(); err != nil {
		panic("bus: invariant broken: " + err.Error())
	}
}

// check says which invariant does not hold, if one does not.
func (r *Requests[S, V]) check() error {
	for _, f := range []func() error{
		r.pools.byFilter.check, r.waiting.Check, r.checkPools, r.checkParties, r.checkRequests, r.checkSpares,
	} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// checkPools: every pool is found by what it shares and by its filter, and has members, in order, who know it.
func (r *Requests[S, V]) checkPools() error {
	all := r.sortedPools()
	if len(all) != r.pools.all.len() {
		return fmt.Errorf("%d services are found by filter, %d by name", len(all), r.pools.all.len())
	}
	for _, p := range all {
		if r.pools.all.get(p.of) != p || p.members.Len() == 0 || !p.members.check() {
			return fmt.Errorf("the service %s is not in order", p.of)
		}
		for _, m := range p.members.in {
			if m.pool != p || m.of != p.of || r.members.get(memberKey[S]{m.party.who, m.of}) != m {
				return fmt.Errorf("%v is no member of %s", m.party.who, p.of)
			}
		}
	}
	return nil
}

// checkParties: whoever is known has something, each member has a pool or a task, and what they have is all there is.
func (r *Requests[S, V]) checkParties() (err error) {
	members, asks, tasks := 0, 0, 0
	for s, p := range r.parties.all {
		if p.who != s || p.serves.Len+p.others.Len+p.asks.Len == 0 || !p.asks.Check(ofAsker[S, V]) {
			return fmt.Errorf("%v is not in order", s)
		}
		for serves, l := range map[bool]*list.List[member[S, V]]{true: &p.serves, false: &p.others} {
			l.All(ofParty[S, V], func(m *member[S, V]) bool {
				switch {
				case m.party != p || r.members.get(memberKey[S]{s, m.of}) != m:
					err = fmt.Errorf("the service %s of %v is not found", m.of, s)
				case (m.pool != nil) != serves || serves != (m.place > 0) || !serves && m.tasks.Len == 0:
					err = fmt.Errorf("the service %s of %v is there for nothing, or not in its pool", m.of, s)
				case m.load != m.tasks.Len || !m.tasks.Check(ofMember[S, V]):
					err = fmt.Errorf("%v has %d of %s to answer, counted %d", s, m.tasks.Len, m.of, m.load)
				}
				tasks += m.tasks.Len
				return err == nil
			})
			if err == nil && !l.Check(ofParty[S, V]) {
				err = fmt.Errorf("the services of %v are not in order", s)
			}
			if err != nil {
				return err
			}
			members += l.Len
		}
		asks += p.asks.Len
	}
	for _, q := range r.open.all {
		tasks -= q.tasks.Len
	}
	if members != r.members.len() || asks != r.open.len() || tasks != 0 {
		return fmt.Errorf("%d services and %d requests, counted %d and %d, and of tasks %d more than requests have",
			members, asks, r.members.len(), r.open.len(), tasks)
	}
	return nil
}

// checkRequests: a request that is open waits, or somebody is to answer it, and it is ended in time.
func (r *Requests[S, V]) checkRequests() error {
	due := 0
	for id, q := range r.open.all {
		l, _ := r.waiting.Get(q.topic)
		switch {
		case q.id != id || id > r.last || id == 0 || r.parties.get(q.asker.who) != q.asker:
			return fmt.Errorf("the request %d is not in order", id)
		case q.line != nil && (q.line != l || q.tasks.Len > 0 || q.answers > 0):
			return fmt.Errorf("the request %d waits and was sent", id)
		case q.line == nil && (q.tasks.Len == 0 || q.answers >= q.replies):
			return fmt.Errorf("the request %d is open for nothing", id)
		case !q.checkTasks():
			return fmt.Errorf("the tasks of the request %d are not in order", id)
		case (q.due() != Forever) != (q.dueAt > 0) || q.dueAt > 0 && r.due[q.dueAt-1] != q:
			return fmt.Errorf("the request %d is not ended in time", id)
		case q.dueAt > 1 && r.due.Less(q.dueAt-1, (q.dueAt-2)/2):
			return fmt.Errorf("the request %d is ended before another that is due sooner", id)
		}
		if q.dueAt > 0 {
			due++
		}
	}
	if due != len(r.due) {
		return fmt.Errorf("%d requests end by time, counted %d", due, len(r.due))
	}
	return nil
}

// checkTasks: who is to answer a request is asked once, and found by who he is.
func (q *request[S, V]) checkTasks() bool {
	ok := q.tasks.Len <= MostAsked && q.tasks.Check(ofRequest[S, V])
	q.tasks.All(ofRequest[S, V], func(t *task[S, V]) bool {
		ok = ok && t.request == q && q.taskOf(t.member.party.who) == t
		return ok
	})
	return ok
}

// checkSpares: what is over is known to nobody, or it would not stay empty.
func (r *Requests[S, V]) checkSpares() error {
	if !r.spareParties.Check() || !r.spareRequests.Check() || !r.spareTasks.Check() {
		return errors.New("what is spare is not as if it were new")
	}
	return nil
}
