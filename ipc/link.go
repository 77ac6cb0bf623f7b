package ipc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Link is a Client that is made anew whenever its connection has ended, until Close. What belongs to the link, its subscriptions and
// locks, goes on with the next connection; none of it does so unnoticed.
//
//   - A [Subscription] is taken out again, and says by a [GapError] that messages may be missing, since when and why.
//   - A [Lock] is held on, as it is bound to the process, to a [Lease] or to nobody, and is followed again. If it was lost meanwhile,
//     [Lock.Lost] tells. What is asked for it while there is no connection waits for the next one.
//   - Who waits for a lock goes on: with the same place in the queue, if only the connection was lost and is there again within ten
//     seconds; anew, if the daemon was restarted. Either way the lock is granted once, as the request has an id (REQID).
//   - [Link.Serve] serves by the next connection. What was asked by the one before, and not answered, is lost; who asked is told so.
//
// For all else there is [Link.Client]: what fails with [ErrClosed] there, the program has to decide about.
type Link struct {
	address string
	options []DialOption
	ctx     context.Context // ends with the link
	cancel  context.CancelFunc
	tasks   sync.WaitGroup

	mu            sync.Mutex
	closed        bool
	client        *Client         // nil: there is none now
	changed       chan struct{}   // closed when client is another, or there is no hope of one
	failed        error           // why there is none
	subscriptions []*Subscription // in the order in which they were made
	locks         []*Lock
}

// DialLink connects to the daemon at address as [Dial] does, but waits for a daemon that is not there, until ctx ends. It fails at
// once with a [*DialError] that waiting does not mend: of an address that makes no sense, or a socket that is not for this user.
func DialLink(ctx context.Context, address string, options ...DialOption) (*Link, error) {
	k := &Link{address: address, options: options, changed: make(chan struct{})}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.tasks.Go(k.run)
	if _, err := k.Client(ctx); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// Client returns the client of the present connection, as soon as there is one. The error is that of ctx, and why there is no
// connection, or wraps [ErrClosed] after Close.
func (k *Link) Client(ctx context.Context) (*Client, error) {
	for {
		k.mu.Lock()
		c, changed, failed := k.client, k.changed, k.failed
		k.mu.Unlock()
		switch {
		case k.ctx.Err() != nil:
			return nil, ErrClosed
		case c != nil && c.Err() == nil:
			return c, nil
		case failed != nil && !isPassing(failed):
			return nil, failed
		}
		select {
		case <-changed:
		case <-k.ctx.Done():
		case <-ctx.Done():
			if failed != nil {
				return nil, fmt.Errorf("%w: %w", ctx.Err(), failed)
			}
			return nil, ctx.Err()
		}
	}
}

// Close ends the connection, and makes no other. Subscriptions end; locks stay held by what they are bound to.
func (k *Link) Close() error {
	k.mu.Lock()
	k.closed = true
	subscriptions := k.subscriptions
	k.subscriptions = nil
	k.mu.Unlock()
	k.cancel()
	k.tasks.Wait()
	for _, s := range subscriptions {
		s.end(ErrClosed)
	}
	return nil
}

const (
	// firstPause is how long after a failure it is tried again; then twice as long each time, up to lastPause.
	firstPause = 10 * time.Millisecond
	lastPause  = time.Second
)

// run makes one connection after the other.
func (k *Link) run() {
	var gap *GapError // of the connection before
	for pause := time.Duration(0); k.pause(pause); pause = min(max(2*pause, firstPause), lastPause) {
		c, err := Dial(k.ctx, k.address, k.options...)
		if err != nil {
			k.have(nil, err)
			continue
		}
		if err := k.restore(c, gap); err != nil {
			c.Close()
			k.have(nil, err)
			continue
		}
		begun := time.Now()
		k.have(c, nil)
		select {
		case <-c.Done():
		case <-k.ctx.Done():
		}
		err = c.Err()
		c.Close()
		k.have(nil, err)
		gap = &GapError{Since: time.Now(), Err: err}
		if time.Since(begun) > lastPause {
			pause = 0
		}
	}
}

// pause waits, and reports whether the link is there still.
func (k *Link) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-k.ctx.Done():
	}
	return k.ctx.Err() == nil
}

