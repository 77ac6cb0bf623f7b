package server

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/asking"
	"github.com/ipcd/ipcd/ipc/wire"
)

// TestRequestHeaders: who serves is told what a request says of itself, and who wants to know it what an answer does and who has given it.
func TestRequestHeaders(t *testing.T) {
	h := start(t)
	r, a, old := h.serve("t"), h.dial3(), h.dial()
	asked := func(headers string) (id string) {
		t.Helper()
		v := r.value()
		got := ""
		if len(v.Elems) > 10 {
			for e := v.Elems[10].Get("headers").Elems; len(e) > 1; e = e[2:] {
				got += e[0].Str + ":" + e[1].Str + " "
			}
		}
		if v.Elems[0].Str != "bus.request" || got != headers {
			t.Fatalf("got %+v, want the headers %q", v, headers)
		}
		return strconv.FormatInt(v.Elems[1].Int, 10)
	}
	for _, wait := range []bool{false, true} { // which keeps them, for somebody who comes
		words := []string{"BUS.REQ", "t", "x", "HEADER", "content-type", "text/plain", "header", "note", "é", "ENVELOPE"}
		if wait {
			r.do("BUS.UNSERVE")
			words = append(words, "WAIT", "3600000")
		}
		a.cmd(words...)
		if wait {
			h.until("it waits", func() bool { return h.set.Users.Find(h.self.UID).Used(account.Requests) == 1 })
			r.do("BUS.SERVE", "t")
		}
		id := asked("content-type:text/plain note:é ")
		r.do("BUS.REPLY", id, "one", "HEADER", "a", "1", "MORE", "HEADER", "b", "2")
		r.refused(wire.CodeErr, "ERROR is the end", "BUS.REPLY", id, "why", "ERROR", "HEADER", "a", "1")
		r.refused(wire.CodeErr, "is there twice", "BUS.REPLY", id, "two", "HEADER", "a", "1", "HEADER", "a", "1")
		r.do("BUS.REPLY", id, "two", "HEADER", "a", "3")
		v := a.value()
		headers := v.Get("headers")
		if v.Kind != wire.KindMap || v.Get("payload").Str != "onetwo" || headers.Get("a").Str != "3" || headers.Get("b").Str != "2" || len(headers.Elems) != 4 ||
			int(v.Get("pid").Int) != h.self.PID || uint32(v.Get("uid").Int) != h.self.UID || v.Get("unit").Str != h.self.Unit {
			t.Errorf("the answer is %+v", v)
		}
	}

	// Who has not said ENVELOPE gets a payload; and a map is an array on RESP2.
	old.cmd("BUS.REQ", "t", "x")
	r.do("BUS.REPLY", asked(""), "plain", "HEADER", "a", "1")
	old.want(bulk("plain"))
	old.cmd("BUS.REQ", "t", "x", "ENVELOPE", "REPLIES", "ALL")
	r.do("BUS.REPLY", asked(""), "y")
	if v := old.value(); len(v.Elems) != 1 || len(v.Elems[0].Elems) != 10 || v.Elems[0].Elems[1].Str != "y" {
		t.Errorf("the answers are %+v", v)
	}

	// Too many, in all parts together: the request fails.
	many := []string{"BUS.REPLY", "", "x", "MORE"}
	for i := range wire.MaxHeaders {
		many = append(many, "HEADER", fmt.Sprint("h", i), "v")
	}
	a.refused(wire.CodeErr, "at most 32 headers", append(append([]string{"BUS.REQ", "t", "x"}, many[4:]...), "HEADER", "more", "")...)
	a.cmd("BUS.REQ", "t", "x")
	many[1] = asked("")
	r.do(many...)
	r.do(many...)
	r.refused(wire.CodeQuota, "at most 32 headers", "BUS.REPLY", many[1], "x", "HEADER", "more", "")
	a.fails(wire.CodeRemote, "too long: an answer has at most 32 headers")
	a.refused(wire.CodeErr, "the name of a header", "BUS.REQ", "t", "x", "HEADER", "A", "b")
	a.refused(wire.CodeErr, "syntax", "BUS.REQ", "t", "x", "HEADER", "a")
	a.refused(wire.CodeErr, "a request and its answer go without files: FD is for BUS.PUB", "BUS.REQ", "t", "x", "FD", "sealed")
	a.refused(wire.CodeErr, "a request and its answer go without files: FD is for BUS.PUB", "BUS.REPLY", "1", "x", "FD", "sealed")
}

