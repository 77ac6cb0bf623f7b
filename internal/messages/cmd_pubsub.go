package messages

import (
	"math"
	"sync"
	"unsafe"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/heap"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// subscribe adds a subscription, within the limits, and reports whether it is there now.
func (s *Service) subscribe(c *session.Call, k bus.Kind, text string) bool {
	if s.bus.AgeOf(c.Session, s.bus.Route(k, text)) == 0 && !c.Room(subscriptionColumn(k, text), bus.Weight(text)) {
		return false
	}
	r, added, err := s.bus.Subscribe(c.Session, k, text)
	if err != nil {
		c.Fail(wire.CodeBadName, "%v", err)
		return false
	}
	if added {
		if r.Len() == 1 { // the slot may have been another's in this turn
			s.set.Net.Renew(r.Slot)
		} else {
			s.set.Net.Unsettle(r.Slot)
		}
		c.Session.Mark(session.Subscribed)
		c.Session.User().Count(subscriptionColumn(k, text), bus.Weight(text))
	}
	return true
}

func (s *Service) unsubscribe(sess *session.Session, k bus.Kind, text string) bool {
	r := s.bus.Route(k, text)
	if r == nil {
		return false
	}
	sess.TellLoss(text) // before the reply that ends the subscription: what follows is of another, or of none
	s.set.Net.Unsettle(r.Slot)
	removed := s.bus.Unsubscribe(sess, k, text)
	if removed {
		if k == bus.Filter {
			s.setTakesFiles(sess, text, false)
		}
		if canLose(k, text) {
			sess.EndRule(text)
			s.HasRoom(sess)
		}
		sess.User().Count(subscriptionColumn(k, text), -bus.Weight(text))
	}
	return removed
}

// dropSubscriptions ends all of a session that is gone, or as many as may be ended at once. It reports whether none is left.
func (s *Service) dropSubscriptions(sess *session.Session) bool {
	if !sess.Is(session.Subscribed) {
		return true
	}
	u := sess.User()
	globs, others := s.bus.Weight(sess)
	left := s.bus.DropSome(sess, MostDropped)
	globsLeft, othersLeft := s.bus.Weight(sess)
	u.Count(account.Patterns, globsLeft-globs)
	u.Count(account.Subscriptions, othersLeft-others)
	return left == 0
}

// MostDropped is how many subscriptions are ended at once, in some hundred microseconds.
const MostDropped = 128

// subscriptionColumn is what the user of a subscription is charged for, by the weight of its text: a long one counts as several. A
// pattern that is a filter costs a publisher no more than any filter.
func subscriptionColumn(k bus.Kind, text string) account.Column {
	if k == bus.Pattern && !bus.IsFilter(text) {
		return account.Patterns
	}
	return account.Subscriptions
}

// subscribeRedis confirms each name by a push, which CLIENT REPLY OFF does not suppress. One among several that is refused is
// answered with an error in its place, and the others are subscribed to. One that begins with values waits for those of the one before:
// see sendRetained.
func (s *Service) subscribeRedis(c *session.Call, k bus.Kind, word string) {
	valued := false // one behind the first may begin with values
	one := func(c *session.Call, text string) {
		c.Out = c.Out[:0]
		before := s.bus.Age()
		of, inGroup := cutGroup(text)
		inGroup = inGroup && k == bus.Pattern
		if inGroup && !s.joinAsPattern(c, of, text) || !inGroup && !s.subscribe(c, k, text) {
			c.Reply()
			return
		}
		s.confirm(c, word, text)
		c.Session.Confirm(c.Out)
		c.Out = c.Out[:0]
		if inGroup {
			s.give()
		}
		if isEnvelope(k, text) {
			s.beginWithRetained(c, before, k, text)
		}
	}
	for i, a := range c.Args {
		valued = valued || i > 0 && s.retained.topics.Len() > 0 && isEnvelope(k, string(a))
	}
	if len(c.Args) <= fewNames && !valued {
		for _, a := range c.Args {
			one(c, string(a))
		}
		return
	}
	texts := c.Texts()
	own := &session.Call{Session: c.Session, Row: c.Row}
	ready := func(text string) bool { return !isEnvelope(k, text) || !s.mustAwaitRetained(own.Session) }
	c.PerformEach(texts, nil, ready, func(b []byte, text string) []byte {
		one(own, text)
		return b
	})
}

// fewNames is how many names a command may have that is executed in one step.
const fewNames = 64

func (s *Service) unsubscribeRedis(c *session.Call, k bus.Kind, word string) {
	own := &session.Call{Session: c.Session}
	end := func(b []byte, text string) []byte {
		if of, ok := cutGroup(text); ok && k == bus.Pattern {
			if s.groupPattern(own.Session, of) != "" {
				s.leave(own.Session, of)
			}
		} else {
			s.unsubscribe(own.Session, k, text)
		}
		own.Out = b
		s.confirm(own, word, text)
		return own.Out
	}
	if len(c.Args) > 0 {
		c.PerformEach(c.Texts(), nil, nil, end)
		return
	}
	list, groups, n := s.bus.List(c.Session, k), groupList{}, s.bus.Count(c.Session, k)
	if k == bus.Pattern {
		groups, n = s.groupsBy(c.Session, true), n+s.groupPatterns(c.Session)
	}
	if n == 0 {
		c.Push(3, word)
		c.Null()
		c.Integer(s.redisCount(c.Session))
		c.Session.Confirm(c.Out)
		c.Out = c.Out[:0]
		return
	}
	c.Perform(&session.Task{Step: func(b []byte) ([]byte, bool) {
		text, found, more := list.Next(textsPerStep)
		if !found && !more {
			_, text, found, more = groups.next(textsPerStep)
		}
		if found {
			b = end(b, text)
		}
		return b, more
	}})
}

// textsPerStep is how many subscriptions a step looks at for one of the kind that is to end.
const textsPerStep = 64

// confirm appends the push that answers a subscribe or unsubscribe.
func (s *Service) confirm(c *session.Call, word, text string) {
	c.Push(3, word)
	c.Bulk(text)
	c.Integer(s.redisCount(c.Session))
}

// redisCount is the number that Redis's confirmations tell: channels and patterns.
func (s *Service) redisCount(sess *session.Session) int64 {
	return int64(s.bus.Count(sess, bus.Channel, bus.Pattern) + s.groupPatterns(sess))
}

// listing has heaps of names that are empty again. Who lists 90,000 channels again and again would have the garbage collector run all the
// time; what has not been used between two of its runs goes.
var listing = sync.Pool{New: func() any { return heap.New(func(a, b string) bool { return a < b }) }}

func (s *Service) pubsubChannels(c *session.Call) {
	if len(c.Args) > 1 {
		c.Fail(wire.CodeErr, "unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.")
		return
	}
	var glob *bus.Glob // nil: all, which "*" is not: it does not match the empty name
	if len(c.Args) > 0 {
		pattern := string(c.Args[0])
		if err := bus.CheckGlob(pattern); err != nil {
			c.Fail(wire.CodeBadName, "%v", err)
			return
		}
		glob = bus.CompileGlob(pattern)
	}
	slot, n, long := 0, 0, 0
	names := listing.Get().(*heap.Heap[string])
	var text string    // that is compared at the moment, if it is long
	var scan *bus.Scan // and how far
	t := &session.Task{Head: func(b []byte) []byte { return wire.AppendArray(b, n) }}
	add := func(name string) {
		names.Add(name)
		n++
		if len(name) > bus.MaxTopic {
			long += len(name)
		}
		t.Held = n*int(unsafe.Sizeof(name)) + long
	}
	t.Step = func(b []byte) ([]byte, bool) {
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
			listing.Put(names)
			return b, false
		}
		if name, ok := names.Next(); ok {
			b = wire.AppendBulk(b, name)
		}
		return b, true
	}
	c.Perform(t)
}

