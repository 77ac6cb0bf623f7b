package server

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/ipc/wire"
)

// serve makes a client that serves something.
func (h *harness) serve(words ...string) *client {
	h.t.Helper()
	c := h.dial3()
	c.do(append([]string{"BUS.SERVE"}, words...)...)
	return c
}

// asked reads a request, and gives its id; what it is for is in short: topic=payload.
func (c *client) asked(want string) (id string) {
	c.t.Helper()
	v := c.value()
	if v.Kind != wire.KindPush || len(v.Elems) != 10 || v.Elems[0].Str != "bus.request" {
		c.t.Fatalf("got %+v, want a request", v)
	}
	if got := v.Elems[3].Str + "=" + v.Elems[4].Str; got != want {
		c.t.Fatalf("asked for %s, want %s", got, want)
	}
	return strconv.FormatInt(v.Elems[1].Int, 10)
}

// revoked reads that nobody waits for an answer any more.
func (c *client) revoked(id string) {
	c.t.Helper()
	if v := c.value(); v.Kind != wire.KindPush || len(v.Elems) != 2 || v.Elems[0].Str != "bus.cancel" || fmt.Sprint(v.Elems[1].Int) != id {
		c.t.Fatalf("got %+v, want that %s is revoked", v, id)
	}
}

// TestRequest: the reply to BUS.REQ is the answer, on RESP2 and 3, and what is sent behind it waits. The responder is told who asks,
// and until when.
func TestRequest(t *testing.T) {
	h := start(t)
	a, r := h.dial(), h.serve("calc/+")
	a.cmd("BUS.REQ", "calc/sum", "2 3", "TIMEOUT", "3600000")
	a.cmd("ECHO", "behind")
	v := r.value()
	if v.Elems[2].Str != "calc/+" || v.Elems[5].Int == 0 || int(v.Elems[6].Int) != h.self.PID || uint32(v.Elems[7].Int) != h.self.UID ||
		v.Elems[8].Str != h.self.Unit || v.Elems[9].Int != v.Elems[5].Int+3600_000_000 {
		t.Errorf("the request is %+v", v)
	}
	a.quiet()
	r.do("BUS.REPLY", fmt.Sprint(v.Elems[1].Int), "a\x00\r\n")
	a.want(bulk("a\x00\r\n") + bulk("behind"))

	// In parts, and with an error, of which the asker is told one line.
	a.cmd("BUS.REQ", "calc/sum", "")
	id := r.asked("calc/sum=")
	r.do("BUS.REPLY", id, "one ", "MORE")
	r.do("BUS.REPLY", id, "", "more")
	r.do("BUS.REPLY", id, "two")
	a.want(bulk("one two"))
	a.cmd("BUS.REQ", "calc/sum", "x")
	id = r.asked("calc/sum=x")
	r.do("BUS.REPLY", id, "a part", "MORE")
	r.do("BUS.REPLY", id, "cannot add: \r\n-BUSY \x1b\xff", "ERROR")
	a.fails(wire.CodeRemote, "cannot add:   -BUSY")

	// It is over then, and nobody else's business.
	other := h.serve("calc/#", "GROUP", "g")
	a.cmd("BUS.REQ", "calc/sum", "y")
	id = r.asked("calc/sum=y")
	for _, c := range []*client{other, h.dial()} {
		c.refused(wire.CodeStale, "no request "+id+" waits for an answer of this connection", "BUS.REPLY", id, "stolen")
	}
	r.refused(wire.CodeStale, "", "BUS.REPLY", "999999", "x")
	r.do("BUS.REPLY", id, "z")
	a.want(bulk("z"))
	r.refused(wire.CodeStale, "", "BUS.REPLY", id, "z")

	for words, code := range map[string]wire.Code{
		"BUS.REQ nobody x": wire.CodeNoResponders, "BUS.REQ a/# x": wire.CodeBadName, "BUS.REQ ipcd/x x": wire.CodeDenied,
		"BUS.REQ a x TIMEOUT": wire.CodeErr, "BUS.REQ a x TIMEOUT 0": wire.CodeErr, "BUS.REQ a x WAIT -1": wire.CodeErr, "BUS.REQ a x SOON": wire.CodeErr,
		"BUS.REQ a x REPLIES 0": wire.CodeErr, "BUS.REQ a x REPLIES 257": wire.CodeErr, "BUS.REQ a x REPLIES": wire.CodeErr, "BUS.REQ a x ASYNC": wire.CodeErr,
		"BUS.SERVE a": wire.CodeErr, "BUS.UNSERVE a": wire.CodeNotFound, "BUS.REPLY x y": wire.CodeErr, "BUS.CANCEL x": wire.CodeErr,
		"BUS.SERVE a# GROUP g": wire.CodeErr, "BUS.REPLY 1 y SOME": wire.CodeErr,
	} {
		a.refused(code, "", strings.Fields(words)...)
	}
	for words, code := range map[string]wire.Code{
		"BUS.SERVE a#": wire.CodeBadName, "BUS.SERVE a GROUP": wire.CodeErr, "BUS.SERVE a COUNT 0": wire.CodeErr, "BUS.UNSERVE a GROUP g": wire.CodeNotFound,
		"BUS.UNSERVE calc/+ GROUP g": wire.CodeNotFound, "BUS.UNSERVE a COUNT 3": wire.CodeErr,
	} {
		r.refused(code, "", strings.Fields(words)...)
	}
	r.refused(wire.CodeBadName, "control character", "BUS.SERVE", "a", "GROUP", "\n")
	if n := r.do("BUS.UNSERVE").Int; n != 0 {
		t.Errorf("%d services are left", n)
	}
}

