package server

import (
	"strconv"
	"unicode/utf8"

	"github.com/ipcd/ipcd/lockmgr"
)

// lockTopic begins the topics of what happens to locks: ipcd/lock/EVENT/NAME.
const lockTopic = "ipcd/lock/"

// announce publishes what happened to a lock. A hold that was cut off is announced twice: as released, for those who
// wait for the lock to be free, and as abandoned, for those who look after accidents.
func (s *Server) announce(e *lockmgr.Effect) {
	if e.Kind != lockmgr.Ended {
		s.publishEvent(e.Kind.String(), e)
		return
	}
	s.publishEvent("released", e)
	if e.End.Abandoned() {
		s.publishEvent("abandoned", e)
	}
}

func (s *Server) publishEvent(event string, e *lockmgr.Effect) {
	topic := append(s.scratch[:0], lockTopic...)
	topic = append(topic, event...)
	topic = append(topic, '/')
	topic = append(topic, e.Name...)
	seq, routes, err := s.bus.Publish(topic)
	if err != nil {
		s.log.Error("cannot announce what happened to a lock", "event", "bug", "error", err) // a lock's name is checked
		return
	}
	s.stats.published++
	if len(routes) > 0 {
		n := len(topic)
		s.scratch = s.appendEvent(topic, event, e)
		s.distribute(routes, &message{topic: s.scratch[:n:n], payload: s.scratch[n:], seq: seq, stamp: s.stamp})
	}
	s.scratch = topic[:0]
}

// appendEvent appends the payload: a JSON object.
func (s *Server) appendEvent(b []byte, event string, e *lockmgr.Effect) []byte {
	b = append(b, '{')
	b = jsonText(b, "event", event)
	b = jsonText(b, "name", e.Name)
	b = jsonText(b, "mode", e.Mode.String())
	b = jsonInt(b, "pid", int64(e.Owner.Process.PID))
	b = jsonInt(b, "uid", int64(e.UID))
	b = jsonText(b, "unit", e.Unit)
	b = jsonText(b, "why", e.Why)
	switch e.Kind {
	case lockmgr.Waiting:
		b = jsonInt(b, "place", int64(e.Place))
	case lockmgr.Acquired:
		b = jsonInt(b, "token", int64(e.Token))
		b = jsonText(b, "previous", e.Previous.String())
		b = jsonText(b, "abandoned", describeEnd(e.Abandoned))
	case lockmgr.Ended:
		b = jsonInt(b, "token", int64(e.Token))
		b = jsonText(b, "how", e.End.String())
		b = jsonInt(b, "held_us", (s.now() - e.Since.Boot).Microseconds())
	}
	b[len(b)-1] = '}' // for the last comma
	return b
}

func jsonInt(b []byte, key string, n int64) []byte {
	b = append(b, '"')
	b = append(b, key...)
	b = append(b, `":`...)
	b = strconv.AppendInt(b, n, 10)
	return append(b, ',')
}

func jsonText(b []byte, key, text string) []byte {
	b = append(b, '"')
	b = append(b, key...)
	b = append(b, `":"`...)
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r == 0x7f:
			const hex = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
		i += size
	}
	return append(b, `",`...)
}
