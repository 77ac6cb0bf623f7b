package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A share is what a client has got of groups, in the order in which it came: the payloads of messages, and "lost N".
func share(t *testing.T, got string) (all []string) {
	t.Helper()
	for v := range values(t, []byte(got)) {
		if len(v.Elems) == 0 {
			continue
		}
		switch more := v.Elems[len(v.Elems)-1]; v.Elems[0].Str {
		case "bus.message":
			if len(v.Elems) != 11 || more.Get("group").Str == "" {
				t.Errorf("a message of no group came: %v", v)
			}
			all = append(all, v.Elems[3].Str)
		case "bus.lost":
			if len(v.Elems) != 4 || more.Get("group").Str == "" {
				t.Errorf("a loss of no group came: %v", v)
			}
			all = append(all, "lost "+strconv.FormatInt(v.Elems[2].Int, 10))
		}
	}
	return all
}

// receipt is the last one that a client has got, as seq, delivered, dropped.
func receipt(t testing.TB, got string) (text string) {
	t.Helper()
	for v := range values(t, []byte(got)) {
		text = fmt.Sprintf("%d %d %d", v.Get("seq").Int, v.Get("delivered").Int, v.Get("dropped").Int)
	}
	return text
}

// members are clients that share a filter in the group g.
func (s *stage) members(n int, filter string) (all []actor) {
	s.t.Helper()
	for range n {
		m := s.connect(1000)
		m.cmd("HELLO", "3")
		m.cmd("BUS.SUB", filter, "GROUP", "g")
		s.settle()
		m.Take()
		all = append(all, m)
	}
	return all
}

// publish publishes numbers, and returns the receipt of the last.
func (s *stage) publish(from actor, topic string, first, last int) string {
	s.t.Helper()
	for n := first; n <= last; n++ {
		from.cmd("BUS.PUB", topic, strconv.Itoa(n))
		s.settle()
	}
	return receipt(s.t, from.Take())
}

// numbers are those from one to another.
func numbers(first, last int) (all []string) {
	for n := first; n <= last; n++ {
		all = append(all, strconv.Itoa(n))
	}
	return all
}

func wantShare(t *testing.T, who string, m actor, want ...string) {
	t.Helper()
	if got := share(t, m.Take()); !slices.Equal(got, want) {
		t.Errorf("%s got %q, want %q", who, got, want)
	}
}

// TestGroupGivesToOne has each message go to one member, in turn, whoever publishes it and how, and beside it to all who share nothing.
func TestGroupGivesToOne(t *testing.T) {
	s := newStage(t)
	pub, plain := s.connect(1001), s.connect(1001)
	plain.cmd("HELLO", "3")
	plain.cmd("BUS.SUB", "jobs/#")
	pub.cmd("BUS.PUB", "jobs/kept", "before", "RETAIN")
	s.settle()
	pub.Take()
	plain.Take()
	m := s.members(3, "jobs/#") // who begin with no value
	if got := s.publish(pub, "jobs/a", 1, 6); got != "7 2 0" {
		t.Errorf("the publisher is told %q: the group counts as one", got)
	}
	for i, want := range [][]string{{"1", "4"}, {"2", "5"}, {"3", "6"}} {
		wantShare(t, fmt.Sprint("member ", i), m[i], want...)
	}
	if n := strings.Count(plain.Take(), "bus.message"); n != 6 {
		t.Errorf("who shares nothing got %d messages", n)
	}
	// All that is published in one turn.
	for n := range 6 {
		pub.cmd("PUBLISH", "jobs/b", strconv.Itoa(n))
	}
	pub.cmd("PUBLISH", "jobs/\x00", "no topic")
	s.settle()
	for i, want := range [][]string{{"0", "3"}, {"1", "4"}, {"2", "5"}} {
		wantShare(t, fmt.Sprint("member ", i), m[i], want...)
	}
	// The daemon's own.
	m[0].cmd("BUS.SUB", "ipcd/lock/released/#", "GROUP", "h", "RAW")
	m[1].cmd("BUS.SUB", "ipcd/lock/released/#", "GROUP", "h")
	s.settle()
	m[0].Take()
	m[1].Take()
	for _, lock := range []string{"l1", "l2"} {
		pub.cmd("LOCK.ACQUIRE", lock)
		pub.cmd("LOCK.RELEASE", lock)
	}
	s.settle()
	for _, x := range m[:2] {
		if got := share(t, x.Take()); len(got) != 1 {
			t.Errorf("of two events one got %q", got)
		}
	}
}

