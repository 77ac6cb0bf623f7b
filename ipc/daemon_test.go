package ipc_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
)

// The tests in this file talk to a real daemon.

func dialDaemon(t *testing.T, address string) *ipc.Client {
	t.Helper()
	c, err := ipc.Dial(context.Background(), address, ipc.Name("test"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestDaemonMessages(t *testing.T) {
	receiver, sender := dialDaemon(t, ""), dialDaemon(t, "")
	sub, err := receiver.Subscribe(context.Background(), "messages/+")
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Second)
	receipt, err := sender.Publish(context.Background(), "messages/a", []byte("\x00\r\n"))
	if err != nil || receipt.Delivered != 1 || receipt.Dropped != 0 {
		t.Fatalf("%+v, %v", receipt, err)
	}
	m := next(t, sub)
	if m.Topic != "messages/a" || string(m.Payload) != "\x00\r\n" || m.Seq != receipt.Seq ||
		m.PID != os.Getpid() || m.UID != os.Getuid() || m.Time.Before(before) || m.Lost != 0 {
		t.Errorf("%+v, %+v", m, receipt)
	}

	sub.Close()
	// Commands are carried out in order, so what follows finds the subscription gone.
	if _, err := receiver.Do(context.Background(), "PING"); err != nil {
		t.Fatal(err)
	}
	if receipt, err = sender.Publish(context.Background(), "messages/a", nil); err != nil || receipt.Delivered != 0 {
		t.Errorf("%+v, %v", receipt, err)
	}
	if _, err := sender.Publish(context.Background(), "messages/#", nil); !errors.Is(err, ipc.ErrBadName) {
		t.Error(err)
	}
	if _, err := receiver.Subscribe(context.Background(), "a/#/b"); !errors.Is(err, ipc.ErrBadName) {
		t.Error(err)
	}
}

// Whoever publishes and however slowly they are taken out: what arrives is in order, and nothing is missing that is not
// told to be.
func TestDaemonCountsLosses(t *testing.T) {
	receiver, sender := dialDaemon(t, ""), dialDaemon(t, "")
	small, err := receiver.Subscribe(context.Background(), "losses", ipc.BufferSize(10, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	large, err := receiver.Subscribe(context.Background(), "losses")
	if err != nil {
		t.Fatal(err)
	}
	const publishers, each = 4, 250
	var all sync.WaitGroup
	for range publishers {
		all.Go(func() {
			for range each {
				if _, err := sender.Publish(context.Background(), "losses", []byte("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	last, err := sender.Publish(context.Background(), "losses", []byte("last"))
	if err != nil {
		t.Fatal(err)
	}
	for sub, most := range map[*ipc.Subscription]int{small: 10, large: publishers*each + 1} {
		got, lost, seq := 0, 0, uint64(0)
		for seq < last.Seq {
			m := next(t, sub)
			if m.Seq <= seq {
				t.Fatalf("number %d after %d", m.Seq, seq)
			}
			got, lost, seq = got+1, lost+int(m.Lost), m.Seq
		}
		if got+lost != publishers*each+1 || sub == large && got != most {
			t.Errorf("%d messages and %d lost, of %d", got, lost, publishers*each+1)
		}
	}
}

// Owners in one client, in several, and contexts that end at any moment: there is never more than one holder, and in
// the end nothing is held or waited for.
func TestDaemonLocksExclude(t *testing.T) {
	clients := []*ipc.Client{dialDaemon(t, ""), dialDaemon(t, "")}
	var holders atomic.Int32
	var granted, gaveUp atomic.Int64
	var last atomic.Uint64
	var all sync.WaitGroup
	for n := range 8 {
		c := clients[n%len(clients)]
		random := rand.New(rand.NewPCG(uint64(n), 1))
		all.Go(func() {
			for range 100 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.IntN(500))*time.Microsecond)
				l, err := c.Lock(ctx, "exclude")
				if err != nil {
					cancel()
					gaveUp.Add(1)
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
					continue
				}
				granted.Add(1)
				if holders.Add(1) != 1 {
					t.Error("two holders")
				}
				if l.Token <= last.Swap(l.Token) {
					t.Error("a token that does not rise")
				}
				holders.Add(-1)
				cancel()
				if err := l.Unlock(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d granted, %d gave up", granted.Load(), gaveUp.Load())
	// All that Lock left to be done was sent before this.
	for _, c := range clients {
		if _, err := c.Do(context.Background(), "PING"); err != nil {
			t.Fatal(err)
		}
	}
	info, err := clients[0].Do(context.Background(), "LOCK.INFO", "exclude")
	if err != nil || info.Get("used").Int != 0 || len(info.Get("waiters").Elems) != 0 {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestDaemonLockOptions(t *testing.T) {
	c := dialDaemon(t, "")
	ctx := context.Background()
	first, err := c.Lock(ctx, "options", ipc.Shared(), ipc.Why("to read"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.TryLock(ctx, "options", ipc.Shared(), ipc.ForProcess())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.TryLock(ctx, "options"); !errors.Is(err, ipc.ErrBusy) {
		t.Error(err)
	}
	if _, err := c.Lock(ctx, "options", ipc.Wait(time.Millisecond)); !errors.Is(err, ipc.ErrTimeout) {
		t.Error(err)
	}
	if _, err := c.Lock(ctx, "op\x1bions"); !errors.Is(err, ipc.ErrBadName) {
		t.Error(err)
	}
	if err := first.Unlock(ctx); err != nil {
		t.Error(err)
	}
	if err := first.Unlock(ctx); !errors.Is(err, ipc.ErrStale) && !errors.Is(err, ipc.ErrNoLock) {
		t.Error(err)
	}

	// A hold of the process stays when the connection goes, and can be given back by another.
	c.Close()
	if err := second.Unlock(ctx); !errors.Is(err, ipc.ErrClosed) {
		t.Error(err)
	}
	other := dialDaemon(t, "")
	if _, err := other.TryLock(ctx, "options"); !errors.Is(err, ipc.ErrBusy) {
		t.Error(err)
	}
	if _, err := other.Do(ctx, "LOCK.RELEASE", "options", fmt.Sprint(second.Token)); err != nil {
		t.Error(err)
	}
	third, err := other.TryLock(ctx, "options")
	if err != nil {
		t.Fatal(err)
	}
	if third.Token <= second.Token || third.Previous != "released" || third.Abandoned != "" {
		t.Errorf("%+v", third)
	}
}

// A bound hold ends with its connection; the next holder is told.
func TestDaemonConnectionEnds(t *testing.T) {
	ctx := context.Background()
	holder, waiter := dialDaemon(t, ""), dialDaemon(t, "")
	l, err := holder.Lock(ctx, "ends")
	if err != nil {
		t.Fatal(err)
	}
	queued := lock(ctx, waiter, "ends")
	holder.Close()
	wait(t, l.Lost())
	got := queued.ok(t)
	if got.Previous != "disconnected" || got.Abandoned == "" {
		t.Errorf("%+v", got)
	}
}

// A daemon that stops says so to all who wait.
func TestDaemonStops(t *testing.T) {
	d, err := newDaemon(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	c := dialDaemon(t, d.address)
	l, err := c.Lock(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	sub, err := c.Subscribe(ctx, "#")
	if err != nil {
		t.Fatal(err)
	}
	events, err := c.Subscribe(ctx, "ipcd/lock/waiting/#")
	if err != nil {
		t.Fatal(err)
	}
	queued := lock(ctx, c, "a")
	next(t, events) // it waits
	if err := d.stop(); err != nil {
		t.Error(err)
	}
	queued.fails(t, ipc.ErrShutdown)
	wait(t, c.Done())
	wait(t, l.Lost())
	if !errors.Is(c.Err(), ipc.ErrClosed) || !errors.Is(c.Err(), ipc.ErrShutdown) {
		t.Error(c.Err())
	}
	if _, err := sub.Next(ctx); !errors.Is(err, ipc.ErrClosed) {
		t.Error(err)
	}
}

func BenchmarkDaemon(b *testing.B) {
	c, err := ipc.Dial(context.Background(), "")
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	b.Run("publish", func(b *testing.B) {
		payload := make([]byte, 64)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Publish(ctx, "bench", payload); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("lock", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l, err := c.Lock(ctx, "bench")
			if err != nil {
				b.Fatal(err)
			}
			if err := l.Unlock(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("receive", func(b *testing.B) { // pipelined: what a receiver can take
		sub, err := c.Subscribe(ctx, "bench", ipc.BufferSize(1<<20, 1<<30))
		if err != nil {
			b.Fatal(err)
		}
		defer sub.Close()
		sender, err := ipc.DialConn(ctx, "")
		if err != nil {
			b.Fatal(err)
		}
		defer sender.Close()
		const batch = 64
		b.ReportAllocs()
		left := 0
		for b.Loop() {
			if left == 0 {
				for range batch {
					sender.Buffer("PUBLISH", "bench", "0123456789012345678901234567890123456789012345678901234567890123")
				}
				if err := sender.Flush(); err != nil {
					b.Fatal(err)
				}
				for range batch {
					if _, err := sender.Reply(); err != nil {
						b.Fatal(err)
					}
				}
				left = batch
			}
			if _, err := sub.Next(ctx); err != nil {
				b.Fatal(err)
			}
			left--
		}
	})
}

// A daemon with limits of its own tells them, and what is over them is not sent: it would cost the connection.
func TestClientLearnsTheLimits(t *testing.T) {
	c := dialDaemon(t, "") // whose limit is 1024 words, fewer than the default
	if _, err := c.Do(context.Background(), make([]string, 1025)...); !errors.Is(err, ipc.ErrQuota) {
		t.Errorf("a command over the daemon's limit: %v", err)
	}
	if v, err := c.Do(context.Background(), "PING"); err != nil || v.Text() != "PONG" {
		t.Errorf("and then: %v, %v", v, err)
	}
}
