package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/messages"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// told is a push of BUS.SUB in short: the topic, the payload, and what is told in the last element. Of a message in an envelope it is
// whether that is marked as retained.
func told(v wire.Value) string {
	var m struct {
		Topic, Payload string
		Retained       bool
	}
	if len(v.Elems) == 4 && v.Elems[0].Str == "pmessage" && json.Unmarshal([]byte(v.Elems[3].Str), &m) == nil && m.Topic == v.Elems[2].Str {
		return m.Topic + "=" + m.Payload + map[bool]string{true: " retained"}[m.Retained]
	}
	if v.Kind != wire.KindPush && v.Kind != wire.KindArray || len(v.Elems) < 10 || v.Elems[0].Str != "bus.message" {
		return fmt.Sprintf("%+v", v)
	}
	text := v.Elems[2].Str + "=" + v.Elems[3].Str
	for _, more := range v.Elems[10:] {
		if more.Get("retained").Int == 1 {
			text += " retained"
		}
		if more.Get("expires").Int != 0 {
			text += " expires"
		}
		headers := more.Get("headers").Elems
		for i := 0; i < len(headers); i += 2 {
			text += " " + headers[i].Str + ":" + headers[i+1].Str
		}
	}
	return text
}

func (c *client) told(want ...string) {
	c.t.Helper()
	for _, want := range want {
		if got := told(c.value()); got != want {
			c.t.Errorf("a subscriber is told %s, want %s", got, want)
		}
	}
}

// topics are what BUS.LIST tells, in short.
func (c *client) topics(filter ...string) string {
	var all []string
	for _, v := range c.do(append([]string{"BUS.LIST"}, filter...)...).Elems {
		all = append(all, fmt.Sprint(v.Get("topic").Str, ":", v.Get("size").Int))
	}
	return strings.Join(all, " ")
}

// TestRetained: who subscribes is sent the values of the topics that match, marked, after the reply and before what is published
// later; once, and of RESP2 likewise. They can be read, listed and cleared.
func TestRetained(t *testing.T) {
	h := start(t)
	c := h.dial3()
	if v := c.do("BUS.GET", "app/config"); v.Kind != wire.KindNull {
		t.Errorf("what was not published is %+v", v)
	}
	c.do("BUS.PUB", "app/config", "old", "RETAIN")
	seq := c.do("BUS.PUB", "app/config", "a\x00\xff", "RETAIN").Get("seq").Int
	c.do("BUS.PUB", "app/config", "live")
	c.do("BUS.PUB", "app", "", "retain")
	c.do("BUS.PUB", "other", "xyz", "RETAIN", "EXPIRES", "3600000")

	v := c.do("BUS.GET", "app/config")
	if v.Get("payload").Str != "a\x00\xff" || v.Get("seq").Int != seq || v.Get("expires").Int != -1 || v.Get("time").Int == 0 ||
		v.Get("topic").Str != "app/config" || int(v.Get("pid").Int) != h.self.PID || uint32(v.Get("uid").Int) != h.self.UID {
		t.Errorf("the value is %+v", v)
	}
	if left := c.do("BUS.GET", "other").Get("expires").Int; left <= 0 || left > 3600000 {
		t.Errorf("it lasts %d ms", left)
	}
	if got := c.topics(); got != "app:0 app/config:3 other:3" {
		t.Errorf("all topics are %s", got)
	}
	if got := c.topics("app/+"); got != "app/config:3" {
		t.Errorf("those of a filter are %s", got)
	}

	sub, old := h.dial3(), h.dial()
	sub.do("BUS.SUB", "app/#")
	sub.told("app= retained", "app/config=a\x00\xff retained")
	old.cmd("BUS.SUB", "app", "RAW")
	old.want(":1\r\n*11\r\n$11\r\nbus.message\r\n$3\r\napp\r\n$3\r\napp\r\n$0\r\n\r\n")
	sub.do("BUS.SUB", "app/#") // again: nothing
	c.do("BUS.PUB", "app/config", "new", "RETAIN")
	sub.told("app/config=new")

	if n := c.do("BUS.CLEAR", "app/config").Int; n != 1 {
		t.Errorf("%d values were cleared", n)
	}
	if n := c.do("BUS.CLEAR", "app/config").Int; n != 0 {
		t.Errorf("%d values were cleared again", n)
	}
	if v := c.do("BUS.GET", "app/config"); v.Kind != wire.KindNull {
		t.Errorf("what was cleared is %+v", v)
	}
	late := h.dial3()
	late.do("BUS.SUB", "app/config")
	late.do("PING") // nothing was before its reply

	for words, code := range map[string]wire.Code{
		"BUS.PUB a x RETAIN EXPIRES 0": wire.CodeErr, "BUS.PUB a x RETAIN EXPIRES": wire.CodeErr,
		"BUS.PUB a x KEEP": wire.CodeErr, "BUS.PUB a/# x RETAIN": wire.CodeBadName, "BUS.PUB ipcd/a x RETAIN": wire.CodeDenied,
		"BUS.GET a/#": wire.CodeBadName, "BUS.CLEAR +": wire.CodeBadName, "BUS.LIST a#": wire.CodeBadName, "BUS.CLEAR ipcd/a": wire.CodeDenied,
	} {
		c.refused(code, "", strings.Fields(words)...)
	}
	if got := c.topics(); got != "app:0 other:3" {
		t.Errorf("what is left is %s", got)
	}
}

