package ipc

import (
	"context"
	"errors"
	"fmt"
)

// A Lead is the lead of what one process at a time does: a lock, and the value of the topic NAME/leader, which tells who has it. It is this
// process's, and ends with it, whatever becomes of the client.
type Lead struct {
	*Lock
	each func(ctx context.Context, f func(*Client) error) error // does something with a client
}

// Elect waits for its turn to lead, and tells that it does: the lock of that name is held, and id is the value of the topic NAME/leader until
// Resign, or until this process has ended. When the lead is lost, [Lock.Lost] tells, as for any lock; until the next leader says so, the
// value is still this one's. What must not be done by who has lost it is guarded by the token, as by [Under].
func (c *Client) Elect(ctx context.Context, name, id string, options ...LockOption) (*Lead, error) {
	lock, err := c.Lock(ctx, name, append(options[:len(options):len(options)], ForProcess())...)
	if err != nil {
		return nil, err
	}
	return (&Lead{lock, func(_ context.Context, f func(*Client) error) error { return f(c) }}).say(ctx, id)
}

// Elect is [Client.Elect] for a lead that goes on with the next connection.
func (k *Link) Elect(ctx context.Context, name, id string, options ...LockOption) (*Lead, error) {
	lock, err := k.Lock(ctx, name, append(options[:len(options):len(options)], ForProcess())...)
	if err != nil {
		return nil, err
	}
	return (&Lead{lock, k.each}).say(ctx, id)
}

// say tells that this process leads.
func (l *Lead) say(ctx context.Context, id string) (*Lead, error) {
	err := l.each(ctx, func(c *Client) error {
		_, err := c.Announce(ctx, l.topic(), []byte(id), Under(l.Hold))
		return err
	})
	if err != nil {
		_ = l.each(ctx, func(c *Client) error {
			_, err := c.Unwill(ctx, l.topic())
			return err
		})
		_ = l.Unlock(ctx)
		return nil, fmt.Errorf("cannot lead %q: %w", l.Name, err)
	}
	return l, nil
}

func (l *Lead) topic() string { return l.Name + "/leader" }

// Resign takes the value away and gives the lock to the next. If the lead was lost, the value is another's, and stays.
func (l *Lead) Resign(ctx context.Context) error {
	err := l.each(ctx, func(c *Client) error {
		if _, err := c.Unwill(ctx, l.topic()); err != nil {
			return err
		}
		_, err := c.clear(ctx, l.topic(), "UNDER", l.Name, token(l.Token))
		if errors.Is(err, ErrStale) || errors.Is(err, ErrNoLock) {
			return nil // Unlock says so
		}
		return err
	})
	if err != nil {
		return err
	}
	return l.Unlock(ctx)
}
