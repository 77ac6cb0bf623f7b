package lockmgr

import (
	"slices"
	"time"

	"github.com/ipcd/ipcd/internal/list"
)

// A Manager is the state of all locks. Its methods are the steps by which it changes, and must not be called at the
// same time. Make one with [New].
type Manager struct {
	// Invariant: each is held, waited for, or remembered because a hold of it ended.
	locks map[string]*lock

	// Invariant: these agree. claims has every claim; waits the first of each request that waits; waiting and asking all claims
	// that wait, in the order of asking, holding the holds that end with a process, bound those that end with a connection;
	// acting the waits that show the token of a hold, which may have ended; rest those of them that wait for the rest of a
	// set, by the member that has a part of it; deadlines the firsts that wait with an end, and the holds that have a lease.
	claims           map[claimKey]*claim
	waits            map[RequestID]*claim
	waiting, holding index[Process, claim]
	asking, bound    index[ConnID, claim]
	acting           index[*hold, acting]
	rest             index[claimKey, acting]
	deadlines        deadlines

	// Invariant: at most MaxRemembered for a uid, all free, in the order in which they became free.
	remembered index[uint32, lock]

	// Invariant: those Unreaped ends that a lock has as its previous or abandoned one, or that a hold was told of; by process, too.
	unreaped map[endKey]*unreaped
	unknown  index[Process, unreaped]
	nowKnown []Process // that have left unknown since Known was called; some may be in it again

	// Invariant: empty unless tokens have run out, or pending is set. In the order in which they came to that.
	starving list.List[lock]
	pending  bool // a step has granted as much as one may, and left some: see GrantMore
	granted  int  // how many claims, or given up where they might have been, since Effects was called

	// Invariant: empty between steps.
	touched []*lock
	ending  func(*claim) bool // which waits are about to end, and must not be granted anything in this step; nil: none

	spare *claim // is empty, and used for the next: most locks are taken and given back by one after the other

	// Invariant: no grant has a token above mark, nor one above last; last never falls.
	last, mark Token

	limits  map[string]int
	lastID  RequestID
	effects []Effect
}

// A claimKey names the one claim that an owner may have on a lock.
type claimKey struct {
	lock  *lock
	owner Owner
}

// New makes a Manager without locks. No token up to last is given, and none above mark, until Reserve raises it.
func New(last, mark Token) *Manager {
	return &Manager{
		locks:      map[string]*lock{},
		claims:     map[claimKey]*claim{},
		waits:      map[RequestID]*claim{},
		waiting:    index[Process, claim]{},
		holding:    index[Process, claim]{},
		asking:     index[ConnID, claim]{},
		bound:      index[ConnID, claim]{},
		acting:     index[*hold, acting]{},
		rest:       index[claimKey, acting]{},
		remembered: index[uint32, lock]{},
		unreaped:   map[endKey]*unreaped{},
		unknown:    index[Process, unreaped]{},
		last:       last,
		mark:       min(mark, MaxToken),
	}
}

// SetLimits says how many units locks have, by name; others have as many as who first uses them says, or 1. A lock that is
// in use keeps its limit until it is free. The map must not change any more.
func (m *Manager) SetLimits(limits map[string]int) { m.limits = limits }

// limit is how many units a lock has, or would have after this request.
func (m *Manager) limit(l *lock, name string, wanted int) int {
	switch {
	case l != nil && !l.idle:
		return l.limit
	case m.limits[name] > 0:
		return m.limits[name]
	}
	return max(wanted, 1)
}