// TestRetainedOutlives: values are the same after a restart, with who published them and when, and what is published after it has
// higher numbers.
func TestRetainedOutlives(t *testing.T) {
	h := start(t)
	c := h.dial3()
	for i := range 5 {
		c.do("BUS.PUB", "a", fmt.Sprint(i), "RETAIN")
	}
	c.do("BUS.PUB", "b/c", "\x00\xff\n", "RETAIN", "EXPIRES", "3600000")
	c.do("BUS.PUB", "gone", "x", "RETAIN")
	c.do("BUS.CLEAR", "gone")
	want := fmt.Sprint(c.do("BUS.GET", "a"))
	h = restart(h)
	c = h.dial3()
	if got := fmt.Sprint(c.do("BUS.GET", "a")); got != want {
		t.Errorf("the value was\n%s\nand is\n%s", want, got)
	}
	if v := c.do("BUS.GET", "b/c"); v.Get("payload").Str != "\x00\xff\n" || v.Get("expires").Int <= 0 {
		t.Errorf("the other is %+v", v)
	}
	if got := c.topics(); got != "a:1 b/c:3" {
		t.Errorf("there are %s", got)
	}
	sub := h.dial3()
	sub.do("BUS.SUB", "#")
	sub.prompt().told("a=4 retained", "b/c=\x00\xff\n retained expires")
	if seq := c.do("BUS.PUB", "a", "5").Get("seq").Int; seq <= 6 {
		t.Errorf("the message after it has number %d", seq)
	}
	sub.told("a=5")
}

// TestRetainedOrRefused: a value that cannot be written down is refused, and nobody is told of it; the one before it stays.
func TestRetainedOrRefused(t *testing.T) {
	h := start(t)
	c, sub := h.dial3(), h.dial3()
	sub.do("BUS.SUB", "a")
	c.do("BUS.PUB", "a", "old", "RETAIN")
	sub.told("a=old")
	kept := h.setup.Journal.(*memory)
	kept.mu.Lock()
	kept.full = true
	kept.mu.Unlock()
	c.refused(wire.CodeIO, "cannot be written down", "BUS.PUB", "a", "new", "RETAIN")
	c.do("BUS.PUB", "a", "live")
	sub.told("a=live")
	if got := c.do("BUS.GET", "a").Get("payload").Str; got != "old" {
		t.Errorf("the value is %q", got)
	}
	c.do("BUS.CLEAR", "a") // which needs no room
}

// TestRetainedRecordedThenTold: when anybody is told of a value, it is in the journal.
func TestRetainedRecordedThenTold(t *testing.T) {
	m := newManual(t, 1)
	kept := m.setup.Journal.(*memory)
	c, sub := m.connect(false), m.connect(false)
	sub.cmd("HELLO", "3")
	sub.cmd("BUS.SUB", "a")
	m.settle()
	sub.take()
	kept.after = func(*memory) {
		m.set.Net.FlushAll()
		if got := c.take() + sub.take(); got != "" {
			t.Errorf("before it was recorded somebody was told %q", got)
		}
	}
	c.cmd("BUS.PUB", "a", "x", "RETAIN")
	m.settle()
	if got := string(c.got); !strings.Contains(got, "delivered\r\n:1") {
		t.Errorf("the publisher is told %q", got)
	}
}

