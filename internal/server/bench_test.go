package server

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc/wire"
)

// These run the loop in this process, with its clients: what a change of the code costs or saves. How the daemon does
// beside others is measured by test/bench.

// benchServer starts a server and returns its socket's path.
func benchServer(b *testing.B) string {
	b.Helper()
	s, err := New(Setup{Version: "bench", Log: slog.New(slog.DiscardHandler)}, Options{Limits: Limits{
		Connections: 1000, ConnectionsPerUser: 1000, Input: 1 << 20, Output: 8 << 20, Arguments: 1024,
		BuffersPerUser: 256 << 20, SubscriptionsPerUser: 1000, PatternsPerUser: 1000, LocksPerUser: 1000, RequestsPerUser: 1000,
	}, BusyPoll: 50 * time.Microsecond})
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.Listen(fd, 100)
	}
	if err == nil {
		err = s.Listen(fd, path)
	}
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return path
}

// A benchClient is a blocking connection.
type benchClient struct {
	b   *testing.B
	fd  int
	got int // bytes received
	buf [64 << 10]byte
}

func benchDial(b *testing.B, path string) *benchClient {
	b.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		b.Fatal(err)
	}
	return &benchClient{b: b, fd: fd}
}

func (c *benchClient) send(request []byte) {
	if n, err := unix.Write(c.fd, request); err != nil || n < len(request) {
		c.b.Fatalf("sent %d of %d bytes: %v", n, len(request), err)
	}
}

func (c *benchClient) receive() []byte {
	n, err := unix.Read(c.fd, c.buf[:])
	if err != nil || n == 0 || c.buf[0] == '-' {
		c.b.Fatalf("received %q: %v", c.buf[:max(n, 0)], err)
	}
	c.got += n
	return c.buf[:n]
}

// await receives until so many bytes have come in all.
func (c *benchClient) await(total int) {
	for c.got < total {
		c.receive()
	}
}

func (c *benchClient) ask(request string) []byte {
	c.send([]byte(request))
	return c.receive()
}

func BenchmarkPing(b *testing.B) {
	c := benchDial(b, benchServer(b))
	request := []byte("*1\r\n$4\r\nPING\r\n")
	b.ReportAllocs()
	for b.Loop() {
		c.send(request)
		c.receive()
	}
}

// BenchmarkCommand is what commands take that come 64 at a time, without the kernel's part in it; an operation is one command. What it
// tells hardly depends on what else the machine does, and make profile is made of it.
func BenchmarkCommand(b *testing.B) {
	const batch = 64
	for _, bench := range []struct {
		name     string
		commands [][]string
		other    []string // what another connection has said
	}{
		{"ping", [][]string{{"PING"}}, nil},
		{"publish", [][]string{{"PUBLISH", "a/b", "hello"}}, nil},
		{"publish to a channel", [][]string{{"PUBLISH", "a/b", "hello"}}, []string{"SUBSCRIBE", "a/b"}},
		{"bus.pub", [][]string{{"BUS.PUB", "a/b", "hello"}}, nil},
		{"bus.pub to a filter", [][]string{{"BUS.PUB", "a/b", "hello"}}, []string{"BUS.SUB", "a/#"}},
		{"lock", [][]string{{"LOCK.ACQUIRE", "a"}, {"LOCK.RELEASE", "a"}}, nil},
	} {
		b.Run(bench.name, func(b *testing.B) {
			s := newStage(b, func(o *Setup, _ *Options) { o.Verify, o.Journal = false, nil })
			c, other := s.connect(1000), s.connect(1000)
			if bench.other != nil {
				other.cmd("HELLO", "3")
				other.cmd(bench.other...)
			}
			var sent []byte
			for i := range batch {
				sent = wire.AppendCommand(sent, bench.commands[i%len(bench.commands)]...)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%batch > 0 {
					continue
				}
				c.Send(sent...)
				s.settle()
				if got := c.Take(); got == "" || got[0] == '-' {
					b.Fatalf("received %q", got)
				}
				other.Take()
			}
		})
	}
}

