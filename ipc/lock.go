package ipc

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A Hold is one named lock, held.
type Hold struct {
	Name string

	// Token is the fencing token of the hold: higher than that of every hold before it, after a reboot too. A
	// resource that remembers the highest token it has seen can refuse whoever comes late.
	Token uint64

	Mode string // as it was granted: "exclusive", "shared" or "units" (some of those that there are)

	// Previous says how the hold before this one ended: "released", "exited 1", "killed 9", "disconnected", "expired",
	// "broken", "unreaped" (it has ended, and how is not known yet), "unknown"; "" if there was none.
	Previous string

	// Abandoned says who died holding the lock, and how: what it guards may be half done. "" if nobody did.
	Abandoned string
}

// A Lock is what [Client.Lock] has taken: a hold on one name, or with [And] on several.
type Lock struct {
	Hold
	Others []Hold // those of [And], in its order

	link     *Link              // whose it is; nil: of a client alone
	lost     chan struct{}      // closed when cause is set
	over     chan struct{}      // closed when it is lost or given back
	expiring chan time.Duration // has room for the latest warning

	mu       sync.Mutex                                  // is taken after that of a client
	client   *Client                                     // whose connection is told what happens to it
	bound    bool                                        // to that connection
	cause    error                                       // how it was lost
	ended    bool                                        // lost or given back
	contexts map[context.Context]context.CancelCauseFunc // see Context
}

func newLock(name string) *Lock {
	return &Lock{
		Hold: Hold{Name: name},
		lost: make(chan struct{}), over: make(chan struct{}), expiring: make(chan time.Duration, 1),
	}
}

// A LostError says how a hold ended without its owner's doing.
type LostError struct {
	Name string
	How  string // "expired" or "broken"; of a lock that was adopted, or attached anew, also as [Hold.Previous]
	By   string // who broke it, and why
}

func (e *LostError) Error() string {
	if e.By == "" {
		return fmt.Sprintf("lock %q is lost: %s", e.Name, e.How)
	}
	return fmt.Sprintf("lock %q is lost: %s by %s", e.Name, e.How, e.By)
}

// Lock takes the lock called name, in turn. Each call is an owner of its own: two of the same program exclude each
// other as two programs do. What the hold is bound to, and for how much of the lock, the options say; without any it is
// held alone, or one unit of it if it has a limit, and ends with the connection.
//
// If ctx ends while it waits, the place in the queue is given up; if the lock was granted at that very moment, it is
// given back. The error is an [*Error], mostly [ErrBusy], [ErrTimeout] or [ErrDeadlock], or wraps [ErrClosed].
func (c *Client) Lock(ctx context.Context, name string, options ...LockOption) (*Lock, error) {
	o := newLockOptions(name, options)
	o.name()
	l, err := c.acquire(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("cannot lock %q: %w", name, err)
	}
	return l, nil
}

// TryLock is Lock without waiting: if the lock is held or waited for, the error is [ErrBusy].
func (c *Client) TryLock(ctx context.Context, name string, options ...LockOption) (*Lock, error) {
	return c.Lock(ctx, name, append(options[:len(options):len(options)], Wait(0))...)
}

