package server

import (
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc/wire"
)

const goodbye = ">2\r\n$12\r\nipcd.goodbye\r\n$22\r\nthe daemon is stopping\r\n"

// TestStop: those who wait are told, who speaks RESP3 is told goodbye, and what was sent before is answered.
func TestStop(t *testing.T) {
	h := start(t)
	idle2, idle3, holder := h.dial(), h.dial3(), h.dial3()
	idle2.sync()
	holder.acquire("a", "SHARED")
	sync, async := h.dial(), h.dial3()
	h.queue(sync, "a", "OWNER", "1")
	sync.send("PING\r\nLOCK.ACQUIRE a OWNER 3\r\nLOCK.ACQUIRE free OWNER 3\r\n")
	async.do("LOCK.ACQUIRE", "a", "ASYNC", "SHARED", "OWNER", "2") // fits the holder, behind one that does not
	late := h.dial()
	late.sync()
	h.Post(func() {
		// In the socket, and not read, when the stop begins.
		late.send("ECHO late\r\nLOCK.ACQUIRE a OWNER 4\r\n")
		h.Server.stop()
	})
	const shutdown = "-SHUTDOWN the daemon is stopping\r\n"
	idle2.eof()
	idle3.want(goodbye)
	idle3.eof()
	holder.want(goodbye)
	holder.eof()
	sync.want(shutdown + "+PONG\r\n" + shutdown)
	sync.granted()
	sync.eof()
	if v := async.value(); v.Kind != wire.KindPush || v.Elems[0].Str != "done" || !strings.HasPrefix(v.Elems[2].Str, "SHUTDOWN ") {
		t.Errorf("got %+v", v)
	}
	async.want(goodbye)
	async.eof()
	late.want("$4\r\nlate\r\n" + shutdown)
	late.eof()
	h.wait()
	if c, err := net.Dial("unix", h.address); err == nil {
		_ = c.Close()
		t.Error("the server still listens")
	}
	if h.Post(func() { t.Error("posted to a loop that has ended, and run") }) {
		t.Error("Post says that it will be run")
	}
	if err := h.SetOptions(Options{}); err == nil {
		t.Error("the options of a server that has ended were changed")
	}
	h.MarkRaised(1, nil) // comes to nothing
}

// TestStopWhileReloading: the one who waits for the reload has no lock to be told of.
func TestStopWhileReloading(t *testing.T) {
	called := make(chan func(error), 1)
	h := start(t, func(s *Setup, _ *Options) { s.Reload = func(done func(error)) { called <- done } })
	c := h.dial()
	c.send("IPCD.RELOAD\r\nPING\r\n")
	done := <-called
	h.stop()
	c.eof()
	done(nil)
}

// stuff has the server write more to a client than its socket takes.
func (h *harness) stuff(c *client) {
	h.t.Helper()
	for full := false; !full; {
		c.send(strings.Repeat("PING "+strings.Repeat("x", 1000)+"\r\n", 10))
		h.on(func() {
			for s := range h.set.All() {
				full = full || s.Blocked()
			}
		})
	}
}

// TestStopIsBounded: one that does not read what it is sent holds up the stop for two seconds, not for ever.
func TestStopIsBounded(t *testing.T) {
	h := start(t)
	stuck := h.dial()
	h.stuff(stuck)
	before := time.Now()
	h.stop()
	if took := time.Since(before); took < longestStop || took > longestStop+patience/2 {
		t.Errorf("the stop took %v, want %v", took, longestStop)
	}
	if !strings.Contains(h.log.String(), "some connections did not take what they were sent") {
		t.Error("it is not logged")
	}
}

// TestStopDelivers: one that reads, if slowly, gets all that is its.
func TestStopDelivers(t *testing.T) {
	h := start(t)
	slow := h.dial3()
	h.stuff(slow)
	h.cancel()
	h.until("it stops", func() bool { return h.set.Stopping })
	got := slow.rest()
	reply := "$1000\r\n" + strings.Repeat("x", 1000) + "\r\n"
	replies, rest := strings.Count(got, reply), strings.TrimPrefix(got, strings.Repeat(reply, strings.Count(got, reply)))
	if replies == 0 || rest != goodbye {
		t.Errorf("%d replies, then %.200q", replies, rest)
	}
	h.wait()
}

// TestStopWithSharedListener: the service manager keeps the socket, so peers can still connect while the daemon stops.
// They wait for the next one, and the loop does not turn for them.
func TestStopWithSharedListener(t *testing.T) {
	h := start(t)
	var kept int
	h.on(func() {
		for fd := range h.listeners {
			kept, _ = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		}
	})
	defer func() { _ = unix.Close(kept) }()
	stuck := h.dial()
	h.stuff(stuck)
	h.cancel()
	h.until("it stops", func() bool { return h.set.Stopping })
	h.dial()
	h.until("there is nothing that makes the loop turn", func() bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(h.set.Loop.FD()), Events: unix.POLLIN}}, 0)
		return n == 0 && err == nil
	})
	stuck.close()
	h.wait()
}

// TestRunError: a loop that cannot go on says so and leaves nothing behind.
func TestRunError(t *testing.T) {
	h := start(t)
	c := h.dial()
	c.sync()
	h.Post(func() {
		h.set.Loop.Close()
	})
	<-h.ended
	if h.err == nil || !strings.Contains(h.err.Error(), "cannot wait for events") {
		t.Errorf("the loop ended with %v", h.err)
	}
	h.err = nil
	c.eof()
}
