package bus

import (
	"fmt"
	"maps"
	"slices"
)

// A witness knows what a bus promises, as simply as it can be put: lists of what each subscription is to be given, is given, and has
// read. It is told of all that is done to the bus, and of all that comes of it, and says what must not be.
//
// What it holds the bus to: what a subscription is given is what was published in its lifetime, each message once and in order, after
// the values that its topics had at its beginning, each once (accept, check); and of that, what is read and what is told to be missing
// are all, in order (read).
type witness struct {
	values map[string]uint64 // the number of the message that is the value of a topic
	lives  []*life           // in the order in which they began
	err    error             // the first thing that must not be
	newest bool              // nothing is to be missing of a subscription but what a newer message of its topic is read for
}

// A life is one of a subscription, from its beginning to its end.
type life struct {
	peer  *peer
	of    form
	over  bool // it has ended, which the peer may not have read yet
	known bool // the peer has read that it has begun

	begins map[string]uint64 // the values that it is still to be given first, by their topics
	due    []message         // and the messages after them
	given  []message         // what it was given, and was neither read nor told to be missing
	live   bool              // it was given a message that is no value
}

func (w *witness) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func (l *life) matches(topic string) bool {
	switch l.of.kind {
	case Channel:
		return l.of.filter == topic
	case Filter:
		return naiveMatch(l.of.filter, topic)
	}
	if l.of.prefix != "" {
		return naiveMatch(l.of.filter, topic)
	}
	return naiveGlob(l.of.filter, topic)
}

// of is the life of a subscription that is not over.
func (w *witness) of(p *peer, f form) *life {
	for _, l := range w.lives {
		if l.peer == p && l.of == f && !l.over {
			return l
		}
	}
	return nil
}

func (w *witness) subscribe(p *peer, f form) {
	l := &life{peer: p, of: f}
	if f.kind == Filter {
		l.begins = map[string]uint64{}
		for topic, seq := range w.values {
			if l.matches(topic) {
				l.begins[topic] = seq
			}
		}
	}
	w.lives = append(w.lives, l)
}

func (w *witness) unsubscribe(p *peer, f form) {
	if l := w.of(p, f); l != nil {
		l.over, l.begins, l.due = true, nil, nil
	} else {
		w.fail("%v has no %v, and has unsubscribed from it", p, f)
	}
}

// gone is told that a peer will read nothing more.
func (w *witness) gone(p *peer) {
	w.lives = slices.DeleteFunc(w.lives, func(l *life) bool { return l.peer == p })
}

// set is told that a topic has another value, or none. Who has not been sent the old one will not be: he gets the new one as a message.
func (w *witness) set(topic string, seq uint64) {
	if w.values == nil {
		w.values = map[string]uint64{}
	}
	if w.values[topic] = seq; seq == 0 {
		delete(w.values, topic)
	}
	for _, l := range w.lives {
		delete(l.begins, topic)
	}
}

func (w *witness) publish(m message) {
	for _, l := range w.lives {
		if !l.over && l.matches(m.topic) {
			l.due = append(l.due, m)
		}
	}
}

// accept is told that a subscription is given a message, whether there is room for it or not.
func (w *witness) accept(p *peer, f form, m message) {
	l := w.of(p, f)
	switch {
	case l == nil:
		w.fail("%v is given %v of %v, which it has not", p, m, f)
		return
	case m.retained && l.begins[m.topic] != m.seq:
		w.fail("%v of %v is given %v as a value, and is to be given %v", f, p, m, l.begins)
	case m.retained && l.live:
		w.fail("%v of %v is given the value %v behind messages", f, p, m)
	case m.retained:
		delete(l.begins, m.topic)
	case len(l.begins) > 0:
		w.fail("%v of %v is given %v before the values %v", f, p, m, l.begins)
	case len(l.due) == 0 || l.due[0] != m:
		w.fail("%v of %v is given %v, and is to be given %v", f, p, m, l.due)
	case m.seq < p.last:
		w.fail("%v is given %v after %d", p, m, p.last)
	default:
		l.live = true
		l.due = l.due[1:]
		p.last = m.seq
	}
	l.given = append(l.given, m)
}

// read is told what a peer reads.
func (w *witness) read(p *peer, i item) {
	for _, of := range slices.SortedFunc(maps.Keys(i.missing), compareForms) {
		n := i.missing[of]
		l := w.reading(p, of)
		if l == nil || n > len(l.given) {
			w.fail("%v is told that %d of %v are missing, of %+v", p, n, of, l)
			return
		}
		for at, m := range l.given[:n] {
			if w.newest && !slices.ContainsFunc(l.given[at+1:], func(x message) bool { return x.topic == m.topic }) {
				w.fail("%v is told that %v of %v is missing, and nothing newer has come to it: %v", p, m, of, l.given)
			}
		}
		l.given = l.given[n:]
	}
	if i.kind == "" {
		return
	}
	if i.kind == subscribed {
		at := slices.IndexFunc(w.lives, func(l *life) bool { return l.peer == p && l.of == i.of })
		w.lives[at].known = true
		return
	}
	l := w.reading(p, i.of)
	switch {
	case l == nil:
		w.fail("%v reads %v of %v, to which it is not subscribed", p, i.message, i.of)
	case i.kind == unsubscribed && (!l.over || len(l.given) > 0):
		w.fail("%v has unsubscribed from %v, and neither read of %v nor is told", p, i.of, l.given)
	case i.kind == unsubscribed:
		w.lives = slices.DeleteFunc(w.lives, func(other *life) bool { return other == l })
	case len(l.given) == 0 || l.given[0] != i.message:
		w.fail("%v reads %v of %v, and was given %v", p, i.message, i.of, l.given)
	default:
		l.given = l.given[1:]
	}
}

// reading is the life that a peer reads of, as far as it knows.
func (w *witness) reading(p *peer, f form) *life {
	for _, l := range w.lives {
		if l.peer == p && l.of == f {
			if l.known {
				return l
			}
			return nil
		}
	}
	return nil
}

// check says whether something is due to a subscription that will not come: waits says what stands in line for it.
func (w *witness) check(waits func(p *peer, f form) (values bool, messages []uint64)) error {
	for _, l := range w.lives {
		values, messages := waits(l.peer, l.of)
		if len(l.begins) > 0 && !values {
			w.fail("%v of %v is not given the values %v", l.of, l.peer, l.begins)
		}
		for _, m := range l.due {
			if !slices.Contains(messages, m.seq) {
				w.fail("%v of %v is not given %v", l.of, l.peer, m)
			}
		}
	}
	return w.err
}

// settled says whether all that was given was read, or told to be missing.
func (w *witness) settled() error {
	for _, l := range w.lives {
		if len(l.given)+len(l.due)+len(l.begins) > 0 {
			w.fail("%v of %v has not read of %v, nor is told; and was not given %v", l.of, l.peer, l.given, l.due)
		}
	}
	return w.err
}
