package server

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc/wire"
)

// In these tests all clients are one process, so each has an OWNER of its own where they compete.

func TestLockReply(t *testing.T) {
	h := start(t)
	two, three := h.dial(), h.dial3()
	a := two.acquire("a")
	two.send("LOCK.RELEASE a\r\n")
	two.want("+OK\r\n")
	three.cmd("lock.acquire", "a", "shared", "wait", "0", "owner", "me", "why", "because", "for", "self")
	v := three.value()
	if v.Kind != wire.KindMap || v.Get("name").Str != "a" || v.Get("mode").Str != "shared" || v.Get("previous").Str != "released" ||
		v.Get("abandoned").Str != "" || v.Get("token").Text() <= a.token || len(v.Elems) != 10 {
		t.Errorf("got %+v after %+v", v, a)
	}
	info := three.do("LOCK.INFO", "a")
	if holders := info.Get("holders").Elems; info.Get("used").Int != 1 || info.Get("mode").Str != "shared" || len(holders) != 1 ||
		holders[0].Get("token").Text() != v.Get("token").Text() || holders[0].Get("bound").Str != "process" ||
		holders[0].Get("why").Str != "because" || holders[0].Get("owner").Str != "me" || holders[0].Get("pid").Int != int64(os.Getpid()) ||
		holders[0].Get("start").Int != int64(h.self.Start) || info.Get("previous").Get("token").Text() != a.token {
		t.Errorf("got %+v", info)
	}
	if list := three.do("LOCK.LIST").Elems; len(list) != 1 || list[0].Get("name").Str != "a" {
		t.Errorf("got %+v", list)
	}
	three.do("LOCK.RELEASE", "a", v.Get("token").Text())
	if list := three.do("LOCK.LIST").Elems; len(list) != 0 {
		t.Errorf("got %+v", list)
	}
	if info := two.do("LOCK.INFO", "nobody"); info.Get("mode").Str != "" || !info.Get("previous").IsNull() {
		t.Errorf("got %+v", info)
	}
}

func TestLockRefused(t *testing.T) {
	h := start(t)
	c, c3 := h.dial(), h.dial3()
	c3.acquire("held")
	for command, want := range map[string]string{
		"LOCK.ACQUIRE \"a\\x1b\"":                        "BADNAME",
		"LOCK.ACQUIRE \"\"":                              "BADNAME",
		"LOCK.ACQUIRE " + strings.Repeat("n", 201):       "BADNAME",
		"LOCK.ACQUIRE " + strings.Repeat("+", 67):        "BADNAME",
		"LOCK.ACQUIRE ipcd/x":                            "DENIED",
		"LOCK.ACQUIRE a ASYNC":                           "ERR ASYNC needs RESP3",
		"LOCK.ACQUIRE a WAIT":                            "ERR \"WAIT\" is not an option, or wants a value",
		"LOCK.ACQUIRE a WAIT -1":                         "ERR WAIT wants milliseconds, not \"-1\"",
		"LOCK.ACQUIRE a WAIT 99999999999999":             "ERR WAIT wants",
		"LOCK.ACQUIRE a WAIT 1e3":                        "ERR WAIT wants",
		"LOCK.ACQUIRE a FOR me":                          "ERR FOR wants self, the caller's number, pid, nobody or the path of a cgroup, not \"me\"",
		"LOCK.ACQUIRE a FOR pid":                         "DENIED FOR pid wants the pidfd of a process sent along",
		"LOCK.ACQUIRE a NICE x":                          "ERR unknown option \"NICE\"",
		"LOCK.ACQUIRE a WHY \"x\\x01\"":                  "ERR WHY wants",
		"LOCK.ACQUIRE a OWNER \"\\xff\"":                 "ERR OWNER wants",
		"LOCK.ACQUIRE a WHY " + strings.Repeat("w", 257): "ERR WHY wants",
		"LOCK.RELEASE a":                                 "NOLOCK",
		"LOCK.RELEASE a 1":                               "NOLOCK",
		"LOCK.RELEASE held 1":                            "STALE token 1 is not that of a present hold; \"held\" is held by pid ",
		"LOCK.RELEASE held x":                            "ERR a token is a positive number",
		"LOCK.RELEASE held -1":                           "ERR a token is a positive number",
		"LOCK.CANCEL 0":                                  "ERR a ticket is a positive number",
		"LOCK.INFO \"\\x1b\"":                            "BADNAME",
		"LOCK.ACQUIRE held":                              fmt.Sprintf("DEADLOCK pid %d holds \"held\" already, with token ", os.Getpid()),
		"LOCK.ACQUIRE held WAIT 0":                       "BUSY \"held\" is held by pid ",
		"LOCK.ACQUIRE held WAIT 1 OWNER other":           "TIMEOUT timed out after 1ms; \"held\" is held by pid ",
	} {
		c.send(command + "\r\n")
		if v := c.value(); v.Kind != wire.KindError || !strings.HasPrefix(v.Str, want) {
			t.Errorf("%s: got %c %q, want %q", command, v.Kind, v.Str, want)
		}
	}
	c.sync()
	h.claims(1)
}

