package messages

import (
	"unsafe"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/heap"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// topicOf is the topic that a call names first.
func topicOf(c *session.Call) (topic string, ok bool) {
	if err := bus.CheckTopic(c.Args[0]); err != nil {
		c.Fail(wire.CodeBadName, "%v", err)
		return "", false
	}
	return string(c.Args[0]), true
}

func (s *Service) busGet(c *session.Call) {
	topic, ok := topicOf(c)
	if !ok {
		return
	}
	k := s.retainedOf(topic)
	if k == nil {
		c.Null()
		return
	}
	c.Map(2 + keptFields)
	c.Bulk("topic")
	c.Bulk(k.Topic)
	c.Bulk("payload")
	c.Bulk(k.Payload)
	c.Out = k.appendFields(c.Out, c.Session.Proto(), s.set.Now())
}

func (s *Service) busClear(c *session.Call) {
	topic, ok := topicOf(c)
	switch {
	case !ok:
		return
	case len(c.Args) == 1:
	case len(c.Args) != 4 || c.Keyword(1) != "UNDER":
		c.Syntax()
		return
	case !s.holds(c, c.Args[2], c.Args[3]):
		return
	}
	k := s.retainedOf(topic)
	if k == nil {
		c.Integer(0)
		return
	}
	s.clear(k)
	c.Integer(1)
}

// busList looks for the topics first, and tells of them in their order then.
func (s *Service) busList(c *session.Call) {
	filter := "#"
	if len(c.Args) > 0 {
		filter = string(c.Args[0])
		if err := bus.CheckFilter(filter); err != nil {
			c.Fail(wire.CodeBadName, "%v", err)
			return
		}
	}
	n, proto := 0, c.Session.Proto()
	lookup, looking := s.retained.topics.Lookup(filter), true
	all := heap.New(func(a, b *kept) bool { return a.Topic < b.Topic })
	t := &session.Task{Head: func(b []byte) []byte { return wire.AppendArray(b, n) }}
	t.Step = func(b []byte) ([]byte, bool) {
		if looking {
			var k *kept
			var ok bool
			if k, ok, looking = lookup.Next(); ok && !k.over(s.set.Now()) {
				all.Add(k)
				n++
			}
			t.Held = all.Room() * int(unsafe.Sizeof(k))
			return b, true
		}
		if all.Len() == 0 {
			return b, false
		}
		if k, ok := all.Next(); ok {
			b = proto.AppendMap(b, 2+keptFields)
			b = wire.AppendBulk(b, "topic")
			b = wire.AppendBulk(b, k.Topic)
			b = wire.AppendBulk(b, "size")
			b = wire.AppendInt(b, int64(len(k.Payload)))
			b = k.appendFields(b, proto, s.set.Now())
		}
		return b, true
	}
	c.Perform(t)
}