// TestRetainedExpires: a value whose time is over is nobody's any more, and what it was charged is given back.
func TestRetainedExpires(t *testing.T) {
	m := newManual(t, 1, func(_ *Setup, o *Options) { o.Limits.RetainedPerUser = 2 })
	c := m.connect(false)
	c.cmd("HELLO", "3")
	m.settle()
	now := m.set.Now()
	ask := func(words ...string) string {
		c.take()
		c.cmd(words...)
		m.at(now, c.event(1))
		return c.take()
	}
	ask("BUS.PUB", "a", "1", "RETAIN", "EXPIRES", "1000")
	ask("BUS.PUB", "b", "2", "RETAIN", "EXPIRES", "1000")
	ask("BUS.PUB", "b", "3", "RETAIN") // in its place, for ever
	if got := ask("BUS.PUB", "c", "4", "RETAIN"); !strings.HasPrefix(got, "-QUOTA") {
		t.Errorf("one more than he may have is answered %q", got)
	}
	now += time.Second - 1
	if got := ask("BUS.GET", "a"); !strings.Contains(got, "$1\r\n1\r\n") || !strings.Contains(got, ":0\r\n") {
		t.Errorf("before its end it is %q", got)
	}
	now++
	if got := ask("BUS.GET", "a"); got != "_\r\n" {
		t.Errorf("at its end it is %q", got)
	}
	if got := ask("BUS.PUB", "c", "4", "RETAIN"); strings.HasPrefix(got, "-") {
		t.Errorf("then another is answered %q", got)
	}
	now += time.Hour
	if got := ask("BUS.GET", "b"); !strings.Contains(got, "$1\r\n3\r\n") {
		t.Errorf("the one that does not end is %q", got)
	}
	if n := len(m.setup.Journal.(*memory).lines); n != 2 {
		t.Errorf("the journal has %d records", n)
	}
}

// TestRetainedQuota: over each bound a publisher gets QUOTA, what is there stays, and what is given up is given back.
func TestRetainedQuota(t *testing.T) {
	m := newManual(t, 1, func(_ *Setup, o *Options) {
		o.Limits.Input = 4 << 20
		o.Limits.Retained, o.Limits.RetainedPerUser = 5, 3
		o.Limits.RetainedBytes, o.Limits.RetainedBytesPerUser = 250, 200
	})
	one, other := m.connectAs(1001, false), m.connectAs(1002, false)
	ask := func(c *end, words ...string) string {
		m.settle()
		c.take()
		c.cmd(words...)
		m.settle()
		return c.take()
	}
	pub := func(c *end, topic string, size int, want string) {
		t.Helper()
		got := ask(c, "BUS.PUB", topic, strings.Repeat("x", size), "RETAIN")
		if want == "" && got[0] == '-' || want != "" && !strings.HasPrefix(got, "-QUOTA ") || !strings.Contains(got, want) {
			t.Errorf("%q with %d bytes is answered %q, want %q", topic, size, got, want)
		}
	}
	pub(one, "a", 9, "")
	pub(one, "b", 9, "")
	pub(one, "c", 9, "")
	pub(one, "d", 0, "limits.retained_per_user")
	pub(one, "a", 179, "") // in its place
	pub(one, "b", 10, "limits.retained_bytes_per_user")
	pub(one, "b", 9, "")
	pub(other, "d", 50, "limits.retained_bytes)")
	pub(other, "d", 1, "")
	pub(other, "e", 1, "")
	pub(other, "f", 1, "limits.retained)")
	pub(other, "a", 1, "") // the other's is given back to him
	pub(one, "f", 1, "limits.retained)")
	if got := ask(one, "BUS.CLEAR", "d"); got != ":1\r\n" {
		t.Errorf("to clear is answered %q", got)
	}
	pub(one, "f", 100, "")
	m.opts.Limits.RetainedBytes = 8 << 20
	m.setOptions(m.opts)
	m.opts.Limits.RetainedBytesPerUser = 8 << 20
	m.setOptions(m.opts)
	pub(one, "f", messages.LargestRetained, fmt.Sprint("may have ", messages.LargestRetained))
	pub(one, "f", messages.LargestRetained-1, "")
	if got := ask(one, "BUS.LIST"); strings.Count(got, "topic") != 5 {
		t.Errorf("what is there is %q", got)
	}
}

