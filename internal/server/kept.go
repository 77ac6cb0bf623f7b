package server

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/lockmgr"
)

// A Kept is one record of what outlives the daemon but not the machine: a hold that needs no connection, or the end that the
// next holder of a lock is to be told of. It is plain data, for a journal, in which it takes the place of the record that has the
// same key.
type Kept struct {
	Lock string

	// Of a hold: whose it is, and what it is from now on; no Hold: it is over.
	Owner   *lockmgr.Owner `json:",omitempty"`
	Hold    *lockmgr.Claim `json:",omitempty"`
	Limit   int            `json:",omitempty"` // of the lock
	Request *KeptRequest   `json:",omitempty"`

	// Else, of a lock: the end that the next holder is to be told of; none: there is nothing to tell.
	Abandoned *lockmgr.End `json:",omitempty"`

	// Of no lock: the mark of tokens, up to which they may have been given. It is also in the state directory, which may be lost
	// or not be written any more.
	Mark lockmgr.Token `json:",omitempty"`
}

// A KeptRequest is the command with a REQID that a hold was granted to. Its sender may not have been answered when the daemon
// ended, and repeats it.
type KeptRequest struct {
	ID       []byte // whatever its sender chose: text could not be told from other text once it is JSON
	UID      uint32
	Process  lockmgr.Process
	Command  uint64       // see hashCommand
	Names    []string     // all locks that it was for, in the order of the answer
	Previous *lockmgr.End `json:",omitempty"` // what was told of this one
}

// Key tells what a record is about.
func (k Kept) Key() string {
	switch {
	case k.Lock == "":
		return "mark"
	case k.Owner == nil:
		return "end " + k.Lock
	}
	p := k.Owner.Process
	return "hold " + strconv.Itoa(p.PID) + "/" + strconv.FormatUint(p.Start, 10) + " " + strconv.Quote(k.Owner.Label) + " " + k.Lock
}

// Over reports whether a record says that there is nothing any more.
func (k Kept) Over() bool { return k.Hold == nil && k.Abandoned == nil && k.Mark == 0 }

// keeps reports whether a hold outlives the daemon.
func keeps(c *lockmgr.Claim) bool { return c.Bind != lockmgr.ToConnection }

// untold is the abandoned end that the next holder is to be told of if the daemon ends now: also if a holder was told who will
// be cut off by that, and nobody whose hold goes on shares it.
func untold(abandoned *lockmgr.End, holders iter.Seq[lockmgr.Claim]) *lockmgr.End {
	if abandoned != nil {
		return abandoned
	}
	var told []lockmgr.Claim // one of each hold
	for c := range holders {
		if !keeps(&c) && c.Told != nil && (len(told) == 0 || told[len(told)-1].Token != c.Token) {
			told = append(told, c)
		}
	}
	if told == nil {
		return nil
	}
	for c := range holders {
		if keeps(&c) {
			told = slices.DeleteFunc(told, func(other lockmgr.Claim) bool { return other.Token == c.Token })
		}
	}
	if len(told) == 0 {
		return nil
	}
	return told[0].Told
}

// keptHold is the record of a hold.
func keptHold(c lockmgr.Claim, limit int, r *KeptRequest) Kept {
	c.Conn, c.Set = 0, nil // they mean nothing after a restart
	return Kept{Lock: c.Name, Owner: &c.Owner, Hold: &c, Limit: limit, Request: r}
}

// keptMark is the record of the mark of tokens, if there is one.
func (s *Server) keptMark() Kept {
	if s.setup.RaiseMark == nil {
		return Kept{}
	}
	_, mark := s.locks.Tokens()
	return Kept{Mark: mark}
}

// allKept are the records that say all that is true now.
func (s *Server) allKept() iter.Seq[Kept] {
	return func(yield func(Kept) bool) {
		if mark := s.keptMark(); !mark.Over() && !yield(mark) {
			return
		}
		for v := range s.locks.All() {
			for i := range v.Holders {
				if c := &v.Holders[i]; keeps(c) && !yield(keptHold(*c, v.Limit, s.keptRequest(c))) {
					return
				}
			}
			if mark := untold(v.Abandoned, slices.Values(v.Holders)); mark != nil && !yield(Kept{Lock: v.Name, Abandoned: mark}) {
				return
			}
		}
	}
}