// TestGroupWireForms: what a member is sent has its group beside all that a message has, in both protocols.
func TestGroupWireForms(t *testing.T) {
	s := newStage(t)
	pub, m := s.connect(1001), s.connect(1000)
	m.cmd("BUS.SUB", "a", "GROUP", "g", "RAW")
	m.cmd("BUS.SUB", "a", "RAW")
	s.settle()
	m.Take()
	pub.cmd("BUS.PUB", "a", "x", "HEADER", "k", "v")
	s.settle()
	stamp := string(m.server.Stamp()) // of the same process, but another user's
	stamp = strings.Replace(stamp, ":1000\r\n", ":1001\r\n", 1)
	got := m.Take()
	if !strings.HasPrefix(got, "*11\r\n$11\r\nbus.message\r\n$1\r\na\r\n$1\r\na\r\n$1\r\nx\r\n:1\r\n:") ||
		!strings.HasSuffix(got, stamp+":0\r\n*4\r\n$5\r\ngroup\r\n$1\r\ng\r\n$7\r\nheaders\r\n*2\r\n$1\r\nk\r\n$1\r\nv\r\n") {
		t.Errorf("got %q", got)
	}
	if strings.Count(got, "bus.message") != 2 {
		t.Errorf("a member that is subscribed beside that gets it twice: %q", got)
	}
}

// TestGroupOfPatterns: who can say nothing but PSUBSCRIBE is a member as any other, is told of a message and of losses by the pattern, and is
// given what others were not sent, as they are what he was not.
func TestGroupOfPatterns(t *testing.T) {
	const pattern = "ipcd/group/g/jobs/#"
	s := newStage(t, func(_ *Setup, o *Options) { o.Limits.Output = 2 << 10 })
	pub, m, other := s.connect(1001), s.connect(1000), s.connect(1000)
	say := func(want string, words ...string) {
		t.Helper()
		m.cmd(words...)
		s.settle()
		if got := m.Take(); got != want {
			t.Errorf("%q: got %q, want %q", words, got, want)
		}
	}
	confirmed := func(word, text string, n int) string {
		return fmt.Sprintf("*3\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n:%d\r\n", len(word), word, len(text), text, n)
	}
	say(confirmed("psubscribe", pattern, 1), "PSUBSCRIBE", pattern)
	say(confirmed("psubscribe", pattern, 1), "PSUBSCRIBE", pattern)
	say("-BADNAME bad group \"\": it is empty\r\n", "PSUBSCRIBE", "ipcd/group//jobs")
	say("-BADNAME bad filter \"\": it is empty\r\n", "PSUBSCRIBE", "ipcd/group/g")
	say("-ERR this connection is subscribed to \"jobs/#\" in group \"g\" already, in another form\r\n", "BUS.SUB", "jobs/#", "GROUP", "g", "RAW")
	say("-NOTFOUND this connection is not subscribed to \"jobs/#\" in group \"g\"\r\n", "BUS.UNSUB", "jobs/#", "GROUP", "g")
	say(":0\r\n", "BUS.UNSUB")
	if got := s.publish(pub, "jobs/a", 1, 1); got != "1 1 0" {
		t.Errorf("the publisher is told %q", got)
	}
	got := m.Take()
	for v := range values(t, []byte(got)) {
		if len(v.Elems) != 4 || v.Elems[0].Str != "pmessage" || v.Elems[1].Str != pattern || v.Elems[2].Str != "jobs/a" ||
			!strings.HasPrefix(v.Elems[3].Str, `{"topic":"jobs/a","seq":1,`) || !strings.HasSuffix(v.Elems[3].Str, `,"group":"g","payload":"1"}`) {
			t.Errorf("got %q", got)
		}
	}
	say(confirmed("punsubscribe", pattern, 0), "PUNSUBSCRIBE", "ipcd/group/g/jobs/#")
	say(confirmed("punsubscribe", pattern, 0), "PUNSUBSCRIBE", "ipcd/group/g/jobs/#")
	say(confirmed("psubscribe", pattern, 1)+confirmed("psubscribe", "a*", 2), "PSUBSCRIBE", pattern, "a*")
	say(confirmed("punsubscribe", "a*", 1)+confirmed("punsubscribe", pattern, 0), "PUNSUBSCRIBE")

	// What it was not sent goes to another, and the word of what is lost.
	other.cmd("HELLO", "3")
	other.cmd("BUS.SUB", "jobs/#", "GROUP", "g", "TAKE", "0")
	s.settle()
	other.Take()
	s.publish(pub, "jobs/a", 1, 20)
	m.SetRoom(len(confirmed("psubscribe", pattern, 1)) + 10)
	m.cmd("PSUBSCRIBE", pattern)
	s.settle()
	lost := s.messages.Stats().Dropped
	if lost == 0 || m.server.Unsent() == 0 {
		t.Fatalf("%d are lost, and %d things are not sent", lost, m.server.Unsent())
	}
	m.Close()
	other.cmd("BUS.SUB", "jobs/#", "GROUP", "g")
	s.settle()
	want := append([]string{fmt.Sprint("lost ", lost)}, numbers(int(lost)+1, 20)...)
	wantShare(t, "the other", other, want...)

	// Who reads is told of it.
	m = s.connect(1000)
	m.cmd("PSUBSCRIBE", pattern)
	s.settle()
	other.cmd("BUS.UNSUB")
	m.Take()
	m.SetRoom(0)
	for n := 1; n <= 40; n++ {
		s.publish(pub, "jobs/a", n, n)
	}
	m.SetRoom(-1)
	for s.settle(); len(m.Got) > 0; s.settle() {
		got += m.Take()
	}
	if !strings.Contains(got, "$9\r\nipcd/lost\r\n") || !strings.Contains(got, `"payload":"40"`) {
		t.Errorf("it is told %q", got)
	}
}

