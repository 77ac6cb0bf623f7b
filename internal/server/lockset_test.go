package server

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/ipc/wire"
)

// info is what LOCK.INFO says about a lock.
func (c *client) info(name string) wire.Value {
	c.t.Helper()
	return c.do("LOCK.INFO", name)
}

// holders checks how many hold a lock and wait for it, and in which mode.
func (c *client) holders(name, mode string, used, holders, waiters int64) {
	c.t.Helper()
	v := c.info(name)
	if v.Get("mode").Str != mode || v.Get("used").Int != used || len(v.Get("holders").Elems) != int(holders) || len(v.Get("waiters").Elems) != int(waiters) {
		c.t.Errorf("%s: mode %q, %d used, %d holders, %d waiters; want %q, %d, %d, %d", name, v.Get("mode").Str, v.Get("used").Int,
			len(v.Get("holders").Elems), len(v.Get("waiters").Elems), mode, used, holders, waiters)
	}
}

// TestUnits: a lock with several units has one queue for all kinds of requests, and a limit that all agree on.
func TestUnits(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Semaphores = map[string]int{"gpu": 2} })
	c := h.dial3()
	v := c.do("LOCK.ACQUIRE", "s", "OWNER", "1", "LIMIT", "3", "UNITS", "2")
	if v.Get("mode").Str != "units" {
		t.Errorf("got %+v", v)
	}
	c.acquire("s", "OWNER", "2") // one unit
	c.holders("s", "units", 3, 2, 0)
	if holder := c.info("s").Get("holders").Elems[0]; holder.Get("units").Int != 2 || holder.Get("mode").Str != "units" {
		t.Errorf("got %+v", holder)
	}
	c.refused(wire.CodeBusy, "is held by", "LOCK.ACQUIRE", "s", "OWNER", "3", "WAIT", "0")
	all := c.do("LOCK.ACQUIRE", "s", "OWNER", "all", "EXCLUSIVE", "ASYNC").Int
	readers := c.do("LOCK.ACQUIRE", "s", "OWNER", "readers", "SHARED", "ASYNC").Int
	c.do("LOCK.RELEASE", "s", v.Get("token").Text())
	c.refused(wire.CodeBusy, "", "LOCK.ACQUIRE", "s", "OWNER", "3", "WAIT", "0") // there is room, and a queue
	c.holders("s", "units", 1, 1, 2)
	c.do("LOCK.RELEASE", "s", c.info("s").Get("holders").Elems[0].Get("token").Text())
	if v := c.value(); v.Elems[1].Int != all || v.Elems[2].Get("mode").Str != "exclusive" {
		t.Errorf("got %+v", v)
	}
	c.holders("s", "exclusive", 3, 1, 1)
	c.do("LOCK.RELEASE", "s", c.info("s").Get("holders").Elems[0].Get("token").Text())
	if v := c.value(); v.Elems[1].Int != readers {
		t.Errorf("got %+v", v)
	}
	c.holders("s", "shared", 3, 1, 0)
	c.refused(wire.CodeLimit, `"s" has a limit of 3 units, as those who use it now asked for, not 2`, "LOCK.ACQUIRE", "s", "OWNER", "3", "LIMIT", "2")
	c.refused(wire.CodeLimit, `, and 4 are asked for`, "LOCK.ACQUIRE", "s", "OWNER", "3", "UNITS", "4")
	c.refused(wire.CodeLimit, `"n" has a limit of 1 units, and 2 are asked for`, "LOCK.ACQUIRE", "n", "UNITS", "2")

	// The configuration goes before what is asked for, as soon as the lock is free.
	c.refused(wire.CodeLimit, `"gpu" has a limit of 2 units in the configuration (semaphores), not 3`, "LOCK.ACQUIRE", "gpu", "LIMIT", "3")
	c.acquire("gpu", "OWNER", "1")
	c.acquire("gpu", "OWNER", "2", "LIMIT", "2")
	opts := Options{Limits: testLimits, Semaphores: map[string]int{"gpu": 5}}
	if err := h.SetOptions(opts); err != nil {
		t.Fatal(err)
	}
	c.refused(wire.CodeBusy, "", "LOCK.ACQUIRE", "gpu", "OWNER", "3", "WAIT", "0")
	for _, holder := range c.info("gpu").Get("holders").Elems {
		c.do("LOCK.RELEASE", "gpu", holder.Get("token").Text())
	}
	if limit := c.info("gpu").Get("limit").Int; limit != 5 {
		t.Errorf("the limit is %d", limit)
	}
	c.acquire("gpu", "UNITS", "5")
	h.claims(2)
}

