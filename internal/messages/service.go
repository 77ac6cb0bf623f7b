package messages

import (
	"math"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/journal"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/session"
)

// Limits bounds what is retained, in all.
type Limits struct {
	Retained      int // values of topics
	RetainedBytes int // of them and their topics
	Output        int // bytes that may wait in a group of subscribers
}

// A Service is the service of messages: who is subscribed to what, what is retained, and what is not delivered to all yet.
type Service struct {
	set     *session.Set
	journal *journal.Journal
	limits  Limits
	holds   func(c *session.Call, lock, token []byte) bool // see SetHolds
	stats   Stats

	bus         *bus.Bus[*session.Session]
	retained    retained
	publication publication // of the call that is executed
	outgoing    outgoing    // what it publishes
	groups      groups
	takers      session.Part[taker]

	line     []*delivery // what is not delivered to all yet: see delivery.go
	patience session.Part[patience]
	asides   asides

	stamp   []byte // of the daemon, the sender of its events
	payload []byte // of an event, reused
	alone   []byte // see deliverAlone, reused
}

// Stats counts since the start.
type Stats struct {
	Published, Delivered, Dropped uint64
}

// New makes the service of a set of sessions. self is the daemon.
func New(set *session.Set, j *journal.Journal, self *peer.Peer) *Service {
	s := &Service{set: set, journal: j, bus: bus.New[*session.Session](), stamp: session.AppendStamp(nil, self)}
	s.bus.Verify = set.Verify
	s.initGroups()
	s.takers = session.NewPart[taker](set)
	s.patience = session.NewPart[patience](set)
	s.asides.part, s.asides.crowds = session.NewPart[aside](set), map[obstacle]*crowd{}
	return s
}

// Handlers execute the commands of messages.
func (s *Service) Handlers() map[string]session.Handler {
	return map[string]session.Handler{
		"PUBLISH":         s.publishRedis,
		"SUBSCRIBE":       func(c *session.Call) { s.subscribeRedis(c, bus.Channel, "subscribe") },
		"PSUBSCRIBE":      func(c *session.Call) { s.subscribeRedis(c, bus.Pattern, "psubscribe") },
		"UNSUBSCRIBE":     func(c *session.Call) { s.unsubscribeRedis(c, bus.Channel, "unsubscribe") },
		"PUNSUBSCRIBE":    func(c *session.Call) { s.unsubscribeRedis(c, bus.Pattern, "punsubscribe") },
		"PUBSUB CHANNELS": s.pubsubChannels,
		"PUBSUB NUMSUB":   s.pubsubNumSub,
		"PUBSUB NUMPAT":   func(c *session.Call) { c.Integer(int64(s.bus.NumPat())) },

		"BUS.PUB":   session.Gated(s.pubWords, s.busPub),
		"BUS.SUB":   s.busSub,
		"BUS.UNSUB": s.busUnsub,

		"BUS.GET":   s.busGet,
		"BUS.LIST":  s.busList,
		"BUS.CLEAR": s.busClear,
	}
}

// SetHolds says how it is found out whether the user of a call holds a lock by a token; who is asked has the reply ready if not.
func (s *Service) SetHolds(holds func(c *session.Call, lock, token []byte) bool) { s.holds = holds }

// SetLimits changes the limits. What there is already stays.
func (s *Service) SetLimits(l Limits) {
	s.limits = l
	s.groups.output, s.groups.MostBytes = l.Output, math.MaxInt
}

// Stats are the present ones.
func (s *Service) Stats() Stats {
	all := s.stats
	all.Dropped += uint64(s.groups.Lost())
	return all
}

// Seq is the number of the last message.
func (s *Service) Seq() uint64 { return s.bus.Seq() }

// Dropped counts messages that connections have given up.
func (s *Service) Dropped(n int) { s.stats.Dropped += uint64(n) }

// Retained is how many values there are, and how many bytes they and their topics have.
func (s *Service) Retained() (values, bytes int) { return s.retained.topics.Len(), s.retained.bytes }

// Routes is how many channels and patterns somebody is subscribed to.
func (s *Service) Routes() (channels, patterns int) { return s.bus.NumChannels(), s.bus.NumPat() }

// Subscriptions is how many a session has of each kind.
func (s *Service) Subscriptions(sess *session.Session) (channels, patterns, filters int) {
	return s.bus.Count(sess, bus.Channel), s.bus.Count(sess, bus.Pattern), s.bus.Count(sess, bus.Filter)
}

