package ipc_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
)

func lock(ctx context.Context, c *ipc.Client, name string, options ...ipc.LockOption) *future[*ipc.Lock] {
	return start(func() (*ipc.Lock, error) { return c.Lock(ctx, name, options...) })
}

// expectAcquire expects LOCK.ACQUIRE with these words, and returns its owner label, which is any.
func (s *session) expectAcquire(words ...string) (owner string) {
	s.t.Helper()
	got := s.next()
	if at := slices.Index(got, "OWNER"); at >= 0 && at+1 < len(got) {
		owner = got[at+1]
		got = slices.Delete(got, at, at+2)
	}
	if want := append([]string{"LOCK.ACQUIRE"}, words...); (owner == "") != slices.Contains(words, "nobody") || !slices.Equal(got, want) {
		s.t.Fatalf("the client sent %q of owner %q, want %q", got, owner, want)
	}
	return owner
}

const grant7 = "%5\r\n+name\r\n+a\r\n+token\r\n:7\r\n+mode\r\n+exclusive\r\n" +
	"+previous\r\n+killed 9\r\n+abandoned\r\n+pid 3977 (uid 0, backup.service) killed 9\r\n"

func done(ticket, outcome string) string { return ">3\r\n+done\r\n:" + ticket + "\r\n" + outcome }

func TestLock(t *testing.T) {
	c, s := newFake(t).client()
	f := lock(context.Background(), c, "a")
	s.expectAcquire("a", "ASYNC")
	s.say(":1\r\n" + done("1", grant7))
	l := f.ok(t)
	if l.Name != "a" || l.Token != 7 || l.Previous != "killed 9" || l.Abandoned != "pid 3977 (uid 0, backup.service) killed 9" {
		t.Errorf("%+v", l)
	}
	select {
	case <-l.Lost():
		t.Error("lost at once")
	default:
	}

	unlock := start(func() (struct{}, error) { return struct{}{}, l.Unlock(context.Background()) })
	s.expect("LOCK.RELEASE", "a", "7")
	s.say("+OK\r\n")
	unlock.ok(t)
	unlock = start(func() (struct{}, error) { return struct{}{}, l.Unlock(context.Background()) })
	s.expect("LOCK.RELEASE", "a", "7")
	s.say("-STALE token 7 is not that of a present hold\r\n")
	unlock.fails(t, ipc.ErrStale)
	if want := `cannot unlock "a": STALE token 7 is not that of a present hold`; unlock.err.Error() != want {
		t.Errorf("%q, want %q", unlock.err, want)
	}
}

