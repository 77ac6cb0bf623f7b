package systemd_test

import (
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/systemd"
)

// manager listens at NOTIFY_SOCKET as systemd does.
func manager(t testing.TB) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return c
}

func receive(t testing.TB, c *net.UnixConn) string {
	t.Helper()
	var buf [65536]byte
	n, err := c.Read(buf[:])
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestNotify(t *testing.T) {
	m := manager(t)
	if err := systemd.Notify(systemd.Ready, systemd.Status("all\nis well")); err != nil {
		t.Fatal(err)
	}
	if got, want := receive(t, m), "READY=1\nSTATUS=all is well"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNotifyAbstract(t *testing.T) {
	m, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	t.Setenv("NOTIFY_SOCKET", m.LocalAddr().String())
	if err := systemd.Notify(systemd.Stopping); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, m); got != "STOPPING=1" {
		t.Errorf("got %q", got)
	}
}

func TestReloading(t *testing.T) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	usec, ok := strings.CutPrefix(systemd.Reloading(), "RELOADING=1\nMONOTONIC_USEC=")
	if !ok {
		t.Fatalf("got %q", systemd.Reloading())
	}
	at, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || at < now.Nano()/1000 || at > now.Nano()/1000+60e6 {
		t.Errorf("got %q, want about %d", usec, now.Nano()/1000)
	}
}

func TestNotifyWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := systemd.Notify(systemd.Ready); err != nil {
		t.Error(err)
	}
	n, err := systemd.NewNotifier()
	if n != nil || err != nil {
		t.Errorf("got %v, %v", n, err)
	}
	if err := errors.Join(n.Notify(systemd.Ready), n.Alive(), n.Close()); err != nil {
		t.Error(err)
	}
}

func TestNotifyBadSocket(t *testing.T) {
	for _, address := range []string{"vsock:2:1234", "relative", filepath.Join(t.TempDir(), "missing")} {
		t.Setenv("NOTIFY_SOCKET", address)
		if err := systemd.Notify(systemd.Ready); err == nil {
			t.Errorf("%s: no error", address)
		}
	}
}

// TestNotifierNeverWaits fills the socket of a systemd that does not read.
func TestNotifierNeverWaits(t *testing.T) {
	m := manager(t)
	n, err := systemd.NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	sent := 0
	for err == nil {
		if err = n.Alive(); err == nil {
			sent++
		}
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatalf("after %d messages: %v, want EAGAIN", sent, err)
	}
	before := time.Now()
	if err := systemd.Notify(systemd.Ready); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("Notify: %v, want EAGAIN", err)
	}
	if waited := time.Since(before); waited < 900*time.Millisecond {
		t.Errorf("Notify has waited for %v, want a second", waited)
	}
	for range sent {
		if got := receive(t, m); got != systemd.Alive {
			t.Fatalf("got %q", got)
		}
	}
	if err := n.Alive(); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
}

// TestNotifyWaits shows that a message of importance is not lost in a rush of others.
func TestNotifyWaits(t *testing.T) {
	m := manager(t)
	n, err := systemd.NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	for err == nil {
		err = n.Alive()
	}
	sent := make(chan error)
	go func() { sent <- systemd.Notify(systemd.Ready) }()
	for receive(t, m) != systemd.Ready {
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestNotifierLost(t *testing.T) {
	m := manager(t)
	n, err := systemd.NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	_ = m.Close()
	if err := n.Alive(); err == nil {
		t.Error("no error without a systemd")
	}
}

func TestWatchdogInterval(t *testing.T) {
	me := strconv.Itoa(unix.Getpid())
	for _, tt := range []struct {
		usec, pid string
		want      time.Duration
		bad       bool
	}{
		{"", "", 0, false},
		{"", me, 0, false},
		{"3000000", me, 3 * time.Second, false},
		{"3000000", "", 3 * time.Second, false},
		{"3000000", "1", 0, false},
		{"soon", me, 0, true},
		{"-1", me, 0, true},
		{"3000000", "me", 0, true},
	} {
		t.Setenv("WATCHDOG_USEC", tt.usec)
		t.Setenv("WATCHDOG_PID", tt.pid)
		got, ok, err := systemd.WatchdogInterval()
		if got != tt.want || ok != (tt.want > 0) || (err != nil) != tt.bad {
			t.Errorf("WATCHDOG_USEC=%s WATCHDOG_PID=%s: %v, %v, %v", tt.usec, tt.pid, got, ok, err)
		}
	}
}

func BenchmarkAlive(b *testing.B) {
	m := manager(b)
	n, err := systemd.NewNotifier()
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	var buf [64]byte
	b.ReportAllocs()
	for b.Loop() {
		if err := n.Alive(); err != nil {
			b.Fatal(err)
		}
		if _, err := m.Read(buf[:]); err != nil {
			b.Fatal(err)
		}
	}
}
