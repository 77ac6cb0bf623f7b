package lockmgr

import (
	"cmp"
	"slices"
	"time"

	"github.com/ipcd/ipcd/internal/list"
)

// MaxRemembered is how many free locks are remembered for one uid, that of the last holder. The one that has been free
// for the longest is forgotten first, of which [Forgotten] tells.
const MaxRemembered = 1024

// MostGranted is how many claims a step grants, or a few more if the last of them are a set's. Others are left for
// [Manager.GrantMore].
const MostGranted = 32

// keepHolds is how much room for holds a lock keeps when it becomes free.
const keepHolds = 4

// A claim is the record behind a [Claim]: an element of its lock's queue, later of a hold's members.
type claim struct {
	Claim
	lock     *lock
	hold     *hold         // that it is a member of; nil while it waits
	deadline time.Duration // when Expire has to look at it: a wait that ends, a lease; else never
	heapAt   int           // where it is in Manager.deadlines; means nothing without a deadline

	begun hold // the hold that it began, so that a grant allocates nothing

	acting *acting // for the first of the holds whose tokens it shows while it waits

	lineLink, connLink, processLink list.Link[claim]
}

func inLine(c *claim) *list.Link[claim]    { return &c.lineLink } // of a queue, or of the members of a hold
func ofConn(c *claim) *list.Link[claim]    { return &c.connLink }
func ofProcess(c *claim) *list.Link[claim] { return &c.processLink }

// A hold is what a grant gives: some of a lock, for as long as it has members.
type hold struct {
	token   Token
	mode    Mode
	untold  bool // when it ends, the abandoned end that was told of with it goes to the next one
	told    *End // that one, until it has been dealt with
	units   int
	members list.List[claim] // Invariant: at least one, who share the token, in the order of joining
}

// An acting is a wait that acts for a hold, as it shows its token: the hold does not end before the wait does.
type acting struct {
	claim *claim
	hold  *hold
	part  *lock   // the lock, if that is a part of the same set: then the owner is a member of the hold already
	next  *acting // of the same claim

	link, restLink list.Link[acting]
}

func forHold(a *acting) *list.Link[acting] { return &a.link }
func forRest(a *acting) *list.Link[acting] { return &a.restLink }

// A lock is a name that is held, waited for or remembered.
type lock struct {
	name string

	// Invariant: at least 1, the same for as long as the lock is in use.
	limit int

	// Invariant: shared ones only, or exclusive ones whose units are used, at most limit. In order of tokens.
	holds []*hold
	used  int

	// Invariant: in order of asking, which is that of IDs. Invariant: the first cannot be granted, or starving is set.
	queue list.List[claim]

	// Invariant: previous is nil only until the first hold ended. Both are set by Manager.remember, and hold.told, too.
	previous  *End // the latest
	abandoned *End // the latest abandoned one, until a holder is told

	touched  bool // in Manager.touched, and not seen to yet
	starving bool // in Manager.starving: all that the head of the queue lacks is a token, or a step that grants it
	idle     bool // free, and remembered or forgotten

	// Invariant: a lock is in at most one such list: Manager.starving if starving is set, the list of previous.UID in
	// Manager.remembered if it is free, else none.
	link list.Link[lock]
}

func among(l *lock) *list.Link[lock] { return &l.link }

func (l *lock) free() bool { return len(l.holds) == 0 && l.queue.Len == 0 }

func (l *lock) shared() bool { return len(l.holds) > 0 && l.holds[0].mode == Shared }

// admits reports whether a claim is compatible with the holds.
func (l *lock) admits(m Mode, units int) bool {
	switch {
	case len(l.holds) == 0:
		return true
	case m == Shared || l.shared():
		return m == Shared && l.shared()
	}
	return l.used+units <= l.limit
}

// units is how many of the lock's units a request takes.
func (l *lock) units(m Mode, units int) int {
	switch {
	case m == Shared:
		return 0
	case units == 0:
		return l.limit
	}
	return units
}

// find gives the place of a token among the holds.
func (l *lock) find(t Token) (int, bool) {
	return slices.BinarySearchFunc(l.holds, t, func(h *hold, t Token) int { return cmp.Compare(h.token, t) })
}

// fewHolds is up to how many holds are moved to close a gap as they are. It is above what a lock has that is much used.
const fewHolds = 64

// cut takes the hold with a place out. Of very many the first is mostly the first to go: then it is those before it that are moved, if any.
func (l *lock) cut(at int) {
	if n := len(l.holds); n <= fewHolds || at >= n/2 {
		l.holds = slices.Delete(l.holds, at, at+1)
		return
	}
	copy(l.holds[1:at+1], l.holds[:at])
	l.holds[0] = nil
	l.holds = l.holds[1:]
}

