package ipc_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// given is a message as the daemon sends it to a member of a group.
func given(filter, group string, seq int) string {
	b := strings.Replace(push(filter, "a/b", seq), ">10", ">11", 1)
	more := wire.RESP3.AppendMap(nil, 1)
	more = wire.AppendBulk(more, "group")
	return b + string(wire.AppendBulk(more, group))
}

// member returns a subscription that is a member of the group g.
func member(t *testing.T, c *ipc.Client, s *session, size int) *ipc.Subscription {
	t.Helper()
	f := subscribe(c, "a/#", ipc.Share("g"), ipc.BufferSize(size, 0))
	s.expect("BUS.SUB", "a/#", "GROUP", "g", "TAKE", fmt.Sprint(size))
	s.say(":1\r\n")
	return f.ok(t)
}

// TestShareTakes: a member is given as much as it has room for, and more when the program has taken half of it out and asks for the next.
func TestShareTakes(t *testing.T) {
	c, s := newFake(t).client()
	m := member(t, c, s, 4)
	for seq := 1; seq <= 4; seq++ {
		s.say(given("a/#", "g", seq))
	}
	for seq := uint64(1); seq <= 2; seq++ {
		if x := next(t, m); x.Seq != seq || x.Group != "g" {
			t.Errorf("message %d is of the group %q", x.Seq, x.Group)
		}
	}
	if x := next(t, m); x.Seq != 3 {
		t.Errorf("then comes %d", x.Seq)
	}
	s.expect("BUS.SUB", "a/#", "GROUP", "g", "TAKE", "2")
	s.say(":1\r\n")
	next(t, m)
	asked := start(func() (ipc.Message, error) { return m.Next(context.Background()) })
	s.expect("BUS.SUB", "a/#", "GROUP", "g", "TAKE", "2")
	s.say(":1\r\n" + given("a/#", "g", 5))
	asked.ok(t)
	m.Close()
	s.expect("BUS.UNSUB", "a/#", "GROUP", "g")
}

// TestShareOneAtATime: with room for one, none is given while the program is busy with the one before.
func TestShareOneAtATime(t *testing.T) {
	c, s := newFake(t).client()
	m := member(t, c, s, 1)
	s.say(given("a/#", "g", 1))
	next(t, m)
	synchronise(t, c, s) // nothing was said before
	again := start(func() (ipc.Message, error) { return m.Next(context.Background()) })
	s.expect("BUS.SUB", "a/#", "GROUP", "g", "TAKE", "1")
	s.say(":1\r\n" + given("a/#", "g", 2))
	again.ok(t)
}

// TestShareBesideSubscription: a member, another of another group and one that shares nothing are told apart, be it the same filter.
func TestShareBesideSubscription(t *testing.T) {
	c, s := newFake(t).client()
	m, plain := member(t, c, s, 4), subscribed(t, c, s, "a/#")
	again := subscribe(c, "a/#", ipc.Share("g"))
	if _, err := again.wait(t); err == nil || !strings.Contains(err.Error(), "member of the group already") {
		t.Errorf("a second member of one client: %v", err)
	}
	lost := pushLost("a/#", 3)
	lost = strings.Replace(lost, ">3", ">4", 1) + "%1\r\n$5\r\ngroup\r\n$1\r\ng\r\n"
	s.say(push("a/#", "a/b", 1) + given("a/#", "other", 2) + given("a/#", "g", 3) + lost + given("a/#", "g", 4) + push("a/#", "a/b", 5))
	for _, want := range []string{"3 g 0", "4 g 3"} {
		if x := next(t, m); fmt.Sprint(x.Seq, " ", x.Group, " ", x.Lost) != want {
			t.Errorf("the member is given %d of %q, with %d lost", x.Seq, x.Group, x.Lost)
		}
	}
	for _, want := range []uint64{1, 5} {
		if x := next(t, plain); x.Seq != want || x.Group != "" || x.Lost != 0 {
			t.Errorf("who shares nothing gets %d of %q, with %d lost", x.Seq, x.Group, x.Lost)
		}
	}
}

// TestLinkShare: a member is one again by the next connection, and is given as much as it has room for by then.
func TestLinkShare(t *testing.T) {
	f, k, s := linked(t)
	sub := start(func() (*ipc.Subscription, error) {
		return k.Subscribe(context.Background(), "a/#", ipc.Share("g"), ipc.BufferSize(4, 0))
	})
	s.expect("BUS.SUB", "a/#", "GROUP", "g", "TAKE", "4")
	s.say(":1\r\n" + given("a/#", "g", 1) + given("a/#", "g", 2))
	m := sub.ok(t)
	next(t, m)
	s = f.again(s)
	s.expect("BUS.SUB", "a/#", "GROUP", "g", "TAKE", "3")
	s.say(":1\r\n")
	if x := next(t, m); x.Seq != 2 {
		t.Errorf("what was given before is %d", x.Seq)
	}
}

// TestDaemonShares gives a thousand messages to four members, of which one takes none out, one is slow, and one ends halfway: each is one's.
func TestDaemonShares(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	pub := dialDaemon(t, "")
	const messages = 1000
	got := make(chan string, 2*messages)
	for i := range 4 {
		c := dialDaemon(t, "")
		m, err := c.Subscribe(ctx, "shares/#", ipc.Share("g"))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			continue // it takes nothing
		}
		go func() {
			for n := 0; ; n++ {
				x, err := m.Next(ctx)
				if err != nil {
					return
				}
				got <- string(x.Payload)
				if i == 1 && n == 50 {
					c.Close() // and what it was sent is lost
					return
				}
			}
		}()
	}
	for n := range messages {
		if r, err := pub.Publish(ctx, "shares/x", fmt.Append(nil, n)); err != nil || r.Delivered != 1 || r.Dropped != 0 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	var all []string
	const held = 2 * 16 // by who takes none, and who has ended
	for len(all) < messages-held {
		select {
		case x := <-got:
			all = append(all, x)
		case <-ctx.Done():
			t.Fatalf("%d came", len(all))
		}
	}
	slices.Sort(all)
	if n := len(slices.Compact(all)); n < messages-held {
		t.Errorf("%d of them came twice", messages-held-n)
	}
}
