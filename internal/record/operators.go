package record

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// An OperatorHold is the hold of an operator as a line of their file: bound to nobody, it stands until it is released or its lease ends,
// over restarts of the daemon and the machine. Its times are those of the day, in microseconds since 1970.
type OperatorHold struct {
	Name    string `json:"name"`
	Token   uint64 `json:"token"`
	Shared  bool   `json:"shared,omitempty"`
	Units   int    `json:"units,omitempty"`
	Limit   int    `json:"limit"` // of the lock
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
	Unit    string `json:"unit,omitempty"`
	Why     string `json:"why,omitempty"`
	Since   int64  `json:"since"`
	Expires int64  `json:"expires,omitempty"` // 0: never
	Lease   int64  `json:"lease,omitempty"`   // as it was asked for
}

// Operator is the owner of a user's holds that are bound to nobody.
func Operator(uid uint32) lockmgr.Owner { return lockmgr.Owner{Label: fmt.Sprintf("uid %d", uid)} }

// NewOperatorHold is the line for an operator's hold.
func NewOperatorHold(c *lockmgr.Claim, limit int, now lockmgr.Time) OperatorHold {
	o := OperatorHold{
		Name: c.Name, Token: uint64(c.Token), Shared: c.Mode == lockmgr.Shared, Units: c.Units, Limit: limit,
		UID: c.UID, GID: c.GID, Unit: c.Unit, Why: c.Why, Since: c.Since.Real,
	}
	if c.Expires > 0 {
		o.Lease = max(c.Lease.Microseconds(), 1)
		o.Expires = now.Real + (c.Expires - now.Boot).Microseconds()
	}
	return o
}

// OperatorHolds are the records of the lines of operators' holds. How long one is held, and until when, is counted by the time of
// day, as it may have begun before the machine started.
func OperatorHolds(lines []OperatorHold, now lockmgr.Time) []Record {
	all := make([]Record, len(lines))
	for i := range lines {
		h := lines[i].hold(now)
		h.Claim.ID = lockmgr.RequestID(i + 1)
		all[i] = Of(h)
	}
	return all
}

// WithOperatorHolds are the records of a journal and, unless these say that they are complete, those of the lines of operators' holds of
// which they say nothing. What a complete journal does not have is over: then the lines are older.
func WithOperatorHolds(records []Record, lines []OperatorHold, now lockmgr.Time) []Record {
	if SaysComplete(records) {
		return records
	}
	var last lockmgr.RequestID
	had := map[Subject]bool{}
	for _, r := range records {
		if h, ok := r.Is.(*Hold); ok {
			last, had[r.Subject] = max(last, h.Claim.ID), true
		}
	}
	all := slices.Clone(records)
	for _, r := range OperatorHolds(lines, now) {
		if !had[r.Subject] {
			r.Is.(*Hold).Claim.ID += last
			all = append(all, r)
		}
	}
	return all
}

// CheckOperatorHolds tells whether lines can be what a daemon wrote: whether the holds can all be at once.
func CheckOperatorHolds(lines []OperatorHold) error {
	for i := range lines {
		if err := lines[i].check(); err != nil {
			return fmt.Errorf("hold of %q: %w", lines[i].Name, err)
		}
	}
	_, bad := Read(OperatorHolds(lines, lockmgr.Time{}))
	return errors.Join(bad...)
}

// maxReal is beyond all times that are written down, in microseconds.
const maxReal = 1 << 53

// check looks at what a record of the hold does not have any more.
func (o *OperatorHold) check() error {
	switch {
	case min(o.Since, o.Expires, o.Lease) < 0 || max(o.Since, o.Expires, o.Lease) > maxReal || (o.Expires == 0) != (o.Lease == 0):
		return fmt.Errorf("it lasts from %d to %d, %d", o.Since, o.Expires, o.Lease)
	case !IsText([]byte(o.Why)):
		return errors.New("the reason is no text")
	}
	return nil
}

func (o *OperatorHold) hold(now lockmgr.Time) *Hold {
	boot := func(micros int64) time.Duration { return now.Boot + time.Duration(micros-now.Real)*time.Microsecond }
	c := lockmgr.Claim{
		Request: lockmgr.Request{
			Name: o.Name, Units: o.Units, Owner: Operator(o.UID), Bind: lockmgr.ToNobody, Lease: time.Duration(o.Lease) * time.Microsecond,
			Info: lockmgr.Info{UID: o.UID, GID: o.GID, Unit: o.Unit, Why: o.Why},
		},
		Token: lockmgr.Token(o.Token), Entries: 1,
		Since: lockmgr.Time{Boot: boot(o.Since), Real: o.Since},
	}
	if o.Shared {
		c.Mode = lockmgr.Shared
	}
	if o.Expires > 0 {
		c.Expires = max(boot(o.Expires), 1) // 0 would be never
	}
	return &Hold{Claim: c, Limit: o.Limit}
}

// IsText reports whether a text may be what somebody says of a lock.
func IsText(text []byte) bool { return len(text) <= wire.MaxLockText && wire.IsText(text) }