// globsPerStep is how many names a step compares with a glob, which may take 2 µs each. A longer one takes several steps.
const globsPerStep = 8

func (s *Service) pubsubNumSub(c *session.Call) {
	n := 2 * len(c.Args)
	c.PerformEach(c.Texts(), func(b []byte) []byte { return wire.AppendArray(b, n) }, nil, func(b []byte, text string) []byte {
		return wire.AppendInt(wire.AppendBulk(b, text), int64(s.bus.NumSub(text)))
	})
}

// busSub answers what a client made for Redis does not expect: the messages that follow are pushes of a kind of their own, and on
// RESP2 arrays, which a client takes for replies to what it asks, or for messages of Redis's kinds. So there it has to know.
func (s *Service) busSub(c *session.Call) {
	w, ok := subWords(c)
	switch {
	case !ok:
		return
	case w.files && c.Session.Proto() == wire.RESP2:
		c.Fail(wire.CodeErr, "BUS.SUB with FD needs RESP3: HELLO 3")
		return
	case !w.raw && c.Session.Proto() == wire.RESP2:
		c.Fail(wire.CodeErr, "BUS.SUB on RESP2 sends arrays that clients take for replies: say RAW behind the filter if yours knows them, "+
			"or HELLO 3, or PSUBSCRIBE %s and the filter", bus.FilterPattern)
		return
	}
	if w.of.Group != "" {
		if s.join(c, w.of, w.take, "") {
			c.Integer(s.busCount(c.Session))
			c.Reply() // before what waits in the group
			s.give()
		}
		return
	}
	before := s.bus.Age()
	if !s.subscribe(c, bus.Filter, w.of.Filter) {
		return
	}
	s.setTakesFiles(c.Session, w.of.Filter, w.files)
	if w.values && s.bus.Age() == before {
		s.sendAgain(c, w.of.Filter, w.rule)
		return
	}
	c.Session.SetRule(w.of.Filter, w.rule)
	c.Integer(s.busCount(c.Session))
	s.beginWithRetained(c, before, bus.Filter, w.of.Filter)
}

