package ipc_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// push is a message as the daemon sends it.
func push(filter, topic string, seq int) string {
	b := wire.RESP3.AppendPush(nil, 10)
	for _, word := range []string{"bus.message", filter, topic, fmt.Sprint("payload ", seq)} {
		b = wire.AppendBulk(b, word)
	}
	for _, n := range []int64{int64(seq), 1795401234567890, 4121, 1000} {
		b = wire.AppendInt(b, n)
	}
	b = wire.AppendBulk(b, "cron.service")
	return string(wire.AppendInt(b, int64(100+seq)))
}

func pushLost(filter string, n int64) string {
	b := wire.RESP3.AppendPush(nil, 3)
	b = wire.AppendBulk(b, "bus.lost")
	b = wire.AppendBulk(b, filter)
	return string(wire.AppendInt(b, n))
}

func subscribe(c *ipc.Client, filter string, options ...ipc.SubscribeOption) *future[*ipc.Subscription] {
	return start(func() (*ipc.Subscription, error) { return c.Subscribe(context.Background(), filter, options...) })
}

// subscribed returns a subscription that has one of the client's filters to itself.
func subscribed(t *testing.T, c *ipc.Client, s *session, filter string, options ...ipc.SubscribeOption) *ipc.Subscription {
	t.Helper()
	f := subscribe(c, filter, options...)
	s.expect("BUS.SUB", filter)
	s.say(":1\r\n")
	return f.ok(t)
}

// subscribedToo returns one that shares a filter which the client has already.
func subscribedToo(t *testing.T, c *ipc.Client, s *session, filter string) *ipc.Subscription {
	t.Helper()
	f := subscribe(c, filter)
	s.expect("BUS.SUB", filter, "VALUES")
	s.say(":1\r\n")
	return f.ok(t)
}

// pushValue is the value that a topic had before, as the daemon sends it.
func pushValue(filter, topic string, seq int) string {
	b := strings.Replace(push(filter, topic, seq), ">10", ">11", 1)
	b = strings.Replace(b, fmt.Sprintf(":%d\r\n", 100+seq), ":0\r\n", 1)
	return b + "%1\r\n$8\r\nretained\r\n:1\r\n"
}

// sync returns when the client has read all that was said.
func synchronise(t *testing.T, c *ipc.Client, s *session) {
	t.Helper()
	f := do(c, "PING")
	s.expect("PING")
	s.say("+PONG\r\n")
	f.ok(t)
}

// next is the next message, which must be there already or come soon.
func next(t *testing.T, sub *ipc.Subscription) ipc.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m, err := sub.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// here is the next message, which must be there already.
func here(t *testing.T, sub *ipc.Subscription) ipc.Message {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	m, err := sub.Next(ctx)
	if err != nil {
		t.Fatal("there is no message")
	}
	return m
}

// TestSubscribeAgain: what is still on its way to a subscription that was closed does not come to the next one to the same filter.
func TestSubscribeAgain(t *testing.T) {
	c, s := newFake(t).client()
	old := subscribed(t, c, s, "a/#")
	old.Close()
	again := subscribe(c, "a/#")
	s.expect("BUS.UNSUB", "a/#")
	s.expect("BUS.SUB", "a/#")
	s.say(push("a/#", "a/b", 1) + pushLost("a/#", 7) + ":0\r\n:1\r\n" + push("a/#", "a/b", 9))
	if m := next(t, again.ok(t)); m.Seq != 9 || m.Lost != 0 {
		t.Errorf("it begins with message %d, and %d lost", m.Seq, m.Lost)
	}
}

// TestSubscribeBeside: what is still on its way to a subscription does not come to the next one to the same filter, which begins later.
func TestSubscribeBeside(t *testing.T) {
	c, s := newFake(t).client()
	first := subscribed(t, c, s, "a/#")
	second := subscribe(c, "a/#")
	s.expect("BUS.SUB", "a/#", "VALUES")
	third := subscribe(c, "a/#")
	s.expect("BUS.SUB", "a/#", "VALUES")
	s.say(push("a/#", "a/b", 1) + pushLost("a/#", 7) + ":1\r\n" + push("a/#", "a/b", 9) + ":1\r\n" + push("a/#", "a/b", 10))
	for _, begins := range []struct {
		sub  *ipc.Subscription
		want string // seq+lost
	}{{first, "1+0 9+7 10+0"}, {second.ok(t), "9+0 10+0"}, {third.ok(t), "10+0"}} {
		var got []string
		for range strings.Fields(begins.want) {
			m := next(t, begins.sub)
			got = append(got, fmt.Sprintf("%d+%d", m.Seq, m.Lost))
		}
		if got := strings.Join(got, " "); got != begins.want {
			t.Errorf("given %s, want %s", got, begins.want)
		}
	}
}

