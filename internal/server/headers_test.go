package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/ipc/wire"
)

// TestHeaders: who subscribes with BUS.SUB or in an envelope is told what a message says of itself, in either protocol, and Redis's own
// subscribers get their three or four words as ever.
func TestHeaders(t *testing.T) {
	h := start(t)
	sub, old, json, redis, pub := h.dial3(), h.dial(), h.dial3(), h.dial(), h.dial3()
	sub.do("BUS.SUB", "a/+")
	old.cmd("BUS.SUB", "a/b", "RAW")
	old.want(":1\r\n")
	json.cmd("PSUBSCRIBE", "ipcd/filter-json/a/b")
	json.value()
	redis.cmd("SUBSCRIBE", "a/b")
	redis.value()

	pub.do("BUS.PUB", "a/b", "x", "HEADER", "content-type", "text/plain", "header", "note", `é "q"`)
	sub.told(`a/b=x content-type:text/plain note:é "q"`)
	v := old.value()
	if got := told(v); got != `a/b=x content-type:text/plain note:é "q"` {
		t.Errorf("on RESP2 it is %s", got)
	}
	if got := json.value().Elems[3].Str; !strings.Contains(got, `"headers":{"content-type":"text/plain","note":"é \"q\""},"payload":"x"}`) {
		t.Errorf("the envelope is %s", got)
	}
	redis.want("*3\r\n$7\r\nmessage\r\n$3\r\na/b\r\n$1\r\nx\r\n")

	pub.do("BUS.PUB", "a/b", "y", "EXPIRES", "60000")
	sub.told("a/b=y expires")
	if got := json.value().Elems[3].Str; !strings.Contains(got, `,"expires":"20`) {
		t.Errorf("the envelope is %s", got)
	}
	pub.do("BUS.PUB", "a/b", "z") // which has no more of it than before there were any
	if v := sub.value(); len(v.Elems) != 10 {
		t.Errorf("a plain message is %+v", v)
	}
}

// TestHeadersOutlive: those of a retained value are told whoever comes later, also after a restart, and are charged for.
func TestHeadersOutlive(t *testing.T) {
	h := start(t)
	c := h.dial3()
	c.do("BUS.PUB", "a", "{}", "RETAIN", "HEADER", "content-type", "application/json", "HEADER", "empty", "")
	for range 2 {
		v := c.do("BUS.GET", "a").Get("headers")
		if v.Get("content-type").Str != "application/json" || len(v.Elems) != 4 {
			t.Errorf("the headers are %+v", v)
		}
		sub := h.dial3()
		sub.do("BUS.SUB", "a")
		sub.told("a={} retained content-type:application/json empty:")
		if got := c.do("IPCD.STATUS").Get("retained_bytes").Int; got != int64(len("a{}content-typeapplication/jsonempty")) {
			t.Errorf("%d bytes are retained", got)
		}
		h = restart(h)
		c = h.dial3()
	}
}

// TestHeadersBounds: what is no header is refused with what one has to be, and nothing is published.
func TestHeadersBounds(t *testing.T) {
	h := start(t)
	c, sub := h.dial3(), h.dial3()
	sub.do("BUS.SUB", "a")
	headers := func(n, size int) (words []string) {
		for i := range n {
			words = append(words, "HEADER", fmt.Sprint("n", i), strings.Repeat("x", size))
		}
		return words
	}
	for _, x := range []struct {
		says  string
		words []string
	}{
		{"syntax error", []string{"HEADER"}},
		{"syntax error", []string{"HEADER", "a"}},
		{`unlike "A"`, []string{"HEADER", "A", "x"}},
		{`unlike ""`, []string{"HEADER", "", "x"}},
		{`unlike "a_b"`, []string{"HEADER", "a_b", "x"}},
		{`unlike "1"`, []string{"HEADER", "1", "x"}},
		{"1 to 64 of", []string{"HEADER", strings.Repeat("a", 65), "x"}},
		{`header "a" wants UTF-8`, []string{"HEADER", "a", "\xff"}},
		{`header "a" wants UTF-8`, []string{"HEADER", "a", "x\n"}},
		{`header "a" is there twice`, []string{"HEADER", "a", "x", "HEADER", "a", "x"}},
		{"at most 32 headers", headers(33, 1)},
		{"at most 4096 bytes", headers(2, 2048)},
	} {
		c.refused(wire.CodeErr, x.says, append([]string{"BUS.PUB", "a", "x"}, x.words...)...)
	}
	for _, fits := range [][]string{headers(32, 1), headers(2, 2046), {"HEADER", strings.Repeat("a", 64), "x"}} {
		if v := c.do(append([]string{"BUS.PUB", "a", "x"}, fits...)...); v.Get("delivered").Int != 1 {
			t.Errorf("%.80q: %+v", fits, v)
		}
		if v := sub.value(); len(v.Elems) != 11 || len(v.Elems[10].Get("headers").Elems) != len(fits)/3*2 {
			t.Errorf("a subscriber is told %.200s", fmt.Sprint(v))
		}
	}
}

// TestHeadersInLine: a message to very many that stands in line keeps what it says of itself, whatever its connection and others
// send meanwhile.
func TestHeadersInLine(t *testing.T) {
	m, many := newMany(t, 1)
	publisher, other := m.connectAs(1001, false), m.connectAs(1002, false)
	publisher.cmd("BUS.PUB", manyLevels, "x", "HEADER", "k", "v", "EXPIRES", "60000")
	m.step()
	if m.messages.InLine() != 1 {
		t.Fatal("nothing stands in line")
	}
	for _, c := range []*end{publisher, other} {
		c.cmd("BUS.PUB", "other", "overwrites what was read", "HEADER", "no", "no")
		m.read(c)
	}
	if m.messages.InLine() != 1 || m.messages.Seq() != 2 {
		t.Fatal("nobody has published meanwhile")
	}
	m.settle()
	n := 0
	for v := range values(t, []byte(many.take())) {
		if more := v.Elems[len(v.Elems)-1]; v.Elems[3].Str != "x" || more.Get("headers").Get("k").Str != "v" || more.Get("expires").Int == 0 {
			t.Fatalf("a filter gets %+v", v)
		}
		n++
	}
	if n != manyFilters {
		t.Errorf("%d filters got it, want %d", n, manyFilters)
	}
}
