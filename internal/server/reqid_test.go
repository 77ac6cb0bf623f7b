package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/ipc/wire"
)

// pass has so much time pass.
func (h *harness) pass(d time.Duration) {
	h.t.Helper()
	h.on(func() { h.skip(d) })
	h.on(func() {}) // what was posted by it is over
}

// skip is pass on the loop. The timer of the kernel knows nothing of it.
func (s *Server) skip(d time.Duration) {
	s.set.Loop.Clock.Skip(d)
	for s.isDue() {
		s.set.Loop.TimeUp()
		s.set.Loop.RunTimers(s.set.Net.Over)
	}
}

// isDue reports whether the time has come for something.
func (s *Server) isDue() bool {
	at, ok := s.set.Loop.Timers.Next()
	return ok && at <= s.set.Now()
}

// kept is how many commands with a REQID are known.
func (h *harness) kept() (n int) {
	h.t.Helper()
	h.on(func() {
		for range h.set.Requests() {
			n++
		}
	})
	return n
}

// nothingKept checks that no request has left anything behind, after its outcomes have expired.
func (h *harness) nothingKept() {
	h.t.Helper()
	h.pass(session.KeepOutcome + time.Second)
	h.on(func() {
		known := len(slices.Collect(h.set.Requests()))
		if n := known + h.figures().Detached; n != 0 {
			h.t.Errorf("left: %d requests, %d detached", known, h.figures().Detached)
		}
	})
}

// TestReqIDPublish: what is sent twice is published once, and answered alike, in whichever protocol.
func TestReqIDPublish(t *testing.T) {
	h := start(t)
	sub, two, three := h.dial3(), h.dial(), h.dial3()
	sub.do("BUS.SUB", "#")
	first := two.do("BUS.PUB", "a/b", "hi", "REQID", "1")
	if first.Kind != wire.KindArray || first.Get("delivered").Int != 1 {
		t.Errorf("got %+v", first)
	}
	two.close()
	seq := first.Get("seq").Int
	for _, c := range []*client{three, h.dial(), three} {
		again := c.do("bus.pub", "a/b", "hi", "REQID", "1")
		if again.Get("seq").Int != seq || again.Get("delivered").Int != 1 || again.Get("dropped").Int != 0 || len(again.Elems) != 6 ||
			(again.Kind == wire.KindMap) != (c == three) {
			t.Errorf("got %+v after %d", again, seq)
		}
	}
	if other := three.do("BUS.PUB", "a/b", "hi", "REQID", "2"); other.Get("seq").Int != seq+1 {
		t.Errorf("got %+v after %d", other, seq)
	}
	three.do("BUS.PUB", "a/b", "hi")
	three.do("BUS.PUB", "a/b", "end")
	for _, want := range []string{"hi", "hi", "hi", "end"} {
		if _, payload := sub.message(); payload != want {
			t.Errorf("got %q, want %q", payload, want)
		}
	}
	three.close()
	h.nothingKept()
}

func TestReqIDRefused(t *testing.T) {
	h := start(t)
	c := h.dial()
	long := strings.Repeat("x", session.MaxRequestID+1)
	for command, want := range map[string]string{
		"BUS.PUB a b REQID":                       "ERR syntax error",
		"BUS.PUB a b NEWID 1":                     "ERR syntax error",
		"BUS.PUB a b REQID \"\"":                  "ERR REQID wants 1 to 64 bytes, not 0",
		"BUS.PUB a b REQID " + long:               "ERR REQID wants 1 to 64 bytes, not 65",
		"LOCK.ACQUIRE a REQID":                    "ERR \"REQID\" is not an option, or wants a value",
		"LOCK.ACQUIRE a REQID " + long:            "ERR REQID wants",
		"LOCK.RELEASE a REQID " + long:            "ERR REQID wants",
		"LOCK.RELEASE a REQID":                    "ERR a token is a positive number",
		"LOCK.BREAK a REQID " + long:              "ERR REQID wants",
		"LOCK.BREAK a PIDFD REQID 1":              "ERR REQID does not go with PIDFD",
		"LOCK.DONE a 1 PER ever REQID":            "ERR syntax error",
		"LOCK.FORGET a REQID " + long:             "ERR REQID wants",
		"LOCK.RENEW a 1 LEASE 1 REQID 1":          "ERR wrong number of arguments",
		"LOCK.ACQUIRE \"a\\x1b\" REQID 1":         "BADNAME",
		"BUS.PUB a/# b REQID 1":                   "BADNAME",
		"BUS.REQ a/# 1 REQID 1":                   "BADNAME",
		"LOCK.ACQUIRE a WAIT x REQID 1":           "ERR WAIT wants",
		"LOCK.ACQUIRE a REQID 1 LEASE 9999999999": "ERR a LEASE may have",
	} {
		c.send(command + "\r\n")
		if v := c.value(); v.Kind != wire.KindError || !strings.HasPrefix(v.Str, want) {
			t.Errorf("%s: got %c %q, want %q", command, v.Kind, v.Str, want)
		}
	}
	if n := h.kept(); n != 0 {
		t.Errorf("%d are kept of commands whose words are wrong", n)
	}
	// Any bytes, of the whole length.
	c.do("BUS.PUB", "a", "b", "REQID", strings.Repeat("\x00", session.MaxRequestID))
	// Another command with the same id, however little it differs.
	c.do("BUS.PUB", "a", "b", "REQID", "1")
	for _, words := range [][]string{
		{"BUS.PUB", "a", "c", "REQID", "1"}, {"BUS.PUB", "ab", "", "REQID", "1"}, {"BUS.PUB", "a", "b ", "REQID", "1"}, {"LOCK.ACQUIRE", "a", "REQID", "1"},
	} {
		c.refused(wire.CodeErr, `REQID "1" is that of another command`, words...)
	}
	c.close()
	h.nothingKept()
}