// IsSubscriber reports whether a session has a subscription of any kind.
func (s *Service) IsSubscriber(sess *session.Session) bool {
	return sess.Is(session.Subscribed) && (s.bus.Count(sess) > 0 || s.groups.Count(sess) > 0)
}

// Receives tells the subscriptions of BUS.SUB, which lose messages and are told, from those of Redis's commands.
func (s *Service) Receives(sess *session.Session) (lossy, strict bool) {
	enveloped := s.bus.Enveloped(sess)
	return s.bus.Count(sess, bus.Filter)+enveloped > 0, int(s.redisCount(sess)) > enveloped+s.groupPatterns(sess)
}

// FewPatterns is how many globs a message may be compared with before it counts as slow, and how many routes it may take.
const FewPatterns = 32

// MatchIsSlow reports whether there are so many patterns that a message takes long to compare with them.
func (s *Service) MatchIsSlow() bool { return s.bus.NumPat() > FewPatterns }

// PublishEvent publishes an event of the daemon's own, about something of a user's. The payload is made only if anybody may be
// subscribed. pays is charged with the time, if that is much; nil: nobody is. The error is that of a topic that is none.
func (s *Service) PublishEvent(topic []byte, payload func([]byte) []byte, user uint32, pays *account.User) error {
	var to audience
	if err := s.find(&to, topicName, topic); err != nil || to.isNobody() {
		return err
	}
	s.payload = payload(s.payload[:0])
	m := message{topic: topic, payload: s.payload, stamp: s.stamp}
	heavy := to.isLarge()
	if _, rest := s.send(&to, &m, pays); rest != nil {
		rest.user, rest.heavy = user, heavy
	}
	return nil
}

// Heard reports whether anybody may get what is published under a topic.
func (s *Service) Heard(topic []byte) bool {
	var to audience
	return s.audienceOf(&to, topicName, topic) == nil && !to.isNobody()
}

// Leave gives a function that ends some of a session's subscriptions, as of one that begins anew, and reports whether there may be
// more.
func (s *Service) Leave(sess *session.Session) (some func() bool) {
	groups := s.groups.Joined(sess)
	return func() bool {
		if of, ok := groups.Next(); ok {
			s.leave(sess, of)
			return true
		}
		r := s.bus.Oldest(sess)
		if r == nil {
			return false
		}
		s.unsubscribe(sess, r.Kind, r.Text)
		return true
	}
}

// Closed ends the subscriptions of a session that is gone, or as many as may be ended at once. It reports whether none is left.
func (s *Service) Closed(sess *session.Session) bool {
	s.endPatience(sess)
	s.leaveAside(sess)
	s.HasRoom(sess)
	return s.dropSubscriptions(sess) && s.leaveAll(sess)
}

// Stop delivers all that stands in line, and has what comes be delivered at once.
func (s *Service) Stop() {
	s.endLine()
	s.giveMore()
	s.allGoOn()
}

// Count counts what a session has here, and its user is charged for.
func (s *Service) Count(sess *session.Session, found account.Count) {
	if !sess.Is(session.Subscribed) {
		return
	}
	globs, others := s.bus.Weight(sess)
	found.Add(sess.User().UID(), account.Patterns, globs)
	found.Add(sess.User().UID(), account.Subscriptions, others)
	s.countGroups(sess, found)
}

// Verify panics if what is retained is not what is counted, and counts what it costs whom, and the files of what stands in line.
func (s *Service) Verify(found account.Count) {
	s.verifyRetained(found)
	s.verifyGroups(found)
	s.verifyAsides()
	for _, d := range s.line {
		if d.file != nil {
			found.Add(d.file.UID(), account.Files, 1)
			found.Add(d.file.UID(), account.FileBytes, d.file.Size)
		}
	}
}

// VerifyTimers names the timers of the service.
func (s *Service) VerifyTimers(check session.CheckTimer) {
	for sess := range s.set.All() {
		if w := s.patience.Of(sess); w != nil {
			check("a publisher that waits", &w.timer, w.until != 0)
		}
	}
	all := s.retained.topics.All()
	for more := true; more; {
		var k *kept
		var ok bool
		if k, ok, more = all.Next(); ok {
			check("a retained value", &k.expiry, k.Expires != 0)
		}
	}
}
