package messages

import (
	"fmt"
	"iter"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A topic may have a value: the last message that was published there with RETAIN. Who subscribes with BUS.SUB, or for messages in an
// envelope, which has a place for the mark, is sent the values of the topics that his filter matches, before any message that is
// published later: the subscription and the look at what there is are one step of the loop. Values that are more than a turn has time for stand in line as a message to many does (see delivery.go), and
// what is published meanwhile and goes to the same connection stands behind them. So a value may be replaced before its turn has come:
// then it is the new one that is sent, as the message that it is, and not both.
//
// A value is in the journal before who published it is answered or anybody is sent it, or it is refused.

// retained are the values.
type retained struct {
	topics bus.Retained[*kept]
	bytes  int // of all
	wills  struct {
		values int // wills that are to be values, and are bounded with these
		bytes  int // of all wills
	}
}

// A kept is a value. It does not change: another value is another kept.
type kept struct {
	record.Retained
	stamp         []byte // of who published it: see appendStamp
	charge, bytes account.Charge
	expiry        loop.Timer // set if it expires
}

// LargestRetained is the size of the largest value, with its topic: to write it down takes a millisecond or two.
const LargestRetained = 1 << 20

// size is what a value is charged as.
func (k *kept) size() int { return len(k.Topic) + len(k.Payload) + session.Headers(k.Headers).Bytes() }

// fields are what BUS.GET and BUS.LIST tell beside the topic and the payload.
const keptFields = 8

// appendFields appends them. left is in milliseconds, -1 if the value does not expire.
func (k *kept) appendFields(b []byte, p wire.Proto, now time.Duration) []byte {
	left := int64(-1)
	if k.Expires != 0 {
		left = max(k.Expires-now, 0).Milliseconds()
	}
	for _, f := range []struct {
		name string
		is   int64
	}{{"seq", int64(k.Seq)}, {"time", k.Time}, {"pid", int64(k.PID)}, {"uid", int64(k.UID)}} {
		b = wire.AppendBulk(b, f.name)
		b = wire.AppendInt(b, f.is)
	}
	b = wire.AppendBulk(b, "unit")
	b = wire.AppendBulk(b, k.Unit)
	b = wire.AppendBulk(b, "expires")
	b = wire.AppendInt(b, left)
	b = wire.AppendBulk(b, "ended")
	b = wire.AppendBulk(b, k.Ended)
	b = wire.AppendBulk(b, "headers")
	return session.Headers(k.Headers).Append(b, p)
}

// retainedOf is the value of a topic, nil if it has none: one whose time is over has gone, whether its timer was called yet or not.
func (s *Service) retainedOf(topic string) *kept {
	if k, ok := s.retained.topics.Get(topic); ok && !k.over(s.set.Now()) {
		return k
	}
	return nil
}

func (k *kept) over(now time.Duration) bool { return k.Expires != 0 && k.Expires <= now }

// retain has a call's message, which is published next, be the value of its topic. It reports whether it is, and has the reply ready
// if not: then all is as it was.
func (s *Service) retain(c *session.Call, p *publication) bool {
	topic := string(c.Args[0])
	if err := bus.CheckTopic(topic); err != nil {
		c.Fail(wire.CodeBadName, "%v", err)
		return false
	}
	who := &c.Session.Peer
	k := &kept{stamp: c.Session.Stamp(), Retained: record.Retained{
		Topic: topic, Payload: string(c.Args[1]), Seq: s.bus.Seq() + 1, Time: s.set.RealMicro(),
		PID: who.PID, Start: who.Start, UID: who.UID, Unit: who.Unit, Headers: p.headers,
	}}
	if p.expires != 0 {
		k.Expires = s.set.Now() + p.expires
	}
	if !s.mayRetain(c, k) {
		return false
	}
	if err := s.journal.Keep(record.Of(&k.Retained)); err != nil {
		c.Fail(wire.CodeIO, "the value would be lost with the daemon, as it cannot be written down: %v", err)
		return false
	}
	s.keep(k)
	return true
}

// mayRetain checks that there is room for a value, where the one before it gives up its own.
func (s *Service) mayRetain(c *session.Call, k *kept) bool {
	count, bytes := 1, k.size()
	ownCount, ownBytes := count, bytes
	if old, had := s.retained.topics.Get(k.Topic); had {
		count, bytes = 0, bytes-old.size()
		if old.charge.User() == c.Session.User() {
			ownCount, ownBytes = count, bytes
		}
	}
	switch {
	case k.size() > LargestRetained:
		c.Fail(wire.CodeQuota, "a retained value and its topic may have %d bytes, not %d", LargestRetained, k.size())
	case ownCount > 0 && !c.Room(account.Retained, ownCount), ownBytes > 0 && !c.Room(account.RetainedBytes, ownBytes):
	default:
		return s.roomToRetain(c, count, bytes)
	}
	return false
}

// roomToRetain checks that so many values and bytes more may be retained, of all users, with what wills are to leave behind.
func (s *Service) roomToRetain(c *session.Call, values, bytes int) bool {
	allValues, allBytes := s.retained.topics.Len()+s.retained.wills.values, s.retained.bytes+s.retained.wills.bytes
	switch {
	case values > 0 && allValues+values > s.limits.Retained:
		c.Fail(wire.CodeQuota, "there are %d retained values already, with the wills that are to be one (limits.retained)", allValues)
	case bytes > 0 && allBytes+bytes > s.limits.RetainedBytes:
		c.Fail(wire.CodeQuota, "%d bytes are retained already (limits.retained_bytes)", allBytes)
	default:
		return true
	}
	return false
}

// keep has a value be that of its topic from now on.
func (s *Service) keep(k *kept) {
	if old, had := s.retained.topics.Set(k.Topic, k); had {
		s.release(old)
	}
	u := s.set.Users.Of(k.UID)
	k.charge, k.bytes = u.Charge(account.Retained, 1), u.Charge(account.RetainedBytes, k.size())
	s.retained.bytes += k.size()
	if k.Expires != 0 {
		k.expiry.Init(&s.set.Loop.Timers, func() { s.clear(k) })
		k.expiry.Set(k.Expires)
	}
}

// release gives back what a value has that is no topic's any more.
func (s *Service) release(k *kept) {
	k.charge.Release()
	k.bytes.Release()
	s.retained.bytes -= k.size()
	if k.Expires != 0 {
		k.expiry.Stop()
	}
}

// clear has the topic of a value have none.
func (s *Service) clear(k *kept) {
	s.retained.topics.Delete(k.Topic)
	s.release(k)
	s.journal.Rewrite(record.Subject{Kind: record.KindRetained, Topic: k.Topic})
}

// Restore takes up what a daemon before this one has kept. The limits are not asked: they may have become lower since.
func (s *Service) Restore(all []*record.Retained) {
	for _, was := range all {
		s.bus.Resume(was.Seq)
		if k := (&kept{Retained: *was}); !k.over(s.set.Now()) {
			k.stamp = session.AppendStamp(nil, &peer.Peer{PID: k.PID, UID: k.UID, Unit: k.Unit})
			s.keep(k)
		}
	}
}

// RecordOf is what is true of the value of a topic: see journal.Source.
func (s *Service) RecordOf(is record.Subject) record.Record {
	if k, ok := s.retained.topics.Get(is.Topic); ok {
		return record.Of(&k.Retained)
	}
	return record.Record{Subject: is}
}

// Records say what is retained.
func (s *Service) Records() iter.Seq[record.Record] {
	return func(yield func(record.Record) bool) {
		all := s.retained.topics.All()
		for more := true; more; {
			var k *kept
			var ok bool
			if k, ok, more = all.Next(); ok && !yield(record.Of(&k.Retained)) {
				return
			}
		}
	}
}

// verifyRetained counts what is retained, and what it costs whom.
func (s *Service) verifyRetained(found account.Count) {
	bytes := 0
	all := s.retained.topics.All()
	for more := true; more; {
		var k *kept
		var ok bool
		if k, ok, more = all.Next(); ok {
			found.Add(k.UID, account.Retained, 1)
			found.Add(k.UID, account.RetainedBytes, k.size())
			bytes += k.size()
		}
	}
	err := s.retained.topics.Check()
	if err == nil && bytes != s.retained.bytes {
		err = fmt.Errorf("%d bytes are retained, counted %d", bytes, s.retained.bytes)
	}
	if err != nil {
		panic(err.Error())
	}
}

// A sending is what is left to be sent of the values that a subscription began with.
type sending struct {
	lookup *bus.Lookup[*kept] // nil: nothing
	to     *session.Session
	route  *bus.Route[*session.Session]
	since  uint64 // the age of the subscription
	answer func() // who has asked for them again, before the first; nil: there is nobody
}

// beginWithRetained has a subscription that a call asks for begin with the values that there are, behind the reply. If it was there when
// the bus had the age before, it has had them.
func (s *Service) beginWithRetained(c *session.Call, before uint64, k bus.Kind, text string) {
	if s.retained.topics.Len() > 0 && s.bus.Age() != before {
		c.Reply()
		s.sendRetained(c.Session, s.bus.Route(k, text), c.Pays)
	}
}

// sendRetained sends a session the values of the topics that a new subscription of its own matches, or has them stand in line. Of a user
// they do so for one subscription at a time, so that what others publish to many does not wait for more than that.
func (s *Service) sendRetained(sess *session.Session, r *bus.Route[*session.Session], pays *account.User) {
	d := s.retainedFor(sess, r)
	begun := time.Now()
	if s.mayBeInLine(sess) || !s.advanceDelivery(&d) {
		s.lineUp(&d)
	}
	if pays != nil {
		pays.Spend(time.Since(begun))
	}
}

// retainedFor are the values of the topics that a subscription matches, none of which is sent.
func (s *Service) retainedFor(sess *session.Session, r *bus.Route[*session.Session]) delivery {
	return delivery{
		message: message{seq: s.bus.Seq(), retained: true},
		sending: sending{lookup: s.retained.topics.Lookup(r.Filter()), to: sess, route: r, since: s.bus.AgeOf(sess, r)},
		user:    sess.User().UID(),
	}
}

// sendAgain has a subscription that is there be sent the values that there are, as if it began now. Who asks shares it with others on his
// connection, so the reply is the mark for him: what was published before comes before it, as does the word of what is missing of that.
// Behind it are the values, and then what is published from now on. If something stands in line that may go to the session, the reply
// stands behind it.
func (s *Service) sendAgain(c *session.Call, filter string, rule conn.Rule) {
	c.Session.TellLoss(filter)
	c.Session.EndRule(filter) // what waits is sent as it is
	c.Session.SetRule(filter, rule)
	s.HasRoom(c.Session)
	r := s.bus.Route(bus.Filter, filter)
	if !s.mayBeInLine(c.Session) {
		c.Integer(s.busCount(c.Session))
		c.Reply()
		s.sendRetained(c.Session, r, c.Pays)
		return
	}
	a, reply := c.Later(), session.Plain(wire.AppendInt(nil, s.busCount(c.Session)))
	a.Await()
	d := s.retainedFor(c.Session, r)
	d.answer = func() { a.Give(reply) }
	s.lineUp(&d)
}

// mayBeInLine reports whether something stands in line that may go to a session.
func (s *Service) mayBeInLine(sess *session.Session) bool {
	budget := orderBudget
	for _, d := range s.line {
		if s.concerns(d, sess, &budget) {
			return true
		}
	}
	return false
}

// sendMore sends a value more, or looks for one, and has nothing be left when all are sent or the subscription has ended. A value that
// is newer than the subscription is not sent: the message came, or comes, as any other.
func (s *Service) sendMore(d *delivery) {
	if s.bus.AgeOf(d.to, d.route) != d.since {
		d.sending = sending{}
		return
	}
	k, ok, more := d.lookup.Next()
	if ok && k.Seq <= d.seq && !k.over(s.set.Now()) {
		m := message{topic: []byte(k.Topic), payload: []byte(k.Payload), seq: k.Seq, time: k.Time, stamp: k.stamp, retained: true, ended: k.Ended, headers: k.Headers}
		if k.Expires != 0 {
			m.expires = s.set.RealTime().Add(k.Expires - s.set.Now()).UnixMicro()
		}
		delivered, dropped := s.deliverAlone(d.route, d.to, &m, d.seq)
		s.stats.Delivered += uint64(delivered)
		s.stats.Dropped += uint64(dropped)
	}
	if !more {
		d.sending = sending{}
	}
}
