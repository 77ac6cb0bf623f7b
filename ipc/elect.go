package ipc

import (
	"context"
	"fmt"
)

// A Lead is the lead of what one process at a time does: a lock, and the value of the topic NAME/leader, which tells who has it. It is this
// process's, and ends with it, whatever becomes of the client.
type Lead struct {
	*Lock
	client *Client
}

// Elect waits for its turn to lead, and tells that it does: the lock of that name is held, and id is the value of the topic NAME/leader until
// Resign, or until this process has ended. When the lead is lost, [Lock.Lost] tells, as for any lock; until the next leader says so, the
// value is still this one's. What must not be done by who has lost it is guarded by the token, as by [Under].
func (c *Client) Elect(ctx context.Context, name, id string, options ...LockOption) (*Lead, error) {
	lock, err := c.Lock(ctx, name, append(options[:len(options):len(options)], ForProcess())...)
	if err != nil {
		return nil, err
	}
	l := &Lead{lock, c}
	if _, err := c.Announce(ctx, l.topic(), []byte(id), Under(lock.Hold)); err != nil {
		_, _ = c.Unwill(ctx, l.topic())
		_ = lock.Unlock(ctx)
		return nil, fmt.Errorf("cannot lead %q: %w", name, err)
	}
	return l, nil
}

func (l *Lead) topic() string { return l.Name + "/leader" }

// Resign takes the value away and gives the lock to the next. If the lead was lost, the value is another's, and stays.
func (l *Lead) Resign(ctx context.Context) error {
	if _, err := l.client.Unwill(ctx, l.topic()); err != nil {
		return err
	}
	if err := l.client.CheckToken(ctx, l.Name, l.Token); err == nil {
		if _, err := l.client.Clear(ctx, l.topic()); err != nil {
			return err
		}
	}
	return l.Unlock(ctx)
}
