package ipc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A RequestOption says how a request is to be made.
type RequestOption func(*requestOptions)

type requestOptions struct {
	wait       bool
	repeatable bool
}

// WaitForResponder has a request wait until somebody serves its topic, as long as its context lasts, rather than fail with
// [ErrNoResponders].
func WaitForResponder() RequestOption { return func(o *requestOptions) { o.wait = true } }

// Repeatable says that another responder may be asked if one goes without an answer. It may have carried out the request.
func Repeatable() RequestOption { return func(o *requestOptions) { o.repeatable = true } }

// forever is the longest time that the daemon takes, in milliseconds: a hundred years.
const forever = 100 * 365 * 24 * 3600 * 1000

// An Answer is one of several to a request.
type Answer struct {
	Payload []byte
	Err     error // why there is none; nil: there is one
}

// Request asks whoever serves a topic, and returns the answer. The deadline of ctx is told to the responder, and when ctx ends, the
// responder is told that nobody waits any more. The error is [ErrNoResponders] if nobody serves the topic, [ErrRemote] if the responder
// has answered with an error or is gone, [ErrTimeout] after the deadline, or that of ctx.
func (c *Client) Request(ctx context.Context, topic string, payload []byte, options ...RequestOption) ([]byte, error) {
	v, err := c.ask(ctx, topic, payload, "", options)
	if err != nil {
		return nil, fmt.Errorf("cannot ask for %q: %w", topic, err)
	}
	return []byte(v.Str), nil
}

// RequestMany asks all who serve a topic, of a group one, and returns n answers, or fewer if there are no more, or not before the deadline
// of ctx; n is 0 for all that there are. The errors are those of Request, if there is no answer at all.
func (c *Client) RequestMany(ctx context.Context, topic string, payload []byte, n int, options ...RequestOption) ([]Answer, error) {
	replies := "ALL"
	if n > 0 {
		replies = strconv.Itoa(n)
	}
	v, err := c.ask(ctx, topic, payload, replies, options)
	if err != nil {
		return nil, fmt.Errorf("cannot ask for %q: %w", topic, err)
	}
	answers := make([]Answer, len(v.Elems))
	for i := range v.Elems {
		if answers[i].Err = v.Elems[i].Err(); answers[i].Err == nil {
			answers[i].Payload = []byte(v.Elems[i].Str)
		}
	}
	return answers, nil
}

// ask sends a request and waits for its outcome. replies is "" for one answer.
func (c *Client) ask(ctx context.Context, topic string, payload []byte, replies string, options []RequestOption) (wire.Value, error) {
	var o requestOptions
	for _, option := range options {
		option(&o)
	}
	words := []string{"ASYNC"}
	if deadline, ok := ctx.Deadline(); ok {
		ms := min(max(int64(math.Ceil(float64(time.Until(deadline))/float64(time.Millisecond))), 1), forever)
		words = append(words, "TIMEOUT", strconv.FormatInt(ms, 10))
	}
	if o.wait {
		words = append(words, "WAIT", strconv.FormatInt(forever, 10))
	}
	if replies != "" {
		words = append(words, "REPLIES", replies)
	}
	if o.repeatable {
		words = append(words, "REPEATABLE")
	}
	cl := newCall()
	cl.asks = true
	err := c.start(ctx, cl, func(b []byte) []byte {
		b = wire.AppendArray(b, 3+len(words))
		b = wire.AppendBulk(b, "BUS.REQ")
		b = wire.AppendBulk(b, topic)
		b = wire.AppendBulk(b, payload)
		for _, w := range words {
			b = wire.AppendBulk(b, w)
		}
		return b
	})
	if err != nil {
		return wire.Value{}, err
	}
	v, err := cl.wait(ctx)
	if err == nil || !errors.Is(err, ctx.Err()) {
		return v, err
	}
	c.mu.Lock()
	if cl.unwanted = true; cl.ticket != "" {
		c.cancelLocked(cl)
	}
	c.flushAndUnlock()
	return wire.Value{}, err
}
