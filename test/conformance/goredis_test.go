package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func newGoRedis(t *testing.T, socket string, proto int) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, Protocol: proto, PoolSize: 8, MaxRetries: -1})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// bothProtocols runs a test with a client of each.
func bothProtocols(t *testing.T, f func(t *testing.T, c *redis.Client)) {
	socket := startIpcd(t)
	for _, proto := range []int{2, 3} {
		t.Run(fmt.Sprintf("RESP%d", proto), func(t *testing.T) { f(t, newGoRedis(t, socket, proto)) })
	}
}

func TestGoRedis(t *testing.T) {
	bothProtocols(t, func(t *testing.T, c *redis.Client) {
		ctx := patient(t)
		if got, err := c.Ping(ctx).Result(); got != "PONG" || err != nil {
			t.Errorf("Ping: %q, %v", got, err)
		}
		if got, err := c.Echo(ctx, "a\r\nb").Result(); got != "a\r\nb" || err != nil {
			t.Errorf("Echo: %q, %v", got, err)
		}
		if got, err := c.Time(ctx).Result(); err != nil || time.Since(got) > time.Minute || time.Since(got) < -time.Minute {
			t.Errorf("Time: %v, %v", got, err)
		}
		if got, err := c.ClientID(ctx).Result(); got <= 0 || err != nil {
			t.Errorf("ClientID: %d, %v", got, err)
		}
		if got, err := c.ClientList(ctx).Result(); !strings.Contains(got, "lib-name=go-redis") || err != nil {
			t.Errorf("ClientList: %q, %v", got, err)
		}
		if got, err := c.Command(ctx).Result(); got["publish"] == nil || err != nil {
			t.Errorf("Command: %v, %v", got, err)
		}
		if got, err := c.Info(ctx, "server").Result(); !strings.Contains(got, "server_name:ipcd") || err != nil {
			t.Errorf("Info: %q, %v", got, err)
		}
		if got, err := c.Get(ctx, "key").Result(); err == nil || !strings.HasPrefix(err.Error(), "ERR unknown command") {
			t.Errorf("Get: %q, %v", got, err)
		}
		// A pipeline, and many goroutines on the pool.
		cmds, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i := range 100 {
				p.Echo(ctx, i)
			}
			return nil
		})
		if err != nil || cmds[99].(*redis.StringCmd).Val() != "99" {
			t.Errorf("Pipelined: %v, %v", cmds[99], err)
		}
		var all sync.WaitGroup
		for i := range 32 {
			all.Go(func() {
				for j := range 50 {
					want := fmt.Sprintf("%d-%d", i, j)
					if got, err := c.Echo(ctx, want).Result(); got != want || err != nil {
						t.Errorf("got %q, %v, want %q", got, err, want)
					}
				}
			})
		}
		all.Wait()
	})
}

func TestGoRedisPubSub(t *testing.T) {
	bothProtocols(t, func(t *testing.T, c *redis.Client) {
		ctx := patient(t)
		sub := c.Subscribe(ctx, "news/a", "news/b")
		defer func() { _ = sub.Close() }()
		if err := sub.PSubscribe(ctx, "news/*"); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if got, err := sub.Receive(ctx); err != nil {
				t.Fatal(got, err)
			} else if _, ok := got.(*redis.Subscription); !ok {
				t.Fatalf("got %v", got)
			}
		}
		if err := sub.Ping(ctx, "still there"); err != nil {
			t.Fatal(err)
		}
		if got, err := sub.Receive(ctx); err != nil || got.(*redis.Pong).Payload != "still there" {
			t.Errorf("Ping: %v, %v", got, err)
		}
		if n, err := c.Publish(ctx, "news/a", "hello").Result(); n != 2 || err != nil {
			t.Errorf("Publish: %d, %v", n, err)
		}
		for _, pattern := range []string{"", "news/*"} {
			if m, err := sub.ReceiveMessage(ctx); err != nil || m.Channel != "news/a" || m.Payload != "hello" || m.Pattern != pattern {
				t.Errorf("got %v, %v", m, err)
			}
		}
		if got, err := c.PubSubChannels(ctx, "*").Result(); len(got) != 2 || err != nil {
			t.Errorf("PubSubChannels: %q, %v", got, err)
		}
		if got, err := c.PubSubNumSub(ctx, "news/a", "none").Result(); got["news/a"] != 1 || got["none"] != 0 || err != nil {
			t.Errorf("PubSubNumSub: %v, %v", got, err)
		}
		if got, err := c.PubSubNumPat(ctx).Result(); got != 1 || err != nil {
			t.Errorf("PubSubNumPat: %d, %v", got, err)
		}
		if err := sub.Unsubscribe(ctx, "news/a", "news/b"); err != nil {
			t.Fatal(err)
		}
		for left := 2; left > 0; left-- {
			if got, err := sub.Receive(ctx); err != nil || got.(*redis.Subscription).Count != left {
				t.Fatalf("got %v, %v, want %d subscriptions left", got, err, left)
			}
		}
		// By its channel, with many messages.
		const many = 2000
		go func() {
			for i := range many {
				_ = c.Publish(ctx, "news/c", i).Err()
			}
		}()
		messages := sub.Channel(redis.WithChannelSize(many))
		for n := range many {
			select {
			case m := <-messages:
				if m.Channel != "news/c" || m.Payload != fmt.Sprint(n) {
					t.Fatalf("message %d: %v", n, m)
				}
			case <-ctx.Done():
				t.Fatalf("message %d: %v", n, ctx.Err())
			}
		}
	})
}