// TestSet: several locks are granted together, or none of them.
func TestSet(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.LocksPerUser = 7 })
	c, two, other := h.dial3(), h.dial(), h.dial3()
	b := other.acquire("b", "OWNER", "other", "WHY", "mine")
	c.refused(wire.CodeBusy, `"b" is held by `, "LOCK.ACQUIRE", "a", "AND", "b", "AND", "c", "WAIT", "0")
	c.refused(wire.CodeTimeout, `"b" is held by `, "LOCK.ACQUIRE", "a", "AND", "b", "AND", "c", "WAIT", "1")
	h.claims(1)
	h.queue(c, "c", "AND", "b", "AND", "a", "OWNER", "set")
	h.claims(4)
	other.refused(wire.CodeBusy, `"a" is waited for by `, "LOCK.ACQUIRE", "a", "WAIT", "0")
	if waiter := other.info("a").Get("waiters").Elems[0]; fmt.Sprint(texts(waiter.Get("set"))) != "[c b a]" {
		t.Errorf("got %+v", waiter)
	}
	other.do("LOCK.RELEASE", "b", b.token)
	v := c.value()
	locks := v.Get("locks").Elems
	if len(locks) != 3 || v.Get("name").Str != "c" || v.Get("token").Text() != locks[0].Get("token").Text() || len(v.Elems) != 12 {
		t.Fatalf("got %+v", v)
	}
	for i, name := range []string{"c", "b", "a"} {
		if locks[i].Get("name").Str != name || i > 0 && locks[i].Get("token").Int == locks[i-1].Get("token").Int {
			t.Errorf("got %+v", locks)
		}
	}
	if locks[1].Get("previous").Str != "released" || locks[2].Get("previous").Str != "" {
		t.Errorf("got %+v", locks)
	}
	// One of them can be given back alone, and joined again together with another.
	c.do("LOCK.RELEASE", "b", locks[1].Get("token").Text())
	v = c.do("LOCK.ACQUIRE", "d", "AND", "a", "OWNER", "join", "WITH", locks[2].Get("token").Text(), "a")
	if got := v.Get("locks").Elems; got[0].Get("name").Str != "d" || got[1].Get("token").Int != locks[2].Get("token").Int {
		t.Errorf("got %+v", v)
	}
	h.claims(4)
	c.refused(wire.CodeQuota, "4 locks already", "LOCK.ACQUIRE", "1", "AND", "2", "AND", "3", "AND", "4")
	two.send("LOCK.ACQUIRE 1 AND 2 OWNER two\r\n")
	if v := two.value(); len(v.Elems) != 12 || len(v.Elems[11].Elems) != 2 || len(v.Elems[11].Elems[0].Elems) != 10 {
		t.Errorf("in RESP2: %+v", v)
	}
	c.close() // all of its locks are the connection's
	h.quiesce(two, other)
	h.until("what it held is free", func() bool { return h.figures().Held == 2 })
	h.claims(2)

	// A wait that ends leaves nothing behind.
	other.acquire("x", "OWNER", "other")
	gone := h.dial3()
	h.queue(gone, "y", "AND", "x", "OWNER", "gone")
	gone.close()
	h.quiesce(two, other)
	other.acquire("y", "WAIT", "0")
	h.claims(4)
}

// texts are the elements of an array.
func texts(v wire.Value) (all []string) {
	for _, e := range v.Elems {
		all = append(all, e.Text())
	}
	return all
}

// TestShown: who shows the token of a hold enters it; it ends when all have left.
func TestShown(t *testing.T) {
	h := start(t)
	c, d := h.dial3(), h.dial3()
	g := c.acquire("a")
	c.refused(wire.CodeDeadlock, "", "LOCK.ACQUIRE", "a")
	if again := c.acquire("a", "WITH", g.token, "a"); again.token != g.token {
		t.Errorf("got %+v", again)
	}
	joined := d.acquire("a", "OWNER", "d", "WITH", "1", "a", "WITH", g.token, "other", "WITH", g.token, "a")
	if joined.token != g.token {
		t.Errorf("got %+v", joined)
	}
	holders := c.info("a").Get("holders").Elems
	if len(holders) != 2 || holders[0].Get("entries").Int != 2 || holders[0].Get("joined").Int != 0 || holders[1].Get("joined").Int != 1 {
		t.Errorf("got %+v", holders)
	}
	h.claims(2)
	for _, c := range []*client{c, c} { // d is an owner of the same process: the latest leaves first
		c.do("LOCK.RELEASE", "a", g.token)
	}
	c.holders("a", "exclusive", 1, 1, 0)
	c.do("LOCK.RELEASE", "a", g.token)
	c.holders("a", "", 0, 0, 0)

	// For no more than the hold has.
	g = c.acquire("a", "SHARED")
	const less = `"a" is held already, for less than is asked for`
	c.refused(wire.CodeDeadlock, less, "LOCK.ACQUIRE", "a", "OWNER", "x", "WITH", g.token, "a")
	c.refused(wire.CodeBusy, less, "LOCK.ACQUIRE", "a", "OWNER", "x", "WITH", g.token, "a", "WAIT", "0")
	c.acquire("a", "SHARED", "OWNER", "x", "WITH", g.token, "a")
	h.claims(2)
}

