package server

import (
	"unsafe"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/heap"
	"github.com/ipcd/ipcd/ipc/wire"
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
	"BUS.PUB":   gated(pubWords, (*Server).busPub),
	"BUS.SUB":   (*Server).busSub,
	"BUS.UNSUB": (*Server).busUnsub,
}

// publish hands the peer's message to the bus, and reports whether it was taken. If not, or if it is not delivered to all yet, the
// call has its reply, or gets it later: made of the receipt by answer.
func (c *call) publish(s *Server, kind nameKind, answer func(receipt) outcome) (r receipt, ok bool) {
	r, rest, err := s.publish(kind, c.args[0], c.args[1], c.sess.stamp(), c.pays)
	switch {
	case err == bus.ErrTooLong:
		c.fail(wire.CodeQuota, "cannot publish to a channel of %d bytes: %v", len(c.args[0]), err)
		return r, false
	case err != nil:
		c.fail(wire.CodeBadName, "%v", err)
		return r, false
	}
	if rest != nil {
		s.await(c, rest, answer)
		return r, false
	}
	return r, true
}

func (s *Server) publishRedis(c *call) {
	if r, ok := c.publish(s, anyName, delivered); ok {
		c.integer(int64(r.delivered))
	}
}

// delivered is what PUBLISH answers.
func delivered(r receipt) outcome { return plain(wire.AppendInt(nil, int64(r.delivered))) }

func (s *Server) busPub(c *call) {
	if c.retention.asked && !s.retain(c) {
		return
	}
	r, ok := c.publish(s, topicName, func(r receipt) outcome { return r })
	if !ok {
		return
	}
	giveNow(s, c, r)
}

// A receipt is what BUS.PUB answers.
type receipt struct {
	seq                uint64
	delivered, dropped int
}

func (r receipt) append(b []byte, p wire.Proto) []byte {
	b = p.AppendMap(b, 3)
	b = wire.AppendBulk(b, "seq")
	b = wire.AppendInt(b, int64(r.seq))
	b = wire.AppendBulk(b, "delivered")
	b = wire.AppendInt(b, int64(r.delivered))
	b = wire.AppendBulk(b, "dropped")
	return wire.AppendInt(b, int64(r.dropped))
}

// subscribe adds a subscription, within the limits, and reports whether it is there now.
func (s *Server) subscribe(c *call, k bus.Kind, text string) bool {
	if !c.room(subscriptionColumn(k, text), bus.Weight(text)) {
		return false
	}
	r, added, err := s.bus.Subscribe(c.sess, k, text)
	if err != nil {
		c.fail(wire.CodeBadName, "%v", err)
		return false
	}
	if added {
		s.net.Unsettle(r.Slot)
		c.sess.state |= stateSubscribed
		c.sess.user().Count(subscriptionColumn(k, text), bus.Weight(text))
	}
	return true
}

func (s *Server) unsubscribe(sess *session, k bus.Kind, text string) bool {
	r := s.bus.Route(k, text)
	if r == nil {
		return false
	}
	sess.TellLosses() // before the reply that ends the subscription: what follows is of another, or of none
	s.net.Unsettle(r.Slot)
	removed := s.bus.Unsubscribe(sess, k, text)
	if removed {
		sess.user().Count(subscriptionColumn(k, text), -bus.Weight(text))
	}
	return removed
}

// dropSubscriptions ends all of a session that is gone, or as many as may be ended at once. It reports whether none is left.
func (s *Server) dropSubscriptions(sess *session) bool {
	if !sess.is(stateSubscribed) {
		return true
	}
	u := sess.user()
	globs, others := s.bus.Weight(sess)
	left := s.bus.DropSome(sess, mostDropped)
	globsLeft, othersLeft := s.bus.Weight(sess)
	u.Count(account.Patterns, globsLeft-globs)
	u.Count(account.Subscriptions, othersLeft-others)
	return left == 0
}

// mostDropped is how many subscriptions are ended at once, in some hundred microseconds.
const mostDropped = 128

// subscriptionColumn is what the user of a subscription is charged for, by the weight of its text: a long one counts as several. A
// pattern that is a filter costs a publisher no more than any filter.
func subscriptionColumn(k bus.Kind, text string) account.Column {
	if k == bus.Pattern && !bus.IsFilter(text) {
		return account.Patterns
	}
	return account.Subscriptions
}

// subscribeRedis confirms each name by a push, which CLIENT REPLY OFF does not suppress. One among several that is refused is
// answered with an error in its place, and the others are subscribed to.
func (s *Server) subscribeRedis(c *call, k bus.Kind, word string) {
	one := func(c *call, text string) {
		c.out = c.out[:0]
		if !s.subscribe(c, k, text) {
			s.reply(c)
			return
		}
		s.confirm(c, word, text)
		s.confirmTo(c.sess, c.out)
		c.out = c.out[:0]
	}
	if len(c.args) <= fewNames {
		for _, a := range c.args {
			one(c, string(a))
		}
		return
	}
	texts := c.texts()
	own := &call{sess: c.sess, cmd: c.cmd}
	s.performEach(c, texts, func(b []byte, text string) []byte {
		one(own, text)
		return b
	})
}

// fewNames is how many names a command may have that is executed in one step.
const fewNames = 64

// texts are the arguments of a call, for longer than it.
func (c *call) texts() []string {
	texts := make([]string, len(c.args))
	for i, a := range c.args {
		texts[i] = string(a)
	}
	return texts
}

