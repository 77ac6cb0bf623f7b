package server

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/wills"
	"github.com/ipcd/ipcd/lockmgr"
)

// A worldModel says what is to become of wills, values and who listens, as simply as it can be put: lists of everything, each in the order in
// which it came. Whatever becomes a fact in the journal is a moment: a daemon that crashes has come to one of them, and has told nobody
// of a later one.
type worldModel struct {
	begun     time.Duration // when the daemon did, as its clock says
	now       time.Duration // since then
	timers    int           // that were set, so far
	processes []worldState
	seats     []worldSeat
	owners    []*worldOwner
	values    map[string]record.Retained // without the time
	lives     map[string]int             // which of the timers that were set is that of a value that expires
	seq       uint64
	said      int            // payloads, so far
	request   *worldRequest  // that is open
	asked     int            // requests, so far
	told      map[int]string // what each seat has been sent in this step, and the watcher, whose seat is -1
	group     []string       // what the group has been given in this step, each by one of its members
}

// A worldState is that of a process.
type worldState int

const (
	alive  worldState = iota
	zombie            // it has ended, and its parent has not reaped it
	gone              // it is reaped
)

// A worldSeat is who connects, again and again, for one process.
type worldSeat struct {
	process                  int
	id                       uint64 // of the connection; 0: there is none
	listens, shares, answers bool   // it is subscribed to all, is one of the group that is, answers requests
	again                    int    // how often it has connected to this daemon
}

// A worldOwner is whose end some wills wait for.
type worldOwner struct {
	process int
	conn    uint64 // 0: it is the process
	ends    bool   // the kernel is given time to say how
	back    bool   // it is a connection to a daemon before
	due     time.Duration
	nth     int // of the timers that were set
	wills   []record.Will
}

// A worldRequest is one that is not answered.
type worldRequest struct{ asker, server, number int }

const (
	worldPID   = 1 << 23 // above all that the kernel gives, so that nobody finds anything out about these
	worldStart = 7
	worldUser  = 1000
	watcher    = -1
)

func worldProcess(n int) lockmgr.Process {
	return lockmgr.Process{PID: worldPID + n, Start: worldStart}
}

// clone is the model as it is now.
func (m *worldModel) clone() *worldModel {
	c := *m
	c.processes, c.seats = slices.Clone(m.processes), slices.Clone(m.seats)
	c.values, c.lives, c.told, c.group = maps.Clone(m.values), maps.Clone(m.lives), maps.Clone(m.told), slices.Clone(m.group)
	c.owners = make([]*worldOwner, len(m.owners))
	for i, o := range m.owners {
		is := *o
		is.wills = slices.Clone(o.wills)
		c.owners[i] = &is
	}
	return &c
}

// tell has a seat be sent something.
func (m *worldModel) tell(seat int, format string, args ...any) {
	m.told[seat] += fmt.Sprintf(format, args...) + "\n"
}

// announce has all be sent a message who listen.
func (m *worldModel) announce(text string) {
	m.seq++
	m.tell(watcher, "%s", text)
	for i, s := range m.seats {
		if s.listens {
			m.tell(i, "%s", text)
		}
	}
	if slices.ContainsFunc(m.seats, func(s worldSeat) bool { return s.shares }) {
		m.group = append(m.group, text)
	}
}

// find is the owner of that name which has not ended, nor is one that may come back.
func (m *worldModel) find(process int, conn uint64) *worldOwner {
	for _, o := range m.owners {
		if o.process == process && o.conn == conn && !o.back {
			return o
		}
	}
	return nil
}

// remove removes the will of an owner for a topic, and reports whether there was one.
func (m *worldModel) remove(o *worldOwner, topic string) bool {
	before := len(o.wills)
	o.wills = slices.DeleteFunc(o.wills, func(w record.Will) bool { return w.Topic == topic })
	return len(o.wills) < before
}

// forget forgets who has no wills.
func (m *worldModel) forget() {
	m.owners = slices.DeleteFunc(m.owners, func(o *worldOwner) bool { return len(o.wills) == 0 })
}

// whose is whose end is meant, and which connection of it.
func (m *worldModel) whose(seat int, self bool) (process int, conn uint64) {
	if s := m.seats[seat]; !self {
		return s.process, s.id
	}
	return m.seats[seat].process, 0
}

