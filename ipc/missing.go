package ipc

import "math"

// The daemon says how many messages of a filter it has not sent, and does not say which of them were values that topics had before: these
// only the one misses who has asked for them, and who shares his subscription does not. What the others miss is seen by the numbers of
// messages, which rise by one: so many are missing as numbers are, and what was told beyond that were values.
//
// Values come behind the answer to who has asked for them, and before the first message. So what is told before a value were values. What is
// told behind a message, up to the next answer, were messages. What is told between is to be seen by the next message.
//
// It cannot be seen always. If two are answered between two messages, and something is missing behind either answer, the numbers do not say
// how much of the messages behind which; and before the first message there is no number. Then the others are told the most that they may
// miss, and never less than they do.

// missing is what a subscription is not given: messages that were dropped, and such as newer ones of their topics have replaced.
type missing struct{ lost, conflated uint64 }

func (m *missing) add(more missing) {
	m.lost += more.lost
	m.conflated += more.conflated
}

// atMost is so much of it as there may be messages. Rather than replaced they were dropped, if either may be.
func (m missing) atMost(messages uint64) missing {
	lost := min(m.lost, messages)
	return missing{lost, min(m.conflated, messages-lost)}
}

// A gap is what was told to be missing since the last message.
type gap struct {
	count    uint64                    // the number of that message; 0: there was none, or it has none
	messages uint64                    // that were missing before anybody was answered
	values   bool                      // somebody was: what is missing since may be his values
	either   missing                   // of which this is messages or values of the latest
	before   map[*Subscription]missing // likewise, of those who were answered before the latest: what concerns each beside his own values
}

// answered notes that the values come that a subscription has asked for.
func (f *feed) answered(s *Subscription) {
	f.leaveOpen()
	f.latest, f.gap.values = s, true
}

// leaveOpen has what may be values of the latest be what the others may miss.
func (f *feed) leaveOpen() {
	g := &f.gap
	if g.either == (missing{}) {
		return
	}
	if g.before == nil {
		g.before = map[*Subscription]missing{}
	}
	for _, s := range f.subscriptions {
		if s != f.latest {
			m := g.before[s]
			m.add(g.either)
			g.before[s] = m
		}
	}
	g.either = missing{}
}

// missed is told what the daemon has not sent. The latest misses that in any case.
func (f *feed) missed(m missing) {
	told := f.subscriptions
	if f.gap.values {
		told = f.asker()
		f.gap.either.add(m)
	} else {
		f.gap.messages += m.lost + m.conflated
	}
	for _, s := range told {
		s.missed(m)
	}
}

// valueCame notes that a value of the latest was sent: so what is missing before it is nothing else.
func (f *feed) valueCame() { f.gap.either = missing{} }

// messageCame tells those who share a feed what they miss before a message.
func (f *feed) messageCame(count uint64) {
	g := &f.gap
	if g.values {
		f.leaveOpen()
		most := uint64(math.MaxUint64)
		if g.count != 0 && count > g.count {
			most = count - g.count - 1
			most -= min(most, g.messages)
		}
		for s, m := range g.before {
			s.missed(m.atMost(most))
		}
	}
	clear(g.before)
	*g = gap{count: count, before: g.before}
}

// missingLocked tells those who share a filter what the daemon has not sent of it.
func (c *Client) missingLocked(of sharing, m missing) {
	if f := c.feeds[of]; f != nil {
		f.missed(m)
	}
}