// partOf reads a part of an answer.
func (c *client) partOf(ticket int64) (text string) {
	c.t.Helper()
	v := c.value()
	if v.Kind != wire.KindPush || v.Elems[1].Int != ticket {
		c.t.Fatalf("got %+v, of %d", v, ticket)
	}
	switch v.Elems[0].Str {
	case "done":
		if err := v.Elems[2].Err(); err != nil {
			return "done " + v.Elems[2].Str
		}
		return fmt.Sprint("done ", v.Elems[2].Int)
	case "bus.part":
		return fmt.Sprint(v.Elems[2].Int, " ", v.Elems[3].Str, v.Elems[3].Get("payload").Str, " ", v.Elems[4].Int)
	}
	c.t.Fatalf("got %+v", v)
	return ""
}

// TestRequestParts: who wants parts gets each as it comes, of one answer and of several, and the end behind them.
func TestRequestParts(t *testing.T) {
	h := start(t)
	r, a := h.serve("t"), h.dial3()
	a.refused(wire.CodeErr, "say ASYNC", "BUS.REQ", "t", "x", "PARTS")
	a.refused(wire.CodeErr, "exclude each other", "BUS.REQ", "t", "x", "PARTS", "ASYNC", "REQID", "1")
	ask := func(words ...string) int64 {
		return a.do(append([]string{"BUS.REQ", "t", "x", "ASYNC", "PARTS"}, words...)...).Int
	}
	told := func(ticket int64, want ...string) {
		t.Helper()
		for _, w := range want {
			if got := a.partOf(ticket); got != w {
				t.Fatalf("got %s, want %s", got, w)
			}
		}
	}
	ticket := ask()
	id := r.asked("t=x")
	r.do("BUS.REPLY", id, "one", "MORE")
	told(ticket, "1 one 1")
	r.do("BUS.REPLY", id, "", "MORE")
	r.do("BUS.REPLY", id, "two")
	told(ticket, "1  1", "1 two 0", "done 1")

	// Of two, each has its number; one that fails is told as it does.
	other := h.serve("t")
	ticket = ask("REPLIES", "ALL", "ENVELOPE")
	id, second := r.asked("t=x"), other.asked("t=x")
	r.do("BUS.REPLY", id, "a", "MORE", "HEADER", "h", "v")
	other.do("BUS.REPLY", second, "b", "MORE")
	r.do("BUS.REPLY", id, "c", "MORE")
	told(ticket, "1 a 1", "2 b 1", "1 c 1")
	r.do("BUS.REPLY", id, "d")
	other.close()
	told(ticket, "1 d 0")
	if got := a.partOf(ticket); !strings.HasPrefix(got, "2 REMOTE the responder") || !strings.HasSuffix(got, "had not answered 0") {
		t.Errorf("got %s", got)
	}
	told(ticket, "done 1")

	// Nobody has an answer; the time is over; it is given up.
	ticket = ask()
	r.do("BUS.REPLY", r.asked("t=x"), "no", "ERROR")
	told(ticket, "1 REMOTE no 0", "done REMOTE no")
	ticket = ask("TIMEOUT", "3600000")
	id = r.asked("t=x")
	r.do("BUS.REPLY", id, "part", "MORE")
	told(ticket, "1 part 1")
	h.pass(time.Hour)
	r.revoked(id)
	told(ticket, "done TIMEOUT no answer came in time")
	ticket = ask()
	id = r.asked("t=x")
	a.do("BUS.CANCEL", fmt.Sprint(ticket))
	told(ticket, "done CANCELLED the request was given up")
	r.revoked(id)

	// As a whole it would be too long.
	ticket = ask()
	id = r.asked("t=x")
	part := strings.Repeat("x", 1<<19)
	for range 2 * wire.MaxAnswer / len(part) {
		r.do("BUS.REPLY", id, part, "MORE")
		a.partOf(ticket)
	}
	r.do("BUS.REPLY", id, "")
	told(ticket, "1  0", "done 1")
}

