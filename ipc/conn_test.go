package ipc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

func TestConn(t *testing.T) {
	c, s := newFake(t).dialConn()
	if err := c.Send("PING"); err != nil {
		t.Fatal(err)
	}
	s.expect("PING")
	s.say("+PONG\r\n")
	if v, err := c.Receive(); err != nil || v.Str != "PONG" {
		t.Error(v, err)
	}

	f := start(func() (wire.Value, error) { return c.Do("LOCK.RELEASE", "a") })
	s.expect("LOCK.RELEASE", "a")
	s.say("-NOLOCK a is not held\r\n")
	f.fails(t, ipc.ErrNoLock)
}

// Buffered commands go out in one write, with the next that is sent.
func TestConnPipelines(t *testing.T) {
	c, s := newFake(t).dialConn()
	want := ""
	for n := range 3 {
		c.Buffer("ECHO", fmt.Sprint(n))
		want += string(wire.AppendCommand(nil, "ECHO", fmt.Sprint(n)))
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	c.Buffer("ECHO", "3")
	if err := c.Send("ECHO", "4"); err != nil {
		t.Fatal(err)
	}
	s.say(":0\r\n:1\r\n:2\r\n:3\r\n:4\r\n")
	for n := range 5 {
		if v, err := c.Reply(); err != nil || v.Int != int64(n) {
			t.Error(v, err)
		}
	}
	for n := range 5 {
		s.expect("ECHO", fmt.Sprint(n))
	}
	if err := c.Flush(); err != nil {
		t.Error(err)
	}
}

// Pushes between replies are kept, in order.
func TestConnPushes(t *testing.T) {
	c, s := newFake(t).dialConn()
	s.say(push("#", "a", 1) + "+PONG\r\n" + push("#", "a", 2) + "+PONG\r\n" + push("#", "a", 3))
	for range 2 {
		if v, err := c.Do("PING"); err != nil || v.Str != "PONG" {
			t.Fatal(v, err)
		}
	}
	for n := range 3 {
		if err := c.Wait(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if v, err := c.Receive(); err != nil || v.Kind != wire.KindPush || v.Elems[4].Int != int64(n+1) {
			t.Error(v, err)
		}
	}
}

// A time-out of Wait leaves everything as it was; one in the middle of a value does not.
func TestConnDeadlines(t *testing.T) {
	c, s := newFake(t).dialConn()
	for _, after := range []time.Duration{-time.Hour, 0, time.Millisecond} {
		if err := c.Wait(time.Now().Add(after)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Wait(%v): %v", after, err)
		}
	}
	c.SetDeadline(time.Now().Add(time.Millisecond))
	if _, err := c.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	c.SetDeadline(time.Time{})
	s.say("+a\r\n+b")
	if err := c.Wait(time.Time{}); err != nil {
		t.Error(err)
	}
	if v, err := c.Receive(); err != nil || v.Str != "a" {
		t.Error(v, err)
	}
	c.SetDeadline(time.Now().Add(time.Millisecond))
	for range 2 {
		if _, err := c.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		c.SetDeadline(time.Time{})
	}
	if err := c.Send("PING"); err == nil {
		t.Error("a connection cut in the middle of a value goes on")
	}
}

func TestConnSendBlocks(t *testing.T) {
	c, _ := newFake(t).dialConn()
	c.SetDeadline(time.Now().Add(5 * time.Millisecond))
	large := strings.Repeat("x", 1<<19)
	var err error
	for err == nil {
		err = c.Send("ECHO", large)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}

	c, s := newFake(t).dialConn()
	sent := start(func() (struct{}, error) {
		for range 8 {
			if err := c.Send("ECHO", large); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	for range 8 {
		s.expect("ECHO", large)
	}
	sent.ok(t)
}

// Offer gives the socket what it takes, and never waits. What was answered before the daemon hung up can be received all the same.
func TestConnOffer(t *testing.T) {
	c, s := newFake(t).dialConn()
	large := strings.Repeat("x", 1<<19)
	commands := wire.AppendCommand(wire.AppendCommand(nil, "ECHO", large), "ECHO", large)
	n, err := c.Offer(commands)
	if err != nil || n == 0 || n == len(commands) {
		t.Fatalf("%d of %d bytes: %v", n, len(commands), err)
	}
	if more, err := c.Offer(commands[n:]); more != 0 || err != nil {
		t.Errorf("a full socket took %d bytes: %v", more, err)
	}
	sent := start(func() (struct{}, error) {
		for rest := commands[n:]; len(rest) > 0; {
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(c.Fd()), Events: unix.POLLOUT}}, -1); err != nil && !errors.Is(err, unix.EINTR) {
				return struct{}{}, err
			}
			n, err := c.Offer(rest)
			if err != nil {
				return struct{}{}, err
			}
			rest = rest[n:]
		}
		return struct{}{}, nil
	})
	s.expect("ECHO", large)
	s.expect("ECHO", large)
	sent.ok(t)
	s.say("+a\r\n+b\r\n")
	s.hangUp()
	if _, err := c.Offer(commands); !errors.Is(err, ipc.ErrClosed) {
		t.Error(err)
	}
	var v wire.Value
	for _, want := range []string{"a", "b"} {
		if err := c.ReceiveInto(&v); err != nil || v.Str != want {
			t.Error(v, err)
		}
	}
	if err := c.ReceiveInto(&v); !errors.Is(err, ipc.ErrClosed) {
		t.Error(err)
	}
}

func TestConnSendFDs(t *testing.T) {
	c, s := newFake(t).dialConn()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c.Buffer("PING")
	if err := c.SendFDs([]int{int(w.Fd())}, "LOCK.ACQUIRE", "a", "FOR", "pid"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	s.expect("PING")
	s.expect("LOCK.ACQUIRE", "a", "FOR", "pid")
	if len(s.fds) != 1 {
		t.Fatalf("%d descriptors came", len(s.fds))
	}
	if _, err := syscall.Write(s.fds[0], []byte("hi")); err != nil {
		t.Fatal(err)
	}
	s.hangUp()
	if got, err := io.ReadAll(r); err != nil || string(got) != "hi" {
		t.Errorf("%q, %v", got, err)
	}
}

// Descriptors come beside a reply, also if that is cut in two.
func TestConnDoFDs(t *testing.T) {
	c, s := newFake(t).dialConn()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	type answer struct {
		v   wire.Value
		fds []int
	}
	f := start(func() (a answer, err error) {
		a.v, a.fds, err = c.DoFDs("LOCK.BREAK", "a", "PIDFD")
		return a, err
	})
	s.expect("LOCK.BREAK", "a", "PIDFD")
	rights := unix.UnixRights(int(w.Fd()), int(w.Fd()))
	for _, part := range []string{"*1\r\n:", "1\r\n"} {
		if _, _, err := s.conn.WriteMsgUnix([]byte(part), rights, nil); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	a := f.ok(t)
	if len(a.v.Elems) != 1 || len(a.fds) != 4 {
		t.Fatalf("%+v", a)
	}
	for _, fd := range a.fds {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("flags %d, %v", flags, err)
		}
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
	}
	if b, err := io.ReadAll(r); err != nil || len(b) != 0 {
		t.Errorf("%q, %v", b, err)
	}
}

func TestConnEnds(t *testing.T) {
	f := newFake(t)
	t.Run("hang-up", func(t *testing.T) {
		c, s := f.dialConn()
		s.say("+a\r\n")
		s.hangUp()
		if v, err := c.Receive(); err != nil || v.Str != "a" {
			t.Error(v, err)
		}
		for range 2 {
			if _, err := c.Do("PING"); !errors.Is(err, ipc.ErrClosed) {
				t.Error(err)
			}
			if err := c.Wait(time.Now().Add(patience)); !errors.Is(err, ipc.ErrClosed) {
				t.Error(err)
			}
		}
	})
	t.Run("with a reason", func(t *testing.T) {
		c, s := f.dialConn()
		s.say("-QUOTA too many connections of uid 1000\r\n")
		s.hangUp()
		if _, err := c.Do("PING"); !errors.Is(err, ipc.ErrQuota) {
			t.Error(err)
		}
	})
	t.Run("inside a value", func(t *testing.T) {
		c, s := f.dialConn()
		s.say("$10\r\nabc")
		s.hangUp()
		if _, err := c.Receive(); !errors.Is(err, ipc.ErrClosed) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
	})
	t.Run("not RESP", func(t *testing.T) {
		c, s := f.dialConn()
		s.say("hello\r\n")
		var proto *wire.ProtoError
		for range 2 {
			if _, err := c.Receive(); !errors.As(err, &proto) {
				t.Error(err)
			}
		}
	})
	t.Run("closed", func(t *testing.T) {
		c, s := f.dialConn()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if s.next() != nil {
			t.Error("something came")
		}
		if err := c.Send("PING"); !errors.Is(err, ipc.ErrClosed) {
			t.Error(err)
		}
		if _, err := c.Receive(); !errors.Is(err, ipc.ErrClosed) {
			t.Error(err)
		}
		if err := c.Close(); !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
}

func BenchmarkRoundTrip(b *testing.B) {
	address := echoServer(b)
	b.Run("conn", func(b *testing.B) {
		c, err := ipc.DialConn(context.Background(), address)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Do("PING"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("client", func(b *testing.B) {
		c, err := ipc.Dial(context.Background(), address)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Do(context.Background(), "PING"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("client-parallel", func(b *testing.B) {
		c, err := ipc.Dial(context.Background(), address)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		b.ReportAllocs()
		b.SetParallelism(32)
		payload := []byte(strings.Repeat("x", 64))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := c.Publish(context.Background(), "a/b", payload); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