func (m *worldModel) will(seat int, topic string, how manner, self bool, moment func()) {
	who, conn := m.whose(seat, self)
	o := m.find(who, conn)
	if o == nil {
		if m.processes[who] == gone || m.processes[who] == zombie && m.isWatched(who) { // it is a child of its that says so
			m.tell(seat, "NOTFOUND")
			return
		}
		o = &worldOwner{process: who, conn: conn}
		m.owners = append(m.owners, o)
	}
	for _, other := range slices.Clone(m.owners) { // numbers of connections begin anew with each daemon, and in the journal both have one place
		if other.process == who && other.conn == conn {
			m.remove(other, topic)
		}
	}
	o.wills = append(o.wills, record.Will{Topic: topic, Payload: fmt.Sprint(m.said), Then: how.then, Lasts: how.lasts, Process: worldProcess(who), Conn: conn, UID: worldUser})
	m.forget()
	moment()
	m.comeBack(who, topic, moment)
	m.tell(seat, "OK")
	if m.processes[who] == zombie && !o.ends { // which the daemon sees as soon as it watches it
		moment()
		m.ended(who, moment)
	}
}

// isWatched reports whether the daemon knows how a process fares.
func (m *worldModel) isWatched(process int) bool {
	return slices.ContainsFunc(m.owners, func(o *worldOwner) bool { return o.process == process })
}

// comeBack has what a process says now be in the place of what it had said on connections to a daemon before.
func (m *worldModel) comeBack(process int, topic string, moment func()) (was bool) {
	for _, o := range slices.Clone(m.owners) {
		if o.process == process && o.back && m.remove(o, topic) {
			was = true
			m.forget()
			moment()
		}
	}
	return was
}

func (m *worldModel) unwill(seat int, topic string, self bool, moment func()) {
	who, conn := m.whose(seat, self)
	o := m.find(who, conn)
	was := o != nil && m.remove(o, topic)
	if was {
		m.forget()
		moment()
	}
	was = m.comeBack(who, topic, moment) || was
	m.tell(seat, "%d", map[bool]int{true: 1}[was])
}

// keep has a value be that of its topic for so long, 0 for ever.
func (m *worldModel) keep(v record.Retained, lasts time.Duration) {
	if lasts != 0 {
		v.Expires = m.begun + m.now + lasts
	}
	m.values[v.Topic] = v
	m.timers++
	m.lives[v.Topic] = m.timers
}

// lasting is what is told of something that lasts so long, beside what it is.
func lasting(lasts time.Duration) string {
	if lasts != 0 {
		return " expires"
	}
	return ""
}

// publish publishes a value.
func (m *worldModel) publish(seat int, topic string, lasts time.Duration, moment func()) {
	is := worldProcess(m.seats[seat].process)
	payload := fmt.Sprint(m.said)
	m.keep(record.Retained{Topic: topic, Payload: payload, Seq: m.seq + 1, PID: is.PID, Start: is.Start, UID: worldUser}, lasts)
	m.announce(fmt.Sprintf("%s=%s%s from %d", topic, payload, lasting(lasts), is.PID))
	m.tell(seat, "%d", m.seq)
	moment()
}

func (m *worldModel) clear(seat int, topic string, moment func()) {
	_, had := m.values[topic]
	delete(m.values, topic)
	m.tell(seat, "%d", map[bool]int{true: 1}[had])
	moment()
}

// count tells a seat how many subscriptions it has.
func (m *worldModel) count(seat int) {
	n := 0
	for _, is := range []bool{m.seats[seat].listens, m.seats[seat].shares} {
		if is {
			n++
		}
	}
	m.tell(seat, "%d", n)
}

// listen subscribes a seat, which is sent the values that there are.
func (m *worldModel) listen(seat int) {
	m.seats[seat].listens = true
	m.count(seat)
	for _, topic := range slices.Sorted(maps.Keys(m.values)) {
		v := m.values[topic]
		text := fmt.Sprintf("%s=%s retained%s from %d", topic, v.Payload, lasting(v.Expires), v.PID)
		if v.Ended != "" {
			text += ", " + v.Ended
		}
		m.tell(seat, "%s", text)
	}
}

