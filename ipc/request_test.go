package ipc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// serving has a client serve a filter, and gives what ends that: it waits until it has, and returns the error.
func serving(t *testing.T, filter string, handler ipc.Handler, options ...ipc.ServeOption) (stop func() error) {
	t.Helper()
	c := dialDaemon(t, "")
	ctx, cancel := context.WithCancel(context.Background())
	over := start(func() (struct{}, error) { return struct{}{}, c.Serve(ctx, filter, handler, options...) })
	t.Cleanup(cancel)
	return func() error {
		cancel()
		_, err := over.wait(t)
		return err
	}
}

// TestDaemonRequest: a request is answered by who serves its topic, who is told who asks and until when.
func TestDaemonRequest(t *testing.T) {
	ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(time.Hour))
	defer cancel()
	c := dialDaemon(t, "")
	if _, err := c.Request(ctx, "request/sum", nil); !errors.Is(err, ipc.ErrNoResponders) {
		t.Errorf("nobody answers: %v", err)
	}
	large := bytes.Repeat([]byte("0123456789"), 100_000)
	stop := serving(t, "request/+", func(_ context.Context, r *ipc.Request) ([]byte, error) {
		switch r.Topic {
		case "request/large":
			if err := r.Send(large); err != nil {
				return nil, err
			}
			return large, nil
		case "request/endless":
			for {
				if err := r.Send(large); err != nil {
					return nil, err
				}
			}
		case "request/bad":
			return nil, errors.New("it is bad:\nvery")
		}
		deadline, _ := ctx.Deadline()
		if r.PID == 0 || r.Time.IsZero() || r.Deadline.Sub(deadline).Abs() > time.Minute || r.ID == 0 {
			t.Errorf("the request is %+v", r)
		}
		return append([]byte("<"), r.Payload...), nil
	})
	if b, err := c.Request(ctx, "request/sum", []byte("\x00\r\n"), ipc.WaitForResponder()); err != nil || string(b) != "<\x00\r\n" {
		t.Errorf("the answer is %q, %v", b, err)
	}
	if b, err := c.Request(ctx, "request/large", nil); err != nil || !bytes.Equal(b, append(large, large...)) {
		t.Errorf("the answer has %d bytes, %v", len(b), err)
	}
	if _, err := c.Request(ctx, "request/endless", nil); !errors.Is(err, ipc.ErrRemote) || !strings.Contains(err.Error(), fmt.Sprint(wire.MaxAnswer)) {
		t.Errorf("the answer is without end: %v", err)
	}
	if _, err := c.Request(ctx, "request/bad", nil); !errors.Is(err, ipc.ErrRemote) || !strings.Contains(err.Error(), "it is bad: very") {
		t.Errorf("the error is %v", err)
	}
	if _, err := c.Request(ctx, "request/#", nil); !errors.Is(err, ipc.ErrBadName) {
		t.Errorf("a filter is asked for: %v", err)
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("the service ended with %v", err)
	}
	if _, err := c.Request(ctx, "request/sum", nil); !errors.Is(err, ipc.ErrNoResponders) {
		t.Errorf("nobody answers any more: %v", err)
	}
	if _, err := c.Do(ctx, "BUS.SERVE", "x"); err == nil {
		t.Error("Do serves")
	}
}

// TestDaemonRequestEnds: the handler's context ends when who asked wants no answer any more, and who asked is told when the responder
// has gone. Of several requests, only so many are answered at a time.
func TestDaemonRequestEnds(t *testing.T) {
	c := dialDaemon(t, "")
	begun, ended := make(chan string, 10), make(chan string, 10)
	stop := serving(t, "ends/#", func(ctx context.Context, r *ipc.Request) ([]byte, error) {
		begun <- string(r.Payload)
		<-ctx.Done()
		ended <- string(r.Payload)
		return nil, ctx.Err()
	}, ipc.Jobs(2), ipc.Group("g"))
	cancels := map[string]context.CancelFunc{}
	outcomes := map[string]*future[[]byte]{}
	ask := func(name string) {
		ctx, cancel := context.WithCancel(context.Background())
		cancels[name] = cancel
		outcomes[name] = start(func() ([]byte, error) {
			return c.Request(ctx, "ends/a", []byte(name), ipc.WaitForResponder(), ipc.Repeatable())
		})
	}
	ask("one")
	<-begun
	ask("two")
	<-begun
	ask("three")
	cancels["one"]()
	if name := <-ended; name != "one" {
		t.Errorf("%s is given up", name)
	}
	if _, err := outcomes["one"].wait(t); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	if name := <-begun; name != "three" {
		t.Errorf("then %s is answered", name)
	}
	late, cancel := context.WithDeadline(context.Background(), time.Now().Add(time.Millisecond))
	defer cancel()
	if _, err := c.Request(late, "ends/b", nil); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ipc.ErrTimeout) {
		t.Errorf("after the deadline: %v", err)
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("the service ended with %v", err)
	}
	for _, name := range []string{"two", "three"} {
		if _, err := outcomes[name].wait(t); !errors.Is(err, ipc.ErrRemote) {
			t.Errorf("%s ends with %v", name, err)
		}
		cancels[name]()
	}
}