// Acquire asks for a lock, or for several at once. If it is let in, the effects that answer the id which is returned say
// what came of it for each name: Acquired, Joined or Reentered, or Waiting, in which case the answer comes later, for all
// of them in one step. The errors are [ErrBusy], [DeadlockError], [ErrUpgrade], [LimitError] and [ErrExhausted]; of a
// request to join also [ErrNotHeld] and [ErrStale].
func (m *Manager) Acquire(now Time, r Request) (RequestID, error) {
	if r.Shown != nil {
		r.Shown = slices.DeleteFunc(slices.Clone(r.Shown), func(s Shown) bool {
			_, err := m.held(s.Name, s.Token)
			return err != nil // it is over, or the token of something else
		})
	}
	fresh, admitted := 0, true
	for _, name := range r.names() {
		l := m.locks[name]
		limit := m.limit(l, name, r.Limit)
		if r.Join == 0 && (r.Limit != 0 && r.Limit != limit || r.Units > limit) {
			return 0, &LimitError{name, limit}
		}
		h, err := m.entered(l, name, &r)
		if err != nil {
			return 0, err
		}
		if h == nil {
			fresh++
			admitted = admitted && (l == nil || l.idle || l.queue.Len == 0 && l.admits(r.Mode, l.units(r.Mode, r.Units)))
		}
	}
	granted := admitted && m.tokensLeft() >= fresh
	switch {
	case granted:
	case r.Wait == Try && admitted:
		return 0, ErrExhausted
	case r.Wait == Try:
		return 0, ErrBusy
	case r.Wait < 0:
		if cycle := m.findDeadlock(&r); cycle != nil {
			return 0, &DeadlockError{cycle}
		}
	}

	m.lastID++
	ends := waitEnds(now, r.Wait)
	joins := len(r.names()) > fresh
	for _, name := range r.names() {
		l := m.locks[name]
		if joins {
			if h, _ := m.entered(l, name, &r); h != nil {
				m.join(now, l, h, &r)
				continue
			}
		}
		c := m.claim(now, l, name, &r)
		if granted {
			fresh--
			m.grant(now, c, Token(fresh))
			m.effects[len(m.effects)-1].New = true
			continue
		}
		c.deadline, ends = ends, never // the first stands for all
		m.enqueue(c)
		e := m.emit(Waiting, c)
		e.New, e.Place = true, c.lock.queue.Len
	}
	if !granted {
		m.settle(now)
	}
	return m.lastID, nil
}

// claim makes a claim of a request on one lock, which is nil if it is not known yet.
func (m *Manager) claim(now Time, l *lock, name string, r *Request) *claim {
	if l == nil || l.idle {
		l = m.open(l, name, m.limit(l, name, r.Limit))
	}
	c := m.spare
	m.spare = nil
	if c == nil {
		c = &claim{}
	}
	c.Request, c.ID, c.Since, c.lock, c.deadline = *r, m.lastID, now, l, never
	c.Name, c.Units = name, l.units(r.Mode, r.Units)
	m.claims[claimKey{l, r.Owner}] = c
	return c
}

// entered gives the hold that a request may enter, as it is an owner of it already or acts for one; nil if it has to be
// granted the lock. The error refuses a request that would have to wait for itself.
func (m *Manager) entered(l *lock, name string, r *Request) (*hold, error) {
	if r.Join == 0 && (l == nil || l.idle) {
		return nil, nil
	}
	h, err := m.joined(l, name, r)
	if err != nil {
		return nil, err
	}
	own := m.claims[claimKey{l, r.Owner}]
	if h == nil && own == nil {
		return nil, nil
	}
	if h != nil && (own == nil || own.hold == h) {
		if r.Join == 0 && l.units(r.Mode, r.Units) > h.units { // which are none if it is shared
			return nil, ErrUpgrade
		}
		return h, nil
	}
	if r.Wait == Try {
		return nil, ErrBusy
	}
	return nil, &DeadlockError{[]Step{{Waits: asked(r, name), For: own.Claim}}}
}

// joined finds the hold that a request shows a token of.
func (m *Manager) joined(l *lock, name string, r *Request) (*hold, error) {
	if r.Join != 0 {
		return m.held(name, r.Join)
	}
	for _, shown := range r.Shown {
		if shown.Name != name {
			continue
		}
		if at, ok := l.find(shown.Token); ok {
			return l.holds[at], nil
		}
	}
	return nil, nil
}

