package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/conn/conntest"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A stage is a server whose connections are no sockets: nothing happens but what a test does, and a peer's socket takes as many bytes as
// it says.
type stage struct {
	*Server
	t      testing.TB
	kernel *conntest.Kernel
}

// An actor is a client there.
type actor struct {
	*conntest.End
	server *session.Session
}

func newStage(t testing.TB, change ...func(*Setup, *Options)) *stage {
	t.Helper()
	checkDescriptors(t)
	k := conntest.New()
	s, _ := newServer(t, append(change, func(s *Setup, _ *Options) {
		s.Kernel = k
		s.OpenPeer = func(_ int, who peer.Peer) (int, error) { return unix.PidfdOpen(who.PID, 0) }
	})...)
	t.Cleanup(s.close)
	return &stage{s, t, k}
}

// connect adds a client that is this process, of a user.
func (s *stage) connect(uid uint32) actor {
	s.t.Helper()
	end, who := s.kernel.Connect(), s.self
	who.UID = uid
	sess, err := s.join(end.FD, who)
	if err != nil {
		s.t.Fatal(err)
	}
	return actor{end, sess}
}

func (a actor) cmd(words ...string) { a.Send(wire.AppendCommand(nil, words...)...) }

// settle makes turns until there is nothing to do.
func (s *stage) settle() {
	s.t.Helper()
	for busy := true; busy; {
		s.set.Net.BeginTurn()
		busy = s.kernel.Tell()
		s.set.Net.EndEvents()
		s.set.Net.WrapUp()
		busy = busy || !s.idle()
		s.turn(nil)
	}
}

// TestBlockedAnywhere has what all services say to one connection in one turn, replies, messages of each kind, events and pushes of
// locks, be cut off by a full socket at each byte: what comes is what comes to one that reads all, and nothing waits in the end.
func TestBlockedAnywhere(t *testing.T) {
	s := newStage(t)
	want, first := "", ""
	for room := -1; room <= len(first); room++ {
		const near = 8
		if room > near && room < len(first)-near && strings.Trim(first[room-near:room+near], "x") == "" {
			continue // one byte of a long payload is as good as another
		}
		c, other := s.connect(1000), s.connect(1001)
		for _, words := range [][]string{{"HELLO", "3"}, {"SUBSCRIBE", "a"}, {"PSUBSCRIBE", "a*"}, {"BUS.SUB", "a/#"}, {"BUS.SUB", "ipcd/lock/released/#"}} {
			c.cmd(words...)
		}
		other.cmd("LOCK.ACQUIRE", "l")
		s.settle()
		c.cmd("LOCK.ACQUIRE", "l", "OWNER", "c", "ASYNC")
		s.settle()
		c.Take()
		c.SetRoom(room)
		c.cmd("PING")
		other.cmd("PUBLISH", "a", strings.Repeat("x", 1100))
		other.cmd("PUBLISH", "a/b", "y")
		other.cmd("PUBLISH", "a", "z")
		s.settle()
		other.cmd("LOCK.RELEASE", "l")
		c.cmd("PING")
		s.settle()
		c.SetRoom(-1)
		s.settle()
		raw := c.Take()
		got := stable(t, raw)
		if room < 0 {
			want, first = got, raw
		}
		if got != want {
			t.Fatalf("blocked at byte %d: got %q, want %q", room, got, want)
		}
		if in, out := c.server.Memory(); in+out != 0 {
			t.Fatalf("blocked at byte %d: %d and %d bytes are held", room, in, out)
		}
		c.Close()
		other.Close()
		s.settle()
		s.set.Loop.TimeUp() // the kernel has had the time to tell more of the end
		s.set.Loop.Clock.SetNow(s.set.Now() + time.Second)
		s.settle()
	}
	if s.set.Net.Len()+s.set.Users.Len()+s.figures().Processes != 0 {
		t.Errorf("left: %d connections, %d users, %d processes", s.set.Net.Len(), s.set.Users.Len(), s.figures().Processes)
	}
	for _, part := range []string{"+PONG", "m a x", "bus.message a/# a/b", "done l", "bus.message ipcd/lock/released/# ipcd/lock/released/l"} {
		if !strings.Contains(want, part) {
			t.Errorf("%q is not among what comes: %q", part, want)
		}
	}
}