// TestReqIDOutcomes: what was decided is told again, and not done again.
func TestReqIDOutcomes(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.LocksPerUser = 4 })
	c, other := h.dial3(), h.dial3()
	twice := func(words ...string) {
		t.Helper()
		words = append(words, "REQID", strings.Join(words, " "))
		var all []string
		for range 2 {
			c.cmd(words...)
			v := c.value()
			all = append(all, fmt.Sprintf("%c %s %d %v", v.Kind, v.Str, v.Int, v.Elems))
		}
		if all[0] != all[1] {
			t.Errorf("%q: got %s, then %s", words, all[0], all[1])
		}
	}
	// A hold that was entered twice is left once by two releases that are one.
	g := c.acquire("a")
	c.acquire("a", "WITH", g.token, "a")
	twice("LOCK.RELEASE", "a")
	if entries := c.info("a").Get("holders").Elems[0].Get("entries").Int; entries != 1 {
		t.Errorf("entered %d times", entries)
	}
	// Who is refused stays refused with this id.
	twice("LOCK.RELEASE", "free")
	c.cmd("LOCK.ACQUIRE", "a", "OWNER", "x", "WAIT", "0", "REQID", "busy")
	c.fails(wire.CodeBusy, "")
	c.cmd("LOCK.ACQUIRE", "a", "OWNER", "x", "WAIT", "1", "REQID", "timeout")
	c.fails(wire.CodeTimeout, "timed out after 1ms")
	c.refused(wire.CodeDeadlock, "", "LOCK.ACQUIRE", "a", "REQID", "deadlock")
	c.do("LOCK.RELEASE", "a", g.token)
	c.refused(wire.CodeBusy, "", "LOCK.ACQUIRE", "a", "OWNER", "x", "WAIT", "0", "REQID", "busy")
	c.refused(wire.CodeTimeout, "timed out after 1ms", "LOCK.ACQUIRE", "a", "OWNER", "x", "WAIT", "1", "REQID", "timeout")
	c.refused(wire.CodeDeadlock, "", "LOCK.ACQUIRE", "a", "REQID", "deadlock")
	// The next holder's lock is not broken by a repeat.
	other.acquire("b", "FOR", "self", "OWNER", "1")
	twice("LOCK.BREAK", "b", "WHY", "why")
	if v := other.value(); v.Kind != wire.KindPush || v.Elems[0].Str != "lock.lost" {
		t.Errorf("got %+v", v)
	}
	other.acquire("b", "FOR", "self", "OWNER", "2")
	twice("LOCK.BREAK", "b", "WHY", "why")
	if holders := c.info("b").Get("holders").Elems; len(holders) != 1 {
		t.Errorf("%d hold it", len(holders))
	}
	// What is done is marked, and forgotten, once.
	token := c.acquire("job").token
	twice("LOCK.DONE", "job", token, "PER", "ever")
	twice("LOCK.FORGET", "job")
	c.do("LOCK.DONE", "job", token, "PER", "boot")
	twice("LOCK.DONE", "job", token, "PER", "ever")
	if v := c.do("LOCK.ISDONE", "job", "PER", "ever"); !v.IsNull() {
		t.Errorf("got %+v", v)
	}
	twice("LOCK.FORGET", "job")
	if v := c.do("LOCK.ISDONE", "job", "PER", "boot"); v.IsNull() {
		t.Error("a mark was removed that is newer")
	}
	// Who had no room may try again.
	c.acquire("c")
	c.acquire("d")
	c.refused(wire.CodeQuota, "", "LOCK.ACQUIRE", "e", "REQID", "quota")
	c.do("LOCK.RELEASE", "d")
	if g := c.acquire("e", "REQID", "quota"); c.acquire("e", "REQID", "quota") != g {
		t.Error("granted twice")
	}
	h.claims(4)
}

