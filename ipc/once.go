package ipc

import (
	"context"
	"fmt"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A Period is how long something stays done: see [Client.Once].
type Period string

// The periods.
const (
	PerBoot Period = "boot" // until the machine is started again
	PerDay  Period = "day"  // until midnight, in the daemon's time zone
	Ever    Period = "ever"
)

// Once calls f unless it was done in this period, by whichever process, and reports whether it did. It holds the lock called
// key meanwhile, so another who comes waits, and then has nothing to do. If f fails, or the program does, it was not done.
func (c *Client) Once(ctx context.Context, key string, per Period, f func(context.Context) error) (did bool, err error) {
	return once(ctx, c, key, per, f)
}

// Once is [Client.Once] with a lock of the link: the daemon may be restarted meanwhile.
func (k *Link) Once(ctx context.Context, key string, per Period, f func(context.Context) error) (did bool, err error) {
	return once(ctx, k, key, per, f)
}

// A taker takes locks and sends commands that may be sent twice: a Client or a Link.
type taker interface {
	Lock(ctx context.Context, name string, options ...LockOption) (*Lock, error)
	command(ctx context.Context, words ...string) (wire.Value, error)
}

// command sends a command to the next daemon again if the connection ends before it is answered.
func (k *Link) command(ctx context.Context, words ...string) (v wire.Value, err error) {
	err = k.each(ctx, func(c *Client) (err error) {
		v, err = c.command(ctx, words...)
		return err
	})
	return v, err
}

func once(ctx context.Context, by taker, key string, per Period, f func(context.Context) error) (did bool, err error) {
	if done, err := isDone(ctx, by, key, per); done || err != nil {
		return false, err
	}
	l, err := by.Lock(ctx, key)
	if err != nil {
		return false, err
	}
	defer func() {
		if e := l.Unlock(ctx); err == nil {
			err = e
		}
	}()
	if done, err := isDone(ctx, by, key, per); done || err != nil {
		return false, err
	}
	if err := f(ctx); err != nil {
		return true, err
	}
	if _, err := by.command(ctx, "LOCK.DONE", key, token(l.Token), "PER", string(per)); err != nil {
		return true, fmt.Errorf("cannot note that %q is done: %w", key, err)
	}
	return true, nil
}

func isDone(ctx context.Context, by taker, key string, per Period) (bool, error) {
	v, err := by.command(ctx, "LOCK.ISDONE", key, "PER", string(per))
	if err != nil {
		return false, fmt.Errorf("cannot ask whether %q is done: %w", key, err)
	}
	return v.Kind != wire.KindNull, nil
}
