package server

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/lockmgr"
)

// A Hold is an operator's: bound to nobody, it stands until it is released or its lease ends, over restarts of the daemon
// and the machine. It is plain data, for a file.
type Hold struct {
	Name    string `json:"name"`
	Token   uint64 `json:"token"`
	Shared  bool   `json:"shared,omitempty"`
	Units   int    `json:"units,omitempty"`
	Limit   int    `json:"limit"` // of the lock
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
	Unit    string `json:"unit,omitempty"`
	Why     string `json:"why,omitempty"`
	Since   int64  `json:"since"`             // microseconds since 1970
	Expires int64  `json:"expires,omitempty"` // likewise; 0: never
	Lease   int64  `json:"lease,omitempty"`   // in microseconds, as it was asked for
}

// maxStanding is how many holds and waits for such one user may have: the file is written as a whole for each change.
const maxStanding = 1024

// standing are the holds of operators.
type standing struct {
	durable
	holds map[standingKey]Hold
}

// A standingKey names a hold: a user has at most one of a lock.
type standingKey struct {
	name string
	uid  uint32
}

// operator is the owner of a user's standing holds.
func operator(uid uint32) lockmgr.Owner { return lockmgr.Owner{Label: fmt.Sprintf("uid %d", uid)} }

// keepStanding has what happened to an operator's hold written down.
func (s *Server) keepStanding(e *lockmgr.Effect) {
	key := standingKey{e.Name, e.UID}
	switch e.Kind {
	case lockmgr.Acquired, lockmgr.Downgraded, lockmgr.Renewed:
		s.standing.holds[key] = s.asHold(&e.Claim, e.Limit)
	case lockmgr.Ended, lockmgr.Left:
		delete(s.standing.holds, key)
	default:
		return
	}
	s.change(&s.standing.durable, nil)
}

func (s *Server) asHold(c *lockmgr.Claim, limit int) Hold {
	h := Hold{
		Name: c.Name, Token: uint64(c.Token), Shared: c.Mode == lockmgr.Shared, Units: c.Units, Limit: limit,
		UID: c.UID, GID: c.GID, Unit: c.Unit, Why: c.Why, Since: c.Since.Real,
	}
	if c.Expires > 0 {
		h.Lease = max(c.Lease.Microseconds(), 1)
		h.Expires = s.realTime().UnixMicro() + (c.Expires - s.now()).Microseconds()
	}
	return h
}

// answerStanding tells that a lock, or several, are held by an operator, when that is on disk. If it does not get there the
// locks are given back.
func (s *Server) answerStanding(w wait, e *lockmgr.Effect) {
	got, id := w.got, e.Answers
	if got == nil {
		got = []lockmgr.Effect{*e}
	}
	if !w.async {
		w.sess.state |= stateWaiting | stateSaving
	}
	s.change(&s.standing.durable, func(err error) {
		var o outcome = grants(got)
		if err != nil {
			for i := range got {
				_ = s.locks.Release(s.lockTime(), got[i].Name, got[i].Token) // or it ended meanwhile
			}
			s.carryOut()
			o = takenBack(err)
		}
		w.sess = w.who()
		b := o.append(w.begin(nil, id), w.sess.proto)
		s.tellOutcome(w, b)
		if w.req != nil {
			s.settle(w.req, o, len(b))
		}
	})
}

// startHolds makes the lock engine with the holds that were kept.
func (s *Server) startHolds(mark lockmgr.Token) error {
	s.standing = standing{durable{what: "the holds of operators"}, map[standingKey]Hold{}}
	if save := s.setup.SaveHolds; save != nil {
		s.standing.write = func(done func(error)) {
			save(slices.SortedFunc(maps.Values(s.standing.holds), func(a, b Hold) int { return cmp.Compare(a.Token, b.Token) }), done)
		}
	}
	now := s.lockTime()
	defer s.endTurn() // this was none
	if err := s.restoreHolds(now, mark); err != nil {
		return err
	}
	for v := range s.locks.All() {
		s.takeUp(&v)
		for i := range v.Holders {
			c := &v.Holders[i]
			s.admitClaim(c)
			s.held++
			if c.Bind == lockmgr.ToNobody {
				s.standing.holds[standingKey{c.Name, c.UID}] = s.asHold(c, v.Limit)
			}
		}
	}
	s.recorder.keeper = s.setup.Keep
	s.keepAll(s.setup.Kept)
	return nil
}