// TestGroupStalled: who does not read what it was given has no more of it than a window, whoever else there is has all other messages,
// and what nobody can take waits for who reads first.
func TestGroupStalled(t *testing.T) {
	s := newStage(t)
	pub := s.connect(1001)
	m := s.members(2, "jobs")
	stalled := m[0]
	for n := 1; n <= 100; n++ { // the other reads each
		s.publish(pub, "jobs", n, n)
		m[1].Take()
		s.settle()
	}
	had := share(t, string(stalled.Got))
	if len(had) != 16 {
		t.Fatalf("who stands still was given %d: %q", len(had), had)
	}
	// Now nobody reads.
	s.publish(pub, "jobs", 101, 200)
	first := share(t, m[1].Take())
	if len(first) == 0 || len(first) > 16 || first[0] != "101" {
		t.Errorf("who has stood still since got %q", first)
	}
	s.settle()
	rest := share(t, m[1].Take())
	for {
		s.settle()
		more := share(t, m[1].Take())
		if len(more) == 0 {
			break
		}
		rest = append(rest, more...)
	}
	if got := append(first, rest...); !slices.Equal(got, numbers(101, 200)) {
		t.Errorf("who reads gets all that waited, in order; got %q", got)
	}
	if got := share(t, stalled.Take()); !slices.Equal(got, had) {
		t.Errorf("who stood still was given more: %q", got)
	}
}

// TestGroupWindowGrows while more waits than anybody has time for, and a member reads; and no longer.
func TestGroupWindowGrows(t *testing.T) {
	s := newStage(t)
	pub := s.connect(1001)
	m := s.members(1, "jobs")[0]
	for range 2 {
		s.publish(pub, "jobs", 1, 900)
		var sizes, all []string
		for {
			got := share(t, m.Take())
			if len(got) == 0 {
				break
			}
			sizes, all = append(sizes, strconv.Itoa(len(got))), append(all, got...)
			s.settle()
		}
		if got := strings.Join(sizes, " "); got != "16 16 32 64 128 256 256 132" || !slices.Equal(all, numbers(1, 900)) {
			t.Errorf("it is given %s", got)
		}
	}
}

// TestGroupWindowInBytes: large messages close it sooner.
func TestGroupWindowInBytes(t *testing.T) {
	s := newStage(t)
	pub := s.connect(1001)
	m := s.members(1, "jobs")[0]
	for range 5 {
		pub.cmd("BUS.PUB", "jobs", strings.Repeat("x", 40<<10))
		s.settle()
	}
	if got := share(t, m.Take()); len(got) != 2 {
		t.Errorf("it was given %d messages of 40 KiB", len(got))
	}
	s.settle()
	if got := share(t, m.Take()); len(got) != 2 {
		t.Errorf("then it was given %d messages of 40 KiB", len(got))
	}
}

// TestGroupShareOfTheDead: what was not written as a whole when a member ends goes to the others in order, before what waits, and what was
// written does not, however it ends.
func TestGroupShareOfTheDead(t *testing.T) {
	for name, end := range map[string]func(s *stage, m actor){
		"closed":       func(_ *stage, m actor) { m.Close() },
		"killed":       func(s *stage, m actor) { s.connect(0).cmd("CLIENT", "KILL", "ID", strconv.FormatUint(m.server.ID, 10)) },
		"leaves first": func(_ *stage, m actor) { m.cmd("BUS.UNSUB", "jobs", "GROUP", "g"); m.Close() },
		"all at once":  func(_ *stage, m actor) { m.cmd("RESET"); m.Close() },
	} {
		for _, room := range []int{0, 1, 100, 300, 301, 400, 1000} {
			s := newStage(t)
			pub := s.connect(1001)
			m := s.members(2, "jobs")
			m[1].cmd("BUS.SUB", "jobs", "GROUP", "g", "TAKE", "0")
			s.settle()
			m[0].SetRoom(room)
			for n := 1; n <= 8; n++ { // all in one turn
				pub.cmd("BUS.PUB", "jobs", strconv.Itoa(n))
			}
			s.settle()
			m[1].Take()
			written := wholeValues(m[0].Got)
			end(s, m[0])
			s.settle()
			m[1].cmd("BUS.SUB", "jobs", "GROUP", "g", "TAKE", "100")
			s.settle()
			if got := share(t, m[1].Take()); !slices.Equal(got, numbers(written+1, 8)) {
				t.Errorf("%s after %d bytes, with %d messages: the other got %q", name, room, written, got)
			}
		}
	}
}

