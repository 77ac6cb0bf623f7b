package ipc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
)

// What locks can do, through a real daemon.

func mustLock(t *testing.T, c *ipc.Client, name string, options ...ipc.LockOption) *ipc.Lock {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l, err := c.Lock(ctx, name, options...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustUnlock(t *testing.T, l *ipc.Lock) {
	t.Helper()
	if err := l.Unlock(context.Background()); err != nil {
		t.Error(err)
	}
}

// relay passes on what comes to a socket of its own to the daemon, as socat does.
func relay(t *testing.T) (address string) { return gatedRelay(t, new(sync.Mutex)) }

// gatedRelay is a relay that passes nothing on to a client while somebody else has the gate.
func gatedRelay(t *testing.T, gate *sync.Mutex) (address string) {
	t.Helper()
	address = filepath.Join(t.TempDir(), "relay")
	l, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	var tasks sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		tasks.Wait()
	})
	tasks.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			daemon, err := net.Dial("unix", os.Getenv("IPCD_SOCKET"))
			if err != nil {
				client.Close()
				continue
			}
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from) // until either end is closed
				to.Close()
				from.Close()
			}
			tasks.Go(func() { pass(daemon, client) })
			tasks.Go(func() { pass(gated{client, gate}, daemon) })
		}
	})
	return address
}

// A gated connection is written to by who has the gate.
type gated struct {
	net.Conn
	gate *sync.Mutex
}

func (g gated) Write(b []byte) (int, error) {
	g.gate.Lock()
	defer g.gate.Unlock()
	return g.Conn.Write(b)
}

// TestDaemonRelay: through a relay a lock cannot be bound to the process that asks, and can be to its connection, which the relay
// keeps as long as its client does.
func TestDaemonRelay(t *testing.T) {
	ctx, direct, c := context.Background(), dialDaemon(t, ""), dialDaemon(t, relay(t))
	if _, err := c.TryLock(ctx, "relay", ipc.ForProcess()); !errors.Is(err, ipc.ErrDenied) || !strings.Contains(err.Error(), "no descriptor came from the caller") {
		t.Errorf("for the process: %v", err)
	}
	mustUnlock(t, mustLock(t, c, "relay", ipc.Lease(time.Minute)))
	held := mustLock(t, c, "relay")
	if _, err := direct.TryLock(ctx, "relay"); !errors.Is(err, ipc.ErrBusy) {
		t.Errorf("two hold it: %v", err)
	}
	c.Close()
	<-held.Lost()
	mustUnlock(t, mustLock(t, direct, "relay", ipc.ForProcess()))
}

func TestDaemonSemaphore(t *testing.T) {
	c, ctx := dialDaemon(t, ""), context.Background()
	first := mustLock(t, c, "semaphore", ipc.Limit(3))
	second := mustLock(t, c, "semaphore", ipc.Units(2))
	if _, err := c.TryLock(ctx, "semaphore"); !errors.Is(err, ipc.ErrBusy) {
		t.Error(err)
	}
	if _, err := c.TryLock(ctx, "semaphore", ipc.Limit(4)); !errors.Is(err, ipc.ErrLimit) {
		t.Error(err)
	}
	if _, err := c.Lock(ctx, "semaphore", ipc.Units(4)); !errors.Is(err, ipc.ErrLimit) {
		t.Error(err)
	}
	infos, err := c.Locks(ctx, "semaphore")
	if err != nil || infos[0].Limit != 3 || infos[0].Used != 3 || infos[0].Mode != "units" || len(infos[0].Holders) != 2 ||
		infos[0].Holders[1].Units != 2 {
		t.Errorf("%+v, %v", infos, err)
	}
	alone := lock(ctx, c, "semaphore", ipc.Alone())
	mustUnlock(t, first)
	mustUnlock(t, second)
	mustUnlock(t, alone.ok(t))
}