// TestRequestTakesPart: requests go to who has the fewest, in a group and outside; with REPLIES one of each group is asked, and each
// outside.
func TestRequestTakesPart(t *testing.T) {
	h := start(t)
	r := []*client{h.serve("t", "GROUP", "g"), h.serve("t", "GROUP", "g"), h.serve("+"), h.serve("#", "GROUP", "h", "COUNT", "2")}
	var askers []*client
	for i := range 4 {
		askers = append(askers, h.dial())
		askers[i].cmd("BUS.REQ", "t", fmt.Sprint(i))
		id := r[i].asked(fmt.Sprint("t=", i))
		defer func() {
			r[i].cmd("BUS.REPLY", id, "late")
			askers[i].want(bulk("late"))
		}()
	}
	all := h.dial()
	all.cmd("BUS.REQ", "t", "all", "REPLIES", "ALL")
	ids := map[int]string{}
	for _, i := range []int{0, 2, 3} {
		ids[i] = r[i].asked("t=all")
	}
	r[2].do("BUS.REPLY", ids[2], "two", "MORE")
	r[3].do("BUS.REPLY", ids[3], "no", "ERROR")
	r[0].do("BUS.REPLY", ids[0], "one")
	all.quiet()
	r[2].do("BUS.REPLY", ids[2], "!")
	all.want("*3\r\n" + bulk("two!") + "-REMOTE no\r\n" + bulk("one"))
	if r[3].do("BUS.SERVE", "other").Int != 1 { // the one with COUNT has ended
		t.Error("a service goes on after as many requests as it takes")
	}

	// So many are enough.
	all.cmd("BUS.REQ", "t", "two", "REPLIES", "1")
	id := r[1].asked("t=two")
	r[1].do("BUS.REPLY", id, "x")
	all.want("*1\r\n" + bulk("x"))
	all.cmd("BUS.REQ", "t", "two", "REPLIES", "2")
	id = r[0].asked("t=two")
	r[0].do("BUS.REPLY", id, "x")
	id = r[2].asked("t=two")
	r[2].do("BUS.REPLY", id, "y")
	all.want("*2\r\n" + bulk("x") + bulk("y"))
	all.refused(wire.CodeQuota, "65536 bytes", "BUS.REQ", "t", strings.Repeat("x", 65537), "REPLIES", "2")
}

