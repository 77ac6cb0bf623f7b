package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/ipc/wire"
)

// said are the pushes that a client has got, in short.
func said(t *testing.T, got string) string {
	t.Helper()
	var all []string
	for v := range values(t, []byte(got)) {
		switch {
		case len(v.Elems) == 0:
			all = append(all, v.Text())
		case v.Elems[0].Str == "bus.message":
			all = append(all, fmt.Sprintf("%s:%s#%d", v.Elems[1].Str, v.Elems[3].Str, v.Elems[9].Int))
		case v.Elems[0].Str == "bus.behind":
			all = append(all, fmt.Sprintf("behind %s: %v", v.Elems[1].Str, v.Elems[2].Err()))
		default:
			all = append(all, fmt.Sprintf("%s %s %d", strings.TrimPrefix(v.Elems[0].Str, "bus."), v.Elems[1].Str, v.Elems[2].Int))
		}
	}
	return strings.Join(all, ", ")
}

// TestRules: what becomes of messages that wait is as each subscription has asked for, and who reads gets everything all the while.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		name    string
		sub     []string
		publish string // topics and payloads
		want    string
	}{
		{"conflate", []string{"a/+", "SLOW", "CONFLATE"}, "x1 y2 x3 x4 z5 y6", "conflated a/+ 3, a/+:4#4, a/+:5#5, a/+:6#6"},
		{"conflate, in order", []string{"a/+", "SLOW", "CONFLATE"}, "x1 y2 x3", "conflated a/+ 1, a/+:2#2, a/+:3#3"},
		{"conflate, two", []string{"a/+", "slow", "conflate", "QUEUE", "2"}, "x1 y2 x3 z4", "lost a/+ 1, conflated a/+ 1, a/+:3#3, a/+:4#4"},
		{"oldest", []string{"a/+", "QUEUE", "2"}, "x1 y2 x3 z4", "lost a/+ 2, a/+:3#3, a/+:4#4"},
		{"bytes", []string{"a/+", "SLOW", "DROP", "BYTES", "250"}, "x1 y2 x3 z4", "lost a/+ 2, a/+:3#3, a/+:4#4"},
		{"disconnect", []string{"a/+", "SLOW", "DISCONNECT", "QUEUE", "3"}, "x1 y2 x3", "a/+:1#1, a/+:2#2, a/+:3#3"},
		{"disconnected", []string{"a/+", "SLOW", "DISCONNECT", "QUEUE", "3"}, "x1 y2 x3 z4 x5",
			"behind a/+: QUOTA this connection is too far behind \"a/+\", of which it is to miss nothing (SLOW DISCONNECT)"},
		{"as any", []string{"a/+", "SLOW", "DROP"}, "x1 y2 x3", "a/+:1#1, a/+:2#2, a/+:3#3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			slow, quick, pub := s.connect(1000), s.connect(1001), s.connect(1001)
			slow.cmd("HELLO", "3")
			slow.cmd(append([]string{"BUS.SUB"}, c.sub...)...)
			slow.cmd("BUS.SUB", "b")
			quick.cmd("HELLO", "3")
			quick.cmd("BUS.SUB", "a/+", "SLOW", "CONFLATE", "QUEUE", "1")
			s.settle()
			slow.Take()
			quick.Take()
			slow.SetRoom(0)
			slow.cmd("ECHO", "first")
			s.settle()
			var all []string
			for i, m := range strings.Fields(c.publish) {
				pub.cmd("BUS.PUB", "a/"+m[:1], m[1:])
				s.settle()
				all = append(all, fmt.Sprintf("a/+:%s#%d", m[1:], i+1))
			}
			if got := said(t, quick.Take()); got != strings.Join(all, ", ") {
				t.Errorf("who reads gets %s", got)
			}
			slow.SetRoom(-1)
			s.settle()
			if got, want := said(t, slow.Take()), "first, "+c.want; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if slow.Gone != (c.name == "disconnected") {
				t.Errorf("it is ended: %v", slow.Gone)
			}
			if n := strings.Count(pub.Take(), "$9\r\ndelivered\r\n:2\r\n"); n != len(all) && !slow.Gone {
				t.Errorf("the publisher is told of %d messages that they are delivered to both", n)
			}
		})
	}
}

