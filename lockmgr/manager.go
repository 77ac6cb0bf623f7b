package lockmgr

import "time"

// A Manager is the state of all locks. Its methods are the steps by which it changes, and must not be called at the
// same time. Make one with [New].
type Manager struct {
	// Invariant: each is held, waited for, or remembered because a hold of it ended.
	locks map[string]*lock

	// Invariant: these agree. claims and processes have every claim; waits those that wait; conns those that wait and
	// the holds that are bound to a connection; deadlines those that wait with an end.
	claims    map[claimKey]*claim
	processes index[Process, claim]
	waits     map[RequestID]*claim
	conns     index[ConnID, claim]
	deadlines deadlines

	// Invariant: at most MaxRemembered for a uid, all free, in the order in which they became free.
	remembered index[uint32, lock]

	// Invariant: empty unless last has reached mark. In the order in which they ran out of tokens.
	starving list[lock]

	// Invariant: empty between steps.
	touched []*lock

	// Invariant: no grant has a token above mark, nor one above last; last never falls.
	last, mark Token

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
		processes:  index[Process, claim]{},
		waits:      map[RequestID]*claim{},
		conns:      index[ConnID, claim]{},
		remembered: index[uint32, lock]{},
		last:       last,
		mark:       min(mark, MaxToken),
	}
}

// Acquire asks for a lock. If it is let in, the last effect says what came of it: Acquired or Waiting, with the id that
// is returned. The errors are [ErrBusy], [ErrDeadlock] and [ErrExhausted].
func (m *Manager) Acquire(now Time, r Request) (RequestID, error) {
	l := m.locks[r.Name]
	if l != nil && !l.free() && m.claims[claimKey{l, r.Owner}] != nil {
		if r.Wait == Try {
			return 0, ErrBusy
		}
		return 0, ErrDeadlock
	}
	admitted := l == nil || l.queue.len == 0 && l.admits(r.Mode)
	granted := admitted && m.last < m.mark
	if r.Wait == Try && !granted {
		if admitted {
			return 0, ErrExhausted
		}
		return 0, ErrBusy
	}

	l = m.open(r.Name)
	m.lastID++
	c := &claim{Claim: Claim{Request: r, ID: m.lastID, Since: now}, lock: l, deadline: deadline(now, r.Wait)}
	m.claims[claimKey{l, r.Owner}] = c
	m.processes.push(r.Owner.Process, c, ofProcess)
	m.conns.push(r.Conn, c, ofConn)
	if granted {
		m.grant(now, c)
		return c.ID, nil
	}
	m.enqueue(c)
	m.settle(now)
	return c.ID, nil
}

// deadline gives the end of a wait; one that is further away than can be counted is never.
func deadline(now Time, wait time.Duration) time.Duration {
	if end := now.Boot + wait; wait >= 0 && end >= now.Boot {
		return end
	}
	return never
}

// Release ends a hold, which had this token. Whether the caller's client may do so is the caller's question, and
// [Manager.Hold] its help. The errors are [ErrNotHeld] and [ErrStale].
func (m *Manager) Release(now Time, name string, t Token) error {
	c, err := m.hold(name, t)
	if err != nil {
		return err
	}
	m.end(now, c, Released, 0)
	m.settle(now)
	return nil
}

// Cancel ends a wait. It reports false if there is no such wait, perhaps because it has ended already.
func (m *Manager) Cancel(now Time, id RequestID) bool {
	c := m.waits[id]
	if c == nil {
		return false
	}
	m.giveUp(c, Cancelled)
	m.settle(now)
	return true
}

// EndConn cancels the waits of a connection that is gone, and ends the holds that are bound to it in the given way.
func (m *Manager) EndConn(now Time, id ConnID, how How, status int) {
	m.endAll(now, m.conns[id].all(ofConn), how, status)
}

// EndProcess cancels the waits of a process that is gone, whichever connection asked for it, and ends all its holds in
// the given way.
func (m *Manager) EndProcess(now Time, p Process, how How, status int) {
	m.endAll(now, m.processes[p].all(ofProcess), how, status)
}

func (m *Manager) endAll(now Time, claims []*claim, how How, status int) {
	for _, c := range claims {
		if c.Token == 0 {
			m.giveUp(c, Cancelled)
		}
	}
	for _, c := range claims {
		if c.Token != 0 {
			m.end(now, c, how, status)
		}
	}
	m.settle(now)
}

// Expire ends the waits whose time is over. No other step does: until it is called they may still be granted the lock.
func (m *Manager) Expire(now Time) {
	for len(m.deadlines) > 0 && m.deadlines[0].deadline <= now.Boot {
		m.giveUp(m.deadlines[0], TimedOut)
	}
	m.settle(now)
}

// Deadline tells when Expire is due next, in [Time.Boot]; false if no wait has an end.
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
	for l := m.starving.first; l != nil; l = l.link.next {
		m.touch(l)
	}
	m.settle(now)
}

// Tokens tells the last token that was given, and the mark up to which they may be.
func (m *Manager) Tokens() (last, mark Token) { return m.last, m.mark }
