package server

import (
	"fmt"
	"strings"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A topic may have a value: the last message that was published there with RETAIN. Who subscribes with BUS.SUB is sent the values of
// the topics that his filter matches, before any message that is published later: the subscription and the look at what there is are
// one step of the loop. Values that are more than a turn has time for stand in line as a message to many does (see delivery.go), and
// what is published meanwhile and goes to the same connection stands behind them. So a value may be replaced before its turn has come:
// then it is the new one that is sent, as the message that it is, and not both.
//
// A value is in the journal before who published it is answered or anybody is sent it, or it is refused.

// retained are the values.
type retained struct {
	topics bus.Retained[*kept]
	bytes  int // of all
}

// A kept is a value. It does not change: another value is another kept.
type kept struct {
	record.Retained
	stamp         []byte // of who published it: see appendStamp
	charge, bytes account.Charge
	expiry        loop.Timer // set if it expires
}

// largestRetained is the size of the largest value, with its topic: to write it down takes a millisecond or two.
const largestRetained = 1 << 20

// size is what a value is charged as.
func (k *kept) size() int { return len(k.Topic) + len(k.Payload) }

// fields are what BUS.GET and BUS.LIST tell beside the topic and the payload.
const keptFields = 6

// appendFields appends them. left is in milliseconds, -1 if the value does not expire.
func (k *kept) appendFields(b []byte, now time.Duration) []byte {
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
	return wire.AppendInt(b, left)
}

// retainedOf is the value of a topic, nil if it has none: one whose time is over has gone, whether its timer was called yet or not.
func (s *Server) retainedOf(topic string) *kept {
	if k, ok := s.retained.topics.Get(topic); ok && !k.over(s.now()) {
		return k
	}
	return nil
}

func (k *kept) over(now time.Duration) bool { return k.Expires != 0 && k.Expires <= now }

// A retention is what the words of BUS.PUB ask for.
type retention struct {
	asked   bool
	expires time.Duration // from now; 0: it does not
}

// longestRetained is the longest time after which a value may expire.
const longestRetained = 100 * 365 * 24 * time.Hour

// pubWords reads the options of BUS.PUB.
func pubWords(_ *Server, c *call) bool {
	c.retention = retention{}
	for i := 2; i < len(c.args); i++ {
		switch option := c.arg(i); {
		case option == "RETAIN":
			c.retention.asked = true
		case option == "EXPIRES" && i+1 < len(c.args):
			i++
			ms, ok := number(c.args[i])
			if !ok || ms <= 0 || ms > longestRetained.Milliseconds() {
				c.fail(wire.CodeErr, "EXPIRES wants a number of milliseconds, not %q", clip(string(c.args[i])))
				return false
			}
			c.retention.expires = time.Duration(ms) * time.Millisecond
		case option == "REQID" && i+1 < len(c.args):
			i++
			if !c.requestID(c.args[i]) {
				return false
			}
		default:
			c.syntax()
			return false
		}
	}
	if c.retention.expires != 0 && !c.retention.asked {
		c.fail(wire.CodeErr, "EXPIRES goes with RETAIN")
		return false
	}
	return true
}

// retain has a call's message, which is published next, be the value of its topic. It reports whether it is, and has the reply ready
// if not: then all is as it was.
func (s *Server) retain(c *call) bool {
	topic := string(c.args[0])
	if err := bus.CheckTopic(topic); err != nil {
		c.fail(wire.CodeBadName, "%v", err)
		return false
	}
	who := &c.sess.peer
	k := &kept{stamp: c.sess.stamp(), Retained: record.Retained{
		Topic: topic, Payload: string(c.args[1]), Seq: s.bus.Seq() + 1, Time: s.realTime().UnixMicro(),
		PID: who.PID, UID: who.UID, Unit: who.Unit,
	}}
	if c.retention.expires != 0 {
		k.Expires = s.now() + c.retention.expires
	}
	if !s.mayRetain(c, k) {
		return false
	}
	if j := s.recorder.journal; j != nil {
		err := j.Room()
		if err == nil {
			err = j.Apply(record.Of(&k.Retained))
		}
		if err != nil {
			c.fail(wire.CodeIO, "the value would be lost with the daemon, as it cannot be written down: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
			return false
		}
	}
	s.keep(k)
	return true
}

// mayRetain checks that there is room for a value, where the one before it gives up its own.
func (s *Server) mayRetain(c *call, k *kept) bool {
	count, bytes := 1, k.size()
	ownCount, ownBytes := count, bytes
	if old, had := s.retained.topics.Get(k.Topic); had {
		count, bytes = 0, bytes-old.size()
		if old.charge.User() == c.sess.user() {
			ownCount, ownBytes = count, bytes
		}
	}
	limits := &s.opts.Limits
	switch {
	case k.size() > largestRetained:
		c.fail(wire.CodeQuota, "a retained value and its topic may have %d bytes, not %d", largestRetained, k.size())
	case ownCount > 0 && !c.room(account.Retained, ownCount), ownBytes > 0 && !c.room(account.RetainedBytes, ownBytes):
	case count > 0 && s.retained.topics.Len()+count > limits.Retained:
		c.fail(wire.CodeQuota, "%d topics have a retained value already (limits.retained)", s.retained.topics.Len())
	case bytes > 0 && s.retained.bytes+bytes > limits.RetainedBytes:
		c.fail(wire.CodeQuota, "%d bytes are retained already (limits.retained_bytes)", s.retained.bytes)
	default:
		return true
	}
	return false
}

// keep has a value be that of its topic from now on.
func (s *Server) keep(k *kept) {
	if old, had := s.retained.topics.Set(k.Topic, k); had {
		s.release(old)
	}
	u := s.users.Of(k.UID)
	k.charge, k.bytes = u.Charge(account.Retained, 1), u.Charge(account.RetainedBytes, k.size())
	s.retained.bytes += k.size()
	if k.Expires != 0 {
		k.expiry.Init(&s.loop.Timers, func() { s.clear(k) })
		k.expiry.Set(k.Expires)
	}
}

// release gives back what a value has that is no topic's any more.
func (s *Server) release(k *kept) {
	k.charge.Release()
	k.bytes.Release()
	s.retained.bytes -= k.size()
	if k.Expires != 0 {
		k.expiry.Stop()
	}
}

// clear has the topic of a value have none.
func (s *Server) clear(k *kept) {
	s.retained.topics.Delete(k.Topic)
	s.release(k)
	s.rewrite(record.Subject{Kind: record.KindRetained, Topic: k.Topic})
}

// restoreRetained takes up what a daemon before this one has kept. The limits are not asked: they may have become lower since.
func (s *Server) restoreRetained(all []*record.Retained) {
	for _, was := range all {
		s.bus.Resume(was.Seq)
		if k := (&kept{Retained: *was}); !k.over(s.now()) {
			k.stamp = appendStamp(nil, &peer.Peer{PID: k.PID, UID: k.UID, Unit: k.Unit})
			s.keep(k)
		}
	}
}

// retainedRecords say what is retained.
func (s *Server) retainedRecords(yield func(record.Record) bool) bool {
	all := s.retained.topics.All()
	for more := true; more; {
		var k *kept
		var ok bool
		if k, ok, more = all.Next(); ok && !yield(record.Of(&k.Retained)) {
			return false
		}
	}
	return true
}

// verifyRetained counts what is retained, and what it costs whom.
func (s *Server) verifyRetained(found account.Count) {
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
	to     *session
	route  *bus.Route[*session]
	since  uint64 // the age of the subscription
}

// sendRetained sends a session the values of the topics that a new subscription of its own matches, or has them stand in line.
func (s *Server) sendRetained(sess *session, r *bus.Route[*session], pays *account.User) {
	d := delivery{
		message: message{seq: s.bus.Seq(), retained: true},
		sending: sending{s.retained.topics.Lookup(r.Text), sess, r, s.bus.AgeOf(sess, r)},
		user:    sess.user().UID(),
	}
	begun := time.Now()
	if s.mayBeInLine(sess) || !s.advanceDelivery(&d, begun) {
		s.lineUp(&d)
	}
	if pays != nil {
		pays.Spend(time.Since(begun))
	}
}

// mayBeInLine reports whether something stands in line that may go to a session.
func (s *Server) mayBeInLine(sess *session) bool {
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
func (s *Server) sendMore(d *delivery) {
	if s.bus.AgeOf(d.to, d.route) != d.since {
		d.sending = sending{}
		return
	}
	k, ok, more := d.lookup.Next()
	if ok && k.Seq <= d.seq && !k.over(s.now()) {
		m := message{topic: []byte(k.Topic), payload: []byte(k.Payload), seq: k.Seq, time: k.Time, stamp: k.stamp, retained: true}
		delivered, dropped := s.deliverAlone(d.route, d.to, &m, d.seq)
		s.stats.delivered += uint64(delivered)
		s.stats.dropped += uint64(dropped)
	}
	if !more {
		d.sending = sending{}
	}
}
