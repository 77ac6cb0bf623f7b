package conformance

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/test/testdaemon"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// startRedis runs a redis-server on a private socket until the test ends, and returns the socket's path.
func startRedis(t *testing.T) string {
	t.Helper()
	testenv.Need(t, "redis-server")
	dir, err := os.MkdirTemp("", "ipcd-test-") // t.TempDir may be too long for the address of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	// Redis tells that it is ready as a service does.
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = notify.Close() }()
	socket := filepath.Join(dir, "redis.sock")
	cmd := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "",
		"--supervised", "systemd", "--daemonize", "no", "--maxclients", "1000")
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify.LocalAddr().String())
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	_ = notify.SetReadDeadline(time.Now().Add(patience))
	for b := make([]byte, 4096); ; {
		n, err := notify.Read(b)
		if err != nil {
			t.Fatalf("redis-server is not ready: %v", err)
		}
		if bytes.Contains(b[:n], []byte("READY=1")) {
			return socket
		}
	}
}

// startIpcd is startRedis for ipcd.
func startIpcd(t *testing.T) string {
	t.Helper()
	return testdaemon.Start(t, testdaemon.Config{}).Socket
}

// dialUnix is how rueidis reaches a Unix socket.
func dialUnix(ctx context.Context, socket string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	return d.DialContext(ctx, "unix", socket)
}
