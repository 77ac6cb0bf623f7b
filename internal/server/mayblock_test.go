package server

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
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

// TestMayBlockGroup: a group holds a publisher up who would rather wait, when none of its members can take a message and no more may wait in it.
// He goes on when a member can, or there is none any more; and nothing is lost to the group.
func TestMayBlockGroup(t *testing.T) {
	const refused = `group "g" is too far behind "a", and would miss messages`
	for _, c := range []struct {
		name string
		then func(s *stage, member, another actor) // what happens while he waits
		want string
	}{
		{"a member reads", func(s *stage, member, _ actor) {
			member.SetRoom(-1)
			s.settle()
			member.Take()
		}, "delivered 1"},
		{"another one joins", func(_ *stage, _, another actor) { another.cmd("BUS.SUB", "a", "GROUP", "g") }, "delivered 1"},
		{"a member takes more", func(_ *stage, _, another actor) { another.cmd("BUS.SUB", "a", "GROUP", "g", "TAKE", "1") }, "delivered 1"},
		{"there is none any more", func(_ *stage, member, _ actor) { member.Close() }, "delivered 0"},
		{"time is over", func(s *stage, _, _ actor) {
			s.set.Loop.TimeUp()
			s.set.Loop.Clock.SetNow(s.set.Now() + 5*time.Second)
		}, "-TIMEOUT " + refused},
		{"the daemon stops", func(s *stage, _, _ actor) { s.set.Stopping = true; s.messages.Stop() }, "-TIMEOUT " + refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, func(_ *Setup, o *Options) { o.Limits.Output = 16 << 10 })
			member, another, pub := s.connect(1000), s.connect(1000), s.connect(1001)
			for _, a := range []actor{member, another} {
				a.cmd("HELLO", "3")
			}
			if c.name == "a member takes more" {
				another.cmd("BUS.SUB", "a", "GROUP", "g", "TAKE", "0")
			}
			member.cmd("BUS.SUB", "a", "GROUP", "g")
			s.settle()
			member.Take()
			member.SetRoom(0)
			text := strings.Repeat("x", 4000)
			said := ""
			for n := 0; !strings.HasPrefix(said, "-"); n++ {
				pub.cmd("BUS.PUB", "a", text, "MAYBLOCK", "0")
				s.settle()
				if said = pub.Take(); n == 10 {
					t.Fatal("nobody holds him up")
				}
			}
			if said != "-BUSY "+refused+"\r\n" {
				t.Errorf("he is told %q", said)
			}
			pub.cmd("BUS.PUB", "a", text, "MAYBLOCK", "4500")
			pub.cmd("PING")
			s.settle()
			if said = pub.Take(); said != "" {
				t.Fatalf("who waits is told %q", said)
			}
			c.then(s, member, another)
			s.settle()
			said = pub.Take()
			if !strings.HasSuffix(said, "+PONG\r\n") || !strings.Contains(strings.ReplaceAll(said, "\r\n:", " "), c.want) {
				t.Errorf("then he is told %q, want %q", said, c.want)
			}
			s.set.Stopping = false
			if n := s.messages.Stats().Dropped; n > 0 && !member.Gone {
				t.Errorf("%d messages are lost", n)
			}
		})
	}
}

// TestMayBlockGroupOfFile: a file that a group is told as text counts for what is in it, not for the payload beside it.
func TestMayBlockGroupOfFile(t *testing.T) {
	s := newStage(t, func(_ *Setup, o *Options) { o.Limits.Output = 16 << 10 })
	member, pub := s.connect(1000), s.connect(1001)
	member.cmd("HELLO", "3")
	member.cmd("BUS.SUB", "a", "GROUP", "g", "TAKE", "0")
	s.settle()
	member.Take()
	text := strings.Repeat("x", 10<<10)
	publish := func(want string) {
		t.Helper()
		pub.SendFDs(wire.AppendCommand(nil, "BUS.PUB", "a", "", "FD", "sealed", "MAYBLOCK", "0"), dup(t, memfd(t, text, allSeals)))
		s.settle()
		if got := pub.Take(); !strings.Contains(got, want) {
			t.Errorf("the publisher is told %q, want %q", got, want)
		}
	}
	publish("dropped\r\n:0\r\n")
	publish(`-BUSY group "g" is too far behind "a", and would miss messages`)
	member.cmd("BUS.SUB", "a", "GROUP", "g", "TAKE", "9")
	s.settle()
	if got := member.Take(); !strings.Contains(got, text) || strings.Contains(got, "bus.lost") {
		t.Errorf("the member is given %.200q", got)
	}
}

// TestMayBlockOneOfManyGroups: a group holds a publisher up also if it is one of more than a message is given to at once.
func TestMayBlockOneOfManyGroups(t *testing.T) {
	s := newStage(t, func(setup *Setup, o *Options) { setup.Verify, o.Limits.Output = false, 16<<10 })
	member, full, pub := s.connect(1000), s.connect(1000), s.connect(1001)
	for _, a := range []actor{member, full} {
		a.cmd("HELLO", "3")
	}
	for i := range 300 {
		member.cmd("BUS.SUB", "a", "GROUP", strconv.Itoa(i))
	}
	full.cmd("BUS.SUB", "a", "GROUP", "g", "TAKE", "0")
	s.settle()
	said, text := "", strings.Repeat("x", 4000)
	for n := 0; !strings.HasPrefix(said, "-"); n++ {
		pub.cmd("BUS.PUB", "a", text, "MAYBLOCK", "0")
		for s.settle(); member.Take() != ""; s.settle() { // it reads all
		}
		if said = pub.Take(); n == 10 {
			t.Fatal("nobody holds him up")
		}
	}
	if want := "-BUSY group \"g\" is too far behind \"a\", and would miss messages\r\n"; said != want {
		t.Errorf("he is told %q, want %q", said, want)
	}
}

// TestMayBlockGroupWithNothingWaiting: a message that may not wait in a group, as it is too large for that, waits with its publisher until a member
// can take it at once, also where nothing of that group waited for the member to read.
func TestMayBlockGroupWithNothingWaiting(t *testing.T) {
	s := newStage(t, func(_ *Setup, o *Options) { o.Limits.Output = 16 << 10 })
	member, pub := s.connect(1000), s.connect(1001)
	member.cmd("HELLO", "3")
	member.cmd("BUS.SUB", "a", "GROUP", "g")
	s.settle()
	member.Take()
	s.publish(pub, "a", 1, 16) // which is as much as a member is given before it has read
	large := strings.Repeat("x", 20<<10)
	pub.cmd("BUS.PUB", "a", large, "MAYBLOCK", "4500")
	s.settle()
	if got := pub.Take(); got != "" {
		t.Fatalf("who waits is told %q", got)
	}
	member.Take()
	s.settle()
	if got := receipt(t, pub.Take()); got != "17 1 0" || !strings.Contains(member.Take(), large) {
		t.Errorf("then he is told %q", got)
	}
}
