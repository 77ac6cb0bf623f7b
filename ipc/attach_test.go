package ipc_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/test/testdaemon"
)

// wantLost waits for a lock to be lost, and checks what is said of it.
func wantLost(t *testing.T, l *ipc.Lock, how string) {
	t.Helper()
	wait(t, l.Lost())
	if lost, ok := errors.AsType[*ipc.LostError](l.Err()); !ok || lost.Name != l.Name || lost.How != how {
		t.Errorf("got %v, want that %s is lost: %s", l.Err(), l.Name, how)
	}
}

// TestAdopt: by its token a hold goes on, whoever acquired it on whichever connection, and whatever it is bound to but that.
func TestAdopt(t *testing.T) {
	ctx := context.Background()
	c := dialDaemon(t, "")
	for _, test := range []struct {
		bound  string
		option ipc.LockOption
	}{
		{"process", ipc.ForProcess()}, {"lease", ipc.Lease(time.Hour)}, {"nobody", ipc.ForNobody()},
	} {
		gone := dialDaemon(t, "")
		token := mustLock(t, gone, "adopt", test.option).Token
		gone.Close()
		l, err := c.Adopt(ctx, "adopt", token)
		if err != nil {
			t.Fatalf("%s: %v", test.bound, err)
		}
		if l.Name != "adopt" || l.Token != token || l.Mode != "exclusive" {
			t.Errorf("%s: %+v", test.bound, l.Hold)
		}
		if err := l.Downgrade(ctx); err != nil {
			t.Errorf("%s: %v", test.bound, err)
		}
		mustUnlock(t, l)
		if _, err := c.Adopt(ctx, "adopt", token); !errors.Is(err, ipc.ErrNoLock) {
			t.Errorf("%s: %v", test.bound, err)
		}
	}
}

// TestAdoptedLost: who adopted a hold is told of its end, also if that was somebody else's Unlock.
func TestAdoptedLost(t *testing.T) {
	ctx := context.Background()
	c, other := dialDaemon(t, ""), dialDaemon(t, "")
	for how, end := range map[string]func(*ipc.Lock) error{
		"broken":   func(*ipc.Lock) error { _, err := other.Break(ctx, "adopted/lost", "now"); return err },
		"released": func(l *ipc.Lock) error { return l.Unlock(ctx) },
		"expired":  func(l *ipc.Lock) error { return l.Renew(ctx, time.Millisecond) },
	} {
		held := mustLock(t, other, "adopted/lost", ipc.Lease(time.Hour))
		l, err := c.Adopt(ctx, "adopted/lost", held.Token)
		if err != nil {
			t.Fatal(err)
		}
		if err := end(held); err != nil {
			t.Error(err)
		}
		wantLost(t, l, how)
	}
}

// TestAttach: a lock goes on with another connection, with all of its holds.
func TestAttach(t *testing.T) {
	ctx := context.Background()
	gone, c, other := dialDaemon(t, ""), dialDaemon(t, ""), dialDaemon(t, "")
	l := mustLock(t, gone, "attach/a", ipc.And("attach/b"), ipc.Lease(time.Hour))
	gone.Close()
	if err := l.Unlock(ctx); !errors.Is(err, ipc.ErrClosed) {
		t.Error(err)
	}
	if err := l.Attach(ctx, gone); !errors.Is(err, ipc.ErrClosed) {
		t.Error(err)
	}
	if err := l.Attach(ctx, c); err != nil {
		t.Fatal(err)
	}
	if err := l.Attach(ctx, c); err != nil {
		t.Error(err)
	}
	if err := l.Renew(ctx, 2*time.Hour); err != nil {
		t.Error(err)
	}
	if _, err := other.Break(ctx, "attach/b", "now"); err != nil {
		t.Error(err)
	}
	wait(t, l.Lost())
	if lost, ok := errors.AsType[*ipc.LostError](l.Err()); !ok || lost.Name != "attach/b" || lost.How != "broken" {
		t.Error(l.Err())
	}
	if err := l.Attach(ctx, other); !errors.Is(err, l.Err()) {
		t.Error(err)
	}
	if err := c.ReleaseToken(ctx, "attach/a", l.Token); err != nil { // the rest of it
		t.Error(err)
	}
}

// TestAttachLost: what was lost while nobody told of it is told when the lock is attached.
func TestAttachLost(t *testing.T) {
	ctx := context.Background()
	c := dialDaemon(t, "")
	for how, end := range map[string]func(*ipc.Lock) error{
		"broken":   func(*ipc.Lock) error { _, err := c.Break(ctx, "attach/lost", "in the way"); return err },
		"released": func(l *ipc.Lock) error { return c.ReleaseToken(ctx, "attach/lost", l.Token) },
		"unknown": func(l *ipc.Lock) error {
			if err := c.ReleaseToken(ctx, "attach/lost", l.Token); err != nil {
				return err
			}
			return mustLock(t, c, "attach/lost").Unlock(ctx)
		},
	} {
		gone := dialDaemon(t, "")
		l := mustLock(t, gone, "attach/lost", ipc.ForProcess())
		work := l.Context(ctx)
		gone.Close()
		if err := end(l); err != nil {
			t.Fatal(err)
		}
		if err := l.Attach(ctx, c); !errors.Is(err, ipc.ErrNoLock) {
			t.Errorf("%s: %v", how, err)
		}
		wantLost(t, l, how)
		if how == "broken" && l.Err().Error() != "lock \"attach/lost\" is lost: broken by "+describeSelf()+": in the way" {
			t.Error(l.Err())
		}
		if wait(t, work.Done()); !errors.Is(context.Cause(work), l.Err()) {
			t.Error(context.Cause(work))
		}
	}
	bound := dialDaemon(t, "")
	l := mustLock(t, bound, "attach/bound")
	bound.Close()
	if err := l.Attach(ctx, c); !errors.Is(err, ipc.ErrClosed) {
		t.Error(err)
	}
}

// TestAttachAfterCrash: a lock outlives the daemon, and goes on with the next one.
func TestAttachAfterCrash(t *testing.T) {
	ctx := context.Background()
	d := testdaemon.Start(t, testdaemon.Config{})
	gone := dialDaemon(t, d.Socket)
	l := mustLock(t, gone, "crash", ipc.ForProcess())
	work := l.Context(ctx)
	d.Kill()
	wait(t, gone.Done())
	d.Restart()
	c := dialDaemon(t, d.Socket)
	if err := l.Attach(ctx, c); err != nil {
		t.Fatal(err)
	}
	if work.Err() != nil {
		t.Error(context.Cause(work))
	}
	if _, err := c.TryLock(ctx, "crash"); !errors.Is(err, ipc.ErrBusy) {
		t.Error(err)
	}
	if _, err := dialDaemon(t, d.Socket).Break(ctx, "crash", ""); err != nil {
		t.Error(err)
	}
	wantLost(t, l, "broken")
	wait(t, work.Done())
}