// held gives the hold that has a token. The errors are [ErrNotHeld] and [ErrStale].
func (m *Manager) held(name string, t Token) (*hold, error) {
	l := m.locks[name]
	if l == nil || len(l.holds) == 0 {
		return nil, ErrNotHeld
	}
	at, ok := l.find(t)
	if !ok {
		return nil, ErrStale
	}
	return l.holds[at], nil
}

// open makes a lock ready for a claim to be put on, which is nil if it is not known yet. The limit is for one that is not
// in use.
func (m *Manager) open(l *lock, name string, limit int) *lock {
	switch {
	case l == nil:
		l = &lock{name: name, limit: limit}
		m.locks[name] = l
	case l.idle:
		m.remembered.remove(l.previous.UID, l, among)
		l.idle, l.limit = false, limit
	}
	return l
}

// close remembers a lock that became free, or drops it if there is nothing to remember.
func (m *Manager) close(l *lock) {
	l.idle = true
	if cap(l.holds) > keepHolds {
		l.holds = nil
	}
	if l.previous == nil {
		delete(m.locks, l.name)
		return
	}
	m.remembered.push(l.previous.UID, l, among)
}

// drop forgets a lock that is free.
func (m *Manager) drop(l *lock) {
	m.remembered.remove(l.previous.UID, l, among)
	m.remember(l, &l.previous, nil)
	m.remember(l, &l.abandoned, nil)
	delete(m.locks, l.name)
}

// touch has the next settle look at the lock: a claim on it came or went.
func (m *Manager) touch(l *lock) {
	if !l.touched {
		l.touched = true
		m.touched = append(m.touched, l)
	}
}

// settle ends each step that took claims away. It comes after all of them are gone, so that nothing is granted to a
// claim that ends in the same step.
func (m *Manager) settle(now Time) {
	for i := 0; i < len(m.touched); i++ { // a set that is granted touches more locks
		l := m.touched[i]
		l.touched = false
		m.grantNext(now, l)
	}
	m.closeFree()
	for _, l := range m.touched {
		if l.idle && l.previous != nil {
			m.forgetOldest(l.previous.UID)
		}
	}
	m.touched = emptied(m.touched)
}

// closeFree closes the locks that became free.
func (m *Manager) closeFree() {
	for _, l := range m.touched {
		l.touched = false
		if l.free() && !l.idle {
			m.close(l)
		}
	}
}

// forgetOldest forgets what there is too much of to remember.
func (m *Manager) forgetOldest(uid uint32) {
	for m.remembered[uid].Len > MaxRemembered {
		oldest := m.remembered[uid].First
		m.drop(oldest)
		m.emitOf(Forgotten, oldest, Info{UID: uid})
	}
}

// grantNext grants the lock to the head of its queue for as long as that is possible. One that is about to end may have come
// there by what the step gave back that its owner had entered for a set.
func (m *Manager) grantNext(now Time, l *lock) {
	for l.queue.Len > 0 && m.grantable(l.queue.First) && m.tokensFor(l.queue.First) {
		if m.granted >= MostGranted {
			m.pending = true
			break
		}
		if head := l.queue.First; m.ending != nil && m.ending(head) {
			m.giveUp(now, m.leader(head), Cancelled)
			m.granted++
		} else {
			m.grantHead(now, head)
		}
	}
	m.findStarving(l)
}

// findStarving sets starving for a lock and, if it is, for those whose queues the same request heads.
func (m *Manager) findStarving(l *lock) {
	if l.queue.Len == 0 || !m.grantable(l.queue.First) {
		m.starve(l, false)
		return
	}
	for c := range m.waitingParts(l.queue.First) {
		m.starve(c.lock, true)
	}
}

func (m *Manager) starve(l *lock, starving bool) {
	switch {
	case starving && !l.starving:
		m.starving.Push(l, among)
	case !starving && l.starving:
		m.starving.Remove(l, among)
	}
	l.starving = starving
}

// grantable reports whether a claim, and all that was asked for together with it, is at the head of its queue and
// compatible.
func (m *Manager) grantable(c *claim) bool {
	for part := range m.waitingParts(c) {
		if part.lock.queue.First != part || !part.lock.admits(part.Mode, part.Units) {
			return false
		}
	}
	return true
}

// tokensFor reports whether there is a token for each claim that would be granted with this one.
func (m *Manager) tokensFor(c *claim) bool {
	need := 1
	if c.Set != nil {
		need = 0
		for range m.waitingParts(c) {
			need++
		}
	}
	return m.tokensLeft() >= need
}

// tokensLeft is how many tokens may be given, before more are reserved.
func (m *Manager) tokensLeft() int {
	if m.last >= m.mark {
		return 0
	}
	return int(m.mark - m.last)
}

