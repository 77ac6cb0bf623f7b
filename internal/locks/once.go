package locks

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/record"
)

// A doneKey names a mark: there is one for a key and a kind of period.
type doneKey struct{ key, per string }

// MaxDone is how many things one user may have marked as done.
const MaxDone = 1024

// once is what was done.
type once struct {
	savedFile
	boot  string // the id of this boot
	done  map[doneKey]record.Done
	users *account.Book
	costs map[doneKey]account.Charge // for each mark
}

func newOnce(users *account.Book, boot string, all []record.Done) once {
	o := once{
		savedFile: savedFile{what: "what was done"}, boot: boot, done: map[doneKey]record.Done{},
		users: users, costs: map[doneKey]account.Charge{},
	}
	for _, m := range all {
		o.set(m)
	}
	return o
}

// period is the present one of a kind. Days are the machine's: those of its time zone.
func (o *once) period(per string, now time.Time) string {
	switch per {
	case record.PerBoot:
		return o.boot
	case record.PerDay:
		return now.Local().Format(time.DateOnly)
	}
	return "" // for ever
}

// find gives the mark of a key in the present period of a kind.
func (o *once) find(key, per string, now time.Time) (record.Done, bool) {
	period := o.period(per, now)
	m, ok := o.done[doneKey{key, per}]
	return m, ok && m.Period == period
}

// set adds a mark, in the place of an older one.
func (o *once) set(m record.Done) {
	k := doneKey{m.Key, m.Per}
	o.remove(k)
	o.done[k] = m
	o.costs[k] = o.users.Of(m.UID).Charge(account.Marks, 1)
}

func (o *once) remove(k doneKey) {
	if cost, ok := o.costs[k]; ok {
		cost.Release()
		delete(o.costs, k)
		delete(o.done, k)
	}
}

// room is nil if a user may have one more mark. If there seems to be no room, those of periods that are over go first.
func (o *once) room(uid uint32, now time.Time) error {
	if o.users.Room(uid, account.Marks, 1) == nil {
		return nil
	}
	for k, m := range o.done {
		if period := o.period(m.Per, now); m.Period != period {
			o.remove(k)
		}
	}
	return o.users.Room(uid, account.Marks, 1)
}

// forget removes what was done of a key, as far as it may be removed, and returns it.
func (o *once) forget(key string, may func(uid uint32) bool) (gone []record.Done) {
	for _, per := range record.Periods {
		k := doneKey{key, per}
		if m, ok := o.done[k]; ok && may(m.UID) {
			o.remove(k)
			gone = append(gone, m)
		}
	}
	return gone
}

// all gives what was done in a fixed order.
func (o *once) all() []record.Done {
	return slices.SortedFunc(maps.Values(o.done), func(a, b record.Done) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Per, b.Per))
	})
}
