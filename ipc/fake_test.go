package ipc_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
	"golang.org/x/sys/unix"
)

// patience bounds what never takes long unless it fails.
const patience = 20 * time.Second

// A fake stands where the daemon would; the test says what it answers.
type fake struct {
	t        *testing.T
	address  string
	listener *net.UnixListener
}

func newFake(t *testing.T) *fake {
	t.Helper()
	address := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &fake{t: t, address: address, listener: l}
}

// A session is the daemon's end of one connection.
type session struct {
	t      *testing.T
	conn   *net.UnixConn
	parser wire.RequestParser
	buf    []byte
	fds    []int // came beside the bytes
}

func (f *fake) accept() *session {
	f.t.Helper()
	conn, err := f.listener.AcceptUnix()
	if err != nil {
		f.t.Fatal(err)
	}
	s := &session{t: f.t, conn: conn, parser: wire.RequestParser{Limits: wire.DefaultLimits}}
	f.t.Cleanup(func() { s.hangUp() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		f.t.Fatal(err)
	}
	return s
}

// client returns a client, greeted, and the daemon's end of its connection.
func (f *fake) client() (*ipc.Client, *session) {
	f.t.Helper()
	return f.clientProven("+OK\r\n")
}

// clientProven is client with what the daemon says of the client's proof of who it is.
func (f *fake) clientProven(answer string) (*ipc.Client, *session) {
	f.t.Helper()
	dialled := start(func() (*ipc.Client, error) { return ipc.Dial(context.Background(), f.address) })
	s := f.accept()
	s.greet(answer)
	c := dialled.ok(f.t)
	f.t.Cleanup(func() { c.Close() })
	return c, s
}

// greet takes what a client sends first: a greeting, and a pidfd of its own.
func (s *session) greet(answer string, more ...string) {
	s.t.Helper()
	s.expect(append([]string{"HELLO", "3"}, more...)...)
	s.say("%1\r\n+server\r\n+ipcd\r\n")
	s.expect("IPCD.PROVE")
	if len(s.fds) != 1 {
		s.t.Fatalf("%d descriptors came with the proof", len(s.fds))
	}
	s.say(answer)
}

func (f *fake) dialConn() (*ipc.Conn, *session) {
	f.t.Helper()
	c, err := ipc.DialConn(context.Background(), f.address)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c, f.accept()
}

// next is the next command that came, nil if the client hung up.
func (s *session) next() []string {
	s.t.Helper()
	for {
		words, n, err := s.parser.Next(s.buf, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		if n > 0 {
			command := toStrings(words)
			s.buf = s.buf[n:]
			return command
		}
		data, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4*8))
		n, oobn, _, _, err := s.conn.ReadMsgUnix(data, oob)
		if err != nil || n == 0 {
			if netErr := net.Error(nil); errors.As(err, &netErr) && netErr.Timeout() {
				s.t.Fatal(err)
			}
			return nil
		}
		s.buf = append(s.buf, data[:n]...)
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			s.t.Fatal(err)
		}
		for _, m := range messages {
			fds, err := unix.ParseUnixRights(&m)
			if err != nil {
				s.t.Fatal(err)
			}
			s.fds = append(s.fds, fds...)
		}
	}
}

func (s *session) expect(words ...string) {
	s.t.Helper()
	if got := s.next(); !slices.Equal(got, words) {
		s.t.Fatalf("the client sent %q, want %q", got, words)
	}
}

func (s *session) say(bytes string) {
	s.t.Helper()
	if _, err := s.conn.Write([]byte(bytes)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *session) hangUp() {
	s.conn.Close()
	for _, fd := range s.fds {
		unix.Close(fd)
	}
	s.fds = nil
}

// A future is a call that goes on while the test does something else.
type future[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func start[T any](call func() (T, error)) *future[T] {
	f := &future[T]{done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.value, f.err = call()
	}()
	return f
}

func (f *future[T]) wait(t *testing.T) (T, error) {
	t.Helper()
	wait(t, f.done)
	return f.value, f.err
}

func (f *future[T]) ok(t *testing.T) T {
	t.Helper()
	v, err := f.wait(t)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// fails waits for the call to fail with an error that is target.
func (f *future[T]) fails(t *testing.T, target error) {
	t.Helper()
	if v, err := f.wait(t); !errors.Is(err, target) {
		t.Fatalf("%v, %v, want error %v", v, err, target)
	}
}

func wait(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("nothing happened")
	}
}

// echoServer answers whatever it is sent, for benchmarks.
func echoServer(b *testing.B) (address string) {
	address = filepath.Join(b.TempDir(), "s")
	l, err := net.Listen("unix", address)
	if err != nil {
		b.Fatal(err)
	}
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() { echo(conn) })
		}
	})
	b.Cleanup(func() {
		l.Close()
		sessions.Wait()
	})
	return address
}

func echo(conn net.Conn) {
	defer conn.Close()
	p := wire.RequestParser{Limits: wire.DefaultLimits}
	var words [][]byte
	var buf, out []byte
	chunk := make([]byte, 64<<10)
	for {
		n, err := conn.Read(chunk)
		if err != nil {
			return
		}
		for buf = append(buf, chunk[:n]...); ; {
			words, n, err = p.Next(buf, words)
			if n == 0 || err != nil {
				break
			}
			buf = buf[n:]
			out = append(out, "%3\r\n$3\r\nseq\r\n:12345\r\n$9\r\ndelivered\r\n:3\r\n$7\r\ndropped\r\n:0\r\n"...)
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
		out = out[:0]
	}
}

func toStrings(words [][]byte) []string {
	s := make([]string, len(words))
	for i, w := range words {
		s[i] = string(w)
	}
	return s
}