// wholeValues is how many there are.
func wholeValues(b []byte) (n int) {
	d := wire.NewDecoder(bytes.NewReader(b), wire.DefaultLimits)
	for {
		if _, err := d.Decode(); err != nil {
			return n
		}
		n++
	}
}

// TestGroupTake: a member is given as many as it says, and what nobody takes waits, and is given at once when somebody does: behind the
// reply.
func TestGroupTake(t *testing.T) {
	s := newStage(t)
	pub, m := s.connect(1001), s.connect(1000)
	say := func(want string, words ...string) {
		t.Helper()
		m.cmd(words...)
		s.settle()
		if got := m.Take(); got != want {
			t.Errorf("%q: got %q, want %q", words, got, want)
		}
	}
	m.cmd("HELLO", "3")
	s.settle()
	m.Take()
	say(":1\r\n", "BUS.SUB", "jobs", "GROUP", "g", "TAKE", "0")
	say(":1\r\n", "BUS.SUB", "jobs", "GROUP", "g", "TAKE", "0")
	if got := s.publish(pub, "jobs", 1, 3); got != "3 1 0" {
		t.Errorf("the publisher is told %q: it waits", got)
	}
	take := func(n string, want ...string) {
		t.Helper()
		m.cmd("BUS.SUB", "jobs", "TAKE", n, "GROUP", "g")
		s.settle()
		got := m.Take()
		if !strings.HasPrefix(got, ":1\r\n") {
			t.Errorf("something comes before the reply: %q", got)
		}
		if all := share(t, got); !slices.Equal(all, want) {
			t.Errorf("TAKE %s: got %q, want %q", n, all, want)
		}
	}
	take("1", "1")
	take("4", "2", "3")
	s.publish(pub, "jobs", 4, 6)
	wantShare(t, "who takes two more", m, "4", "5")
	m.cmd("BUS.SUB", "jobs", "GROUP", "g")
	s.settle()
	wantShare(t, "who takes all", m, "6")
	say("-ERR TAKE wants a number from 0 to 2147483647, not \"-1\"\r\n", "BUS.SUB", "jobs", "GROUP", "g", "TAKE", "-1")
	say("-ERR TAKE is for a member of a group: say GROUP and its label, too\r\n", "BUS.SUB", "jobs", "TAKE", "1")
	say("-ERR syntax error\r\n", "BUS.SUB", "jobs", "GROUP")
	say("-BADNAME bad group \"\": it is empty\r\n", "BUS.SUB", "jobs", "GROUP", "")
	say("-BADNAME bad filter \"a#\": wildcard \"#\" at byte 1 is not a whole level\r\n", "BUS.SUB", "a#", "GROUP", "g")
	say(":2\r\n", "BUS.SUB", "jobs")
	say(":3\r\n", "BUS.SUB", "#", "GROUP", "g")
	say("-NOTFOUND this connection is not subscribed to \"jobs\" in group \"h\"\r\n", "BUS.UNSUB", "jobs", "GROUP", "h")
	say("-ERR syntax error\r\n", "BUS.UNSUB", "jobs", "GROUP")
	say(":2\r\n", "BUS.UNSUB", "jobs", "GROUP", "g")
	say(":1\r\n", "BUS.UNSUB", "jobs")
	say(":0\r\n", "BUS.UNSUB")
}

