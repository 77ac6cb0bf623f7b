package server

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/ipc/wire"
)

// TestChannelIsAnyBytes: Redis's commands take what Redis takes, and only BUS.PUB wants a topic.
func TestChannelIsAnyBytes(t *testing.T) {
	for _, hello := range []string{"2", "3"} {
		h := start(t)
		sub, pub, filters := h.dial(), h.dial(), h.dial3()
		sub.do("HELLO", hello)
		filters.do("BUS.SUB", "#")
		sub.do("PSUBSCRIBE", "socket.io#/#*")
		for i, name := range []string{"socket.io#/#", "+", "a/+/#", "", "\x00", "a\r\nb", "\xff\xfe", "plain", strings.Repeat("x", 100_000)} {
			head := ">"
			if hello == "2" {
				head = "*"
			}
			sub.cmd("SUBSCRIBE", name)
			sub.want(fmt.Sprintf("%s3\r\n%s%s:%d\r\n", head, bulk("subscribe"), bulk(name), i+2))
			want := 1
			if strings.HasPrefix(name, "socket") || name == "plain" {
				want = 2 // the glob, or the filter
			}
			if v := pub.do("PUBLISH", name, "hi"); v.Int != int64(want) {
				t.Errorf("%.20q: to %d", name, v.Int)
			}
			sub.want(head + "3\r\n" + bulk("message") + bulk(name) + bulk("hi"))
			if strings.HasPrefix(name, "socket") {
				sub.want(head + "4\r\n" + bulk("pmessage") + bulk("socket.io#/#*") + bulk(name) + bulk("hi"))
			}
			if v := pub.do("PUBSUB", "NUMSUB", name); v.Elems[1].Int != 1 {
				t.Errorf("%.20q: %v", name, v)
			}
			if bus.CheckTopic(name) != nil {
				pub.refused(wire.CodeBadName, "bad topic", "BUS.PUB", name, "hi")
			}
		}
		if v := filters.value(); v.Elems[2].Str != "plain" {
			t.Errorf("a filter has seen %v", v)
		}
		filters.sync()
		for pattern, want := range map[string]int{"*": 8, "x*": 1, "*x?x": 1, "*y*": 0, "socket.io#/[#]": 1, "plain": 1} {
			if v := pub.do("PUBSUB", "CHANNELS", pattern); len(v.Elems) != want {
				t.Errorf("CHANNELS %s: %d", pattern, len(v.Elems))
			}
		}
		pub.refused(wire.CodeDenied, "the daemon's own", "PUBLISH", "ipcd/#", "hi")
	}
}

// TestLongNamesAreCharged: a text counts by its length, and is given back.
func TestLongNamesAreCharged(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.SubscriptionsPerUser, o.Limits.PatternsPerUser = 10, 5 })
	c := h.dial3()
	long := strings.Repeat("x", 3*256)
	used := func(subscriptions, patterns int) {
		t.Helper()
		h.on(func() {
			u := h.set.Users.Of(uint32(os.Getuid()))
			if u.Used(account.Subscriptions) != subscriptions || u.Used(account.Patterns) != patterns {
				t.Errorf("%d subscriptions, %d patterns", u.Used(account.Subscriptions), u.Used(account.Patterns))
			}
		})
	}
	c.do("SUBSCRIBE", long)
	used(4, 0)
	c.do("PSUBSCRIBE", long+"*")
	used(8, 4)
	c.refused(wire.CodeQuota, "patterns already", "PSUBSCRIBE", long[:256]+"*")
	c.refused(wire.CodeQuota, "subscriptions already", "SUBSCRIBE", long[1:])
	c.do("PSUBSCRIBE", bus.FilterPattern+"a/#")
	c.do("PSUBSCRIBE", bus.EnvelopePattern+"a/#")
	used(10, 4) // filters are no globs
	c.do("UNSUBSCRIBE", long)
	used(6, 4)
	other := h.dial3()
	other.do("SUBSCRIBE", long[1:])
	used(9, 4)
	other.close()
	h.quiesce(c)
	used(6, 4)
	c.cmd("PUNSUBSCRIBE")
	for range 3 {
		c.value()
	}
	used(0, 0)
}

