package conformance

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/ipcd/ipcd/internal/testenv"
)

// patience fails a client that hangs.
const patience = 20 * time.Second

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestGoRedis(t *testing.T) {
	socket := startIpcd(t)
	for _, protocol := range []int{2, 3} {
		t.Run(map[int]string{2: "RESP2", 3: "RESP3"}[protocol], func(t *testing.T) {
			ctx := deadline(t)
			c := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, Protocol: protocol, ClientName: "test"})
			defer func() { _ = c.Close() }()
			if err := c.Ping(ctx).Err(); err != nil {
				t.Fatal(err)
			}
			sub := c.Subscribe(ctx, "deploy/done")
			defer func() { _ = sub.Close() }()
			pattern := c.PSubscribe(ctx, "deploy/*")
			defer func() { _ = pattern.Close() }()
			for _, s := range []*redis.PubSub{sub, pattern} {
				if _, err := s.Receive(ctx); err != nil { // the confirmation
					t.Fatal(err)
				}
			}
			if n, err := c.Publish(ctx, "deploy/done", "v1").Result(); err != nil || n != 2 {
				t.Fatalf("published to %d, %v", n, err)
			}
			for _, s := range []*redis.PubSub{sub, pattern} {
				if m, err := s.ReceiveMessage(ctx); err != nil || m.Channel != "deploy/done" || m.Payload != "v1" {
					t.Errorf("got %v, %v", m, err)
				}
			}
			if n, err := c.PubSubNumSub(ctx, "deploy/done").Result(); err != nil || n["deploy/done"] != 1 {
				t.Errorf("NUMSUB: %v, %v", n, err)
			}
			pipe := c.Pipeline()
			for range 100 {
				pipe.Publish(ctx, "nobody", "x")
			}
			if _, err := pipe.Exec(ctx); err != nil {
				t.Error(err)
			}

			// A lock is bound to the connection that asked, so it has one of its own.
			conn := c.Conn()
			defer func() { _ = conn.Close() }()
			if err := conn.Do(ctx, "LOCK.ACQUIRE", "backup", "WHY", "a test").Err(); err != nil {
				t.Fatal(err)
			}
			err := conn.Do(ctx, "LOCK.ACQUIRE", "backup", "WAIT", 0, "OWNER", "another").Err()
			if err == nil || !strings.HasPrefix(err.Error(), "BUSY ") {
				t.Errorf("a second owner got %v", err)
			}
			if err := conn.Do(ctx, "LOCK.RELEASE", "backup").Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRueidis(t *testing.T) {
	socket := startIpcd(t)
	for name, option := range map[string]rueidis.ClientOption{
		"with client-side caching": {},
		"without":                  {DisableCache: true},
		"RESP2":                    {DisableCache: true, AlwaysRESP2: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			option.InitAddress = []string{socket}
			option.DialCtxFn = dialUnix
			option.ForceSingleClient = true
			c, err := rueidis.NewClient(option)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			subscribed, got := make(chan struct{}), make(chan rueidis.PubSubMessage, 1)
			listening := rueidis.WithOnSubscriptionHook(ctx, func(rueidis.PubSubSubscription) { close(subscribed) })
			over := make(chan error, 1)
			go func() {
				over <- c.Receive(listening, c.B().Subscribe().Channel("deploy/done").Build(), func(m rueidis.PubSubMessage) { got <- m })
			}()
			select {
			case <-subscribed:
			case err := <-over:
				t.Fatal(err)
			}
			if n, err := c.Do(ctx, c.B().Publish().Channel("deploy/done").Message("v1").Build()).AsInt64(); err != nil || n != 1 {
				t.Fatalf("published to %d, %v", n, err)
			}
			select {
			case m := <-got:
				if m.Channel != "deploy/done" || m.Message != "v1" {
					t.Errorf("got %v", m)
				}
			case <-ctx.Done():
				t.Fatal("no message came")
			}
			own, release := c.Dedicate()
			defer release()
			if err := own.Do(ctx, own.B().Arbitrary("LOCK.ACQUIRE", name).Build()).Error(); err != nil {
				t.Error(err)
			}
			var refused *rueidis.RedisError
			if err := own.Do(ctx, own.B().Arbitrary("LOCK.ACQUIRE", name).Build()).Error(); !errors.As(err, &refused) ||
				!strings.HasPrefix(refused.Error(), "DEADLOCK ") {
				t.Errorf("again: %v", err)
			}
			if err := own.Do(ctx, own.B().Arbitrary("LOCK.RELEASE", name).Build()).Error(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRedisCLI(t *testing.T) {
	testenv.Need(t, "redis-cli")
	socket := startIpcd(t)
	for _, c := range []struct{ args, want string }{
		{"PING", "PONG"},
		{"-3 PUBLISH a/b hi", "0"},
		{"-3 LOCK.ACQUIRE backup WAIT 0", "name backup"},
		{"CLIENT LIST", "lib-name="},
		{"PUBLISH a/# hi", "BADNAME"},
		{"-3 COMMAND DOCS lock.acquire", "Take a lock, in turn"},
		{"INFO server", "server_name:ipcd"},
	} {
		out, err := exec.CommandContext(deadline(t), "redis-cli", append([]string{"-s", socket}, strings.Fields(c.args)...)...).CombinedOutput()
		if err != nil || !strings.Contains(strings.Join(strings.Fields(string(out)), " "), c.want) {
			t.Errorf("redis-cli %s: %v\n%s", c.args, err, out)
		}
	}
}

func TestRedisBenchmark(t *testing.T) {
	testenv.Need(t, "redis-benchmark")
	socket := startIpcd(t)
	for _, args := range []string{"-t ping -n 5000 -c 50", "-n 5000 -c 50 -P 16 PUBLISH a/b hi", "-n 2000 -c 20 LOCK.INFO x"} {
		words := append([]string{"-s", socket, "-q"}, strings.Fields(args)...)
		out, err := exec.CommandContext(deadline(t), "redis-benchmark", words...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "requests per second") {
			t.Errorf("redis-benchmark %s: %v\n%s", args, err, out)
		}
	}
}
