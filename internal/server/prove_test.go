package server

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/ipc/wire"
)

// TestProve: nothing is bound to the process that connected before it has proven to be the one that asks.
func TestProve(t *testing.T) {
	h := start(t)
	c := h.dial()
	self, other := pidfd(t, os.Getpid()), pidfd(t, spawn(t, nil, "idle", "0").pid)
	refused := func() {
		t.Helper()
		c.send("LOCK.ACQUIRE a FOR self\r\n")
		c.fails(wire.CodeDenied, fmt.Sprintf("FOR self wants a proof that the caller is process %d (", os.Getpid()))
	}
	refused()
	c.refused(wire.CodeDenied, "no descriptor came from the caller", "IPCD.PROVE")
	refused()
	c.cmdFDs([]int{other}, "IPCD.PROVE")
	c.fails(wire.CodeDenied, " connected, not the caller")
	refused()
	file, err := os.Open("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	for _, f := range []*os.File{file, null} {
		c.cmdFDs([]int{int(f.Fd())}, "IPCD.PROVE")
		if v := c.value(); v.Kind != wire.KindError {
			t.Errorf("%s: got %+v", f.Name(), v)
		}
		refused()
	}
	// A request that is refused leaves no descriptor for the next one.
	c.cmdFDs([]int{self}, "LOCK.ACQUIRE", "a", "FOR", "self")
	c.fails(wire.CodeDenied, "FOR self wants a proof")
	c.refused(wire.CodeDenied, "no descriptor", "IPCD.PROVE")
	h.claims(0)

	c.cmdFDs([]int{self}, "IPCD.PROVE")
	c.want("+OK\r\n")
	c.send("RESET\r\n") // it is still the same process
	c.want("+RESET\r\n")
	c.send("LOCK.ACQUIRE a FOR self WAIT 0\r\n")
	c.granted()
	// It is of this connection alone.
	next := h.dial()
	next.send("LOCK.ACQUIRE b FOR self\r\n")
	next.fails(wire.CodeDenied, "FOR self wants a proof")
	h.claims(1)
}

// TestProveOfAnother: who passes on the descriptors of others, too, is not them.
func TestProveOfAnother(t *testing.T) {
	h := start(t)
	p := spawn(t, nil, "send", h.address, fmt.Sprint(os.Getpid()), "IPCD.PROVE\r\nLOCK.ACQUIRE a FOR self\r\n")
	p.fails(wire.CodeDenied, fmt.Sprintf("process %d (", p.pid))
	p.fails(wire.CodeDenied, "FOR self wants a proof")
	h.claims(0)
}

// TestForNumber: a client that cannot send descriptors says which process it is.
func TestForNumber(t *testing.T) {
	h := start(t)
	c := h.dial()
	for _, number := range []int{1, os.Getppid(), 1 << 30} {
		c.refused(wire.CodeDenied, fmt.Sprintf("connected, not process %d", number), "LOCK.ACQUIRE", "a", "FOR", fmt.Sprint(number))
	}
	for _, word := range []string{"0", "-1", "+1", "01", fmt.Sprint(1<<30 + 1), "1e3"} {
		c.refused(wire.CodeErr, "FOR wants", "LOCK.ACQUIRE", "a", "FOR", word)
	}
	c.acquire("a", "FOR", fmt.Sprint(os.Getpid()), "LEASE", "60000")
	holder := c.do("LOCK.INFO", "a").Get("holders").Elems[0]
	if holder.Get("pid").Int != int64(os.Getpid()) || holder.Get("bound").Str != "process" {
		t.Errorf("got %+v", holder)
	}
	// The last word counts, as with all options.
	c.acquire("b", "FOR", "1", "FOR", "nobody")
	c.refused(wire.CodeDenied, "wants a proof", "LOCK.RELEASE", "b", "FOR", "ancestor")
	h.claims(2)
}