// Sets that name the same locks in any order do not block each other.
func TestDaemonSets(t *testing.T) {
	ctx := context.Background()
	names := []string{"set/a", "set/b", "set/c"}
	var inside [3]atomic.Int32
	var all sync.WaitGroup
	for i := range 6 {
		c := dialDaemon(t, "")
		all.Go(func() {
			for j := range 30 {
				mine := []int{(i + j) % 3, (i + 2*j + 1) % 3}
				if mine[0] == mine[1] {
					mine = mine[:1]
				}
				options := []ipc.LockOption{}
				for _, n := range mine[1:] {
					options = append(options, ipc.And(names[n]))
				}
				l, err := c.Lock(ctx, names[mine[0]], options...)
				if err != nil {
					t.Error(err)
					return
				}
				if len(l.Others) != len(mine)-1 {
					t.Errorf("%+v", l)
				}
				for _, n := range mine {
					if inside[n].Add(1) != 1 {
						t.Error("two holders")
					}
				}
				for _, n := range mine {
					inside[n].Add(-1)
				}
				if err := l.Unlock(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

func TestDaemonLease(t *testing.T) {
	c, ctx := dialDaemon(t, ""), context.Background()
	lease := 60 * time.Millisecond
	l := mustLock(t, c, "lease", ipc.Lease(lease))
	for told := false; !told; {
		select {
		case left := <-l.Expiring():
			if told = true; left <= 0 || left > lease {
				t.Errorf("%v left", left)
			}
		case <-l.Lost(): // the machine has stood still for longer than the third of it
			lease *= 2
			l = mustLock(t, c, "lease", ipc.Lease(lease))
		case <-time.After(patience):
			t.Fatal("nothing happened")
		}
	}
	wait(t, l.Lost())
	var lost *ipc.LostError
	if !errors.As(l.Err(), &lost) || lost.How != "expired" {
		t.Error(l.Err())
	}
	second := mustLock(t, c, "lease", ipc.Lease(time.Hour))
	if second.Previous != "expired" || second.Abandoned != "" {
		t.Errorf("%+v", second)
	}
	if err := second.Renew(ctx, 2*time.Hour); err != nil {
		t.Error(err)
	}
	if infos, err := c.Locks(ctx, "lease"); err != nil || infos[0].Holders[0].Left < time.Hour {
		t.Errorf("%+v, %v", infos, err)
	}
	if err := second.Renew(ctx, time.Millisecond); err != nil {
		t.Error(err)
	}
	wait(t, second.Lost())
	if err := second.Renew(ctx, time.Second); !errors.Is(err, ipc.ErrNoLock) {
		t.Error(err)
	}
}

// A hold by a lease outlives its connection; a token is all that is needed to give it back.
func TestDaemonLeaseOutlivesConnection(t *testing.T) {
	c, ctx := dialDaemon(t, ""), context.Background()
	gone := dialDaemon(t, "")
	l := mustLock(t, gone, "lease/alone", ipc.Lease(time.Hour))
	gone.Close()
	select {
	case <-l.Lost():
		t.Error(l.Err())
	default:
	}
	if err := c.CheckToken(ctx, "lease/alone", l.Token); err != nil {
		t.Error(err)
	}
	if err := c.ReleaseToken(ctx, "lease/alone", l.Token); err != nil {
		t.Error(err)
	}
	if err := c.CheckToken(ctx, "lease/alone", l.Token); !errors.Is(err, ipc.ErrNoLock) {
		t.Error(err)
	}
}

func TestDaemonBreak(t *testing.T) {
	c, other, ctx := dialDaemon(t, ""), dialDaemon(t, ""), context.Background()
	l := mustLock(t, c, "break", ipc.Why("to sit on it"))
	broken, err := other.Break(ctx, "break", "it sits on it")
	if err != nil || len(broken) != 1 || broken[0].Token != l.Token || broken[0].Why != "to sit on it" {
		t.Errorf("%+v, %v", broken, err)
	}
	wait(t, l.Lost())
	var lost *ipc.LostError
	if !errors.As(l.Err(), &lost) || lost.How != "broken" || lost.By == "" {
		t.Error(l.Err())
	}
	if err := l.Unlock(ctx); !errors.Is(err, ipc.ErrNoLock) {
		t.Error(err)
	}
	if _, err := other.Break(ctx, "break", ""); !errors.Is(err, ipc.ErrNoLock) {
		t.Error(err)
	}
}

// Who acts for a holder is let in, and what is asked for twice without saying so is a deadlock.
func TestDaemonWithin(t *testing.T) {
	c, ctx := dialDaemon(t, ""), context.Background()
	outer := mustLock(t, c, "within/a", ipc.And("within/b"))
	inner := mustLock(t, c, "within/b", ipc.Within(outer))
	if inner.Token != outer.Others[0].Token {
		t.Errorf("%+v is not %+v", inner, outer)
	}
	mustUnlock(t, outer)
	if _, err := c.TryLock(ctx, "within/b"); !errors.Is(err, ipc.ErrBusy) {
		t.Error("the hold ended before its last owner left it: ", err)
	}
	mustUnlock(t, inner)

	// Two holders of which each asks for the other's lock, through somebody who acts for him.
	a, b := mustLock(t, c, "within/a"), mustLock(t, c, "within/b")
	queued := lock(ctx, c, "within/b", ipc.Within(a))
	events, err := c.Subscribe(ctx, "ipcd/lock/waiting/within/b")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	if infos, err := c.Locks(ctx, "within/b"); err != nil || len(infos[0].Waiters) == 0 {
		next(t, events)
	}
	if _, err := c.Lock(ctx, "within/a", ipc.Within(b)); !errors.Is(err, ipc.ErrDeadlock) {
		t.Error(err)
	}
	mustUnlock(t, b)
	mustUnlock(t, queued.ok(t))
	mustUnlock(t, a)
}

func TestDaemonJoin(t *testing.T) {
	c, other, ctx := dialDaemon(t, ""), dialDaemon(t, ""), context.Background()
	l := mustLock(t, c, "join")
	joined := mustLock(t, other, "join", ipc.Join(l.Token))
	mustUnlock(t, l)
	if err := other.CheckToken(ctx, "join", l.Token); err != nil {
		t.Error(err)
	}
	mustUnlock(t, joined)
	if _, err := other.Lock(ctx, "join", ipc.Join(l.Token)); !errors.Is(err, ipc.ErrNoLock) {
		t.Error(err)
	}
}

func TestDaemonDowngrade(t *testing.T) {
	c, ctx := dialDaemon(t, ""), context.Background()
	l := mustLock(t, c, "downgrade")
	reader := lock(ctx, c, "downgrade", ipc.Shared())
	if err := l.Downgrade(ctx); err != nil {
		t.Error(err)
	}
	mustUnlock(t, reader.ok(t))
	mustUnlock(t, l)
}

// A mark that nobody dealt with stays for the next holder.
func TestDaemonGiveBack(t *testing.T) {
	ctx := context.Background()
	gone, c := dialDaemon(t, ""), dialDaemon(t, "")
	mustLock(t, gone, "give/back")
	gone.Close()
	first := mustLock(t, c, "give/back")
	if err := first.GiveBack(ctx); first.Abandoned == "" || err != nil {
		t.Errorf("%+v, %v", first, err)
	}
	second := mustLock(t, c, "give/back")
	if second.Abandoned != first.Abandoned {
		t.Errorf("%q, and was %q", second.Abandoned, first.Abandoned)
	}
	mustUnlock(t, second)
	if third := mustLock(t, c, "give/back"); third.Abandoned != "" {
		t.Errorf("%q was told twice", third.Abandoned)
	} else {
		mustUnlock(t, third)
	}
}

// A mark that is being dealt with stays, too, if the connection is lost over that.
func TestDaemonUntold(t *testing.T) {
	ctx := context.Background()
	gone, c := dialDaemon(t, ""), dialDaemon(t, "")
	mustLock(t, gone, "untold")
	gone.Close()
	first := mustLock(t, c, "untold", ipc.Untold())
	mustUnlock(t, first)
	second := mustLock(t, c, "untold", ipc.Untold())
	if second.Abandoned == "" || second.Abandoned != first.Abandoned {
		t.Errorf("%q, and was %q", second.Abandoned, first.Abandoned)
	}
	if err := second.Told(ctx); err != nil {
		t.Error(err)
	}
	mustUnlock(t, second)
	if err := second.Told(ctx); !errors.Is(err, ipc.ErrNoLock) {
		t.Errorf("got %v", err)
	}
	if third := mustLock(t, c, "untold"); third.Abandoned != "" {
		t.Errorf("%q was told again", third.Abandoned)
	}
}

func TestDaemonForNobody(t *testing.T) {
	ctx := context.Background()
	gone, c := dialDaemon(t, ""), dialDaemon(t, "")
	l := mustLock(t, gone, "nobody", ipc.ForNobody(), ipc.Why("new disk"))
	gone.Close()
	infos, err := c.Locks(ctx)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(infos, func(i ipc.LockInfo) bool { return i.Name == "nobody" })
	if at < 0 || infos[at].Holders[0].Bound != "nobody" || infos[at].Holders[0].Why != "new disk" {
		t.Fatalf("%+v", infos)
	}
	if err := c.ReleaseToken(ctx, "nobody", l.Token); err != nil {
		t.Error(err)
	}
}

func TestDaemonOnce(t *testing.T) {
	ctx := context.Background()
	if _, err := dialDaemon(t, "").Do(ctx, "LOCK.FORGET", "once"); err != nil {
		t.Fatal(err)
	}
	var did, ran atomic.Int32
	var all sync.WaitGroup
	for i := range 5 {
		c := dialDaemon(t, "")
		all.Go(func() {
			ok, err := c.Once(ctx, "once", ipc.Ever, func(context.Context) error {
				if ran.Add(1) == 1 {
					return fmt.Errorf("the first time it fails")
				}
				return nil
			})
			if ok && err == nil {
				did.Add(1)
			}
			if err != nil && !ok {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	all.Wait()
	if did.Load() != 1 || ran.Load() != 2 {
		t.Errorf("ran %d times, of which %d were the one", ran.Load(), did.Load())
	}
}

// A sync.Locker: a counter that goroutines of two connections share is exact.
func TestDaemonLocker(t *testing.T) {
	var count atomic.Int32 // counted in two steps, as something else would
	var all sync.WaitGroup
	for range 2 {
		var l sync.Locker = dialDaemon(t, "").Locker("locker")
		for range 3 {
			all.Go(func() {
				for range 20 {
					l.Lock()
					n := count.Load()
					count.Store(n + 1)
					l.Unlock()
				}
			})
		}
	}
	all.Wait()
	if count.Load() != 120 {
		t.Errorf("counted %d", count.Load())
	}
}
