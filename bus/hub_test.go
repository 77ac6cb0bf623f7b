package bus

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// A hub does with a bus and with values what the daemon does (internal/server: message.go, delivery.go, retained.go), and as little
// besides as can be: there are no bytes, and no sockets, but there are receivers who are slow, messages that stand in line as they take
// longer than a turn, and crashes. A witness looks on. Whatever the bus gets to do, the hub does as the daemon, so that all that may
// happen to a daemon's bus can be tried out: see TestSmallWorlds.
type hub struct {
	most   int // how many steps of a search, and receivers, a turn has time for; 0: for all
	slow   int // so many peers do not read at once
	size   int // of the queues of these
	policy func(form) policy

	bus     *Bus[*peer]
	values  Retained[*value]
	line    []*hubDelivery
	peers   []*peer
	born    int
	journal map[string]*value // what outlives the daemon
	witness witness
	raced   int // subscriptions that began with values
}

// A peer is a connection.
type peer struct {
	id    int
	dead  bool // and its subscriptions are taken apart
	queue queue
	last  uint64 // the number of the last message that it was given, for the witness
}

func (p *peer) String() string { return fmt.Sprint("peer ", p.id) }

type message struct {
	topic    string
	seq      uint64
	retained bool
}

type value struct {
	topic string
	seq   uint64
}

// A hubDelivery is what stands in line: a message with the routes that it has not come to, or what is left of the values that a
// subscription begins with.
type hubDelivery struct {
	message
	user int // whose it is: who published it, or -1

	age    uint64 // of the bus when it came into the line
	after  uint64 // who subscribed to the first route up to then has it
	routes []*Route[*peer]
	rest   *Search[*peer]

	lookup *Lookup[*value]
	to     *peer
	of     form
	route  *Route[*peer]
	since  uint64

	// What has happened since it is in line that its search or lookup may see, and how far that is, for [hub.key]. changes is how much.
	history string
	changes int
}

func newHub(peers, slow, size, most int) *hub {
	h := &hub{most: most, slow: slow, size: size, policy: policyOf, journal: map[string]*value{}}
	for range peers {
		h.peers = append(h.peers, nil)
	}
	h.restart()
	return h
}

// restart has a daemon begin with what the one before it has kept.
func (h *hub) restart() {
	h.bus, h.values, h.line = New[*peer](), Retained[*value]{}, nil
	for seat := range h.peers {
		if p := h.peers[seat]; p != nil {
			h.witness.gone(p)
		}
		h.connect(seat)
	}
	for _, topic := range slices.Sorted(maps.Keys(h.journal)) {
		v := h.journal[topic]
		h.bus.Resume(v.seq)
		h.values.Set(topic, v)
	}
}

func (h *hub) connect(seat int) {
	h.peers[seat] = &peer{id: h.born, queue: queue{size: math.MaxInt}}
	if h.born++; seat < h.slow {
		h.peers[seat].queue.size = h.size
	}
}

func (f form) text() string { return f.prefix + f.filter }

// formOf is the form of a route.
func formOf(r *Route[*peer]) form {
	if filter, form_, ok := cutFilter(r.Text); ok && r.Kind == Pattern {
		return form{r.Kind, filterForms[form_], filter}
	}
	return form{r.Kind, "", r.Text}
}

// publish reports whether the user may: of each user, one message stands in line.
func (h *hub) publish(user int, topic string, retain bool) bool {
	name := []byte(topic)
	waits := slices.ContainsFunc(h.line, func(p *hubDelivery) bool { return p.user == user })
	if waits {
		if routes, rest, _ := h.bus.SearchTopic(name, h.steps()); h.mustLineUp(routes, rest) {
			return false
		}
	}
	if retain {
		v := &value{topic, h.bus.Seq() + 1}
		h.journal[topic] = v
		if _, had := h.values.Set(topic, v); !had {
			h.changed(true, "+"+topic)
		}
		h.witness.set(topic, v.seq)
	}
	routes, rest, err := h.bus.SearchTopic(name, h.steps())
	if err != nil {
		h.witness.fail("to publish under %q: %v", topic, err)
		return true
	}
	p := &hubDelivery{message: message{topic: topic, seq: h.bus.Take()}, user: user, routes: routes, rest: rest}
	h.witness.publish(p.message)
	if len(h.line) > 0 && h.mustLineUp(routes, rest) || !h.turn(p) {
		h.lineUp(p)
	}
	return true
}