// TestReleaseFor: whose part in a hold is given back, the server finds out by itself.
func TestReleaseFor(t *testing.T) {
	h := start(t)
	c, child, unproven := h.dial(), h.client(0), h.dial()
	c.prove()

	// The nearest ancestor's, which may be the caller itself.
	token := c.acquire("a", "FOR", "self").token
	child.refused(wire.CodeNoLock, fmt.Sprintf("is not held by process %d (", child.pid), "LOCK.RELEASE", "a", "FOR", "self")
	child.releaseFor(token, "a", "FOR", "ancestor")
	child.refused(wire.CodeNoLock, "nor by one that it descends from", "LOCK.RELEASE", "a", "FOR", "ancestor")
	token = c.acquire("a", "FOR", "self").token
	child.acquire("a", "FOR", "self", "JOIN", token)
	child.releaseFor(token, "a", "FOR", "ancestor")
	if holders := c.do("LOCK.INFO", "a").Get("holders").Elems; len(holders) != 1 || holders[0].Get("pid").Int != int64(os.Getpid()) {
		t.Errorf("got %+v", holders)
	}
	child.refused(wire.CodeStale, "", "LOCK.RELEASE", "a", "1", "FOR", "ancestor")
	c.releaseFor(token, "a", token, "FOR", "self")

	// Or else the user's, of which there may be one beside.
	c.acquire("a", "SHARED", "FOR", "self")
	token = c.acquire("a", "SHARED", "FOR", "nobody").token
	c.refused(wire.CodeNoLock, "", "LOCK.RELEASE", "a", token, "FOR", "self")
	c.do("LOCK.RELEASE", "a")
	child.refused(wire.CodeNoLock, "", "LOCK.RELEASE", "a", "FOR", "self")
	child.releaseFor(token, "a", "FOR", "ancestor")

	// Or that of a process whose pidfd comes along.
	token = child.acquire("a", "FOR", "self").token
	fd := pidfd(t, child.pid)
	c.cmdFDs([]int{pidfd(t, os.Getpid())}, "LOCK.RELEASE", "a", "FOR", "pid")
	c.fails(wire.CodeNoLock, "is not held by process")
	c.refused(wire.CodeDenied, "no descriptor came", "LOCK.RELEASE", "a", "FOR", "pid")
	unproven.cmdFDs([]int{fd}, "LOCK.RELEASE", "a", "FOR", "pid")
	if v := unproven.value(); v.Text() != token {
		t.Errorf("got %+v, want %s", v, token)
	}
	child.kill(unix.SIGKILL)
	_ = child.cmd.Wait()
	c.cmdFDs([]int{fd}, "LOCK.RELEASE", "a", "FOR", "pid")
	c.fails(wire.CodeNoLock, "is not held by a process that has ended")

	for _, words := range []string{"FOR self", "FOR ancestor"} {
		unproven.send("LOCK.RELEASE a " + words + "\r\n")
		unproven.fails(wire.CodeDenied, words+" wants a proof")
	}
	c.refused(wire.CodeErr, "FOR wants self, ancestor, pid or the path of a cgroup", "LOCK.RELEASE", "a", "FOR", "1")
	c.refused(wire.CodeErr, "PID does not go with FOR", "LOCK.RELEASE", "a", "PID", "1", "FOR", "self")
	h.claims(0)
}

// TestReleaseForFirst: a script that is the first process of all, as in a container, is an ancestor, too. But who waits for what it
// holds need not wait for ever.
func TestReleaseForFirst(t *testing.T) {
	testenv.Root(t)
	h := start(t)
	c := h.dial()
	c.prove()
	c.cmdFDs([]int{pidfd(t, 1)}, "LOCK.ACQUIRE", "a", "FOR", "pid")
	token := c.granted().token
	c.refused(wire.CodeTimeout, "", "LOCK.ACQUIRE", "a", "WAIT", "1")
	waiter := h.dial()
	h.queue(waiter, "a")
	c.releaseFor(token, "a", "FOR", "ancestor")
	waiter.granted()
}

// TestReleaseForUser: what another user's process holds is not given back by who descends from it.
func TestReleaseForUser(t *testing.T) {
	testenv.Root(t)
	h := start(t)
	c, child := h.dial(), h.client(0, as(4321))
	c.acquire("a", "FOR", "self")
	child.refused(wire.CodeDenied, "is held by user 0", "LOCK.RELEASE", "a", "FOR", "ancestor")
	h.claims(1)
}

// releaseFor sends LOCK.RELEASE and checks which hold it is of.
func (c *client) releaseFor(token string, words ...string) {
	c.t.Helper()
	if v := c.do(append([]string{"LOCK.RELEASE"}, words...)...); v.Kind != wire.KindInt || v.Text() != token {
		c.t.Errorf("%q: got %+v, want %s", words, v, token)
	}
}

// TestClientOfClaim: a claim tells which connection it was asked for on, also if it was asked for again.
func TestClientOfClaim(t *testing.T) {
	h := start(t)
	a, b, observer := h.dial(), h.dial(), h.dial()
	client := func(list string, want *client) {
		t.Helper()
		if got := observer.do("LOCK.INFO", "a").Get(list).Elems[0].Get("client"); uint64(got.Int) != want.id() {
			t.Errorf("%s: got %v, want %d", list, got, want.id())
		}
	}
	token := a.acquire("a", "OWNER", "a").token
	client("holders", a)
	b.do("HELLO", "3")
	b.do("LOCK.ACQUIRE", "a", "OWNER", "b", "ASYNC", "REQID", "1")
	client("waiters", b)
	next := h.dial3()
	next.do("LOCK.ACQUIRE", "a", "OWNER", "b", "ASYNC", "REQID", "1")
	client("waiters", next)
	a.do("LOCK.RELEASE", "a", token)
	if v := next.value(); v.Kind != wire.KindPush || !strings.Contains(v.Elems[0].Str, "done") {
		t.Errorf("got %+v", v)
	}
	client("holders", next)
}