// TestRequestEnds: a deadline, an asker or a responder that goes, in each way.
func TestRequestEnds(t *testing.T) {
	h := start(t)
	r := h.serve("t")
	h.dial().refused(wire.CodeTimeout, "", "BUS.REQ", "t", "x", "TIMEOUT", "1")
	id := r.asked("t=x")
	r.prompt().revoked(id)

	// With answers, these are the outcome.
	a := h.dial()
	other := h.serve("t")
	a.cmd("BUS.REQ", "t", "x", "REPLIES", "3", "TIMEOUT", "3600000")
	r.do("BUS.REPLY", r.asked("t=x"), "one")
	h.pass(time.Hour)
	a.want("*1\r\n" + bulk("one"))
	id = other.asked("t=x")
	other.prompt().revoked(id)
	other.do("BUS.UNSERVE")

	// Who asks is gone, or has half closed and waits still.
	gone := h.dial()
	gone.cmd("BUS.REQ", "t", "gone")
	id = r.asked("t=gone")
	gone.close()
	r.prompt().revoked(id)
	r.refused(wire.CodeStale, "", "BUS.REPLY", id, "x")
	half := h.dial()
	half.cmd("BUS.REQ", "t", "half")
	half.halfClose()
	id = r.asked("t=half")
	r.do("BUS.REPLY", id, "answer")
	half.want(bulk("answer"))
	half.eof()

	// Who answers is gone: the connection, the service, or all that it had.
	r.do("BUS.UNSERVE")
	a = h.dial()
	for _, end := range []func(r *client){
		(*client).close, func(r *client) { r.do("BUS.UNSERVE", "u", "GROUP", "g") }, func(r *client) { r.do("BUS.UNSERVE") }, func(r *client) { r.send("RESET\r\n") },
	} {
		r := h.serve("u", "GROUP", "g")
		a.cmd("BUS.REQ", "u", "x")
		r.asked("u=x")
		end(r)
		a.fails(wire.CodeRemote, "is gone, and had not answered")
	}

	// Another is asked, if that does no harm.
	one, two := h.serve("u", "GROUP", "g"), h.serve("u", "GROUP", "g")
	a.cmd("BUS.REQ", "u", "again", "REPEATABLE")
	one.asked("u=again")
	one.close()
	id = two.asked("u=again")
	two.do("BUS.REPLY", id, "part", "MORE")
	three := h.serve("u", "GROUP", "g")
	two.send("RESET\r\n")
	a.fails(wire.CodeRemote, "is gone")
	three.quiet()
}

// TestRequestWaits: with WAIT a request waits for somebody who serves it, and then goes there in its turn.
func TestRequestWaits(t *testing.T) {
	h := start(t)
	h.dial().refused(wire.CodeNoResponders, "nobody came", "BUS.REQ", "t", "x", "WAIT", "1")
	h.dial().refused(wire.CodeTimeout, "", "BUS.REQ", "t", "x", "WAIT", "3600000", "TIMEOUT", "1")
	h.dial().refused(wire.CodeNoResponders, "", "BUS.REQ", "t", "x", "WAIT", "0")
	var askers []*client
	for i := range 40 {
		a := h.dial3()
		if ticket := a.do("BUS.REQ", "t", fmt.Sprint(i), "WAIT", "3600000", "ASYNC").Int; ticket <= 1<<52 {
			t.Fatalf("the ticket is %d", ticket)
		}
		askers = append(askers, a)
	}
	gone := askers[7]
	gone.close()
	h.until("it is gone", func() bool { return h.set.Users.Find(h.self.UID).Used(account.Requests) == 39 })
	r := h.serve("#", "COUNT", "30")
	var ids []string
	askers = slices.Delete(askers, 7, 8)
	for i := range 30 {
		ids = append(ids, r.asked(fmt.Sprint("t=", i+map[bool]int{true: 1}[i >= 7])))
	}
	for i, id := range ids {
		r.do("BUS.REPLY", id, "answer")
		if v := askers[i].value(); v.Kind != wire.KindPush || v.Elems[0].Str != "done" || v.Elems[2].Str != "answer" {
			t.Errorf("the outcome of %d is %+v", i, v)
		}
	}
	r.sync()
	askers[38].sync()
	h.serve("t").asked("t=31")
}