// TestDaemonRequestMany: all are asked, or as many as are wanted; a service with a count ends by itself.
func TestDaemonRequestMany(t *testing.T) {
	ctx := context.Background()
	c := dialDaemon(t, "")
	if _, err := c.RequestMany(ctx, "many", nil, 0); !errors.Is(err, ipc.ErrNoResponders) {
		t.Errorf("nobody answers: %v", err)
	}
	var stops []func() error
	for i := range 3 {
		stops = append(stops, serving(t, "many", func(_ context.Context, r *ipc.Request) ([]byte, error) {
			if string(r.Payload) == "fail" && i == 1 {
				return nil, errors.New("no")
			}
			return fmt.Append(nil, i), nil
		}))
		for n := 0; n <= i; { // until it is there
			all, err := c.RequestMany(ctx, "many", nil, 0, ipc.WaitForResponder())
			if err != nil {
				t.Fatal(err)
			}
			n = len(all)
		}
	}
	all, err := c.RequestMany(ctx, "many", []byte("fail"), 0)
	failed, answers := 0, map[string]bool{}
	for _, a := range all {
		if a.Err != nil {
			failed++
		} else {
			answers[string(a.Payload)] = true
		}
	}
	if err != nil || failed != 1 || !answers["0"] || !answers["2"] || len(all) != 3 {
		t.Errorf("the answers are %+v, %v", all, err)
	}
	if two, err := c.RequestMany(ctx, "many", nil, 2); err != nil || len(two) != 2 {
		t.Errorf("the answers are %+v, %v", two, err)
	}
	for _, stop := range stops {
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("the service ended with %v", err)
		}
	}
	once := start(func() (struct{}, error) {
		return struct{}{}, dialDaemon(t, "").Serve(ctx, "once", func(context.Context, *ipc.Request) ([]byte, error) { return nil, nil }, ipc.Count(1))
	})
	if _, err := c.Request(ctx, "once", nil, ipc.WaitForResponder()); err != nil {
		t.Error(err)
	}
	if _, err := once.wait(t); err != nil {
		t.Errorf("a service with a count ends with %v", err)
	}
}

// TestRequestGivenUpWhileItWaits: a request that is given up before a handler has it is forgotten at once, however long the handlers take.
func TestRequestGivenUpWhileItWaits(t *testing.T) {
	const many, size = 256, 256 << 10
	ctx := context.Background()
	f := newFake(t)
	c, s := f.client()
	begun, goOn := make(chan string, 2), make(chan struct{})
	served := start(func() (struct{}, error) {
		return struct{}{}, c.Serve(ctx, "t", func(_ context.Context, r *ipc.Request) ([]byte, error) {
			begun <- string(r.Payload)
			<-goOn
			return nil, nil
		}, ipc.Jobs(1), ipc.Count(many+2))
	})
	s.expect("BUS.SERVE", "t", "COUNT", fmt.Sprint(many+2))
	request := func(id int, payload string) string {
		return fmt.Sprintf(">10\r\n$11\r\nbus.request\r\n:%d\r\n$1\r\nt\r\n$1\r\nt\r\n$%d\r\n%s\r\n:1\r\n:2\r\n:3\r\n$0\r\n\r\n:0\r\n", id, len(payload), payload)
	}
	s.say(":1\r\n" + request(1, "first"))
	if got := <-begun; got != "first" {
		t.Fatalf("%q is answered", got)
	}
	heap := func() int {
		ping := start(func() (wire.Value, error) { return c.Do(ctx, "PING") })
		s.expect("PING")
		s.say("+PONG\r\n")
		ping.ok(t) // what was said before was read
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := heap()
	for id := 2; id < 2+many; id++ {
		s.say(request(id, strings.Repeat("x", size)) + fmt.Sprintf(">2\r\n$10\r\nbus.cancel\r\n:%d\r\n", id))
	}
	if grown := heap() - before; grown > many*size/4 {
		t.Errorf("%d bytes are kept of %d requests that nobody waits for", grown, many)
	}
	s.say(request(2+many, "last"))
	close(goOn)
	s.expect("BUS.REPLY", "1", "")
	s.say("+OK\r\n")
	s.expect("BUS.REPLY", fmt.Sprint(2+many), "")
	s.say("+OK\r\n")
	served.ok(t)
	if got := <-begun; got != "last" {
		t.Errorf("%q is answered", got)
	}
}