const manyTopics = 1 << 14

// newManyTopics makes a server with values of so many topics, and a client that is to subscribe.
func newManyTopics(t *testing.T) (*manual, *end) {
	m := newManual(t, 1, roomyForMany, func(_ *Setup, o *Options) {
		o.Limits.Retained, o.Limits.RetainedPerUser = 2*manyTopics, 2*manyTopics
	})
	c := m.connect(false)
	for i := range manyTopics {
		c.cmd("BUS.PUB", fmt.Sprint("t/", i), "old", "RETAIN")
		if i%100 == 0 {
			m.settle()
		}
	}
	m.settle()
	sub := m.connectAs(1001, false)
	sub.cmd("HELLO", "3")
	m.settle()
	sub.take()
	return m, sub
}

// sent are the pushes that came to a client.
func (c *end) sent(t *testing.T) (all []string) {
	t.Helper()
	for v := range values(t, c.got) {
		if v.Kind == wire.KindPush {
			all = append(all, told(v))
		}
	}
	return all
}

// TestManyRetained: very many values are sent bit by bit. What is published meanwhile to who gets them comes behind them, whether the
// topic's value was sent already or not, and what concerns nobody who does is not held up.
func TestManyRetained(t *testing.T) {
	m, sub := newManyTopics(t)
	publisher, other, again := m.connectAs(1002, false), m.connectAs(1003, false), m.connectAs(1001, false)
	again.cmd("HELLO", "3")
	m.settle()
	again.take()
	last := fmt.Sprint("t/", manyTopics-1)
	sub.cmd("BUS.SUB", "t/#")
	m.read(sub)
	if m.messages.InLine() != 1 {
		t.Fatal("very many values were sent in one turn")
	}
	publisher.cmd("BUS.PUB", last, "live")
	publisher.cmd("BUS.PUB", last, "new", "RETAIN")
	m.read(publisher)
	second := m.connectAs(1004, false)
	replaced := fmt.Sprint("t/", manyTopics-2)
	second.cmd("BUS.PUB", replaced, "newer", "RETAIN")
	m.read(second)
	other.cmd("BUS.PUB", "else", "x", "RETAIN")
	m.read(other)
	again.cmd("BUS.SUB", last)
	m.read(again)
	m.set.Net.FlushAll()
	if got := other.take(); !strings.Contains(got, "delivered") {
		t.Errorf("what concerns nobody is answered %q", got)
	}
	if got := publisher.take() + again.take(); got != "" || m.messages.InLine() != 3 {
		t.Errorf("what has to wait is answered %q", got)
	}
	m.settle()
	got := sub.sent(t)
	if n := len(got); n != manyTopics+2 || got[n-4] != last+"=old retained" || got[n-3] != last+"=live" || got[n-2] != replaced+"=newer" || got[n-1] != last+"=new" {
		t.Errorf("%d messages came, the last %q", n, got[max(0, n-4):])
	}
	if got := again.sent(t); !slices.Equal(got, []string{last + "=new"}) && !slices.Equal(got, []string{last + "=new retained"}) &&
		!slices.Equal(got, []string{last + "=live", last + "=new"}) && !slices.Equal(got, []string{last + "=old retained", last + "=new"}) {
		t.Errorf("the next one has %q", got)
	}
}

