package ipc

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
)

// A Lock is a hold on a named lock.
type Lock struct {
	Name string

	// Token is the fencing token of the hold: higher than that of every hold before it, after a reboot too. A
	// resource that remembers the highest token it has seen can refuse whoever comes late.
	Token uint64

	// Previous says how the hold before this one ended: "released", "exited 1", "killed 9", "disconnected",
	// "unknown"; "" if there was none.
	Previous string

	// Abandoned says who died holding the lock, and how: what it guards may be half done. "" if nobody did.
	Abandoned string

	client *Client
	bound  bool // to the client's connection
}

// A LockOption changes what [Client.Lock] and [Client.TryLock] do.
type LockOption func(*lockOptions)

type lockOptions struct {
	shared  bool
	process bool
	waits   bool // wait says how long
	wait    time.Duration
	why     string
}

// Shared asks for the lock together with others that do.
func Shared() LockOption { return func(o *lockOptions) { o.shared = true } }

// Why is shown to those who wait and to "ipcctl locks".
func Why(text string) LockOption { return func(o *lockOptions) { o.why = text } }

// Wait bounds how long to wait in the queue; then the error is [ErrTimeout]. A context with a deadline bounds it as
// well, but the daemon knows of this one, and so whoever looks at the queue.
func Wait(d time.Duration) LockOption {
	return func(o *lockOptions) { o.waits, o.wait = true, max(d, 0) }
}

// ForProcess binds the hold to the process alone, not to the connection: it ends with Unlock or with the process, an
// exec does not end it.
//
// If the connection ends while [Client.Lock] waits, nobody can tell whether the lock was granted at the last moment.
func ForProcess() LockOption { return func(o *lockOptions) { o.process = true } }

// owners numbers the owner labels of this process.
var owners atomic.Uint64

// Lock takes the lock called name, in turn. Each call is an owner of its own: two of the same program exclude each
// other as two programs do. Unless [ForProcess] is given, the hold ends with the connection, see [Lock.Lost].
//
// If ctx ends while it waits, the place in the queue is given up; if the lock was granted at that very moment, it is
// given back.
func (c *Client) Lock(ctx context.Context, name string, options ...LockOption) (*Lock, error) {
	var o lockOptions
	for _, option := range options {
		option(&o)
	}
	return c.acquire(ctx, name, o)
}

// TryLock is Lock without waiting: if the lock is held or waited for, the error is [ErrBusy].
func (c *Client) TryLock(ctx context.Context, name string, options ...LockOption) (*Lock, error) {
	return c.Lock(ctx, name, append(options[:len(options):len(options)], Wait(0))...)
}

func (o *lockOptions) words(name string) []string {
	words := []string{"LOCK.ACQUIRE", name, "OWNER", "go." + strconv.FormatUint(owners.Add(1), 10)}
	if o.shared {
		words = append(words, "SHARED")
	}
	if o.process {
		words = append(words, "FOR", "self")
	}
	if o.why != "" {
		words = append(words, "WHY", o.why)
	}
	if o.waits {
		// Rounded up: to wait a little is not to try.
		ms := (o.wait + time.Millisecond - 1) / time.Millisecond
		words = append(words, "WAIT", strconv.FormatInt(int64(ms), 10))
	}
	if !o.waits || o.wait > 0 {
		words = append(words, "ASYNC")
	}
	return words
}

func (c *Client) acquire(ctx context.Context, name string, o lockOptions) (*Lock, error) {
	cl := newCall()
	cl.lock = name
	words := o.words(name)
	err := c.start(ctx, cl, func(b []byte) []byte { return AppendCommand(b, words...) })
	if err != nil {
		return nil, fmt.Errorf("cannot lock %q: %w", name, err)
	}
	var r result
	select {
	case r = <-cl.result:
	case <-ctx.Done():
		c.giveUp(cl)
		r.err = ctx.Err()
	}
	if r.err != nil {
		return nil, fmt.Errorf("cannot lock %q: %w", name, r.err)
	}
	return &Lock{
		Name:      name,
		Token:     uint64(r.value.Get("token").Int),
		Previous:  r.value.Get("previous").Text(),
		Abandoned: r.value.Get("abandoned").Text(),
		client:    c,
		bound:     !o.process,
	}, nil
}

// giveUp leaves the queue for a lock. It waits until the daemon has said what became of the request, so that the
// program neither waits nor holds when it goes on; but not for long: the daemon may be stuck, and whatever it says
// later is still seen to.
func (c *Client) giveUp(cl *call) {
	c.mu.Lock()
	select {
	case r := <-cl.result: // decided in this very moment
		if r.err == nil {
			c.giveBackLocked(cl, r.value)
		}
		c.flushAndUnlock()
		return
	default:
	}
	cl.unwanted = true
	if cl.ticket != "" {
		c.cancelLocked(cl)
	}
	c.flushAndUnlock()
	select {
	case <-cl.result:
	case <-time.After(time.Second):
	}
}

// Unlock gives the lock back. It does so even if ctx has ended: ctx only bounds the wait for the daemon's answer. If the
// lock is not held any more, the error is [ErrStale] or [ErrNoLock]; if the connection ended, [ErrClosed], and so did
// the hold unless it is [ForProcess].
func (l *Lock) Unlock(ctx context.Context) error {
	c, cl := l.client, newCall()
	c.mu.Lock()
	c.postLocked(cl, "LOCK.RELEASE", l.Name, strconv.FormatUint(l.Token, 10))
	c.flushAndUnlock()
	if _, err := cl.wait(ctx); err != nil {
		return fmt.Errorf("cannot unlock %q: %w", l.Name, err)
	}
	return nil
}

// Lost returns a channel that is closed when the hold ended without Unlock, with the connection it was bound to: what
// the lock guards may be another's now. For a hold [ForProcess] it is nil.
func (l *Lock) Lost() <-chan struct{} {
	if !l.bound {
		return nil
	}
	return l.client.done
}