// TestLongDeadlock: an error is a line that clients read as a whole, however many wait for each other.
func TestLongDeadlock(t *testing.T) {
	h := start(t)
	const n = 70
	name := func(i int) string { return fmt.Sprintf("%03d/%s", i, strings.Repeat("n", wire.MaxLockName-4)) }
	owner := func(i int) string { return fmt.Sprint("o", i) }
	victim, peer := h.dial(), h.dial3()
	victim.acquire("a", "OWNER", "victim")
	for i := 1; i <= n; i++ {
		peer.acquire(name(i), "OWNER", owner(i))
	}
	peer.do("LOCK.ACQUIRE", "a", "OWNER", owner(1), "ASYNC")
	for i := 2; i <= n; i++ {
		peer.do("LOCK.ACQUIRE", name(i-1), "OWNER", owner(i), "ASYNC")
	}
	victim.cmd("LOCK.ACQUIRE", name(n), "OWNER", "victim")
	v := victim.value()
	for _, want := range []string{`would wait for "` + name(n), `waits for "` + name(n-3), "; 63 more wait likewise; ", `waits for "a", which pid`} {
		if !strings.HasPrefix(v.Str, "DEADLOCK ") || !strings.Contains(v.Str, want) || len(v.Str) > wire.MaxErrorText {
			t.Errorf("got %d bytes, %q, want %q", len(v.Str), v.Str, want)
		}
	}
	victim.do("LOCK.CHECK", "a", victim.do("LOCK.INFO", "a").Get("holders").Elems[0].Get("token").Text())
}

// TestLockQueue: first come, first served, and the commands behind one that waits wait.
func TestLockQueue(t *testing.T) {
	h := start(t)
	holder, other := h.dial(), h.dial()
	holder.acquire("a")
	var queue []*client
	for i := range 4 {
		c := h.dial()
		h.queue(c, "a", "OWNER", fmt.Sprint(i))
		c.send("PING\r\nLOCK.INFO a\r\n")
		queue = append(queue, c)
	}
	if waiters := other.do("LOCK.INFO", "a").Get("waiters").Elems; len(waiters) != 4 || waiters[2].Get("owner").Str != "2" {
		t.Errorf("got %+v", waiters)
	}
	other.refused(wire.CodeBusy, "is held by", "LOCK.ACQUIRE", "a", "WAIT", "0", "OWNER", "x")
	holder.do("LOCK.RELEASE", "a")
	last := ""
	for i, c := range queue {
		g := c.granted()
		if g.token <= last || g.previous != "released" || g.abandoned != "" {
			t.Errorf("got %+v after %s", g, last)
		}
		last = g.token
		c.want("+PONG\r\n")
		if waiters := c.value().Get("waiters").Elems; len(waiters) != 3-i {
			t.Errorf("%d wait behind %d", len(waiters), i)
		}
		c.do("LOCK.RELEASE", "a", g.token)
	}
	h.claims(0)
}

