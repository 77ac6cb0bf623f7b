package server

import (
	"unsafe"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/heap"
	"github.com/ipcd/ipcd/ipc/wire"
)

var retainedCommands = map[string]func(*Server, *call){
	"BUS.GET":   (*Server).busGet,
	"BUS.LIST":  (*Server).busList,
	"BUS.CLEAR": (*Server).busClear,
}

// topic is the topic that a call names first.
func (c *call) topic() (topic string, ok bool) {
	if err := bus.CheckTopic(c.args[0]); err != nil {
		c.fail(wire.CodeBadName, "%v", err)
		return "", false
	}
	return string(c.args[0]), true
}

func (s *Server) busGet(c *call) {
	topic, ok := c.topic()
	if !ok {
		return
	}
	k := s.retainedOf(topic)
	if k == nil {
		c.null()
		return
	}
	c.mapping(2 + keptFields)
	c.bulk("topic")
	c.bulk(k.Topic)
	c.bulk("payload")
	c.bulk(k.Payload)
	c.out = k.appendFields(c.out, s.now())
}

func (s *Server) busClear(c *call) {
	topic, ok := c.topic()
	if !ok {
		return
	}
	k := s.retainedOf(topic)
	if k == nil {
		c.integer(0)
		return
	}
	s.clear(k)
	c.integer(1)
}

// busList looks for the topics first, and tells of them in their order then.
func (s *Server) busList(c *call) {
	filter := "#"
	if len(c.args) > 0 {
		filter = string(c.args[0])
		if err := bus.CheckFilter(filter); err != nil {
			c.fail(wire.CodeBadName, "%v", err)
			return
		}
	}
	n, proto := 0, c.sess.proto
	lookup, looking := s.retained.topics.Lookup(filter), true
	all := heap.New(func(a, b *kept) bool { return a.Topic < b.Topic })
	t := &task{head: func(b []byte) []byte { return wire.AppendArray(b, n) }}
	t.step = func(b []byte) ([]byte, bool) {
		if looking {
			var k *kept
			var ok bool
			if k, ok, looking = lookup.Next(); ok && !k.over(s.now()) {
				all.Add(k)
				n++
			}
			t.held = all.Room() * int(unsafe.Sizeof(k))
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
			b = k.appendFields(b, s.now())
		}
		return b, true
	}
	s.perform(c, t)
}
