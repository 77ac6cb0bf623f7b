package bus

import "sort"

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
	Text string

	// Slot is a small number, for a table of the caller's own by route. It belongs to this route alone until the
	// route's last subscription ends, and then to the next new route.
	Slot int

	born  uint64 // rises with every new route: their order of creation
	count uint64 // of its messages: see Number
	glob  *Glob  // of a Pattern that is one

	one         subscription[S] // one of them; of nobody, if it is free
	alone       [1]S            // whose it is, if there are no others
	*several[S]                 // nil: there has never been another, as is so with most routes
}

// several are the subscriptions of a route that has had two.
type several[S comparable] struct {
	// The subscriptions in the order in which they were made, and their subscribers.
	// Invariant: subs[i].pos == i, list[i] == subs[i].owner.who; or subs[i] is nil and list[i] zero: a hole.
	subs  []*subscription[S]
	list  []S
	holes int // Invariant: at most half of subs.

	// The same by their subscribers, if there were so many that to look through them takes longer.
	byOwner *shrinkingMap[*subscriber[S], *subscription[S]]
}

// fewSubs is how many subscriptions of a route are looked through.
const fewSubs = 8

// of is the subscription of a subscriber, or nil.
func (r *Route[S]) of(o *subscriber[S]) *subscription[S] {
	switch {
	case r.several == nil && r.one.owner == o:
		return &r.one
	case r.several == nil:
		return nil
	case r.byOwner != nil:
		return r.byOwner.get(o)
	}
	for _, x := range r.subs {
		if x != nil && x.owner == o {
			return x
		}
	}
	return nil
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

// SubsAt returns those of Subs who had subscribed when the bus had an age.
func (r *Route[S]) SubsAt(age uint64) []S {
	list, _ := r.SubsBetween(0, age)
	return list
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

// AgeAt is the age of the bus when the one with a place among Subs had just subscribed. It rises with the place.
func (r *Route[S]) AgeAt(place int) uint64 {
	if r.several == nil {
		return r.one.born
	}
	return r.subs[place].born
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
	case r.one.owner != nil:
		return 1
	}
	return 0
}

// add adds a subscription of a subscriber.
func (r *Route[S]) add(o *subscriber[S], born uint64) *subscription[S] {
	x := &r.one
	if x.owner != nil {
		x = new(subscription[S])
	}
	*x = subscription[S]{owner: o, route: r, born: born}
	switch {
	case r.several == nil && x == &r.one:
		r.alone[0] = o.who
		return x
	case r.several == nil:
		r.several = &several[S]{subs: []*subscription[S]{&r.one}, list: []S{r.alone[0]}}
		clear(r.alone[:])
	}
	x.pos = len(r.subs)
	r.subs = append(r.subs, x)
	r.list = append(r.list, x.owner.who)
	switch {
	case r.byOwner != nil:
		r.byOwner.set(x.owner, x)
	case len(r.subs) > fewSubs:
		r.byOwner = new(shrinkingMap[*subscriber[S], *subscription[S]])
		for _, x := range r.subs {
			if x != nil {
				r.byOwner.set(x.owner, x)
			}
		}
	}
	return x
}

// remove leaves a hole, so that a thousand subscribers who leave one after the other do not move those behind them a
// thousand times. It is closed when somebody reads the list, which costs as much anyway, or when half of it is holes.
func (r *Route[S]) remove(x *subscription[S]) {
	if r.several == nil {
		r.one = subscription[S]{}
		clear(r.alone[:])
		return
	}
	var none S
	r.subs[x.pos] = nil
	r.list[x.pos] = none
	r.holes++
	if r.byOwner != nil {
		if r.byOwner.delete(x.owner); r.Len() <= fewSubs/2 {
			r.byOwner = nil
		}
	}
	if 2*r.holes > len(r.subs) {
		r.compact()
	}
	*x = subscription[S]{}
}

func (r *Route[S]) compact() {
	n := 0
	for i, x := range r.subs {
		if x == nil {
			continue
		}
		if n < i {
			x.pos = n
			r.subs[n], r.list[n] = x, r.list[i]
		}
		n++
	}
	clear(r.subs[n:])
	clear(r.list[n:])
	r.subs, r.list, r.holes = shrink(r.subs[:n]), shrink(r.list[:n]), 0
}

// subscription is one subscriber's part in one route.
type subscription[S comparable] struct {
	owner      *subscriber[S]
	route      *Route[S]
	born       uint64 // rises along the route's list
	pos        int    // in the route's list
	prev, next *subscription[S]
}

// subscriber is one who has at least one subscription.
type subscriber[S comparable] struct {
	who         S
	first, last *subscription[S] // in the order in which they were made
	count       [numKinds]int
	spelled     [len(filterForms)]int // of the patterns, those that are filters, by their form
	globs       int                   // the weight of the patterns that are none
	others      int                   // and of all else
}

func (o *subscriber[S]) add(x *subscription[S]) {
	x.prev = o.last
	if o.last == nil {
		o.first = x
	} else {
		o.last.next = x
	}
	o.last = x
	o.weigh(x.route, 1)
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

func (o *subscriber[S]) remove(x *subscription[S]) {
	if x.prev == nil {
		o.first = x.next
	} else {
		x.prev.next = x.next
	}
	if x.next == nil {
		o.last = x.prev
	} else {
		x.next.prev = x.prev
	}
	o.weigh(x.route, -1)
}
