package bus

import (
	"math"
	"slices"
	"strings"

	"github.com/ipcd/ipcd/internal/heap"
)

// Bus knows who subscribed to what. S stands for a subscriber; the bus does nothing with it but compare.
type Bus[S comparable] struct {
	// Verify makes every call that changes the bus, and every Publish, check all invariants and panic if one does not
	// hold. That takes time in proportion to the number of subscriptions.
	Verify bool

	last      []byte // the name whose routes are in out, if known
	known     bool
	lastTopic bool   // last is a topic
	seq       uint64 // of the last message
	born      uint64 // of the last route or subscription

	texts  byText[S] // every route, by its slot and by its text
	subs   subscriptions
	owners shrinkingMap[S, *subscriber[S]] // all who have one
	wild   index                           // the routes that more than one topic can match

	out  []*Route[S]     // what Publish returned last
	hits *heap.Heap[hit] // see keepHits
}

// New returns a bus without subscriptions.
func New[S comparable]() *Bus[S] {
	return &Bus[S]{}
}

// Subscribe makes s receive what is published under the names that the text means. If s does so already, nothing
// changes, and added is false. The route is new if s is its only subscriber afterwards. The error is a *NameError; a
// channel is always valid.
func (b *Bus[S]) Subscribe(s S, k Kind, text string) (r *Route[S], added bool, err error) {
	o := b.owners.get(s)
	if r = b.find(k, text); r == nil {
		switch k {
		case Pattern:
			err = CheckPattern(text)
		case Filter:
			err = CheckFilter(text)
		}
		if err != nil {
			return nil, false, err
		}
		r = b.addRoute(k, text)
	} else if o != nil && r.of(s) != 0 {
		return r, false, nil
	}
	if o == nil {
		o = &subscriber[S]{who: s}
		b.owners.set(s, o)
	}
	b.born++
	o.weigh(r, 1)
	r.add(&b.subs, b.subs.add(&o.first, &o.last, r.Slot), s, b.born)
	b.verify()
	return r, true, nil
}

// Unsubscribe undoes Subscribe. It reports whether there was such a subscription.
func (b *Bus[S]) Unsubscribe(s S, k Kind, text string) (removed bool) {
	o, r := b.owners.get(s), b.find(k, text)
	if o == nil || r == nil {
		return false
	}
	x := r.of(s)
	if x == 0 {
		return false
	}
	b.remove(o, x)
	b.verify()
	return true
}

// Drop ends all subscriptions of s.
func (b *Bus[S]) Drop(s S) { b.DropSome(s, math.MaxInt) }

// DropSome ends as many subscriptions of s at most, the oldest first. It returns how many are left.
func (b *Bus[S]) DropSome(s S, most int) (left int) {
	o := b.owners.get(s)
	if o == nil {
		return 0
	}
	for ; o.first != 0 && most > 0; most-- {
		b.remove(o, o.first)
	}
	b.verify()
	return b.Count(s)
}

// Count is how many subscriptions of these kinds s has; without kinds, of all.
func (b *Bus[S]) Count(s S, kinds ...Kind) int {
	o := b.owners.get(s)
	if o == nil {
		return 0
	}
	n := 0
	if len(kinds) == 0 {
		for _, c := range o.count {
			n += c
		}
	}
	for _, k := range kinds {
		n += o.count[k]
	}
	return n
}

// Weight is how much s has: globs, and all other subscriptions, each by the weight of its text.
func (b *Bus[S]) Weight(s S) (globs, others int) {
	if o := b.owners.get(s); o != nil {
		return o.globs, o.others
	}
	return 0, 0
}

// Enveloped is how many of the patterns of s begin with EnvelopePattern.
func (b *Bus[S]) Enveloped(s S) int {
	if o := b.owners.get(s); o != nil {
		return o.spelled[envelopeForm]
	}
	return 0
}

// Texts returns the texts of the subscriptions of one kind that s has, in the order in which they were made.
func (b *Bus[S]) Texts(s S, k Kind) []string {
	o := b.owners.get(s)
	if o == nil || o.count[k] == 0 {
		return nil
	}
	texts := make([]string, 0, o.count[k])
	for x := o.first; x != 0; x = b.subs.at(x).next {
		if r := b.routeOf(x); r.Kind == k {
			texts = append(texts, r.Text)
		}
	}
	return texts
}

// A TextList gives the texts of the subscriptions of one kind that a subscriber has, in the order in which they were made, for who must not
// look at all of very many at once. It may end the one that it was given last; if others of that subscriber end, the list may end, too.
type TextList[S comparable] struct {
	bus  *Bus[S]
	kind Kind
	next sub
	born uint64 // when the next was
}