// join makes the owner a member of a hold, or counts that it entered once more.
func (m *Manager) join(now Time, l *lock, h *hold, r *Request) {
	if own := m.claims[claimKey{l, r.Owner}]; own != nil {
		own.Entries++
		m.emit(Reentered, own).Answers = m.lastID
		return
	}
	c := m.claim(now, l, l.name, r)
	c.Joined, c.Told = true, h.told
	if c.Lease > 0 {
		c.Expires = leaseEnds(now, c.Lease)
	}
	m.enter(c, h)
	e := m.emit(Joined, c)
	e.New, e.Answers = true, c.ID
}

// Release ends a hold, which had this token, with all its owners. Whether the caller's client may do so is the caller's
// question, and [Manager.Hold] its help. The errors are [ErrNotHeld] and [ErrStale].
func (m *Manager) Release(now Time, name string, t Token) error {
	h, err := m.held(name, t)
	if err != nil {
		return err
	}
	m.endHold(now, h, Released, nil)
	m.settle(now)
	return nil
}

// GiveBack is Release by an owner who was told of an abandoned end and did nothing about it: the next one is told, too.
func (m *Manager) GiveBack(now Time, name string, t Token) error {
	h, err := m.held(name, t)
	if err != nil {
		return err
	}
	h.untold = true
	m.endHold(now, h, Released, nil)
	m.settle(now)
	return nil
}

// Told says that the abandoned end which was told of with a hold has been dealt with: nobody is told of it again, as with
// [Request.Untold] or GiveBack. The errors are [ErrNotHeld] and [ErrStale].
func (m *Manager) Told(name string, t Token) error {
	h, err := m.held(name, t)
	if err != nil {
		return err
	}
	if h.told != nil {
		m.setTold(m.locks[name], h, nil)
		m.emit(Told, h.members.First)
	}
	return nil
}

// setTold changes what the next holder is to be told of if this one cannot deal with it.
func (m *Manager) setTold(l *lock, h *hold, e *End) {
	m.remember(l, &h.told, e)
	h.untold = h.untold && e != nil
	for c := h.members.First; c != nil; c = c.lineLink.Next {
		c.Told, c.Untold = e, h.untold
	}
}

// Leave ends what a process has of a hold, or takes back one of several entries: the latest if there are several owners in
// the process. The hold ends with its last owner. The errors are [ErrNotHeld] and [ErrStale].
func (m *Manager) Leave(now Time, name string, t Token, p Process) error {
	h, err := m.held(name, t)
	if err != nil {
		return err
	}
	c := h.members.Last
	for c != nil && c.Owner.Process != p {
		c = c.lineLink.Prev
	}
	if c == nil {
		return ErrNotHeld
	}
	m.leave(now, c)
	m.settle(now)
	return nil
}

// Break takes a lock away from whoever holds it, or with a token that is not 0 from the owners of that hold. The errors are
// [ErrNotHeld] and [ErrStale].
func (m *Manager) Break(now Time, name string, t Token, by Party) error {
	_, _, err := m.BreakSome(now, name, t, MaxToken, by, All)
	return err
}

// BreakSome is Break of so many claims. It returns them as they were, and reports whether there are more. With no token it breaks holds with tokens up to last
// only: who calls it until there are no more takes the lock from those who held it when that was the last token, and not from
// those who are granted it meanwhile.
func (m *Manager) BreakSome(now Time, name string, t, last Token, by Party, most int) (broken []Claim, more bool, err error) {
	if l := m.locks[name]; l == nil || len(l.holds) == 0 {
		return nil, false, ErrNotHeld
	}
	if t != 0 {
		if _, err := m.held(name, t); err != nil {
			return nil, false, err
		}
	}
	for h := m.toBreak(name, t, last); h != nil && most > 0; h = m.toBreak(name, t, last) {
		broken = append(broken, h.members.Last.Claim)
		m.lose(now, h.members.Last, Broken, 0, &by)
		most--
	}
	m.settle(now)
	return broken, m.toBreak(name, t, last) != nil, nil
}