// have notes which client there is, or why there is none.
func (k *Link) have(c *Client, failed error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.client, k.failed = c, failed
	if c != nil || failed != nil && !isPassing(failed) {
		close(k.changed)
		k.changed = make(chan struct{})
	}
}

// isPassing reports whether an error of connecting may pass by itself: there is no daemon now, or it is about to end.
func isPassing(err error) bool {
	for _, passing := range []error{ErrClosed, ErrShutdown, unix.ENOENT, unix.ECONNREFUSED, unix.ECONNRESET, unix.EAGAIN, unix.EPIPE} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// restore has all that belongs to the link go on with a client. It fails if that has ended.
func (k *Link) restore(c *Client, gap *GapError) error {
	k.mu.Lock()
	locks, subscriptions := slices.Clone(k.locks), slices.Clone(k.subscriptions)
	k.mu.Unlock()
	for _, l := range locks {
		if err := k.follow(c, l); err != nil {
			return err
		}
	}
	for _, s := range subscriptions {
		if err := s.resume(k.ctx, c, gap); isBroken(err) || k.ctx.Err() != nil {
			return err
		} else if err != nil {
			s.end(err)
		}
	}
	return nil
}

// follow has a lock go on with a client, unless it is over. It fails if the client has ended.
func (k *Link) follow(c *Client, l *Lock) error {
	if l.isOver() {
		k.forgetLock(l)
		return nil
	}
	_, err := l.attach(k.ctx, c)
	switch {
	case err == nil:
	case isGone(err):
		l.lose(c.howLost(k.ctx, l))
		k.forgetLock(l)
	case isBroken(err) || k.ctx.Err() != nil:
		return err
	default: // nobody would tell that it is lost
		l.lose(fmt.Errorf("lock %q cannot be followed: %w", l.Name, err))
	}
	return nil
}

// isBroken reports whether an error says that the connection has ended, or is about to.
func isBroken(err error) bool { return errors.Is(err, ErrClosed) || errors.Is(err, ErrShutdown) }

// each does something with a client, and once more with the next one whenever the connection ends meanwhile.
func (k *Link) each(ctx context.Context, f func(*Client) error) error {
	for {
		c, err := k.Client(ctx)
		if err != nil {
			return err
		}
		if err = f(c); !isBroken(err) {
			return err
		}
		select {
		case <-c.Done():
		case <-k.ctx.Done():
			return err
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// background does something until the link ends, at the latest. It reports false if that is so already.
func (k *Link) background(f func()) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.closed {
		k.tasks.Go(f)
	}
	return !k.closed
}

// Subscribe is [Client.Subscribe] for a subscription that goes on with the next connection.
func (k *Link) Subscribe(ctx context.Context, filter string, options ...SubscribeOption) (*Subscription, error) {
	s := newSubscription(filter, options)
	s.link = k
	for {
		err := k.each(ctx, func(c *Client) error { return s.resume(ctx, c, nil) })
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("cannot subscribe to %q: %w", filter, err)
		}
		k.mu.Lock()
		if known := k.client == s.conn() && !k.closed; known {
			k.subscriptions = append(k.subscriptions, s)
			k.mu.Unlock()
			return s, nil
		}
		k.mu.Unlock() // the connection has ended, and the next one knows nothing of it
	}
}

func (k *Link) forgetSubscription(s *Subscription) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.subscriptions = slices.DeleteFunc(k.subscriptions, func(other *Subscription) bool { return other == s })
}

func (k *Link) forgetLock(l *Lock) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.locks = slices.DeleteFunc(k.locks, func(other *Lock) bool { return other == l })
}