// TestLockCounts follows what a user is charged on every path that a claim can take.
func TestLockCounts(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.LocksPerUser = 3 })
	c, d := h.dial3(), h.dial3()
	a := c.acquire("a")
	h.claims(1)
	c.acquire("b", "FOR", "self")
	h.claims(2)
	h.queue(d, "a", "OWNER", "d")
	h.claims(3)
	const full = "holds or waits for 3 locks already (limits.locks_per_user)"
	c.refused(wire.CodeQuota, full, "LOCK.ACQUIRE", "c")
	c.refused(wire.CodeQuota, full, "LOCK.ACQUIRE", "a", "WAIT", "0", "OWNER", "x")
	d.close() // its wait ends
	h.quiesce(c)
	h.claims(2)
	c.refused(wire.CodeTimeout, "", "LOCK.ACQUIRE", "a", "WAIT", "1", "OWNER", "x")
	h.claims(2)
	ticket := c.do("LOCK.ACQUIRE", "a", "ASYNC", "OWNER", "x").Text()
	h.claims(3)
	c.cmd("LOCK.CANCEL", ticket)
	if v := c.value(); v.Kind != wire.KindPush || v.Elems[2].Str[:9] != "CANCELLED" {
		t.Errorf("got %+v", v)
	}
	c.want(":1\r\n")
	h.claims(2)
	c.refused(wire.CodeBusy, "", "LOCK.ACQUIRE", "a", "WAIT", "0", "OWNER", "x")
	c.refused(wire.CodeDeadlock, "", "LOCK.ACQUIRE", "a")
	h.claims(2)
	c.do("LOCK.RELEASE", "a", a.token)
	h.claims(1)
	c.close() // b is the process's
	h.quiesce()
	h.claims(1)
	d = h.dial3()
	d.do("LOCK.RELEASE", "b")
	h.claims(0)
	d.acquire("c")
	d.close() // c was the connection's
	h.until("the hold has ended", func() bool { return h.figures().Held == 0 })
	h.claims(0)
	h.on(func() {
		if h.figures().Connections+h.figures().Processes+h.figures().Requests+h.figures().Endings+h.set.Users.Len() != 0 {
			t.Errorf("left: %d connections, %d processes, %d waits, %d endings, %d users",
				h.figures().Connections, h.figures().Processes, h.figures().Requests, h.figures().Endings, h.set.Users.Len())
		}
	})
}

func TestLockAsync(t *testing.T) {
	h := start(t)
	c, other := h.dial3(), h.dial3()
	// Granted at once: the ticket, then the outcome.
	c.cmd("LOCK.ACQUIRE", "a", "ASYNC")
	ticket := c.value().Int
	v := c.value()
	if v.Kind != wire.KindPush || v.Elems[0].Str != "done" || v.Elems[1].Int != ticket || v.Elems[2].Get("name").Str != "a" {
		t.Errorf("got %+v for %d", v, ticket)
	}
	// Later: in between, the connection is served.
	first := c.do("LOCK.ACQUIRE", "a", "ASYNC", "OWNER", "1").Int
	second := c.do("LOCK.ACQUIRE", "a", "ASYNC", "OWNER", "2", "WAIT", "1").Int
	if v := c.value(); v.Elems[1].Int != second || !strings.HasPrefix(v.Elems[2].Str, "TIMEOUT timed out after 1ms;") {
		t.Errorf("got %+v", v)
	}
	c.sync()
	for _, x := range []*client{c, other} { // what is decided, or another's, cannot be cancelled
		x.cmd("LOCK.CANCEL", fmt.Sprint(second))
		x.want(":0\r\n")
	}
	other.cmd("LOCK.CANCEL", fmt.Sprint(first))
	other.want(":0\r\n")
	// Those who wait refuse at once, too.
	c.refused(wire.CodeDeadlock, "waits", "LOCK.ACQUIRE", "a", "ASYNC", "OWNER", "1")
	c.do("LOCK.RELEASE", "a")
	if v := c.value(); v.Elems[1].Int != first || v.Elems[2].Get("previous").Str != "released" {
		t.Errorf("got %+v", v)
	}
	c.cmd("LOCK.CANCEL", fmt.Sprint(first))
	c.want(":0\r\n")
	h.claims(1)
}