// keptState is what records say.
type keptState struct {
	holds []*Kept
	ends  map[string]keptEnds // of locks that were held
	mark  lockmgr.Token
}

type keptEnds struct{ previous, abandoned *lockmgr.End }

// readKept reads records. Those that cannot be true are left out, and one error for each says why: one that is damaged must not
// take the others along.
func readKept(records []Kept) (keptState, []error) {
	all := keptState{ends: map[string]keptEnds{}}
	var bad []error
	for i := range records {
		k := &records[i]
		switch err := k.check(); {
		case err != nil:
			bad = append(bad, fmt.Errorf("record of %q: %w", k.Lock, err))
		case k.Over():
		case k.Lock == "":
			all.mark = k.Mark
		case k.Hold != nil:
			all.holds = append(all.holds, k)
		default:
			all.ends[k.Lock] = keptEnds{k.Abandoned, k.Abandoned}
		}
	}
	slices.SortFunc(all.holds, func(a, b *Kept) int {
		return cmp.Or(cmp.Compare(a.Lock, b.Lock), cmp.Compare(b.Hold.Token, a.Hold.Token), cmp.Compare(a.Hold.ID, b.Hold.ID))
	})
	// Of holds that exclude each other the latest is true: it was not granted before the others had ended.
	var kept []*Kept
	var first *Kept // of the lock
	used := 0
	for _, k := range all.holds {
		if first == nil || first.Lock != k.Lock {
			first, used = k, 0
		}
		same := len(kept) > 0 && kept[len(kept)-1].Lock == k.Lock && kept[len(kept)-1].Hold.Token == k.Hold.Token
		if err := k.fits(first, used, same); err != nil {
			bad = append(bad, fmt.Errorf("hold of %q by %v: %w", k.Lock, k.Owner, err))
			continue
		}
		if !same {
			used += k.Hold.Units
		}
		kept = append(kept, k)
	}
	all.holds = kept
	return all, bad
}

// fits checks a hold against later ones of the same lock, of which first is the latest. They use so many units. member: it shares
// the token of the one before.
func (k *Kept) fits(first *Kept, used int, member bool) error {
	is, latest := k.Hold, first.Hold
	switch {
	case k == first:
		return nil
	case k.Limit != first.Limit:
		return fmt.Errorf("the lock has a limit of %d, and %d for who got it later", k.Limit, first.Limit)
	case is.Mode != latest.Mode || !member && is.Mode == lockmgr.Exclusive && used+is.Units > k.Limit:
		return fmt.Errorf("it has token %d, and excludes the one with token %d, which was granted later", is.Token, latest.Token)
	}
	return nil
}

// snapshot is the state as the engine takes it.
func (all *keptState) snapshot() lockmgr.Snapshot {
	locks := map[string]*lockmgr.View{}
	view := func(name string) *lockmgr.View {
		if locks[name] == nil {
			ends := all.ends[name]
			locks[name] = &lockmgr.View{Name: name, Previous: ends.previous, Abandoned: ends.abandoned}
		}
		return locks[name]
	}
	s := lockmgr.Snapshot{Last: all.mark}
	for _, k := range all.holds {
		s.LastID = max(s.LastID, k.Hold.ID)
		s.Last = max(s.Last, k.Hold.Token)
		v := view(k.Lock)
		v.Limit = k.Limit
		v.Holders = append(v.Holders, *k.Hold)
	}
	for name, ends := range all.ends {
		if ends.previous != nil {
			view(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(locks)) {
		v := locks[name]
		slices.SortStableFunc(v.Holders, func(a, b lockmgr.Claim) int { return cmp.Compare(a.Token, b.Token) })
		s.Locks = append(s.Locks, *v)
	}
	return s
}

// check looks at what does not depend on other records.
func (k *Kept) check() error {
	if k.Mark != 0 {
		if k.Lock != "" || k.Owner != nil || k.Hold != nil || k.Abandoned != nil || k.Mark > lockmgr.MaxToken {
			return fmt.Errorf("no mark: %d", k.Mark)
		}
		return nil
	}
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
	case k.Abandoned != nil || k.Owner == nil || *k.Owner != c.Owner:
		return fmt.Errorf("the hold is %v's", c.Owner)
	case c.ID == 0 || c.Token == 0 || c.Token > lockmgr.MaxToken:
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