// TestSubscribeBesideOneThatFails: who has joined a subscription begins with it or fails with it, and goes on without who began it.
func TestSubscribeBesideOneThatFails(t *testing.T) {
	c, s := newFake(t).client()
	first := subscribe(c, "a/#/b")
	s.expect("BUS.SUB", "a/#/b")
	second := subscribe(c, "a/#/b")
	s.expect("BUS.SUB", "a/#/b", "VALUES")
	s.say(strings.Repeat("-BADNAME '#' is not the last level\r\n", 2))
	first.fails(t, ipc.ErrBadName)
	second.fails(t, ipc.ErrBadName)

	ctx, cancel := context.WithCancel(context.Background())
	first = start(func() (*ipc.Subscription, error) { return c.Subscribe(ctx, "c") })
	s.expect("BUS.SUB", "c")
	second = subscribe(c, "c")
	s.expect("BUS.SUB", "c", "VALUES")
	cancel()
	first.fails(t, context.Canceled)
	s.say(":1\r\n" + push("c", "c", 1) + ":1\r\n" + push("c", "c", 2))
	sub := second.ok(t)
	if m := next(t, sub); m.Seq != 2 {
		t.Errorf("%+v", m)
	}

	// One that gives up before it has begun is not there any more.
	ctx, cancel = context.WithCancel(context.Background())
	third := start(func() (*ipc.Subscription, error) { return c.Subscribe(ctx, "c") })
	s.expect("BUS.SUB", "c", "VALUES")
	cancel()
	third.fails(t, context.Canceled)
	sub.Close()
	s.expect("BUS.UNSUB", "c")
	s.say(":1\r\n:0\r\n")

	// All wait for the daemon when it hangs up.
	first = subscribe(c, "d")
	s.expect("BUS.SUB", "d")
	second = subscribe(c, "d")
	s.expect("BUS.SUB", "d", "VALUES")
	s.hangUp()
	first.fails(t, ipc.ErrClosed)
	second.fails(t, ipc.ErrClosed)
}

