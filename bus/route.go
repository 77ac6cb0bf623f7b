package bus

import (
	"sort"

	"github.com/ipcd/ipcd/internal/pieces"
)

// Kind is how a subscription's text names topics.
type Kind uint8

// The kinds of subscription, in the order in which a message goes to them.
const (
	Channel Kind = iota // one name, literally (Redis's SUBSCRIBE)
	Pattern             // a glob over whole names, see Glob, or a filter in that guise, see FilterPattern (Redis's PSUBSCRIBE)
	Filter              // an MQTT filter, see Match (BUS.SUB)

	numKinds = 3
)

func (k Kind) String() string {
	return [numKinds]string{"channel", "pattern", "filter"}[k]
}

// Route is what all subscriptions of one kind and text have in common. It exists while there is such a subscription.
type Route[S comparable] struct {
	Kind Kind
	one  sub // if there is one, and there has never been another
	Text string

	// Slot is a small number, for a table of the caller's own by route. It belongs to this route alone until the
	// route's last subscription ends, and then to the next new route.
	Slot int

	born  uint64 // rises with every new route: their order of creation
	count uint64 // of its messages: see Number
	glob  *Glob  // of a Pattern that is one

	alone       [1]S   // whose the one is
	since       uint64 // when he had subscribed
	*several[S]        // nil: there has never been another, as is so with most routes
}

// several are the subscriptions of a route that has had two.
type several[S comparable] struct {
	all *subscriptions

	// The subscriptions in the order in which they were made, whose they are, and since when.
	// Invariant: all.at(subs[i]).pos == i; or subs[i] is 0 and list[i] zero: a hole.
	subs  []sub
	list  []S
	ages  []uint64
	holes int // Invariant: at most half of subs.

	// The same by their subscribers, if there were so many that to look through them takes longer.
	byOwner *shrinkingMap[S, sub]
}

// fewSubs is how many subscriptions of a route are looked through.
const fewSubs = 8

// of is the subscription of a subscriber; 0: he has none.
func (r *Route[S]) of(who S) sub {
	switch {
	case r.several == nil && r.alone[0] == who:
		return r.one
	case r.several == nil:
		return 0
	case r.byOwner != nil:
		return r.byOwner.get(who)
	}
	for i, x := range r.subs {
		if x != 0 && r.list[i] == who {
			return x
		}
	}
	return 0
}

// Subs returns the subscribers in the order in which they subscribed. The slice is to be read only, and until the next
// change of the bus.
func (r *Route[S]) Subs() []S {
	if r.several == nil {
		return r.alone[:r.Len()]
	}
	if r.holes > 0 {
		r.compact()
	}
	return r.list
}

// SubsBetween returns those of Subs who had subscribed when the bus had an age, and not when it had an earlier one, and the place of
// the first among all.
func (r *Route[S]) SubsBetween(after, age uint64) (list []S, first int) {
	list = r.Subs()
	later := func(age uint64) int {
		return sort.Search(len(list), func(i int) bool { return r.AgeAt(i) > age })
	}
	first = later(after)
	return list[first:max(first, later(age))], first
}

// appendSome appends those of SubsBetween, for who must not look at very many at once: it looks at so many places at most, and closes no holes.
// left is how many it has not needed, 0 if there may be more, which are those behind an age.
func (r *Route[S]) appendSome(to []S, after, age uint64, most int) (_ []S, behind uint64, left int) {
	if r.several == nil {
		if r.one != 0 && r.since > after && r.since <= age {
			return append(to, r.alone[0]), r.since, most - 1
		}
		return to, after, most
	}
	for i := sort.Search(len(r.ages), func(i int) bool { return r.ages[i] > after }); most > 0 && i < len(r.ages) && r.ages[i] <= age; i++ {
		if r.subs[i] != 0 {
			to = append(to, r.list[i])
		}
		after = r.ages[i]
		most--
	}
	return to, after, most
}

// AgeAt is the age of the bus when the one with a place among Subs had just subscribed. It rises with the place.
func (r *Route[S]) AgeAt(place int) uint64 {
	if r.several == nil {
		return r.since
	}
	return r.ages[place]
}

// Number counts one more message that takes the route, and returns its number among these, of which the first is 1. So whoever is given
// them with their numbers sees whether some are missing between two. A route that has gone and comes again begins anew.
func (r *Route[S]) Number() uint64 {
	r.count++
	return r.count
}

// mayTake reports whether a message under a name takes the route. It may say so in error for the daemon's topics, and for long names.
func (r *Route[S]) mayTake(name []byte, topic bool) bool {
	switch {
	case r.Kind == Channel:
		return r.Text == string(name)
	case r.glob != nil:
		return r.glob.mayMatch(name)
	}
	return topic && Match(r.Filter(), name)
}

