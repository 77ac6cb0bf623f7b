package conn

import "github.com/ipcd/ipcd/internal/list"

// A Rule says what becomes of the messages of a subscription that wait, beside the limits of the connection. The zero Rule is that of
// any subscription.
type Rule struct {
	Excess   Excess
	Messages int // so many may wait; 0: any number
	Bytes    int // so many bytes, likewise
}

// Excess is what is done with one that is too many.
type Excess uint8

// What is done.
const (
	Drop       Excess = iota // the oldest are dropped
	Conflate                 // one takes the place of that of its topic, whether it is too many or not; and then likewise
	Disconnect               // the connection ends
)

// Missing is what a subscription misses: messages that were dropped, and such in whose place a newer one of their topic is sent.
type Missing struct{ Lost, Conflated int64 }

func (m *Missing) add(other Missing) {
	m.Lost += other.Lost
	m.Conflated += other.Conflated
}

// A ruled is a subscription.
type ruled struct {
	Rule
	text   string
	ended  bool // it has ended, or may have: what is here is sent as it is
	own    list.List[entry]
	bytes  int
	topics map[string]*entry // of one that conflates: the last of each topic
}

// SetRule gives a subscription a rule for what comes of it from now on.
func (c *Conn) SetRule(of string, r Rule) {
	switch q := c.queue(); {
	case q == nil && r == (Rule{}), q != nil && q.of[of] != nil && q.of[of].Rule == r:
		return
	case q != nil:
		c.EndRule(of)
	}
	if r == (Rule{}) {
		return
	}
	x := c.extra()
	fresh := x.queue == nil
	if fresh {
		x.queue = &queue{of: map[string]*ruled{}}
	}
	x.queue.sub(of).Rule = r
	x.queue.rules++
	if fresh && c.is(isBlocked) {
		c.unpack()
	}
}

// EndRule has the rule of a subscription end, if it has one. What waits of it is sent as it is, whatever comes of it later.
func (c *Conn) EndRule(of string) {
	q := c.queue()
	if q == nil || q.of[of] == nil {
		return
	}
	s := q.of[of]
	if s.Rule != (Rule{}) {
		q.rules--
	}
	s.Rule, s.topics, s.ended = Rule{}, nil, true
	delete(q.of, of)
	c.endQueue()
}

// endQueue has the backlog be in parts again, when there is neither a rule nor anything that waits.
func (c *Conn) endQueue() {
	if q := c.more.queue; q.rules == 0 && q.all.Len == 0 {
		c.more.queue = nil
	}
}

// forget gives up a subscription that has neither a rule nor messages.
func (q *queue) forget(s *ruled) {
	if s.Rule == (Rule{}) && s.own.Len == 0 && !s.ended {
		delete(q.of, s.text)
	}
}

// sub is what a queue knows of a subscription.
func (q *queue) sub(of string) *ruled {
	s := q.of[of]
	if s == nil {
		s = &ruled{text: of}
		q.of[of] = s
	}
	return s
}

// isOver reports whether one more of so many bytes is too much for a subscription.
func (s *ruled) isOver(size int) bool {
	return s.Messages > 0 && s.own.Len >= s.Messages || s.Bytes > 0 && s.bytes+size > s.Bytes
}
