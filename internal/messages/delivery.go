package messages

import (
	"bytes"
	"slices"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A message may take tens of thousands of routes. What a turn has no time for stands in line: it is delivered bit by bit, in the
// order of publishing, to those who were subscribed then and still are. Who published it is answered when it is delivered to all,
// so that the counts are true.
//
// All sessions see one order of messages, so a message that comes later must not overtake one in line on the way to a session that
// gets both. It stands in line, too, unless it is certain that there is no such session: others' messages need not wait for those
// that do not concern them. Of one user's publishers there is one in line. The others are parked: their messages are not published
// before, so that who publishes much waits for himself. Of events that very many get, a user's locks have a few there, and then what
// would lead to more of them waits: see waitsForLine.

// A delivery is a message in line. It has bytes of its own.
type delivery struct {
	message
	sending                                           // of the values that a subscription begins with; nothing else is in it then
	routes             []*bus.Route[*session.Session] // those that it has not come to
	rest               *bus.Search[*session.Session]  // finds those behind them; nil: there are no more
	delivered, dropped int
	user               uint32        // whose doing it is: who published it, or of an event whose lock it is of
	heavy              bool          // an event with very many routes of its own
	done               func(receipt) // answers who published it; nil: it is an event
}

const (
	// routesPerStep is how many routes are gone on with before the clock is looked at.
	routesPerStep = 16
	// searchAtOnce is how many steps of a search for routes are made at once, in less than a hundred microseconds, unless very many
	// globs are tried that all take long.
	searchAtOnce = 128
	// MostEvents is how many events of one user's locks may stand in line, of those that take very many routes.
	MostEvents = 8
	// mostInLine is how many of one user's locks may stand there in all.
	mostInLine = 256
	// longestLine is how many may stand in line when one more comes that cannot wait: the first is then delivered to all at once.
	longestLine = 4096
	// orderBudget is for how many looks, some ten microseconds' worth, it is tried to find out whether a message may overtake those in line:
	// one for each of these that may concern a session, and one for each subscription and membership that the session has.
	orderBudget = 1000
)

// send stamps a message with its number and the time and delivers it to whom it is for. If rest is not nil, it is not delivered to all
// yet: it stands in line. pays is charged with the time, if that is much; nil: nobody is.
func (s *Service) send(to *audience, m *message, pays *account.User) (r receipt, rest *delivery) {
	r.seq, m.seq, m.time = to.seq, to.seq, s.set.RealMicro()
	if to.groups != nil || to.groupSearch != nil {
		m.groups, m.groupSearch = to.groups, to.groupSearch
	}
	switch {
	case len(s.line) > 0 && s.mustLineUp(to):
		return r, s.lineUp(&delivery{message: *m, routes: to.routes, rest: to.search})
	case !to.isLarge():
		var left int
		r.delivered, r.dropped, left = s.deliver(to.routes, m, false)
		s.stats.Delivered += uint64(r.delivered)
		s.stats.Dropped += uint64(r.dropped)
		if left > 0 {
			rest = s.lineUp(&delivery{message: *m, routes: to.routes[len(to.routes)-left:], delivered: r.delivered, dropped: r.dropped})
		} else if len(m.groups) > 0 {
			taken, lost := s.share(m, len(m.groups))
			r.delivered, r.dropped = r.delivered+taken, r.dropped+lost
		}
		return r, rest
	}
	begun := time.Now()
	d := delivery{message: *m, routes: to.routes, rest: to.search}
	if !s.advanceDelivery(&d) {
		rest = s.lineUp(&d)
	}
	if pays != nil {
		pays.Spend(time.Since(begun))
	}
	r.delivered, r.dropped = d.delivered, d.dropped
	return r, rest
}

// mustLineUp reports whether a message has to stand in line: it takes very many routes, or may go to one who gets something
// that stands there.
func (s *Service) mustLineUp(to *audience) bool {
	if to.isLarge() {
		return true
	}
	budget := orderBudget
	for _, r := range to.routes {
		for _, sess := range r.Subs() {
			for _, d := range s.line {
				if s.concerns(d, sess, &budget) {
					return true
				}
			}
		}
	}
	return s.groupsMustLineUp(to)
}

// concerns reports whether what stands in line may go to a session. It takes no more looks than the budget has left, and says yes if there
// are more to be taken.
func (s *Service) concerns(d *delivery, sess *session.Session, budget *int) bool {
	switch *budget--; {
	case *budget < 0:
		return true
	case d.lookup != nil:
		return d.to == sess
	case d.hasGroups() && s.groups.MayReceive(sess, d.topic, budget):
		return true
	}
	return s.bus.MayReceive(sess, d.topic, budget)
}

// lineUp has a message stand in line, with what is left to be done.
func (s *Service) lineUp(left *delivery) *delivery {
	for len(s.line) >= longestLine {
		s.endDelivery()
	}
	d := new(delivery)
	*d = *left
	d.routes, d.groups = slices.Clone(d.routes), slices.Clone(d.groups)
	d.topic, d.payload, d.stamp = bytes.Clone(d.topic), bytes.Clone(d.payload), bytes.Clone(d.stamp)
	d.age = s.bus.Age()
	if d.file != nil {
		d.file.Keep()
		s.chargeFile(d, 1)
	}
	s.line = append(s.line, d)
	return d
}

// chargeFile charges who has published what stands in line for the file beside it, or gives that back (-1). There is one such message of
// each user.
func (s *Service) chargeFile(d *delivery, n int) {
	u := s.set.Users.Of(d.file.UID())
	u.Count(account.Files, n)
	u.Count(account.FileBytes, n*d.file.Size)
}

// await has a call answered when its message is delivered to all.
func (s *Service) await(c *session.Call, d *delivery, answer func(receipt) session.Outcome) {
	a := c.Later()
	a.Await()
	d.user = c.Session.User().UID()
	d.done = func(r receipt) { a.Give(answer(r)) }
}

// MoveLine goes on with what stands in line, and with what groups have not been asked for yet, and has those go on who wait for nothing any
// more.
func (s *Service) MoveLine() {
	s.deliverLine()
	s.giveMore()
	s.goOnBehind()
}

// Waiting reports whether there is something to be done by MoveLine.
func (s *Service) Waiting() bool { return len(s.line) > 0 || s.groups.more || s.asides.isFreeing() }

func (s *Service) deliverLine() {
	for len(s.line) > 0 && s.advanceDelivery(s.line[0]) {
		s.leaveLine()
		if s.set.Net.Over() && !s.set.Stopping {
			return
		}
	}
}

// InLine is how many messages are not delivered to all yet.
func (s *Service) InLine() int { return len(s.line) }

// LineIsLong reports whether that is so much that no more should come which is nobody's doing.
func (s *Service) LineIsLong() bool { return len(s.line) > longestLine/2 }

// endLine delivers all that stands in line.
func (s *Service) endLine() {
	for len(s.line) > 0 {
		s.endDelivery()
	}
}

// endDelivery delivers the first in line to all.
func (s *Service) endDelivery() {
	for d := s.line[0]; !d.isDone(); {
		s.goOnDelivering(d)
	}
	s.leaveLine()
}

func (d *delivery) isDone() bool {
	return len(d.routes) == 0 && d.rest == nil && d.lookup == nil && !d.hasGroups()
}

// advanceDelivery goes on with a delivery until this part of the turn is over, and reports whether it is done.
func (s *Service) advanceDelivery(d *delivery) bool {
	for !d.isDone() {
		s.goOnDelivering(d)
		if !d.isDone() && s.set.Net.Over() && !s.set.Stopping {
			return false
		}
	}
	return true
}

// goOnDelivering delivers to some routes more, or goes on to find them.
func (s *Service) goOnDelivering(d *delivery) {
	if d.lookup != nil {
		if d.answer != nil {
			d.answer()
			d.answer = nil
		}
		for i := 0; i < routesPerStep && d.lookup != nil; i++ {
			s.sendMore(d)
		}
		return
	}
	if len(d.routes) == 0 && d.rest == nil { // its groups are last
		delivered, dropped := s.share(&d.message, routesPerStep)
		d.delivered, d.dropped = d.delivered+delivered, d.dropped+dropped
		return
	}
	if len(d.routes) == 0 {
		var more bool
		if d.routes, more = d.rest.Next(searchAtOnce); !more {
			d.rest = nil
		}
	}
	n := min(routesPerStep, len(d.routes))
	delivered, dropped, left := s.deliver(d.routes[:n], &d.message, true)
	d.routes = d.routes[n-left:]
	d.delivered += delivered
	d.dropped += dropped
	s.stats.Delivered += uint64(delivered)
	s.stats.Dropped += uint64(dropped)
}

// leaveLine takes the first off the line, which is delivered, and answers who published it.
func (s *Service) leaveLine() {
	d := s.line[0]
	s.line[0] = nil
	s.line = s.line[1:]
	if len(s.line) == 0 {
		s.line = nil
	}
	if d.file != nil {
		s.chargeFile(d, -1)
		d.file.Release()
	}
	if d.done != nil {
		d.done(receipt{d.seq, d.delivered, d.dropped})
	}
	s.free(obstacle{line: true, user: d.user})
}

// MustWait reports whether a call must not be executed before something of its user has left the line: a publisher's message, if
// it would have to stand there itself; if it is about a lock, one of many events of its user's locks.
func (s *Service) MustWait(c *session.Call) bool {
	user := c.Session.User().UID()
	switch {
	case s.set.Stopping:
		return false
	case c.Row.Family == wire.FamilyLock:
		return s.EventsInLine(user)
	case c.Row.Access == wire.AccessSubscribe && c.Row.Flags&wire.FlagSubscribed != 0: // after the values that he is being sent
		return s.retainedInLine(user)
	case c.Row.Flags&wire.FlagFanOut == 0 || !slices.ContainsFunc(s.line, func(d *delivery) bool { return d.done != nil && d.user == user }):
		return false
	}
	var to audience
	return s.audienceOf(&to, anyName, c.Args[0]) == nil && s.mustLineUp(&to)
}

// retainedInLine reports whether values that a user is being sent stand in line.
func (s *Service) retainedInLine(user uint32) bool {
	return slices.ContainsFunc(s.line, func(d *delivery) bool { return d.lookup != nil && d.user == user })
}

// mustAwaitRetained reports whether a session must not ask for more values before its user has those that stand in line. Then it is
// parked.
func (s *Service) mustAwaitRetained(sess *session.Session) bool {
	if s.set.Stopping || !s.retainedInLine(sess.User().UID()) {
		return false
	}
	if !sess.Parked() {
		s.Park(sess)
	}
	return true
}

// EventsInLine reports whether as many events of a user's locks stand in line as may before he has to wait. Events themselves wait for
// nobody, so what leads to them does. Of those that stand there only to keep the order there may be many: it is others who take very
// many. But the line must not become too long for what cannot wait.
func (s *Service) EventsInLine(user uint32) bool {
	heavy, all := 0, 0
	for _, d := range s.line {
		if d.user != user || d.done != nil {
			continue
		}
		if all++; d.heavy {
			heavy++
		}
	}
	return heavy >= MostEvents || all >= mostInLine
}

// Park has a session wait with its commands until something of its user has left the line.
func (s *Service) Park(sess *session.Session) {
	s.setAside(sess, obstacle{line: true, user: sess.User().UID()})
}