// TestReqIDStale: a lock that is not held any more is not told of as if it were.
func TestReqIDStale(t *testing.T) {
	h := start(t)
	c, other := h.dial3(), h.dial()
	for i, end := range []struct{ command, how string }{
		{"LOCK.RELEASE a", "released"}, {"LOCK.BREAK a", "broken"},
	} {
		words := []string{"a", "REQID", fmt.Sprint(i), "FOR", "self"}
		g := c.acquire(words...)
		if again := c.acquire(words...); again != g {
			t.Errorf("got %+v after %+v", again, g)
		}
		other.send(end.command + "\r\n")
		other.value()
		if end.how == "broken" {
			c.value() // lock.lost
		}
		c.refused(wire.CodeStale, fmt.Sprintf("%q was granted with token %s, and that hold has ended: %s", "a", g.token, end.how),
			append([]string{"LOCK.ACQUIRE"}, words...)...)
	}
	// One of several; and one that others are in still.
	set := []string{"LOCK.ACQUIRE", "x", "AND", "y", "REQID", "set"}
	grants := c.do(set...).Get("locks").Elems
	if again := c.do(set...).Get("locks").Elems; len(again) != 2 || again[1].Get("token").Int != grants[1].Get("token").Int {
		t.Errorf("got %+v after %+v", again, grants)
	}
	token := grants[1].Get("token").Text()
	child := h.client(0)
	child.acquire("y", "JOIN", token)
	c.do("LOCK.RELEASE", "y", token)
	c.do("LOCK.CHECK", "y", token)
	c.refused(wire.CodeStale, fmt.Sprintf(`"y" was granted with token %s, and that hold has ended: released`, token), set...)
	// A hold that was entered once more.
	first := other.acquire("z")
	enter := []string{"z", "WITH", first.token, "z", "REQID", "z"}
	other.acquire(enter...)
	other.acquire(enter...)
	if entries := other.info("z").Get("holders").Elems[0].Get("entries").Int; entries != 2 {
		t.Errorf("entered %d times", entries)
	}
	other.do("LOCK.BREAK", "z")
	other.refused(wire.CodeStale, fmt.Sprintf(`"z" was granted with token %s, and that hold has ended`, first.token), append([]string{"LOCK.ACQUIRE"}, enter...)...)
	other.refused(wire.CodeErr, "another command", "LOCK.ACQUIRE", "z", "REQID", "z")
}

// TestReqIDAsync: a repeat has the ticket of the first, and the outcome once more.
func TestReqIDAsync(t *testing.T) {
	h := start(t)
	holder, c := h.dial(), h.dial3()
	holder.acquire("a")
	words := []string{"LOCK.ACQUIRE", "a", "ASYNC", "OWNER", "1", "REQID", "1"}
	ticket := c.do(words...).Int
	if again := c.do(words...).Int; again != ticket {
		t.Errorf("ticket %d after %d", again, ticket)
	}
	done := func(c *client) wire.Value {
		t.Helper()
		v := c.value()
		if v.Kind != wire.KindPush || v.Elems[0].Str != "done" || v.Elems[1].Int != ticket {
			t.Fatalf("got %+v, want the outcome of %d", v, ticket)
		}
		return v.Elems[2]
	}
	// On another connection it goes on there.
	d := h.dial3()
	if again := d.do(words...).Int; again != ticket {
		t.Errorf("ticket %d after %d", again, ticket)
	}
	if v := done(c); !strings.HasPrefix(v.Str, "CANCELLED the request was repeated") {
		t.Errorf("got %+v", v)
	}
	c.cmd("LOCK.CANCEL", fmt.Sprint(ticket)) // it is not this one's any more
	c.want(":0\r\n")
	holder.do("LOCK.RELEASE", "a")
	g := asGrant(t, done(d))
	c.quiet()
	if again := c.do(words...).Int; again != ticket {
		t.Errorf("ticket %d after %d", again, ticket)
	}
	if again := asGrant(t, done(c)); again != g {
		t.Errorf("got %+v after %+v", again, g)
	}
	// What is refused has no ticket, then as now; what was cancelled has.
	words = []string{"LOCK.ACQUIRE", "a", "ASYNC", "OWNER", "1", "REQID", "2"}
	for range 2 {
		d.refused(wire.CodeDeadlock, "", words...)
	}
	words = []string{"LOCK.ACQUIRE", "a", "ASYNC", "OWNER", "2", "REQID", "3"}
	ticket = d.do(words...).Int
	d.cmd("LOCK.CANCEL", fmt.Sprint(ticket))
	done(d)
	d.want(":1\r\n")
	d.do(words...)
	if v := done(d); !strings.HasPrefix(v.Str, "CANCELLED the wait was cancelled") {
		t.Errorf("got %+v", v)
	}
	d.sync()
}

