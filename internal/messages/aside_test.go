package messages

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// pubCall is a call of BUS.PUB.
func pubCall(t *testing.T, from subscriber, words ...string) *session.Call {
	t.Helper()
	c := &session.Call{Session: from.sess}
	for i := range wire.Commands {
		if wire.Commands[i].Name == "BUS.PUB" {
			c.Row = &wire.Commands[i]
		}
	}
	for _, word := range words {
		c.Args = append(c.Args, []byte(word))
	}
	return c
}

// connectMany are so many clients.
func (s *stage) connectMany(n int) (all []subscriber) {
	for range n {
		all = append(all, s.connect())
	}
	return all
}

// howMany is how many of these are set aside.
func howMany(all []subscriber) (n int) {
	for _, c := range all {
		if c.sess.Parked() {
			n++
		}
	}
	return n
}

// TestManyGoOnBitByBit: of very many who are set aside for one thing, as many go on in a step as it has time for, and those first who came
// first.
func TestManyGoOnBitByBit(t *testing.T) {
	const many, few = 1000, 200
	for name, c := range map[string]struct {
		prepare func(s *stage, all []subscriber) (isGone func()) // has them be set aside, and what it is for be gone
	}{
		"a receiver": {func(s *stage, all []subscriber) func() {
			s.set.Net.SetLimits(conn.Limits{Output: 8 << 10})
			slow := s.connect()
			s.subscribeTo(slow, "a")
			slow.SetRoom(0)
			for range 4 {
				s.busPub(pubCall(t, all[0], "a", strings.Repeat("x", 4<<10)))
				s.set.Net.FlushAll()
			}
			for _, c := range all {
				if !s.MustAwaitRoom(pubCall(t, c, "a", strings.Repeat("x", 4<<10), "MAYBLOCK", "60000")) {
					t.Fatal("nobody is in the way")
				}
			}
			return func() { s.HasRoom(slow.sess) }
		}},
		"a group": {func(s *stage, all []subscriber) func() {
			s.SetLimits(Limits{Output: 300})
			member, of := s.connect(), bus.Sharing{Filter: "a", Group: "g"}
			if !s.join(&session.Call{Session: member.sess}, of, 0, "") {
				t.Fatal("it does not join")
			}
			s.busPub(pubCall(t, all[0], "a", "x"))
			for _, c := range all {
				if !s.MustAwaitRoom(pubCall(t, c, "a", "x", "MAYBLOCK", "60000")) {
					t.Fatal("nobody is in the way")
				}
			}
			return func() { s.join(&session.Call{Session: member.sess}, of, 1, "") }
		}},
		"the line": {func(s *stage, all []subscriber) func() {
			s.lineUp(&delivery{message: message{topic: []byte("a")}, user: all[0].sess.User().UID()})
			for _, c := range all {
				s.Park(c.sess)
			}
			return s.leaveLine
		}},
	} {
		s := newStage(t)
		all, now := s.connectMany(many), time.Duration(0)
		isGone := c.prepare(s, all)
		s.set.Net.Now = func() time.Duration { now += time.Second; return now } // each part of a turn is over soon
		if n := howMany(all); n != many {
			t.Fatalf("%s: %d are set aside", name, n)
		}
		isGone()
		for left := many; left > 0; {
			s.set.Net.BeginRest()
			s.MoveLine()
			n := howMany(all)
			if n == left || left-n > few || howMany(all[:many-n]) > 0 {
				t.Fatalf("%s: %d are left in one step of %d, %d of them in front", name, n, left, howMany(all[:many-n]))
			}
			left = n
		}
	}
}

// TestManyGroupsInTheWay: where publishers wait for very many groups, a member that can take something has that one go on who waits for a group
// of its own, though it does not look at all of them at once.
func TestManyGroupsInTheWay(t *testing.T) {
	const many = 500
	s := newStage(t)
	s.SetLimits(Limits{Output: 300})
	all, member := s.connectMany(many), s.connect()
	for i, c := range all {
		topic := "t/" + strconv.Itoa(i)
		who := s.connect()
		if i == many-1 {
			who = member
		}
		if !s.join(&session.Call{Session: who.sess}, bus.Sharing{Filter: topic, Group: "g"}, 0, "") {
			t.Fatal("it does not join")
		}
		s.busPub(pubCall(t, c, topic, "x"))
		if !s.MustAwaitRoom(pubCall(t, c, topic, "x", "MAYBLOCK", "60000")) {
			t.Fatal("nobody is in the way")
		}
	}
	s.memberTakes(member.sess)
	for range many {
		s.MoveLine()
	}
	if all[many-1].sess.Parked() {
		t.Error("who waits for its group is set aside still")
	}
	for i, c := range all { // of those who look again, all but one are set aside again
		topic := "t/" + strconv.Itoa(i)
		if !c.sess.Parked() && !s.MustAwaitRoom(pubCall(t, c, topic, "x", "MAYBLOCK", "60000")) {
			t.Errorf("nobody is in the way of publisher %d", i)
		}
	}
	if n := howMany(all); n != many {
		t.Errorf("%d are set aside", n)
	}
	for _, c := range all {
		s.Closed(c.sess)
	}
	if n := s.Parked(); n != 0 {
		t.Errorf("%d are set aside who have gone", n)
	}
}

