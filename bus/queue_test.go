package bus

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A queue is what waits for a receiver that is slow. The engine has none: this one does with messages what internal/conn does with
// their bytes (backlog.go, shelf.go). What is missing is told where it was: before what comes next, reply or message.
type queue struct {
	size  int // how many messages it holds
	items []item
	tail  gap // missing behind the last one
}

// An item is a message, or the reply to a command.
type item struct {
	kind    itemKind
	of      form // which subscription it is of
	message message
	place   uint64 // the number of the message behind which it comes, and which is never dropped for it: see dropOldest
	missing gap    // before it
}

type itemKind string

const (
	isMessage    itemKind = "message"
	subscribed   itemKind = "subscribed"
	unsubscribed itemKind = "unsubscribed"
)

// A gap is how many messages of which subscriptions are missing at one place.
type gap map[form]int

func (g *gap) add(of form, n int) {
	if *g == nil {
		*g = gap{}
	}
	(*g)[of] += n
}

func (g *gap) addAll(other gap) {
	for of, n := range other {
		g.add(of, n)
	}
}

// push puts an item behind all that is queued, and behind what is missing there.
func (q *queue) push(i item) {
	i.missing, q.tail = q.tail, nil
	q.items = append(q.items, i)
}

// pop takes the first item, or what is missing behind the last.
func (q *queue) pop() (i item, ok bool) {
	if len(q.items) > 0 {
		i = q.items[0]
		q.items = slices.Delete(q.items, 0, 1)
		return i, true
	}
	i.missing, q.tail = q.tail, nil
	return i, i.missing != nil
}

// drop drops an item. What was missing before it, and it, are missing before the next.
func (q *queue) drop(at int) {
	i := q.items[at]
	q.items = slices.Delete(q.items, at, at+1)
	to := &q.tail
	if at < len(q.items) {
		to = &q.items[at].missing
	}
	to.addAll(i.missing)
	to.add(i.of, 1)
}

func (q *queue) isFull() bool {
	n := 0
	for _, i := range q.items {
		if i.kind == isMessage {
			n++
		}
	}
	return n >= q.size
}

// replies reports whether a reply waits.
func (q *queue) replies() bool {
	return slices.ContainsFunc(q.items, func(i item) bool { return i.kind != isMessage })
}

// A policy says what becomes of a message, and of those that wait for the same receiver.
type policy interface {
	// meet makes room for a message where that is to be, or has it be missing, which is all that it reports: lost. Or it ends the receiver.
	meet(q *queue, i item) (lost, ends bool)
}

// dropOldest loses the oldest message, and says so. One that the receiver gets by another of his subscriptions is not lost for its
// copy, nor for a value that a subscription begins with after it.
type dropOldest struct{}

func (dropOldest) meet(q *queue, i item) (lost, ends bool) {
	if !q.isFull() {
		return false, false
	}
	at := slices.IndexFunc(q.items, func(i item) bool { return i.kind == isMessage })
	if at >= 0 && q.items[at].place < i.place {
		q.drop(at)
		return false, false
	}
	q.tail.add(i.of, 1)
	return true, false
}

// disconnect loses nothing: who cannot be told of a loss is disconnected.
type disconnect struct{}

func (disconnect) meet(q *queue, _ item) (lost, ends bool) { return q.isFull(), q.isFull() }

// conflate has a message take the place of the one of its topic that waits for the same subscription, which is missing then; and else does as
// dropOldest. What waits of a subscription that has ended, though there may be another one of the same form by now, is left alone.
type conflate struct{}

func (conflate) meet(q *queue, i item) (lost, ends bool) {
	for at, old := range slices.Backward(q.items) {
		if old.of != i.of {
			continue
		}
		if old.kind != isMessage {
			break
		}
		if old.message.topic == i.message.topic {
			q.drop(at)
			return false, false
		}
	}
	return dropOldest{}.meet(q, i)
}

// policyOf is what holds for a subscription that has not asked for anything else.
func policyOf(f form) policy {
	if f.kind == Filter {
		return dropOldest{}
	}
	return disconnect{}
}

// String is what of a queue its future depends on. Numbers of what is missing make no difference when they are large.
func (q *queue) String() string {
	var b strings.Builder
	for _, i := range q.items {
		fmt.Fprintf(&b, "%s%s %v %s %v,", i.missing, i.kind, i.of, i.message.topic, i.message.retained)
	}
	return b.String() + q.tail.String()
}

func (g gap) String() string {
	var all []string
	for _, of := range slices.SortedFunc(maps.Keys(g), compareForms) {
		all = append(all, fmt.Sprintf("%d of %v,", min(g[of], 2), of))
	}
	return strings.Join(all, "")
}