// TestRequestPartsOfSlowAsker: the responder is told to wait when the asker does not read, and to go on when he has; what he sends all the
// same is bounded, and nothing is lost of what was taken.
func TestRequestPartsOfSlowAsker(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.Output = 1 << 20 })
	r, a := h.serve("t"), h.dial3()
	ticket := a.do("BUS.REQ", "t", "x", "ASYNC", "PARTS").Int
	id := r.asked("t=x")
	part := strings.Repeat("x", 64<<10)
	taken, waits := 0, false
	for {
		r.cmd("BUS.REPLY", id, part, "MORE")
		v := r.value()
		if strings.HasPrefix(v.Str, "BUSY who asks has to read first") {
			break
		}
		if taken++; v.Str != "OK" && v.Str != "WAIT" || waits && v.Str == "OK" || taken > 100 {
			t.Fatalf("part %d: %+v", taken, v)
		}
		waits = v.Str == "WAIT"
	}
	if !waits || taken*len(part) > 1<<20 {
		t.Errorf("it was told to wait: %v, and %d bytes were taken", waits, taken*len(part))
	}
	for range taken {
		if got := a.partOf(ticket); got != "1 "+part+" 1" {
			t.Fatalf("got %.100s", got)
		}
	}
	if v := r.prompt().value(); v.Kind != wire.KindPush || v.Elems[0].Str != "bus.ready" || fmt.Sprint(v.Elems[1].Int) != id {
		t.Errorf("got %+v", v)
	}
	if v := r.do("BUS.REPLY", id, "end"); v.Str != "OK" {
		t.Errorf("got %+v", v)
	}
	for _, want := range []string{"1 end 0", "done 1"} {
		if got := a.partOf(ticket); got != want {
			t.Errorf("got %.100s, want %s", got, want)
		}
	}

	// Who goes while he is waited for.
	a.do("BUS.REQ", "t", "x", "ASYNC", "PARTS")
	id = r.asked("t=x")
	for waits = false; !waits; {
		waits = r.do("BUS.REPLY", id, part, "MORE").Str == "WAIT"
	}
	a.close()
	r.prompt().revoked(id)
	r.refused(wire.CodeStale, "", "BUS.REPLY", id, "x")
}

