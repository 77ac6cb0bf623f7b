package server

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/lockmgr"
)

// A Kept is one record of what outlives the daemon but not the machine: the holds that need no connection, and which locks were
// abandoned. It is plain data, for a journal: a later record about the same goes before an earlier one.
type Kept struct {
	Lock string
	// One of these: a hold as it is from now on, with the limit of the lock; the owner whose hold of the lock is over; the end
	// that the next holder is to be told of. With none there is nothing to tell.
	Hold      *lockmgr.Claim `json:",omitempty"`
	Limit     int            `json:",omitempty"`
	Left      *lockmgr.Owner `json:",omitempty"`
	Abandoned *lockmgr.End   `json:",omitempty"`
}

// Key is what it is about: the hold that an owner has of a lock, or how the lock was left.
func (k Kept) Key() string {
	owner := k.Left
	if k.Hold != nil {
		owner = &k.Hold.Owner
	}
	if owner == nil {
		return k.Lock
	}
	return fmt.Sprintf("%s\x00%d %d %s", k.Lock, owner.Process.PID, owner.Process.Start, owner.Label)
}

// Over reports that there is nothing any more.
func (k Kept) Over() bool { return k.Hold == nil && k.Abandoned == nil }

// A Keeper is where they are kept: see state.Journal. It does not block.
type Keeper interface {
	Apply(rows ...Kept) error
	Read() ([]Kept, error) // all that is kept, for Setup.Verify
}

// SetKeeper has what is held kept from now on, where it could not be before.
func (s *Server) SetKeeper(k Keeper) {
	s.Post(func() {
		s.setup.Keep = k
		s.keepAll()
	})
}

// keeps reports whether a hold outlives the daemon.
func keeps(c *lockmgr.Claim) bool { return c.Bind != lockmgr.ToConnection }

// keep writes down what an effect changes, before anybody is told of it.
func (s *Server) keep(e *lockmgr.Effect) {
	if s.setup.Keep == nil {
		return
	}
	switch e.Kind {
	case lockmgr.Acquired:
		s.keepHold(&e.Claim, e.Limit)
		if e.Abandoned != nil {
			s.keepMark(e.Name)
		}
	case lockmgr.Joined:
		s.keepHold(&e.Claim, e.Limit)
	case lockmgr.Reentered, lockmgr.Renewed, lockmgr.Downgraded, lockmgr.Told: // which are told of one owner, and true of all who share the hold
		for c := range s.locks.Holders(e.Name) {
			if c.Token == e.Token {
				s.keepHold(&c, e.Limit)
			}
		}
		if e.Kind == lockmgr.Told {
			s.keepMark(e.Name)
		}
	case lockmgr.Left, lockmgr.Ended:
		if e.End == nil {
			s.keepHold(&e.Claim, e.Limit)
			return
		}
		if e.Told != nil || e.End.Abandoned() {
			s.keepMark(e.Name)
		}
		if keeps(&e.Claim) {
			s.keepRecord(Kept{Lock: e.Name, Left: &e.Owner})
		}
	}
}

// keepMark writes down what the next holder of a lock is to be told.
func (s *Server) keepMark(name string) {
	s.keepRecord(Kept{Lock: name, Abandoned: untold(s.locks.Abandoned(name), s.locks.Holders(name))})
}

// untold is the abandoned end that the next holder is to be told of if the daemon ends now: also if a holder was told who will
// be cut off by that.
func untold(abandoned *lockmgr.End, holders iter.Seq[lockmgr.Claim]) *lockmgr.End {
	if abandoned == nil {
		for c := range holders {
			if !keeps(&c) && c.Told != nil {
				return c.Told
			}
		}
	}
	return abandoned
}

func (s *Server) keepHold(c *lockmgr.Claim, limit int) {
	if keeps(c) {
		s.keepRecord(Kept{Lock: c.Name, Hold: withoutConn(*c), Limit: limit})
	}
}