// A client whose connection is ended subscribes again by itself.
func TestGoRedisReconnects(t *testing.T) {
	socket := startIpcd(t)
	c, admin := newGoRedis(t, socket, 3), newGoRedis(t, socket, 3)
	ctx := patient(t)
	sub := c.Subscribe(ctx, "a")
	defer func() { _ = sub.Close() }()
	if _, err := sub.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	messages := sub.Channel()
	if n, err := admin.ClientKillByFilter(ctx, "TYPE", "pubsub").Result(); n != 1 || err != nil {
		t.Fatalf("%d killed, %v", n, err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case m := <-messages:
			if m.Payload != "hello" {
				t.Errorf("got %v", m)
			}
			return
		case <-tick.C:
			if err := admin.Publish(ctx, "a", "hello").Err(); err != nil {
				t.Fatal(err)
			}
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
}

// Locks need no library of their own, but a connection: a pool would use any.
func TestGoRedisLocks(t *testing.T) {
	bothProtocols(t, func(t *testing.T, c *redis.Client) {
		ctx := patient(t)
		conn := c.Conn()
		defer func() { _ = conn.Close() }()
		got, err := conn.Do(ctx, "LOCK.ACQUIRE", "backup", "WAIT", 0, "WHY", "a test").Result()
		if err != nil {
			t.Fatal(err)
		}
		grant := toMap(t, got)
		token, ok := grant["token"].(int64)
		if grant["name"] != "backup" || !ok || token == 0 {
			t.Errorf("got %v", grant)
		}
		if err := conn.Do(ctx, "LOCK.ACQUIRE", "backup", "OWNER", "other", "WAIT", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "BUSY ") {
			t.Errorf("got %v", err)
		}
		if err := conn.Do(ctx, "LOCK.ACQUIRE", "backup", "OWNER", "other", "WAIT", 10).Err(); err == nil || !strings.HasPrefix(err.Error(), "TIMEOUT ") {
			t.Errorf("got %v", err)
		}
		if got, err := conn.Do(ctx, "LOCK.RELEASE", "backup", token).Text(); got != "OK" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if err := conn.Do(ctx, "LOCK.RELEASE", "backup", token).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOLOCK ") {
			t.Errorf("got %v", err)
		}
		list, err := c.Do(ctx, "LOCK.LIST").Slice()
		if err != nil || len(list) != 0 {
			t.Errorf("got %v, %v", list, err)
		}
		// A wait that the client gives up: go-redis closes the connection, and the wait ends.
		events := c.PSubscribe(ctx, "ipcd/lock/waiting/held", "ipcd/lock/cancelled/held")
		defer func() { _ = events.Close() }()
		for range 2 {
			if _, err := events.Receive(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := conn.Do(ctx, "LOCK.ACQUIRE", "held").Err(); err != nil {
			t.Fatal(err)
		}
		waits := redis.NewClient(&redis.Options{Network: "unix", Addr: c.Options().Addr, ReadTimeout: 200 * time.Millisecond, MaxRetries: -1})
		defer func() { _ = waits.Close() }()
		err = waits.Do(ctx, "LOCK.ACQUIRE", "held", "OWNER", "waits").Err()
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("got %v", err)
		}
		for _, want := range []string{"ipcd/lock/waiting/held", "ipcd/lock/cancelled/held"} {
			if m, err := events.ReceiveMessage(ctx); err != nil || m.Channel != want {
				t.Fatalf("got %v, %v, want %s", m, err, want)
			}
		}
		info, err := c.Do(ctx, "LOCK.INFO", "held").Result()
		if err != nil {
			t.Fatal(err)
		}
		if waiters := toMap(t, info)["waiters"].([]any); len(waiters) > 0 {
			t.Errorf("still waiting: %v", waiters)
		}
		if err := conn.Do(ctx, "LOCK.RELEASE", "held").Err(); err != nil {
			t.Error(err)
		}
	})
}

// toMap is a map as RESP2 or RESP3 gives it.
func toMap(t *testing.T, v any) map[string]any {
	t.Helper()
	m := map[string]any{}
	switch v := v.(type) {
	case map[any]any:
		for k, v := range v {
			m[k.(string)] = v
		}
	case []any:
		for i := 0; i+1 < len(v); i += 2 {
			m[v[i].(string)] = v[i+1]
		}
	default:
		t.Fatalf("no map: %T", v)
	}
	return m
}

// A client that times out and sends its command again has it executed once, and keeps its place in the queue, if the command
// has a REQID: the client need not know.
func TestGoRedisResends(t *testing.T) {
	bothProtocols(t, func(t *testing.T, c *redis.Client) {
		ctx := patient(t)
		events := c.PSubscribe(ctx, "ipcd/lock/*")
		defer func() { _ = events.Close() }()
		if _, err := events.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		event := func(want, owner string) {
			t.Helper()
			if m, err := events.ReceiveMessage(ctx); err != nil || m.Channel != "ipcd/lock/"+want+"/queue" {
				t.Fatalf("%s: got %v, %v, want %s", owner, m, err, want)
			}
		}
		acquire := func(c *redis.Client, owner string) (token int64) {
			got, err := c.Do(ctx, "LOCK.ACQUIRE", "queue", "FOR", os.Getpid(), "OWNER", owner, "REQID", t.Name()+owner).Result()
			if err != nil {
				t.Errorf("%s: %v", owner, err)
				return 0
			}
			return toMap(t, got)["token"].(int64)
		}
		hasty := redis.NewClient(&redis.Options{Network: "unix", Addr: c.Options().Addr, Protocol: c.Options().Protocol,
			ReadTimeout: 400 * time.Millisecond, MaxRetries: 1000, MinRetryBackoff: time.Millisecond, MaxRetryBackoff: time.Millisecond})
		defer func() { _ = hasty.Close() }()

		held := acquire(c, "holder")
		event("acquired", "holder")
		hastys, patients := make(chan int64, 1), make(chan int64, 1)
		go func() { hastys <- acquire(hasty, "hasty") }()
		event("waiting", "hasty")
		go func() { patients <- acquire(c.WithTimeout(patience), "patient") }()
		event("waiting", "patient")
		for accepted := connections(ctx, t, c); connections(ctx, t, c) < accepted+2; { // it has given up twice
		}
		if err := c.Do(ctx, "LOCK.RELEASE", "queue", held, "REQID", t.Name()+"release").Err(); err != nil {
			t.Fatal(err)
		}
		event("released", "holder")
		event("acquired", "hasty") // neither cancelled nor behind the other
		token := <-hastys
		if err := hasty.Do(ctx, "LOCK.RELEASE", "queue", token).Err(); err != nil {
			t.Errorf("token %d: %v", token, err)
		}
		event("released", "hasty")
		event("acquired", "patient")
		if err := c.Do(ctx, "LOCK.RELEASE", "queue", <-patients).Err(); err != nil {
			t.Error(err)
		}
	})
}

// connections is how many connections the daemon has accepted.
func connections(ctx context.Context, t *testing.T, c *redis.Client) (n int) {
	t.Helper()
	info, err := c.Info(ctx, "stats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "total_connections_received:")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}