// BenchmarkPublish publishes in batches; an operation is one message, whoever gets it.
func BenchmarkPublish(b *testing.B) {
	const batch = 64
	request := bytes.Repeat([]byte("*3\r\n$7\r\nPUBLISH\r\n$5\r\nt/est\r\n$64\r\n"+
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n"), batch)
	for _, n := range []int{0, 1, 64} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) {
			path := benchServer(b)
			publisher := benchDial(b, path)
			subscribers := make([]*benchClient, n)
			for i := range subscribers {
				subscribers[i] = benchDial(b, path)
				subscribers[i].ask("*2\r\n$9\r\nSUBSCRIBE\r\n$5\r\nt/est\r\n")
				subscribers[i].got = 0
			}
			const message = len("*3\r\n$7\r\nmessage\r\n$5\r\nt/est\r\n$64\r\n\r\n") + 64
			reply := len(fmt.Sprintf(":%d\r\n", n))
			b.ReportAllocs()
			sent := 0
			for i := 0; b.Loop(); i++ {
				if i%batch > 0 {
					continue
				}
				publisher.send(request)
				sent += batch
				publisher.await(sent * reply)
				for _, s := range subscribers {
					s.await(sent * message)
				}
			}
		})
	}
}

// BenchmarkShare publishes in batches to the one member of a group.
func BenchmarkShare(b *testing.B) {
	const batch, ahead = 64, 4
	path := benchServer(b)
	publisher, member := benchDial(b, path), benchDial(b, path)
	member.ask("*5\r\n$7\r\nBUS.SUB\r\n$5\r\nt/est\r\n$5\r\nGROUP\r\n$1\r\ng\r\n$3\r\nRAW\r\n")
	one := []byte("*3\r\n$7\r\nPUBLISH\r\n$5\r\nt/est\r\n$2\r\n\x01x\r\n")
	request := bytes.Repeat(one, batch)
	const reply = len(":1\r\n")
	b.ReportAllocs()
	sent, got := 0, 0
	for i := 0; b.Loop(); i++ {
		if i%batch > 0 {
			continue
		}
		publisher.send(request)
		for sent += batch; got < sent-ahead*batch; {
			got += bytes.Count(member.receive(), []byte{1})
		}
		publisher.await((sent - ahead*batch) * reply)
	}
}

// BenchmarkRequest is a request, and its answer.
func BenchmarkRequest(b *testing.B) {
	path := benchServer(b)
	asker, responder := benchDial(b, path), benchDial(b, path)
	responder.ask("*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n")
	responder.ask("*2\r\n$9\r\nBUS.SERVE\r\n$1\r\nt\r\n")
	responder.send([]byte("*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n"))
	request := []byte("*3\r\n$7\r\nBUS.REQ\r\n$1\r\nt\r\n$4\r\nping\r\n")
	var reply []byte
	b.ReportAllocs()
	for b.Loop() {
		asker.send(request)
		_, id, _ := bytes.Cut(responder.receive(), []byte("bus.request\r\n:"))
		id = id[:bytes.IndexByte(id, '\r')]
		reply = fmt.Appendf(reply[:0], "*3\r\n$9\r\nBUS.REPLY\r\n$%d\r\n%s\r\n$4\r\npong\r\n", len(id), id)
		responder.send(reply)
		asker.receive()
	}
}

func BenchmarkLockPair(b *testing.B) {
	c := benchDial(b, benchServer(b))
	take, give := []byte("*2\r\n$12\r\nLOCK.ACQUIRE\r\n$1\r\nx\r\n"), []byte("*2\r\n$12\r\nLOCK.RELEASE\r\n$1\r\nx\r\n")
	b.ReportAllocs()
	for b.Loop() {
		c.send(take)
		c.receive()
		c.send(give)
		c.receive()
	}
}

// BenchmarkProve has the client's part in it: to open a pidfd of its own and send it along.
func BenchmarkProve(b *testing.B) {
	c := benchDial(b, benchServer(b))
	request := []byte("*1\r\n$10\r\nIPCD.PROVE\r\n")
	b.ReportAllocs()
	for b.Loop() {
		fd, err := unix.PidfdOpen(unix.Getpid(), 0)
		if err == nil {
			err = unix.Sendmsg(c.fd, request, unix.UnixRights(fd), nil, 0)
		}
		if err != nil {
			b.Fatal(err)
		}
		_ = unix.Close(fd)
		c.receive()
	}
}