// List is Texts one by one.
func (b *Bus[S]) List(s S, k Kind) *TextList[S] {
	l := &TextList[S]{bus: b, kind: k}
	if o := b.owners.get(s); o != nil && o.count[k] > 0 {
		l.goTo(o.first)
	}
	return l
}

func (l *TextList[S]) goTo(x sub) {
	if l.next = x; x != 0 {
		l.born = l.bus.bornOf(x)
	}
}

// more reports whether there is a next one, and it has not ended.
func (l *TextList[S]) more() bool { return l.next != 0 && l.bus.bornOf(l.next) == l.born }

// Next looks at so many subscriptions at most for the next of the kind, and gives its text if one of them is. It reports whether there may
// be more.
func (l *TextList[S]) Next(most int) (text string, found, more bool) {
	for ; most > 0 && l.more(); most-- {
		r := l.bus.routeOf(l.next)
		l.goTo(l.bus.subs.at(l.next).next)
		if r.Kind == l.kind {
			return r.Text, true, true
		}
	}
	return "", false, l.more()
}

// routeOf is the route that a subscription is in.
func (b *Bus[S]) routeOf(x sub) *Route[S] { return b.RouteAt(int(b.subs.at(x).slot)) }

// bornOf is the age of a subscription, which may have ended; 0: it has.
func (b *Bus[S]) bornOf(x sub) uint64 {
	s := b.subs.Find(int32(x - 1))
	if s == nil {
		return 0
	}
	return b.RouteAt(int(s.slot)).AgeAt(int(s.pos))
}

// Oldest returns the route of the oldest subscription of s, of any kind; nil if s has none. Who ends all of them one after the other need not
// have a list.
func (b *Bus[S]) Oldest(s S) *Route[S] {
	if o := b.owners.get(s); o != nil {
		return b.routeOf(o.first)
	}
	return nil
}

// Route returns the route of one kind and text, or nil if nobody subscribed to it.
func (b *Bus[S]) Route(k Kind, text string) *Route[S] {
	return b.find(k, text)
}

// Publish counts a message under a name and returns its number and the routes that it takes: the name's channel, the
// patterns, the filter that is the name itself, the filters with wildcards; patterns and filters each in the order in
// which their routes were created. A subscriber with several subscriptions that match is in each of those routes. The
// slice is to be read only, and until the next change or Publish. The error is ErrTooLong; then nothing was counted.
func (b *Bus[S]) Publish(name []byte) (seq uint64, routes []*Route[S], err error) {
	if routes, err = b.Routes(name); err != nil {
		return 0, nil, err
	}
	return b.Take(), routes, nil
}

// Routes returns what Publish would, and counts nothing.
func (b *Bus[S]) Routes(name []byte) ([]*Route[S], error) {
	routes, _, err := b.Search(name, math.MaxInt)
	return routes, err
}

// Search is Routes for who must not stop for as long as it may take to find all of very many routes. In one step it tries one
// pattern, or a part of a long name with it, or visits one node of a tree of filters. If so many steps are not enough, it returns
// no routes, and a search that goes on: [Bus.Take] counts the message then, and Next finds its routes.
func (b *Bus[S]) Search(name []byte, most int) (routes []*Route[S], rest *Search[S], err error) {
	return b.search(name, false, most)
}

// SearchTopic is Search for a name that has to be a topic. If it is none, the error is a *NameError.
func (b *Bus[S]) SearchTopic(topic []byte, most int) (routes []*Route[S], rest *Search[S], err error) {
	return b.search(topic, true, most)
}

func (b *Bus[S]) search(name []byte, topicOnly bool, most int) (routes []*Route[S], rest *Search[S], err error) {
	if b.known && string(name) == string(b.last) && (b.lastTopic || !topicOnly) { // as is usual
		return b.out, nil, nil
	}
	topic := IsTopic(name)
	switch {
	case topicOnly && !topic:
		return nil, nil, CheckTopic(name)
	case len(name) > MaxTopic && b.wild.patterns.tooMuch(name):
		return nil, nil, ErrTooLong
	}
	clear(b.out) // or a route that has gone since would be kept from the garbage collector
	out := b.out[:0]
	b.known = false

	slots, patterns, w := b.wild.match(name, topic, most)
	if w != nil {
		b.out = out
		return nil, newSearch(b, w), nil
	}
	if r := b.findName(Channel, name); r != nil {
		out = append(out, r)
	}
	for _, slot := range slots[:patterns] {
		out = append(out, b.RouteAt(int(slot)))
	}
	if topic {
		if r := b.findName(Filter, name); r != nil {
			out = append(out, r)
		}
	}
	for _, slot := range slots[patterns:] {
		out = append(out, b.RouteAt(int(slot)))
	}
	b.out = out
	if len(name) <= MaxTopic { // what is kept is bounded
		b.last = append(b.last[:0], name...)
		b.known, b.lastTopic = true, topic
	}
	b.verify()
	return out, nil, nil
}

