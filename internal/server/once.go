package server

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
)

// A Done says that something was done, in a period. It is plain data, for a file.
type Done struct {
	Key    string `json:"key"`
	Per    string `json:"per"`              // "boot", "day" or "ever"
	Period string `json:"period,omitempty"` // the id of the boot, or the date; "" for ever
	At     int64  `json:"at"`               // microseconds since 1970
	UID    uint32 `json:"uid"`
	PID    int    `json:"pid"`
}

// A doneKey names a mark: there is one for a key and a kind of period.
type doneKey struct{ key, per string }

// maxDone is how many marks one user may have.
const maxDone = 1024

// once are the marks of what was done.
type once struct {
	durable
	boot  string // the id of this boot
	marks map[doneKey]Done
	users *account.Book
	costs map[doneKey]account.Charge // for each mark
}

func newOnce(users *account.Book, boot string, marks []Done) once {
	o := once{
		durable: durable{what: "what was done"}, boot: boot, marks: map[doneKey]Done{},
		users: users, costs: map[doneKey]account.Charge{},
	}
	for _, m := range marks {
		o.set(m)
	}
	return o
}

// period is the present one of a kind, false if there is no such kind. Days are the machine's: those of its time zone.
func (o *once) period(per string, now time.Time) (string, bool) {
	switch per {
	case "boot":
		return o.boot, true
	case "day":
		return now.Local().Format(time.DateOnly), true
	case "ever":
		return "", true
	}
	return "", false
}

// find gives the mark of a key in the present period of a kind.
func (o *once) find(key, per string, now time.Time) (Done, bool) {
	period, _ := o.period(per, now)
	m, ok := o.marks[doneKey{key, per}]
	return m, ok && m.Period == period
}

// set adds a mark, in the place of an older one.
func (o *once) set(m Done) {
	k := doneKey{m.Key, m.Per}
	o.remove(k)
	o.marks[k] = m
	o.costs[k] = o.users.Of(m.UID).Charge(account.Marks, 1)
}

func (o *once) remove(k doneKey) {
	if cost, ok := o.costs[k]; ok {
		cost.Release()
		delete(o.costs, k)
		delete(o.marks, k)
	}
}

// room is nil if a user may have one more mark. If there seems to be no room, those of periods that are over go first.
func (o *once) room(uid uint32, now time.Time) error {
	if o.users.Room(uid, account.Marks, 1) == nil {
		return nil
	}
	for k, m := range o.marks {
		if period, _ := o.period(m.Per, now); m.Period != period {
			o.remove(k)
		}
	}
	return o.users.Room(uid, account.Marks, 1)
}

// forget removes the marks of a key that may be removed, and returns them.
func (o *once) forget(key string, may func(uid uint32) bool) (gone []Done) {
	for _, per := range [...]string{"boot", "day", "ever"} {
		k := doneKey{key, per}
		if m, ok := o.marks[k]; ok && may(m.UID) {
			o.remove(k)
			gone = append(gone, m)
		}
	}
	return gone
}

// all gives the marks in a fixed order.
func (o *once) all() []Done {
	return slices.SortedFunc(maps.Values(o.marks), func(a, b Done) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Per, b.Per))
	})
}

// CheckDone tells whether marks can be what a daemon wrote.
func CheckDone(marks []Done) error {
	var o once
	for i := range marks {
		m := &marks[i]
		if err := bus.CheckName("lock name", m.Key, maxLockName); err != nil {
			return err
		}
		if _, ok := o.period(m.Per, time.Time{}); !ok {
			return fmt.Errorf("%q is done per %q", m.Key, m.Per)
		}
	}
	return nil
}