// TestRequestGivenUp: BUS.CANCEL ends one that is ASYNC, of this connection.
func TestRequestGivenUp(t *testing.T) {
	h := start(t)
	r, a, other := h.serve("t"), h.dial3(), h.dial3()
	ticket := strconv.FormatInt(a.do("BUS.REQ", "t", "x", "ASYNC").Int, 10)
	id := r.asked("t=x")
	a.do("PING")
	if other.do("BUS.CANCEL", ticket).Int+a.do("BUS.CANCEL", id).Int != 0 {
		t.Error("one that is not there was given up, or another's")
	}
	if a.do("BUS.CANCEL", ticket).Int != 1 {
		t.Error("it was not given up")
	}
	if v := a.value(); v.Kind != wire.KindPush || !strings.HasPrefix(v.Elems[2].Str, "CANCELLED ") {
		t.Errorf("the outcome is %+v", v)
	}
	r.revoked(id)
	if a.do("BUS.CANCEL", ticket).Int != 0 {
		t.Error("it was given up twice")
	}
}

// TestRequestOfItsOwn: a connection that waits for the answer is not asked for it, and with ASYNC it is.
func TestRequestOfItsOwn(t *testing.T) {
	h := start(t)
	own := h.serve("t")
	own.refused(wire.CodeDeadlock, "would wait for its own answer", "BUS.REQ", "t", "x")
	own.cmd("BUS.REQ", "t", "x", "ASYNC")
	own.value()
	id := own.asked("t=x")
	own.cmd("BUS.REPLY", id, "answer")
	if v := own.value(); v.Str != "OK" && v.Kind != wire.KindPush {
		t.Errorf("got %+v", v)
	}
	own.value()
	other := h.serve("t")
	own.cmd("BUS.REQ", "t", "y")
	other.do("BUS.REPLY", other.asked("t=y"), "z")
	own.want(bulk("z"))
}

// TestRequestsAreLimited: of one user, in number and in bytes; an answer in bytes; and of who does not read none more is asked.
func TestRequestsAreLimited(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.RequestsPerUser, o.Limits.Output = 20, 1<<20 })
	r, a := h.serve("t", "GROUP", "g"), h.dial3()
	for range 20 {
		a.do("BUS.REQ", "t", "x", "ASYNC")
	}
	a.refused(wire.CodeQuota, "20 requests of user", "BUS.REQ", "t", "x", "ASYNC")
	var ids []string
	for range 20 {
		ids = append(ids, r.asked("t=x"))
	}
	part := strings.Repeat("x", 1<<19)
	for range wire.MaxAnswer / len(part) {
		r.do("BUS.REPLY", ids[0], part, "MORE")
	}
	r.refused(wire.CodeQuota, "an answer may have 8388608 bytes", "BUS.REPLY", ids[0], "x")
	if v := a.value(); v.Elems[2].Err() == nil || !strings.HasPrefix(v.Elems[2].Str, "REMOTE the answer is too long") {
		t.Errorf("the outcome is %.200v", v)
	}
	r.refused(wire.CodeStale, "", "BUS.REPLY", ids[0], "x")
	for _, id := range ids[1:] {
		r.do("BUS.REPLY", id, "")
		a.value()
	}

	// The responder reads no more: it is asked until its outbox is half full, and then another.
	n := 0
	for ; n < 20; n++ {
		a.cmd("BUS.REQ", "t", part, "ASYNC")
		if v := a.value(); v.Err() != nil {
			if !strings.HasPrefix(v.Str, "BUSY the responder (pid ") {
				t.Errorf("refused with %q", v.Str)
			}
			break
		}
	}
	if n == 0 || n == 20 {
		t.Fatalf("%d requests were sent to who does not read", n)
	}
	quick := h.serve("t", "GROUP", "g")
	a.do("BUS.REQ", "t", "small", "ASYNC")
	quick.do("BUS.REPLY", quick.asked("t=small"), "answer")
	if v := a.value(); v.Elems[2].Str != "answer" {
		t.Errorf("the outcome is %.200v", v)
	}
	r.close()
	for range n {
		if v := a.value(); !strings.HasPrefix(v.Elems[2].Str, "REMOTE ") {
			t.Errorf("the outcome is %.200v", v)
		}
	}
}