// ask asks who answers, if anybody does.
func (m *worldModel) ask(seat int) {
	server := slices.IndexFunc(m.seats, func(s worldSeat) bool { return s.answers })
	if server < 0 {
		m.tell(seat, "NORESPONDERS")
		return
	}
	m.asked++
	m.request = &worldRequest{seat, server, m.asked}
	m.tell(server, "request %d", m.asked)
}

func (m *worldModel) answer() {
	m.tell(m.request.asker, "answer")
	m.tell(m.request.server, "OK")
	m.request = nil
}

// end has the wills of an owner be published, in the order in which they were said.
func (m *worldModel) end(o *worldOwner, how string, moment func()) {
	for len(o.wills) > 0 {
		w := o.wills[0]
		o.wills = o.wills[1:]
		m.forget()
		value, has := m.values[w.Topic]
		own := has && value.PID == w.Process.PID
		if w.Then != record.ThenClear || own || !has {
			m.announce(fmt.Sprintf("%s=%s%s from %d, %s", w.Topic, w.Payload, lasting(w.Lasts), w.Process.PID, how))
		}
		switch {
		case w.Then == record.ThenRetain:
			m.keep(record.Retained{
				Topic: w.Topic, Payload: w.Payload, Seq: m.seq, PID: w.Process.PID, Start: w.Process.Start, UID: worldUser, Ended: how,
			}, w.Lasts)
		case w.Then == record.ThenClear && own:
			delete(m.values, w.Topic)
		}
		moment()
	}
}

// wait gives the kernel time to say how somebody has ended, or a process time to come back.
func (m *worldModel) wait(o *worldOwner, d time.Duration) {
	if o.due == m.now+d {
		return // it is given that time already
	}
	m.timers++
	o.due, o.nth = m.now+d, m.timers
}

// kernelTime is how long the kernel is given: longer than a daemon takes to begin, so that what is due has one order whatever that took.
const kernelTime = 4 * time.Second

func (m *worldModel) awaitEnd(o *worldOwner) {
	o.ends = true
	m.wait(o, kernelTime)
}

// hangUp is what follows when the connection of a seat is closed.
func (m *worldModel) hangUp(seat int) {
	s := &m.seats[seat]
	if o := m.find(s.process, s.id); o != nil {
		m.awaitEnd(o)
	}
	*s = worldSeat{process: s.process, again: s.again}
	if r := m.request; r != nil && r.asker == seat {
		m.tell(r.server, "cancel %d", r.number)
		m.request = nil
	} else if r != nil && r.server == seat {
		m.tell(r.asker, "REMOTE")
		m.request = nil
	}
}

// how is what the kernel says of the end of a process, "" if it says nothing yet: it tells at once of the first one, and of the others never.
func (m *worldModel) how(process int) string {
	switch {
	case m.processes[process] == gone:
		return "unknown"
	case process == 0:
		return "killed 9"
	}
	return ""
}

// ended is what follows when the daemon is told that a process is not alive any more.
func (m *worldModel) ended(process int, moment func()) {
	for _, o := range slices.Clone(m.owners) {
		how := m.how(process)
		switch {
		case o.process != process:
		case how != "":
			m.end(o, how, moment)
		case !o.ends:
			m.awaitEnd(o)
		}
	}
}

// next is when the next time is over, 0 if nothing waits for a time.
func (m *worldModel) next() (at time.Duration) {
	for _, o := range m.owners {
		if (o.ends || o.back) && (at == 0 || o.due < at) {
			at = o.due
		}
	}
	for _, v := range m.values {
		if left := v.Expires - m.begun; v.Expires != 0 && (at == 0 || left < at) {
			at = left
		}
	}
	return at
}

// A worldTimer is what is set to a time.
type worldTimer struct {
	due   time.Duration
	nth   int // of those that were set
	owner *worldOwner
	topic string // whose value is over then; "": it is an owner's
}

// timersSet are those that are set, in the order in which they are over.
func (m *worldModel) timersSet() (all []worldTimer) {
	for _, o := range m.owners {
		if o.ends || o.back {
			all = append(all, worldTimer{o.due, o.nth, o, ""})
		}
	}
	for topic, v := range m.values {
		if v.Expires != 0 {
			all = append(all, worldTimer{v.Expires - m.begun, m.lives[topic], nil, topic})
		}
	}
	slices.SortFunc(all, func(x, y worldTimer) int { return cmp.Or(cmp.Compare(x.due, y.due), x.nth-y.nth) })
	return all
}

