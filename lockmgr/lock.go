package lockmgr

import (
	"cmp"
	"slices"
	"time"
)

// MaxRemembered is how many free locks are remembered for one uid, that of the last holder. The one that has been free
// for the longest is forgotten first.
const MaxRemembered = 1024

// keepHolders is how much room for holders a lock keeps when it becomes free.
const keepHolders = 4

// A claim is the record behind a [Claim]: an element of its lock's queue, later of its holders.
type claim struct {
	Claim
	lock     *lock
	deadline time.Duration // never, unless it waits and for so long only
	heapAt   int           // where it is in Manager.deadlines; means nothing without a deadline

	queueLink, connLink, processLink link[claim]
}

func inQueue(c *claim) *link[claim]   { return &c.queueLink }
func ofConn(c *claim) *link[claim]    { return &c.connLink }
func ofProcess(c *claim) *link[claim] { return &c.processLink }

// A lock is a name that is held, waited for or remembered.
type lock struct {
	name string

	// Invariant: one claim, or shared ones only. Invariant: in order of grant, which is that of tokens.
	holders []*claim

	// Invariant: in order of asking, which is that of IDs. Invariant: the first cannot be granted, or starving is set.
	queue list[claim]

	// Invariant: previous is not nil if abandoned is not. Both are nil only until the first hold ended.
	previous  *End // the latest
	abandoned *End // the latest abandoned one, until a holder is told

	touched  bool // in Manager.touched
	starving bool // in Manager.starving: all that the head of the queue lacks is a token

	// Invariant: a lock is in at most one such list: Manager.starving if starving is set, the list of previous.UID in
	// Manager.remembered if it is free, else none.
	link link[lock]
}

func among(l *lock) *link[lock] { return &l.link }

func (l *lock) free() bool { return len(l.holders) == 0 && l.queue.len == 0 }

// admits reports whether a claim of this mode is compatible with the holders.
func (l *lock) admits(m Mode) bool {
	return len(l.holders) == 0 || m == Shared && l.holders[0].Mode == Shared
}

// find gives the place of a token among the holders.
func (l *lock) find(t Token) (int, bool) {
	return slices.BinarySearchFunc(l.holders, t, func(c *claim, t Token) int { return cmp.Compare(c.Token, t) })
}

// open gives the lock of that name for a claim to be put on.
func (m *Manager) open(name string) *lock {
	l := m.locks[name]
	switch {
	case l == nil:
		l = &lock{name: name}
		m.locks[name] = l
	case l.free():
		m.remembered.remove(l.previous.UID, l, among)
	}
	return l
}

// close remembers a lock that became free, or forgets it if there is nothing to remember.
func (m *Manager) close(l *lock) {
	if cap(l.holders) > keepHolders {
		l.holders = nil
	}
	if l.previous == nil {
		delete(m.locks, l.name)
		return
	}
	uid := l.previous.UID
	if mine := m.remembered[uid]; mine.len == MaxRemembered {
		delete(m.locks, mine.first.name)
		m.remembered.remove(uid, mine.first, among)
	}
	m.remembered.push(uid, l, among)
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
	for _, l := range m.touched {
		l.touched = false
		m.grantNext(now, l)
		if l.free() {
			m.close(l)
		}
	}
	m.touched = emptied(m.touched)
}

// grantNext grants the lock to the head of its queue for as long as that is possible.
func (m *Manager) grantNext(now Time, l *lock) {
	for l.queue.len > 0 && l.admits(l.queue.first.Mode) && m.last < m.mark {
		c := l.queue.first
		m.leaveQueue(c)
		m.grant(now, c)
	}
	starving := l.queue.len > 0 && l.admits(l.queue.first.Mode)
	switch {
	case starving && !l.starving:
		m.starving.push(l, among)
	case !starving && l.starving:
		m.starving.remove(l, among)
	}
	l.starving = starving
}

// grant makes the claim a hold.
func (m *Manager) grant(now Time, c *claim) {
	l := c.lock
	m.last = m.nextToken(now)
	c.Token, c.Since, c.deadline = m.last, now, never
	if c.Bind == ToProcess {
		m.conns.remove(c.Conn, c, ofConn)
	}
	l.holders = append(l.holders, c)
	m.emit(Effect{Kind: Acquired, Claim: c.Claim, Previous: l.previous, Abandoned: l.abandoned})
	l.abandoned = nil
}

// nextToken may be called if last is below mark.
func (m *Manager) nextToken(now Time) Token {
	if clock := Token(max(now.Real, 0)); m.last < clock && clock <= m.mark {
		return clock
	}
	return m.last + 1
}

// enqueue makes the claim a wait.
func (m *Manager) enqueue(c *claim) {
	c.lock.queue.push(c, inQueue)
	m.waits[c.ID] = c
	m.deadlines.add(c)
	m.touch(c.lock)
	m.emit(Effect{Kind: Waiting, Claim: c.Claim, Place: c.lock.queue.len})
}

func (m *Manager) leaveQueue(c *claim) {
	c.lock.queue.remove(c, inQueue)
	delete(m.waits, c.ID)
	m.deadlines.remove(c)
}

// giveUp ends a wait, which of the kind says why.
func (m *Manager) giveUp(c *claim, kind Kind) {
	m.leaveQueue(c)
	m.conns.remove(c.Conn, c, ofConn)
	m.forget(c)
	m.emit(Effect{Kind: kind, Claim: c.Claim})
}

// end ends a hold.
func (m *Manager) end(now Time, c *claim, how How, status int) {
	l := c.lock
	at, _ := l.find(c.Token)
	l.holders = slices.Delete(l.holders, at, at+1)
	if c.Bind == ToConnection {
		m.conns.remove(c.Conn, c, ofConn)
	}
	m.forget(c)
	e := &End{Token: c.Token, Owner: c.Owner, Info: c.Info, How: how, Status: status, At: now}
	l.previous = e
	if e.Abandoned() {
		l.abandoned = e
	}
	m.emit(Effect{Kind: Ended, Claim: c.Claim, End: e})
}

// forget takes a claim out of what all claims are in.
func (m *Manager) forget(c *claim) {
	delete(m.claims, claimKey{c.lock, c.Owner})
	m.processes.remove(c.Owner.Process, c, ofProcess)
	m.touch(c.lock)
}