// TestRetainedInEnvelopes: an ordinary client gets the values by a pattern for messages in envelopes, which has a place for the mark: behind
// the confirmation, before what is published later, and once.
func TestRetainedInEnvelopes(t *testing.T) {
	for _, proto := range []string{"2", "3"} {
		h := start(t)
		c, pub := h.dial(), h.dial3()
		c.do("HELLO", proto)
		confirmed := func(word, pattern string, n int64) {
			t.Helper()
			if v := c.value(); v.Elems[0].Str != word || v.Elems[1].Str != pattern || v.Elems[2].Int != n {
				t.Errorf("a client is told %+v", v)
			}
		}
		seq := pub.do("BUS.PUB", "app/config", "\xff", "RETAIN").Get("seq").Int
		pub.do("BUS.PUB", "app", "a\"b", "RETAIN")
		c.cmd("PSUBSCRIBE", "ipcd/filter-json/app", "ipcd/filter/app/#", "app*", "ipcd/filter-json/app/+", "ipcd/filter-json/#/x", "ipcd/filter-json/app")
		confirmed("psubscribe", "ipcd/filter-json/app", 1)
		c.told("app=a\"b retained")
		confirmed("psubscribe", "ipcd/filter/app/#", 2)
		confirmed("psubscribe", "app*", 3)
		confirmed("psubscribe", "ipcd/filter-json/app/+", 4)
		want := fmt.Sprintf(`{"topic":"app/config","seq":%d,`, seq)
		if v := c.value(); v.Elems[1].Str != "ipcd/filter-json/app/+" || !strings.HasPrefix(v.Elems[3].Str, want) || !strings.HasSuffix(v.Elems[3].Str, `,"retained":true,"payload64":"/w=="}`) {
			t.Errorf("a value comes as %+v", v)
		}
		if err := c.value().Err(); err == nil {
			t.Error("what is no filter was subscribed to")
		}
		confirmed("psubscribe", "ipcd/filter-json/app", 4) // again: nothing
		c.cmd("SUBSCRIBE", "app")
		confirmed("subscribe", "app", 5)
		pub.do("BUS.PUB", "app/config", "new", "RETAIN")
		for range 2 {
			if v := c.value(); v.Elems[3].Str != "new" {
				t.Errorf("a message comes as %+v", v)
			}
		}
		c.told("app/config=new")
		c.cmd("PUNSUBSCRIBE", "ipcd/filter-json/app/+")
		confirmed("punsubscribe", "ipcd/filter-json/app/+", 4)
		c.cmd("PSUBSCRIBE", "ipcd/filter-json/app/+")
		confirmed("psubscribe", "ipcd/filter-json/app/+", 5)
		c.told("app/config=new retained")
	}
}

// TestManyRetainedInEnvelopes: of one command that names several filters, the values of one stand in line at a time, and each filter gets
// its own before what is published after it was confirmed. Others' values come between them.
func TestManyRetainedInEnvelopes(t *testing.T) {
	m, sub := newManyTopics(t)
	publisher, other := m.connectAs(1002, false), m.connectAs(1003, false)
	other.cmd("HELLO", "3")
	m.settle()
	other.take()
	filters := []string{"t/#", "t/+", "+/+", "none/#", "t/1"}
	words := []string{"PSUBSCRIBE"}
	for _, f := range filters {
		words = append(words, bus.EnvelopePattern+f)
	}
	sub.cmd(words...)
	sub.cmd("PUBLISH", "else", "x")
	m.read(sub)
	if _, n, _ := m.messages.Subscriptions(m.of(sub)); n != 1 || m.messages.InLine() != 1 {
		t.Fatalf("%d filters are subscribed to while values of %d stand in line", n, m.messages.InLine())
	}
	publisher.cmd("BUS.PUB", "t/1", "new", "RETAIN")
	m.read(publisher)
	other.cmd("BUS.SUB", "#")
	m.read(other)
	for m.step() {
		for _, c := range []*end{sub, other, publisher} {
			for c.read(64 << 10) {
			}
		}
		if n := m.messages.InLine(); n > 3 {
			t.Fatalf("%d stand in line", n)
		}
	}
	m.settle()
	got, replies := map[string][]string{}, 0
	for v := range values(t, sub.got) {
		switch {
		case v.Kind == wire.KindInt:
			if replies++; len(got) != len(filters) {
				t.Error("a command is answered before the one before it")
			}
		case v.Elems[0].Str == "psubscribe":
			got[v.Elems[1].Str] = []string{}
		case got[v.Elems[1].Str] == nil:
			t.Fatalf("%s has a message and is not confirmed", v.Elems[1].Str)
		default:
			got[v.Elems[1].Str] = append(got[v.Elems[1].Str], told(v))
		}
	}
	if replies != 1 {
		t.Errorf("the next command has %d replies", replies)
	}
	for i, f := range filters {
		has, newest := got[bus.EnvelopePattern+f], "t/1=new retained"
		if i == 0 { // it was there before
			last := max(len(has)-1, 0)
			if has[last] != "t/1=new" {
				t.Errorf("the last message is %s", has[last])
			}
			has, newest = has[:last], "t/1=old retained"
		}
		slices.Sort(has)
		want := []int{manyTopics, manyTopics, manyTopics, 0, 1}[i]
		if n := len(slices.Compact(slices.Clone(has))); n != len(has) || n != want || want > 0 && !slices.Contains(has, newest) {
			t.Errorf("%s has %d messages, %d of them different, and not %d", f, len(has), n, want)
		}
	}
	if n := len(other.sent(t)); n != manyTopics+1 {
		t.Errorf("another user is told %d messages", n)
	}
}