// TestGroupsShareOneCopy: what several groups have is there until the last of them has given it and it was sent, whatever is published
// meanwhile.
func TestGroupsShareOneCopy(t *testing.T) {
	s := newStage(t)
	pub, early, late, last := s.connect(1001), s.connect(1000), s.connect(1000), s.connect(1000)
	for _, m := range []actor{early, late, last} {
		m.cmd("HELLO", "3")
	}
	early.cmd("BUS.SUB", "jobs", "GROUP", "early")
	late.cmd("BUS.SUB", "jobs", "GROUP", "late", "TAKE", "0")
	last.cmd("BUS.SUB", "jobs", "GROUP", "last", "TAKE", "0")
	s.settle()
	for _, m := range []actor{early, late, last} {
		m.Take()
	}
	s.publish(pub, "jobs", 1, 5)
	wantShare(t, "who takes all", early, numbers(1, 5)...)
	late.cmd("BUS.SUB", "jobs", "GROUP", "late", "TAKE", "2")
	s.settle()
	wantShare(t, "who takes two", late, "1", "2")
	s.publish(pub, "jobs", 6, 9)
	late.cmd("BUS.SUB", "jobs", "GROUP", "late")
	last.cmd("BUS.SUB", "jobs", "GROUP", "last")
	s.settle()
	wantShare(t, "who takes the others", late, numbers(3, 9)...)
	wantShare(t, "who takes all at last", last, numbers(1, 9)...)
}

// TestGroupLoses the oldest of what waits when that is too much, tells the publisher how many that are, and the next member that is given
// something; and what waits when the last member leaves is counted.
func TestGroupLoses(t *testing.T) {
	s := newStage(t, func(_ *Setup, o *Options) { o.Limits.Output = 10 << 10 })
	pub := s.connect(1001)
	m := s.members(1, "jobs")[0]
	m.cmd("BUS.SUB", "jobs", "GROUP", "g", "TAKE", "0")
	s.settle()
	m.Take()
	dropped := 0
	for n := 1; n <= 50; n++ {
		got := s.publish(pub, "jobs", n, n)
		if strings.HasSuffix(got, " 1 1") {
			dropped++
		} else if !strings.HasSuffix(got, " 1 0") {
			t.Errorf("the publisher is told %q", got)
		}
	}
	pub.cmd("BUS.PUB", "jobs", strings.Repeat("x", 11<<10))
	s.settle()
	if got := receipt(t, pub.Take()); got != fmt.Sprintf("51 0 %d", 51-dropped) {
		t.Errorf("of a message that is too much for the group, the publisher is told %q", got)
	}
	if dropped == 0 || s.messages.Stats().Dropped != 51 {
		t.Errorf("%d are lost, counted %d", dropped, s.messages.Stats().Dropped)
	}
	s.publish(pub, "jobs", 60, 62)
	m.cmd("BUS.SUB", "jobs", "GROUP", "g", "TAKE", "2")
	s.settle()
	wantShare(t, "who takes two", m, "lost 51", "60", "61")
	m.cmd("BUS.UNSUB", "jobs", "GROUP", "g")
	s.settle()
	if got := s.publish(pub, "jobs", 70, 70); got != "55 0 0" || s.messages.Stats().Dropped != 52 {
		t.Errorf("to nobody: %q, and %d are lost", got, s.messages.Stats().Dropped)
	}
}

// TestGroupIsPaidFor by the user of the member that came first: as what waits for him is too much, it is lost, and so it is for who comes
// behind him. What the verifier of each turn compares is what it costs whom.
func TestGroupIsPaidFor(t *testing.T) {
	s := newStage(t, func(_ *Setup, o *Options) { o.Limits.BuffersPerUser = 64 << 10 })
	pub, a, a2, b := s.connect(1001), s.connect(2000), s.connect(2000), s.connect(3000)
	for _, m := range []actor{a, a2, b} {
		m.cmd("HELLO", "3")
		m.cmd("BUS.SUB", "jobs", "GROUP", "g", "TAKE", "0")
		s.settle()
		m.Take()
	}
	paid := func(uid uint32) int { return s.set.Users.Of(uid).Used(account.Output) }
	for n := range 20 {
		pub.cmd("BUS.PUB", "jobs", strings.Repeat("x", 4<<10)+strconv.Itoa(n))
		s.settle()
	}
	kept := paid(2000)
	if kept > 32<<10 || kept < 28<<10 || paid(3000)+paid(1001) != 0 {
		t.Errorf("of what waits, %d bytes are the first one's, %d the other's, %d the publisher's", kept, paid(3000), paid(1001))
	}
	a.Close()
	s.settle()
	if paid(2000) != kept {
		t.Error("his other connection is a member still")
	}
	a2.cmd("BUS.UNSUB", "jobs", "GROUP", "g")
	s.settle()
	if paid(2000) != 0 || paid(3000) != kept {
		t.Errorf("then %d bytes are the first one's, %d the other's", paid(2000), paid(3000))
	}
	b.cmd("BUS.SUB", "jobs", "GROUP", "g")
	s.settle()
	if got := share(t, b.Take()); len(got) != 8 || got[0] != "lost 13" {
		t.Errorf("the other gets %d, first %.10q", len(got), got)
	}
	if paid(3000) != 0 {
		t.Errorf("%d bytes wait still", paid(3000))
	}
}

