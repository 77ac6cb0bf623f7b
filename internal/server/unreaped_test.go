package server

import (
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/lockmgr"
)

// unprivileged has the server see what it is shown of others' processes when it has no privilege: as good as nothing, before
// they are reaped.
func unprivileged(s *Setup, _ *Options) {
	s.ZombieStatus = func(int, uint64) (peer.End, bool) { return peer.End{}, false }
}

// TestReapedLate: while the parent has not collected a status, the next holder is told that it is not known. Whoever comes
// after it is known gets the truth, also if it was told already and given back.
func TestReapedLate(t *testing.T) {
	testenv.Kernel(t, 6, 15, needsStatus)
	for _, c := range []struct {
		name   string
		signal syscall.Signal // 0: it exits
		untold bool           // the one who is told of it while it is not known cannot deal with it
		how    string
		mark   bool // whether the one after that is told
	}{
		{"killed, and dealt with", syscall.SIGTERM, false, "killed 15", false},
		{"killed, and given on", syscall.SIGTERM, true, "killed 15", true},
		{"exited, and given on", 0, true, "exited 3", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := start(t, unprivileged)
			watcher := h.dial3()
			watcher.do("BUS.SUB", "ipcd/lock/learned/#")
			p := h.client(3)
			p.acquire("a", "FOR", "self")
			next := h.dial()
			words := []string{"a"}
			if c.untold {
				words = append(words, "UNTOLD")
			}
			h.queue(next, words...)
			p.endBy(c.signal)
			g := next.granted()
			who := "pid " + strconv.Itoa(p.pid) + " "
			if g.previous != "unreaped" || !strings.HasPrefix(g.abandoned, who) || !strings.HasSuffix(g.abandoned, " unreaped") {
				t.Errorf("before it is known: %+v", g)
			}
			_ = p.cmd.Wait()
			if topic, event := watcher.event(); topic != "ipcd/lock/learned/a" || event["how"] != c.how || int(event["pid"].(float64)) != p.pid {
				t.Errorf("got %s %v", topic, event)
			}
			next.do("LOCK.RELEASE", "a")
			g = next.acquire("a")
			if g.previous != "released" || c.mark != strings.HasSuffix(g.abandoned, " "+c.how) || !c.mark && g.abandoned != "" {
				t.Errorf("afterwards: %+v", g)
			}
		})
	}
}

// endBy ends the process with a signal, or else has it exit, and does not reap it.
func (c *child) endBy(sig syscall.Signal) {
	c.t.Helper()
	if sig != 0 {
		c.kill(sig)
	} else {
		c.end()
	}
}

// TestReapedBeforeTheNext: nobody was granted the lock before it was known. A process is watched for as long as there is
// something to learn of it that somebody may be told.
func TestReapedBeforeTheNext(t *testing.T) {
	testenv.Kernel(t, 6, 15, needsStatus)
	h := start(t, unprivileged)
	watcher, c := h.dial3(), h.dial()
	watcher.do("BUS.SUB", "ipcd/lock/#")
	await := func(topic, how string) {
		t.Helper()
		for {
			if at, event := watcher.event(); at == "ipcd/lock/"+topic+"/a" {
				if event["how"] != how {
					t.Fatalf("got %v, want %q", event, how)
				}
				return
			}
		}
	}
	watches := func(pid int, want bool) {
		t.Helper()
		h.on(func() {
			if got := h.locks.Watches(pid); got != want {
				t.Errorf("watched: %v", got)
			}
		})
	}
	for _, end := range []struct {
		signal    syscall.Signal
		want      string
		abandoned bool
	}{{0, "exited 0", false}, {syscall.SIGTERM, "killed 15", true}} {
		p := h.client(0)
		p.acquire("a", "FOR", "self")
		p.endBy(end.signal)
		await("abandoned", "unreaped")
		watches(p.pid, true)
		_ = p.cmd.Wait()
		await("learned", end.want)
		if end.abandoned {
			await("abandoned", end.want)
		}
		watches(p.pid, false)
		if g := c.acquire("a"); g.previous != end.want || (g.abandoned != "") != end.abandoned {
			t.Errorf("got %+v, want %s", g, end.want)
		}
		c.do("LOCK.RELEASE", "a")
	}

	p := h.client(0)
	p.acquire("a", "FOR", "self")
	p.end()
	await("abandoned", "unreaped")
	c.acquire("a")
	watches(p.pid, true) // for those who ask how the hold before ended
	c.do("LOCK.RELEASE", "a")
	watches(p.pid, false)
}

