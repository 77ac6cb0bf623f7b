package messages

import (
	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// publishCall publishes the peer's message, and reports whether it was taken. If not, or if it is not delivered to all yet, the call has
// its reply, or gets it later: made of the receipt by answer.
func (s *Service) publishCall(c *session.Call, kind nameKind, p *publication, answer func(receipt) session.Outcome) (r receipt, ok bool) {
	if p.fd == "" {
		return s.publishWith(c, kind, p, nil, answer)
	}
	f := s.takeFile(c, p.fd)
	if f == nil {
		return r, false
	}
	defer f.Release()
	return s.publishWith(c, kind, p, f, answer)
}

// publishWith is publishCall for a message with a file beside it; nil: there is none.
func (s *Service) publishWith(c *session.Call, kind nameKind, p *publication, f *file, answer func(receipt) session.Outcome) (r receipt, ok bool) {
	to := &s.outgoing.to
	switch err := s.find(to, kind, c.Args[0]); {
	case err == bus.ErrTooLong:
		c.Fail(wire.CodeQuota, "cannot publish to a channel of %d bytes: %v", len(c.Args[0]), err)
		return r, false
	case err != nil:
		c.Fail(wire.CodeBadName, "%v", err)
		return r, false
	case to.isNobody(): // for whom it need not be made
		return receipt{seq: to.seq}, true
	}
	return s.sendCall(c, to, p, f, answer)
}

// sendCall makes the message and sends it.
func (s *Service) sendCall(c *session.Call, to *audience, p *publication, f *file, answer func(receipt) session.Outcome) (r receipt, ok bool) {
	m, plain := &s.outgoing.message, p == &asItIs && to.groups == nil && to.groupSearch == nil
	m.topic, m.payload, m.stamp = c.Args[0], c.Args[1], c.Session.Stamp()
	if !plain {
		m.headers, m.file = p.headers, f
		if p.expires != 0 {
			m.expires = s.set.RealTime().Add(p.expires).UnixMicro()
		}
	}
	r, rest := s.send(to, m, c.Pays)
	if !plain || rest != nil || m.envelope.before != nil {
		s.outgoing = outgoing{}
	}
	if rest != nil {
		s.await(c, rest, answer)
		return r, false
	}
	return r, true
}

func (s *Service) publishRedis(c *session.Call) {
	if r, ok := s.publishWith(c, anyName, &asItIs, nil, delivered); ok {
		c.Integer(int64(r.delivered))
	}
}

// asItIs is a publication without any option.
var asItIs publication

// delivered is what PUBLISH answers.
func delivered(r receipt) session.Outcome {
	return session.Plain(wire.AppendInt(nil, int64(r.delivered)))
}

func (s *Service) busPub(c *session.Call) {
	p := &s.publication
	if p.lock != nil && !s.holds(c, p.lock, p.token) {
		c.DropFD()
		return
	}
	if s.refuseHeldUp(c) {
		c.DropFD()
		return
	}
	if p.retain && !s.retain(c, p) {
		return
	}
	r, ok := s.publishCall(c, topicName, p, func(r receipt) session.Outcome { return r })
	if !ok {
		return
	}
	session.GiveNow(c, r)
}

// A receipt is what BUS.PUB answers.
type receipt struct {
	seq                uint64
	delivered, dropped int
}

// Append makes it an outcome.
func (r receipt) Append(b []byte, p wire.Proto) []byte {
	b = p.AppendMap(b, 3)
	b = wire.AppendBulk(b, "seq")
	b = wire.AppendInt(b, int64(r.seq))
	b = wire.AppendBulk(b, "delivered")
	b = wire.AppendInt(b, int64(r.delivered))
	b = wire.AppendBulk(b, "dropped")
	return wire.AppendInt(b, int64(r.dropped))
}