// TestGroupIsCharged as any subscription, up to the limit.
func TestGroupIsCharged(t *testing.T) {
	s := newStage(t, func(_ *Setup, o *Options) { o.Limits.SubscriptionsPerUser = 2 })
	m := s.connect(1000)
	m.cmd("HELLO", "3")
	s.settle()
	for i, want := range []string{":1\r\n", ":2\r\n", "-QUOTA user 1000 has 2 subscriptions already (limits.subscriptions_per_user)\r\n", ":2\r\n", ":1\r\n", ":2\r\n"} {
		m.Take()
		m.cmd([][]string{
			{"BUS.SUB", "a", "GROUP", "g"}, {"BUS.SUB", "a", "GROUP", "h"}, {"BUS.SUB", "b", "GROUP", "g"}, {"BUS.SUB", "a", "GROUP", "h"},
			{"BUS.UNSUB", "a", "GROUP", "g"}, {"BUS.SUB", "c", "GROUP", "g"},
		}[i]...)
		s.settle()
		if got := m.Take(); got != want {
			t.Errorf("command %d: got %q, want %q", i+1, got, want)
		}
	}
	m.cmd("CLIENT", "INFO")
	s.settle()
	if got := m.Take(); !strings.Contains(got, " bsub=0 gsub=2 ") {
		t.Errorf("its line is %q", got)
	}
	m.cmd("IPCD.STATUS")
	s.settle()
	for v := range values(t, []byte(m.Take())) {
		if v.Get("groups").Int != 2 || v.Get("subscriptions").Int != 2 {
			t.Errorf("the status has %d groups, %d subscriptions", v.Get("groups").Int, v.Get("subscriptions").Int)
		}
	}
}

// TestGroupInLine: what has to stand in line is given to its groups in its place, and nothing that comes later overtakes it on the way to
// who may get both. What does not concern those who get it goes on meanwhile.
func TestGroupInLine(t *testing.T) {
	m, many := newMany(t, 9)
	alone, none := m.connect(false), m.connect(false)
	many.cmd("BUS.SUB", "b", "GROUP", "g")
	for c, filter := range map[*end]string{alone: "l/#", none: "c"} {
		c.cmd("HELLO", "3")
		c.cmd("BUS.SUB", filter, "GROUP", "g")
	}
	m.settle()
	for _, c := range []*end{many, alone, none} {
		c.take()
	}
	publisher, other, third := m.connectAs(1001, false), m.connectAs(1002, false), m.connectAs(1003, false)
	publisher.cmd("BUS.PUB", manyLevels, "x")
	m.step()
	if m.messages.InLine() != 1 {
		t.Fatal("a message to very many was delivered in one turn")
	}
	for i, test := range []struct {
		from           *end
		topic, replied string
		inLine         int
	}{
		{other, "c", ":1\r\n", 1},      // it is for others
		{other, "b", "", 2},            // for the group of one who gets the first
		{third, "l/later", "", 3},      // for the group that gets the first
		{other, "c", ":1\r\n", 3},      // which needs not wait
		{third, "nobody", ":0\r\n", 3}, // nor this
	} {
		if i == 3 || i == 4 { // who has one in line waits himself
			test.from = m.connectAs(uint32(1001+i), false)
		}
		test.from.cmd("PUBLISH", test.topic, strconv.Itoa(i))
		m.read(test.from)
		m.set.Net.FlushAll()
		if got := test.from.take(); got != test.replied || m.messages.InLine() != test.inLine {
			t.Errorf("%q is answered %q, and %d stand in line", test.topic, got, m.messages.InLine())
		}
	}
	m.settle()
	if got := share(t, alone.take()); !slices.Equal(got, []string{"x", "2"}) {
		t.Errorf("the group of what stood in line got %q", got)
	}
	if got := share(t, none.take()); !slices.Equal(got, []string{"0", "3"}) {
		t.Errorf("the other group got %q", got)
	}
	last := ""
	for v := range values(t, []byte(many.take())) {
		last = v.Elems[3].Str
	}
	if last != "1" {
		t.Errorf("the last that came to who gets very much is %q", last)
	}
	if got := receipt(t, publisher.take()); got != fmt.Sprintf("1 %d 0", manyFilters+1) {
		t.Errorf("the publisher is told %q", got)
	}
}

