package ipc

import (
	"context"
	"errors"
	"fmt"
	"iter"
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
	headers    []string // names and values in turn
	id         string
}

// WaitForResponder has a request wait until somebody serves its topic, as long as its context lasts, rather than fail with
// [ErrNoResponders].
func WaitForResponder() RequestOption { return func(o *requestOptions) { o.wait = true } }

// Repeatable says that another responder may be asked if one goes without an answer. It may have carried out the request.
func Repeatable() RequestOption { return func(o *requestOptions) { o.repeatable = true } }

// RequestHeader tells the responder one more thing beside the payload: see [Header].
func RequestHeader(name, value string) RequestOption {
	return func(o *requestOptions) { o.headers = append(o.headers, name, value) }
}

// RequestID gives a request an id of 1 to 64 bytes, so that it can be made again when the connection has ended, by another client of this
// process: within ten seconds a request with the same id, topic, payload and options is answered with what comes of the first, and for
// five minutes with what has come. See "Sent twice" in docs/protocol.md. [Client.RequestParts] takes none.
func RequestID(id string) RequestOption { return func(o *requestOptions) { o.id = id } }

// forever is the longest time that the daemon takes, in milliseconds: a hundred years.
const forever = 100 * 365 * 24 * 3600 * 1000

// An Answer is one of several to a request.
type Answer struct {
	Payload []byte
	Err     error             // why there is none; nil: there is one
	Headers map[string]string // what the responder says beside the payload: see [Request.SetHeader]

	// Who has answered, as the kernel told the daemon, unless there is an error.
	PID  int
	UID  int
	Unit string // systemd unit, "" if none
}

// Request asks whoever serves a topic, and returns the answer. The deadline of ctx is told to the responder, and when ctx ends, the
// responder is told that nobody waits any more. The error is [ErrNoResponders] if nobody serves the topic, [ErrRemote] if the responder
// has answered with an error or is gone, [ErrTimeout] after the deadline, or that of ctx.
func (c *Client) Request(ctx context.Context, topic string, payload []byte, options ...RequestOption) ([]byte, error) {
	v, err := c.ask(ctx, topic, payload, nil, options)
	if err != nil {
		return nil, fmt.Errorf("cannot ask for %q: %w", topic, err)
	}
	return []byte(v.Str), nil
}

// RequestMany asks all who serve a topic, of a group one, and returns n answers, or fewer if there are no more, or not before the deadline
// of ctx; n is 0 for all that there are, and for 1, one is asked. The errors are those of Request, if there is no answer at all.
func (c *Client) RequestMany(ctx context.Context, topic string, payload []byte, n int, options ...RequestOption) ([]Answer, error) {
	v, err := c.ask(ctx, topic, payload, append(replies(n), "ENVELOPE"), options)
	if err != nil {
		return nil, fmt.Errorf("cannot ask for %q: %w", topic, err)
	}
	answers := make([]Answer, len(v.Elems))
	for i := range v.Elems {
		answers[i] = decodeAnswer(v.Elems[i])
	}
	return answers, nil
}

// replies are the words that ask for n answers.
func replies(n int) []string {
	if n > 0 {
		return []string{"REPLIES", strconv.Itoa(n)}
	}
	return []string{"REPLIES", "ALL"}
}

// decodeAnswer decodes an answer in its envelope, or an error.
func decodeAnswer(v wire.Value) Answer {
	if err := v.Err(); err != nil {
		return Answer{Err: err}
	}
	return Answer{
		Payload: []byte(v.Get("payload").Str), Headers: headers(v.Get("headers")),
		PID: int(v.Get("pid").Int), UID: int(v.Get("uid").Int), Unit: v.Get("unit").Str,
	}
}

// A Part is what has come of an answer: of one that is sent in parts, each of them; see [Request.Send].
type Part struct {
	Answer      // of which the payload is this part alone
	N      int  // of which answer, from 1
	More   bool // more of that answer follows
}