// toBreak is the next hold that BreakSome takes a claim from, nil if there is none.
func (m *Manager) toBreak(name string, t, last Token) *hold {
	if t != 0 {
		h, _ := m.held(name, t)
		return h
	}
	if l := m.locks[name]; l != nil && len(l.holds) > 0 && l.holds[0].token <= last {
		return l.holds[0]
	}
	return nil
}

// Downgrade makes an exclusive hold shared, and grants what may hold the lock with it. A hold that is shared stays so. The
// errors are [ErrNotHeld], [ErrStale] and [ErrShares].
func (m *Manager) Downgrade(now Time, name string, t Token) error {
	h, err := m.held(name, t)
	l := m.locks[name]
	switch {
	case err != nil:
		return err
	case h.mode == Shared:
		return nil
	case h.units < l.limit:
		return ErrShares
	}
	m.share(l, h)
	m.emit(Downgraded, h.members.First)
	m.touch(l)
	m.settle(now)
	return nil
}

func (m *Manager) share(l *lock, h *hold) {
	l.used -= h.units
	h.mode, h.units = Shared, 0
	for c := h.members.First; c != nil; c = c.lineLink.Next {
		c.Mode, c.Units = Shared, 0
	}
}

// Renew has the lease of a hold, of each of its owners who has one, end so long after now. The errors are [ErrNotHeld],
// [ErrStale] and [ErrNotLeased].
func (m *Manager) Renew(now Time, name string, t Token, lease time.Duration) error {
	h, err := m.held(name, t)
	if err != nil {
		return err
	}
	err = ErrNotLeased
	for c := h.members.First; c != nil; c = c.lineLink.Next {
		if c.Expires > 0 {
			m.renew(c, lease, leaseEnds(now, lease))
			m.emit(Renewed, c)
			err = nil
		}
	}
	return err
}

func (m *Manager) renew(c *claim, lease, expires time.Duration) {
	c.Lease, c.Expires = lease, expires
	m.deadlines.move(c, warnAt(c))
}

// Cancel ends a wait. It reports false if there is no such wait, perhaps because it has ended already.
func (m *Manager) Cancel(now Time, id RequestID) bool {
	c := m.waits[id]
	if c == nil {
		return false
	}
	m.giveUp(now, c, Cancelled)
	m.settle(now)
	return true
}

// Expire ends the waits and leases whose time is over, and warns of leases that will end soon: of so many, the others are left
// for the next step, as Deadline tells. No other step does: until it is called waits may still be granted, and leases renewed.
func (m *Manager) Expire(now Time, most int) {
	for ; most > 0 && len(m.deadlines) > 0 && m.deadlines[0].deadline <= now.Boot; most-- {
		switch c := m.deadlines[0]; {
		case c.hold == nil:
			m.giveUp(now, c, TimedOut)
		case now.Boot < c.Expires:
			m.deadlines.move(c, c.Expires)
			m.emit(Expiring, c)
		default:
			m.lose(now, c, Expired, 0, nil)
		}
	}
	m.settle(now)
}

// Deadline tells when Expire is due next, in [Time.Boot]; false if nothing ends by time.
func (m *Manager) Deadline() (time.Duration, bool) {
	if len(m.deadlines) == 0 {
		return 0, false
	}
	return m.deadlines[0].deadline, true
}

// Reserve allows tokens up to mark, once the caller has made that durable, and grants what waited for it. A mark that
// is below the present one changes nothing.
func (m *Manager) Reserve(now Time, mark Token) {
	m.mark = max(m.mark, min(mark, MaxToken))
	m.pending = false
	for l := m.starving.First; l != nil; l = l.link.Next {
		m.touch(l)
	}
	m.settle(now)
}

// GrantMore grants what a step before had to leave, as it had granted [MostGranted]: as many again, in the order in which they came
// to wait for that. It is to be called for as long as Pending reports that there are more.
func (m *Manager) GrantMore(now Time) { m.Reserve(now, 0) }

// Pending reports whether something is left for GrantMore.
func (m *Manager) Pending() bool { return m.pending }

// Tokens tells the last token that was given, and the mark up to which they may be.
func (m *Manager) Tokens() (last, mark Token) { return m.last, m.mark }
