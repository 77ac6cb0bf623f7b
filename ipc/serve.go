package ipc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A Request is one that came to who serves its topic.
type Request struct {
	Topic    string
	Payload  []byte
	Time     time.Time // when it was asked
	Deadline time.Time // zero: there is none

	// Who asks, as the kernel told the daemon.
	PID  int
	UID  int
	Unit string // systemd unit, "" if none

	Headers map[string]string // what the asker says beside the payload: see [RequestHeader]

	ID uint64 // it rises

	client  *Client
	ctx     context.Context
	cancel  context.CancelFunc
	ready   chan struct{} // holds a token if the asker has read
	sending sync.Mutex    // one part at a time
	own     []string      // headers of the answer that are not sent yet: names and values in turn. Guarded by sending
}

// A Handler answers a request. Its context ends when nobody waits for the answer any more: who asked is gone, the deadline has passed,
// or the connection has ended. The error is told to who asked, as [ErrRemote] with its text, and then there is no answer.
type Handler func(ctx context.Context, r *Request) (answer []byte, err error)

// A ServeOption changes what [Client.Serve] does.
type ServeOption func(*service)

// Group has one of all who serve the same filter under this name be asked: who has the fewest requests to answer. Without it, a request
// for several answers goes to each.
func Group(name string) ServeOption { return func(s *service) { s.group = name } }

// Jobs is how many requests are answered at a time: 16, if it is not said. Others wait.
func Jobs(n int) ServeOption { return func(s *service) { s.jobs = max(n, 1) } }

// Count has Serve end after n requests.
func Count(n int) ServeOption { return func(s *service) { s.count = n } }

// A service is one Serve.
type service struct {
	filter, group string
	jobs, count   int
	handler       Handler
	client        *Client
	ctx           context.Context

	// Guarded by Client.mu.
	begun   bool                // BUS.SERVE was answered: what came before was for a service that has ended
	waiting []*Request          // that no handler has yet
	open    map[uint64]*Request // that are not answered, or given up by who asked
	running int
	taken   int
	done    chan struct{} // closed when all that were counted are answered
	tasks   sync.WaitGroup
}

// Serve answers the requests whose topic matches filter, until ctx ends: the error is that of ctx then. When it returns, no handler runs
// any more, and who waits for an answer was told that there is none. It returns nil after as many requests as [Count] says. A client
// serves a filter once at a time.
func (c *Client) Serve(ctx context.Context, filter string, handler Handler, options ...ServeOption) error {
	return notServed(ctx, filter, c.newService(filter, handler, options).run(ctx))
}

func (c *Client) newService(filter string, handler Handler, options []ServeOption) *service {
	s := &service{filter: filter, jobs: 16, handler: handler, client: c, open: map[uint64]*Request{}, done: make(chan struct{})}
	for _, option := range options {
		option(s)
	}
	return s
}

// notServed is why a service has ended, unless that is nil or the end of its context.
func notServed(ctx context.Context, filter string, err error) error {
	if err != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("cannot serve %q: %w", filter, err)
	}
	return err
}

// Serve is [Client.Serve], which goes on with the next connection. When one ends, the contexts of the requests that came on it end, too:
// the daemon has told who asked that there is no answer. It returns nil after as many requests as [Count] says, on all connections.
func (k *Link) Serve(ctx context.Context, filter string, handler Handler, options ...ServeOption) error {
	left, counts := 0, false
	return notServed(ctx, filter, k.each(ctx, func(c *Client) error {
		s := c.newService(filter, handler, options)
		if !counts {
			left, counts = s.count, s.count > 0
		}
		s.count = left
		err := s.run(ctx)
		if left -= s.taken; counts && left <= 0 {
			return nil
		}
		return err
	}))
}