// TestReqIDReplyOff: who wants no replies gets none, and the outcome is kept all the same.
func TestReqIDReplyOff(t *testing.T) {
	h := start(t)
	c := h.dial()
	c.send("CLIENT REPLY SKIP\r\nBUS.PUB a b REQID 1\r\n")
	c.send("CLIENT REPLY OFF\r\nBUS.PUB a b REQID 1\r\nLOCK.ACQUIRE a REQID 2\r\nLOCK.ACQUIRE a REQID 2\r\nCLIENT REPLY ON\r\n")
	c.want("+OK\r\n")
	published := h.counts().Published
	c.do("BUS.PUB", "a", "b", "REQID", "1")
	c.acquire("a", "REQID", "2")
	if n := h.counts().Published - published; n != 0 {
		t.Errorf("%d messages", n)
	}
	h.claims(1)
}

// TestReqIDOthers: an id is the process's own, and the process is told from others by its start and its user.
func TestReqIDOthers(t *testing.T) {
	h := start(t)
	mine, child := h.dial(), h.client(0)
	seq := mine.do("BUS.PUB", "a", "b", "REQID", "1").Get("seq").Int
	if v := child.do("BUS.PUB", "a", "b", "REQID", "1"); v.Get("seq").Int != seq+1 {
		t.Errorf("got %+v after %d", v, seq)
	}
	child.acquire("a", "FOR", "self", "REQID", "2")
	mine.refused(wire.CodeBusy, "", "LOCK.ACQUIRE", "a", "FOR", "self", "WAIT", "0", "REQID", "2")
	// The same number, of another process and of another user.
	session := h.session
	id := mine.id()
	h.on(func() { session(id).Peer.Start++ })
	if v := mine.do("BUS.PUB", "a", "b", "REQID", "1"); v.Get("seq").Int <= seq+1 {
		t.Errorf("got %+v after %d", v, seq)
	}
	h.on(func() { session(id).Peer.Start = 0 })
	mine.refused(wire.CodeNotFound, "cannot be seen from here", "BUS.PUB", "a", "b", "REQID", "1")
	mine.do("BUS.PUB", "a", "b")
}

func TestReqIDOtherUser(t *testing.T) {
	testenv.Root(t)
	h := start(t)
	ann, bob := h.client(0, as(4321)), h.client(0, as(4322))
	seq := ann.do("BUS.PUB", "a", "b", "REQID", "1").Get("seq").Int
	if v := bob.do("BUS.PUB", "a", "b", "REQID", "1"); v.Get("seq").Int != seq+1 {
		t.Errorf("got %+v after %d", v, seq)
	}
	// Nobody makes room for another user's.
	bob.doEach(session.MaxOutcomes, func(i int) []string { return []string{"BUS.PUB", "a", "b", "REQID", fmt.Sprint(i + 2)} })
	if n := h.kept(); n != session.MaxOutcomes+1 {
		t.Errorf("%d are kept", n)
	}
	if v := ann.do("BUS.PUB", "a", "b", "REQID", "1"); v.Get("seq").Int != seq {
		t.Errorf("got %+v after %d", v, seq)
	}
}

