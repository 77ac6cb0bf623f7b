package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/redis/rueidis"
)

func newRueidis(t *testing.T, socket string, change ...func(*rueidis.ClientOption)) rueidis.Client {
	t.Helper()
	o := rueidis.ClientOption{
		InitAddress: []string{socket},
		DialCtxFn:   dialUnix,
	}
	for _, c := range change {
		c(&o)
	}
	c, err := rueidis.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// By default it speaks RESP3, pipelines all there is over one connection, and asks for client-side caching.
func TestRueidis(t *testing.T) {
	socket := startIpcd(t)
	for name, change := range map[string]func(*rueidis.ClientOption){
		"default":    func(*rueidis.ClientOption) {},
		"no cache":   func(o *rueidis.ClientOption) { o.DisableCache = true },
		"RESP2":      func(o *rueidis.ClientOption) { o.AlwaysRESP2, o.DisableCache = true, true },
		"broadcast":  func(o *rueidis.ClientOption) { o.ClientTrackingOptions = []string{"PREFIX", "a:", "BCAST"} },
		"named":      func(o *rueidis.ClientOption) { o.ClientName = "me" },
		"pipelining": func(o *rueidis.ClientOption) { o.AlwaysPipelining = true },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := patient(t)
			c := newRueidis(t, socket, change)
			if got, err := c.Do(ctx, c.B().Ping().Build()).ToString(); got != "PONG" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			var all sync.WaitGroup
			for i := range 32 {
				all.Go(func() {
					for j := range 50 {
						want := fmt.Sprintf("%d-%d", i, j)
						if got, err := c.Do(ctx, c.B().Echo().Message(want).Build()).ToString(); got != want || err != nil {
							t.Errorf("got %q, %v, want %q", got, err, want)
						}
					}
				})
			}
			all.Wait()
			var many rueidis.Commands
			for i := range 100 {
				many = append(many, c.B().Echo().Message(fmt.Sprint(i)).Build())
			}
			for i, r := range c.DoMulti(ctx, many...) {
				if got, err := r.ToString(); got != fmt.Sprint(i) || err != nil {
					t.Errorf("%d: got %q, %v", i, got, err)
				}
			}
			if err := c.Do(ctx, c.B().Get().Key("x").Build()).Error(); err == nil || !strings.Contains(err.Error(), "unknown command") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRueidisPubSub(t *testing.T) {
	socket := startIpcd(t)
	for _, resp2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("RESP2 %v", resp2), func(t *testing.T) {
			c := newRueidis(t, socket, func(o *rueidis.ClientOption) { o.AlwaysRESP2, o.DisableCache = resp2, true })
			ctx, cancel := context.WithCancel(patient(t))
			defer cancel()
			messages := make(chan rueidis.PubSubMessage)
			ended := make(chan error, 2)
			for _, command := range []rueidis.Completed{
				c.B().Subscribe().Channel("news/a", "news/b").Build(), c.B().Psubscribe().Pattern("*/b").Build(),
			} {
				go func() {
					ended <- c.Receive(ctx, command, func(m rueidis.PubSubMessage) {
						select {
						case messages <- m:
						case <-ctx.Done():
						}
					})
				}()
			}
			next := func() (m rueidis.PubSubMessage) {
				t.Helper()
				select {
				case m = <-messages:
				case <-ctx.Done():
					t.Fatal(ctx.Err())
				}
				return m
			}
			for n := int64(0); n < 2; { // until both are there
				var err error
				if n, err = c.Do(ctx, c.B().Publish().Channel("news/b").Message("hello").Build()).AsInt64(); err != nil {
					t.Fatal(err)
				}
				for range n {
					if m := next(); m.Channel != "news/b" || m.Message != "hello" {
						t.Errorf("got %v", m)
					}
				}
			}
			const many = 1000
			go func() {
				for i := range many {
					_ = c.Do(ctx, c.B().Publish().Channel("news/a").Message(fmt.Sprint(i)).Build())
				}
			}()
			for i := range many {
				if m := next(); m.Channel != "news/a" || m.Message != fmt.Sprint(i) {
					t.Fatalf("message %d: %v", i, m)
				}
			}
			cancel()
			for range 2 {
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Errorf("Receive ended with %v", err)
				}
			}
		})
	}
}

// A lock on a connection of one's own.
func TestRueidisLocks(t *testing.T) {
	socket := startIpcd(t)
	c := newRueidis(t, socket)
	ctx := patient(t)
	err := c.Dedicated(func(d rueidis.DedicatedClient) error {
		grant, err := d.Do(ctx, d.B().Arbitrary("LOCK.ACQUIRE").Args("backup", "WAIT", "0").Build()).AsMap()
		if err != nil {
			return err
		}
		token := grant["token"]
		if n, err := token.AsInt64(); n == 0 || err != nil {
			t.Errorf("got %v, %v", n, err)
		}
		name := grant["name"]
		if got, err := name.ToString(); got != "backup" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		other := d.Do(ctx, d.B().Arbitrary("LOCK.ACQUIRE").Args("backup", "OWNER", "other", "WAIT", "0").Build()).Error()
		if rerr, ok := rueidis.IsRedisErr(other); !ok || !strings.HasPrefix(rerr.Error(), "BUSY ") {
			t.Errorf("got %v", other)
		}
		again := d.Do(ctx, d.B().Arbitrary("LOCK.ACQUIRE").Args("backup").Build()).Error()
		if rerr, ok := rueidis.IsRedisErr(again); !ok || !strings.HasPrefix(rerr.Error(), "DEADLOCK ") {
			t.Errorf("got %v", again)
		}
		return d.Do(ctx, d.B().Arbitrary("LOCK.RELEASE").Args("backup").Build()).Error()
	})
	if err != nil {
		t.Error(err)
	}
}
