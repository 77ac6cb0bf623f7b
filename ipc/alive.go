package ipc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// ErrUnlocked is why the context of a lock ends that is given back: see [Lock.Context].
var ErrUnlocked = errors.New("lock was given back")

// Context returns a context for work that must not go on without the lock: it ends with ctx, when the lock is lost, and when it is
// given back. context.Cause says why: what [Lock.Err] says, or [ErrUnlocked].
func (l *Lock) Context(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.cause != nil:
		cancel(l.cause)
	case l.ended:
		cancel(ErrUnlocked)
	default:
		if l.contexts == nil {
			l.contexts = map[context.Context]context.CancelCauseFunc{}
		}
		l.contexts[ctx] = cancel
		context.AfterFunc(ctx, func() { // the parent may end long before the lock
			l.mu.Lock()
			defer l.mu.Unlock()
			delete(l.contexts, ctx)
		})
	}
	return ctx
}

// KeepAlive renews the lease of the lock, at once and whenever a third of it has passed, and so is called in a goroutine of its own,
// which ends with ctx or the lock. It returns nil when the lock is given back, the error of ctx, or why the lock was lost.
//
// If the lease cannot be renewed in time, because the daemon does not answer or cannot be reached, the lock is lost: [Lock.Lost] tells,
// no later than the daemon would grant it to another. A connection that has ended is no reason to give up before that: the lock may be
// attached to another one ([Lock.Attach]).
func (l *Lock) KeepAlive(ctx context.Context) error {
	begun := boottime()
	lease, err := l.renew(ctx)
	if err != nil && l.isOver() {
		return l.Err()
	}
	if err != nil {
		return err
	}
	ends, next := begun+lease, lease/3 // ends as the daemon sees it, or earlier
	for {
		if err := l.pause(ctx, next); err != nil || l.isOver() {
			return l.orLost(err)
		}
		begun = boottime()
		inTime, cancel := context.WithTimeout(ctx, ends-begun)
		lasts, err := l.renew(inTime)
		cancel()
		switch {
		case err == nil:
			lease, ends, next = lasts, begun+lasts, lasts/3
			continue
		case isGone(err):
			l.lose(l.conn().howLost(ctx, l))
		case boottime() >= ends:
			l.lose(&LostError{Name: l.Name, How: "expired"})
		}
		next = min(lease/20, ends-boottime())
	}
}

// renew renews the lease of all holds to what it was, and returns how long the shortest is.
func (l *Lock) renew(ctx context.Context) (lease time.Duration, err error) {
	for i, h := range l.holds() {
		v, err := l.command(ctx, "LOCK.RENEW", h.Name, token(h.Token))
		if err != nil {
			return 0, fmt.Errorf("cannot renew the lease of %q: %w", h.Name, err)
		}
		if ms := time.Duration(v.Int) * time.Millisecond; i == 0 || ms < lease {
			lease = ms
		}
	}
	return lease, nil
}

// pause waits for so long, or until ctx or the lock ends; if it is ctx, with its error.
func (l *Lock) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.over:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// isOver reports whether the lock is lost or given back.
func (l *Lock) isOver() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

// orLost is how the lock was lost, if it was, and else err.
func (l *Lock) orLost(err error) error {
	if cause := l.Err(); cause != nil {
		return cause
	}
	return err
}

// boottime is the clock of leases, which goes on while the machine is suspended.
func boottime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // every kernel that the daemon runs on has it
	}
	return time.Duration(t.Nano())
}