// TestJoin: one may join a hold by its token, for as long as it is there.
func TestJoin(t *testing.T) {
	h := start(t)
	c, d, waiter := h.dial3(), h.dial3(), h.dial3()
	c.refused(wire.CodeNoLock, "", "LOCK.ACQUIRE", "a", "JOIN", "1")
	g := c.acquire("a", "SHARED")
	d.refused(wire.CodeStale, "", "LOCK.ACQUIRE", "a", "JOIN", "1", "OWNER", "d")
	if v := d.do("LOCK.ACQUIRE", "a", "JOIN", g.token, "OWNER", "d", "WHY", "too"); v.Get("mode").Str != "shared" || v.Get("token").Text() != g.token {
		t.Errorf("got %+v", v)
	}
	h.queue(waiter, "a", "OWNER", "w")
	c.close()
	h.until("it has left", func() bool { return h.figures().Held == 1 })
	d.holders("a", "shared", 1, 1, 1)
	d.close()
	if g := waiter.granted(); g.previous != "disconnected" {
		t.Errorf("got %+v", g)
	}
	h.claims(1)
}

// TestLease: a hold that ends by time, which its owner is told before and after, wherever it is.
func TestLease(t *testing.T) {
	h := start(t)
	c, watcher := h.dial3(), h.dial3()
	watcher.do("BUS.SUB", "ipcd/lock/+/a")
	c.refused(wire.CodeErr, "a LEASE may have at most 3600000 milliseconds here (limits.lease)", "LOCK.ACQUIRE", "a", "LEASE", "3600001")
	g := c.acquire("a", "LEASE", "3600000")
	holder := c.info("a").Get("holders").Elems[0]
	if left := holder.Get("left").Int; holder.Get("bound").Str != "lease" || left <= 3599e6 || left > 3600e6 || holder.Get("pid").Int != int64(os.Getpid()) {
		t.Errorf("got %+v", holder)
	}
	h.on(func() {
		if h.figures().Processes != 0 {
			t.Errorf("%d processes are watched", h.figures().Processes)
		}
	})
	const longest = "a LEASE may have"
	c.refused(wire.CodeErr, longest, "LOCK.RENEW", "a", g.token, "LEASE", "3600001")
	c.refused(wire.CodeErr, "LEASE wants milliseconds", "LOCK.RENEW", "a", g.token, "LEASE", "0")
	c.refused(wire.CodeErr, "syntax error", "LOCK.RENEW", "a", g.token, "FOR", "5")
	c.refused(wire.CodeStale, "", "LOCK.RENEW", "a", "1", "LEASE", "5")
	c.refused(wire.CodeNoLock, "", "LOCK.RENEW", "b", "1", "LEASE", "5")
	c.refused(wire.CodeErr, "syntax error", "LOCK.RENEW", "a", g.token, "LEASE")
	for _, words := range [][]string{{"LOCK.RENEW", "a", g.token, "LEASE", "1800000"}, {"LOCK.RENEW", "a", g.token}} {
		ms, left := watcher.do2(words...), c.info("a").Get("holders").Elems[0].Get("left").Int
		if ms.Int != 1800000 || left <= 1799e6 || left > 1800e6 {
			t.Errorf("%q: %v, and %d are left", words, ms, left)
		}
	}
	if ms := watcher.do2("LOCK.RENEW", "a", g.token, "LEASE", "1200000"); ms.Int != 1200000 {
		t.Errorf("got %+v", ms)
	}
	h.pass(20*time.Minute - 20*time.Second)
	if v := c.value(); v.Elems[0].Str != "lock.expiring" || v.Elems[1].Str != "a" || v.Elems[2].Text() != g.token || v.Elems[3].Int > 20000 || v.Elems[3].Int < 0 {
		t.Errorf("got %+v", v)
	}
	h.pass(20 * time.Second)
	if v := c.value(); len(v.Elems) != 5 || v.Elems[0].Str != "lock.lost" || v.Elems[2].Text() != g.token || v.Elems[3].Str != "expired" || v.Elems[4].Str != "" {
		t.Errorf("got %+v", v)
	}
	var events []string
	for range 7 {
		topic, payload := watcher.event()
		events = append(events, strings.Split(topic, "/")[2])
		if payload["token"] == nil || fmt.Sprintf("%.0f", payload["token"]) != g.token {
			t.Errorf("%s: %v", topic, payload)
		}
		if left := payload["expires_us"]; (left == nil) != (payload["how"] != nil) {
			t.Errorf("%s: %v", topic, payload)
		}
	}
	if got := strings.Join(events, " "); got != "acquired renewed renewed renewed expiring released expired" {
		t.Errorf("got %s", got)
	}
	if g := c.acquire("a", "FOR", "self"); g.previous != "expired" || g.abandoned != "" {
		t.Errorf("got %+v", g)
	} else {
		c.refused(wire.CodeNoLock, "has no lease", "LOCK.RENEW", "a", g.token, "LEASE", "5")
		c.refused(wire.CodeNoLock, "has no lease", "LOCK.RENEW", "a", g.token)
	}
	// It outlives the connection; with FOR self it also ends with the process.
	c.acquire("b", "LEASE", "60000")
	both := h.client(0)
	both.acquire("c", "LEASE", "60000", "FOR", "self")
	c.close()
	h.until("it has gone", func() bool { return h.set.Net.Len() == 2 })
	if holder := watcher.do2("LOCK.INFO", "c").Get("holders").Elems[0]; holder.Get("bound").Str != "process" || holder.Get("left").Int < 0 {
		t.Errorf("got %+v", holder)
	}
	both.end()
	h.until("it has ended", func() bool { return h.figures().Held == 2 })
	h.claims(2)
}