// A deferred Unlock has often a context that has ended.
func TestUnlockAfterContext(t *testing.T) {
	c, s := newFake(t).client()
	f := lock(context.Background(), c, "a")
	s.expectAcquire("a", "ASYNC")
	s.say(":1\r\n" + done("1", grant7))
	l := f.ok(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Unlock(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.expect("LOCK.RELEASE", "a", "7")
	s.say("+OK\r\n")
	synchronise(t, c, s)
}

func TestLockOptions(t *testing.T) {
	t.Setenv("IPC_LOCKS", "12 backup\nnonsense\n-1 x\n13 with blank\n")
	c, s := newFake(t).client()
	owners := make(map[string]bool)
	for _, o := range []struct {
		options []ipc.LockOption
		words   []string
	}{
		{nil, []string{"a", "ASYNC"}},
		{[]ipc.LockOption{ipc.Shared()}, []string{"a", "SHARED", "ASYNC"}},
		{[]ipc.LockOption{ipc.ForProcess(), ipc.Why("weekly prune")}, []string{"a", "FOR", "self", "WHY", "weekly prune", "ASYNC"}},
		{[]ipc.LockOption{ipc.And("b", "c"), ipc.And("d")}, []string{"a", "AND", "b", "AND", "c", "AND", "d", "ASYNC"}},
		{[]ipc.LockOption{ipc.Units(2), ipc.Limit(4)}, []string{"a", "UNITS", "2", "LIMIT", "4", "ASYNC"}},
		{[]ipc.LockOption{ipc.Limit(4), ipc.Alone()}, []string{"a", "EXCLUSIVE", "LIMIT", "4", "ASYNC"}},
		{[]ipc.LockOption{ipc.Lease(1500 * time.Microsecond)}, []string{"a", "LEASE", "2", "ASYNC"}},
		{[]ipc.LockOption{ipc.ForNobody(), ipc.Lease(time.Hour)}, []string{"a", "FOR", "nobody", "LEASE", "3600000", "ASYNC"}},
		{[]ipc.LockOption{ipc.Within(&ipc.Lock{Hold: ipc.Hold{Name: "a", Token: 5}, Others: []ipc.Hold{{Name: "b c", Token: 6}}})},
			[]string{"a", "WITH", "5", "a", "WITH", "6", "b c", "ASYNC"}},
		{[]ipc.LockOption{ipc.Inherited()}, []string{"a", "WITH", "12", "backup", "WITH", "13", "with blank", "ASYNC"}},
		{[]ipc.LockOption{ipc.Join(9), ipc.Wait(0)}, []string{"a", "JOIN", "9", "WAIT", "0"}},
		{[]ipc.LockOption{ipc.Wait(1500 * time.Millisecond)}, []string{"a", "WAIT", "1500", "ASYNC"}},
		{[]ipc.LockOption{ipc.Wait(1)}, []string{"a", "WAIT", "1", "ASYNC"}},
		{[]ipc.LockOption{ipc.Wait(0)}, []string{"a", "WAIT", "0"}},
		{[]ipc.LockOption{ipc.Wait(-1)}, []string{"a", "WAIT", "0"}},
	} {
		f := lock(context.Background(), c, "a", o.options...)
		owner := s.expectAcquire(o.words...)
		if owners[owner] && owner != "" {
			t.Errorf("owner %s again", owner)
		}
		owners[owner] = true
		if o.words[len(o.words)-1] == "ASYNC" {
			s.say(":1\r\n" + done("1", grant7))
		} else {
			s.say(grant7)
		}
		if l := f.ok(t); l.Token != 7 {
			t.Errorf("%+v", l)
		}
	}
}

// A client that is not the process which connected, because a relay is in between, gets no lock for its process; others it does.
func TestLockForProcessUnproven(t *testing.T) {
	c, s := newFake(t).clientProven("-DENIED process 812 connected\r\n")
	_, err := c.Lock(context.Background(), "a", ipc.ForProcess())
	if want := `cannot lock "a": DENIED process 812 connected`; !errors.Is(err, ipc.ErrDenied) || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	f := lock(context.Background(), c, "a")
	s.expectAcquire("a", "ASYNC") // so nothing was sent before
	s.say(":1\r\n" + done("1", grant7))
	if l := f.ok(t); l.Token != 7 {
		t.Errorf("%+v", l)
	}
}

func TestLockRefused(t *testing.T) {
	c, s := newFake(t).client()
	f := start(func() (*ipc.Lock, error) { return c.TryLock(context.Background(), "a", ipc.Shared()) })
	s.expectAcquire("a", "SHARED", "WAIT", "0")
	s.say("-BUSY a is held\r\n")
	f.fails(t, ipc.ErrBusy)
	if want := `cannot lock "a": BUSY a is held`; f.err.Error() != want {
		t.Errorf("%q, want %q", f.err, want)
	}

	f = lock(context.Background(), c, "a+") // at once
	s.expectAcquire("a+", "ASYNC")
	s.say("-BADNAME no '+' in a lock's name\r\n")
	f.fails(t, ipc.ErrBadName)

	f = lock(context.Background(), c, "a", ipc.Wait(time.Second)) // later
	s.expectAcquire("a", "WAIT", "1000", "ASYNC")
	s.say(":5\r\n" + done("5", "-TIMEOUT waited 1s\r\n"))
	f.fails(t, ipc.ErrTimeout)
}

// Waits of one client are decided in any order.
func TestLockTickets(t *testing.T) {
	c, s := newFake(t).client()
	first := lock(context.Background(), c, "a")
	s.expectAcquire("a", "ASYNC")
	s.say(":1\r\n")
	second := lock(context.Background(), c, "b")
	s.expectAcquire("b", "ASYNC")
	s.say(":2\r\n" + done("2", strings.Replace(grant7, ":7", ":8", 1)) + done("1", grant7))
	if l := second.ok(t); l.Name != "b" || l.Token != 8 {
		t.Errorf("%+v", l)
	}
	if l := first.ok(t); l.Name != "a" || l.Token != 7 {
		t.Errorf("%+v", l)
	}
}

// However a context's end and the daemon's decision cross, nobody waits and nobody holds when Lock has returned.
func TestLockCancelled(t *testing.T) {
	t.Run("waiting", func(t *testing.T) {
		c, s := newFake(t).client()
		ctx, cancel := context.WithCancel(context.Background())
		f := lock(ctx, c, "a")
		s.expectAcquire("a", "ASYNC")
		s.say(":3\r\n")
		synchronise(t, c, s)
		cancel()
		s.expect("LOCK.CANCEL", "3")
		s.say(":1\r\n" + done("3", "-CANCELLED\r\n"))
		f.fails(t, context.Canceled)
		synchronise(t, c, s)
	})
	t.Run("before the ticket came", func(t *testing.T) {
		c, s := newFake(t).client()
		ctx, cancel := context.WithCancel(context.Background())
		f := lock(ctx, c, "a")
		s.expectAcquire("a", "ASYNC")
		cancel()
		f.fails(t, context.Canceled) // only after its patience with the daemon
		s.say(":3\r\n")
		s.expect("LOCK.CANCEL", "3")
		s.say(":1\r\n" + done("3", "-CANCELLED\r\n"))
		synchronise(t, c, s)
	})
	t.Run("granted in the meantime", func(t *testing.T) {
		c, s := newFake(t).client()
		ctx, cancel := context.WithCancel(context.Background())
		f := lock(ctx, c, "a")
		s.expectAcquire("a", "ASYNC")
		s.say(":3\r\n")
		synchronise(t, c, s)
		cancel()
		s.expect("LOCK.CANCEL", "3")
		s.say(done("3", grant7) + ":0\r\n")
		f.fails(t, context.Canceled)
		pinged := do(c, "PING") // goes behind
		s.expect("LOCK.RELEASE", "a", "7")
		s.expect("PING")
		s.say("+OK\r\n+PONG\r\n")
		pinged.ok(t)
	})
	t.Run("tried", func(t *testing.T) {
		c, s := newFake(t).client()
		ctx, cancel := context.WithCancel(context.Background())
		f := start(func() (*ipc.Lock, error) { return c.TryLock(ctx, "a") })
		s.expectAcquire("a", "WAIT", "0")
		cancel()
		f.fails(t, context.Canceled)
		s.say(grant7)
		s.expect("LOCK.RELEASE", "a", "7")
		s.say("+OK\r\n")
		synchronise(t, c, s)
	})
	t.Run("ended before", func(t *testing.T) {
		c, s := newFake(t).client()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		lock(ctx, c, "a").fails(t, context.Canceled)
		synchronise(t, c, s)
	})
	t.Run("race", func(t *testing.T) {
		c, s := newFake(t).client()
		for range 200 {
			ctx, cancel := context.WithCancel(context.Background())
			f := lock(ctx, c, "a")
			s.expectAcquire("a", "ASYNC")
			s.say(":3\r\n")
			go cancel()
			s.say(done("3", grant7))
			l, err := f.wait(t)
			var unlocked *future[struct{}]
			if err == nil {
				unlocked = start(func() (struct{}, error) { return struct{}{}, l.Unlock(context.Background()) })
			} else if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			// Either way it is given back.
			words := s.next()
			if words[0] == "LOCK.CANCEL" {
				s.say(":0\r\n")
				words = s.next()
			}
			if !slices.Equal(words, []string{"LOCK.RELEASE", "a", "7"}) {
				t.Fatalf("the client sent %q", words)
			}
			s.say("+OK\r\n")
			if unlocked != nil {
				unlocked.ok(t)
			}
		}
	})
}

func TestLockLost(t *testing.T) {
	c, s := newFake(t).client()
	bound := lock(context.Background(), c, "a")
	s.expectAcquire("a", "ASYNC")
	s.say(":1\r\n" + done("1", grant7))
	free := lock(context.Background(), c, "b", ipc.ForProcess())
	s.expectAcquire("b", "FOR", "self", "ASYNC")
	s.say(":2\r\n" + done("2", grant7))
	queued := lock(context.Background(), c, "c")
	s.expectAcquire("c", "ASYNC")
	s.say(":3\r\n")
	asked := lock(context.Background(), c, "d")
	s.expectAcquire("d", "ASYNC")
	l, other := bound.ok(t), free.ok(t)
	if l.Err() != nil {
		t.Error(l.Err())
	}
	s.hangUp()
	wait(t, l.Lost())
	if !errors.Is(l.Err(), ipc.ErrClosed) {
		t.Error(l.Err())
	}
	queued.fails(t, ipc.ErrClosed)
	asked.fails(t, ipc.ErrClosed)
	select {
	case <-other.Lost():
		t.Error("a hold of the process is lost with a connection")
	default:
	}
	if err := l.Unlock(context.Background()); !errors.Is(err, ipc.ErrClosed) {
		t.Error(err)
	}
}

// TestJoinedLost: of those who share a hold, each is told that it is lost.
func TestJoinedLost(t *testing.T) {
	c, s := newFake(t).client()
	first := lock(context.Background(), c, "a")
	s.expectAcquire("a", "ASYNC")
	s.say(":1\r\n" + done("1", grant7))
	joined := lock(context.Background(), c, "a", ipc.Join(7))
	s.expectAcquire("a", "JOIN", "7", "ASYNC")
	s.say(":2\r\n" + done("2", grant7))
	locks := []*ipc.Lock{first.ok(t), joined.ok(t)}
	s.say(">5\r\n+lock.lost\r\n+a\r\n:7\r\n+broken\r\n+\r\n")
	synchronise(t, c, s)
	for i, l := range locks {
		if _, ok := errors.AsType[*ipc.LostError](l.Err()); !ok {
			t.Errorf("owner %d is told %v", i, l.Err())
		}
	}
}

const set78 = "%6\r\n+name\r\n+a\r\n+token\r\n:7\r\n+mode\r\n+exclusive\r\n+previous\r\n+\r\n+abandoned\r\n+\r\n+locks\r\n*2\r\n" +
	"%3\r\n+name\r\n+a\r\n+token\r\n:7\r\n+previous\r\n+\r\n" + "%3\r\n+name\r\n+b\r\n+token\r\n:8\r\n+previous\r\n+exited 1\r\n"

// What is taken together is given back together, and lost as soon as a part of it is.
func TestLockSet(t *testing.T) {
	c, s := newFake(t).client()
	f := lock(context.Background(), c, "a", ipc.And("b"))
	s.expectAcquire("a", "AND", "b", "ASYNC")
	s.say(":1\r\n" + done("1", set78))
	l := f.ok(t)
	if l.Token != 7 || len(l.Others) != 1 || l.Others[0] != (ipc.Hold{Name: "b", Token: 8, Previous: "exited 1"}) {
		t.Errorf("%+v", l)
	}
	s.say(">5\r\n+lock.lost\r\n+b\r\n:9\r\n+broken\r\n+\r\n") // the hold of somebody else
	synchronise(t, c, s)
	if l.Err() != nil {
		t.Error(l.Err())
	}
	s.say(">5\r\n+lock.lost\r\n+b\r\n:8\r\n+broken\r\n+pid 12 (uid 0): stuck\r\n")
	synchronise(t, c, s)
	var lost *ipc.LostError
	if !errors.As(l.Err(), &lost) || *lost != (ipc.LostError{Name: "b", How: "broken", By: "pid 12 (uid 0): stuck"}) {
		t.Fatal(l.Err())
	}
	wait(t, l.Lost())
	unlock := start(func() (struct{}, error) { return struct{}{}, l.GiveBack(context.Background()) })
	s.expect("LOCK.RELEASE", "a", "7", "UNTOLD")
	s.expect("LOCK.RELEASE", "b", "8", "UNTOLD")
	s.say("+OK\r\n-NOLOCK b is free\r\n")
	unlock.fails(t, ipc.ErrNoLock)
}

func TestLockLease(t *testing.T) {
	c, s := newFake(t).client()
	f := lock(context.Background(), c, "a", ipc.Lease(time.Minute))
	s.expectAcquire("a", "LEASE", "60000", "ASYNC")
	s.say(":1\r\n" + done("1", grant7))
	l := f.ok(t)
	s.say(">4\r\n+lock.expiring\r\n+a\r\n:7\r\n:20000\r\n")
	s.say(">4\r\n+lock.expiring\r\n+a\r\n:7\r\n:10000\r\n")
	synchronise(t, c, s)
	if left := <-l.Expiring(); left != 10*time.Second {
		t.Errorf("%v left", left)
	}
	renew := start(func() (struct{}, error) { return struct{}{}, l.Renew(context.Background(), time.Second) })
	s.expect("LOCK.RENEW", "a", "7", "LEASE", "1000")
	s.say(":1000\r\n")
	renew.ok(t)
	s.say(">5\r\n+lock.lost\r\n+a\r\n:7\r\n+expired\r\n+\r\n")
	wait(t, l.Lost())
	if want := `lock "a" is lost: expired`; l.Err().Error() != want {
		t.Errorf("%q, want %q", l.Err(), want)
	}
	downgrade := start(func() (struct{}, error) { return struct{}{}, l.Downgrade(context.Background()) })
	s.expect("LOCK.DOWNGRADE", "a", "7")
	s.say("-NOLOCK a is free\r\n")
	downgrade.fails(t, ipc.ErrNoLock)
}