// grantHead grants what is at the head of its queues.
func (m *Manager) grantHead(now Time, head *claim) {
	if head.Set == nil {
		m.leaveQueue(head)
		m.grant(now, head, 0)
		return
	}
	parts := slices.Collect(m.waitingParts(head))
	m.leaveQueue(parts...)
	for i, c := range parts {
		m.grant(now, c, Token(len(parts)-1-i))
		m.touch(c.lock)
	}
}

// grant makes the claim a hold. more is how many further claims of the same request are granted after it in this step: each
// of them needs a token, too, which has to be higher than this one's and no higher than the mark.
func (m *Manager) grant(now Time, c *claim, more Token) {
	m.granted++
	c.Since = now
	if c.Lease > 0 {
		c.Expires = leaseEnds(now, c.Lease)
	}
	l := c.lock
	c.Told = l.abandoned
	m.begin(c, m.nextToken(now, more))
	e := m.emit(Acquired, c)
	e.Answers, e.Previous, e.Abandoned = c.ID, l.previous, l.abandoned
	m.remember(l, &l.abandoned, nil)
}

// nextToken is the token of the next grant: the time of day if that is higher than all tokens before, and leaves room below
// the mark for so many more grants, else the lowest that is free. The caller has made sure that there are enough (tokensLeft).
func (m *Manager) nextToken(now Time, more Token) Token {
	if clock := Token(max(now.Real, 0)); m.last < clock && clock+more <= m.mark {
		return clock
	}
	return m.last + 1
}

// begin makes a claim a hold that has this token, at the time and with the lease that it says.
func (m *Manager) begin(c *claim, t Token) {
	l := c.lock
	c.begun = hold{token: t, mode: c.Mode, units: c.Units, untold: c.Untold && c.Told != nil}
	m.remember(l, &c.begun.told, c.Told)
	m.last = max(m.last, t)
	l.holds = append(l.holds, &c.begun)
	l.used += c.Units
	m.enter(c, &c.begun)
}

// enter makes a claim a member of a hold.
func (m *Manager) enter(c *claim, h *hold) {
	c.hold, c.Token, c.Entries = h, h.token, 1
	c.Mode, c.Units, c.Untold = h.mode, h.units, h.untold
	c.Join, c.Shown, c.Ancestors = 0, nil, nil
	h.members.Push(c, inLine)
	if c.Bind == ToProcess || c.Bind == ToConnection {
		m.holding.push(c.Owner.Process, c, ofProcess)
	}
	if c.Bind == ToConnection {
		m.bound.push(c.Conn, c, ofConn)
	}
	c.deadline = never
	if c.Expires > 0 {
		c.deadline = warnAt(c)
		m.deadlines.add(c)
	}
}

// end ends a claim that holds, and the hold with it if it has no other members.
func (m *Manager) end(now Time, c *claim, how How, status int, by *Party) {
	l, h := c.lock, c.hold
	h.members.Remove(c, inLine)
	if c.Bind == ToProcess || c.Bind == ToConnection {
		m.holding.remove(c.Owner.Process, c, ofProcess)
	}
	if c.Bind == ToConnection {
		m.bound.remove(c.Conn, c, ofConn)
	}
	m.deadlines.remove(c)
	delete(m.claims, claimKey{l, c.Owner})

	e := &End{Token: c.Token, Owner: c.Owner, Info: c.Info, How: how, Status: status, At: now, By: by}
	m.tellNext(l, e)
	if h.members.Len > 0 {
		m.emit(Left, c).End = e
		return
	}
	at, _ := l.find(h.token)
	l.cut(at)
	l.used -= h.units
	m.remember(l, &l.previous, e)
	m.touch(l)
	told := m.emit(Ended, c)
	told.End = e
	if h.untold && m.tellNextToo(l, h.told) {
		told.Abandoned = l.abandoned
	}
	m.remember(l, &h.told, nil)
	if _, shown := m.acting[h]; !shown { // else the waits that show its token still know the hold, which c may contain
		*c = claim{}
		m.spare = c
	}
}

// lose ends a claim that holds, and also the waits that it is a part of: without it they would get less than they asked for.
func (m *Manager) lose(now Time, c *claim, how How, status int, by *Party) {
	key := claimKey{c.lock, c.Owner}
	m.end(now, c, how, status, by)
	for a := m.rest[key].First; a != nil; a = m.rest[key].First {
		m.giveUp(now, m.waits[a.claim.ID], Cancelled)
	}
}

// leave takes one entry of a claim that holds back, or ends it.
func (m *Manager) leave(now Time, c *claim) {
	if c.Entries > 1 {
		c.Entries--
		m.emit(Left, c)
		return
	}
	m.lose(now, c, Released, 0, nil)
}

// endHold ends a hold with all its members.
func (m *Manager) endHold(now Time, h *hold, how How, by *Party) {
	for h.members.Len > 0 {
		m.lose(now, h.members.Last, how, 0, by)
	}
}