// do2 is do on a connection that is sent events meanwhile, which it keeps for later.
func (c *client) do2(words ...string) wire.Value {
	c.t.Helper()
	other := c.h.newConn(must(net.Dial("unix", c.sock.RemoteAddr().String())).(*net.UnixConn))
	defer other.close()
	other.do("HELLO", "3")
	return other.do(words...)
}

// TestDowngrade: the hold becomes shared, and those who wait to share it get it at once.
func TestDowngrade(t *testing.T) {
	h := start(t)
	c, reader, writer := h.dial3(), h.dial3(), h.dial3()
	g := c.acquire("a")
	h.queue(reader, "a", "SHARED", "OWNER", "r")
	h.queue(writer, "a", "OWNER", "w")
	c.refused(wire.CodeStale, "", "LOCK.DOWNGRADE", "a", "1")
	for range 2 { // the second time changes nothing
		c.do("LOCK.DOWNGRADE", "a", g.token)
	}
	reader.granted()
	c.holders("a", "shared", 1, 2, 1)
	h.claims(3)
	g = c.acquire("s", "LIMIT", "2")
	c.refused(wire.CodeLimit, "not all of the lock's units", "LOCK.DOWNGRADE", "s", g.token)
}

// TestCheck: a token is that of a present hold or not, whoever asks.
func TestCheck(t *testing.T) {
	h := start(t)
	c := h.dial()
	c.refused(wire.CodeNoLock, "", "LOCK.CHECK", "a", "1")
	g := c.acquire("a")
	c.do("LOCK.CHECK", "a", g.token)
	c.refused(wire.CodeStale, "is held by", "LOCK.CHECK", "a", "1")
	c.refused(wire.CodeErr, "a token is a positive number", "LOCK.CHECK", "a", "9007199254740993")
	c.do("LOCK.RELEASE", "a")
	c.refused(wire.CodeNoLock, "", "LOCK.CHECK", "a", g.token)
}