// pass has the time go on until something is due.
func (m *worldModel) pass(moment func()) {
	m.now = m.next()
	for _, is := range m.timersSet() {
		switch o := is.owner; {
		case is.due != m.now:
			return
		case o == nil:
			delete(m.values, is.topic)
			moment()
		default:
			how := "disconnected"
			if m.processes[o.process] != alive {
				how = cmp.Or(m.how(o.process), "unreaped")
			}
			m.end(o, how, moment)
		}
	}
}

// crash is what is left of a daemon that crashes.
func (m *worldModel) crash() {
	m.now, m.request, m.asked = 0, nil, 0
	m.told, m.group = map[int]string{}, nil
	for i := range m.seats {
		m.seats[i] = worldSeat{process: m.seats[i].process}
	}
	m.seq = 0
	for _, v := range m.values {
		m.seq = max(m.seq, v.Seq)
	}
	var all []record.Will
	for _, o := range m.owners {
		all = append(all, o.wills...)
	}
	slices.SortFunc(all, func(a, b record.Will) int {
		return strings.Compare(record.Of(&a).Key(), record.Of(&b).Key())
	})
	m.owners = nil
	for _, w := range all {
		o := (*worldOwner)(nil)
		for _, other := range m.owners {
			if worldProcess(other.process) == w.Process && other.conn == w.Conn {
				o = other
			}
		}
		if o == nil {
			o = &worldOwner{process: w.Process.PID - worldPID, conn: w.Conn}
			m.owners = append(m.owners, o)
			if o.back = o.conn != 0; o.back {
				m.wait(o, wills.Grace)
			}
		}
		o.wills = append(o.wills, w)
	}
}

// restore is what the next daemon does before it serves anybody, and then learns at once.
func (m *worldModel) restore(moment func()) {
	for _, topic := range slices.Sorted(maps.Keys(m.values)) {
		if v := m.values[topic]; v.Expires != 0 && v.Expires <= m.begun {
			delete(m.values, topic)
			moment()
		}
		m.timers++
		m.lives[topic] = m.timers
	}
	var all []int
	for _, o := range m.owners {
		if !slices.Contains(all, o.process) {
			all = append(all, o.process)
		}
	}
	for _, state := range []worldState{gone, zombie} {
		for _, process := range all {
			if m.processes[process] == state {
				m.ended(process, moment)
			}
		}
	}
	m.told = map[int]string{} // nobody is there yet
}

// kept is what is in the journal.
func (m *worldModel) kept() []string {
	var all []string
	for _, o := range m.owners {
		for _, w := range o.wills {
			all = append(all, string(record.Of(&w).Append(nil)))
		}
	}
	for _, v := range m.values {
		all = append(all, string(record.Of(&v).Append(nil)))
	}
	slices.Sort(all)
	return all
}

// text is all that what may happen depends on.
func (m *worldModel) text() string {
	var b strings.Builder
	fmt.Fprintln(&b, m.processes)
	for _, s := range m.seats {
		fmt.Fprintln(&b, s)
	}
	waits := m.timersSet()
	due := func(of func(worldTimer) bool) {
		if at := slices.IndexFunc(waits, of); at >= 0 {
			fmt.Fprint(&b, " due ", at, at > 0 && waits[at-1].due == waits[at].due)
		}
	}
	for _, o := range m.owners {
		fmt.Fprint(&b, o.process, o.conn, o.ends, o.back)
		due(func(is worldTimer) bool { return is.owner == o })
		for _, w := range o.wills {
			fmt.Fprint(&b, " ", w.Topic, w.Then, w.Lasts)
		}
		fmt.Fprintln(&b)
	}
	for _, topic := range slices.Sorted(maps.Keys(m.values)) {
		fmt.Fprint(&b, topic, m.values[topic].PID)
		due(func(is worldTimer) bool { return is.owner == nil && is.topic == topic })
		fmt.Fprintln(&b)
	}
	if r := m.request; r != nil {
		fmt.Fprint(&b, r.asker, r.server)
	}
	return b.String()
}
