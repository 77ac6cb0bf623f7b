package ipc

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A PublishOption says what else is to become of a message.
type PublishOption func(*publishOptions)

type publishOptions struct {
	retain     bool
	expires    time.Duration
	headers    []string // names and values in turn
	under      *Hold
	mayBlock   time.Duration
	mayBlockIs bool
	file       *os.File // beside it; nil: none
	kind       string   // what that is said to be
}

// Retain has the message be the value of its topic, until another is retained there or [Client.Clear] removes it: who subscribes later
// is given it first, and [Client.Get] returns it. It outlives a restart of the daemon, and not a reboot.
func Retain() PublishOption { return func(o *publishOptions) { o.retain = true } }

// Expires tells the receivers when the message is over: after a time, of at least a millisecond. With Retain, the value is gone then.
func Expires(d time.Duration) PublishOption {
	return func(o *publishOptions) { o.expires = d }
}

// Header tells the receivers one more thing beside the payload, as "content-type" or "correlation-id". A name has 1 to 64 of a to z, 0 to
// 9 and "-", of which the first is a letter; a value is UTF-8 without control characters. A message has up to 32 headers, which have up to
// 4096 bytes together.
func Header(name, value string) PublishOption {
	return func(o *publishOptions) { o.headers = append(o.headers, name, value) }
}

// Under has the daemon refuse the message, with [ErrStale] or [ErrNoLock], unless the lock is still held by this token: so what is published
// late, by who has lost the lock and does not know yet, is not taken for what its present holder says.
func Under(h Hold) PublishOption { return func(o *publishOptions) { o.under = &h } }

// MayBlock has the message wait for receivers, or groups, who would miss something for it, for so long at most, rather than be dropped for
// them, or others for it. Then it is refused with [ErrTimeout], or if that is no time at all with [ErrBusy], and the error says who it is. Receivers who have
// chosen to miss messages, or to end, are not waited for: see [Conflate] and [Lossless]. What the client sends behind it waits, too.
func MayBlock(d time.Duration) PublishOption {
	return func(o *publishOptions) { o.mayBlock, o.mayBlockIs = d, true }
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
	words += len(o.headers) / 2 * 3
	if o.file != nil {
		words += 2
	}
	if o.under != nil {
		words += 3
	}
	if o.mayBlockIs {
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
	for i := 0; i < len(o.headers); i += 2 {
		b = wire.AppendBulk(b, "HEADER")
		b = wire.AppendBulk(b, o.headers[i])
		b = wire.AppendBulk(b, o.headers[i+1])
	}
	if o.mayBlockIs {
		b = wire.AppendBulk(b, "MAYBLOCK")
		b = wire.AppendBulk(b, fmt.Sprint(o.mayBlock.Milliseconds()))
	}
	if o.file != nil {
		b = wire.AppendBulk(b, "FD")
		b = wire.AppendBulk(b, o.kind)
	}
	if o.under != nil {
		b = wire.AppendBulk(b, "UNDER")
		b = wire.AppendBulk(b, o.under.Name)
		b = wire.AppendBulk(b, token(o.under.Token))
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
	m := Message{
		Topic: v.Get("topic").Str, Payload: []byte(v.Get("payload").Str), Seq: uint64(v.Get("seq").Int),
		Time: time.UnixMicro(v.Get("time").Int), PID: int(v.Get("pid").Int), UID: int(v.Get("uid").Int), Unit: v.Get("unit").Str,
		Retained: true, Ended: v.Get("ended").Str, Headers: headers(v.Get("headers")),
	}
	if left := v.Get("expires").Int; left >= 0 {
		m.Expires = time.Now().Add(time.Duration(left) * time.Millisecond)
	}
	return m
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
	return c.clear(ctx, topic)
}

// clear is Clear with options.
func (c *Client) clear(ctx context.Context, topic string, options ...string) (had bool, err error) {
	v, err := c.command(ctx, append([]string{"BUS.CLEAR", topic}, options...)...)
	if err != nil {
		return false, fmt.Errorf("cannot clear %q: %w", topic, err)
	}
	return v.Int > 0, nil
}