// RequestParts asks as RequestMany does, and iterates over what comes of the answers as it comes, however long they are. An answer that
// is an error is a part, too. If there is none at all, or ctx or the connection ends before all have come, the last pair has the error and
// no part. When the loop is left, the responders are told that nobody waits any more.
//
// A program that takes more time for a part than the responder does has up to [wire.MaxAnswer] bytes of memory kept for it here: of parts
// with their headers, and what it takes to keep these. Over that the request is given up, with ErrQuota.
func (c *Client) RequestParts(ctx context.Context, topic string, payload []byte, n int, options ...RequestOption) iter.Seq2[Part, error] {
	return func(yield func(Part, error) bool) {
		fail := func(err error) { yield(Part{}, fmt.Errorf("cannot ask for %q: %w", topic, err)) }
		cl := newCall()
		cl.parts = &parts{wake: make(chan struct{}, 1)}
		if err := c.startAsking(ctx, cl, topic, payload, append(replies(n), "ENVELOPE", "PARTS"), options); err != nil {
			fail(err)
			return
		}
		var failed error
		for over := false; ; {
			c.mu.Lock()
			some, slow := cl.parts.take()
			c.mu.Unlock()
			for _, p := range some {
				if !yield(p, nil) {
					c.unask(cl)
					return
				}
			}
			switch {
			case slow:
				fail(&Error{Code: wire.CodeQuota, Text: fmt.Sprintf("more than %d bytes of the answers were not taken", wire.MaxAnswer)})
				return
			case over && failed != nil:
				fail(failed)
				return
			case over:
				return
			}
			select {
			case <-cl.parts.wake:
			case r := <-cl.result: // what has come before is there
				over, failed = true, r.err
			case <-ctx.Done():
				c.unask(cl)
				fail(ctx.Err())
				return
			}
		}
	}
}

// parts are what has come of the answers to a request and was not taken. Guarded by Client.mu.
type parts struct {
	some  []Part
	bytes int           // of memory
	slow  bool          // too much has come
	wake  chan struct{} // holds a token if something may be there
}

// What a part takes beside its bytes, and what each header does: rather more than less.
const (
	sizeOfPart   = 512
	sizeOfHeader = 128
)

// size is how much memory a part takes.
func (p *Part) size() int {
	n := sizeOfPart + len(p.Payload) + len(p.Unit)
	for name, value := range p.Headers {
		n += sizeOfHeader + len(name) + len(value)
	}
	if p.Err != nil {
		n += len(p.Err.Error())
	}
	return n
}

// take takes what there is.
func (p *parts) take() (some []Part, slow bool) {
	some, p.some, p.bytes = p.some, nil, 0
	return some, p.slow
}

// part is told a part of an answer.
func (c *Client) part(args []wire.Value) error {
	if len(args) < 4 {
		return errBadPush
	}
	c.mu.Lock()
	defer c.flushAndUnlock()
	cl := c.tickets[args[0].Int]
	if cl == nil || cl.parts == nil || cl.unwanted {
		return nil
	}
	p, next := cl.parts, Part{Answer: decodeAnswer(args[2]), N: int(args[1].Int), More: args[3].Int == 1}
	if p.bytes += next.size(); p.bytes > wire.MaxAnswer {
		p.slow, p.some, cl.unwanted = true, nil, true
		c.cancelLocked(cl)
	} else {
		p.some = append(p.some, next)
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return nil
}

// ask sends a request and waits for its outcome.
func (c *Client) ask(ctx context.Context, topic string, payload []byte, how []string, options []RequestOption) (wire.Value, error) {
	cl := newCall()
	if err := c.startAsking(ctx, cl, topic, payload, how, options); err != nil {
		return wire.Value{}, err
	}
	v, err := cl.wait(ctx)
	if err != nil && errors.Is(err, ctx.Err()) {
		c.unask(cl)
	}
	return v, err
}

// startAsking sends a request, whose outcome will come to cl. how are words that say which answers are wanted.
func (c *Client) startAsking(ctx context.Context, cl *call, topic string, payload []byte, how []string, options []RequestOption) error {
	var o requestOptions
	for _, option := range options {
		option(&o)
	}
	words := append(how, "ASYNC")
	if deadline, ok := ctx.Deadline(); ok {
		ms := min(max(int64(math.Ceil(float64(time.Until(deadline))/float64(time.Millisecond))), 1), forever)
		words = append(words, "TIMEOUT", strconv.FormatInt(ms, 10))
	}
	if o.wait {
		words = append(words, "WAIT", strconv.FormatInt(forever, 10))
	}
	if o.repeatable {
		words = append(words, "REPEATABLE")
	}
	for i := 0; i < len(o.headers); i += 2 {
		words = append(words, "HEADER", o.headers[i], o.headers[i+1])
	}
	if o.id != "" {
		words = append(words, "REQID", o.id)
	}
	cl.asks = true
	return c.start(ctx, cl, func(b []byte) []byte {
		b = wire.AppendArray(b, 3+len(words))
		b = wire.AppendBulk(b, "BUS.REQ")
		b = wire.AppendBulk(b, topic)
		b = wire.AppendBulk(b, payload)
		for _, w := range words {
			b = wire.AppendBulk(b, w)
		}
		return b
	})
}

// unask has the daemon know that nobody waits for the outcome of a request any more.
func (c *Client) unask(cl *call) {
	c.mu.Lock()
	if !cl.unwanted {
		if cl.unwanted = true; cl.ticket != "" {
			c.cancelLocked(cl)
		}
	}
	c.flushAndUnlock()
}