// TestVeryManyMembersAreAskedBitByBit: of very many members who cannot take a message, so many are found out at once, and the others later. The
// first who can take it is given it then.
func TestVeryManyMembersAreAskedBitByBit(t *testing.T) {
	const many, most = 2000, 600
	s := newStage(t)
	s.SetLimits(Limits{Output: 1 << 20})
	all, now := s.connectMany(many), time.Duration(0)
	for _, c := range all {
		if !s.join(&session.Call{Session: c.sess}, bus.Sharing{Filter: "a", Group: "g"}, -1, "") {
			t.Fatal("it does not join")
		}
		c.SetRoom(0)
		c.sess.Send([]byte("x"))
	}
	s.set.Net.FlushAll()
	s.set.Net.Now = func() time.Duration { now += time.Second; return now } // each part of a turn is over soon
	members := func() (n int) {
		for g := range s.groups.All() {
			for range g.Candidates() {
				n++
			}
		}
		return n
	}
	s.busPub(pubCall(t, s.connect(), "a", "x"))
	left := many
	for steps := 0; ; steps++ {
		n := members()
		if left-n > most || steps > many {
			t.Fatalf("%d of %d are asked in one step", left-n, left)
		}
		if left = n; !s.Waiting() {
			break
		}
		s.set.Net.BeginRest()
		s.MoveLine()
	}
	if _, bytes := s.Groups(); left != 0 || bytes == 0 {
		t.Errorf("%d may be able to take it, and %d bytes wait", left, bytes)
	}
	all[many/2].SetRoom(-1)
	s.settle()
	all[many/2].Take()
	s.settle()
	if got := all[many/2].Take(); !strings.Contains(got, "bus.message") {
		t.Errorf("who reads is given %q", got)
	}
}

// TestPublisherWaitsForWhoComesBackLate: who waits for a group, to which its member comes back after very many others, and looks before that
// again, goes on when it has.
func TestPublisherWaitsForWhoComesBackLate(t *testing.T) {
	const many = 4 * mostGiven
	s := newStage(t)
	s.SetLimits(Limits{Output: 100}) // no message may wait
	member, pub, now := s.connect(), s.connect(), time.Duration(0)
	member.SetRoom(0)
	member.sess.Send([]byte("x"))
	s.set.Net.FlushAll()
	s.set.Net.Now = func() time.Duration { now += time.Second; return now } // each part of a turn is over soon
	for i := range many {
		topic := "a"
		if i == many-1 {
			topic = "b"
		}
		if !s.join(&session.Call{Session: member.sess}, bus.Sharing{Filter: topic, Group: strconv.Itoa(i)}, -1, "") {
			t.Fatal("it does not join")
		}
	}
	move := func() {
		s.set.Net.BeginRest()
		s.MoveLine()
	}
	for _, topic := range []string{"a", "b"} { // it comes back to the groups in the order in which it could not take this
		for s.busPub(pubCall(t, pub, topic, "x")); s.Waiting(); {
			move()
		}
	}
	looks := 0
	isHeldUp := func() bool {
		looks++
		return s.MustAwaitRoom(pubCall(t, pub, "b", "x", "MAYBLOCK", "60000"))
	}
	if !isHeldUp() {
		t.Fatal("nobody is in the way")
	}
	member.SetRoom(-1)
	s.settle()
	member.Take()
	for s.settle(); looks < many && (pub.sess.Parked() || isHeldUp()); {
		if move(); !s.Waiting() && pub.sess.Parked() {
			t.Fatal("he waits, and nothing else is to be done")
		}
	}
	if looks < 3 {
		t.Errorf("he has looked %d times, and was to look while his group had nobody yet", looks)
	}
}
