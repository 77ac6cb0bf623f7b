package server

import (
	"bytes"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/ipc"
)

var pubsubCommands = map[string]func(*Server, *call){
	"PUBLISH":         (*Server).publishRedis,
	"SUBSCRIBE":       func(s *Server, c *call) { s.subscribeRedis(c, bus.Channel, "subscribe") },
	"PSUBSCRIBE":      func(s *Server, c *call) { s.subscribeRedis(c, bus.Pattern, "psubscribe") },
	"UNSUBSCRIBE":     func(s *Server, c *call) { s.unsubscribeRedis(c, bus.Channel, "unsubscribe") },
	"PUNSUBSCRIBE":    func(s *Server, c *call) { s.unsubscribeRedis(c, bus.Pattern, "punsubscribe") },
	"PUBSUB CHANNELS": (*Server).pubsubChannels,
	"PUBSUB NUMSUB":   (*Server).pubsubNumSub,
	"PUBSUB NUMPAT":   func(s *Server, c *call) { c.integer(int64(s.bus.NumPat())) },
}

var busCommands = map[string]func(*Server, *call){
	"BUS.PUB":   (*Server).busPub,
	"BUS.SUB":   (*Server).busSub,
	"BUS.UNSUB": (*Server).busUnsub,
}

// publish hands the peer's message to the bus. It reports false if that was refused, and has the reply ready then.
func (c *call) publish(s *Server) (seq uint64, delivered, dropped int, ok bool) {
	topic := c.args[0]
	if reserved(topic) {
		c.fail(ipc.CodeDenied, "topics under %s are the daemon's own", bus.ReservedPrefix)
		return 0, 0, 0, false
	}
	seq, delivered, dropped, err := s.publish(topic, c.args[1], c.sess.stamp())
	if err != nil {
		c.fail(ipc.CodeBadName, "%v", err)
		return 0, 0, 0, false
	}
	return seq, delivered, dropped, true
}

// reserved reports whether a name is the daemon's own.
func reserved(name []byte) bool { return bytes.HasPrefix(name, reservedPrefix) }

var reservedPrefix = []byte(bus.ReservedPrefix)

func (s *Server) publishRedis(c *call) {
	if _, delivered, _, ok := c.publish(s); ok {
		c.integer(int64(delivered))
	}
}

func (s *Server) busPub(c *call) {
	if !c.requestIDAt(2) || s.repeated(c) {
		return
	}
	seq, delivered, dropped, ok := c.publish(s)
	if !ok {
		return
	}
	r := receipt{seq, delivered, dropped}
	c.out = r.append(c.out, c.sess.proto)
	if c.request != nil {
		s.settle(c.request, r, len(c.out))
		c.request = nil
	}
}

// A receipt is what BUS.PUB answers.
type receipt struct {
	seq                uint64
	delivered, dropped int
}

func (r receipt) append(b []byte, p ipc.Proto) []byte {
	b = p.AppendMap(b, 3)
	b = ipc.AppendBulk(b, "seq")
	b = ipc.AppendInt(b, int64(r.seq))
	b = ipc.AppendBulk(b, "delivered")
	b = ipc.AppendInt(b, int64(r.delivered))
	b = ipc.AppendBulk(b, "dropped")
	return ipc.AppendInt(b, int64(r.dropped))
}

// maxPattern is the length of the longest glob, in bytes: the bus has no limit of its own for them, and each name that
// is matched takes time by it.
const maxPattern = bus.MaxTopic

// subscribe adds a subscription, within the limits, and reports whether it is there now.
func (s *Server) subscribe(c *call, k bus.Kind, text string) bool {
	if k == bus.Pattern && len(text) > maxPattern {
		c.fail(ipc.CodeBadName, "a pattern of %d bytes is longer than %d", len(text), maxPattern)
		return false
	}
	u := s.user(c.sess.peer.UID)
	if u.subscriptions >= s.opts.Limits.SubscriptionsPerUser {
		c.fail(ipc.CodeQuota, "user %d has %d subscriptions already (limits.subscriptions_per_user)", c.sess.peer.UID, u.subscriptions)
		return false
	}
	if k == bus.Pattern && u.patterns >= s.opts.Limits.PatternsPerUser {
		c.fail(ipc.CodeQuota, "user %d has %d patterns already (limits.patterns_per_user)", c.sess.peer.UID, u.patterns)
		return false
	}
	r, added, err := s.bus.Subscribe(c.sess, k, text)
	if err != nil {
		c.fail(ipc.CodeBadName, "%v", err)
		return false
	}
	if added {
		s.unsettle(r.Slot)
		c.sess.state |= stateSubscribed
		u.count(k, 1)
	}
	return true
}