// withoutConn is a hold without what means nothing after a restart.
func withoutConn(c lockmgr.Claim) *lockmgr.Claim {
	c.Conn, c.ID, c.Set = 0, 0, nil
	return &c
}

func (s *Server) keepRecord(k Kept) {
	if s.unkeptSince != 0 {
		if s.now()-s.unkeptSince > keepAgain {
			s.keepAll()
		}
		return
	}
	if err := s.setup.Keep.Apply(k); err != nil {
		s.keepAll()
	}
}

// keepAgain is how long after a failure it is not tried again: that costs as much as there are holds.
const keepAgain = 100 * time.Millisecond

// keepAll writes down all that there is, which takes the place of all records.
func (s *Server) keepAll() {
	switch err := s.setup.Keep.Apply(slices.Collect(allKept(s.locks))...); {
	case err == nil:
		s.unkeptSince = 0
		return
	case s.unkeptSince == 0:
		s.log.Error("cannot keep the locks that are held: a restart of the daemon will end them", "event", "state-failed", "error", err)
	}
	s.unkeptSince = max(s.now(), 1)
}

// keepOnly is keepAll, and ends what was kept and is no more.
func (s *Server) keepOnly() {
	all := slices.Collect(allKept(s.locks))
	are := map[string]bool{}
	for i := range all {
		are[all[i].Key()] = true
	}
	for i := range s.setup.Kept {
		k := &s.setup.Kept[i]
		if are[k.Key()] {
			continue
		}
		over := Kept{Lock: k.Lock}
		if k.Hold != nil {
			over.Left = &k.Hold.Owner
		}
		all = append(all, over)
	}
	if err := s.setup.Keep.Apply(all...); err != nil {
		s.keepAll()
	}
}

// allKept are the records that say all that is true now.
func allKept(m *lockmgr.Manager) iter.Seq[Kept] {
	return func(yield func(Kept) bool) {
		for v := range m.All() {
			for i := range v.Holders {
				if c := &v.Holders[i]; keeps(c) && !yield(Kept{Lock: v.Name, Hold: withoutConn(*c), Limit: v.Limit}) {
					return
				}
			}
			if mark := untold(v.Abandoned, slices.Values(v.Holders)); mark != nil && !yield(Kept{Lock: v.Name, Abandoned: mark}) {
				return
			}
		}
	}
}

// CheckKept tells whether records can be what a daemon wrote.
func CheckKept(records []Kept) error {
	kept, err := readKept(records)
	if err != nil {
		return err
	}
	return lockmgr.Restore(kept.snapshot(), 0, 0).Check()
}

// keptState is what records say in the end.
type keptState struct {
	holds map[keptKey]*keptHold
	ends  map[string]keptEnds // of locks that were held
}

type keptKey struct {
	lock  string
	owner lockmgr.Owner
}

type keptHold struct {
	*lockmgr.Claim
	limit int // of the lock
	order int // of those who share a token
}

type keptEnds struct{ previous, abandoned *lockmgr.End }

func readKept(records []Kept) (keptState, error) {
	all := keptState{map[keptKey]*keptHold{}, map[string]keptEnds{}}
	for i := range records {
		k := &records[i]
		if err := k.check(); err != nil {
			return all, fmt.Errorf("record %d, of %q: %w", i+1, k.Lock, err)
		}
		switch {
		case k.Hold != nil:
			key := keptKey{k.Lock, k.Hold.Owner}
			if h := all.holds[key]; h != nil && h.Token == k.Hold.Token {
				h.Claim = k.Hold
			} else {
				all.holds[key] = &keptHold{k.Hold, k.Limit, i}
			}
		case k.Left != nil:
			delete(all.holds, keptKey{k.Lock, *k.Left})
		default:
			all.ends[k.Lock] = keptEnds{k.Abandoned, k.Abandoned}
		}
	}
	return all, nil
}

