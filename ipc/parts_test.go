package ipc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/test/testdaemon"
)

// TestDaemonRequestHeaders: both sides are told what the other says beside the payload, and who asks learns who has answered.
func TestDaemonRequestHeaders(t *testing.T) {
	ctx := context.Background()
	c := dialDaemon(t, "")
	serving(t, "headers", func(_ context.Context, r *ipc.Request) ([]byte, error) {
		r.SetHeader("content-type", "text/plain")
		if len(r.Headers) == 0 {
			return nil, errors.New("there are none")
		}
		if err := r.Send([]byte(r.Headers["a"])); err != nil {
			return nil, err
		}
		r.SetHeader("last", "é")
		return []byte(r.Headers["b"]), nil
	})
	ask := func(options ...ipc.RequestOption) ([]ipc.Answer, error) {
		return c.RequestMany(ctx, "headers", nil, 1, append(options, ipc.WaitForResponder())...)
	}
	all, err := ask(ipc.RequestHeader("a", "1"), ipc.RequestHeader("b", "2"))
	if err != nil || len(all) != 1 || string(all[0].Payload) != "12" || all[0].PID == 0 || all[0].Err != nil ||
		len(all[0].Headers) != 2 || all[0].Headers["content-type"] != "text/plain" || all[0].Headers["last"] != "é" {
		t.Errorf("the answers are %+v, %v", all, err)
	}
	if _, err := ask(); !errors.Is(err, ipc.ErrRemote) || !strings.Contains(err.Error(), "there are none") {
		t.Errorf("the error is %v", err)
	}
	if _, err := ask(ipc.RequestHeader("A", "1")); err == nil {
		t.Error("a header may have any name")
	}
}

// TestDaemonRequestID: a request that is made again by another client is answered as the first.
func TestDaemonRequestID(t *testing.T) {
	n := 0
	serving(t, "once", func(context.Context, *ipc.Request) ([]byte, error) {
		n++
		return fmt.Append(nil, n), nil
	}, ipc.Jobs(1))
	for range 3 {
		b, err := dialDaemon(t, "").Request(context.Background(), "once", nil, ipc.RequestID(t.Name()), ipc.WaitForResponder())
		if err != nil || string(b) != "1" {
			t.Errorf("the answer is %q, %v", b, err)
		}
	}
}

