package ipc

import "slices"

// A feed is a subscription in the daemon and those who share it. Each has said BUS.SUB, the first to begin it and the others to be sent the
// values that there are again (VALUES), and is given what comes behind the answer to that: what comes before is of the others, or of a
// subscription to the same filter that has ended.
type feed struct {
	of            sharing
	words         subWords
	waiting       []*Subscription // for the answer
	subscriptions []*Subscription // those that have it
	latest        *Subscription   // that was answered last: values are its own. It may have ended since.
	gap           gap             // behind the last message
}

// isEmpty reports whether nobody shares the feed any more.
func (f *feed) isEmpty() bool { return len(f.waiting)+len(f.subscriptions) == 0 }

// has reports whether a subscription is one of those that share the feed.
func (f *feed) has(s *Subscription) bool {
	return slices.Contains(f.subscriptions, s) || slices.Contains(f.waiting, s)
}

// without is a list of subscriptions but for one.
func without(all []*Subscription, s *Subscription) []*Subscription {
	return slices.DeleteFunc(all, func(other *Subscription) bool { return other == s })
}

// subscribedLocked is told the daemon's answer to BUS.SUB, before any message that comes behind it.
func (c *Client) subscribedLocked(cl *call, err error) {
	f, s := cl.feed, cl.by
	wanted := slices.Contains(f.waiting, s)
	f.waiting = without(f.waiting, s)
	switch {
	case err == nil:
		f.answered(s)
		if wanted {
			f.subscriptions = append(f.subscriptions, s)
		}
	case f.isEmpty() && c.feeds[f.of] == f:
		delete(c.feeds, f.of)
	}
}

// givenLocked are those who are given a message, behind what they miss: all who share its filter, or of a value that its topic had before
// the one who has asked for it, if there is still.
func (c *Client) givenLocked(of sharing, m *Message) []*Subscription {
	f := c.feeds[of]
	switch {
	case f == nil:
		return nil
	case m.Retained:
		f.valueCame()
		return f.asker()
	default:
		f.messageCame(m.Count)
		return f.subscriptions
	}
}

// asker is who was answered last, if there is still.
func (f *feed) asker() []*Subscription {
	if slices.Contains(f.subscriptions, f.latest) {
		return []*Subscription{f.latest}
	}
	return nil
}
