package ipc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
)

// describeSelf is this process as the daemon describes it.
func describeSelf() string { return fmt.Sprintf("pid %d (uid %d)", os.Getpid(), os.Getuid()) }

// TestContext: work under a lock ends with it, for its reason, and before it for its own.
func TestContext(t *testing.T) {
	ctx := context.Background()
	c, other := dialDaemon(t, ""), dialDaemon(t, "")
	parent, cancel := context.WithCancel(ctx)
	l := mustLock(t, c, "context")
	long, short := l.Context(ctx), l.Context(parent)
	cancel()
	if wait(t, short.Done()); long.Err() != nil || context.Cause(short) != context.Canceled {
		t.Error(long.Err(), context.Cause(short))
	}
	if _, err := other.Break(ctx, "context", "now"); err != nil {
		t.Fatal(err)
	}
	for _, work := range []context.Context{long, l.Context(ctx)} {
		wait(t, work.Done())
		if lost, ok := errors.AsType[*ipc.LostError](context.Cause(work)); !ok || lost.How != "broken" {
			t.Error(context.Cause(work))
		}
	}

	l = mustLock(t, c, "context")
	work := l.Context(ctx)
	mustUnlock(t, l)
	for _, work := range []context.Context{work, l.Context(ctx)} {
		if wait(t, work.Done()); context.Cause(work) != ipc.ErrUnlocked {
			t.Error(context.Cause(work))
		}
	}

	l = mustLock(t, c, "context")
	work = l.Context(ctx)
	c.Close()
	if wait(t, work.Done()); !errors.Is(context.Cause(work), ipc.ErrClosed) {
		t.Error(context.Cause(work))
	}
}

func keepAlive(ctx context.Context, l *ipc.Lock) *future[struct{}] {
	return start(func() (struct{}, error) { return struct{}{}, l.KeepAlive(ctx) })
}

// TestKeepAlive: a lease is renewed for as long as it is wanted.
func TestKeepAlive(t *testing.T) {
	ctx := context.Background()
	c := dialDaemon(t, "")
	events, err := c.Subscribe(ctx, "ipcd/lock/renewed/alive")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	l := mustLock(t, c, "alive", ipc.Lease(1500*time.Millisecond))
	alive := keepAlive(ctx, l)
	for range 3 {
		next(t, events)
	}
	mustUnlock(t, l)
	alive.ok(t)

	l = mustLock(t, c, "alive", ipc.Lease(time.Hour))
	working, cancel := context.WithCancel(ctx)
	alive = keepAlive(working, l)
	next(t, events)
	cancel()
	alive.fails(t, context.Canceled)
	if _, err := c.Break(ctx, "alive", ""); err != nil {
		t.Error(err)
	}
	wantLost(t, l, "broken")
	if err := l.KeepAlive(ctx); err != l.Err() {
		t.Error(err)
	}

	l = mustLock(t, c, "alive")
	defer mustUnlock(t, l)
	if err := l.KeepAlive(ctx); !errors.Is(err, ipc.ErrNoLock) || l.Err() != nil {
		t.Errorf("without a lease: %v, %v", err, l.Err())
	}
}

// leased is a lock with a lease from a fake daemon.
func leased(t *testing.T) (*ipc.Client, *ipc.Lock, *session) {
	t.Helper()
	c, s := newFake(t).client()
	f := lock(context.Background(), c, "a", ipc.Lease(time.Hour))
	s.expectAcquire("a", "LEASE", "3600000", "ASYNC")
	s.say(":1\r\n" + done("1", grant7))
	return c, f.ok(t), s
}

// TestKeepAliveTooLate: a lease that cannot be renewed in time is over, whether the daemon is silent or gone.
func TestKeepAliveTooLate(t *testing.T) {
	for what, fails := range map[string]func(*session){
		"silent": func(*session) {},
		"gone":   func(s *session) { s.hangUp() },
	} {
		_, l, s := leased(t)
		work := l.Context(context.Background())
		alive := keepAlive(context.Background(), l)
		s.expect("LOCK.RENEW", "a", "7")
		s.say(":60\r\n")
		fails(s)
		wantLost(t, l, "expired")
		wait(t, work.Done())
		if _, err := alive.wait(t); !errors.Is(err, l.Err()) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestKeepAliveStale: that the hold is over is known by the renewal, too.
func TestKeepAliveStale(t *testing.T) {
	_, l, s := leased(t)
	alive := keepAlive(context.Background(), l)
	s.expect("LOCK.RENEW", "a", "7")
	s.say(":6000\r\n") // much longer than a test process may have to wait for a CPU
	s.expect("LOCK.RENEW", "a", "7")
	s.say("-STALE token 7 is not that of a present hold\r\n")
	s.expect("LOCK.INFO", "a")
	s.say("%1\r\n+previous\r\n%2\r\n+token\r\n:7\r\n+how\r\n+released\r\n")
	wantLost(t, l, "released")
	if _, err := alive.wait(t); !errors.Is(err, l.Err()) {
		t.Error(err)
	}
}

// TestKeepAliveElsewhere: a lock that is attached to another connection in time is kept.
func TestKeepAliveElsewhere(t *testing.T) {
	_, l, s := leased(t)
	alive := keepAlive(context.Background(), l)
	s.expect("LOCK.RENEW", "a", "7")
	s.say(":6000\r\n")
	s.hangUp()
	c, s := newFake(t).client()
	attached := start(func() (struct{}, error) { return struct{}{}, l.Attach(context.Background(), c) })
	s.expect("LOCK.FOLLOW", "a", "7")
	s.say("%1\r\n+token\r\n:7\r\n")
	attached.ok(t)
	s.expect("LOCK.RENEW", "a", "7")
	s.say(":3600000\r\n")
	unlocked := start(func() (struct{}, error) { return struct{}{}, l.Unlock(context.Background()) })
	s.expect("LOCK.RELEASE", "a", "7")
	s.say("+OK\r\n")
	unlocked.ok(t)
	alive.ok(t)
}
