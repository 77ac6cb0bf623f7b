package ipc

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
)

// Lock is [Client.Lock] for a lock that goes on with the next connection: unless the options bind it otherwise, it is bound to the
// process ([ForProcess]). It is held until Unlock, also after the link is closed.
func (k *Link) Lock(ctx context.Context, name string, options ...LockOption) (*Lock, error) {
	o := newLockOptions(name, options)
	if o.For == "" && !o.Leased {
		o.For = forSelf
	}
	o.ID, o.link = requestID(), k
	o.name()
	begun, patience, broken := time.Now(), o.Wait, false
	var l *Lock
	err := k.each(ctx, func(c *Client) (err error) {
		if patience > 0 {
			o.Wait = max(patience-time.Since(begun), time.Millisecond)
		}
		l, err = c.acquire(ctx, o)
		broken = isBroken(err)
		return err
	})
	if broken {
		k.background(func() { k.disclaim(o) })
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock %q: %w", name, err)
	}
	k.mu.Lock()
	k.locks = append(k.locks, l)
	known := k.client == l.conn()
	k.mu.Unlock()
	if !known { // the connection has ended, and the next one may know nothing of it
		k.background(func() { _ = k.each(k.ctx, func(c *Client) error { return k.follow(c, l) }) })
	}
	return l, nil
}

// TryLock is Lock without waiting: if the lock is held or waited for, the error is [ErrBusy].
func (k *Link) TryLock(ctx context.Context, name string, options ...LockOption) (*Lock, error) {
	return k.Lock(ctx, name, append(options[:len(options):len(options)], Wait(0))...)
}

// giveUp sees to it that nothing is left of a request that its client has given up, also if the connection ends over that.
func (k *Link) giveUp(cl *call, o *lockOptions) {
	k.background(func() {
		switch r := <-cl.result; {
		case r.err == nil:
			_ = k.released(cl.back)
		case isBroken(r.err):
			k.disclaim(o)
		}
	})
}

// disclaim gives back what a request was granted perhaps that was under way when the connection ended, and that nobody waits for any
// more: it repeats the request, as nothing else tells.
func (k *Link) disclaim(o *lockOptions) {
	if o.Async {
		o.Waits, o.Wait = true, time.Millisecond
	}
	var l *Lock
	err := k.each(k.ctx, func(c *Client) (err error) {
		l, err = c.acquire(k.ctx, o)
		return err
	})
	if err == nil {
		_ = k.released(l.conn().giveBack(l)) // else it ends with the process
	}
}

// release gives a lock of the link back, in the background: ctx bounds only the wait for it.
func (k *Link) release(ctx context.Context, l *Lock, options []string) error {
	k.forgetLock(l)
	releases, outcome := l.conn().giveBack(l, options...), make(chan error, 1)
	if !k.background(func() { outcome <- k.released(releases) }) {
		return ErrClosed
	}
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// released waits for the outcome of releases, and repeats those that have none because the connection has ended.
func (k *Link) released(all []release) (failed error) {
	for _, r := range all {
		_, err := r.call.wait(k.ctx)
		if isBroken(err) {
			err = k.each(k.ctx, func(c *Client) error {
				_, err := c.command(k.ctx, append([]string{"LOCK.RELEASE", r.hold.Name, token(r.hold.Token)}, r.options...)...)
				if r.sent && isGone(err) {
					err = c.ended(k.ctx, r.hold, err)
				}
				r.sent = true
				return err
			})
		}
		if err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

// ended is what is wrong with a hold being gone when it is asked once more to be released: nothing, as a daemon has released it that did not
// get to say so, unless its end is known to be another one. Others may have held the lock since, so that it is not known any more.
func (c *Client) ended(ctx context.Context, h Hold, gone error) error {
	v, err := c.command(ctx, "LOCK.INFO", h.Name)
	switch end := endInfo(v.Get("previous")); {
	case isBroken(err):
		return err // the next daemon is to be asked
	case err != nil || end != nil && end.Token == h.Token && end.How != "released":
		return gone
	}
	return nil
}

// command sends a command about the lock, which does no more when it is sent twice.
func (l *Lock) command(ctx context.Context, words ...string) (v wire.Value, err error) {
	if l.link == nil {
		return l.conn().command(ctx, words...)
	}
	err = l.link.each(ctx, func(c *Client) error {
		v, err = c.command(ctx, words...)
		return err
	})
	return v, err
}

var (
	requests atomic.Uint64
	// image tells this program from those that had the process before an exec, whose requests the daemon may remember.
	image = sync.OnceValue(func() string { return strconv.FormatInt(time.Now().UnixNano(), 36) })
)

// requestID is a REQID that this process has not used.
func requestID() string {
	return "go." + image() + "." + strconv.FormatUint(requests.Add(1), 10)
}
