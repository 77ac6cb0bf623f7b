package ipc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A call is a command whose outcome has not come.
type call struct {
	result chan result   // has room for the one result, so that the reader never waits for the caller
	slot   bool          // has a slot of the client
	feed   *feed         // BUS.SUB: what it is for
	by     *Subscription // whose it is
	fd     int           // goes with it; 0: none does
	want   wire.Kind     // of its outcome, unless that is an error; 0: any
	next   *call         // in the queue

	serves *service // BUS.SERVE: what it begins

	asks  bool   // it is BUS.REQ
	parts *parts // of which it wants all as they come; nil: it does not

	// LOCK.ACQUIRE, and the ticket of BUS.REQ, too. Guarded by Client.mu.
	lock     *Lock     // what it is for
	ticket   string    // of the wait; "" before the daemon gave one
	unwanted bool      // the caller gave up: a grant that comes nevertheless is to be given back
	back     []release // what does that
}

type result struct {
	value wire.Value
	err   error
}

func newCall() *call { return &call{result: make(chan result, 1)} }

// outcome is the error that a reply is: one of another kind than is wanted is no success.
func outcome(v wire.Value, want wire.Kind) error {
	if err := v.Err(); err != nil || want == 0 || v.Kind == want {
		return err
	}
	return &wire.ProtoError{Reason: fmt.Sprintf("a reply of another kind than the command has: %q", v.Text())}
}

func (cl *call) wait(ctx context.Context) (wire.Value, error) {
	select {
	case r := <-cl.result:
		return r.value, r.err
	case <-ctx.Done():
		return wire.Value{}, ctx.Err()
	}
}

// A queue is first in, first out.
type queue struct{ first, last *call }

func (q *queue) push(cl *call) {
	if q.first == nil {
		q.first = cl
	} else {
		q.last.next = cl
	}
	q.last = cl
}

func (q *queue) pop() *call {
	cl := q.first
	if cl != nil {
		q.first, cl.next = cl.next, nil
	}
	return cl
}

// read is the one goroutine that reads: it gives each reply to the first call that waits for one, and each push to
// whom it concerns. It never waits for anything but the daemon.
func (c *Client) read() {
	for {
		v, err := c.dec.Decode()
		if err == nil && v.Kind == wire.KindPush {
			err = c.push(v)
		} else if err == nil {
			err = c.reply(v)
		}
		if err != nil {
			c.end(err)
			closeFiles(&c.in.files)
			return
		}
	}
}

func (c *Client) reply(v wire.Value) error {
	c.mu.Lock()
	defer c.flushAndUnlock()
	cl := c.pending.pop()
	if cl == nil {
		if v.Kind != wire.KindError {
			return &wire.ProtoError{Reason: "a reply to no command"}
		}
		c.reason = v.Err() // so the daemon is about to hang up
		return nil
	}
	if cl.slot {
		<-c.slots
	}
	if cl.fd > 0 {
		<-c.files
	}
	switch {
	case (cl.lock != nil || cl.asks) && v.Kind == wire.KindInt:
		c.queuedLocked(cl, v.Int)
		return nil
	case cl.feed != nil:
		c.subscribedLocked(cl, outcome(v, cl.want))
	case cl.serves != nil:
		cl.serves.begun = true // before the first request, which may come together with the answer
	}
	c.finishLocked(cl, v)
	return nil
}

// queuedLocked is told the ticket of a wait, for a lock or an answer.
func (c *Client) queuedLocked(cl *call, ticket int64) {
	cl.ticket = strconv.FormatInt(ticket, 10)
	c.tickets[ticket] = cl
	if cl.unwanted {
		c.cancelLocked(cl)
	}
}

func (c *Client) cancelLocked(cl *call) {
	command := "LOCK.CANCEL"
	if cl.asks {
		command = "BUS.CANCEL"
	}
	c.postLocked(newCall(), command, cl.ticket)
}

// finishLocked hands the outcome to whoever waits for it, and gives back a lock that nobody waits for any more.
func (c *Client) finishLocked(cl *call, v wire.Value) {
	err := outcome(v, cl.want)
	if refusal := (*Error)(nil); errors.As(err, &refusal) && refusal.Code.Info().Closes {
		c.reason = refusal
	}
	if cl.lock != nil && err == nil {
		cl.lock.heldLocked(v)
		if cl.unwanted {
			cl.back = c.giveBackLocked(cl.lock)
		}
	}
	cl.result <- result{v, err}
}

var errBadPush = &wire.ProtoError{Reason: "malformed push"}

// push handles what comes unasked. A push of a kind that this version does not know is for others to understand.
func (c *Client) push(v wire.Value) error {
	if len(v.Elems) == 0 {
		return errBadPush
	}
	switch args := v.Elems[1:]; v.Elems[0].Str {
	case "bus.message":
		return c.message(args)
	case "bus.lost":
		return c.lost(args)
	case "bus.conflated":
		return c.conflated(args)
	case "bus.behind":
		return c.behind(args)
	case "bus.request":
		return c.request(args)
	case "bus.cancel":
		return c.revoked(args)
	case "bus.ready":
		return c.ready(args)
	case "bus.part":
		return c.part(args)
	case "done":
		return c.decided(args)
	case "lock.lost":
		return c.lockLost(args)
	case "lock.expiring":
		return c.lockExpiring(args)
	}
	return nil
}

// decided is the outcome of a wait.
func (c *Client) decided(args []wire.Value) error {
	if len(args) != 2 {
		return errBadPush
	}
	c.mu.Lock()
	defer c.flushAndUnlock()
	if cl, ok := c.tickets[args[0].Int]; ok {
		delete(c.tickets, args[0].Int)
		c.finishLocked(cl, args[1])
	}
	return nil
}

// end makes err, of a read unless it is ErrClosed, the end of the connection and tells all who wait. Only the first
// call has an effect.
func (c *Client) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	switch {
	case errors.Is(err, ErrClosed):
		c.err = ErrClosed
	case c.reason != nil:
		c.err = fmt.Errorf("%w: %w", ErrClosed, c.reason)
	case c.broken != nil && errors.Is(err, os.ErrDeadlineExceeded):
		c.err = connError(c.broken)
	default:
		c.err = connError(err)
	}
	c.file.Close()
	c.dropFilesLocked()
	for cl := c.pending.pop(); cl != nil; cl = c.pending.pop() {
		cl.result <- result{err: c.err}
	}
	for _, cl := range c.tickets {
		cl.result <- result{err: c.err}
	}
	for _, f := range c.feeds {
		for _, s := range f.subscriptions {
			s.hangUp(c.err)
		}
	}
	for _, locks := range c.held {
		for _, l := range locks {
			l.hangUp(c, c.err)
		}
	}
	c.tickets, c.feeds, c.held, c.services = nil, nil, nil, nil
	close(c.done)
}
