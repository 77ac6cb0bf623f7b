package messages

import (
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/conn/conntest"
	"github.com/ipcd/ipcd/internal/journal"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A stage is the service without a server: nothing happens but what a test does.
type stage struct {
	*Service
	t      *testing.T
	kernel *conntest.Kernel
}

func newStage(t *testing.T) *stage {
	t.Helper()
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	s := &stage{t: t, kernel: conntest.New()}
	set := session.NewSet(l, s.kernel, Pushes, slog.New(slog.DiscardHandler), s, false)
	for c := range set.Users.Limits {
		set.Users.Limits[c] = 1 << 40
	}
	set.Net.SetLimits(conn.Limits{Output: 1 << 30})
	s.Service = New(set, journal.New(l, set.Log), &peer.Peer{})
	return s
}

// The following is session.Host.

func (s *stage) Execute(*session.Session, [][]byte) conn.Outcome { return conn.Done }
func (s *stage) Continue(*session.Session) bool                  { return true }
func (s *stage) Lost(*session.Session, int)                      {}

// settle makes turns until there is nothing to do.
func (s *stage) settle() {
	for busy := true; busy; {
		s.set.Net.BeginTurn()
		busy = s.kernel.Tell()
		s.set.Net.EndEvents()
		for s.set.Net.WrapUp(); s.set.Net.Waiting(); s.set.Net.WrapUp() {
			s.set.Net.Serve()
		}
		s.set.EndTurn()
	}
}

// A subscriber is a client with a filter.
type subscriber struct {
	*conntest.End
	sess *session.Session
}

func (s *stage) connect() subscriber {
	s.t.Helper()
	end := s.kernel.Connect()
	sess, err := s.set.Add(end.FD, peer.Peer{UID: 1001})
	if err != nil {
		s.t.Fatal(err)
	}
	sess.SetProto(wire.RESP3)
	return subscriber{end, sess}
}

func (s *stage) subscribeTo(c subscriber, filter string) {
	s.t.Helper()
	if call := (&session.Call{Session: c.sess}); !s.subscribe(call, bus.Filter, filter) {
		s.t.Fatalf("%s", call.Out)
	}
}

// TestRoutesAreFoundBitByBit: neither the routes of a message to very many are found in one step, nor is it delivered to many of them
// in one.
func TestRoutesAreFoundBitByBit(t *testing.T) {
	const topic, many = "l/l/l/l/l/l/l/l/l/l/l/l/l", 1 << 13
	s := newStage(t)
	c := s.connect()
	for i := range many { // all filters that match
		levels := strings.Split(topic, "/")
		for n := range levels {
			if i>>n&1 == 1 {
				levels[n] = "+"
			}
		}
		s.subscribeTo(c, strings.Join(levels, "/"))
	}
	routes, search, err := s.bus.Search([]byte(topic), searchAtOnce)
	if err != nil || len(routes) > 0 || search == nil {
		t.Fatalf("%d routes were found at once: %v", len(routes), err)
	}
	d := &delivery{message: message{topic: []byte(topic), age: s.bus.Age()}, rest: search}
	steps := 0
	for ; !d.isDone(); steps++ {
		before := d.delivered
		if s.goOnDelivering(d); d.delivered-before > routesPerStep {
			t.Fatalf("%d got it in one step", d.delivered-before)
		}
		s.set.Net.FlushAll()
	}
	if least := many/routesPerStep + many/searchAtOnce; d.delivered != many || steps < least {
		t.Errorf("%d got it in %d steps, want %d in %d at least", d.delivered, steps, many, least)
	}
}

// TestMuchIsCopiedBitByBit: a message to very many whose sockets are full is copied for some of them in a step. Each who was
// subscribed when it was published, and still is, has it once, and nobody who came later.
func TestMuchIsCopiedBitByBit(t *testing.T) {
	const subs, size = 60, 12 << 10
	s := newStage(t)
	var all []subscriber
	for range subs {
		c := s.connect()
		s.subscribeTo(c, "a")
		c.SetRoom(1 << 10)
		all = append(all, c)
	}
	late := s.connect()
	publish := func(text string) (receipt, *delivery) {
		t.Helper()
		m := message{topic: []byte("a"), payload: []byte(strings.Repeat(text, size)), stamp: []byte(":1\r\n:2\r\n$0\r\n\r\n")}
		var to audience
		if err := s.find(&to, anyName, m.topic); err != nil {
			t.Fatal(err)
		}
		return s.send(&to, &m, nil)
	}
	if r, rest := publish("x"); rest != nil || r.delivered != subs {
		t.Fatalf("the first message is delivered to %d", r.delivered)
	}
	s.set.Net.FlushAll() // nobody reads, and all sockets are full
	_, d := publish("y")
	if d == nil || d.delivered > mostCopied/size+1 || d.delivered == 0 {
		t.Fatalf("in the first step it is delivered as %+v", d)
	}
	s.subscribeTo(late, "a")
	all = append(all, late)
	gone := all[subs-1]
	s.unsubscribe(gone.sess, bus.Filter, "a")
	for had := d.delivered; !d.isDone(); had = d.delivered {
		if s.goOnDelivering(d); d.delivered-had > mostCopied/size+1 {
			t.Errorf("%d have got it in one step", d.delivered-had)
		}
	}
	if d.delivered != subs-1 {
		t.Errorf("it is delivered to %d", d.delivered)
	}
	for i, c := range all {
		want := 2
		switch c.sess {
		case late.sess:
			want = 0
		case gone.sess:
			want = 1
		}
		c.SetRoom(-1)
		s.settle()
		if got := strings.Count(c.Take(), "bus.message"); got != want {
			t.Errorf("subscriber %d has %d messages, want %d", i, got, want)
		}
	}
}

// TestManyBacklogsAreHandledBitByBit: where each of very many routes has a part of a backlog begun or searched, as happens to all
// subscribers at once that are as far behind, a step does not do so for more than one or two. Each has all that it is not told to have missed, and each
// route its numbers.
func TestManyBacklogsAreHandledBitByBit(t *testing.T) {
	const subs, limit, size = 40, 128 << 10, 10 << 10
	s := newStage(t)
	s.set.Net.SetLimits(conn.Limits{Output: limit})
	var all []subscriber
	for i := range subs {
		c := s.connect()
		s.subscribeTo(c, fmt.Sprintf("a/%d/#", i)) // each has a route of its own
		s.subscribeTo(c, "+/+/"+strings.Repeat("+/", i)+"#")
		c.SetRoom(0)
		all = append(all, c)
	}
	most := 0
	const messages = 30
	for n := range messages {
		for i := range subs {
			topic := fmt.Sprintf("a/%d/%s", i, strings.TrimSuffix(strings.Repeat("x/", subs), "/"))
			routes, search, err := s.bus.Search([]byte(topic), math.MaxInt)
			if err != nil || search != nil {
				t.Fatal(err)
			}
			d := &delivery{message: message{topic: []byte(topic), payload: []byte(strings.Repeat("x", size)), stamp: []byte(":1\r\n:2\r\n$0\r\n\r\n"), seq: s.bus.Take(), age: s.bus.Age()}, routes: slices.Clone(routes)}
			for !d.isDone() {
				before := s.set.Net.Handled()
				if s.goOnDelivering(d); n > 0 { // else all sockets become full
					most = max(most, s.set.Net.Handled()-before)
				}
			}
			s.set.Net.FlushAll()
		}
	}
	if most == 0 || most > 4*mostHandled { // beyond the first part: one that is searched, and one that is begun
		t.Errorf("a step has handled %d bytes", most)
	}
	want := regexp.MustCompile(`bus\.message`)
	for i, c := range all {
		c.SetRoom(-1)
		s.settle()
		got := c.Take()
		came, lost := len(want.FindAllString(got, -1)), 0
		for _, m := range regexp.MustCompile(`bus\.lost\r\n\$\d+\r\n[^\r]+\r\n:(\d+)`).FindAllStringSubmatch(got, -1) {
			n, _ := strconv.Atoi(m[1])
			lost += n
		}
		if lost == 0 || came+lost != messages*(subs+1) {
			t.Fatalf("subscriber %d: %d came and %d are missing, of %d", i, came, lost, messages*(subs+1))
		}
		if n := s.bus.Route(bus.Filter, fmt.Sprintf("a/%d/#", i)).Number(); n != messages+1 {
			t.Errorf("of the route of subscriber %d, the next message has the number %d, want %d", i, n, messages+1)
		}
	}
}

// TestEventsInLine: as many events of a user's locks may stand in line, fewer of those that have very many routes of their own. Others'
// events do not count, nor do messages.
func TestEventsInLine(t *testing.T) {
	for _, heavy := range []bool{true, false} {
		s := newStage(t)
		most := map[bool]int{true: MostEvents, false: mostInLine}[heavy]
		for range most - 1 {
			s.line = append(s.line, &delivery{user: 1001, heavy: heavy})
		}
		s.line = append(s.line, &delivery{user: 1002, heavy: heavy}, &delivery{user: 1001, done: func(receipt) {}})
		if s.EventsInLine(1001) {
			t.Errorf("%d are too many", most-1)
		}
		s.line = append(s.line, &delivery{user: 1001, heavy: heavy})
		if !s.EventsInLine(1001) || s.EventsInLine(1002) {
			t.Errorf("%d are not too many, or are so for another one", most)
		}
	}
}

// TestEventOfManyGroupsIsHeavy: an event is one of those that take very many routes if it is for very many groups, of one filter, too.
func TestEventOfManyGroupsIsHeavy(t *testing.T) {
	for _, groups := range []int{1, FewPatterns + 1, 2 * searchAtOnce} {
		s := newStage(t)
		s.SetLimits(Limits{Output: 1 << 30})
		c := s.connect()
		for i := range groups {
			if call := (&session.Call{Session: c.sess}); !s.join(call, bus.Sharing{Filter: "ipcd/x", Group: strconv.Itoa(i)}, -1, "") {
				t.Fatalf("%s", call.Out)
			}
		}
		s.lineUp(&delivery{message: message{topic: []byte("ipcd/x")}, user: 1001})
		if err := s.PublishEvent([]byte("ipcd/x"), func(b []byte) []byte { return b }, 1001, nil); err != nil {
			t.Fatal(err)
		}
		if len(s.line) != 2 || s.line[1].heavy != (groups > 1) {
			t.Errorf("for %d groups: %d stand in line, the last is heavy: %v", groups, len(s.line), s.line[len(s.line)-1].heavy)
		}
	}
}

// TestLeavingTakesNoList: to begin to end all subscriptions of a session, or one, takes the same however many it has.
func TestLeavingTakesNoList(t *testing.T) {
	const n = 3000
	command := func(run func(s *stage, c *session.Call), words ...string) func(*stage, subscriber) {
		return func(s *stage, c subscriber) {
			call := &session.Call{Session: c.sess}
			for _, word := range words {
				call.Args = append(call.Args, []byte(word))
			}
			run(s, call)
		}
	}
	for name, leave := range map[string]func(*stage, subscriber){
		"RESET": func(s *stage, c subscriber) {
			some := s.Leave(c.sess)
			for range 5 {
				some()
			}
		},
		"closed":       func(s *stage, c subscriber) { s.Closed(c.sess) },
		"UNSUB":        command(func(s *stage, c *session.Call) { s.busUnsub(c) }),
		"UNSUB f":      command(func(s *stage, c *session.Call) { s.busUnsub(c) }, "nosuch", "GROUP", "g"),
		"PUNSUBSCRIBE": command(func(s *stage, c *session.Call) { s.unsubscribeRedis(c, bus.Pattern, "punsubscribe") }),
	} {
		for what, join := range map[string]func(*stage, subscriber, int){
			"subscriptions": func(s *stage, c subscriber, i int) { s.subscribeTo(c, fmt.Sprintf("a/%d", i)) },
			"groups": func(s *stage, c subscriber, i int) {
				s.join(&session.Call{Session: c.sess}, bus.Sharing{Filter: "a", Group: strconv.Itoa(i)}, -1, "")
			},
			"patterns of groups": func(s *stage, c subscriber, i int) {
				of := bus.Sharing{Filter: "a", Group: strconv.Itoa(i)}
				s.join(&session.Call{Session: c.sess}, of, -1, bus.GroupPattern+of.Group+"/"+of.Filter)
			},
		} {
			s := newStage(t)
			c, now := s.connect(), time.Duration(0)
			s.set.Net.Now = func() time.Duration { now += time.Second; return now } // each part of a turn is over soon
			for i := range n {
				join(s, c, i)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			leave(s, c)
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > 8*n { // a list would take twice as much
				t.Errorf("%s, of %s: it takes %d bytes", name, what, took)
			}
			some := s.Leave(c.sess)
			for left := s.bus.Count(c.sess) + s.groups.Count(c.sess) - 1; left >= 0; left-- {
				if more := some(); !more || s.bus.Count(c.sess)+s.groups.Count(c.sess) != left {
					t.Fatalf("%s, of %s: more is %v, and %d are left, want %d", name, what, more, s.bus.Count(c.sess)+s.groups.Count(c.sess), left)
				}
			}
			if some() || c.sess.User().Used(account.Subscriptions) != 0 {
				t.Errorf("%s, of %s: there is more, or %d are charged", name, what, c.sess.User().Used(account.Subscriptions))
			}
		}
	}
}

// TestLineIsLong: the line is long when it is more than half full.
func TestLineIsLong(t *testing.T) {
	s := newStage(t)
	for range longestLine / 2 {
		s.line = append(s.line, &delivery{user: 1002})
	}
	if s.LineIsLong() {
		t.Error("half a line is long")
	}
	if s.line = append(s.line, &delivery{user: 1002}); !s.LineIsLong() {
		t.Error("more than half a line is not long")
	}
}

// TestEventIsMadeForSubscribers: the payload of an event is made if somebody may get it, and not otherwise.
func TestEventIsMadeForSubscribers(t *testing.T) {
	s := newStage(t)
	made := 0
	payload := func(b []byte) []byte { made++; return append(b, "{}"...) }
	publish := func() {
		t.Helper()
		if err := s.PublishEvent([]byte("ipcd/x"), payload, 1001, nil); err != nil {
			t.Fatal(err)
		}
		s.set.Net.FlushAll()
	}
	if publish(); made != 0 || s.Stats().Published != 1 {
		t.Errorf("it is made %d times for nobody; %+v", made, s.Stats())
	}
	c := s.connect()
	s.subscribeTo(c, "ipcd/#")
	if publish(); made != 1 || !strings.Contains(c.Take(), "$6\r\nipcd/x\r\n$2\r\n{}\r\n") {
		t.Errorf("it is made %d times for one", made)
	}
	if err := s.PublishEvent([]byte("a/#"), payload, 1001, nil); err == nil {
		t.Error("it is published under what is no topic")
	}
}

// TestOrderIsFoundWithinBudget: whether a message may overtake those in line is found out by as many looks as the budget has, whoever is a
// member of how many groups, and for how many a message in line is. If these are not enough, it stands in line.
func TestOrderIsFoundWithinBudget(t *testing.T) {
	const many = 2 * orderBudget
	join := func(s *stage, c subscriber, filter string, groups int) {
		t.Helper()
		for i := range groups {
			if call := (&session.Call{Session: c.sess}); !s.join(call, bus.Sharing{Filter: filter, Group: strconv.Itoa(i)}, -1, "") {
				t.Fatalf("%s", call.Out)
			}
		}
	}
	line := func(s *stage, topic string) {
		t.Helper()
		var to audience
		if err := s.audienceOf(&to, topicName, []byte(topic)); err != nil {
			t.Fatal(err)
		}
		s.lineUp(&delivery{message: message{topic: []byte(topic), groups: to.groups, groupSearch: to.groupSearch}, routes: to.routes, rest: to.search})
	}
	for _, c := range []struct {
		name    string
		prepare func(s *stage)
		want    bool // it stands in line
	}{
		{"who is a member of no group", func(s *stage) {
			join(s, s.connect(), "t", many)
			line(s, "t")
			s.subscribeTo(s.connect(), "v")
		}, false},
		{"who is a member of another group", func(s *stage) {
			join(s, s.connect(), "t", many)
			line(s, "t")
			c := s.connect()
			join(s, c, "u", 1)
			s.subscribeTo(c, "v")
		}, false},
		{"who is a member of such a group", func(s *stage) {
			c := s.connect()
			join(s, c, "t", many)
			line(s, "t")
			s.subscribeTo(c, "v")
		}, true},
		{"who is a member of very many others", func(s *stage) {
			join(s, s.connect(), "t", 1)
			line(s, "t")
			c := s.connect()
			join(s, c, "u", many)
			s.subscribeTo(c, "v")
		}, true},
		{"very many subscribers", func(s *stage) {
			join(s, s.connect(), "t", 1)
			line(s, "t")
			for range many {
				s.subscribeTo(s.connect(), "v")
			}
		}, true},
		{"a group", func(s *stage) {
			join(s, s.connect(), "t", many)
			line(s, "t")
			join(s, s.connect(), "v", 1)
		}, false},
		{"a group of very many who have nothing else", func(s *stage) {
			s.subscribeTo(s.connect(), "t")
			line(s, "t")
			for range many {
				join(s, s.connect(), "v", 1)
			}
		}, true},
		{"very many values that are being sent to others", func(s *stage) {
			c := s.connect()
			s.subscribeTo(c, "t")
			for range many {
				d := s.retainedFor(c.sess, s.bus.Route(bus.Filter, "t"))
				s.lineUp(&d)
			}
			s.subscribeTo(s.connect(), "v")
		}, true},
	} {
		s := newStage(t)
		s.SetLimits(Limits{Output: 1 << 30})
		c.prepare(s)
		var to audience
		if err := s.audienceOf(&to, topicName, []byte("v")); err != nil {
			t.Fatal(err)
		}
		if got := s.mustLineUp(&to); got != c.want {
			t.Errorf("a message for %s stands in line: %v", c.name, got)
		}
	}
}