// Filter is the filter whose topics the route takes, be it a Filter or a Pattern in the guise of one; "" if it has none.
func (r *Route[S]) Filter() string {
	switch {
	case r.Kind == Channel || r.glob != nil:
		return ""
	case r.Kind == Pattern:
		filter, _, _ := cutFilter(r.Text)
		return filter
	}
	return r.Text
}

// ref is the route as the indexes know it.
func (r *Route[S]) ref() ref { return ref{born: r.born, slot: int32(r.Slot)} }

// Weight is what a subscription with such a text counts for whoever bounds them by number: one for each 256 bytes that it has begun.
func Weight(text string) int { return 1 + len(text)/(MaxTopic+1) }

// Len is the number of subscribers.
func (r *Route[S]) Len() int {
	switch {
	case r.several != nil:
		return len(r.subs) - r.holes
	case r.one != 0:
		return 1
	}
	return 0
}

// add adds a subscription, one of all, of a subscriber.
func (r *Route[S]) add(all *subscriptions, x sub, who S, age uint64) {
	switch {
	case r.several == nil && r.one == 0:
		r.one, r.alone[0], r.since = x, who, age
		return
	case r.several == nil:
		r.several = &several[S]{all: all, subs: []sub{r.one}, list: []S{r.alone[0]}, ages: []uint64{r.since}}
		r.one, r.since = 0, 0
		clear(r.alone[:])
	}
	all.at(x).pos = int32(len(r.subs))
	r.subs = append(r.subs, x)
	r.list = append(r.list, who)
	r.ages = append(r.ages, age)
	switch {
	case r.byOwner != nil:
		r.byOwner.set(who, x)
	case len(r.subs) > fewSubs:
		r.byOwner = new(shrinkingMap[S, sub])
		for i, x := range r.subs {
			if x != 0 {
				r.byOwner.set(r.list[i], x)
			}
		}
	}
}

// remove leaves a hole, so that a thousand subscribers who leave one after the other do not move those behind them a
// thousand times. It is closed when somebody reads the list, which costs as much anyway, or when half of it is holes.
func (r *Route[S]) remove(pos int32) {
	if r.several == nil {
		r.one, r.since = 0, 0
		clear(r.alone[:])
		return
	}
	var none S
	if r.byOwner != nil {
		if r.byOwner.delete(r.list[pos]); r.Len() <= fewSubs/2+1 {
			r.byOwner = nil
		}
	}
	r.subs[pos] = 0
	r.list[pos] = none
	r.holes++
	if 2*r.holes > len(r.subs) {
		r.compact()
	}
}

func (r *Route[S]) compact() {
	n := 0
	for i, x := range r.subs {
		if x == 0 {
			continue
		}
		if n < i {
			r.all.at(x).pos = int32(n)
			r.subs[n], r.list[n], r.ages[n] = x, r.list[i], r.ages[i]
		}
		n++
	}
	clear(r.list[n:])
	r.subs, r.list, r.ages, r.holes = shrink(r.subs[:n]), shrink(r.list[:n]), shrink(r.ages[:n]), 0
}

// subscription is one subscriber's part in one route. Pointers from each to the next would have the garbage collector take twice as long
// for the routes of one who has very many.
type subscription struct {
	slot       int32 // of the route
	pos        int32 // in the route's list
	prev, next sub   // of the subscriber, in the order in which they were made
}

// A sub is where a subscription is among all: its place, and 1; 0: there is none.
type sub int32

// subscriptions are those of all subscribers.
type subscriptions struct{ pieces.Pool[subscription] }

func (p *subscriptions) at(x sub) *subscription { return p.At(int32(x - 1)) }

// subscriber is one who has at least one subscription.
type subscriber[S comparable] struct {
	who         S
	first, last sub // in the order in which they were made
	count       [numKinds]int
	spelled     [len(filterForms)]int // of the patterns, those that are filters, by their form
	globs       int                   // the weight of the patterns that are none
	others      int                   // and of all else
}

// add has a subscriber have one more.
func (p *subscriptions) add(first, last *sub, slot int) sub {
	x := sub(p.Take() + 1)
	*p.at(x) = subscription{slot: int32(slot), prev: *last}
	if *last == 0 {
		*first = x
	} else {
		p.at(*last).next = x
	}
	*last = x
	return x
}

// remove undoes add.
func (p *subscriptions) remove(first, last *sub, x sub) {
	s := p.at(x)
	if s.prev == 0 {
		*first = s.next
	} else {
		p.at(s.prev).next = s.next
	}
	if s.next == 0 {
		*last = s.prev
	} else {
		p.at(s.next).prev = s.prev
	}
	p.Remove(int32(x - 1))
}

// weigh counts one more or fewer subscription.
func (o *subscriber[S]) weigh(r *Route[S], n int) {
	o.count[r.Kind] += n
	if r.glob != nil {
		o.globs += n * Weight(r.Text)
		return
	}
	o.others += n * Weight(r.Text)
	if _, form, ok := cutFilter(r.Text); ok && r.Kind == Pattern {
		o.spelled[form] += n
	}
}
