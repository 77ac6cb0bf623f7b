package server

import (
	"strings"
	"testing"

	"github.com/ipcd/ipcd/ipc/wire"
)

// TestValuesAgain: a subscription that is there is sent the values once more if it asks for them, behind the reply, which is behind what was
// published before and what is told to be missing of that.
func TestValuesAgain(t *testing.T) {
	for _, c := range []struct {
		name string
		rule []string
		full bool // the socket is, from the beginning of what follows
		do   string
		want string
	}{
		{"again", nil, false, "sub x1 again x2 again", "1, a/+:0#0, a/+:1#1, 1, a/+:1#0, a/+:2#2, 1, a/+:2#0"},
		{"at first", nil, false, "again x1", "1, a/+:0#0, a/+:1#1"},
		{"only who asks", nil, false, "sub x1 sub x2", "1, a/+:0#0, a/+:1#1, 1, a/+:2#2"},
		{"cleared", nil, false, "sub clear again x2", "1, a/+:0#0, 1, a/+:2#1"},
		{"behind a loss", []string{"QUEUE", "1"}, true, "x1 x2 again", "lost a/+ 1, a/+:2#2, 1, a/+:2#0"},
		{"conflate", []string{"SLOW", "CONFLATE"}, true, "x1 again", "a/+:1#1, 1, a/+:1#0"},
		{"conflate, twice", []string{"SLOW", "CONFLATE"}, true, "x1 again again", "a/+:1#1, 1, a/+:1#0, 1, a/+:1#0"},
		{"conflate, newer", []string{"SLOW", "CONFLATE"}, true, "x1 again x2", "a/+:1#1, 1, conflated a/+ 1, a/+:2#2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			sub, pub := s.connect(1000), s.connect(1001)
			sub.cmd("HELLO", "3")
			pub.cmd("BUS.PUB", "a/x", "0", "RETAIN")
			s.settle()
			sub.Take()
			words := append([]string{"BUS.SUB", "a/+"}, c.rule...)
			if c.full {
				sub.cmd(words...)
				s.settle()
				sub.Take()
				sub.SetRoom(0)
				sub.cmd("ECHO", "first")
				s.settle()
			}
			for what := range strings.FieldsSeq(c.do) {
				switch what {
				case "sub":
					sub.cmd(words...)
				case "again":
					sub.cmd(append(words, "VALUES")...)
				case "clear":
					pub.cmd("BUS.CLEAR", "a/x")
				default:
					pub.cmd("BUS.PUB", "a/x", what[1:], "RETAIN")
				}
				s.settle()
			}
			sub.SetRoom(-1)
			s.settle()
			if got := strings.TrimPrefix(said(t, sub.Take()), "first, "); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestValuesAgainBehindOlder: where a message stands in line that the subscription gets, the reply to who asks for the values again is behind
// it, as it was published before: so it does not come to him twice.
func TestValuesAgainBehindOlder(t *testing.T) {
	m, many := newMany(t, 1)
	publisher := m.connectAs(1001, false)
	publisher.cmd("BUS.PUB", manyLevels, "x", "RETAIN")
	m.step()
	if m.messages.InLine() != 1 {
		t.Fatal("a message to very many was delivered in one turn")
	}
	filter := manyFilter(manyFilters - 1)
	many.cmd("BUS.SUB", filter, "VALUES")
	many.cmd("PING")
	m.read(many)
	m.settle()
	before, after, answered := 0, 0, ""
	for v := range values(t, many.got) {
		switch {
		case v.Kind != wire.KindPush:
			answered += v.Text() + " "
		case answered == "":
			before++
		case v.Elems[1].Str != filter || !strings.HasSuffix(told(v), " retained"):
			t.Errorf("%s comes behind the reply", told(v))
		default:
			after++
		}
	}
	if before != manyFilters || after != 1 || !strings.HasSuffix(answered, " PONG ") {
		t.Errorf("%d messages come before the reply, %d values behind it; the replies are %q", before, after, answered)
	}
}

// TestValuesAgainWords: VALUES is not for members of groups; and whoever has as many subscriptions as he may can ask for the values of these.
func TestValuesAgainWords(t *testing.T) {
	m := newManual(t, 1, func(_ *Setup, o *Options) { o.Limits.SubscriptionsPerUser = 1 })
	c := m.connect(false)
	c.cmd("HELLO", "3")
	c.cmd("BUS.SUB", "a")
	m.settle()
	c.take()
	c.cmd("BUS.SUB", "a", "GROUP", "g", "VALUES")
	c.cmd("BUS.SUB", "b", "VALUES")
	c.cmd("BUS.SUB", "a", "VALUES", "SLOW", "CONFLATE", "QUEUE", "1", "BYTES", "1000", "RAW", "FD")
	m.settle()
	got := c.take()
	if !strings.HasPrefix(got, "-ERR VALUES does not go with GROUP") || !strings.Contains(got, "\r\n-QUOTA ") || !strings.HasSuffix(got, "\r\n:1\r\n") {
		t.Errorf("got %q", got)
	}
}
