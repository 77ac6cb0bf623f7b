package ipc

import (
	"context"
	"fmt"
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A PublishOption says what else is to become of a message.
type PublishOption func(*publishOptions)

type publishOptions struct {
	retain  bool
	expires time.Duration
}

// Retain has the message be the value of its topic, until another is retained there or [Client.Clear] removes it: who subscribes later
// is given it first, and [Client.Get] returns it. It outlives a restart of the daemon, and not a reboot. A second subscription of one
// client to the same filter is given no values, as it shares that of the first.
func Retain() PublishOption { return func(o *publishOptions) { o.retain = true } }

// Expires is Retain for a value that is to be gone after a time, of at least a millisecond.
func Expires(d time.Duration) PublishOption {
	return func(o *publishOptions) { o.retain, o.expires = true, d }
}

// append appends the command that publishes.
func (o *publishOptions) append(b []byte, topic string, payload []byte) []byte {
	words := 3
	if o.retain {
		words++
	}
	if o.expires != 0 {
		words += 2
	}
	b = wire.AppendArray(b, words)
	b = wire.AppendBulk(b, "BUS.PUB")
	b = wire.AppendBulk(b, topic)
	b = wire.AppendBulk(b, payload)
	if o.retain {
		b = wire.AppendBulk(b, "RETAIN")
	}
	if o.expires != 0 {
		b = wire.AppendBulk(b, "EXPIRES")
		b = wire.AppendBulk(b, fmt.Sprint(o.expires.Milliseconds()))
	}
	return b
}

// Get returns the value of a topic; ok is false if it has none.
func (c *Client) Get(ctx context.Context, topic string) (m Message, ok bool, err error) {
	v, err := c.roundTrip(ctx, func(b []byte) []byte { return wire.AppendCommand(b, "BUS.GET", topic) })
	if err != nil {
		return Message{}, false, fmt.Errorf("cannot get %q: %w", topic, err)
	}
	if v.Kind == wire.KindNull {
		return Message{}, false, nil
	}
	return DecodeValue(v), true, nil
}

// DecodeValue decodes a reply of BUS.GET that is not null.
func DecodeValue(v wire.Value) Message {
	return Message{
		Topic: v.Get("topic").Str, Payload: []byte(v.Get("payload").Str), Seq: uint64(v.Get("seq").Int),
		Time: time.UnixMicro(v.Get("time").Int), PID: int(v.Get("pid").Int), UID: int(v.Get("uid").Int), Unit: v.Get("unit").Str,
		Retained: true,
	}
}

// Topics returns the names of the topics that have a value and that a filter matches, in their order.
func (c *Client) Topics(ctx context.Context, filter string) ([]string, error) {
	v, err := c.roundTrip(ctx, func(b []byte) []byte { return wire.AppendCommand(b, "BUS.LIST", filter) })
	if err != nil {
		return nil, fmt.Errorf("cannot list the topics of %q: %w", filter, err)
	}
	topics := make([]string, len(v.Elems))
	for i := range v.Elems {
		topics[i] = v.Elems[i].Get("topic").Str
	}
	return topics, nil
}

// Clear has a topic have no value any more, and reports whether it had one.
func (c *Client) Clear(ctx context.Context, topic string) (had bool, err error) {
	v, err := c.roundTrip(ctx, func(b []byte) []byte { return wire.AppendCommand(b, "BUS.CLEAR", topic) })
	if err != nil {
		return false, fmt.Errorf("cannot clear %q: %w", topic, err)
	}
	return v.Int > 0, nil
}
