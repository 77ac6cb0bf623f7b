package ipc_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

func do(c *ipc.Client, words ...string) *future[wire.Value] {
	return start(func() (wire.Value, error) { return c.Do(context.Background(), words...) })
}

func TestDialGreets(t *testing.T) {
	f := newFake(t)
	dialled := start(func() (*ipc.Client, error) { return ipc.Dial(context.Background(), f.address, ipc.Name("me")) })
	s := f.accept()
	s.greet("+OK\r\n", "SETNAME", "me")
	c := dialled.ok(t)
	if c.Err() != nil {
		t.Error(c.Err())
	}
	c.Close()
	if got := s.next(); got != nil {
		t.Errorf("Close sent %q", got)
	}
}

func TestDialRefused(t *testing.T) {
	f := newFake(t)
	for _, c := range []struct {
		answer string
		want   error
	}{
		{"-QUOTA too many connections\r\n", ipc.ErrQuota},
		{"", ipc.ErrClosed},
	} {
		dialled := start(func() (*ipc.Client, error) { return ipc.Dial(context.Background(), f.address) })
		s := f.accept()
		s.say(c.answer)
		s.hangUp()
		dialled.fails(t, c.want)
	}

	ctx, cancel := context.WithCancel(context.Background())
	dialled := start(func() (*ipc.Client, error) { return ipc.Dial(ctx, f.address) })
	s := f.accept()
	s.expect("HELLO", "3")
	s.expect("IPCD.PROVE")
	cancel()
	dialled.fails(t, context.Canceled)
	if s.next() != nil {
		t.Error("the connection was not closed")
	}

	var dial *ipc.DialError
	if _, err := ipc.Dial(context.Background(), f.address+"none"); !errors.As(err, &dial) {
		t.Error(err)
	}
}

// Replies go to the goroutines in the order of their commands, however those are mixed.
func TestClientPipelines(t *testing.T) {
	c, s := newFake(t).client()
	var callers sync.WaitGroup
	const goroutines, rounds = 16, 50
	for g := range goroutines {
		callers.Go(func() {
			for n := range rounds {
				word := strconv.Itoa(g*rounds + n)
				if v, err := c.Do(context.Background(), "ECHO", word); err != nil || v.Str != word {
					t.Errorf("%s: %+v, %v", word, v, err)
					c.Close()
					return
				}
			}
		})
	}
	for range goroutines * rounds {
		words := s.next()
		if words == nil {
			break
		}
		s.say(string(wire.AppendBulk(nil, words[1])))
	}
	callers.Wait()
}

func TestDoErrors(t *testing.T) {
	c, s := newFake(t).client()
	reply := do(c, "LOCK.RELEASE", "a")
	s.expect("LOCK.RELEASE", "a")
	s.say("-NOLOCK a is not held\r\n")
	reply.fails(t, ipc.ErrNoLock)

	ended, cancel := context.WithCancel(context.Background()) // so that what is not refused does not wait
	cancel()
	for _, words := range [][]string{
		{"SUBSCRIBE", "a"}, {"subscribe", "a"}, {"HELLO", "2"}, {"RESET"}, {"QUIT"}, {"Client", "Reply", "OFF"},
		{"BUS.SUB", "#"}, {"LOCK.ACQUIRE", "a"}, {"Multi"}, {"LOCK.BREAK", "a", "WHY", "so", "pidfd"}, {},
	} {
		if v, err := c.Do(ended, words...); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("Do(%q): %+v, %v, want another error", words, v, err)
		}
	}
	for _, words := range [][]string{
		{"ECHO", strings.Repeat("x", wire.DefaultLimits.Frame)},
		make([]string, wire.DefaultLimits.Words+1),
	} {
		if _, err := c.Do(context.Background(), words...); !errors.Is(err, ipc.ErrQuota) {
			t.Errorf("a command over the limit: %v", err)
		}
	}

	// Commands that change what the daemon answers to those behind them, or that it answers with pushes.
	for _, row := range wire.Commands {
		if row.Flags&(wire.FlagUnqueued|wire.FlagPushes) == 0 || row.Name == "WATCH" {
			continue
		}
		if v, err := c.Do(ended, row.Name); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("Do(%q): %+v, %v, want to be told what to use", row.Name, v, err)
		}
	}

	// None of these reached the daemon or left anything behind.
	reply = do(c, "LOCK.BREAK", "a", "WHY", "pidfd")
	s.expect("LOCK.BREAK", "a", "WHY", "pidfd")
	s.say("*0\r\n")
	reply.ok(t)
	reply = do(c, "CLIENT", "ID")
	s.expect("CLIENT", "ID")
	s.say(":7\r\n")
	if v := reply.ok(t); v.Int != 7 {
		t.Error(v)
	}
}