// TestGroupsWithoutEnd: a message for more groups than a turn has time for stands in line, too, and each gets it once, also those of which the
// search has to go on; those that come later do not.
func TestGroupsWithoutEnd(t *testing.T) {
	m := newManual(t, 10, roomyForMany)
	c := m.connect(false)
	c.cmd("HELLO", "3")
	const groups = manyFilters / 4
	for i := range groups {
		c.cmd("BUS.SUB", manyFilter(i), "GROUP", strconv.Itoa(i%7))
		m.step()
	}
	m.settle()
	c.take()
	publisher := m.connectAs(1001, false)
	publisher.cmd("BUS.PUB", manyLevels, "x")
	m.read(publisher)
	if m.messages.InLine() != 1 {
		t.Fatal("it was given to all at once")
	}
	c.cmd("BUS.SUB", "l/#", "GROUP", "late")
	c.cmd("BUS.UNSUB", manyFilter(groups-1), "GROUP", strconv.Itoa((groups-1)%7))
	m.read(c)
	got := map[string]int{}
	for more := true; more; {
		m.settle()
		more = false
		for v := range values(t, []byte(c.take())) {
			if len(v.Elems) == 11 {
				more = true
				got[v.Elems[1].Str]++
			}
		}
	}
	if got["l/#"] != 0 || len(got) != groups-1 {
		t.Errorf("%d groups got it", len(got))
	}
	for filter, n := range got {
		if n != 1 {
			t.Errorf("%s got it %d times", filter, n)
		}
	}
	if got := receipt(t, publisher.take()); got != fmt.Sprintf("1 %d 0", groups-1) {
		t.Errorf("the publisher is told %q", got)
	}
}

// TestGroupsConserve: whoever comes, goes, stalls and goes on, in whatever order, each message that a group was given is one member's, once;
// or it is lost, and counted, and a member is told so.
func TestGroupsConserve(t *testing.T) {
	lost, returned := 0, 0
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 6))
		s := newStage(t, func(_ *Setup, o *Options) { o.Limits.Output = 20 << 10 })
		pub := s.connect(1001)
		pub.cmd("HELLO", "3")
		var got [][]byte // by whoever was a member
		type seat struct {
			actor
			got int // whose of got
		}
		sit := func(words ...string) seat {
			a := seat{s.connect(uint32(2000 + random.IntN(2))), len(got)}
			got = append(got, nil)
			if random.IntN(2) == 0 {
				a.cmd("HELLO", "3")
			}
			a.cmd(append([]string{"BUS.SUB", "jobs/#", "GROUP", "g", "RAW"}, words...)...)
			return a
		}
		read := func(a seat) { got[a.got] = append(got[a.got], a.Take()...) }
		stays := sit("TAKE", "0") // so that there is a group
		s.settle()
		seats := []seat{sit(), sit(), sit(), sit("TAKE", "3")}
		s.settle()
		var gone []seat // or going
		n := 0
		for range 300 {
			i := random.IntN(len(seats))
			a := seats[i]
			switch random.IntN(12) {
			case 0:
				read(a)
				a.Close()
				seats[i] = sit()
			case 1:
				gone = append(gone, a)
				s.connect(0).cmd("CLIENT", "KILL", "ID", strconv.FormatUint(a.server.ID, 10))
				seats[i] = sit("TAKE", strconv.Itoa(random.IntN(5)))
			case 2:
				a.SetRoom(random.IntN(3000))
			case 3:
				a.SetRoom(-1)
			case 4:
				a.cmd("BUS.SUB", "jobs/#", "GROUP", "g", "RAW", "TAKE", strconv.Itoa(random.IntN(5)))
			case 5:
				a.cmd("BUS.SUB", "jobs/#", "GROUP", "g", "RAW")
			case 6:
				a.cmd("BUS.UNSUB", "jobs/#", "GROUP", "g")
			case 7, 8:
				read(a)
			default:
				for range 1 + random.IntN(8) {
					n++
					pub.cmd("BUS.PUB", "jobs/a", fmt.Sprint(n, strings.Repeat(" ", random.IntN(2000))))
				}
			}
			if random.IntN(3) > 0 {
				s.settle()
			}
		}
		s.settle()
		given := s.messages.Stats()
		for _, a := range gone {
			read(a)
		}
		for i, a := range seats { // they read all, or end with what they have
			a.SetRoom(-1)
			for s.settle(); len(a.Got) > 0; s.settle() {
				read(a)
			}
			if i%2 == 0 {
				a.Close()
			} else {
				a.cmd("BUS.UNSUB", "jobs/#", "GROUP", "g")
			}
			s.settle()
		}
		stays.cmd("BUS.SUB", "jobs/#", "GROUP", "g", "RAW")
		for s.settle(); len(stays.Got) > 0; s.settle() {
			read(stays)
		}
		if _, bytes := s.messages.Groups(); bytes != 0 {
			t.Errorf("seed %d: %d bytes wait", seed, bytes)
		}
		accepted := 0
		for v := range values(t, []byte(pub.Take())) {
			accepted += int(v.Get("delivered").Int)
		}
		times, told := map[string]int{}, 0
		for _, b := range got {
			last := 0
			for _, x := range share(t, string(b[:wholeBytes(b)])) {
				x = strings.TrimSpace(x)
				if text, ok := strings.CutPrefix(x, "lost "); ok {
					k, _ := strconv.Atoi(text)
					told += k
					continue
				}
				times[x]++
				k, _ := strconv.Atoi(x)
				if k < last {
					returned++
				}
				last = k
			}
		}
		for x, k := range times {
			if k > 1 {
				t.Errorf("seed %d: message %s came %d times", seed, x, k)
			}
		}
		dropped := int(s.messages.Stats().Dropped)
		if accepted != len(times)+told || told != dropped || int(given.Delivered) != accepted {
			t.Fatalf("seed %d: of %d messages the group was given %d; %d came, %d are told to be lost, counted %d and %d",
				seed, n, accepted, len(times), told, given.Delivered, dropped)
		}
		lost += dropped
	}
	if lost == 0 || returned == 0 {
		t.Errorf("%d were lost, %d came back: this tests nothing", lost, returned)
	}
}