// performEach executes a command by one step for each of these. What a step appends is sent.
func (s *Server) performEach(c *call, texts []string, one func(b []byte, text string) []byte) {
	t := &task{step: func(b []byte) ([]byte, bool) {
		if len(texts) == 0 {
			return b, false
		}
		b = one(b, texts[0])
		texts = texts[1:]
		return b, true
	}}
	for _, text := range texts {
		t.held += len(text) + int(unsafe.Sizeof(text))
	}
	s.perform(c, t)
}

func (s *Server) unsubscribeRedis(c *call, k bus.Kind, word string) {
	var texts []string
	if len(c.args) > 0 {
		texts = c.texts()
	} else if texts = s.bus.Texts(c.sess, k); len(texts) == 0 {
		c.push(3, word)
		c.null()
		c.integer(s.redisCount(c.sess))
		s.confirmTo(c.sess, c.out)
		c.out = c.out[:0]
		return
	}
	own := &call{sess: c.sess}
	s.performEach(c, texts, func(b []byte, text string) []byte {
		s.unsubscribe(own.sess, k, text)
		own.out = b
		s.confirm(own, word, text)
		return own.out
	})
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
	if len(c.args) > 1 {
		c.fail(wire.CodeErr, "unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.")
		return
	}
	var glob *bus.Glob // nil: all, which "*" is not: it does not match the empty name
	if len(c.args) > 0 {
		pattern := string(c.args[0])
		if err := bus.CheckGlob(pattern); err != nil {
			c.fail(wire.CodeBadName, "%v", err)
			return
		}
		glob = bus.CompileGlob(pattern)
	}
	slot, n, long := 0, 0, 0
	names := heap.New(func(a, b string) bool { return a < b })
	var text string    // that is compared at the moment, if it is long
	var scan *bus.Scan // and how far
	t := &task{head: func(b []byte) []byte { return wire.AppendArray(b, n) }}
	add := func(name string) {
		names.Add(name)
		n++
		if len(name) > bus.MaxTopic {
			long += len(name)
		}
		t.held = names.Room()*int(unsafe.Sizeof("")) + long
	}
	t.step = func(b []byte) ([]byte, bool) {
		switch {
		case scan != nil:
			matches, done := scan.Next(text)
			if done {
				scan = nil
			}
			if matches {
				add(text)
			}
			return b, true
		case slot < s.bus.Slots():
			for end := min(slot+globsPerStep, s.bus.Slots()); slot < end && scan == nil; slot++ {
				r := s.bus.RouteAt(slot)
				switch {
				case r == nil || r.Kind != bus.Channel:
				case glob == nil:
					add(r.Text)
				case len(r.Text) > bus.MaxTopic:
					text, scan = r.Text, glob.Scan()
				case glob.MatchString(r.Text):
					add(r.Text)
				}
			}
			return b, true
		case names.Len() == 0:
			return b, false
		}
		if name, ok := names.Next(); ok {
			b = wire.AppendBulk(b, name)
		}
		return b, true
	}
	s.perform(c, t)
}

// globsPerStep is how many names a step compares with a glob, which may take 2 µs each. A longer one takes several steps.
const globsPerStep = 8

func (s *Server) pubsubNumSub(c *call) {
	c.array(2 * len(c.args))
	for _, a := range c.args {
		c.out = wire.AppendBulk(c.out, a)
		c.integer(int64(s.bus.NumSub(string(a))))
	}
}

// busSub answers what a client made for Redis does not expect: the messages that follow are pushes of a kind of their own, and on
// RESP2 arrays, which a client takes for replies to what it asks, or for messages of Redis's kinds. So there it has to know.
func (s *Server) busSub(c *call) {
	switch {
	case len(c.args) > 1 && c.arg(1) != "RAW":
		c.syntax()
		return
	case len(c.args) == 1 && c.sess.proto == wire.RESP2:
		c.fail(wire.CodeErr, "BUS.SUB on RESP2 sends arrays that clients take for replies: say RAW behind the filter if yours knows them, "+
			"or HELLO 3, or PSUBSCRIBE %s and the filter", bus.FilterPattern)
		return
	}
	before := s.bus.Age()
	if !s.subscribe(c, bus.Filter, string(c.args[0])) {
		return
	}
	c.integer(int64(s.bus.Count(c.sess, bus.Filter)))
	if s.retained.topics.Len() > 0 && s.bus.Age() != before { // else it is subscribed already, and has had them
		s.reply(c)
		s.sendRetained(c.sess, s.bus.Route(bus.Filter, string(c.args[0])), c.pays)
	}
}

func (s *Server) busUnsub(c *call) {
	if len(c.args) == 0 {
		sess, texts := c.sess, s.bus.Texts(c.sess, bus.Filter)
		s.perform(c, &task{
			step: func(b []byte) ([]byte, bool) {
				if len(texts) > 0 {
					s.unsubscribe(sess, bus.Filter, texts[0])
					texts = texts[1:]
					return b, true
				}
				return wire.AppendInt(b, int64(s.bus.Count(sess, bus.Filter))), false
			},
			head: noHead,
			held: len(texts) * int(unsafe.Sizeof("")),
		})
		return
	}
	if !s.unsubscribe(c.sess, bus.Filter, string(c.args[0])) {
		c.fail(wire.CodeNotFound, "this connection is not subscribed to %q", clip(string(c.args[0])))
		return
	}
	c.integer(int64(s.bus.Count(c.sess, bus.Filter)))
}