// busWords are the options of BUS.SUB.
type busWords struct {
	of   bus.Sharing
	take int       // below 0, a member takes as many as come
	rule conn.Rule // for what waits

	files  bool // with messages, if they have some
	values bool // that topics have are sent, also if the subscription is there already
	raw    bool
}

// subWords reads them, and has the reply ready if they are wrong.
func subWords(c *session.Call) (w busWords, ok bool) {
	w.of.Filter, w.take = string(c.Args[0]), -1
	number := func(i int, least, most int64) (n int) {
		given, isNumber := session.Number(c.Args[i+1])
		if ok = isNumber && given >= least && given <= most; !ok {
			c.Fail(wire.CodeErr, "%s wants a number from %d to %d, not %q", c.Keyword(i), least, most, session.Clip(string(c.Args[i+1])))
		}
		return int(given)
	}
	for i := 1; i < len(c.Args); i += 2 {
		ok = true
		switch option := c.Keyword(i); {
		case option == "RAW":
			w.raw = true
			i--
		case option == "FD":
			w.files = true
			i--
		case option == "VALUES":
			w.values = true
			i--
		case i+1 == len(c.Args):
			c.Syntax()
			return w, false
		case option == "GROUP":
			w.of.Group = string(c.Args[i+1])
			if err := bus.CheckGroup(w.of.Group); err != nil {
				c.Fail(wire.CodeBadName, "%v", err)
				return w, false
			}
		case option == "TAKE":
			w.take = number(i, 0, mostTaken)
		case option == "SLOW":
			if w.rule.Excess, ok = excesses[c.Keyword(i+1)]; !ok {
				c.Fail(wire.CodeErr, "SLOW wants DROP, CONFLATE or DISCONNECT, not %q", session.Clip(string(c.Args[i+1])))
			}
		case option == "QUEUE":
			w.rule.Messages = number(i, 1, math.MaxInt32)
		case option == "BYTES":
			w.rule.Bytes = number(i, 1, math.MaxInt32)
		default:
			c.Syntax()
			return w, false
		}
		if !ok {
			return w, false
		}
	}
	switch {
	case w.take >= 0 && w.of.Group == "":
		c.Fail(wire.CodeErr, "TAKE is for a member of a group: say GROUP and its label, too")
	case w.rule != (conn.Rule{}) && w.of.Group != "":
		c.Fail(wire.CodeErr, "SLOW, QUEUE and BYTES are not for a member of a group, which is given what it can take")
	case w.values && w.of.Group != "":
		c.Fail(wire.CodeErr, "VALUES does not go with GROUP: a group begins with none, as nobody could say whose they were")
	case w.files && w.of.Group != "":
		c.Fail(wire.CodeErr, "FD does not go with GROUP: members are given what is in a command")
	default:
		return w, true
	}
	return w, false
}

// mostTaken is how many messages can be asked for at once.
const mostTaken = math.MaxInt32

// excesses are the words of SLOW.
var excesses = map[string]conn.Excess{"DROP": conn.Drop, "CONFLATE": conn.Conflate, "DISCONNECT": conn.Disconnect}

// busCount is how many subscriptions by BUS.SUB a session has.
func (s *Service) busCount(sess *session.Session) int64 {
	return int64(s.bus.Count(sess, bus.Filter) + s.groups.Count(sess) - s.groupPatterns(sess))
}

func (s *Service) busUnsub(c *session.Call) {
	if len(c.Args) == 0 {
		sess, list, groups := c.Session, s.bus.List(c.Session, bus.Filter), s.groupsBy(c.Session, false)
		c.Perform(&session.Task{Head: session.NoHead, Step: func(b []byte) ([]byte, bool) {
			text, found, more := list.Next(textsPerStep)
			if found {
				s.unsubscribe(sess, bus.Filter, text)
			}
			if found || more {
				return b, true
			}
			of, _, found, more := groups.next(textsPerStep)
			if found {
				s.leave(sess, of)
			}
			if more {
				return b, true
			}
			return wire.AppendInt(b, s.busCount(sess)), false
		}})
		return
	}
	filter := string(c.Args[0])
	switch {
	case len(c.Args) == 1:
		if !s.unsubscribe(c.Session, bus.Filter, filter) {
			c.Fail(wire.CodeNotFound, "this connection is not subscribed to %q", session.Clip(filter))
			return
		}
	case len(c.Args) == 3 && c.Keyword(1) == "GROUP":
		group := string(c.Args[2])
		of := bus.Sharing{Filter: filter, Group: group}
		if s.groupPattern(c.Session, of) != "" || !s.leave(c.Session, of) {
			c.Fail(wire.CodeNotFound, "this connection is not subscribed to %q in group %q", session.Clip(filter), session.Clip(group))
			return
		}
	default:
		c.Syntax()
		return
	}
	c.Integer(s.busCount(c.Session))
}