// TestReplyOfOtherKind: what is no grant, no receipt and no number of subscriptions is no success.
func TestReplyOfOtherKind(t *testing.T) {
	ctx := context.Background()
	c, s := newFake(t).client()
	for _, call := range []func() (any, error){
		func() (any, error) { return c.TryLock(ctx, "a") },
		func() (any, error) { return c.Publish(ctx, "a", nil) },
		func() (any, error) { return c.Subscribe(ctx, "a") },
	} {
		f := start(call)
		s.next()
		s.say("+QUEUED\r\n")
		if v, err := f.wait(t); err == nil || !strings.Contains(err.Error(), "QUEUED") {
			t.Errorf("%+v, %v", v, err)
		}
	}
	again := start(func() (*ipc.Subscription, error) { return c.Subscribe(ctx, "a") })
	s.expect("BUS.SUB", "a") // not one that shares what is not there
	s.say(":1\r\n")
	again.ok(t)
}

// The reply of a call that was given up is dropped when it comes, and is not taken for another's.
func TestDoCancelled(t *testing.T) {
	c, s := newFake(t).client()
	ctx, cancel := context.WithCancel(context.Background())
	first := start(func() (wire.Value, error) { return c.Do(ctx, "ECHO", "1") })
	s.expect("ECHO", "1")
	cancel()
	first.fails(t, context.Canceled)
	if _, err := c.Do(ctx, "ECHO", "2"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	last := do(c, "ECHO", "3")
	s.expect("ECHO", "3")
	s.say("+1\r\n+3\r\n")
	if v := last.ok(t); v.Str != "3" {
		t.Error(v)
	}
}

// Commands that nobody waits for any more still count, so that a stuck daemon cannot make a program pile them up.
func TestCallsAreBounded(t *testing.T) {
	const bound = 1024
	c, s := newFake(t).client()
	ctx, cancel := context.WithCancel(context.Background())
	var calls []*future[wire.Value]
	for range bound {
		calls = append(calls, start(func() (wire.Value, error) { return c.Do(ctx, "PING") }))
	}
	for range bound {
		s.expect("PING")
	}
	cancel()
	for _, call := range calls {
		call.fails(t, context.Canceled)
	}
	ctx, cancel = context.WithCancel(context.Background())
	late := start(func() (wire.Value, error) { return c.Do(ctx, "ECHO", "late") })
	cancel()
	late.fails(t, context.Canceled)

	last := do(c, "ECHO", "last")
	s.say("+PONG\r\n")
	s.expect("ECHO", "last")
	s.say(strings.Repeat("+PONG\r\n", bound-1) + "+last\r\n")
	if v := last.ok(t); v.Str != "last" {
		t.Error(v)
	}
}

func TestConnectionLost(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer string
		is     error
		text   string
	}{
		{"a hang-up", "", ipc.ErrClosed, "connection to ipcd ended"},
		{"a hang-up with a reason", "-SHUTDOWN the daemon stops\r\n-SHUTDOWN the daemon stops\r\n", ipc.ErrShutdown, "SHUTDOWN the daemon stops"},
		{"half a reply", "+PO", ipc.ErrClosed, "connection to ipcd ended: unexpected EOF"},
		{"what is not RESP", "HTTP/1.1 400 Bad Request\r\n", ipc.ErrClosed, "protocol error: unknown type of value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, s := newFake(t).client()
			first, second := do(client, "PING"), do(client, "PING")
			s.expect("PING")
			s.expect("PING")
			// Not taken as the answer of a command, the reason comes after those.
			if c.answer != "" && c.answer[0] == '-' {
				s.say("+PONG\r\n+PONG\r\n")
				first.ok(t)
				second.ok(t)
				second = do(client, "PING")
				s.expect("PING")
			}
			s.say(c.answer)
			s.hangUp()
			_, err := second.wait(t)
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("a waiting call: %v, want %q", err, c.text)
			}
			wait(t, client.Done())
			if err := client.Err(); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("Err: %v, want %q", err, c.text)
			}
			for range 3 {
				if _, err := client.Do(context.Background(), "PING"); err == nil || err.Error() != client.Err().Error() {
					t.Errorf("a later call: %v, want %v", err, client.Err())
				}
			}
			if _, err := client.Subscribe(context.Background(), "#"); err == nil {
				t.Error("a later Subscribe succeeded")
			}
			client.Close()
		})
	}
}

