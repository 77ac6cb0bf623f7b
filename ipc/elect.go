package ipc

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Lead is the lead of what one process at a time does: a lock, and the value of the topic NAME/leader, which tells who has it. It is this
// process's, and ends with it, whatever becomes of the client.
type Lead struct {
	*Lock
	by candidate
}

// A candidate is who takes the lock of a lead: a Client, or a Link by whichever client it has.
type candidate interface {
	Lock(ctx context.Context, name string, options ...LockOption) (*Lock, error)
	each(ctx context.Context, f func(*Client) error) error
	background(f func()) bool
}

// Elect waits for its turn to lead, and tells that it does: the lock of that name is held, and id is the value of the topic NAME/leader until
// Resign, or until this process has ended. When the lead is lost, [Lock.Lost] tells, as for any lock; until the next leader says so, the
// value is still this one's. What must not be done by who has lost it is guarded by the token, as by [Under].
func (c *Client) Elect(ctx context.Context, name, id string, options ...LockOption) (*Lead, error) {
	return elect(ctx, c, name, id, options)
}

// Elect is [Client.Elect] for a lead that goes on with the next connection.
func (k *Link) Elect(ctx context.Context, name, id string, options ...LockOption) (*Lead, error) {
	return elect(ctx, k, name, id, options)
}

func elect(ctx context.Context, by candidate, name, id string, options []LockOption) (*Lead, error) {
	lock, err := by.Lock(ctx, name, append(options[:len(options):len(options)], ForProcess())...)
	if err != nil {
		return nil, err
	}
	l := &Lead{lock, by}
	err = by.each(ctx, func(c *Client) error {
		_, err := c.Announce(ctx, l.topic(), []byte(id), Under(l.Hold))
		return err
	})
	if err != nil {
		l.giveUp()
		return nil, fmt.Errorf("cannot lead %q: %w", l.Name, err)
	}
	return l, nil
}

// giveUp has nothing be left of a lead that could not be told of, whether or not the caller's context has ended. As one who gives up a lock
// does, it waits for that, but not for long.
func (l *Lead) giveUp() {
	over := make(chan struct{})
	begun := l.by.background(func() {
		defer close(over)
		_ = l.withdraw(context.Background())
		_ = l.Unlock(context.Background())
	})
	if begun {
		select {
		case <-over:
		case <-time.After(time.Second):
		}
	}
}

func (l *Lead) topic() string { return l.Name + "/leader" }

// Resign takes the value away and gives the lock to the next. If the lead was lost, the value is another's, and stays.
func (l *Lead) Resign(ctx context.Context) error {
	if err := l.withdraw(ctx); err != nil {
		return err
	}
	return l.Unlock(ctx)
}

// withdraw takes the value away, if the lead was not lost.
func (l *Lead) withdraw(ctx context.Context) error {
	return l.by.each(ctx, func(c *Client) error {
		_, err := c.clear(ctx, l.topic(), "UNDER", l.Name, token(l.Token))
		switch {
		case errors.Is(err, ErrStale), errors.Is(err, ErrNoLock):
			return nil // Unlock says so; and if this process leads again, the will is of that
		case err != nil:
			return err
		}
		_, err = c.Unwill(ctx, l.topic()) // only now: if the process ends before, the value goes with it
		return err
	})
}
