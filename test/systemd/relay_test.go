package systemd

import (
	"strings"
	"testing"
)

// testRelay: what systemd has for passing on sockets, which is one process for all clients, holds no lock in their stead.
func testRelay(t *testing.T) {
	running(t)
	const socket = "/run/relay.sock"
	run(t, "systemd-run", "--quiet", "--unit=relay", "--socket-property=ListenStream="+socket,
		"/usr/lib/systemd/systemd-socket-proxyd", "/run/ipcd/ipcd.sock")
	t.Cleanup(func() { run(t, "systemctl", "stop", "relay.socket", "relay.service") })
	r := ipcctl(t, "root", "--socket="+socket, "lock", "relayed", "echo", "first")
	if r.status != 77 || r.stdout != "" || !strings.Contains(r.stderr, `("systemd-socket-") connected`) {
		t.Errorf("lock: %+v", r)
	}
	token := ipcctl(t, "root", "--socket="+socket, "acquire", "-t", "-L", "1h", "relayed").stdout
	if r := ipcctl(t, "root", "--socket="+socket, "release", "-t", token, "relayed"); r.status != 0 {
		t.Errorf("a lease: %+v", r)
	}
}