// wholeBytes is how long the whole values are that are there.
func wholeBytes(b []byte) (n int) {
	for n < len(b) {
		size, ok := wholeValue(b[n:])
		if !ok {
			return n
		}
		n += size
	}
	return n
}

// wholeValue is how long the first value is, if all of it is there.
func wholeValue(b []byte) (size int, ok bool) {
	defer func() {
		if recover() != nil { // conn.ValueLen is for whole ones
			ok = false
		}
	}()
	size = conn.ValueLen(b)
	return size, size <= len(b)
}

// TestGroupFullSocket: whose socket is full is given nothing more before it has taken all of that.
func TestGroupFullSocket(t *testing.T) {
	s := newStage(t)
	pub := s.connect(1001)
	m := s.members(2, "jobs")
	m[0].SetRoom(10)
	s.publish(pub, "jobs", 1, 5)
	wantShare(t, "the other", m[1], "2", "3", "4", "5")
	m[0].SetRoom(-1)
	s.settle()
	wantShare(t, "whose socket was full", m[0], "1")
	s.settle()
	s.publish(pub, "jobs", 6, 7)
	wantShare(t, "who has read", m[0], "6")
	wantShare(t, "the other", m[1], "7")

	// It is full of something else.
	m[0].cmd("BUS.SUB", "noise")
	s.settle()
	m[0].Take()
	m[0].SetRoom(10)
	pub.cmd("PUBLISH", "noise", "x")
	s.settle()
	s.publish(pub, "jobs", 8, 10)
	wantShare(t, "the other", m[1], "8", "9", "10")
}

// TestGroupShareBesideOthers: of a long backlog messages are dropped, and what a member of a group was given is not: it comes when the member
// reads, and goes to another when it ends.
func TestGroupShareBesideOthers(t *testing.T) {
	for _, reads := range []bool{true, false} {
		s := newStage(t, func(_ *Setup, o *Options) { o.Limits.Output = 16 << 10 })
		pub := s.connect(1001)
		m := s.members(2, "jobs")
		m[0].cmd("BUS.SUB", "noise")
		m[1].cmd("BUS.SUB", "jobs", "GROUP", "g", "TAKE", "0")
		s.settle()
		m[0].Take()
		m[1].Take()
		m[0].SetRoom(10)
		for n := range 3 {
			pub.cmd("PUBLISH", "noise", strings.Repeat("x", 1000))
			pub.cmd("PUBLISH", "jobs", strconv.Itoa(n))
		}
		s.settle()
		for range 100 {
			pub.cmd("PUBLISH", "noise", strings.Repeat("x", 1000))
			s.settle()
		}
		want := []string{"0", "1", "2"}
		if !reads {
			m[0].Close()
			m[1].cmd("BUS.SUB", "jobs", "GROUP", "g")
			s.settle()
			wantShare(t, "the other", m[1], want...)
			continue
		}
		m[0].SetRoom(-1)
		s.settle()
		var got []string
		lost := int64(0)
		for v := range values(t, []byte(m[0].Take())) {
			switch {
			case v.Elems[0].Str == "bus.lost":
				lost += v.Elems[2].Int
			case len(v.Elems) == 11:
				got = append(got, v.Elems[3].Str)
			}
		}
		if lost < 80 || !slices.Equal(got, want) {
			t.Errorf("it has lost %d, and got %q of its group", lost, got)
		}
	}
}