// steps is how much a turn has time for.
func (h *hub) steps() int { return cmp.Or(h.most, math.MaxInt) }

func (h *hub) mustLineUp(routes []*Route[*peer], rest *Search[*peer]) bool {
	if rest != nil {
		return true
	}
	for _, r := range routes {
		for _, p := range r.Subs() {
			if h.isInLine(p) {
				return true
			}
		}
	}
	return false
}

// isInLine reports whether something stands in line that may go to a peer.
func (h *hub) isInLine(p *peer) bool {
	budget := math.MaxInt
	return slices.ContainsFunc(h.line, func(in *hubDelivery) bool {
		return in.to == p || in.lookup == nil && h.bus.MayReceive(p, []byte(in.topic), &budget)
	})
}

func (h *hub) lineUp(p *hubDelivery) {
	p.routes = slices.Clone(p.routes)
	p.age = h.bus.Age()
	h.line = append(h.line, p)
}

// turn has what is queued go on for as long as a turn has time, and reports whether it is done.
func (h *hub) turn(p *hubDelivery) bool {
	for left := h.steps(); left > 0 && !p.isDone(); {
		left -= h.goOn(p, left)
	}
	return p.isDone()
}

func (p *hubDelivery) isDone() bool { return len(p.routes) == 0 && p.rest == nil && p.lookup == nil }

// goOn does at most so many steps, and returns how many.
func (h *hub) goOn(p *hubDelivery, most int) (did int) {
	if p.lookup != nil {
		h.sendMore(p)
		return 1
	}
	if len(p.routes) > 0 {
		return h.deliver(p, most)
	}
	routes, more := p.rest.Next(min(most, 128))
	p.history += "."
	if p.routes = routes; !more {
		p.rest = nil
	}
	return 1
}

// deliver gives a message to the receivers of its first route, or to as many as there is time for.
func (h *hub) deliver(p *hubDelivery, most int) (did int) {
	r, after := p.routes[0], p.after
	subs, first := r.Subs(), 0
	if p.age != 0 || after != 0 {
		subs, first = r.SubsBetween(after, cmp.Or(p.age, math.MaxUint64))
	}
	for at, to := range subs {
		if did == most {
			p.after = r.AgeAt(first + at - 1)
			return did
		}
		h.give(to, formOf(r), p.message, p.seq)
		did++
	}
	p.after, p.routes = 0, p.routes[1:]
	return max(did, 1)
}

// give gives a peer a message.
func (h *hub) give(to *peer, f form, m message, place uint64) {
	if to.dead {
		return
	}
	h.witness.accept(to, f, m)
	i := item{kind: isMessage, of: f, message: m, place: place}
	lost, ends := h.policy(f).meet(&to.queue, i)
	if to.dead = ends; ends {
		h.witness.gone(to)
	}
	if !lost {
		to.queue.push(i)
	}
}

func (h *hub) subscribe(p *peer, f form) {
	before := h.bus.Age()
	r, added, err := h.bus.Subscribe(p, f.kind, f.text())
	if err != nil || !added {
		h.witness.fail("to subscribe to %v: %v, %v", f, added, err)
		return
	}
	if h.bus.Age() != before+1 {
		h.changed(false, "+"+r.Text)
	}
	p.queue.push(item{kind: subscribed, of: f})
	h.witness.subscribe(p, f)
	if f.kind != Filter || h.values.Len() == 0 {
		return
	}
	h.raced++
	s := &hubDelivery{message: message{seq: h.bus.Seq()}, user: -1, lookup: h.values.Lookup(r.Text), to: p, of: f, route: r, since: h.bus.AgeOf(p, r)}
	if h.isInLine(p) || !h.turn(s) {
		h.lineUp(s)
	}
}

// sends reports whether a peer is being sent values, so that he does not subscribe to more.
func (h *hub) sends(to *peer) bool {
	return slices.ContainsFunc(h.line, func(p *hubDelivery) bool { return p.to == to })
}

// sendMore looks at one value more.
func (h *hub) sendMore(p *hubDelivery) {
	if h.bus.AgeOf(p.to, p.route) != p.since {
		p.lookup, p.to = nil, nil
		return
	}
	v, ok, more := p.lookup.Next()
	p.history += "."
	if ok && v.seq <= p.seq {
		h.give(p.to, p.of, message{v.topic, v.seq, true}, p.seq)
	}
	if !more {
		p.lookup, p.to = nil, nil
	}
}