// TestRetainedBehindOlder: where messages stand in line that a session gets, the values that a subscription of its own begins with come
// behind them.
func TestRetainedBehindOlder(t *testing.T) {
	m, many := newMany(t, 1)
	publisher := m.connectAs(1001, false)
	publisher.cmd("BUS.PUB", "other", "value", "RETAIN")
	m.settle()
	publisher.cmd("BUS.PUB", manyLevels, "x")
	m.step()
	if m.messages.InLine() != 1 {
		t.Fatal("a message to very many was delivered in one turn")
	}
	many.cmd("BUS.SUB", "other")
	m.read(many)
	if m.messages.InLine() != 2 {
		t.Error("a value is sent before a message that is older")
	}
	m.settle()
	got := many.sent(t)
	if n := len(got); n != manyFilters+1 || got[n-1] != "other=value retained" {
		t.Errorf("%d messages came, the last %s", n, got[n-1])
	}
}

// TestManyRetainedEnd: who ends his subscription, or his connection, is sent no more of the values, and nobody waits for that.
func TestManyRetainedEnd(t *testing.T) {
	for _, how := range []string{"BUS.UNSUB", "QUIT"} {
		m, sub := newManyTopics(t)
		sub.cmd("BUS.SUB", "t/#")
		m.read(sub)
		sub.cmd(how)
		m.read(sub)
		m.settle()
		if m.messages.InLine() > 0 || m.messages.Stats().Delivered == manyTopics {
			t.Errorf("%s: %d values were sent, and %d stand in line", how, m.messages.Stats().Delivered, m.messages.InLine())
		}
	}
}

// TestRetainedInTransaction: the values with which the subscriptions of a transaction begin are sent as they would be without it, before the
// reply to EXEC, and of several filters one after the other.
func TestRetainedInTransaction(t *testing.T) {
	m, sub := newManyTopics(t)
	sub.cmd("MULTI")
	sub.cmd("PSUBSCRIBE", bus.EnvelopePattern+"t/#", bus.EnvelopePattern+"t/+")
	sub.cmd("PSUBSCRIBE", bus.EnvelopePattern+"+/1")
	sub.cmd("BUS.SUB", "t/2")
	sub.cmd("EXEC")
	sub.cmd("PING")
	m.settle()
	got, other := map[string]int{}, ""
	for v := range values(t, sub.got) {
		if v.Kind == wire.KindPush && (v.Elems[0].Str == "pmessage" || v.Elems[0].Str == "bus.message") {
			got[v.Elems[1].Str]++
		} else if v.Kind != wire.KindArray {
			other += " " + v.Str
		}
	}
	want := map[string]int{bus.EnvelopePattern + "t/#": manyTopics, bus.EnvelopePattern + "t/+": manyTopics, bus.EnvelopePattern + "+/1": 1, "t/2": 1}
	if !maps.Equal(got, want) || !strings.HasSuffix(other, " PONG") {
		t.Errorf("the filters have %v messages, and the replies are %.200s", got, other)
	}
	if m.messages.InLine()+m.messages.Parked() > 0 {
		t.Errorf("%d stand in line, %d are parked", m.messages.InLine(), m.messages.Parked())
	}
}