// TestRuleEnds: a rule is that of the last BUS.SUB and ends with the subscription: what waits of it by then is not touched by what comes
// of the next one.
func TestRuleEnds(t *testing.T) {
	s := newStage(t)
	c, pub := s.connect(1000), s.connect(1001)
	publish := func(n int) {
		t.Helper()
		pub.cmd("BUS.PUB", "a", fmt.Sprint(n))
		s.settle()
	}
	c.cmd("HELLO", "3")
	c.cmd("BUS.SUB", "a", "SLOW", "CONFLATE")
	s.settle()
	c.Take()
	c.SetRoom(0)
	c.cmd("ECHO", "first")
	s.settle()
	publish(1)
	publish(2)
	c.cmd("BUS.UNSUB", "a")
	c.cmd("BUS.SUB", "a", "SLOW", "CONFLATE")
	s.settle()
	publish(3)
	publish(4)
	c.cmd("BUS.SUB", "a")
	s.settle()
	publish(5)
	publish(6)
	c.cmd("BUS.SUB", "a", "QUEUE", "1")
	s.settle()
	publish(7)
	publish(8)
	c.SetRoom(-1)
	s.settle()
	want := "first, conflated a 1, a:2#2, 0, 1, conflated a 1, a:4#2, 1, a:5#3, a:6#4, 1, lost a 1, a:8#6"
	if got := said(t, c.Take()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	publish(9)
	if got := said(t, c.Take()); got != "a:9#7" {
		t.Errorf("then got %s", got)
	}
}

// TestBehindIsLast: whose connection ends for one subscription is told so behind the replies that wait, and not what is missing of others
// or was replaced, as all that waited for him is missing then.
func TestBehindIsLast(t *testing.T) {
	s := newStage(t, func(_ *Setup, o *Options) { o.Limits.Output = 64 << 10 })
	c, pub := s.connect(1000), s.connect(1001)
	publish := func(topic string, n int) {
		t.Helper()
		for range n {
			pub.cmd("BUS.PUB", topic, strings.Repeat("x", 4<<10))
			s.settle()
		}
	}
	c.cmd("HELLO", "3")
	c.cmd("BUS.SUB", "parts")
	s.settle()
	c.Take()
	c.SetRoom(0)
	c.cmd("ECHO", "first")
	s.settle()
	publish("parts", 30) // of which some are dropped before anybody has a rule
	c.cmd("BUS.SUB", "ended", "SLOW", "CONFLATE")
	s.settle()
	publish("ended", 2)
	c.cmd("BUS.UNSUB", "ended")
	s.settle()
	publish("parts", 30) // so that what waits of the other is dropped, too
	c.cmd("BUS.SUB", "strict", "SLOW", "DISCONNECT", "QUEUE", "1")
	s.settle()
	publish("strict", 2)
	c.SetRoom(-1)
	s.settle()
	const want = "first, 2, 1, 2, behind strict: QUOTA this connection is too far behind \"strict\", of which it is to miss nothing (SLOW DISCONNECT)"
	if got := said(t, c.Take()); got != want || !c.Gone {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestRuleWords: what is wrong with the words of BUS.SUB is said.
func TestRuleWords(t *testing.T) {
	h := start(t)
	c := h.dial3()
	for _, x := range []struct{ words, says string }{
		{"SLOW", "syntax error"},
		{"SLOW NOW", `SLOW wants DROP, CONFLATE or DISCONNECT, not "NOW"`},
		{"QUEUE 0", `QUEUE wants a number from 1 to 2147483647, not "0"`},
		{"BYTES x", `BYTES wants a number from 1 to 2147483647, not "x"`},
		{"QUEUE 1 RAW BYTES", "syntax error"},
		{"QUEUE 1 GROUP g", "SLOW, QUEUE and BYTES are not for a member of a group"},
		{"BYTES 1 GROUP g", "SLOW, QUEUE and BYTES are not for a member of a group"},
		{"GROUP g SLOW CONFLATE", "SLOW, QUEUE and BYTES are not for a member of a group"},
		{"GROUP g FD", "FD does not go with GROUP: members are given what is in a command"},
		{"GROUP g VALUES", "VALUES does not go with GROUP"},
	} {
		c.refused(wire.CodeErr, x.says, append([]string{"BUS.SUB", "a"}, strings.Fields(x.words)...)...)
	}
	if v := c.do("BUS.SUB", "a", "BYTES", "1", "RAW", "SLOW", "conflate", "QUEUE", "7"); v.Int != 1 {
		t.Errorf("got %v", v)
	}
	old := h.dial()
	old.refused(wire.CodeErr, "say RAW behind the filter", "BUS.SUB", "a", "QUEUE", "1")
	old.do("BUS.SUB", "a", "QUEUE", "1", "RAW")
}
