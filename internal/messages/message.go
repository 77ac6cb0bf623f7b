package messages

import (
	"cmp"
	"math"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A message is what is published, and who published it.
type message struct {
	topic, payload []byte
	seq            uint64
	time           int64    // microseconds since 1970
	stamp          []byte   // of the sender: see appendStamp
	age            uint64   // of the bus, if it was published in an earlier turn
	envelope       envelope // see appendEnvelope
	retained       bool     // it is the value that its topic had already
	expires        int64    // when it is over, in microseconds since 1970; 0: never
	ended          string   // it is a will: how its sender has ended
	headers        session.Headers
	file           *file  // beside it; nil: none
	beside         bool   // it is encoded for who gets the file
	after          uint64 // of the next route, who subscribed up to then has it: see deliver
	count          uint64 // its number among those of the route that it is given to; 0: it has none, or none yet

	groups      []*bus.Group[*session.Session, *shared]     // that it is for and that do not have it: see groups.go
	groupSearch *bus.GroupSearch[*session.Session, *shared] // finds those behind them; nil: there are no more
	group       string                                      // of the member that it is given to
}

// outgoing is what a call publishes, and to whom. There is one at a time, which is not cleared if nothing is in it that the next does not
// set: that takes as long as to find whom a message is for.
type outgoing struct {
	message message
	to      audience
}

// append encodes the message as subscribers of a route get it.
func (m *message) append(b []byte, p wire.Proto, k bus.Kind, text string) []byte {
	switch k {
	case bus.Channel:
		b = p.AppendPush(b, 3)
		b = append(b, "$7\r\nmessage\r\n"...)
	case bus.Pattern:
		b = appendPMessage(b, p, text)
		if isEnvelope(k, text) {
			b = wire.AppendBulk(b, m.topic)
			return m.appendEnvelope(b)
		}
	default:
		n := 10
		if m.hasMore() {
			n++
		}
		b = p.AppendPush(b, n)
		b = append(b, "$11\r\nbus.message\r\n"...)
		b = wire.AppendBulk(b, text)
	}
	b = wire.AppendBulk(b, m.topic)
	b = wire.AppendBulk(b, m.text())
	if k == bus.Filter {
		b = wire.AppendInt(b, int64(m.seq))
		b = wire.AppendInt(b, m.time)
		b = append(b, m.stamp...)
		b = wire.AppendInt(b, int64(m.count))
		if m.hasMore() {
			b = m.appendMore(b, p)
		}
	}
	return b
}

// channelHead is how much of a message of a channel is before its payload.
func channelHead(name []byte) int {
	digits := 1
	for n := len(name); n >= 10; n /= 10 {
		digits++
	}
	return len("*3\r\n$7\r\nmessage\r\n$\r\n\r\n") + digits + len(name)
}

// room is about how many bytes the message takes when it is encoded. What it seldom has beside it is left out.
func (m *message) room() int { return len(m.topic) + len(m.payload) + len(m.stamp) + 256 }

// appendPMessage appends what a message begins with that came by a pattern.
func appendPMessage(b []byte, p wire.Proto, pattern string) []byte {
	b = p.AppendPush(b, 4)
	b = append(b, "$8\r\npmessage\r\n"...)
	return wire.AppendBulk(b, pattern)
}

// A nameKind says what a message is published under.
type nameKind bool

const (
	anyName   nameKind = false // a channel of Redis
	topicName nameKind = true  // a topic, and nothing else
)

// An audience is whom a message is for.
type audience struct {
	seq         uint64
	routes      []*bus.Route[*session.Session]
	search      *bus.Search[*session.Session] // finds those behind them; nil: there are no more
	groups      []*bus.Group[*session.Session, *shared]
	groupSearch *bus.GroupSearch[*session.Session, *shared] // likewise
}

func (to *audience) isNobody() bool {
	return len(to.routes) == 0 && to.search == nil && len(to.groups) == 0 && to.groupSearch == nil
}

// isLarge reports whether a message takes very many routes.
func (to *audience) isLarge() bool {
	return to.search != nil || len(to.routes) > FewPatterns || to.groupSearch != nil || len(to.groups) > FewPatterns
}

// audienceOf asks the engine whom a message of a name is for.
func (s *Service) audienceOf(to *audience, kind nameKind, name []byte) (err error) {
	if kind == topicName {
		to.routes, to.search, err = s.bus.SearchTopic(name, searchAtOnce)
	} else {
		to.routes, to.search, err = s.bus.Search(name, searchAtOnce)
	}
	to.groups, to.groupSearch = nil, nil
	if s.groups.Len() > 0 && err == nil && bus.IsTopic(name) {
		to.groups, to.groupSearch = s.groups.Search(name, searchAtOnce)
	}
	return err
}

// find is audienceOf for a message that is published now, which it numbers. Whether a peer may publish there must have been asked.
// Nothing else may be published before it is sent.
func (s *Service) find(to *audience, kind nameKind, name []byte) error {
	err := s.audienceOf(to, kind, name)
	if err == nil {
		s.stats.Published++
		to.seq = s.bus.Take()
	}
	return err
}

// deliver gives a message to the subscribers of its routes and counts them; many says that these are not all of its routes. What it
// encodes is flushed between routes when it gets too much: a connection may have subscriptions without end that all match. When much
// was copied for those whose sockets are full, it stops, and left is how many of the routes at the end are not done, the first of them
// in part.
func (s *Service) deliver(routes []*bus.Route[*session.Session], m *message, many bool) (delivered, dropped, left int) {
	for len(routes) > 0 && s.carry(routes[0], m) {
		delivered += routes[0].Len()
		routes = routes[1:]
	}
	if len(routes) == 0 {
		return delivered, 0, 0
	}
	taken, dropped, left := s.deliverSingly(routes, m, many)
	return delivered + taken, dropped, left
}

// deliverSingly is deliver where something may have to be done for each subscriber.
func (s *Service) deliverSingly(routes []*bus.Route[*session.Session], m *message, many bool) (delivered, dropped, left int) {
	copied := -s.set.Net.Copied() // and what it costs to lose some
	handled := -s.set.Net.Handled()
	for i, r := range routes {
		if many && i > 0 && handled+s.set.Net.Handled() > mostHandled {
			m.count = 0
			return delivered, dropped, len(routes) - i
		}
		if s.carry(r, m) {
			delivered += r.Len()
			continue
		}
		var subs []*session.Session
		first, after := 0, m.after
		if m.after = 0; m.age == 0 && after == 0 {
			subs = r.Subs()
		} else if subs, first = r.SubsBetween(after, cmp.Or(m.age, math.MaxUint64)); len(subs) == 0 {
			continue // all have gone since, and the slot may be another's
		}
		if i > 0 || m.count == 0 { // else some have it already, with its number
			m.count = r.Number()
		}
		if many && r.Len() == 1 && !s.set.Net.InTurn(r.Slot) {
			d, l := s.deliverAlone(r, subs[0], m, m.seq)
			delivered, dropped = delivered+d, dropped+l
			continue
		}
		t := s.set.Net.Stream(r.Slot)
		s.keepApart(m, r, subs)
		start := [2]int{t.Buffer(wire.RESP2).Len(), t.Buffer(wire.RESP3).Len()} // where m is in each
		t.Steady = len(subs) == r.Len()
		// later has those from one on be given it later.
		later := func(at int) int {
			if m.after = after; at > 0 {
				m.after = r.AgeAt(first + at - 1)
			}
			return len(routes) - i
		}
		for at, sess := range subs {
			if !sess.IsReceiving() {
				t.Steady = false
				if !sess.MayReceive() {
					continue
				}
			}
			blocked := sess.Blocked()
			takes := m.file != nil && s.takesFiles(sess, r)
			if blocked || takes {
				t.Steady = false
				if copied+s.set.Net.Copied() > mostCopied {
					return delivered, dropped, later(at)
				}
				if blocked && canLose(r.Kind, r.Text) && sess.IsFull(len(m.text()), m.seq) { // not even encoded
					lose(sess, r)
					dropped++
					copied += lossCost
					continue
				}
			}
			if takes {
				given, lost := s.giveFile(r, sess, m, m.seq)
				delivered += given
				dropped += lost
				copied += fileCost
				continue
			}
			b := t.Buffer(sess.Proto())
			from := start[sess.Proto()-wire.RESP2]
			if b.Len() == from {
				b.Extend(m.append(b.Bytes(m.room()), sess.Proto(), r.Kind, r.Text))
			}
			if !blocked {
				sess.Follow(b, from)
				delivered++
				continue
			}
			taken, lost := enqueue(sess, r, b.From(from), b, m.seq)
			delivered += taken
			dropped += lost
			copied += lossCost
		}
		s.set.Net.Relieve()
	}
	m.count = 0
	return delivered, dropped, 0
}

// carry gives a message to the subscribers of a route by encoding it, and reports whether it has: it does if they all follow the route's
// buffers in this turn, and all get what is encoded there.
func (s *Service) carry(r *bus.Route[*session.Session], m *message) bool {
	if m.file != nil || m.age != 0 || m.after != 0 {
		return false
	}
	t := s.set.Net.Steady(r.Slot)
	if t == nil {
		return false
	}
	m.count = r.Number()
	for p := wire.RESP2; p <= wire.RESP3; p++ {
		switch b := t.Buffer(p); {
		case b.Len() == 0:
		case r.Kind == bus.Channel: // what its messages begin with is there, before the first
			to := b.Bytes(m.room())
			to = append(to, to[:channelHead(m.topic)]...)
			b.Extend(wire.AppendBulk(to, m.payload))
		default:
			b.Extend(m.append(b.Bytes(m.room()), p, r.Kind, r.Text))
		}
	}
	m.count = 0
	return true
}

const (
	// mostCopied is how much is copied for those whose sockets are full before the others of them are left for later.
	mostCopied = 256 << 10
	// mostHandled is how much is done with the memory of backlogs (Handled) for some of very many routes before the clock is looked at.
	mostHandled = 64 << 10
	// lossCost is for how much it counts that somebody misses a message.
	lossCost = 128
)

// enqueue puts a message behind the backlog of a session whose socket is full, if that is to be: of Redis's subscribers, who cannot be
// told that they miss something, none is dropped. in is the buffer that it is in, if it is not for this session alone. lost is how many
// the session loses for it.
func enqueue(sess *session.Session, r *bus.Route[*session.Session], msg []byte, in *conn.Buffer, seq uint64) (taken, lost int) {
	var ok bool
	if canLose(r.Kind, r.Text) {
		if ok, lost = sess.Enqueue(msg, in, seq, r.Text); lost > 0 {
			sess.Lost(lost)
		}
	} else if ok = sess.EnqueueStrict(msg, in, seq); !ok {
		lost = 1
	}
	if ok {
		taken = 1
	}
	return taken, lost
}

// lose has a session miss a message of a route.
func lose(sess *session.Session, r *bus.Route[*session.Session]) {
	sess.Lose(r.Text)
	sess.Lost(1)
}

// deliverAlone gives a message to the one subscriber of a route that is one of very many: a buffer for each of them would be
// more than all that they carry. seq is the place of the message among those that the session is sent.
func (s *Service) deliverAlone(r *bus.Route[*session.Session], sess *session.Session, m *message, seq uint64) (delivered, dropped int) {
	switch {
	case !sess.MayReceive():
		return 0, 0
	case sess.Blocked() && canLose(r.Kind, r.Text) && sess.IsFull(len(m.text()), seq):
		lose(sess, r)
		return 0, 1
	case m.file != nil && s.takesFiles(sess, r):
		return s.giveFile(r, sess, m, seq)
	}
	s.alone = m.append(s.alone[:0], sess.Proto(), r.Kind, r.Text)
	if sess.Blocked() {
		return enqueue(sess, r, s.alone, nil, seq)
	}
	sess.Send(s.alone)
	s.set.Net.Relieve()
	return 1, 0
}