// TestStopWhileBuried: a daemon that stops while the kernel is given time to tell how a holder ended leaves the mark.
func TestStopWhileBuried(t *testing.T) {
	testenv.Kernel(t, 6, 15, needsStatus)
	for name, bound := range map[string][]string{"to the process": {"FOR", "self"}, "to the connection": nil} {
		t.Run(name, func(t *testing.T) {
			h := start(t, unprivileged, func(s *Setup, _ *Options) { s.EndingTime = patience })
			p := h.client(0)
			p.acquire(append([]string{"a"}, bound...)...)
			waiter := h.dial()
			h.queue(waiter, "a", "FOR", "self")
			p.kill(syscall.SIGTERM)
			h.until("being buried", func() bool { return h.figures().Endings > 0 })
			h = restart(h, unprivileged)
			if g := h.dial().acquire("a"); !strings.HasSuffix(g.abandoned, " unreaped") && !strings.HasSuffix(g.abandoned, " disconnected") {
				t.Errorf("got %+v", g)
			}
		})
	}
}

// TestForgottenMark: what was abandoned, and is forgotten as there are too many locks to remember, does not come back with a
// restart.
func TestForgottenMark(t *testing.T) {
	h := start(t)
	p := h.client(0)
	p.acquire("a", "FOR", "self")
	c := h.dial()
	h.queue(c, "a", "UNTOLD")
	p.kill(syscall.SIGKILL)
	if g := c.granted(); !strings.HasSuffix(g.abandoned, " killed 9") {
		t.Fatalf("got %+v", g)
	}
	c.do("LOCK.RELEASE", "a") // the mark stays
	c.doEach(2*lockmgr.MaxRemembered, func(i int) []string {
		return []string{[]string{"LOCK.ACQUIRE", "LOCK.RELEASE"}[i%2], "other/" + strconv.Itoa(i/2)}
	})
	h = restart(h)
	if g := h.dial().acquire("a"); g.previous != "" || g.abandoned != "" {
		t.Errorf("got %+v", g)
	}
}

// TestReapedAfterRestart: the daemon that comes after the end, and before the reaping, learns of it as well. If it is reaped while
// there is no daemon, nobody will ever know, and the next holder is told that.
func TestReapedAfterRestart(t *testing.T) {
	testenv.Kernel(t, 6, 15, needsStatus)
	for _, away := range []bool{false, true} {
		h := start(t, unprivileged)
		watcher := h.dial3()
		watcher.do("BUS.SUB", "ipcd/lock/abandoned/#")
		p := h.client(0)
		p.acquire("a", "FOR", "self")
		p.endBy(syscall.SIGTERM)
		watcher.event()
		kept := h.setup.Journal.(*memory)
		h.stop()
		if away {
			_ = p.cmd.Wait()
		}
		h = start(t, unprivileged, func(s *Setup, _ *Options) { s.Journal, s.Records = kept, must(kept.Read()) })
		c := h.dial3()
		want := " unreaped"
		if !away {
			want = " killed 15"
			c.do("BUS.SUB", "ipcd/lock/learned/#")
			_ = p.cmd.Wait()
			c.event()
		}
		if g := h.dial().acquire("a"); !strings.HasSuffix(g.abandoned, want) {
			t.Errorf("reaped while there was no daemon: %v: got %+v", away, g)
		}
		h.on(func() {
			if h.figures().Processes != 1 {
				t.Errorf("%d processes are watched", h.figures().Processes)
			}
		})
	}
}
