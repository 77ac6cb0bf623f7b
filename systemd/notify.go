package systemd

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// States for [Notify].
const (
	Ready    = daemon.SdNotifyReady    // start-up or reload is finished
	Stopping = daemon.SdNotifyStopping // shutting down
	Alive    = daemon.SdNotifyWatchdog // for the watchdog, see WatchdogInterval
)

// Status returns the state that shows text, one line, in systemctl status.
func Status(text string) string {
	return "STATUS=" + strings.ReplaceAll(text, "\n", " ")
}

// Reloading returns the state that announces a reload, which [Ready] ends. It bears the time of the call, as
// Type=notify-reload demands.
func Reloading() string {
	return daemon.SdNotifyReloading + "\n" + strings.TrimSuffix(daemon.SdNotifyMonotonicUsec(), "\n")
}

// Notify sends states to systemd, in one message. It waits at most a second for a busy systemd. Without a
// NOTIFY_SOCKET in the environment it does nothing.
func Notify(state ...string) error {
	n, err := NewNotifier()
	if n == nil {
		return err
	}
	defer func() { _ = n.Close() }()
	if err := n.setTimeout(time.Second); err != nil {
		return err
	}
	for {
		if err := n.Notify(state...); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Notifier sends states to systemd without ever waiting. It keeps one socket. A nil Notifier does nothing.
type Notifier struct{ fd int }

// NewNotifier connects to the socket named by NOTIFY_SOCKET in the environment. Without one, the Notifier is nil.
func NewNotifier() (*Notifier, error) {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return nil, nil
	}
	if address[0] != '/' && address[0] != '@' {
		return nil, fmt.Errorf("cannot notify systemd: NOTIFY_SOCKET=%q is no Unix socket", address)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot notify systemd: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: address}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("cannot notify systemd at %s: %w", address, err)
	}
	return &Notifier{fd: fd}, nil
}

// Notify sends states in one message. If systemd has no room for it, the error is EAGAIN and the message is lost.
func (n *Notifier) Notify(state ...string) error {
	if n == nil {
		return nil
	}
	return n.send([]byte(strings.Join(state, "\n")))
}

var alive = []byte(Alive)

// Alive sends [Alive], without allocating.
func (n *Notifier) Alive() error {
	if n == nil {
		return nil
	}
	return n.send(alive)
}

func (n *Notifier) send(message []byte) error {
	if _, err := unix.Write(n.fd, message); err != nil {
		return fmt.Errorf("cannot notify systemd: %w", err)
	}
	return nil
}

// setTimeout makes n wait for room in systemd's socket.
func (n *Notifier) setTimeout(d time.Duration) error {
	timeout := unix.NsecToTimeval(d.Nanoseconds())
	err := unix.SetsockoptTimeval(n.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout)
	if err == nil {
		err = unix.SetNonblock(n.fd, false)
	}
	if err != nil {
		return fmt.Errorf("cannot notify systemd: %w", err)
	}
	return nil
}

// Close closes the socket.
func (n *Notifier) Close() error {
	if n == nil {
		return nil
	}
	return unix.Close(n.fd)
}

// WatchdogInterval returns the time after which systemd takes this process for stuck (WatchdogSec=), unless it gets
// [Alive] before: send it twice as often. ok is false if systemd does not watch this process.
func WatchdogInterval() (interval time.Duration, ok bool, err error) {
	interval, err = daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0, false, fmt.Errorf("cannot set up the watchdog: %w", err)
	}
	return interval, interval > 0, nil
}
