package ipc_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
)

// TestDaemonRetained: a value is given to who subscribes later, before any other message, and can be read, listed and cleared.
func TestDaemonRetained(t *testing.T) {
	ctx := context.Background()
	c, late := dialDaemon(t, ""), dialDaemon(t, "")
	if _, ok, err := c.Get(ctx, "retained/a"); ok || err != nil {
		t.Fatalf("a topic without a value has one: %v", err)
	}
	for _, payload := range []string{"old", "\x00\r\n"} {
		if _, err := c.Publish(ctx, "retained/a", []byte(payload), ipc.Retain()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Publish(ctx, "retained/b", nil, ipc.Retain(), ipc.Expires(time.Hour)); err != nil {
		t.Fatal(err)
	}
	sub, err := late.Subscribe(ctx, "retained/a")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	if _, err := c.Publish(ctx, "retained/a", []byte("live")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []ipc.Message{{Payload: []byte("\x00\r\n"), Retained: true}, {Payload: []byte("live")}} {
		m, err := sub.Next(ctx)
		if err != nil || string(m.Payload) != string(want.Payload) || m.Retained != want.Retained {
			t.Errorf("got %+v, %v; want %q, retained %v", m, err, want.Payload, want.Retained)
		}
	}
	// So does a second one of the same client, which shares the one in the daemon; and the first is given no value again.
	second, err := late.Subscribe(ctx, "retained/a")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, err := c.Publish(ctx, "retained/a", []byte("later")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		sub      *ipc.Subscription
		payload  string
		retained bool
	}{{second, "\x00\r\n", true}, {second, "later", false}, {sub, "later", false}} {
		m, err := want.sub.Next(ctx)
		if err != nil || string(m.Payload) != want.payload || m.Retained != want.retained || m.Lost > 0 {
			t.Errorf("got %+v, %v; want %q, retained %v", m, err, want.payload, want.retained)
		}
	}
	m, ok, err := c.Get(ctx, "retained/a")
	if err != nil || !ok || string(m.Payload) != "\x00\r\n" || m.Topic != "retained/a" || m.PID == 0 || m.Seq == 0 || !m.Retained {
		t.Errorf("the value is %+v, %v, %v", m, ok, err)
	}
	if topics, err := c.Topics(ctx, "retained/#"); err != nil || !slices.Equal(topics, []string{"retained/a", "retained/b"}) {
		t.Errorf("the topics are %q, %v", topics, err)
	}
	for _, had := range []bool{true, false} {
		if got, err := c.Clear(ctx, "retained/a"); err != nil || got != had {
			t.Errorf("to clear reports %v, %v", got, err)
		}
	}
	if _, err := c.Publish(ctx, "retained/#", nil, ipc.Retain()); err == nil {
		t.Error("a filter got a value")
	}
}
