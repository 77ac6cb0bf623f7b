package ipc

import (
	"context"
	"fmt"
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A Receipt says what became of a message.
type Receipt struct {
	Seq       uint64 // the publication's number, rising over all topics
	Delivered int    // subscriptions that were given it
	Dropped   int    // messages that subscriptions too far behind lost for it: older ones, or this one
}

// Publish sends a message to all who subscribed to topic. A payload may be of any bytes.
func (c *Client) Publish(ctx context.Context, topic string, payload []byte, options ...PublishOption) (Receipt, error) {
	var o publishOptions
	for _, option := range options {
		option(&o)
	}
	encode := func(b []byte) []byte { return o.append(b, topic, payload) }
	var v wire.Value
	var err error
	if o.file == nil {
		v, err = c.roundTrip(ctx, encode)
	} else {
		v, err = c.roundTripFile(ctx, o.file, encode)
	}
	if err == nil {
		err = outcome(v, wire.KindMap)
	}
	if err != nil {
		return Receipt{}, fmt.Errorf("cannot publish on %q: %w", topic, err)
	}
	return DecodeReceipt(v), nil
}

// DecodeReceipt decodes a reply of BUS.PUB.
func DecodeReceipt(v wire.Value) Receipt {
	return Receipt{
		Seq:       uint64(v.Get("seq").Int),
		Delivered: int(v.Get("delivered").Int),
		Dropped:   int(v.Get("dropped").Int),
	}
}

// message gives a push "bus.message" to the subscriptions that share its filter.
func (c *Client) message(args []wire.Value) error {
	m, ok := message(args)
	if !ok {
		return errBadPush
	}
	if m.beside {
		m.File = takeFile(&c.in.files)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	of := sharing{args[0].Str, m.Group}
	all := c.givenLocked(of, &m)
	if m.FileKind != "" {
		shareFile(m, all)
		return nil
	}
	for _, s := range all {
		s.deliver(m)
	}
	return nil
}

// DecodeMessage decodes a push "bus.message"; false if v is none.
func DecodeMessage(v wire.Value) (Message, bool) {
	if v.Kind != wire.KindPush || len(v.Elems) == 0 || v.Elems[0].Str != "bus.message" {
		return Message{}, false
	}
	return message(v.Elems[1:])
}

// message decodes what comes after the push's name, of which the filter is the first.
func message(args []wire.Value) (Message, bool) {
	if len(args) < 9 {
		return Message{}, false
	}
	m := Message{
		Topic:   args[1].Str,
		Payload: []byte(args[2].Str),
		Seq:     uint64(args[3].Int),
		Time:    time.UnixMicro(args[4].Int),
		PID:     int(args[5].Int),
		UID:     int(args[6].Int),
		Unit:    args[7].Str,
		Count:   uint64(args[8].Int),
	}
	if len(args) > 9 {
		more := &args[9]
		m.Group = more.Get("group").Str
		m.Retained = more.Get("retained").Int == 1
		if at := more.Get("expires").Int; at != 0 {
			m.Expires = time.UnixMicro(at)
		}
		m.Ended = more.Get("ended").Str
		m.Headers = headers(more.Get("headers"))
		m.FileKind, m.FileSize, m.beside = more.Get("file").Str, more.Get("size").Int, more.Get("fd").Int == 1
	}
	return m, true
}

// headers decodes a map of headers; nil if there are none.
func headers(v wire.Value) map[string]string {
	if len(v.Elems) == 0 {
		return nil
	}
	all := make(map[string]string, len(v.Elems)/2)
	for i := 0; i+1 < len(v.Elems); i += 2 {
		all[v.Elems[i].Str] = v.Elems[i+1].Str
	}
	return all
}

// lost tells the subscriptions that share a filter how many messages the daemon dropped, or a member of a group how many are lost to that.
func (c *Client) lost(args []wire.Value) error {
	if len(args) < 2 {
		return errBadPush
	}
	of := sharing{filter: args[0].Str}
	if len(args) > 2 {
		of.group = args[2].Get("group").Str
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.missingLocked(of, missing{lost: uint64(args[1].Int)})
	return nil
}
