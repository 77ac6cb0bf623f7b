package ipc_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/test/testdaemon"
	"golang.org/x/sys/unix"
)

func dialLink(t *testing.T, address string) *ipc.Link {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	k, err := ipc.DialLink(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// presentClient is the client of a link's present connection.
func presentClient(t *testing.T, k *ipc.Link) *ipc.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := k.Client(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// crash ends a daemon by SIGKILL, and starts it again when the link has noticed.
func crash(t *testing.T, d *testdaemon.Daemon, k *ipc.Link) {
	t.Helper()
	c := presentClient(t, k)
	d.Kill()
	wait(t, c.Done())
	d.Restart()
}

// TestLinkWaitsForDaemon: a daemon that is not there yet is waited for, for as long as the context says.
func TestLinkWaitsForDaemon(t *testing.T) {
	address := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ipc.DialLink(ctx, address); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	dialled := start(func() (*ipc.Link, error) { return ipc.DialLink(context.Background(), address) })
	d, err := newDaemon(address)
	if err != nil {
		t.Fatal(err)
	}
	k := dialled.ok(t)
	if _, err := presentClient(t, k).Do(context.Background(), "PING"); err != nil {
		t.Error(err)
	}
	k.Close()
	if _, err := k.Client(context.Background()); !errors.Is(err, ipc.ErrClosed) {
		t.Error(err)
	}
	if err := d.stop(); err != nil {
		t.Error(err)
	}
}

// TestLinkWithoutHope: what waiting does not mend is told at once.
func TestLinkWithoutHope(t *testing.T) {
	_, err := ipc.DialLink(context.Background(), t.TempDir()+strings.Repeat("/long", 40))
	if dial, ok := errors.AsType[*ipc.DialError](err); !ok || errors.Is(dial, unix.ENOENT) {
		t.Error(err)
	}
}

// TestLinkSubscription: a subscription comes back after a crash of the daemon, and says where messages may be missing.
func TestLinkSubscription(t *testing.T) {
	ctx := context.Background()
	d := testdaemon.Start(t, testdaemon.Config{})
	k := dialLink(t, d.Socket)
	s, err := k.Subscribe(ctx, "link/+")
	if err != nil {
		t.Fatal(err)
	}
	publish := func(topic string) {
		t.Helper()
		if r, err := dialDaemon(t, d.Socket).Publish(ctx, topic, nil); err != nil || r.Delivered != 1 {
			t.Fatalf("%s: %+v, %v", topic, r, err) // nobody would be given it
		}
	}
	gap := func() {
		t.Helper()
		m, err := start(func() (ipc.Message, error) { return s.Next(ctx) }).wait(t)
		if gap, ok := errors.AsType[*ipc.GapError](err); !ok || !errors.Is(gap.Err, ipc.ErrClosed) || gap.Since.IsZero() || errors.Is(err, ipc.ErrClosed) {
			t.Fatalf("%+v, %v", m, err) // what is to come next has come
		}
	}
	publish("link/before")
	if _, err := presentClient(t, k).Do(ctx, "PING"); err != nil { // after it the message is there
		t.Fatal(err)
	}
	crash(t, d, k)
	presentClient(t, k)
	publish("link/after")
	if m := next(t, s); m.Topic != "link/before" {
		t.Errorf("%+v", m)
	}
	gap()
	if m := next(t, s); m.Topic != "link/after" || m.Lost != 0 {
		t.Errorf("%+v", m)
	}

	// It is told without a message, once for two of them, and the iterator goes on.
	crash(t, d, k)
	presentClient(t, k)
	crash(t, d, k)
	presentClient(t, k)
	publish("link/last")
	var got []string
	for m, err := range s.Messages(ctx) {
		if _, ok := errors.AsType[*ipc.GapError](err); ok {
			got = append(got, "gap")
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, m.Topic); m.Topic == "link/last" {
			s.Close()
		}
	}
	if strings.Join(got, " ") != "gap link/last" {
		t.Errorf("got %q", got)
	}
	crash(t, d, k)
	presentClient(t, k)
	if r, err := dialDaemon(t, d.Socket).Publish(ctx, "link/closed", nil); err != nil || r.Delivered != 0 {
		t.Errorf("what is closed has come back: %+v, %v", r, err)
	}
	s, err = k.Subscribe(ctx, "link/+")
	if err != nil {
		t.Fatal(err)
	}
	crash(t, d, k)
	gap()
	k.Close()
	if _, err := s.Next(ctx); !errors.Is(err, ipc.ErrClosed) {
		t.Error(err)
	}
}

// TestGapInFullBuffer: a gap is told even if the messages around it have no room.
func TestGapInFullBuffer(t *testing.T) {
	ctx := context.Background()
	f := newFake(t)
	dialled := start(func() (*ipc.Link, error) { return ipc.DialLink(ctx, f.address) })
	one := f.accept()
	one.greet("+OK\r\n")
	k := dialled.ok(t)
	defer k.Close()
	subscribed := start(func() (*ipc.Subscription, error) { return k.Subscribe(ctx, "a", ipc.BufferSize(2, 100)) })
	one.expect("BUS.SUB", "a")
	const message = ">10\r\n+bus.message\r\n+a\r\n+a\r\n+x\r\n:1\r\n:1\r\n:1\r\n:1\r\n+\r\n:1\r\n"
	one.say(":1\r\n" + message)
	s := subscribed.ok(t)
	one.hangUp()
	two := f.accept()
	two.greet("+OK\r\n")
	two.expect("BUS.SUB", "a")
	two.say(":1\r\n" + strings.Repeat(message, 4))
	pinged := start(func() (struct{}, error) { _, err := presentClient(t, k).Do(ctx, "PING"); return struct{}{}, err })
	two.expect("PING")
	two.say("+PONG\r\n")
	pinged.ok(t)
	if _, err := s.Next(ctx); err == nil {
		t.Fatal("the gap is not told")
	}
	if m, err := s.Next(ctx); err != nil || m.Lost != 3 {
		t.Errorf("%+v, %v", m, err)
	}
	next(t, s)
}

// TestLinkLock: a lock goes on after a crash of the daemon; what becomes of it is told, and it is given back.
func TestLinkLock(t *testing.T) {
	ctx := context.Background()
	d := testdaemon.Start(t, testdaemon.Config{})
	k := dialLink(t, d.Socket)
	kept, err := k.Lock(ctx, "kept", ipc.And("kept/too"))
	if err != nil {
		t.Fatal(err)
	}
	broken, err := k.TryLock(ctx, "broken", ipc.Lease(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	crash(t, d, k)
	renewed := start(func() (struct{}, error) { return struct{}{}, broken.Renew(ctx, time.Hour) })
	presentClient(t, k)
	renewed.ok(t)
	other := dialDaemon(t, d.Socket)
	if _, err := other.TryLock(ctx, "kept/too"); !errors.Is(err, ipc.ErrBusy) {
		t.Error(err)
	}
	if _, err := other.Break(ctx, "broken", "now"); err != nil {
		t.Error(err)
	}
	wantLost(t, broken, "broken")
	work := kept.Context(ctx)
	crash(t, d, k)
	mustUnlock(t, kept)
	for _, name := range []string{"kept", "kept/too"} {
		if got := mustLock(t, dialDaemon(t, d.Socket), name); got.Previous != "released" {
			t.Errorf("%+v", got.Hold)
		}
	}
	if kept.Err() != nil || context.Cause(work) != ipc.ErrUnlocked {
		t.Error(kept.Err(), context.Cause(work))
	}
}

// TestLinkLockQueued: who waits for a lock when the daemon crashes gets it in the end, once.
func TestLinkLockQueued(t *testing.T) {
	ctx := context.Background()
	d := testdaemon.Start(t, testdaemon.Config{})
	k, holder := dialLink(t, d.Socket), dialLink(t, d.Socket)
	held, err := holder.Lock(ctx, "queued")
	if err != nil {
		t.Fatal(err)
	}
	s, err := dialLink(t, d.Socket).Subscribe(ctx, "ipcd/lock/waiting/queued")
	if err != nil {
		t.Fatal(err)
	}
	waiting := func() { // until the request is in the queue: its event may be in the gap
		t.Helper()
		for {
			_, err := start(func() (ipc.Message, error) { return s.Next(ctx) }).wait(t)
			if _, ok := errors.AsType[*ipc.GapError](err); !ok {
				break
			}
			infos, err := presentClient(t, k).Locks(ctx, "queued")
			if err == nil && len(infos[0].Waiters) > 0 {
				break
			}
		}
	}
	got := start(func() (*ipc.Lock, error) { return k.Lock(ctx, "queued", ipc.Wait(time.Hour)) })
	waiting()
	crash(t, d, k)
	waiting()
	mustUnlock(t, held)
	l := got.ok(t)
	infos, err := presentClient(t, k).Locks(ctx, "queued")
	if err != nil || len(infos[0].Holders) != 1 || infos[0].Holders[0].Token != l.Token || infos[0].Holders[0].Bound != "process" || len(infos[0].Waiters) != 0 {
		t.Errorf("%+v, %v", infos, err)
	}
	mustUnlock(t, l)
}

// linked is a link with a fake daemon, and the end of its first connection.
func linked(t *testing.T) (*fake, *ipc.Link, *session) {
	t.Helper()
	f := newFake(t)
	dialled := start(func() (*ipc.Link, error) { return ipc.DialLink(context.Background(), f.address) })
	s := f.accept()
	s.greet("+OK\r\n")
	k := dialled.ok(t)
	t.Cleanup(func() { k.Close() })
	return f, k, s
}

func (f *fake) again(before *session) *session {
	f.t.Helper()
	before.hangUp()
	s := f.accept()
	s.greet("+OK\r\n")
	return s
}

// TestLinkRequestsOnce: what was under way when the connection ended is repeated with the same words, and the same id.
func TestLinkRequestsOnce(t *testing.T) {
	ctx := context.Background()
	f, k, s := linked(t)
	got := start(func() (*ipc.Lock, error) { return k.Lock(ctx, "a") })
	asked := s.next()
	s.say("-SHUTDOWN the daemon is stopping\r\n")
	s = f.again(s)
	s.expect(asked...)
	if len(asked) < 2 || asked[len(asked)-2] != "REQID" {
		t.Errorf("sent %q", asked)
	}
	s.say(":1\r\n" + done("1", grant7))
	l := got.ok(t)

	s = f.again(s)
	s.expect("LOCK.FOLLOW", "a", "7")
	s.say("%1\r\n+token\r\n:7\r\n")
	unlocked := start(func() (struct{}, error) { return struct{}{}, l.Unlock(ctx) })
	released := s.next()
	s = f.again(s)
	s.expect(released...)
	if len(released) != 5 || released[0] != "LOCK.RELEASE" || released[3] != "REQID" || released[4] == asked[len(asked)-1] {
		t.Errorf("sent %q", released)
	}
	s.say("-NOLOCK \"a\" is not held\r\n") // by a daemon that knows of the first no more
	s.expect("LOCK.INFO", "a")
	s.say("%1\r\n+previous\r\n%2\r\n+token\r\n:7\r\n+how\r\n+released\r\n")
	unlocked.ok(t)
}

// TestLinkLockGivenUp: a lock that was granted perhaps, and is not wanted any more, is given back.
func TestLinkLockGivenUp(t *testing.T) {
	f, k, s := linked(t)
	ctx, cancel := context.WithCancel(context.Background())
	got := start(func() (*ipc.Lock, error) { return k.Lock(ctx, "a") })
	asked := s.next()
	c := presentClient(t, k)
	s.hangUp()
	wait(t, c.Done())
	cancel()
	got.fails(t, context.Canceled)
	s = f.accept()
	s.greet("+OK\r\n")
	again := s.next()
	if len(again) != len(asked)+2 || again[len(again)-1] != asked[len(asked)-1] {
		t.Errorf("sent %q after %q", again, asked)
	}
	s.say(":1\r\n" + done("1", grant7))
	if words := s.next(); words[0] != "LOCK.RELEASE" || words[2] != "7" {
		t.Errorf("sent %q", words)
	}
	s.say("+OK\r\n")
}

// TestLinkLockLost: what was lost while there was no connection is told by the next one.
func TestLinkLockLost(t *testing.T) {
	f, k, s := linked(t)
	got := start(func() (*ipc.Lock, error) { return k.Lock(context.Background(), "a") })
	s.next()
	s.say(":1\r\n" + done("1", grant7))
	l := got.ok(t)
	s = f.again(s)
	pinged := start(func() (struct{}, error) {
		_, err := presentClient(t, k).Do(context.Background(), "PING")
		return struct{}{}, err
	})
	s.expect("LOCK.FOLLOW", "a", "7")
	s.say("-STALE token 7 is not that of a present hold\r\n")
	s.expect("LOCK.INFO", "a") // before anybody has the connection
	s.say("%1\r\n+previous\r\n%2\r\n+token\r\n:7\r\n+how\r\n+expired\r\n")
	wantLost(t, l, "expired")
	s.expect("PING")
	s.say("+PONG\r\n")
	pinged.ok(t)
}

// TestLinkLocksExclude: however often the daemon crashes, and whatever is given up meanwhile, there is never more than one holder, nobody
// who was granted the lock loses it, and in the end nothing is held or waited for.
func TestLinkLocksExclude(t *testing.T) {
	const crashes, goroutines = 4, 6
	ctx := context.Background()
	d := testdaemon.Start(t, testdaemon.Config{})
	links := []*ipc.Link{dialLink(t, d.Socket), dialLink(t, d.Socket)}
	stop := make(chan struct{})
	granted := make(chan struct{}, 1)
	var inside, last atomic.Int64
	var all sync.WaitGroup
	for n := range goroutines {
		k := links[n%len(links)]
		random := rand.New(rand.NewPCG(uint64(n), 2))
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				trying, cancel := context.WithCancel(ctx)
				if random.IntN(4) == 0 {
					go cancel() // at any moment
				}
				l, err := k.Lock(trying, "exclude")
				cancel()
				if errors.Is(err, context.Canceled) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 || last.Swap(int64(l.Token)) >= int64(l.Token) {
					t.Errorf("token %d is one too many", l.Token)
				}
				inside.Add(-1)
				if err := l.Unlock(ctx); err != nil || l.Err() != nil {
					t.Error(err, l.Err())
				}
				select {
				case granted <- struct{}{}:
				default:
				}
			}
		})
	}
	for range crashes {
		for range 20 {
			wait(t, granted)
		}
		d.Kill()
		d.Restart()
	}
	wait(t, granted)
	close(stop)
	all.Wait()
	// What was given up when a connection ended is given back by then, or in the queue behind this.
	l, err := links[0].Lock(ctx, "exclude")
	if err != nil {
		t.Fatal(err)
	}
	mustUnlock(t, l)
	for _, k := range links {
		k.Close()
	}
}

// TestLinkLocker: a lock that is taken as a sync.Locker is held over a crash of the daemon, and given back to the next one.
func TestLinkLocker(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{})
	k := dialLink(t, d.Socket)
	var l sync.Locker = k.Locker("locker")
	for range 2 {
		l.Lock()
		crash(t, d, k)
		if _, err := dialDaemon(t, d.Socket).TryLock(context.Background(), "locker"); !errors.Is(err, ipc.ErrBusy) {
			t.Error(err)
		}
		l.Unlock()
	}
	mustUnlock(t, mustLock(t, dialDaemon(t, d.Socket), "locker"))
}

// TestLinkOnce: what is done while the daemon crashes is marked as done, by the next one.
func TestLinkOnce(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{})
	k := dialLink(t, d.Socket)
	for _, want := range []bool{true, false} {
		did, err := k.Once(context.Background(), "once", ipc.Ever, func(context.Context) error {
			crash(t, d, k)
			return nil
		})
		if did != want || err != nil {
			t.Errorf("did it: %v, %v; want %v", did, err, want)
		}
	}
	mustUnlock(t, mustLock(t, dialDaemon(t, d.Socket), "once"))
}