// TestManyRetainedInEnvelopesEnd: of a connection that ends while its next filter waits for the values of the one before it, nothing is left.
func TestManyRetainedInEnvelopesEnd(t *testing.T) {
	m, sub := newManyTopics(t)
	sub.cmd("PSUBSCRIBE", bus.EnvelopePattern+"t/#", bus.EnvelopePattern+"t/+")
	m.read(sub)
	m.step()
	if m.messages.InLine() != 1 || m.messages.Parked() != 1 {
		t.Fatalf("%d stand in line, %d are parked", m.messages.InLine(), m.messages.Parked())
	}
	sub.close()
	m.settle()
	if _, patterns := m.messages.Routes(); m.messages.InLine()+m.messages.Parked()+patterns != 0 || m.messages.Stats().Delivered >= manyTopics {
		t.Errorf("%d stand in line, %d are parked, %d patterns; %d values were sent", m.messages.InLine(), m.messages.Parked(), patterns, m.messages.Stats().Delivered)
	}
}

// TestRetainedAtRandom: whatever is published, retained, cleared and subscribed to in whatever order, in few turns or many, each
// subscription begins with the values of its moment, and goes on with what is published later: nothing is missing, twice or in another
// order.
func TestRetainedAtRandom(t *testing.T) {
	for seed := range uint64(100) {
		m := newManual(t, seed)
		random := rand.New(rand.NewPCG(seed, 2))
		topics := []string{"a", "a/b", "a/b/c", "b", "b/c"}
		filters := []string{"#", "a/#", "+", "a/b", "+/+"}
		now, want := map[string]string{}, map[*end]map[string][]string{}
		m.hook(func(sess *session.Session, name string, args []string, _ string) {
			switch name {
			case "BUS.PUB":
				for _, filters := range want {
					for filter := range filters {
						if bus.Match(strings.TrimPrefix(filter, bus.EnvelopePattern), args[0]) {
							filters[filter] = append(filters[filter], args[0]+"="+args[1])
						}
					}
				}
				if len(args) > 2 {
					now[args[0]] = args[1]
				}
			case "BUS.CLEAR":
				delete(now, args[0])
			case "BUS.SUB", "PSUBSCRIBE":
				for c, filters := range want {
					if c.id != sess.ID || filters[args[0]] != nil {
						continue
					}
					begins := []string{}
					for _, topic := range topics {
						if v, ok := now[topic]; ok && bus.Match(strings.TrimPrefix(args[0], bus.EnvelopePattern), topic) {
							begins = append(begins, topic+"="+v+" retained")
						}
					}
					slices.Sort(begins)
					filters[args[0]] = begins
				}
			}
		})
		var clients []*end
		for range 3 {
			c := m.connect(random.IntN(2) == 0)
			c.cmd("HELLO", "3")
			clients = append(clients, c)
			want[c] = map[string][]string{}
		}
		for i := range 60 {
			c, topic := clients[random.IntN(3)], topics[random.IntN(len(topics))]
			switch random.IntN(7) {
			case 0:
				c.cmd("BUS.SUB", filters[random.IntN(len(filters))])
			case 6:
				c.cmd("PSUBSCRIBE", bus.EnvelopePattern+filters[random.IntN(len(filters))])
			case 1:
				c.cmd("BUS.CLEAR", topic)
			case 2:
				c.cmd("BUS.PUB", topic, fmt.Sprint(i))
			default:
				c.cmd("BUS.PUB", topic, fmt.Sprint(i), "RETAIN")
			}
			if random.IntN(3) == 0 {
				m.step()
			}
		}
		m.settle()
		for c, filters := range want {
			got := map[string][]string{}
			for v := range valuesOf(t, c) {
				got[v.Elems[1].Str] = append(got[v.Elems[1].Str], told(v))
			}
			for filter, want := range filters {
				is := got[filter]
				n := 0
				for n < len(is) && strings.HasSuffix(is[n], " retained") {
					n++
				}
				slices.Sort(is[:n])
				if !slices.Equal(is, want) {
					t.Fatalf("seed %d: %s has %q and not %q", seed, filter, is, want)
				}
			}
		}
	}
}

// valuesOf are the messages that came to a client by filters.
func valuesOf(t *testing.T, c *end) func(func(wire.Value) bool) {
	return func(yield func(wire.Value) bool) {
		for v := range values(t, c.got) {
			if v.Kind == wire.KindPush && (v.Elems[0].Str == "bus.message" || v.Elems[0].Str == "pmessage") && !yield(v) {
				return
			}
		}
	}
}
