package ipc

import (
	"strconv"
	"sync/atomic"
	"time"
)

// A LockOption changes what [Client.Lock] and [Client.TryLock] do.
type LockOption func(*lockOptions)

type lockOptions struct {
	LockRequest
	link *Link // whose the lock is to be
}

func newLockOptions(name string, options []LockOption) *lockOptions {
	o := &lockOptions{LockRequest: LockRequest{Names: []string{name}}}
	for _, option := range options {
		option(o)
	}
	return o
}

// Shared asks for the lock together with others that do.
func Shared() LockOption { return func(o *lockOptions) { o.Mode = "shared" } }

// Alone asks for all units of a lock that has several: see [Limit]. A lock without a limit is held alone anyway.
func Alone() LockOption { return func(o *lockOptions) { o.Mode = "exclusive" } }

// Units asks for n of a lock's units in place of one: see [Limit].
func Units(n int) LockOption {
	return func(o *lockOptions) { o.Mode, o.Units = "units", n }
}

// Limit says how many units the lock has: it is a semaphore then. All who use it at the same time have to say the same, or
// nothing, and so does the daemon's configuration if it has a limit for it; else the error is [ErrLimit].
func Limit(n int) LockOption { return func(o *lockOptions) { o.Limit = n } }

// And asks for more locks at once: all of them are granted in one moment, or none. Requests for several never wait for
// each other in a circle, in whatever order they name them.
func And(names ...string) LockOption {
	return func(o *lockOptions) { o.Names = append(o.Names, names...) }
}

// Why is shown to those who wait and to "ipcctl locks".
func Why(text string) LockOption { return func(o *lockOptions) { o.Why = text } }

// Wait bounds how long to wait in the queue; then the error is [ErrTimeout]. A context with a deadline bounds it as
// well, but the daemon knows of this one, and so whoever looks at the queue.
func Wait(d time.Duration) LockOption {
	return func(o *lockOptions) { o.Waits, o.Wait = true, max(d, 0) }
}

const forSelf, forNobody = "self", "nobody"

// ForProcess binds the hold to the process alone, not to the connection: it ends with Unlock or with the process, an
// exec does not end it.
//
// It needs a connection to the daemon's own socket. Through a relay (socat, ssh -L, systemd-socket-proxyd) another process is the
// one that the daemon sees: the error is [ErrDenied] then.
//
// If the connection ends while [Client.Lock] waits, nobody can tell whether the lock was granted at the last moment.
func ForProcess() LockOption { return func(o *lockOptions) { o.For = forSelf } }

// ForNobody binds the hold to nothing: it stays until somebody of the same user gives it back, over restarts of the daemon and
// of the machine. It is what an operator keeps others away with. A [Lease] gives it an end.
func ForNobody() LockOption { return func(o *lockOptions) { o.For = forNobody } }

// Lease has the hold end after d unless [Lock.Renew] is called before; the time goes on while the machine is suspended. Alone
// it is all that the hold is bound to: neither the end of the connection nor that of the process ends it.
func Lease(d time.Duration) LockOption {
	return func(o *lockOptions) { o.Leased, o.Lease = true, max(d, 1) }
}

// Within says that the lock is asked for on behalf of who holds outer, and so it is one owner with him: asking again for
// the same lock joins that hold, and a circle of waits through outer is a deadlock.
func Within(outer *Lock) LockOption {
	return func(o *lockOptions) { o.Shown = append(o.Shown, outer.holds()...) }
}

// Inherited is Within for the locks under which this process was started by "ipcctl lock": see [InheritedHolds].
func Inherited() LockOption {
	return func(o *lockOptions) { o.Shown = append(o.Shown, InheritedHolds()...) }
}

// Join asks for no lock of one's own, but to be one more owner of the hold that has this token: nobody else is granted the
// lock before all its owners have given it back. It never waits; the error is [ErrStale] or [ErrNoLock] if that hold is over.
func Join(token uint64) LockOption { return func(o *lockOptions) { o.Join = token } }

// Untold has the next holder told of an abandoned hold, too, if this one is ([Hold.Abandoned]), however this hold ends:
// unless [Lock.Told] says before that it was dealt with.
func Untold() LockOption { return func(o *lockOptions) { o.Untold = true } }

// owners numbers the owner labels of this process.
var owners atomic.Uint64

// name makes the request that of an owner of its own.
func (o *lockOptions) name() {
	if o.For != forNobody { // whose owner is the user
		o.Owner = "go." + strconv.FormatUint(owners.Add(1), 10)
	}
	o.Async = !o.Waits || o.Wait > 0
}
