package server

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestMayBlock: a publisher who would rather wait than have receivers miss something waits for the one in his way, and for no other; he is
// answered when that one has taken something, has gone, or wants no more of it, or is told who it is when his time is over. Nobody else waits.
func TestMayBlock(t *testing.T) {
	const limit = 16 << 10
	refused := "client %d (pid %d, uid 1000, unit slow.service) is too far behind \"a\", and would miss messages"
	for _, c := range []struct {
		name string
		then func(s *stage, slow, pub actor) // what happens while the publisher waits
		want string                          // what he is told; "": the message is delivered
		lost string                          // what the receiver is told
	}{
		{"it reads", func(_ *stage, slow, _ actor) { slow.SetRoom(-1) }, "", ""},
		{"it reads some", func(_ *stage, slow, _ actor) { slow.SetRoom(6000) }, "", ""},
		{"it goes", func(_ *stage, slow, _ actor) { slow.Close() }, "delivered 0", ""},
		{"it wants no more", func(_ *stage, slow, _ actor) { slow.cmd("BUS.UNSUB", "a") }, "delivered 0", ""},
		{"it conflates", func(_ *stage, slow, _ actor) { slow.cmd("BUS.SUB", "a", "SLOW", "CONFLATE"); slow.SetRoom(5100) }, "", ""},
		{"time is over", func(s *stage, _, _ actor) {
			s.set.Loop.TimeUp()
			s.set.Loop.Clock.SetNow(s.set.Now() + 5*time.Second)
		}, "TIMEOUT " + refused, ""},
		{"time is not over", func(s *stage, slow, _ actor) {
			s.set.Loop.TimeUp()
			s.set.Loop.Clock.SetNow(s.set.Now() + 4*time.Second)
			s.settle()
			slow.SetRoom(-1)
		}, "", ""},
		{"the daemon stops", func(s *stage, _, _ actor) { s.set.Stopping = true; s.messages.Stop() }, "TIMEOUT " + refused, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, func(_ *Setup, o *Options) { o.Limits.Output = limit })
			slow, quick, pub, other := s.connect(1000), s.connect(1001), s.connect(1001), s.connect(1001)
			slow.server.Peer.Unit = "slow.service"
			for _, sub := range []actor{slow, quick} {
				sub.cmd("HELLO", "3")
				sub.cmd("BUS.SUB", "a")
			}
			s.settle()
			slow.Take()
			quick.Take()
			slow.SetRoom(0)
			text := strings.Repeat("x", 5000)
			for range 3 {
				other.cmd("BUS.PUB", "a", text)
			}
			s.settle()
			other.Take()
			pub.cmd("BUS.PUB", "a", text, "MAYBLOCK", "4500")
			pub.cmd("PING")
			s.settle()
			if got := pub.Take(); got != "" {
				t.Fatalf("who waits is told %q", got)
			}
			other.cmd("BUS.PUB", "b", "x", "MAYBLOCK", "0")
			other.cmd("PING")
			s.settle()
			if got := other.Take(); !strings.HasSuffix(got, "$7\r\ndropped\r\n:0\r\n+PONG\r\n") {
				t.Errorf("another one is told %q", got)
			}
			before := s.messages.Seq()
			c.then(s, slow, pub)
			s.settle()
			got := pub.Take()
			if !strings.HasSuffix(got, "+PONG\r\n") {
				t.Errorf("the command behind it is answered %q", got)
			}
			switch want := c.want; {
			case want == "":
				if !strings.Contains(got, "$9\r\ndelivered\r\n:2\r\n$7\r\ndropped\r\n:0\r\n") || s.messages.Stats().Dropped != 0 {
					t.Errorf("got %q, and %d dropped", got, s.messages.Stats().Dropped)
				}
			case strings.HasPrefix(want, "delivered"):
				if !strings.Contains(got, "$9\r\ndelivered\r\n:1\r\n") {
					t.Errorf("got %q", got)
				}
			default:
				if want = "-" + fmt.Sprintf(want, slow.server.ID, slow.server.Peer.PID) + "\r\n+PONG\r\n"; got != want || s.messages.Seq() != before {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			s.set.Stopping = false
			slow.SetRoom(-1)
			s.settle()
			if got := slow.Take(); strings.Contains(got, "bus.lost") {
				t.Error("the receiver misses something")
			}
		})
	}
}