// TestReset ends waits and keeps locks.
func TestReset(t *testing.T) {
	h := start(t)
	c, other := h.dial3(), h.dial3()
	c.acquire("mine")
	other.acquire("a")
	var tickets []int64
	for i := range 5 {
		tickets = append(tickets, c.do("LOCK.ACQUIRE", "a", "ASYNC", "OWNER", fmt.Sprint(i), "SHARED").Int)
	}
	c.do("BUS.SUB", "x")
	c.cmd("RESET")
	for range tickets {
		if v := c.value(); v.Kind != wire.KindPush || !strings.HasPrefix(v.Elems[2].Str, "CANCELLED") {
			t.Errorf("got %+v", v)
		}
	}
	c.want("+RESET\r\n")
	h.claims(2)
	other.do("PUBLISH", "x", "")
	other.do("LOCK.RELEASE", "a")
	c.sync()
	c.send("LOCK.RELEASE mine\r\n")
	c.want("+OK\r\n")
}

// TestCancelGrantsNothing: a connection that goes, with several waits in one queue, is not granted any of them.
func TestCancelGrantsNothing(t *testing.T) {
	for _, end := range []string{"close", "RESET"} {
		h := start(t)
		holder, watcher := h.dial3(), h.dial3()
		holder.acquire("a", "SHARED")
		watcher.do("BUS.SUB", "ipcd/lock/acquired/#")
		for round := range 10 {
			c := h.dial3()
			c.do("LOCK.ACQUIRE", "a", "ASYNC", "OWNER", "exclusive")
			for i := range 5 {
				c.do("LOCK.ACQUIRE", "a", "ASYNC", "SHARED", "OWNER", fmt.Sprint(i)) // fits the holder
			}
			if end == "close" {
				c.close()
			} else {
				c.send("RESET\r\n")
			}
			h.until("no one waits", func() bool { return h.figures().Requests == 0 })
			h.on(func() {
				if h.figures().Held != 1 {
					t.Errorf("%s, round %d: %d locks are held", end, round, h.figures().Held)
				}
			})
		}
		watcher.sync() // and no event came
	}
}

// TestHalfClose: one who sends no more is answered all that can be answered, and does not wait.
func TestHalfClose(t *testing.T) {
	h := start(t)
	holder := h.dial()
	holder.acquire("a")
	const cancelled = "-CANCELLED the wait was cancelled\r\n"

	waiting := h.dial()
	h.queue(waiting, "a", "OWNER", "w")
	waiting.send("PING\r\n")
	waiting.halfClose()
	waiting.want(cancelled + "+PONG\r\n")
	waiting.eof()

	// All at once, as printf … | socat may do it; and several that would wait.
	hold := make(chan struct{})
	h.Post(func() { <-hold })
	once := h.dial()
	once.send("PING\r\nLOCK.ACQUIRE a OWNER w\r\nPING\r\nLOCK.ACQUIRE a OWNER v WAIT 100000\r\nLOCK.ACQUIRE b\r\n")
	once.halfClose()
	close(hold)
	once.want("+PONG\r\n" + cancelled + "+PONG\r\n" + cancelled)
	if g := once.granted(); g.token == "" {
		t.Error("a free lock was not granted")
	}
	once.eof()
	h.until("its lock is free again", func() bool { return h.figures().Held == 1 })

	// Without a line end, there is no command.
	half := h.dial()
	half.send("PING\r\nPIN")
	half.halfClose()
	half.want("+PONG\r\n")
	half.eof()
	h.claims(1)
}