func (s *Server) unsubscribe(sess *session, k bus.Kind, text string) bool {
	r := s.bus.Route(k, text)
	if r == nil {
		return false
	}
	sess.closeRange()
	sess.tellLosses() // before the reply that ends the subscription: what follows is of another, or of none
	s.unsettle(r.Slot)
	removed := s.bus.Unsubscribe(sess, k, text)
	if removed {
		s.user(sess.peer.UID).count(k, -1)
	}
	return removed
}

// dropSubscriptions ends all of a session that is gone, or as many as may be ended at once. It reports whether none is left.
func (s *Server) dropSubscriptions(sess *session) bool {
	if !sess.is(stateSubscribed) {
		return true
	}
	u := s.user(sess.peer.UID)
	patterns, others := s.bus.Count(sess, bus.Pattern), s.bus.Count(sess, bus.Filter, bus.Channel)
	left := s.bus.DropSome(sess, mostDropped)
	u.count(bus.Pattern, s.bus.Count(sess, bus.Pattern)-patterns)
	u.count(bus.Filter, s.bus.Count(sess, bus.Filter, bus.Channel)-others)
	return left == 0
}

// mostDropped is how many subscriptions are ended at once, in some hundred microseconds.
const mostDropped = 256

// count adds n subscriptions of a kind to a user's account.
func (u *user) count(k bus.Kind, n int) {
	u.subscriptions += n
	if k == bus.Pattern {
		u.patterns += n
	}
}

func (s *Server) unsubscribeAll(sess *session) {
	for _, k := range []bus.Kind{bus.Channel, bus.Pattern, bus.Filter} {
		for _, text := range s.bus.Texts(sess, k) {
			s.unsubscribe(sess, k, text)
		}
	}
}

// subscribeRedis confirms each name by a push, which CLIENT REPLY OFF does not suppress. A bad name among several is
// answered with an error in its place, and the others are subscribed to.
func (s *Server) subscribeRedis(c *call, k bus.Kind, word string) {
	for _, a := range c.args {
		c.out = c.out[:0]
		text := string(a)
		if !s.subscribe(c, k, text) {
			s.reply(c)
			continue
		}
		s.confirm(c, word, text)
		s.send(c.sess, c.out)
	}
	c.out = c.out[:0]
}

func (s *Server) unsubscribeRedis(c *call, k bus.Kind, word string) {
	texts := s.bus.Texts(c.sess, k)
	if len(c.args) > 0 {
		texts = make([]string, len(c.args))
		for i, a := range c.args {
			texts[i] = string(a)
		}
	}
	if len(texts) == 0 {
		c.push(3, word)
		c.null()
		c.integer(s.redisCount(c.sess))
	}
	for _, text := range texts {
		s.unsubscribe(c.sess, k, text)
		s.confirm(c, word, text)
	}
	s.send(c.sess, c.out)
	c.out = c.out[:0]
}

// confirm appends the push that answers a subscribe or unsubscribe.
func (s *Server) confirm(c *call, word, text string) {
	c.push(3, word)
	c.bulk(text)
	c.integer(s.redisCount(c.sess))
}

func (c *call) push(n int, word string) {
	c.out = c.sess.proto.AppendPush(c.out, n)
	c.bulk(word)
}

// redisCount is the number that Redis's confirmations tell: channels and patterns.
func (s *Server) redisCount(sess *session) int64 {
	return int64(s.bus.Count(sess, bus.Channel, bus.Pattern))
}

func (s *Server) pubsubChannels(c *call) {
	pattern := "*"
	if len(c.args) > 1 {
		c.fail(ipc.CodeErr, "unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.")
		return
	}
	if len(c.args) > 0 {
		pattern = string(c.args[0])
	}
	if len(pattern) > maxPattern {
		c.fail(ipc.CodeBadName, "a pattern of %d bytes is longer than %d", len(pattern), maxPattern)
		return
	}
	names := s.bus.Channels(pattern)
	c.array(len(names))
	for _, n := range names {
		c.bulk(n)
	}
}

func (s *Server) pubsubNumSub(c *call) {
	c.array(2 * len(c.args))
	for _, a := range c.args {
		c.out = ipc.AppendBulk(c.out, a)
		c.integer(int64(s.bus.NumSub(string(a))))
	}
}

func (s *Server) busSub(c *call) {
	if s.subscribe(c, bus.Filter, string(c.args[0])) {
		c.integer(int64(s.bus.Count(c.sess, bus.Filter)))
	}
}

func (s *Server) busUnsub(c *call) {
	if len(c.args) == 0 {
		for _, text := range s.bus.Texts(c.sess, bus.Filter) {
			s.unsubscribe(c.sess, bus.Filter, text)
		}
	} else if !s.unsubscribe(c.sess, bus.Filter, string(c.args[0])) {
		c.fail(ipc.CodeNotFound, "this connection is not subscribed to %q", clip(string(c.args[0])))
		return
	}
	c.integer(int64(s.bus.Count(c.sess, bus.Filter)))
}