// TestTooLongToPublish: a name that would take long to be compared with all globs is refused, and its message goes to nobody.
func TestTooLongToPublish(t *testing.T) {
	h := start(t)
	c, pub := h.dial3(), h.dial()
	for i := range 100 {
		c.do("PSUBSCRIBE", fmt.Sprintf("*%d?", i))
	}
	c.do("PSUBSCRIBE", "*y?")
	pub.refused(wire.CodeQuota, "cannot publish to a channel of 400000 bytes: the name is too long", "PUBLISH", strings.Repeat("y", 400_000), "hi")
	c.sync()
	// It takes several turns to compare this one, and goes to whom it matches.
	long := strings.Repeat("y", 30_000)
	pub.cmd("PUBLISH", long, "hi")
	if v := c.value(); v.Elems[1].Str != "*y?" || v.Elems[2].Str != long {
		t.Errorf("got %.100v", v)
	}
	pub.want(":1\r\n")
}

// TestFilterByPattern: a filter that is asked for as a pattern is confirmed and delivered as one.
func TestFilterByPattern(t *testing.T) {
	for proto, head := range map[string]string{"2": "*", "3": ">"} {
		h := start(t)
		c, pub := h.dial(), h.dial()
		c.do("HELLO", proto)
		const plain, envelope = "ipcd/filter/a/+", "ipcd/filter-json/a/+"
		c.cmd("PSUBSCRIBE", plain, envelope, "a*")
		for i, text := range []string{plain, envelope, "a*"} {
			c.want(head + "3\r\n" + bulk("psubscribe") + bulk(text) + integer(i+1))
		}
		message := func(pattern, topic, payload string) {
			t.Helper()
			c.want(head + "4\r\n" + bulk("pmessage") + bulk(pattern) + bulk(topic) + bulk(payload))
		}
		for _, payload := range []string{"hi", "", "é\"\\\x00\n\u2028<>", "\xff\xfe", strings.Repeat("x", 10_000) + "\r\n"} {
			if v := pub.do("BUS.PUB", "a/b", payload); v.Get("delivered").Int != 3 {
				t.Errorf("delivered: %v", v)
			}
			message(plain, "a/b", payload)
			v := c.value()
			if len(v.Elems) != 4 || v.Elems[0].Str != "pmessage" || v.Elems[1].Str != envelope || v.Elems[2].Str != "a/b" {
				t.Fatalf("got %+v", v)
			}
			var got struct {
				Topic, Time, Unit  string
				Seq, PID, UID      int
				Payload, Payload64 *string
			}
			if err := json.Unmarshal([]byte(v.Elems[3].Str), &got); err != nil {
				t.Fatalf("%q: %v", v.Elems[3].Str, err)
			}
			var text string
			if got.Payload64 != nil {
				b, err := base64.StdEncoding.DecodeString(*got.Payload64)
				if err != nil || got.Payload != nil {
					t.Error(err, got.Payload)
				}
				text = string(b)
			} else {
				text = *got.Payload
			}
			if text != payload || got.Topic != "a/b" || got.Seq == 0 || got.PID != os.Getpid() || got.UID != os.Getuid() || !strings.HasSuffix(got.Time, "Z") {
				t.Errorf("got %s", v.Elems[3].Str)
			}
			message("a*", "a/b", payload)
		}
		pub.do("PUBLISH", "a/#", "x") // no topic
		message("a*", "a/#", "x")
		c.refused(wire.CodeBadName, "bad filter", "PSUBSCRIBE", "ipcd/filter/a/#/b")
		c.refused(wire.CodeBadName, "it is empty", "PSUBSCRIBE", "ipcd/filter-json/")
		c.cmd("PUNSUBSCRIBE")
		for i, text := range []string{plain, envelope, "a*"} {
			c.want(head + "3\r\n" + bulk("punsubscribe") + bulk(text) + integer(2-i))
		}
		if v := pub.do("BUS.PUB", "a/b", "hi"); v.Get("delivered").Int != 0 {
			t.Errorf("delivered: %v", v)
		}
	}
}