func (c *Client) acquire(ctx context.Context, o *lockOptions) (*Lock, error) {
	cl := newCall()
	cl.lock, cl.want = newLock(o.Names[0]), wire.KindMap
	for _, other := range o.Names[1:] {
		cl.lock.Others = append(cl.lock.Others, Hold{Name: other})
	}
	cl.lock.client, cl.lock.bound, cl.lock.link = c, o.For == "" && !o.Leased, o.link
	words := o.Words()
	err := c.mayBind(o)
	if err == nil {
		err = c.start(ctx, cl, func(b []byte) []byte { return wire.AppendCommand(b, words...) })
	}
	if err == nil {
		select {
		case r := <-cl.result:
			err = r.err
		case <-ctx.Done():
			c.giveUp(cl)
			err = ctx.Err()
			if o.link != nil {
				o.link.giveUp(cl, o)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	return cl.lock, nil
}

// mayBind refuses a lock that would be bound to another process than this one.
func (c *Client) mayBind(o *lockOptions) error {
	if o.For == forSelf {
		return c.unproven
	}
	return nil
}

// heldLocked notes what was granted. From here on a push may say that it is lost.
func (l *Lock) heldLocked(grant wire.Value) {
	l.granted(grant)
	grants := grant.Get("locks").Elems // of several, the first one's too
	for i := range min(len(l.Others), len(grants)-1) {
		l.Others[i].granted(grants[i+1])
	}
	l.client.registerLocked(l)
}

// registerLocked has a lock be told what the connection is told of its holds.
func (c *Client) registerLocked(l *Lock) {
	for _, h := range l.holds() {
		key := heldKey{h.Name, h.Token}
		c.held[key] = append(c.held[key], l)
	}
}

// granted takes over what the daemon says of a hold, under the name that was asked for.
func (h *Hold) granted(v wire.Value) {
	name := h.Name
	*h = hold(v)
	h.Name = name
}

// holds are all that was taken.
func (l *Lock) holds() []Hold { return append([]Hold{l.Hold}, l.Others...) }

// forgetLocked is for a lock that is given back, and so cannot be lost any more, or that another connection is told of.
func (c *Client) forgetLocked(l *Lock) {
	for _, h := range l.holds() {
		key := heldKey{h.Name, h.Token}
		locks := slices.DeleteFunc(c.held[key], func(other *Lock) bool { return other == l })
		if len(locks) == 0 {
			delete(c.held, key)
		} else {
			c.held[key] = locks
		}
	}
}

// conn is the client whose connection is told what happens to the lock.
func (l *Lock) conn() *Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.client
}

// lose notes that the lock is lost.
func (l *Lock) lose(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil && (l.link == nil || !l.ended) { // a link goes on to give it back
		l.cause = cause
		close(l.lost)
		l.endLocked(cause)
	}
}

// hangUp notes that a connection has ended, and the lock with it if it was bound to that.
func (l *Lock) hangUp(c *Client, cause error) {
	l.mu.Lock()
	ends := l.bound && l.client == c
	l.mu.Unlock()
	if ends {
		l.lose(cause)
	}
}

// endLocked ends what lasts as long as the lock is held.
func (l *Lock) endLocked(cause error) {
	if !l.ended {
		l.ended = true
		close(l.over)
	}
	for _, cancel := range l.contexts {
		cancel(cause)
	}
	l.contexts = nil
}

// giveUp leaves the queue for a lock. It waits until the daemon has said what became of the request, so that the
// program neither waits nor holds when it goes on; but not for long: the daemon may be stuck, and whatever it says
// later is still seen to. The outcome stays there for who asks for it.
func (c *Client) giveUp(cl *call) {
	c.mu.Lock()
	select {
	case r := <-cl.result: // decided in this very moment
		if r.err == nil {
			cl.back = c.giveBackLocked(cl.lock)
		}
		c.flushAndUnlock()
		cl.result <- r
		return
	default:
	}
	cl.unwanted = true
	if cl.ticket != "" {
		c.cancelLocked(cl)
	}
	c.flushAndUnlock()
	select {
	case r := <-cl.result:
		cl.result <- r
	case <-time.After(time.Second):
	}
}

// A release is LOCK.RELEASE of one hold, which a client has sent.
type release struct {
	hold    Hold
	options []string
	call    *call
	sent    bool // perhaps it was carried out
}

// giveBackLocked gives a lock back. That of a link does so once, whoever repeats it, as it has an id: its process may have entered the hold
// more often, and each release takes one entry away.
func (c *Client) giveBackLocked(l *Lock, options ...string) (all []release) {
	c.forgetLocked(l)
	for _, h := range l.holds() {
		r := release{h, options, newCall(), c.err == nil}
		if l.link != nil {
			r.options = append(options[:len(options):len(options)], "REQID", requestID())
		}
		c.postLocked(r.call, append([]string{"LOCK.RELEASE", h.Name, token(h.Token)}, r.options...)...)
		all = append(all, r)
	}
	return all
}

func (c *Client) giveBack(l *Lock, options ...string) []release {
	c.mu.Lock()
	defer c.flushAndUnlock()
	return c.giveBackLocked(l, options...)
}

// Unlock gives the lock back. It does so even if ctx has ended: ctx only bounds the wait for the daemon's answer. If the
// lock is not held any more, the error is [ErrStale] or [ErrNoLock]; if the connection ended, [ErrClosed], and so did
// the hold if it was bound to it. If not, it is held still: see [Lock.Attach].
func (l *Lock) Unlock(ctx context.Context) error { return l.release(ctx) }

// GiveBack is Unlock by somebody who was told that the lock was abandoned and has not dealt with it: the next holder is
// told again.
func (l *Lock) GiveBack(ctx context.Context) error { return l.release(ctx, "UNTOLD") }

// Told says that what Abandoned tells of has been dealt with: see [Untold].
func (l *Lock) Told(ctx context.Context) error {
	for _, h := range l.holds() {
		if _, err := l.command(ctx, "LOCK.TOLD", h.Name, token(h.Token)); err != nil {
			return fmt.Errorf("cannot say that %q is dealt with: %w", h.Name, err)
		}
	}
	return nil
}

func (l *Lock) release(ctx context.Context, options ...string) error {
	l.mu.Lock()
	c := l.client
	l.endLocked(ErrUnlocked)
	l.mu.Unlock()
	if l.link != nil {
		if err := l.link.release(ctx, l, options); err != nil {
			return fmt.Errorf("cannot unlock %q: %w", l.Name, err)
		}
		return nil
	}
	var failed error
	for _, r := range c.giveBack(l, options...) {
		if _, err := r.call.wait(ctx); err != nil && failed == nil {
			failed = fmt.Errorf("cannot unlock %q: %w", l.Name, err)
		}
	}
	return failed
}

// Renew has the lease of the lock end after d from now on: see [Lease]. [Lock.KeepAlive] does so again and again.
func (l *Lock) Renew(ctx context.Context, d time.Duration) error {
	for _, h := range l.holds() {
		if _, err := l.command(ctx, "LOCK.RENEW", h.Name, token(h.Token), "LEASE", milliseconds(d)); err != nil {
			return fmt.Errorf("cannot renew the lease of %q: %w", h.Name, err)
		}
	}
	return nil
}

// Downgrade shares a lock that was held alone with those who ask for it [Shared], from the head of the queue on. The
// token stays the same.
func (l *Lock) Downgrade(ctx context.Context) error {
	for _, h := range l.holds() {
		if _, err := l.command(ctx, "LOCK.DOWNGRADE", h.Name, token(h.Token)); err != nil {
			return fmt.Errorf("cannot downgrade %q: %w", h.Name, err)
		}
	}
	return nil
}

// Lost returns a channel that is closed when a hold has ended without Unlock: its lease is over, somebody broke it, or it
// was bound to the connection, which ended. What the lock guards may be another's now. [Lock.Err] says which. Of a hold
// that is not bound to the connection nobody tells after that has ended, until there is another: see [Lock.Attach].
func (l *Lock) Lost() <-chan struct{} { return l.lost }

// Err says how the lock was lost: a [*LostError], or an error that wraps [ErrClosed]. It is nil before that.
func (l *Lock) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// Expiring returns a channel that gets what is left of the lease some time before it ends: a third of it, but at most 30 s. It gets
// nothing if the lease ends before the daemon can tell, as on a machine that stands still for so long: look at [Lock.Lost], too.
func (l *Lock) Expiring() <-chan time.Duration { return l.expiring }

// lockLost and lockExpiring handle the pushes of those names.
func (c *Client) lockLost(args []wire.Value) error {
	if len(args) < 4 {
		return errBadPush
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := heldKey{args[0].Str, uint64(args[1].Int)}
	for _, l := range c.held[key] {
		l.lose(&LostError{Name: key.name, How: args[2].Str, By: args[3].Str})
	}
	delete(c.held, key)
	return nil
}

func (c *Client) lockExpiring(args []wire.Value) error {
	if len(args) < 3 {
		return errBadPush
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.held[heldKey{args[0].Str, uint64(args[1].Int)}] {
		l.warn(time.Duration(args[2].Int) * time.Millisecond)
	}
	return nil
}

func (l *Lock) warn(left time.Duration) {
	l.mu.Lock() // two connections may be told
	defer l.mu.Unlock()
	select {
	case <-l.expiring: // an older warning that nobody read
	default:
	}
	l.expiring <- left
}
