package ipc

import (
	"context"
	"fmt"
	"strconv"

	"github.com/ipcd/ipcd/ipc/wire"
)

// Will leaves a message with the daemon, which publishes it when this process has ended, however it does, as from this process; receivers
// are told how it ended by [Message.Ended]. It outlives the client, and a restart of the daemon, and is published once. Another will for the
// topic takes its place, and [Client.Unwill] takes it back. Of the options, [Retain], [Header] and [Expires], which counts from the end of the
// process, make sense.
func (c *Client) Will(ctx context.Context, topic string, payload []byte, options ...PublishOption) error {
	var o publishOptions
	for _, option := range options {
		option(&o)
	}
	var words []string
	if o.retain {
		words = append(words, "RETAIN")
	}
	if o.expires != 0 {
		words = append(words, "EXPIRES", strconv.FormatInt(o.expires.Milliseconds(), 10))
	}
	for i := 0; i < len(o.headers); i += 2 {
		words = append(words, "HEADER", o.headers[i], o.headers[i+1])
	}
	if err := c.will(ctx, topic, payload, words...); err != nil {
		return fmt.Errorf("cannot leave a will for %q: %w", topic, err)
	}
	return nil
}

func (c *Client) will(ctx context.Context, topic string, payload []byte, options ...string) error {
	if c.unproven != nil {
		return c.unproven
	}
	words := append([]string{"BUS.WILL", topic, string(payload), "FOR", "self"}, options...)
	_, err := c.roundTrip(ctx, func(b []byte) []byte { return wire.AppendCommand(b, words...) })
	return err
}

// Unwill takes a will of this process back, also that of Announce, and reports whether there was one.
func (c *Client) Unwill(ctx context.Context, topic string) (had bool, err error) {
	v, err := c.roundTrip(ctx, func(b []byte) []byte { return wire.AppendCommand(b, "BUS.UNWILL", topic, "FOR", "self") })
	if err != nil {
		return false, fmt.Errorf("cannot take back a will for %q: %w", topic, err)
	}
	return v.Int > 0, nil
}

// Announce has a topic have a value for as long as this process lives, whatever becomes of the client: when it has ended, the value is gone,
// unless another process has published one there since, and who follows the topic is given an empty message with [Message.Ended]. To change the value,
// announce again, or publish with [Retain]. To end it before, call Unwill and [Client.Clear].
func (c *Client) Announce(ctx context.Context, topic string, payload []byte, options ...PublishOption) (Receipt, error) {
	if err := c.will(ctx, topic, nil, "CLEAR"); err != nil { // before the value, so that none is left behind
		return Receipt{}, fmt.Errorf("cannot announce %q: %w", topic, err)
	}
	return c.Publish(ctx, topic, payload, append(options[:len(options):len(options)], Retain())...)
}