// restoreHolds prefers what was kept since the machine started: the file of operators' holds may lag behind it.
func (s *Server) restoreHolds(now lockmgr.Time, mark lockmgr.Token) (err error) {
	last := lockmgr.Token(s.setup.Token)
	if s.setup.Kept == nil {
		s.locks, err = restore(s.setup.Holds, now, last, mark)
		return err
	}
	kept, bad := readKept(s.setup.Kept)
	for _, err := range bad {
		s.lostHold(err)
	}
	s.locks = lockmgr.Restore(kept.snapshot(), last, mark)
	if err := s.locks.Check(); err != nil {
		for _, k := range kept.holds {
			s.lostHold(fmt.Errorf("hold of %q by %v: %w", k.Lock, k.Owner, err))
		}
		s.locks = lockmgr.New(last, mark)
	}
	s.restoreRequests(kept.holds)
	s.change(&s.standing.durable, nil)
	return nil
}

// lostHold tells that a hold which was kept cannot be restored.
func (s *Server) lostHold(err error) {
	s.holdsLost++
	s.log.Error("a lock that was held is free: its record cannot be used", "event", "state-failed", "error", err)
}

// CheckHolds tells whether holds can be what a daemon wrote: whether they can all be at once.
func CheckHolds(holds []Hold) error {
	_, err := restore(holds, lockmgr.Time{}, 0, 0)
	return err
}

// restore makes a lock engine in which these are the holds.
func restore(holds []Hold, now lockmgr.Time, last, mark lockmgr.Token) (*lockmgr.Manager, error) {
	locks := map[string]*lockmgr.View{}
	had, tokens := map[standingKey]bool{}, map[uint64]bool{}
	for i := range holds {
		h := &holds[i]
		key := standingKey{h.Name, h.UID}
		if err := h.check(); err != nil {
			return nil, fmt.Errorf("hold of %q: %w", h.Name, err)
		}
		if had[key] {
			return nil, fmt.Errorf("user %d holds %q twice", h.UID, h.Name)
		}
		if tokens[h.Token] {
			return nil, fmt.Errorf("token %d is there twice", h.Token)
		}
		had[key], tokens[h.Token] = true, true
		v := locks[h.Name]
		if v == nil {
			v = &lockmgr.View{Name: h.Name, Limit: h.Limit}
			locks[h.Name] = v
		}
		if v.Limit != h.Limit {
			return nil, fmt.Errorf("%q has a limit of %d and of %d", h.Name, v.Limit, h.Limit)
		}
		c := h.claim(now)
		c.ID = lockmgr.RequestID(i + 1)
		v.Holders = append(v.Holders, c)
		last = max(last, c.Token)
	}
	state := lockmgr.Snapshot{Last: last, LastID: lockmgr.RequestID(len(holds))}
	for _, name := range slices.Sorted(maps.Keys(locks)) {
		v := locks[name]
		slices.SortFunc(v.Holders, func(a, b lockmgr.Claim) int { return cmp.Compare(a.Token, b.Token) })
		state.Locks = append(state.Locks, *v)
	}
	m := lockmgr.Restore(state, last, mark)
	return m, m.Check()
}

// maxReal is beyond all times that are written down, in microseconds.
const maxReal = 1 << 53

// check looks at what does not depend on other holds.
func (h *Hold) check() error {
	least, most := 1, h.Limit // units
	if h.Shared {
		least, most = 0, 0
	}
	switch {
	case h.Token == 0 || h.Token > uint64(lockmgr.MaxToken):
		return fmt.Errorf("no token: %d", h.Token)
	case h.Limit < 1 || h.Limit > maxUnits || h.Units < least || h.Units > most:
		return fmt.Errorf("%d of %d units", h.Units, h.Limit)
	case min(h.Since, h.Expires, h.Lease) < 0 || max(h.Since, h.Expires, h.Lease) > maxReal || (h.Expires == 0) != (h.Lease == 0):
		return fmt.Errorf("it lasts from %d to %d, %d", h.Since, h.Expires, h.Lease)
	case !isText([]byte(h.Why)):
		return errors.New("the reason is no text")
	}
	return bus.CheckName("lock name", h.Name, maxLockName)
}

// claim is a hold as the engine has it, if the time is now. How long it is held, and until when, is counted by the time of
// day, as it may have begun before the machine started.
func (h *Hold) claim(now lockmgr.Time) lockmgr.Claim {
	boot := func(micros int64) time.Duration { return now.Boot + time.Duration(micros-now.Real)*time.Microsecond }
	c := lockmgr.Claim{
		Request: lockmgr.Request{
			Name: h.Name, Units: h.Units, Owner: operator(h.UID), Bind: lockmgr.ToNobody, Wait: lockmgr.Forever,
			Lease: time.Duration(h.Lease) * time.Microsecond,
			Info:  lockmgr.Info{UID: h.UID, GID: h.GID, Unit: h.Unit, Why: h.Why},
		},
		Token: lockmgr.Token(h.Token), Entries: 1,
		Since: lockmgr.Time{Boot: boot(h.Since), Real: h.Since},
	}
	if h.Shared {
		c.Mode = lockmgr.Shared
	}
	if h.Expires > 0 {
		c.Expires = max(boot(h.Expires), 1) // 0 would be never
	}
	return c
}