// TestMayBlockAtOnce: with no time to wait, and within a transaction, a message is refused at once; who has chosen to miss messages holds
// nobody up; and a publisher who goes leaves nothing.
func TestMayBlockAtOnce(t *testing.T) {
	s := newStage(t, func(_ *Setup, o *Options) { o.Limits.Output = 16 << 10 })
	slow, pub, other := s.connect(1000), s.connect(1001), s.connect(1001)
	slow.cmd("HELLO", "3")
	slow.cmd("BUS.SUB", "a")
	slow.cmd("BUS.SUB", "c", "SLOW", "CONFLATE", "QUEUE", "1")
	slow.cmd("BUS.SUB", "q", "QUEUE", "1")
	s.settle()
	slow.SetRoom(0)
	for _, topic := range []string{"c", "a", "q", "c"} {
		pub.cmd("BUS.PUB", topic, strings.Repeat("x", 4000))
	}
	s.settle()
	pub.Take()
	for _, x := range []struct{ topic, says string }{{"a", "-BUSY client "}, {"c", ""}, {"q", "-BUSY client "}, {"b", ""}} {
		pub.cmd("BUS.PUB", x.topic, strings.Repeat("x", 4000), "MAYBLOCK", "0")
		s.settle()
		if got := pub.Take(); x.says != "" && !strings.HasPrefix(got, x.says) || x.says == "" && !strings.HasPrefix(got, "*6") {
			t.Errorf("%s: got %q, want %q", x.topic, got, x.says)
		}
	}
	for _, words := range [][]string{{"MULTI"}, {"BUS.PUB", "a", strings.Repeat("x", 4000), "MAYBLOCK", "1000"}, {"EXEC"}} {
		pub.cmd(words...)
	}
	s.settle()
	if got := pub.Take(); !strings.HasPrefix(got, "+OK\r\n+QUEUED\r\n*1\r\n-BUSY client ") {
		t.Errorf("in a transaction: got %q", got)
	}
	other.cmd("BUS.PUB", "a", strings.Repeat("x", 4000), "MAYBLOCK", "1000")
	s.settle()
	other.Close()
	pub.cmd("BUS.PUB", "a", strings.Repeat("x", 4000), "MAYBLOCK", "x")
	s.settle()
	if got := pub.Take(); got != "-ERR MAYBLOCK wants a number of milliseconds, not \"x\"\r\n" {
		t.Errorf("got %q", got)
	}
	if s.set.Net.Len() != 2 || s.messages.Stats().Dropped != 0 {
		t.Errorf("%d connections, %d dropped", s.set.Net.Len(), s.messages.Stats().Dropped)
	}
}

// TestMayBlockGroup: a group holds nobody up. What none of its members can take waits in it, and the publisher is told what is lost to it; but a
// subscription beside it does hold him up.
func TestMayBlockGroup(t *testing.T) {
	s := newStage(t, func(_ *Setup, o *Options) { o.Limits.Output = 16 << 10 })
	member, slow, pub := s.connect(1000), s.connect(1000), s.connect(1001)
	member.cmd("HELLO", "3")
	member.cmd("BUS.SUB", "a", "GROUP", "g")
	slow.cmd("HELLO", "3")
	s.settle()
	member.Take()
	member.SetRoom(0)
	slow.SetRoom(0)
	dropped := 0
	publish := func() string {
		pub.cmd("BUS.PUB", "a", strings.Repeat("x", 4000), "MAYBLOCK", "0")
		s.settle()
		return pub.Take()
	}
	for range 12 {
		got := publish()
		_, rest, ok := strings.Cut(got, "dropped\r\n:")
		if !ok {
			t.Fatalf("got %q", got)
		}
		if !strings.HasPrefix(rest, "0") {
			dropped++
		}
	}
	slow.cmd("BUS.SUB", "a")
	s.settle()
	for got := ""; !strings.HasPrefix(got, "-BUSY client "); {
		if got = publish(); strings.HasPrefix(got, "-") == strings.Contains(got, "delivered") {
			t.Fatalf("beside a subscription: got %q", got)
		}
	}
	member.SetRoom(-1)
	got := ""
	for more := true; more; { // it is given more when it has read
		s.settle()
		some := member.Take()
		got, more = got+some, some != ""
	}
	if dropped == 0 || !strings.Contains(got, "bus.lost") {
		t.Errorf("%d times something was dropped, and the member is told nothing of it", dropped)
	}
}