// TestReleaseOf: whose part of a hold is given back.
func TestReleaseOf(t *testing.T) {
	h := start(t)
	c := h.dial3()
	child := h.client(0)
	g := c.acquire("a", "FOR", "self")
	child.acquire("a", "FOR", "self", "JOIN", g.token)
	pid := fmt.Sprint(child.pid)
	c.refused(wire.CodeNoLock, `"a" is not held by process 1`, "LOCK.RELEASE", "a", "PID", "1")
	c.refused(wire.CodeStale, "", "LOCK.RELEASE", "a", "1", "PID", pid)
	c.refused(wire.CodeErr, "PID wants the number of a process", "LOCK.RELEASE", "a", "PID", "-1")
	c.refused(wire.CodeErr, "unknown option", "LOCK.RELEASE", "a", g.token, "PID")
	c.do("LOCK.RELEASE", "a", g.token, "PID", pid)
	c.holders("a", "exclusive", 1, 1, 0)
	child.acquire("a", "FOR", "self", "JOIN", g.token)
	c.do("LOCK.RELEASE", "a", g.token) // its own part
	c.holders("a", "exclusive", 1, 1, 0)
	if holder := c.info("a").Get("holders").Elems[0]; fmt.Sprint(holder.Get("pid").Int) != pid {
		t.Errorf("got %+v", holder)
	}
	c.do("LOCK.RELEASE", "a", g.token) // and now that of the others, as any process of the user
	c.holders("a", "", 0, 0, 0)
	child.acquire("b", "FOR", "self")
	c.do("LOCK.RELEASE", "b", "PID", pid)
	h.claims(0)
}

// TestToldLater: who deals with an abandoned hold and may be cut off over it leaves it to the next until he says so.
func TestToldLater(t *testing.T) {
	h := start(t)
	gone := h.dial()
	gone.acquire("a")
	gone.close()
	h.until("it is abandoned", func() bool { return h.figures().Held == 0 })
	c := h.dial()
	for _, end := range []func(token string){
		func(string) { c.do("LOCK.BREAK", "a") },
		func(token string) { c.do("LOCK.RELEASE", "a", token) },
		func(token string) { h.dial().do("LOCK.RELEASE", "a", token) },
		func(token string) {
			c.do("LOCK.TOLD", "a", token)
			c.do("LOCK.TOLD", "a", token)
			c.do("LOCK.RELEASE", "a", token, "UNTOLD")
		},
	} {
		g := c.acquire("a", "UNTOLD")
		if !strings.HasSuffix(g.abandoned, " disconnected") {
			t.Errorf("abandoned: %q", g.abandoned)
		}
		end(g.token)
	}
	g := c.acquire("a", "UNTOLD")
	if g.abandoned != "" {
		t.Errorf("abandoned: %q", g.abandoned)
	}
	c.refused(wire.CodeStale, "is held by", "LOCK.TOLD", "a", "1")
	c.do("LOCK.TOLD", "a", g.token)
}

// TestUntold: who does nothing about an abandoned hold leaves that to the next.
func TestUntold(t *testing.T) {
	h := start(t)
	gone, c := h.dial(), h.dial3()
	gone.acquire("a")
	gone.close()
	h.until("it is abandoned", func() bool { return h.figures().Held == 0 })
	for range 3 {
		g := c.acquire("a")
		if g.abandoned == "" || !strings.Contains(g.abandoned, "disconnected") {
			t.Errorf("got %+v", g)
		}
		c.do("LOCK.RELEASE", "a", g.token, "UNTOLD")
		if end := c.info("a").Get("abandoned"); end.Get("how").Str != "disconnected" || end.Get("by").Str != "" {
			t.Errorf("got %+v", end)
		}
	}
	g := c.acquire("a")
	c.do("LOCK.RELEASE", "a", g.token)
	if g := c.acquire("a"); g.abandoned != "" {
		t.Errorf("got %+v", g)
	}
}

// TestReleaseForeign: who is in another user's hold, as root put him there, leaves it and no more.
func TestReleaseForeign(t *testing.T) {
	testenv.Root(t)
	h := start(t)
	root, mine := h.dial3(), h.client(0, as(4321))
	g := root.acquire("a")
	pidfd := must(unix.PidfdOpen(mine.pid, 0))
	defer unix.Close(pidfd)
	root.cmdFDs([]int{pidfd}, "LOCK.ACQUIRE", "a", "FOR", "pid", "JOIN", g.token)
	root.granted()
	mine.refused(wire.CodeDenied, "", "LOCK.RELEASE", "a", "UNTOLD")
	mine.refused(wire.CodeDenied, "", "LOCK.RELEASE", "a", "PID", fmt.Sprint(mine.pid), "UNTOLD")
	mine.do("LOCK.RELEASE", "a")
	mine.refused(wire.CodeDenied, "", "LOCK.RELEASE", "a", g.token)
	mine.refused(wire.CodeDenied, "", "LOCK.TOLD", "a", g.token)
	root.do("LOCK.RELEASE", "a")
	h.claims(0)
}
