package ipc

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ipcd/ipcd/ipc/wire"
)

// Adopt takes charge of a hold that is there already, by its token: one that this program acquired on a connection that has
// ended, before an exec, or that another process of the same user handed over. The lock is what [Client.Lock] would have
// returned, but that nobody knows any more how the hold before it ended: it can be renewed and given back, and [Lock.Lost] tells of
// its end. Adopt changes nothing about what it is bound to. If the hold is over, the error is [ErrStale] or [ErrNoLock].
func (c *Client) Adopt(ctx context.Context, name string, token uint64) (*Lock, error) {
	l := newLock(name)
	l.Token = token
	replies, err := l.attach(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("cannot adopt lock %q: %w", name, err)
	}
	l.Mode = replies[0].Get("mode").Str
	return l, nil
}

// Attach has the lock go on with the connection of another client: after that of its own has ended, [Lock.Lost] tells again what
// becomes of it, and it can be renewed and given back. If it was lost meanwhile, Lost tells that now, and the error is [ErrStale] or
// [ErrNoLock]. A lock that was bound to a connection which has ended is lost.
func (l *Lock) Attach(ctx context.Context, c *Client) error {
	if err := l.Err(); err != nil {
		return fmt.Errorf("cannot attach lock %q: %w", l.Name, err)
	}
	if _, err := l.attach(ctx, c); err != nil {
		if isGone(err) {
			l.lose(c.howLost(ctx, l))
		}
		return fmt.Errorf("cannot attach lock %q: %w", l.Name, err)
	}
	return nil
}

// isGone reports whether an error says that a token is that of no present hold.
func isGone(err error) bool { return errors.Is(err, ErrStale) || errors.Is(err, ErrNoLock) }

// attach has a client be told of the lock in place of the one that is now, and returns what the daemon says of each of its holds.
func (l *Lock) attach(ctx context.Context, c *Client) (replies []wire.Value, err error) {
	// Before the daemon answers: it may tell more at once.
	if !c.register(l) {
		return nil, c.Err()
	}
	for _, h := range l.holds() {
		v, err := c.command(ctx, "LOCK.FOLLOW", h.Name, token(h.Token))
		if err != nil {
			if l.conn() != c {
				c.forget(l)
			}
			return nil, err
		}
		replies = append(replies, v)
	}
	l.mu.Lock()
	before := l.client
	l.client, l.bound = c, l.bound && before == c
	l.mu.Unlock()
	if before != nil && before != c {
		before.forget(l)
	}
	return replies, nil
}

// register is registerLocked for a lock that may be known already. It reports false if the connection has ended.
func (c *Client) register(l *Lock) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !slices.Contains(c.held[heldKey{l.Name, l.Token}], l) {
		c.registerLocked(l)
	}
	return c.err == nil
}

func (c *Client) forget(l *Lock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgetLocked(l)
}

// howLost finds out how a lock was lost that nobody told of.
func (c *Client) howLost(ctx context.Context, l *Lock) error {
	for _, h := range l.holds() {
		v, err := c.command(ctx, "LOCK.INFO", h.Name)
		if err != nil {
			continue
		}
		if end := endInfo(v.Get("previous")); end != nil && end.Token == h.Token {
			lost := &LostError{Name: h.Name, How: end.How}
			if end.By != nil {
				lost.By = end.By.String()
			}
			return lost
		}
	}
	return &LostError{Name: l.Name, How: "unknown"}
}