// Take counts a message whose routes were searched for, and returns its number.
func (b *Bus[S]) Take() uint64 {
	b.seq++
	return b.seq
}

// Resume has the numbers of messages go on behind one that was given by a bus before this one.
func (b *Bus[S]) Resume(seq uint64) { b.seq = max(b.seq, seq) }

// AgeOf is the age of a subscription, by which it is told from one that the same subscriber makes later; 0: there is none.
func (b *Bus[S]) AgeOf(s S, r *Route[S]) uint64 {
	if o := b.owners.get(s); o != nil && r != nil {
		if x := r.of(s); x != 0 {
			return r.AgeAt(int(b.subs.at(x).pos))
		}
	}
	return 0
}

// MayReceive reports whether a message under a name may go to s. It looks at no more subscriptions than the budget has left, and
// says yes if there are more.
func (b *Bus[S]) MayReceive(s S, name []byte, budget *int) bool {
	o := b.owners.get(s)
	if o == nil {
		return false
	}
	isTopic := IsTopic(name)
	for x := o.first; x != 0; x = b.subs.at(x).next {
		if *budget--; *budget < 0 || b.routeOf(x).mayTake(name, isTopic) {
			return true
		}
	}
	return false
}

// Age is that of the newest subscription. It rises with each.
func (b *Bus[S]) Age() uint64 { return b.born }

// Seq is the number of the last message, 0 before the first.
func (b *Bus[S]) Seq() uint64 {
	return b.seq
}

// Channels returns the channels with a subscriber whose names match the glob, sorted. "*" is all, those of the daemon
// included. (PUBSUB CHANNELS)
func (b *Bus[S]) Channels(pattern string) []string {
	var names []string
	glob := CompileGlob(pattern)
	for slot := range b.Slots() {
		if r := b.RouteAt(slot); r != nil && r.Kind == Channel && glob.MatchString(r.Text) {
			names = append(names, r.Text)
		}
	}
	slices.Sort(names)
	return names
}

// Slots is above the slot of every route, and RouteAt the route that has a slot, or nil: for who looks at all of them, a few at a
// time.
func (b *Bus[S]) Slots() int { return b.texts.slots.Len() }

// RouteAt is the route with a slot below Slots, or nil.
func (b *Bus[S]) RouteAt(slot int) *Route[S] { return b.texts.slots.At(slot).route }

// NumSub is the number of a channel's subscribers; those by pattern or filter do not count. (PUBSUB NUMSUB)
func (b *Bus[S]) NumSub(channel string) int {
	if r := b.find(Channel, channel); r != nil {
		return r.Len()
	}
	return 0
}

// NumPat is the number of different patterns that somebody subscribed to. (PUBSUB NUMPAT)
func (b *Bus[S]) NumPat() int {
	return b.texts.count[Pattern]
}

// NumChannels is the number of different channels that somebody subscribed to.
func (b *Bus[S]) NumChannels() int {
	return b.texts.count[Channel]
}

func (b *Bus[S]) addRoute(k Kind, text string) *Route[S] {
	b.born++
	b.known = false
	// Cloned, because the text may be a small part of a large command.
	r := &Route[S]{Kind: k, Text: strings.Clone(text), born: b.born}
	r.Slot = b.texts.add(r)
	if _, _, ok := cutFilter(r.Text); k == Pattern && !ok {
		r.glob = CompileGlob(r.Text)
	}
	if b.wild.born == nil && isWild(k, r.Text) {
		b.wild.born = b.bornAt
	}
	b.wild.add(k, r.Text, r.glob, r.ref())
	return r
}

// bornAt is when the route came that has a slot.
func (b *Bus[S]) bornAt(slot int32) uint64 { return b.RouteAt(int(slot)).born }

func (b *Bus[S]) remove(o *subscriber[S], x sub) {
	r, pos := b.routeOf(x), b.subs.at(x).pos
	o.weigh(r, -1)
	r.remove(pos)
	b.subs.remove(&o.first, &o.last, x)
	if r.Len() == 0 {
		b.known, b.hits = false, nil
		b.texts.remove(r)
		b.wild.remove(r.Kind, r.Text, r.glob, r.ref())
	}
	if o.first == 0 {
		b.owners.delete(o.who)
	}
	if b.subs.Len() == 0 {
		b.out, b.subs = nil, subscriptions{}
	}
}