func (s *service) run(ctx context.Context) error {
	c := s.client
	own, cancel := context.WithCancel(ctx)
	defer cancel()
	s.ctx = own
	words := s.words("BUS.SERVE")
	if s.count > 0 {
		words = append(words, "COUNT", strconv.Itoa(s.count))
	}
	c.mu.Lock()
	if c.err != nil || c.services[s.filter] != nil {
		defer c.mu.Unlock()
		if c.err != nil {
			return c.err
		}
		return &Error{Code: wire.CodeErr, Text: "this client serves it already"}
	}
	c.services[s.filter] = s
	c.mu.Unlock()
	cl := newCall()
	cl.serves = s
	err := c.start(ctx, cl, func(b []byte) []byte { return wire.AppendCommand(b, words...) })
	if err == nil {
		_, err = cl.wait(ctx)
	}
	if err == nil {
		select {
		case <-s.done:
		case <-c.done:
			err = c.Err()
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	c.mu.Lock()
	if c.services[s.filter] == s {
		delete(c.services, s.filter)
	}
	if err != nil && c.err == nil {
		c.postLocked(newCall(), s.words("BUS.UNSERVE")...)
	}
	c.flushAndUnlock()
	cancel()
	s.tasks.Wait()
	return err
}

func (s *service) words(command string) []string {
	words := []string{command, s.filter}
	if s.group != "" {
		words = append(words, "GROUP", s.group)
	}
	return words
}

// request is told a request.
func (c *Client) request(args []wire.Value) error {
	if len(args) < 9 {
		return errBadPush
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.services[args[1].Str]
	if s == nil || !s.begun {
		return nil // its service has ended, and the daemon is told so
	}
	r := &Request{
		ID: uint64(args[0].Int), Topic: args[2].Str, Payload: []byte(args[3].Str), Time: time.UnixMicro(args[4].Int),
		PID: int(args[5].Int), UID: int(args[6].Int), Unit: args[7].Str, client: c,
	}
	if args[8].Int != 0 {
		r.Deadline = time.UnixMicro(args[8].Int)
	}
	if len(args) > 9 {
		r.Headers = headers(args[9].Get("headers"))
	}
	r.ready = make(chan struct{}, 1)
	r.ctx, r.cancel = context.WithCancel(s.ctx)
	s.open[r.ID] = r
	s.waiting = append(s.waiting, r)
	s.taken++
	if s.running < s.jobs {
		s.running++
		s.tasks.Go(s.work)
	}
	return nil
}

// revoked is told that nobody waits for an answer any more.
func (c *Client) revoked(args []wire.Value) error {
	if len(args) < 1 {
		return errBadPush
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.services {
		if r := s.open[uint64(args[0].Int)]; r != nil {
			delete(s.open, r.ID)
			// So no more waits than the daemon has users ask for at a time, however many requests they give up.
			s.waiting = slices.DeleteFunc(s.waiting, func(w *Request) bool { return w == r })
			r.cancel()
		}
	}
	return nil
}

// ready is told that the asker has read what was sent of an answer.
func (c *Client) ready(args []wire.Value) error {
	if len(args) < 1 {
		return errBadPush
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.services {
		if r := s.open[uint64(args[0].Int)]; r != nil {
			select {
			case r.ready <- struct{}{}:
			default:
			}
		}
	}
	return nil
}

// work answers requests until none waits.
func (s *service) work() {
	c := s.client
	for {
		c.mu.Lock()
		if len(s.waiting) == 0 {
			if s.running--; s.running == 0 && s.count > 0 && s.taken >= s.count {
				close(s.done)
			}
			c.mu.Unlock()
			return
		}
		r := s.waiting[0]
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
		c.mu.Unlock()
		if r.ctx.Err() == nil {
			s.answer(r)
		}
		r.cancel()
		c.mu.Lock()
		delete(s.open, r.ID)
		c.mu.Unlock()
	}
}

// answer has a request answered, unless nobody waits for it any more.
func (s *service) answer(r *Request) {
	answer, err := s.handler(r.ctx, r)
	switch {
	case r.ctx.Err() != nil:
	case err != nil:
		_ = r.send([]byte(err.Error()), "ERROR") // it fails if nobody waits any more
	default:
		if err := r.finish(answer); err != nil {
			_ = r.send([]byte("the answer cannot be sent: "+err.Error()), "ERROR")
		}
	}
}

// largestPart is how much of an answer is sent in one command.
const largestPart = 256 << 10

// SetHeader has the answer say one more thing beside its payload: see [Header]. It goes with what is sent next of the answer.
func (r *Request) SetHeader(name, value string) {
	r.sending.Lock()
	defer r.sending.Unlock()
	r.own = append(r.own, name, value)
}

// Send sends a part of the answer before the rest of it, which the handler returns. If the asker wants parts as they come, and reads them
// more slowly than they do, Send waits for him. An error says that nobody waits for the answer any more, or, if the asker wants it as a
// whole, that it is longer than it may be then ([wire.MaxAnswer]).
func (r *Request) Send(part []byte) error {
	for len(part) > largestPart {
		if err := r.send(part[:largestPart], "MORE"); err != nil {
			return err
		}
		part = part[largestPart:]
	}
	return r.send(part, "MORE")
}

// finish sends the rest of an answer.
func (r *Request) finish(rest []byte) error {
	if n := len(rest); n > largestPart {
		last := (n - 1) / largestPart * largestPart
		if err := r.Send(rest[:last]); err != nil {
			return err
		}
		rest = rest[last:]
	}
	return r.send(rest)
}

// send sends a part, and returns when the next may be sent.
func (r *Request) send(part []byte, option ...string) error {
	r.sending.Lock()
	defer r.sending.Unlock()
	words := option
	if !slices.Contains(option, "ERROR") { // which has none
		for i := 0; i < len(r.own); i += 2 {
			words = append(words, "HEADER", r.own[i], r.own[i+1])
		}
	}
	for {
		v, err := r.client.roundTrip(r.ctx, func(b []byte) []byte {
			b = wire.AppendArray(b, 3+len(words))
			b = wire.AppendBulk(b, "BUS.REPLY")
			b = wire.AppendBulk(b, strconv.FormatUint(r.ID, 10))
			b = wire.AppendBulk(b, part)
			for _, w := range words {
				b = wire.AppendBulk(b, w)
			}
			return b
		})
		again := errors.Is(err, ErrBusy)
		if err == nil {
			r.own = nil
		}
		if !again && (err != nil || v.Str != "WAIT") {
			return err
		}
		select {
		case <-r.ready:
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
		if !again {
			return nil
		}
	}
}
