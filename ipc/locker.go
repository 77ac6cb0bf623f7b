package ipc

import (
	"context"
	"sync"
)

// A Locker is a named lock as a [sync.Locker]: for code that takes one, and where a lock that cannot be had is a reason to
// stop. Each Locker is one owner.
type Locker struct {
	take    func(ctx context.Context, name string, options ...LockOption) (*Lock, error)
	name    string
	options []LockOption

	mu   sync.Mutex // held as long as the lock is
	lock *Lock
}

var _ sync.Locker = (*Locker)(nil)

// Locker makes a Locker of a name. It talks to nobody yet.
func (c *Client) Locker(name string, options ...LockOption) *Locker {
	return &Locker{take: c.Lock, name: name, options: options}
}

// Locker is [Client.Locker] for locks of the link: neither Lock nor what is held ends with a connection.
func (k *Link) Locker(name string, options ...LockOption) *Locker {
	return &Locker{take: k.Lock, name: name, options: options}
}

// Lock takes the lock, in turn. Goroutines that share a Locker take turns, too. It panics if the lock cannot be had:
// [sync.Locker] leaves no other way to say so.
func (l *Locker) Lock() {
	l.mu.Lock()
	lock, err := l.take(context.Background(), l.name, l.options...)
	if err != nil {
		l.mu.Unlock()
		panic(err)
	}
	l.lock = lock
}

// Unlock gives the lock back. It panics if it is not held, also if it was lost: what it guards may be another's.
func (l *Locker) Unlock() {
	lock := l.lock
	if lock == nil {
		panic("ipc: Unlock of a Locker that is not locked")
	}
	l.lock = nil
	defer l.mu.Unlock()
	if err := lock.Unlock(context.Background()); err != nil {
		panic(err)
	}
}
