package wills

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/process"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/lockmgr"
)

// A will is one of an owner's. It does not change: another will is another one.
type will struct {
	record.Will
	owner   *owner
	number  uint64 // rising
	charges [len(columns)]account.Charge
}

// A cost is what a will is charged for, by columns. One that is to be the value of its topic counts as a value from the start, as nobody is
// asked when it becomes that.
type cost [len(columns)]int

var columns = [...]account.Column{account.Wills, account.Retained, account.RetainedBytes}

// The columns of a cost that values have, too.
const (
	ofValues = 1
	ofBytes  = 2
)

func costOf(w *record.Will) cost {
	values := 0
	if w.Then == record.ThenRetain {
		values = 1
	}
	return cost{1, values, size(w)}
}

// size is how many bytes a will has.
func size(w *record.Will) int {
	return len(w.Topic) + len(w.Payload) + session.Headers(w.Headers).Bytes()
}

// An owner is whose end some wills wait for: a process, or one of its connections.
type owner struct {
	id      lockmgr.Process
	conn    uint64           // the number of the connection; 0: it is the process
	uid     uint32           // whose wills they are
	process *process.Process // nil: it cannot be watched
	wills   map[string]*will // by topic

	// When it has ended, or may have.
	over  loop.Timer // until then the kernel is given time to tell more, or the process to come back
	ends  bool       // it is the kernel that is given time
	tries int        // how often, as the process is exiting
	back  bool       // it is a connection to a daemon before, whose process, or a child of that, may come back
	how   string     // it ended, "" if it has not
	left  []*will    // what is still to be published then

	queued bool // for its user's share of a turn
	next   *owner
}

// Next is where an owner keeps which one stands behind it in the queue of their user.
func (o *owner) Next() **owner { return &o.next }

// hasEnded reports whether it is certain that the owner has ended.
func (o *owner) hasEnded() bool { return o.how != "" }

// add makes an owner that has no wills yet. It takes the use of the process.
func (s *Service) add(id lockmgr.Process, conn uint64, uid uint32, p *process.Process) *owner {
	o := &owner{id: id, conn: conn, uid: uid, process: p, wills: map[string]*will{}}
	o.over.Init(&s.set.Loop.Timers, func() { s.timeIsOver(o) })
	s.owners[id] = append(s.owners[id], o)
	return o
}

// find is the owner of that name which has not ended; nil if there is none. One that may come back is no such one.
func (s *Service) find(id lockmgr.Process, conn uint64) *owner {
	for _, o := range s.owners[id] {
		if o.conn == conn && !o.back && !o.hasEnded() {
			return o
		}
	}
	return nil
}

// forgetIfBare forgets an owner that has no wills any more.
func (s *Service) forgetIfBare(o *owner) {
	if len(o.wills) > 0 {
		return
	}
	o.over.Stop()
	all := s.owners[o.id]
	if i := slices.Index(all, o); i >= 0 {
		all = slices.Delete(all, i, i+1)
	}
	if s.owners[o.id] = all; len(all) == 0 {
		delete(s.owners, o.id)
	}
	if o.process != nil {
		o.process.Release()
		o.process = nil
	}
}

// awaitEnd gives the kernel a moment to tell more about an end that is certain.
func (s *Service) awaitEnd(o *owner) {
	o.ends = true
	o.over.Set(s.set.Now() + s.watch.EndingTime())
}

// put has an owner have a will, in the place of the one that it may have had for the topic.
func (s *Service) put(o *owner, w *record.Will) {
	if old := o.wills[w.Topic]; old != nil {
		s.take(o, old)
	}
	s.last++
	u := s.set.Users.Of(o.uid)
	its := &will{Will: *w, owner: o, number: s.last}
	costs := costOf(w)
	for i, n := range costs {
		its.charges[i] = u.Charge(columns[i], n)
	}
	o.wills[w.Topic] = its
	s.count++
	s.messages.CountWills(costs[ofValues], costs[ofBytes])
}

// take takes a will away from its owner.
func (s *Service) take(o *owner, w *will) {
	delete(o.wills, w.Topic)
	for i := range w.charges {
		w.charges[i].Release()
	}
	s.count--
	costs := costOf(&w.Will)
	s.messages.CountWills(-costs[ofValues], -costs[ofBytes])
}

// revoke takes a will away that is not to be published any more.
func (s *Service) revoke(o *owner, w *will) {
	s.take(o, w)
	s.forgetIfBare(o)
	s.journal.Rewrite(record.Of(&w.Will).Subject)
}

// inOrder are the wills of an owner, the oldest first.
func (o *owner) inOrder() []*will {
	all := make([]*will, 0, len(o.wills))
	for _, w := range o.wills {
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b *will) int { return cmp.Compare(a.number, b.number) })
	return all
}

// RecordOf is what is true of a will now: see journal.Source.
func (s *Service) RecordOf(is record.Subject) record.Record {
	for _, o := range s.owners[is.Owner.Process] {
		if w := o.wills[is.Topic]; w != nil {
			if r := record.Of(&w.Will); r.Subject == is {
				return r
			}
		}
	}
	return record.Record{Subject: is}
}

// Records say what wills there are.
func (s *Service) Records() iter.Seq[record.Record] {
	return func(yield func(record.Record) bool) {
		for _, all := range s.owners {
			for _, o := range all {
				for _, w := range o.wills {
					if !yield(record.Of(&w.Will)) {
						return
					}
				}
			}
		}
	}
}

// Verify panics if what is known of wills contradicts itself, and counts what they cost whom.
func (s *Service) Verify(found account.Count) {
	n, values, bytes := 0, 0, 0
	for id, all := range s.owners {
		for _, o := range all {
			if len(o.wills) == 0 || o.id != id {
				panic(fmt.Sprintf("process %d is known for nothing", id.PID))
			}
			for _, w := range o.wills {
				n++
				costs := costOf(&w.Will)
				values += costs[ofValues]
				bytes += costs[ofBytes]
				for i, n := range costs {
					found.Add(o.uid, columns[i], n)
				}
			}
		}
	}
	if n != s.count {
		panic(fmt.Sprintf("there are %d wills, counted %d", n, s.count))
	}
	if v, b := s.messages.CountedWills(); v != values || b != bytes {
		panic(fmt.Sprintf("wills have %d bytes, and %d are to be values, counted %d and %d", bytes, values, b, v))
	}
}

// VerifyTimers names the timers of the wills.
func (s *Service) VerifyTimers(check session.CheckTimer) {
	for _, all := range s.owners {
		for _, o := range all {
			check("an end with wills", &o.over, (o.ends || o.back) && !o.hasEnded())
		}
	}
}