// TestRequestAgain: a request with a REQID is made once, on however many connections it comes, and each of them is answered alike.
func TestRequestAgain(t *testing.T) {
	h := start(t)
	r := h.serve("t")
	words := []string{"BUS.REQ", "t", "x", "TIMEOUT", "3600000", "REQID", "1"}
	first := h.dial()
	first.cmd(words...)
	id := r.asked("t=x")

	// A repeat takes its place, whatever it says of the time.
	second := h.dial3()
	words[4] = "5"
	second.cmd(words...)
	first.prompt().fails(wire.CodeCancelled, "goes on, on another connection")
	first.sync()
	second.close()
	h.quiesce(r, first)
	third := h.dial()
	third.cmd(words...)
	r.do("BUS.REPLY", id, "answer")
	third.want(bulk("answer"))
	third.cmd(words...)
	third.want(bulk("answer"))
	first.refused(wire.CodeErr, "that of another command", "BUS.REQ", "t", "y", "REQID", "1")

	// What comes while nobody is there is told who comes.
	first.cmd("BUS.REQ", "t", "away", "REQID", "2")
	id = r.asked("t=away")
	first.close()
	h.quiesce(r, third)
	h.pass(asking.Grace / 2)
	r.do("BUS.REPLY", id, "it is here")
	third.cmd("BUS.REQ", "t", "away", "REQID", "2")
	third.want(bulk("it is here"))

	// With ASYNC it has the same ticket.
	a, b := h.dial3(), h.dial3()
	ticket := a.do("BUS.REQ", "t", "async", "ASYNC", "REQID", "3").Int
	id = r.asked("t=async")
	if again := b.do("BUS.REQ", "t", "async", "ASYNC", "REQID", "3").Int; again != ticket {
		t.Errorf("the ticket is %d, and was %d", again, ticket)
	}
	if v := a.value(); v.Elems[1].Int != ticket || !strings.HasPrefix(v.Elems[2].Str, "CANCELLED ") {
		t.Errorf("got %+v", v)
	}
	if n := a.do("BUS.CANCEL", fmt.Sprint(ticket)).Int; n != 0 {
		t.Error("it was given up by who has it no more")
	}
	b.do("BUS.CANCEL", fmt.Sprint(ticket))
	if v := b.value(); v.Elems[1].Int != ticket || !strings.HasPrefix(v.Elems[2].Str, "CANCELLED ") {
		t.Errorf("got %+v", v)
	}
	r.revoked(id)

	// Nobody comes back: the responder is told, and whoever comes later.
	a.cmd("BUS.REQ", "t", "gone", "REQID", "4")
	id = r.asked("t=gone")
	a.close()
	h.quiesce(r, third, b)
	h.pass(asking.Grace / 2)
	r.sync()
	h.pass(asking.Grace / 2)
	r.revoked(id)
	b.refused(wire.CodeCancelled, "given up", "BUS.REQ", "t", "gone", "REQID", "4")

	// What is decided at once is an outcome, too; but not what there was no room for.
	r.do("BUS.UNSERVE")
	for range 2 {
		b.refused(wire.CodeNoResponders, "", "BUS.REQ", "t", "x", "REQID", "5")
		r.do("BUS.SERVE", "t")
	}
	r.sync()

	// An answer that is too long to be kept is not asked for again.
	b.cmd("BUS.REQ", "t", "long", "REQID", "6")
	long := strings.Repeat("x", asking.MostKept)
	r.do("BUS.REPLY", r.asked("t=long"), long)
	b.want(bulk(long))
	b.refused(wire.CodeQuota, "too long to be kept", "BUS.REQ", "t", "long", "REQID", "6")
	r.sync()
	b.cmd("BUS.REQ", "t", "x", "TIMEOUT", "9", "REQID", "1") // which has not pushed out others
	b.want(bulk("answer"))
	h.nothingKept()
}

// TestRequestAgainAtReset: RESET leaves a request with a REQID as a hang-up does.
func TestRequestAgainAtReset(t *testing.T) {
	h := start(t)
	r, a := h.serve("t"), h.dial3()
	ticket := a.do("BUS.REQ", "t", "x", "ASYNC", "REQID", "1").Int
	id := r.asked("t=x")
	a.send("RESET\r\n")
	a.want("+RESET\r\n")
	a.do("HELLO", "3")
	if again := a.do("BUS.REQ", "t", "x", "ASYNC", "REQID", "1").Int; again != ticket {
		t.Errorf("the ticket is %d, and was %d", again, ticket)
	}
	h.pass(2 * asking.Grace)
	r.do("BUS.REPLY", id, "answer")
	if v := a.value(); v.Elems[2].Str != "answer" {
		t.Errorf("got %+v", v)
	}
	a.do("BUS.REQ", "t", "x", "ASYNC", "REQID", "2")
	r.asked("t=x")
	h.stop()
	if v := a.value(); !strings.HasPrefix(v.Elems[2].Str, "SHUTDOWN ") {
		t.Errorf("got %+v", v)
	}
}