// TestHangUp: the wait of one who has gone ends at once, and so does what is behind it.
func TestHangUp(t *testing.T) {
	h := start(t)
	holder := h.dial()
	holder.acquire("a")
	gone, next := h.dial(), h.dial()
	h.queue(gone, "a", "OWNER", "1")
	gone.send("PUBLISH never x\r\n")
	h.queue(next, "a", "OWNER", "2")
	published := h.counts().Published
	gone.close()
	h.quiesce(holder, next)
	holder.do("LOCK.RELEASE", "a")
	next.granted()
	if n := h.counts().Published - published; n != 3 { // cancelled, released, acquired
		t.Errorf("%d messages, want 3", n)
	}
}

// TestReconnect: a process that asks again has not ended, so what it held on the connection before is free at once, and
// it does not wait for itself.
func TestReconnect(t *testing.T) {
	h := start(t)
	for range 20 {
		c := h.dial()
		c.acquire("a")
		c.close()
		c = h.dial()
		g := c.acquire("a")
		if g.previous != "disconnected" {
			t.Fatalf("got %+v", g)
		}
		c.do("LOCK.RELEASE", "a")
		c.close()
	}
}

// TestPidfdTwice: a client may send the same pidfd again and again.
func TestPidfdTwice(t *testing.T) {
	h := start(t)
	fd := pidfd(t, os.Getpid())
	c := h.dial()
	for range 5 {
		c.cmdFDs([]int{fd}, "LOCK.ACQUIRE", "a", "FOR", "pid")
		g := c.granted()
		c.do("LOCK.RELEASE", "a", g.token)
	}
	c.cmdFDs([]int{fd}, "LOCK.ACQUIRE", "a", "FOR", "pid")
	c.granted()
	c.cmdFDs([]int{fd}, "LOCK.ACQUIRE", "b", "FOR", "pid")
	c.granted()
	h.claims(2)
}

// TestPidfdRefused: what is no pidfd, or of a process that is gone, and a descriptor that came with a command that
// failed is not taken for the next one's.
func TestPidfdRefused(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.LocksPerUser = 1 })
	self := pidfd(t, os.Getpid())
	idle := spawn(t, nil, "idle", "0")
	other := pidfd(t, idle.pid)
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(null) }()
	c := h.dial()
	c.cmdFDs([]int{null}, "LOCK.ACQUIRE", "a", "FOR", "pid")
	c.fails(wire.CodeNotFound, "not a pidfd")
	c.cmdFDs([]int{other}, "LOCK.ACQUIRE", "a", "FOR", "pid", "NICE")
	c.fails(wire.CodeErr, "")
	c.acquire("full")
	c.cmdFDs([]int{other}, "LOCK.ACQUIRE", "a", "FOR", "pid")
	c.fails(wire.CodeQuota, "")
	c.do("LOCK.RELEASE", "full")
	c.refused(wire.CodeDenied, "wants the pidfd", "LOCK.ACQUIRE", "a", "FOR", "pid")
	c.cmdFDs([]int{self}, "LOCK.ACQUIRE", "a", "FOR", "pid")
	c.granted()
	if pid := c.do("LOCK.INFO", "a").Get("holders").Elems[0].Get("pid").Int; pid != int64(os.Getpid()) {
		t.Errorf("process %d holds it, want %d", pid, os.Getpid())
	}
	c.do("LOCK.RELEASE", "a")
	idle.end()
	_ = idle.cmd.Wait()
	c.cmdFDs([]int{other}, "LOCK.ACQUIRE", "a", "FOR", "pid")
	c.fails(wire.CodeNotFound, "")
	h.claims(0)
}