func (h *hub) unsubscribe(p *peer, f form) {
	r := h.bus.Route(f.kind, f.text())
	if !h.bus.Unsubscribe(p, f.kind, f.text()) {
		h.witness.fail("%v cannot unsubscribe from %v", p, f)
		return
	}
	if r.Len() == 0 {
		h.changed(false, "-"+r.Text)
	}
	p.queue.push(item{kind: unsubscribed, of: f})
	h.witness.unsubscribe(p, f)
}

func (h *hub) clear(topic string) bool {
	if _, had := h.values.Delete(topic); !had {
		return false
	}
	delete(h.journal, topic)
	h.changed(true, "-"+topic)
	h.witness.set(topic, 0)
	return true
}

// move has the first in line go on for a turn.
func (h *hub) move() {
	if len(h.line) > 0 && h.turn(h.line[0]) {
		h.line = slices.Delete(h.line, 0, 1)
	}
}

// changed notes for all in line that a topic has a value for the first time, or none any more, or that a route came or went.
func (h *hub) changed(value bool, what string) {
	for _, p := range h.line {
		if value && p.lookup != nil || !value && p.rest != nil {
			p.history += what
			p.changes++
		}
	}
}

// changes is how much has happened to what stands in line.
func (h *hub) changes() (n int) {
	for _, p := range h.line {
		n = max(n, p.changes)
	}
	return n
}

// read has a peer read one thing.
func (h *hub) read(p *peer) bool {
	i, ok := p.queue.pop()
	if ok && !p.dead {
		h.witness.read(p, i)
	}
	return ok
}

// die ends a connection. Its subscriptions are still there.
func (h *hub) die(p *peer) {
	p.dead, p.queue = true, queue{}
	h.witness.gone(p)
}

// reap takes off the subscriptions of a peer that is dead, so many at most; then another has its place.
func (h *hub) reap(seat, most int) {
	p := h.peers[seat]
	var before []*Route[*peer]
	for slot := range h.bus.Slots() {
		if r := h.bus.RouteAt(slot); r != nil {
			before = append(before, r)
		}
	}
	left := h.bus.DropSome(p, most)
	for _, r := range before {
		if r.Len() == 0 {
			h.changed(false, "-"+r.Text)
		}
	}
	if left == 0 {
		h.connect(seat)
	}
}

// settle is what comes at the end of a turn of who has time.
func (h *hub) settle() {
	for seat, p := range h.peers {
		if h.most == 0 && p.dead {
			h.reap(seat, math.MaxInt)
		}
		for seat >= h.slow && h.read(h.peers[seat]) {
		}
	}
}

// check looks for what must not be.
func (h *hub) check() error {
	err := h.witness.check(func(to *peer, f form) (values bool, messages []uint64) {
		for _, p := range h.line {
			switch {
			case p.lookup == nil:
				messages = append(messages, p.seq)
			case p.to == to && p.of == f:
				values = true
			}
		}
		return values, messages
	})
	if err == nil {
		err = cmp.Or(h.bus.check(), h.values.Check())
	}
	if err != nil {
		return err
	}
	if h.values.Len() != len(h.witness.values) {
		return fmt.Errorf("%d topics have values, want %v", h.values.Len(), h.witness.values)
	}
	for topic, seq := range h.witness.values {
		if v, ok := h.values.Get(topic); !ok || v.seq != seq || v.topic != topic {
			return fmt.Errorf("the value of %q is %+v, want number %d", topic, v, seq)
		}
		if h.bus.Seq() < seq {
			return fmt.Errorf("the last message has number %d, and the value of %q number %d", h.bus.Seq(), topic, seq)
		}
	}
	return nil
}

// drain lets all go on to its end: what stands in line is delivered, and everybody reads all. Then a message to each of these topics
// must come to all whose it is.
func (h *hub) drain(topics ...string) error {
	h.finish()
	for _, topic := range topics {
		if !h.publish(0, topic, true) {
			return errors.New("nothing stands in line, and who publishes has to wait")
		}
		h.finish()
	}
	return cmp.Or(h.check(), h.witness.settled())
}

func (h *hub) finish() {
	for n := 0; len(h.line) > 0; n++ {
		if n == 1000 {
			h.witness.fail("%v is given to somebody without end", h.line[0].message)
			return
		}
		h.move()
	}
	for seat := range h.peers {
		if h.peers[seat].dead {
			h.reap(seat, math.MaxInt)
		}
		for h.read(h.peers[seat]) {
		}
	}
}