// TestDaemonRequestParts: parts come when they are sent, of several answers together, and however long they are; who leaves the loop wants
// no more.
func TestDaemonRequestParts(t *testing.T) {
	ctx := context.Background()
	c := dialDaemon(t, "")
	goOn, left := make(chan struct{}), make(chan struct{})
	serving(t, "parts/+", func(_ context.Context, r *ipc.Request) ([]byte, error) {
		switch r.Topic {
		case "parts/talk":
			r.SetHeader("n", "1")
			if err := r.Send([]byte("one")); err != nil {
				return nil, err
			}
			<-goOn
			return []byte("two"), nil
		case "parts/long":
			part := bytes.Repeat([]byte("x"), 1<<20)
			for range 3 * wire.MaxAnswer / len(part) {
				if err := r.Send(part); err != nil {
					return nil, err
				}
			}
			return nil, nil
		case "parts/endless":
			defer close(left)
			for {
				if err := r.Send([]byte("and so on ")); err != nil {
					return nil, err
				}
			}
		}
		return nil, errors.New("no")
	})
	var got []string
	for p, err := range c.RequestParts(ctx, "parts/talk", nil, 1, ipc.WaitForResponder()) {
		got = append(got, fmt.Sprintf("%s %d %v %s %v", p.Payload, p.N, p.More, p.Headers["n"], err))
		if p.More {
			close(goOn) // which proves that the first came before the second was sent
		}
	}
	if fmt.Sprint(got) != "[one 1 true 1 <nil> two 1 false  <nil>]" {
		t.Errorf("got %q", got)
	}
	n := 0
	for p, err := range c.RequestParts(ctx, "parts/long", nil, 0) {
		if err != nil {
			t.Fatal(err)
		}
		n += len(p.Payload)
	}
	if n != 3*wire.MaxAnswer {
		t.Errorf("got %d bytes", n)
	}
	for p, err := range c.RequestParts(ctx, "parts/endless", nil, 1) {
		if !p.More || err != nil {
			t.Errorf("got %+v, %v", p, err)
		}
		break
	}
	wait(t, left)
	got = nil
	for p, err := range c.RequestParts(ctx, "parts/no", nil, 1) {
		got = append(got, fmt.Sprint(p.N, errors.Is(p.Err, ipc.ErrRemote), errors.Is(err, ipc.ErrRemote)))
	}
	if fmt.Sprint(got) != "[1 true false 0 false true]" {
		t.Errorf("got %q", got)
	}
	for _, err := range c.RequestParts(ctx, "nobody", nil, 1) {
		if !errors.Is(err, ipc.ErrNoResponders) {
			t.Errorf("got %v", err)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range c.RequestParts(ended, "parts/no", nil, 1) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
}

// TestDaemonRequestPartsNotTaken: a program that does not take what comes has no more kept for it than there may be, and is told.
func TestDaemonRequestPartsNotTaken(t *testing.T) {
	c := dialDaemon(t, "")
	over := make(chan struct{})
	serving(t, "flood", func(_ context.Context, r *ipc.Request) ([]byte, error) {
		defer close(over)
		part := bytes.Repeat([]byte("x"), 1<<18)
		for {
			if err := r.Send(part); err != nil {
				return nil, err
			}
		}
	})
	n := 0
	var last error
	for p, err := range c.RequestParts(context.Background(), "flood", nil, 1, ipc.WaitForResponder()) {
		if n == 0 {
			wait(t, over) // nothing is taken before the responder has been told that it is in vain
		}
		n += len(p.Payload)
		last = err
	}
	if !errors.Is(last, ipc.ErrQuota) || n > wire.MaxAnswer {
		t.Errorf("%d bytes were kept, and the end is %v", n, last)
	}
}

// TestRequestPartsNotTakenCount: parts that are not taken count with all that they have, and none counts as nothing.
func TestRequestPartsNotTakenCount(t *testing.T) {
	ctx := context.Background()
	var long, short strings.Builder
	for i := range wire.MaxHeaders {
		value := strings.Repeat("x", wire.MaxHeaderBytes/wire.MaxHeaders-3)
		fmt.Fprintf(&long, "$3\r\nh%02d\r\n$%d\r\n%s\r\n", i, len(value), value)
		fmt.Fprintf(&short, "$3\r\nh%02d\r\n$0\r\n\r\n", i)
	}
	part := func(n int, headers, unit string) string {
		return fmt.Sprintf(">5\r\n$8\r\nbus.part\r\n:9\r\n:1\r\n%%5\r\n$7\r\npayload\r\n$0\r\n\r\n$7\r\nheaders\r\n%%%d\r\n%s"+
			"$3\r\npid\r\n:1\r\n$3\r\nuid\r\n:1\r\n$4\r\nunit\r\n$%d\r\n%s\r\n:1\r\n", n, headers, len(unit), unit)
	}
	for name, c := range map[string]struct {
		part string
		most int // of these are kept
	}{
		"empty":         {part(0, "", ""), wire.MaxAnswer / 200},
		"long headers":  {part(wire.MaxHeaders, long.String(), ""), wire.MaxAnswer / wire.MaxHeaderBytes},
		"short headers": {part(wire.MaxHeaders, short.String(), ""), wire.MaxAnswer / (32 * wire.MaxHeaders)},
		"long unit":     {part(0, "", strings.Repeat("x", 250)), wire.MaxAnswer / 400},
	} {
		t.Run(name, func(t *testing.T) {
			client, s := newFake(t).client()
			said, n := make(chan struct{}), 0
			asked := start(func() (last error, _ error) {
				for _, err := range client.RequestParts(ctx, "t", nil, 1) {
					if last = err; err != nil {
						break
					}
					if n++; n == 1 {
						<-said
					}
				}
				return last, nil
			})
			s.expect("BUS.REQ", "t", "", "REPLIES", "1", "ENVELOPE", "PARTS", "ASYNC")
			s.say(":9\r\n")
			for range 16 {
				s.say(strings.Repeat(c.part, c.most/8)) // twice as many as are kept
			}
			ping := start(func() (wire.Value, error) { return client.Do(ctx, "PING") })
			s.expect("BUS.CANCEL", "9")
			s.expect("PING")
			s.say(":1\r\n+PONG\r\n")
			ping.ok(t)
			close(said)
			if err := asked.ok(t); !errors.Is(err, ipc.ErrQuota) || n > c.most {
				t.Errorf("%d parts were kept, and the end is %v, want %d at most", n, err, c.most)
			}
		})
	}
}

// TestRequestSendWaits: Send waits for the asker when it is told to, and sends again what was not taken.
func TestRequestSendWaits(t *testing.T) {
	f := newFake(t)
	c, s := f.client()
	sent := make(chan string, 3)
	served := start(func() (struct{}, error) {
		return struct{}{}, c.Serve(context.Background(), "t", func(_ context.Context, r *ipc.Request) ([]byte, error) {
			for _, part := range []string{"one", "two"} {
				if err := r.Send([]byte(part)); err != nil {
					return nil, err
				}
				sent <- part
			}
			return nil, nil
		}, ipc.Count(1))
	})
	s.expect("BUS.SERVE", "t", "COUNT", "1")
	s.say(":1\r\n>10\r\n$11\r\nbus.request\r\n:7\r\n$1\r\nt\r\n$1\r\nt\r\n$0\r\n\r\n:1\r\n:2\r\n:3\r\n$0\r\n\r\n:0\r\n")
	s.expect("BUS.REPLY", "7", "one", "MORE")
	s.say("+WAIT\r\n")
	if len(sent) != 0 {
		t.Error("it did not wait")
	}
	s.say(">2\r\n$9\r\nbus.ready\r\n:7\r\n")
	s.expect("BUS.REPLY", "7", "two", "MORE")
	if part := <-sent; part != "one" {
		t.Errorf("%s was sent", part)
	}
	s.say("-BUSY read first\r\n>2\r\n$9\r\nbus.ready\r\n:7\r\n")
	s.expect("BUS.REPLY", "7", "two", "MORE")
	s.say("+OK\r\n")
	s.expect("BUS.REPLY", "7", "")
	s.say("+OK\r\n")
	served.ok(t)
}

// TestLinkServes: a service goes on with the next connection, and counts the requests of all.
func TestLinkServes(t *testing.T) {
	ctx := context.Background()
	d := testdaemon.Start(t, testdaemon.Config{})
	k := dialLink(t, d.Socket)
	begun, ended := make(chan struct{}), make(chan struct{})
	served := start(func() (struct{}, error) {
		return struct{}{}, k.Serve(ctx, "t", func(ctx context.Context, r *ipc.Request) ([]byte, error) {
			if string(r.Payload) == "hang" {
				close(begun)
				<-ctx.Done()
				close(ended)
			}
			return r.Payload, nil
		}, ipc.Count(3))
	})
	ask := func(payload string) (string, error) {
		b, err := dialDaemon(t, d.Socket).Request(ctx, "t", []byte(payload), ipc.WaitForResponder())
		return string(b), err
	}
	if got, err := ask("one"); got != "one" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	lost := start(func() (string, error) { return ask("hang") })
	wait(t, begun)
	crash(t, d, k)
	lost.fails(t, ipc.ErrClosed)
	wait(t, ended)
	if got, err := ask("three"); got != "three" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	served.ok(t)
	ended2 := start(func() (struct{}, error) { return struct{}{}, k.Serve(ctx, "t", nil) })
	k.Close()
	ended2.fails(t, ipc.ErrClosed)
}
