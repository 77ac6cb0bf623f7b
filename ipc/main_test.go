package ipc_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/server"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// TestMain runs all tests beside a daemon in this process, which IPCD_SOCKET leads to.
func TestMain(m *testing.M) {
	code, err := withDaemon(m.Run)
	if err == nil {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withDaemon(f func() int) (code int, err error) {
	dir, err := os.MkdirTemp("", "ipc")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d, err := newDaemon(filepath.Join(dir, "s"))
	if err != nil {
		return 0, err
	}
	if err := os.Setenv("IPCD_SOCKET", d.address); err != nil {
		return 0, err
	}
	code = f()
	return code, d.stop()
}

// A daemon is a real one: the server as cmd/ipcd runs it.
type daemon struct {
	address string
	cancel  context.CancelFunc
	over    chan struct{}
	err     error
}

func newDaemon(address string) (*daemon, error) {
	s, err := server.New(server.Setup{Version: "test", Log: slog.New(slog.DiscardHandler), Verify: true}, server.Options{
		Limits: server.Limits{
			Connections: 1000, ConnectionsPerUser: 1000, Input: 1 << 20, Output: 1 << 20, Arguments: 1024,
			BuffersPerUser: 64 << 20, SubscriptionsPerUser: 1000, PatternsPerUser: 100, LocksPerUser: 10000, Retained: 1000, RetainedBytes: 1 << 20, RetainedPerUser: 1000, RetainedBytesPerUser: 1 << 20, RequestsPerUser: 1000, WillsPerUser: 1000, FilesPerUser: 64, FileBytesPerUser: 1 << 30,
			Lease: 24 * time.Hour,
		},
	})
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: address}); err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, 128); err != nil {
		return nil, err
	}
	if err := s.Listen(fd, address); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &daemon{address: address, cancel: cancel, over: make(chan struct{})}
	go func() {
		defer close(d.over)
		d.err = s.Run(ctx)
	}()
	return d, nil
}

func (d *daemon) stop() error {
	d.cancel()
	<-d.over
	return d.err
}