func TestReplyToNothing(t *testing.T) {
	c, s := newFake(t).client()
	s.say("+PONG\r\n")
	wait(t, c.Done())
	var proto *wire.ProtoError
	if !errors.As(c.Err(), &proto) {
		t.Error(c.Err())
	}
}

// Pushes of kinds that come later than this client are no error; malformed ones are.
func TestUnknownPush(t *testing.T) {
	c, s := newFake(t).client()
	s.say(">2\r\n+bus.new\r\n:1\r\n>3\r\n+done\r\n:7\r\n+OK\r\n")
	reply := do(c, "PING")
	s.expect("PING")
	s.say("+PONG\r\n")
	reply.ok(t)
	for _, push := range []string{">0\r\n", ">1\r\n+done\r\n", ">2\r\n+bus.message\r\n:1\r\n", ">1\r\n+bus.lost\r\n"} {
		c, s := newFake(t).client()
		s.say(push)
		wait(t, c.Done())
		var proto *wire.ProtoError
		if !errors.As(c.Err(), &proto) {
			t.Errorf("%q: %v", push, c.Err())
		}
	}
}

func TestCloseWhileWaiting(t *testing.T) {
	c, s := newFake(t).client()
	reply := do(c, "PING")
	s.expect("PING")
	c.Close()
	reply.fails(t, ipc.ErrClosed)
	wait(t, c.Done())
	c.Close()
}

// A daemon that does not read holds up only those who wait for its replies; their commands arrive whole and in order
// once it reads again.
func TestFullSocket(t *testing.T) {
	c, s := newFake(t).client()
	const size, count = 256 << 10, 16
	ctx, cancel := context.WithCancel(context.Background())
	var calls []*future[wire.Value]
	for i := range count {
		word := strings.Repeat(string(rune('a'+i)), size)
		calls = append(calls, start(func() (wire.Value, error) { return c.Do(ctx, "ECHO", word) }))
	}
	s.next() // the socket has no room for the others
	cancel()
	for _, call := range calls {
		call.fails(t, context.Canceled)
	}
	last := do(c, "PING")
	for {
		words := s.next()
		if words[0] == "PING" {
			break
		}
		if words[1] != strings.Repeat(words[1][:1], size) {
			t.Fatalf("a command came mangled")
		}
		s.say("+OK\r\n")
	}
	s.say("+OK\r\n+PONG\r\n")
	if v := last.ok(t); v.Str != "PONG" {
		t.Error(v)
	}
}

func TestCloseWhileSocketIsFull(t *testing.T) {
	c, s := newFake(t).client()
	var calls []*future[wire.Value]
	for range 16 {
		calls = append(calls, do(c, "ECHO", strings.Repeat("x", 256<<10)))
	}
	s.next()
	c.Close()
	for _, call := range calls {
		call.fails(t, ipc.ErrClosed)
	}
}

// A daemon that takes no more commands is as good as gone, even if it does not hang up.
func TestDaemonStopsReading(t *testing.T) {
	c, s := newFake(t).client()
	if err := s.conn.CloseRead(); err != nil {
		t.Fatal(err)
	}
	reply := do(c, "PING")
	reply.fails(t, ipc.ErrClosed)
	wait(t, c.Done())
	if !errors.Is(c.Err(), syscall.EPIPE) {
		t.Error(c.Err())
	}
}