// TestReqIDExpires: an outcome is kept for five minutes, those of locks from the end of the hold.
func TestReqIDExpires(t *testing.T) {
	h := start(t)
	c := h.dial()
	seq := c.do("BUS.PUB", "a", "b", "REQID", "1").Get("seq").Int
	g := c.acquire("a", "REQID", "2")
	h.pass(session.KeepOutcome - 2*time.Second)
	if v := c.do("BUS.PUB", "a", "b", "REQID", "1"); v.Get("seq").Int != seq {
		t.Errorf("got %+v after %d", v, seq)
	}
	h.pass(3 * time.Second)
	if v := c.do("BUS.PUB", "a", "b", "REQID", "1"); v.Get("seq").Int == seq {
		t.Errorf("got %+v after %d", v, seq)
	}
	if again := c.acquire("a", "REQID", "2"); again != g {
		t.Errorf("got %+v after %+v", again, g)
	}
	c.do("LOCK.RELEASE", "a")
	h.pass(session.KeepOutcome - 2*time.Second)
	c.refused(wire.CodeStale, "", "LOCK.ACQUIRE", "a", "REQID", "2")
	h.pass(3 * time.Second)
	if again := c.acquire("a", "REQID", "2"); again.token <= g.token {
		t.Errorf("got %+v after %+v", again, g)
	}
	c.do("LOCK.RELEASE", "a")
	h.nothingKept()
	// The timer is set for it, and not anew for every outcome.
	h.on(func() { h.skip(time.Second - h.set.Now()%time.Second) }) // a second begins
	c.do("BUS.PUB", "a", "b", "REQID", "1")
	c.do("BUS.PUB", "a", "b", "REQID", "2")
	h.on(func() {
		all := slices.Collect(h.set.Requests())
		first, last := all[0].Expires(), all[len(all)-1].Expires()
		if at, _ := h.set.Loop.Timers.Next(); at != first || first != last || at < h.set.Now()+session.KeepOutcome-time.Second {
			t.Errorf("due at %v, %v and %v; now %v", at, first, last, h.set.Now())
		}
	})
}

// TestReqIDBounds: a user's oldest outcomes make room for new ones, by number and by size.
func TestReqIDBounds(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.LocksPerUser = 20000 })
	c := h.dial()
	publish := func(id int) int64 { return c.do("BUS.PUB", "a", "b", "REQID", fmt.Sprint(id)).Get("seq").Int }
	first := publish(0)
	second := publish(1)
	c.doEach(session.MaxOutcomes-1, func(i int) []string { return []string{"BUS.PUB", "a", "b", "REQID", fmt.Sprint(i + 2)} })
	if publish(1) != second {
		t.Error("the youngest are forgotten")
	}
	if publish(0) == first {
		t.Error("more are kept than may be")
	}
	// Large ones: of those who held a lock, as it was broken.
	why := strings.Repeat("w", wire.MaxLockText)
	acquire := func(i int) []string {
		return []string{"LOCK.ACQUIRE", "large", "SHARED", "OWNER", fmt.Sprint(i), "WHY", why}
	}
	c.doEach(100, acquire)
	sized := func() (n, bytes int) {
		h.on(func() {
			n, bytes = h.set.Outcomes(h.self.UID)
		})
		return n, bytes
	}
	for i := 0; ; i++ {
		c.do("LOCK.BREAK", "large", "REQID", fmt.Sprint("break", i))
		c.doEach(100, acquire)
		n, bytes := sized()
		if n > session.MaxOutcomes || bytes > session.MaxOutcomeBytes || i > session.MaxOutcomes {
			t.Fatalf("%d outcomes of %d bytes", n, bytes)
		}
		if n < session.MaxOutcomes/2 { // it is the bytes that are too many
			break
		}
	}
}

// TestReqIDStop: who waits is told of the stop, and so is who repeats what waits.
func TestReqIDStop(t *testing.T) {
	h := start(t)
	holder, waiter, late := h.dial(), h.dial(), h.dial()
	holder.acquire("a")
	h.queue(waiter, "a", "OWNER", "w", "REQID", "1")
	gone := h.dial()
	h.queue(gone, "a", "OWNER", "g", "REQID", "2")
	gone.close()
	h.quiesce(holder, waiter, late)
	late.sync()
	h.Post(func() {
		late.send("LOCK.ACQUIRE a OWNER w REQID 1\r\nLOCK.ACQUIRE a OWNER g REQID 2\r\nLOCK.ACQUIRE a OWNER n REQID 3\r\n")
		h.Server.stop()
	})
	const shutdown = "-SHUTDOWN the daemon is stopping\r\n"
	waiter.want(shutdown)
	waiter.eof()
	late.want(shutdown + shutdown + shutdown)
	late.eof()
	h.wait()
}
