package server

import (
	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A message is what is published, and who published it.
type message struct {
	topic, payload []byte
	seq            uint64
	time           int64  // microseconds since 1970
	stamp          []byte // of the sender: see appendStamp
	age            uint64 // of the bus, if it was published in an earlier turn
}

// append encodes the message as subscribers of a route get it.
func (m *message) append(b []byte, p wire.Proto, k bus.Kind, text string) []byte {
	switch k {
	case bus.Channel:
		b = p.AppendPush(b, 3)
		b = append(b, "$7\r\nmessage\r\n"...)
	case bus.Pattern:
		b = p.AppendPush(b, 4)
		b = append(b, "$8\r\npmessage\r\n"...)
		b = wire.AppendBulk(b, text)
	default:
		b = p.AppendPush(b, 9)
		b = append(b, "$11\r\nbus.message\r\n"...)
		b = wire.AppendBulk(b, text)
	}
	b = wire.AppendBulk(b, m.topic)
	b = wire.AppendBulk(b, m.payload)
	if k == bus.Filter {
		b = wire.AppendInt(b, int64(m.seq))
		b = wire.AppendInt(b, m.time)
		b = append(b, m.stamp...)
	}
	return b
}

// appendStamp encodes the sender's part of a message: pid, uid, unit.
func appendStamp(b []byte, p *peer.Peer) []byte {
	b = wire.AppendInt(b, int64(p.PID))
	b = wire.AppendInt(b, int64(p.UID))
	return wire.AppendBulk(b, p.Unit)
}

// stamp is the sender's part of this session's messages.
func (s *session) stamp() []byte {
	x := s.extra()
	if x.stamp == nil {
		x.stamp = appendStamp(nil, &s.peer)
	}
	return x.stamp
}

// publish hands a message to the engine and delivers it. The topic of a peer's message must have been checked. If rest is not
// nil, it is not delivered to all yet. pays is charged with the time, if that is much; nil: nobody is.
func (s *Server) publish(topic, payload, stamp []byte, pays *account.User) (r receipt, rest *delivery, err error) {
	routes, search, err := s.bus.Search(topic, searchAtOnce)
	if err != nil {
		return receipt{}, nil, err
	}
	s.stats.published++
	r.seq = s.bus.Take()
	if len(routes) > 0 || search != nil {
		r.delivered, r.dropped, rest = s.distribute(routes, search, &message{topic: topic, payload: payload, seq: r.seq, stamp: stamp}, pays)
	}
	return r, rest, nil
}

// inTurn reports whether a route has carried something in this turn.
func (s *Server) inTurn(slot int) bool {
	return slot < len(s.routeTurns) && s.routeTurns[slot] != nil && s.routeTurns[slot].used
}

// deliverAlone gives a message to the one subscriber of a route that is one of very many: a buffer for each of them would be
// more than all that they carry.
func (s *Server) deliverAlone(r *bus.Route[*session], sess *session, m *message) (delivered, dropped int) {
	switch {
	case !s.mayReceive(sess):
		return 0, 0
	case sess.blocked && s.isFullOf(sess, m):
		sess.lose(r.Text)
		return 0, 1
	}
	s.alone = m.append(s.alone[:0], sess.proto, r.Kind, r.Text)
	if sess.blocked {
		taken, lost := s.enqueue(sess, r, s.alone, m.seq)
		if taken {
			delivered = 1
		}
		return delivered, lost
	}
	s.send(sess, s.alone)
	if s.turnBytes > maxTurnBytes {
		s.flushAll()
	}
	return 1, 0
}
