package ipc_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// TestConflate: of the messages that are not taken out the last of each topic is given out, in their order, and what is missing before it
// is told: by the daemon or by the subscription alike.
func TestConflate(t *testing.T) {
	c, s := newFake(t).client()
	f := subscribe(c, "a/#", ipc.Conflate(), ipc.Backlog(10, 2000), ipc.BufferSize(4, 1<<20))
	s.expect("BUS.SUB", "a/#", "SLOW", "CONFLATE", "QUEUE", "10", "BYTES", "2000")
	s.say(":1\r\n")
	sub := f.ok(t)
	conflated := string(wire.AppendInt([]byte(">3\r\n$13\r\nbus.conflated\r\n$3\r\na/#\r\n"), 5))
	s.say(push("a/#", "a/x", 1) + push("a/#", "a/y", 2) + push("a/#", "a/x", 3) + conflated + pushLost("a/#", 2) + push("a/#", "a/x", 11) + push("a/#", "a/z", 12))
	synchronise(t, c, s)
	told := func(want ...string) {
		t.Helper()
		for _, want := range want {
			m := next(t, sub)
			if got := fmt.Sprintf("%s %d, %d lost, %d conflated", m.Topic, m.Seq, m.Lost, m.Conflated); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
	told("a/y 2, 0 lost, 1 conflated", "a/x 11, 2 lost, 6 conflated", "a/z 12, 0 lost, 0 conflated")

	// What is taken out is not replaced, and what has no room is lost.
	for seq := 13; seq < 20; seq++ {
		s.say(push("a/#", fmt.Sprint("a/", seq), seq))
	}
	s.say(push("a/#", "a/z", 20) + push("a/#", "a/18", 21))
	synchronise(t, c, s)
	told("a/19 19, 5 lost, 1 conflated", "a/z 20, 0 lost, 0 conflated", "a/18 21, 0 lost, 0 conflated")

	other := subscribe(c, "a/#", ipc.Lossless())
	if _, err := other.wait(t); err == nil || err.Error() != `cannot subscribe to "a/#": this client has subscribed to "a/#" with other options` {
		t.Errorf("with other options: %v", err)
	}
}

// TestLossless: a subscription that is to miss nothing ends when it would, in its own buffer; and when the daemon says so, all end with
// the reason.
func TestLossless(t *testing.T) {
	c, s := newFake(t).client()
	f := subscribe(c, "a", ipc.Lossless(), ipc.BufferSize(2, 1<<20))
	s.expect("BUS.SUB", "a", "SLOW", "DISCONNECT")
	s.say(":1\r\n")
	sub := f.ok(t)
	s.say(push("a", "a", 1) + push("a", "a", 2) + push("a", "a", 3))
	synchronise(t, c, s)
	for seq := uint64(1); seq <= 2; seq++ {
		if m := next(t, sub); m.Seq != seq || m.Lost != 0 {
			t.Errorf("got %+v, want message %d", m, seq)
		}
	}
	if _, err := sub.Next(context.Background()); !errors.Is(err, ipc.ErrQuota) {
		t.Errorf("it ends with %v", err)
	}

	other := subscribed(t, c, s, "b")
	s.say(">3\r\n$10\r\nbus.behind\r\n$1\r\na\r\n-QUOTA too far behind\r\n")
	s.hangUp()
	if _, err := other.Next(context.Background()); !errors.Is(err, ipc.ErrClosed) || !errors.Is(err, ipc.ErrQuota) {
		t.Errorf("it ends with %v", err)
	}
}

// TestMayBlock is in the words of the command.
func TestMayBlock(t *testing.T) {
	c, s := newFake(t).client()
	f := start(func() (ipc.Receipt, error) {
		return c.Publish(context.Background(), "a", []byte("x"), ipc.MayBlock(1500*time.Millisecond))
	})
	s.expect("BUS.PUB", "a", "x", "MAYBLOCK", "1500")
	s.say("-TIMEOUT client 7 (pid 1, uid 2) is too far behind\r\n")
	f.fails(t, ipc.ErrTimeout)
}
