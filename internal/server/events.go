package server

import (
	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/internal/session"
)

// What happens to connections, the configuration and the daemon is published, as what happens to locks is (package locks). docs/topics.md
// has the fields of each event. There is none for whom nobody has subscribed: it is not made, counted or numbered.
//
// A connection cannot wait until events before it are delivered, as commands about locks do. So what happens to a user's connections
// is left out as long as his events stand in line, or everybody's: how many were left out is said by the next one.

var (
	connectedTopic    = []byte(bus.ReservedPrefix + "client/connected")
	disconnectedTopic = []byte(bus.ReservedPrefix + "client/disconnected")
)

// announceConnected tells of a new connection.
func (s *Server) announceConnected(sess *session.Session) {
	s.announceClient(connectedTopic, "connected", sess, func(b []byte) []byte { return b })
}

// announceDisconnected tells that a connection has ended, and all that ends with it.
func (s *Server) announceDisconnected(sess *session.Session) {
	s.announceClient(disconnectedTopic, "disconnected", sess, func(b []byte) []byte {
		reason := sess.WhyEnded()
		if reason == "" {
			reason = "closed"
		}
		b = printable.AppendTextField(b, "name", s.nameOf(sess))
		b = printable.AppendIntField(b, "age", int64(sess.Age()))
		return printable.AppendTextField(b, "reason", reason)
	})
}

// nameOf is what a connection calls itself.
func (s *Server) nameOf(sess *session.Session) string {
	if x := s.names.Of(sess); x != nil {
		return x.name
	}
	return ""
}

func (s *Server) announceClient(topic []byte, event string, sess *session.Session, more func([]byte) []byte) {
	p := &sess.Peer
	switch {
	case s.set.Stopping || !s.messages.Heard(topic):
		return
	case s.messages.EventsInLine(p.UID) || s.messages.LineIsLong():
		s.leftOut++
		return
	}
	pays := sess.User()
	if sess.FD() < 0 { // it is buried, and its user perhaps gone
		pays = nil
	}
	s.publish(topic, func(b []byte) []byte {
		b = printable.BeginObject(b)
		b = printable.AppendTextField(b, "event", event)
		b = printable.AppendIntField(b, "id", int64(sess.ID))
		b = printable.AppendIntField(b, "pid", int64(p.PID))
		b = printable.AppendIntField(b, "uid", int64(p.UID))
		b = printable.AppendIntField(b, "gid", int64(p.GID))
		b = printable.AppendTextField(b, "unit", p.Unit)
		b = more(b)
		if s.leftOut > 0 {
			b = printable.AppendIntField(b, "left_out", int64(s.leftOut))
			s.leftOut = 0
		}
		return printable.EndObject(b)
	}, p.UID, pays)
}

// announceStopping tells that the daemon is about to end.
func (s *Server) announceStopping() {
	s.announceOwn("status/stopping", func(b []byte) []byte {
		b = printable.AppendTextField(b, "event", "stopping")
		b = printable.AppendTextField(b, "version", s.setup.Version)
		return printable.AppendIntField(b, "pid", int64(s.self.PID))
	})
}

// Announce publishes an event of the daemon's own, from any goroutine: under ipcd/, the topic, whose last level is the event, with these fields.
func (s *Server) Announce(topic, event string, fields ...Field) {
	s.Post(func() {
		s.announceOwn(topic+"/"+event, func(b []byte) []byte {
			b = printable.AppendTextField(b, "event", event)
			for _, f := range fields {
				switch v := f.Value.(type) {
				case int64:
					b = printable.AppendIntField(b, f.Key, v)
				case string:
					b = printable.AppendTextField(b, f.Key, v)
				}
			}
			return b
		})
	})
}

// announceOwn publishes what nobody but the daemon has caused.
func (s *Server) announceOwn(topic string, fields func([]byte) []byte) {
	name := []byte(bus.ReservedPrefix + topic)
	if !s.messages.Heard(name) {
		return
	}
	s.publish(name, func(b []byte) []byte { return printable.EndObject(fields(printable.BeginObject(b))) }, s.self.UID, nil)
}

func (s *Server) publish(topic []byte, payload func([]byte) []byte, user uint32, pays *account.User) {
	if err := s.messages.PublishEvent(topic, payload, user, pays); err != nil {
		s.set.Log.Error("cannot announce an event", "event", "bug", "error", err) // the topics are written here
	}
}