func TestPublish(t *testing.T) {
	c, s := newFake(t).client()
	publish := func(topic, payload string) *future[ipc.Receipt] {
		return start(func() (ipc.Receipt, error) { return c.Publish(context.Background(), topic, []byte(payload)) })
	}
	f := publish("a/b", "\r\n\x00")
	s.expect("BUS.PUB", "a/b", "\r\n\x00")
	s.say("%3\r\n+seq\r\n:12\r\n+delivered\r\n:3\r\n+dropped\r\n:1\r\n")
	if got, want := f.ok(t), (ipc.Receipt{Seq: 12, Delivered: 3, Dropped: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}

	f = publish("a+", "")
	s.expect("BUS.PUB", "a+", "")
	s.say("-BADNAME no '+' in a topic\r\n")
	f.fails(t, ipc.ErrBadName)
	if want := `cannot publish on "a+": BADNAME no '+' in a topic`; f.err.Error() != want {
		t.Errorf("%q, want %q", f.err, want)
	}

	f = publish("a", strings.Repeat("x", wire.DefaultLimits.Frame))
	f.fails(t, ipc.ErrQuota)
}

func TestSubscription(t *testing.T) {
	c, s := newFake(t).client()
	f := subscribe(c, "a/#")
	s.expect("BUS.SUB", "a/#")
	s.say(":1\r\n" + push("a/#", "a/b", 7)) // in one piece
	sub := f.ok(t)
	want := ipc.Message{
		Topic: "a/b", Payload: []byte("payload 7"), Seq: 7, Time: time.UnixMicro(1795401234567890),
		PID: 4121, UID: 1000, Unit: "cron.service", Count: 107,
	}
	if got := next(t, sub); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if sub.Filter() != "a/#" {
		t.Error(sub.Filter())
	}

	// One that comes while somebody waits.
	waiting := start(func() (ipc.Message, error) { return sub.Next(context.Background()) })
	s.say(push("a/#", "a/c", 8))
	if m := waiting.ok(t); m.Topic != "a/c" || m.Seq != 8 {
		t.Errorf("%+v", m)
	}

	// Messages of other filters are not its own.
	other := subscribed(t, c, s, "b")
	s.say(push("b", "b", 9) + push("a/#", "a", 10) + push("gone", "gone", 11) + pushLost("gone", 1))
	if a, b := next(t, sub), next(t, other); a.Seq != 10 || b.Seq != 9 {
		t.Errorf("%+v, %+v", a, b)
	}

	ctx, cancel := context.WithCancel(context.Background())
	waiting = start(func() (ipc.Message, error) { return sub.Next(ctx) })
	cancel()
	waiting.fails(t, context.Canceled)

	waiting = start(func() (ipc.Message, error) { return sub.Next(context.Background()) })
	sub.Close()
	waiting.fails(t, ipc.ErrUnsubscribed)
	s.expect("BUS.UNSUB", "a/#")
	s.say(push("a/#", "a", 12) + ":1\r\n") // was under way
	sub.Close()
	synchronise(t, c, s)
}

func TestSubscribeRefused(t *testing.T) {
	c, s := newFake(t).client()
	first := subscribe(c, "a/#/b")
	s.expect("BUS.SUB", "a/#/b")
	s.say("-BADNAME '#' is not the last level\r\n")
	first.fails(t, ipc.ErrBadName)
	// Nothing was left behind: the next is asked for anew, and not taken back.
	subscribed(t, c, s, "a/#/b")

	if _, err := c.Subscribe(context.Background(), strings.Repeat("x", wire.DefaultLimits.Frame)); !errors.Is(err, ipc.ErrQuota) {
		t.Error(err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	f := start(func() (*ipc.Subscription, error) { return c.Subscribe(ctx, "c") })
	s.expect("BUS.SUB", "c")
	cancel()
	f.fails(t, context.Canceled)
	s.expect("BUS.UNSUB", "c")
	s.say(":2\r\n:1\r\n")
	synchronise(t, c, s)
}

// Subscriptions to the same filter share one of the daemon's, and each receives all.
func TestSubscriptionsShareAFilter(t *testing.T) {
	c, s := newFake(t).client()
	first := subscribed(t, c, s, "#")
	second := subscribedToo(t, c, s, "#")
	s.say(push("#", "a", 1) + pushLost("#", 2) + push("#", "a", 4))
	for _, sub := range []*ipc.Subscription{first, second} {
		if m := next(t, sub); m.Seq != 1 || m.Lost != 0 {
			t.Errorf("%+v", m)
		}
		if m := next(t, sub); m.Seq != 4 || m.Lost != 2 {
			t.Errorf("%+v", m)
		}
	}
	first.Close()
	s.say(push("#", "a", 5))
	if m := next(t, second); m.Seq != 5 {
		t.Errorf("%+v", m)
	}
	second.Close()
	s.expect("BUS.UNSUB", "#")
	s.say(":0\r\n")

	// The next begins afresh, though the last message of the former comes after it asked.
	third := subscribe(c, "#")
	s.expect("BUS.SUB", "#")
	s.say(":1\r\n")
	third.ok(t)
}

// TestValuesAreForWhoAsks: of those who share a filter each is given the values that come behind the answer to him and before that to another
// one, and no other; and the messages that come behind his own answer. Nobody is given those of one who has gone.
func TestValuesAreForWhoAsks(t *testing.T) {
	c, s := newFake(t).client()
	first := subscribe(c, "#")
	s.expect("BUS.SUB", "#")
	second := subscribe(c, "#")
	s.expect("BUS.SUB", "#", "VALUES")
	s.say(":1\r\n" + pushValue("#", "a", 1) + push("#", "b", 5) + ":1\r\n" + pushValue("#", "a", 1) + pushValue("#", "b", 5) + push("#", "a", 6))
	ctx, cancel := context.WithCancel(context.Background())
	gone := start(func() (*ipc.Subscription, error) { return c.Subscribe(ctx, "#") })
	s.expect("BUS.SUB", "#", "VALUES")
	cancel()
	gone.fails(t, context.Canceled)
	s.say(":1\r\n" + pushValue("#", "a", 6) + push("#", "a", 7))
	refused := subscribe(c, "#")
	s.expect("BUS.SUB", "#", "VALUES")
	s.say("-DENIED no\r\n" + push("#", "a", 8))
	refused.fails(t, ipc.ErrDenied)
	synchronise(t, c, s)
	for name, of := range map[string]struct {
		sub  *ipc.Subscription
		want []string
	}{
		"first":  {first.ok(t), []string{"value 1", "message 5", "message 6", "message 7", "message 8"}},
		"second": {second.ok(t), []string{"value 1", "value 5", "message 6", "message 7", "message 8"}},
	} {
		for _, want := range of.want {
			m := here(t, of.sub)
			if got := fmt.Sprint(map[bool]string{true: "value ", false: "message "}[m.Retained], m.Seq); got != want {
				t.Errorf("%s is given the %s, not the %s", name, got, want)
			}
		}
	}
	first.ok(t).Close()
	second.ok(t).Close()
	s.expect("BUS.UNSUB", "#")
	s.say(":0\r\n")
}

// A subscription that is not read drops the oldest messages, keeps the order, and tells where how many are missing.
func TestSubscriptionOverflow(t *testing.T) {
	for _, c := range []struct {
		name string
		size ipc.SubscribeOption
		say  []string
		want []string // seq+lost
	}{
		{"room", ipc.BufferSize(3, 1<<20), []string{"1", "2", "3"}, []string{"1+0", "2+0", "3+0"}},
		{"one too many", ipc.BufferSize(3, 1<<20), []string{"1", "2", "3", "4"}, []string{"2+1", "3+0", "4+0"}},
		{"all replaced", ipc.BufferSize(3, 1<<20), []string{"1", "2", "3", "4", "5", "6", "7"}, []string{"5+4", "6+0", "7+0"}},
		{"room for one", ipc.BufferSize(1, 1<<20), []string{"1", "2", "3"}, []string{"3+2"}},
		{"the least room", ipc.BufferSize(0, 0), []string{"1", "2", "3"}, []string{"3+2"}},
		{"bytes", ipc.BufferSize(100, 20), []string{"1", "2", "3"}, []string{"2+1", "3+0"}},
		{"the daemon's loss", ipc.BufferSize(3, 1<<20), []string{"1", "lost 5", "7", "8"}, []string{"1+0", "7+5", "8+0"}},
		{"both, before", ipc.BufferSize(2, 1<<20), []string{"lost 5", "6", "7", "8"}, []string{"7+6", "8+0"}},
		{"both, between", ipc.BufferSize(2, 1<<20), []string{"1", "lost 5", "7", "8", "9"}, []string{"8+7", "9+0"}},
		{"both, after", ipc.BufferSize(2, 1<<20), []string{"1", "2", "lost 5", "lost 1", "9"}, []string{"2+1", "9+6"}},
		{"both, room for one", ipc.BufferSize(1, 1<<20), []string{"1", "lost 5", "7"}, []string{"7+6"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, s := newFake(t).client()
			sub := subscribed(t, client, s, "#", c.size)
			for _, what := range c.say {
				var n int
				if _, err := fmt.Sscanf(what, "lost %d", &n); err == nil {
					s.say(pushLost("#", int64(n)))
				} else if _, err := fmt.Sscan(what, &n); err == nil {
					s.say(push("#", "a", n))
				}
			}
			synchronise(t, client, s)
			s.hangUp()
			var got []string
			for m, err := range sub.Messages(context.Background()) {
				if err == nil {
					got = append(got, fmt.Sprintf("%d+%d", m.Seq, m.Lost))
				} else if !errors.Is(err, ipc.ErrClosed) {
					t.Error(err)
				}
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// The ring keeps the order while it grows and wraps.
func TestSubscriptionOrder(t *testing.T) {
	c, s := newFake(t).client()
	sub := subscribed(t, c, s, "#")
	said, got := 0, 0
	for round := range 60 {
		for range round {
			said++
			s.say(push("#", "a", said))
		}
		synchronise(t, c, s)
		for range round / 2 {
			got++
			if m := next(t, sub); m.Seq != uint64(got) || m.Lost != 0 {
				t.Fatalf("%+v, want number %d", m, got)
			}
		}
	}
	for got < said {
		got++
		if m := next(t, sub); m.Seq != uint64(got) {
			t.Fatalf("%+v, want number %d", m, got)
		}
	}
}

func TestMessagesEnds(t *testing.T) {
	c, s := newFake(t).client()
	sub := subscribed(t, c, s, "#")
	s.say(push("#", "a", 1) + push("#", "a", 2))
	n := 0
	for m, err := range sub.Messages(context.Background()) {
		if n++; err != nil || m.Seq != uint64(n) {
			t.Fatalf("%+v, %v", m, err)
		}
		if n == 2 {
			sub.Close()
		}
	}
	if n != 2 {
		t.Errorf("%d messages", n)
	}
	for m, err := range sub.Messages(context.Background()) {
		t.Errorf("%+v, %v, of a closed subscription", m, err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.expect("BUS.UNSUB", "#")
	s.say(":0\r\n")
	again := subscribed(t, c, s, "#")
	s.say(push("#", "a", 3))
	var last error
	for _, err := range again.Messages(ctx) {
		cancel()
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Error(last)
	}
}

// Several goroutines may share a subscription: all messages are taken, each by one.
func TestSubscriptionShared(t *testing.T) {
	c, s := newFake(t).client()
	sub := subscribed(t, c, s, "#")
	const readers = 8
	var all []*future[ipc.Message]
	for range readers {
		all = append(all, start(func() (ipc.Message, error) { return sub.Next(context.Background()) }))
	}
	for n := range readers {
		s.say(push("#", "a", n+1))
	}
	var sum uint64
	for _, f := range all {
		sum += f.ok(t).Seq
	}
	if sum != readers*(readers+1)/2 {
		t.Errorf("sum of numbers %d", sum)
	}
}