// snapshot is the state as the engine takes it.
func (all keptState) snapshot() lockmgr.Snapshot {
	locks := map[string]*lockmgr.View{}
	view := func(name string) *lockmgr.View {
		if locks[name] == nil {
			ends := all.ends[name]
			locks[name] = &lockmgr.View{Name: name, Previous: ends.previous, Abandoned: ends.abandoned}
		}
		return locks[name]
	}
	var s lockmgr.Snapshot
	for _, h := range slices.SortedFunc(maps.Values(all.holds), func(a, b *keptHold) int {
		return cmp.Or(cmp.Compare(a.Token, b.Token), a.order-b.order)
	}) {
		s.LastID++
		h.ID = s.LastID
		s.Last = max(s.Last, h.Token)
		v := view(h.Name)
		v.Limit = h.limit
		v.Holders = append(v.Holders, *h.Claim)
	}
	for name, ends := range all.ends {
		if ends.previous != nil {
			view(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(locks)) {
		s.Locks = append(s.Locks, *locks[name])
	}
	return s
}

// takeUp watches the processes whose holds were kept. Holds of those that have ended meanwhile are left out: how they ended
// nobody can say, and that is what the next holder is told.
func (s *Server) takeUp(all keptState, now lockmgr.Time) error {
	for key, h := range all.holds {
		if h.Bind != lockmgr.ToProcess {
			continue
		}
		who := peer.Peer{PID: key.owner.Process.PID, Start: key.owner.Process.Start}
		fd, err := peer.Open(who)
		if err == nil {
			_, err = s.watchProcess(&who, fd)
		}
		switch {
		case errors.Is(err, unix.ESRCH):
			end := &lockmgr.End{Token: h.Token, Owner: h.Owner, Info: h.Info, How: lockmgr.Unknown, At: now}
			if ends := all.ends[key.lock]; ends.previous == nil || ends.previous.Token < end.Token {
				all.ends[key.lock] = keptEnds{end, ends.abandoned}
			}
			delete(all.holds, key)
		case err != nil:
			return fmt.Errorf("%v holds %q: %w", h.Owner, key.lock, err)
		}
	}
	return nil
}

// check looks at what does not depend on other records.
func (k *Kept) check() error {
	if err := bus.CheckName("lock name", k.Lock, maxLockName); err != nil {
		return err
	}
	if k.Abandoned != nil && !k.Abandoned.Abandoned() {
		return fmt.Errorf("%v is not abandoned", k.Abandoned)
	}
	c := k.Hold
	if c == nil {
		return nil
	}
	least, most := 1, k.Limit // units
	if c.Mode == lockmgr.Shared {
		least, most = 0, 0
	}
	switch {
	case c.Token == 0 || c.Token > lockmgr.MaxToken:
		return fmt.Errorf("no token: %d", c.Token)
	case c.Name != k.Lock:
		return fmt.Errorf("the hold is of %q", c.Name)
	case !keeps(c) || c.Bind > lockmgr.ToNobody || c.Bind == lockmgr.ToProcess && c.Owner.Process.PID <= 0 ||
		c.Bind == lockmgr.ToNobody && c.Owner != operator(c.UID):
		return fmt.Errorf("it ends with its %v, which is %v", c.Bind, c.Owner)
	case k.Limit < 1 || k.Limit > maxUnits || c.Units < least || c.Units > most || c.Mode > lockmgr.Shared:
		return fmt.Errorf("%d of %d units, %v", c.Units, k.Limit, c.Mode)
	case c.Entries < 1 || c.Lease < 0 || c.Expires < 0 || (c.Expires == 0) != (c.Lease == 0):
		return fmt.Errorf("%d entries, a lease of %v, until %v", c.Entries, c.Lease, c.Expires)
	case c.Conn != 0 || c.Set != nil || c.Shown != nil || c.Ancestors != nil || c.Join != 0:
		return errors.New("it is a request")
	}
	return nil
}