// TestServicesOfATopicAreLimited: one that is served in very many groups is asked nothing, be it for one answer, until they are fewer.
func TestServicesOfATopicAreLimited(t *testing.T) {
	h := start(t)
	r, a := h.dial3(), h.dial3()
	const many = bus.MostAsked + 1
	r.doEach(many, func(i int) []string { return []string{"BUS.SERVE", "t", "GROUP", strconv.Itoa(i)} })
	for _, option := range []string{"ENVELOPE", "REPEATABLE", "ASYNC"} {
		a.refused(wire.CodeQuota, "too many are there to answer the request, more than 256", "BUS.REQ", "t", "x", option)
	}
	r.do("BUS.UNSERVE", "t", "GROUP", "0")
	a.cmd("BUS.REQ", "t", "x")
	r.do("BUS.REPLY", r.asked("t=x"), "y")
	a.want(bulk("y"))
}

// TestUnserveTakesNoList: to begin to end all services of a connection, or one, takes the same however many it has.
func TestUnserveTakesNoList(t *testing.T) {
	const n = 10_000
	s := newStage(t, func(setup *Setup, o *Options) { setup.Verify, o.Limits.SubscriptionsPerUser = false, n })
	c, now := s.connect(1000), time.Duration(0)
	c.cmd("HELLO", "3")
	for i := range n {
		c.cmd("BUS.SERVE", "t", "GROUP", strconv.Itoa(i))
	}
	s.settle()
	c.Take()
	s.set.Net.Now = func() time.Duration { now += time.Second; return now } // each part of a turn is over soon
	for _, words := range []string{"BUS.UNSERVE nosuch", "BUS.UNSERVE t GROUP 1", "BUS.UNSERVE"} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		(*host)(s.Server).Execute(c.server, bytes.Fields([]byte(words)))
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 8*n { // a list would take four times as much
			t.Errorf("%s takes %d bytes", words, took)
		}
	}
	s.settle()
	if got := c.Take(); !strings.HasSuffix(got, fmt.Sprintf(":%d\r\n:0\r\n", n-1)) || c.server.User().Used(account.Subscriptions) != 0 {
		t.Errorf("got %q, and %d are charged", got, c.server.User().Used(account.Subscriptions))
	}
}

// TestRequestsAtStop: who waits for an answer, or for somebody to give one, is told that the daemon stops.
func TestRequestsAtStop(t *testing.T) {
	h := start(t)
	r, a, b := h.serve("t"), h.dial(), h.dial()
	a.cmd("BUS.REQ", "t", "x")
	id := r.asked("t=x")
	b.cmd("BUS.REQ", "nobody", "x", "WAIT", "3600000")
	h.until("both are there", func() bool { return h.set.Users.Find(h.self.UID).Used(account.Requests) == 2 })
	h.stop()
	const shutdown = "-SHUTDOWN the daemon is stopping\r\n"
	a.want(shutdown)
	b.want(shutdown)
	r.revoked(id)
	r.want(goodbye)
}