// TestSubscribeOnRESP2: a client that may not know what BUS.SUB sends is refused it, and told what to say.
func TestSubscribeOnRESP2(t *testing.T) {
	h := start(t)
	c := h.dial()
	c.refused(wire.CodeErr, "say RAW behind the filter if yours knows them, or HELLO 3, or PSUBSCRIBE ipcd/filter/ and the filter", "BUS.SUB", "a/#")
	c.refused(wire.CodeErr, "syntax error", "BUS.SUB", "a/#", "COOKED")
	c.sync() // it is no subscriber
	if v := c.do("BUS.SUB", "a/#", "raw"); v.Int != 1 {
		t.Errorf("got %v", v)
	}
	three := h.dial3()
	for _, words := range [][]string{{"BUS.SUB", "a/#"}, {"BUS.SUB", "a/b", "RAW"}} {
		if v := three.do(words...); v.Kind != wire.KindInt {
			t.Errorf("%v: %v", words, v)
		}
	}
}

// TestSlowFilterByPattern: who is too slow is disconnected, as by Redis; with an envelope he is told what he has missed, on a channel
// of its own.
func TestSlowFilterByPattern(t *testing.T) {
	const messages = 500
	for _, prefix := range []string{bus.FilterPattern, bus.EnvelopePattern} {
		m := newManual(t, 1, func(_ *Setup, o *Options) { o.Limits.Output = 64 << 10 })
		slow, publisher := m.connect(true), m.connect(false)
		slow.cmd("PSUBSCRIBE", prefix+"a/#")
		m.settle()
		slow.take()
		for range messages {
			publisher.cmd("PUBLISH", "a/b", strings.Repeat("x", 1000))
			for m.step() {
			}
		}
		if gone := m.of(slow) == nil; gone != (prefix == bus.FilterPattern) {
			t.Errorf("%s: it is gone: %v", prefix, gone)
			continue
		} else if gone {
			continue
		}
		m.settle()
		got, lost := 0, 0
		for v := range values(t, slow.got) {
			if v.Elems[2].Str != "ipcd/lost" {
				got++
				continue
			}
			var notice struct{ Lost int }
			if err := json.Unmarshal([]byte(v.Elems[3].Str), &notice); err != nil || len(v.Elems) != 4 || v.Elems[1].Str != prefix+"a/#" {
				t.Errorf("%+v: %v", v, err)
			}
			lost += notice.Lost
		}
		if lost == 0 || got+lost != messages {
			t.Errorf("%d messages, %d lost", got, lost)
		}
	}
}

// TestCopiesForOneWhoCannotBeTold: one who is told of what it misses by one of its patterns, and cannot be by another, is disconnected
// when there is no room for a message of that, although what fills its backlog is a copy of the same message.
func TestCopiesForOneWhoCannotBeTold(t *testing.T) {
	m := newManual(t, 1, func(_ *Setup, o *Options) { o.Limits.Output = 64 << 10 })
	slow, publisher := m.connect(true), m.connect(false)
	slow.cmd("PSUBSCRIBE", bus.EnvelopePattern+"#")
	m.settle()
	slow.cmd("PSUBSCRIBE", "a*")
	m.settle()
	slow.take()
	publish := func(topic string, size int) {
		publisher.cmd("PUBLISH", topic, strings.Repeat("x", size))
		for m.step() {
		}
	}
	for range 2000 {
		publish("b", 200)
	}
	if m.of(slow) == nil || m.messages.Stats().Dropped == 0 {
		t.Fatal("nothing was dropped")
	}
	publish("a", 64_000)
	if m.of(slow) != nil {
		t.Error("it misses a message of a*, and is still there")
	}
	m.settle()
	if strings.Contains(string(slow.got), "bus.lost") {
		t.Error("it is told in a form that it does not know")
	}
}