// TestLossBeforeUnsubscription: what a subscription has missed behind a reply for which alone there was room is told before the reply that
// ends it, and not behind that, where it would be of another subscription to the same filter, or of none.
func TestLossBeforeUnsubscription(t *testing.T) {
	for _, words := range [][]string{{"BUS.UNSUB", "a"}, {"BUS.UNSUB"}} {
		s := newStage(t, func(_ *Setup, o *Options) { o.Limits.Output = 16 << 10 })
		c, pub := s.connect(1000), s.connect(1001)
		c.cmd("HELLO", "3")
		c.cmd("BUS.SUB", "a")
		s.settle()
		c.Take()
		c.SetRoom(0)
		c.cmd("ECHO", strings.Repeat("x", 20<<10))
		s.settle()
		for range 3 {
			pub.cmd("PUBLISH", "a", "missed")
		}
		s.settle()
		c.cmd(words...)
		c.cmd("BUS.SUB", "a")
		s.settle()
		c.SetRoom(-1)
		s.settle()
		got := c.Take()
		if want := ">3\r\n$8\r\nbus.lost\r\n$1\r\na\r\n:3\r\n:0\r\n:1\r\n"; !strings.HasPrefix(got, "$20480\r\n") || !strings.HasSuffix(got, "x\r\n"+want) {
			t.Errorf("%v: behind the first reply comes %q, want %q", words, got[strings.LastIndex(got, "x")+1:], want)
		}
	}
}

// TestNumberedOnceInParts: a message that is given bit by bit to those whose sockets are full has one number among those of each of its
// filters, wherever it was left off: among the subscribers of a filter, or before the first of the next.
func TestNumberedOnceInParts(t *testing.T) {
	const size = 15 << 10               // of larger ones what sockets do not take is shared
	for subs := 1; subs <= 20; subs++ { // a few of which have as much copied as is at once
		s := newStage(t)
		pub := s.connect(1001)
		var all []actor
		for _, filter := range []string{"a", "+", "#"} {
			for range subs {
				c := s.connect(1000)
				c.cmd("HELLO", "3")
				c.cmd("BUS.SUB", filter)
				s.settle()
				c.Take()
				c.SetRoom(1 << 10)
				all = append(all, c)
			}
		}
		const messages = 3
		for range messages {
			pub.cmd("PUBLISH", "a", strings.Repeat("x", size))
			s.settle() // nobody reads, and all sockets are full
		}
		for i, c := range all {
			c.SetRoom(-1)
			s.settle()
			var got []int64
			for v := range values(t, []byte(c.Take())) {
				got = append(got, v.Elems[9].Int)
			}
			if fmt.Sprint(got) != "[1 2 3]" {
				t.Fatalf("of %d subscribers to each filter, %d has the messages %v", subs, i, got)
			}
		}
	}
}

// stable is what a client got, without what is another in each run: times and tokens.
func stable(t *testing.T, got string) string {
	t.Helper()
	var b strings.Builder
	for v := range values(t, []byte(got)) {
		switch {
		case len(v.Elems) == 0:
			fmt.Fprintf(&b, "+%s\n", v.Str)
		case v.Elems[0].Str == "bus.message":
			fmt.Fprintf(&b, "%s %s %s\n", v.Elems[0].Str, v.Elems[1].Str, v.Elems[2].Str)
		case v.Elems[0].Str == "done":
			fmt.Fprintf(&b, "done %s\n", v.Elems[2].Get("name").Str)
		default:
			for _, e := range v.Elems {
				fmt.Fprintf(&b, "%.1s ", e.Str)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}
