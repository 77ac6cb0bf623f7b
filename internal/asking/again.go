package asking

import (
	"fmt"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A BUS.REQ with a REQID outlives its connection for a grace: who asked may come again and repeat it, and is answered with what has come
// meanwhile, or when it comes. To the engine such a request has an asker of its own, a session that no connection has; the record of the
// REQID says which session that is at the moment.

// Grace is for how long after the end of its connection a request with a REQID goes on.
const Grace = 10 * time.Second

// MostKept is the size of the longest outcome that is kept for who repeats the request: a quarter of all that are kept for a user.
const MostKept = session.MaxOutcomeBytes / 4

// A resender is what is known of a session that has asked with a REQID.
type resender struct{ asks map[bus.RequestID]*asking }

// link has a request with a REQID belong to the session that it came on.
func (s *Service) link(a *asking) {
	x := s.part.In(a.To())
	if x.asks == nil {
		x.asks = map[bus.RequestID]*asking{}
	}
	x.asks[a.id] = a
}

// unlink has it belong to none, if it is of those.
func (s *Service) unlink(a *asking) {
	if !a.Lasts() {
		return
	}
	a.grace.Stop()
	if x := s.part.Of(a.To()); x != nil {
		delete(x.asks, a.id)
	}
}

// leave begins the grace of what a session has asked with a REQID, or of some of it. It reports whether that was all.
func (s *Service) leave(sess *session.Session) bool {
	x := s.part.Of(sess)
	if x == nil || s.stopping {
		return true
	}
	n := 0
	for id, a := range x.asks {
		if n++; n > mostEnded {
			return false
		}
		delete(x.asks, id)
		a.grace.Set(s.set.Now() + Grace)
	}
	return true
}

// abandoned ends a request that nobody came back for. That is its outcome: if somebody comes later, it is not asked again.
func (a *asking) abandoned() {
	a.service.engine.Cancel(a.asker, a.id)
	a.service.settle()
}

// askerOf is as whom the engine knows a session that asked something.
func (s *Service) askerOf(sess *session.Session, id bus.RequestID) *session.Session {
	if x := s.part.Of(sess); x != nil && x.asks[id] != nil {
		return x.asks[id].asker
	}
	return sess
}

// The following is what the gate of REQID asks: see session.Lasting.

// Waits is the topic that a repeat would wait for an answer from.
func (a *asking) Waits() string { return a.topic }

// Rejoin has a repeat be answered when there is an answer.
func (a *asking) Rejoin(c *session.Call) {
	s := a.service
	s.unlink(a)
	a.Request().Attach(c.Session)
	s.link(a)
	if a.async {
		c.Integer(int64(a.Ticket()))
		c.Reply()
		return
	}
	a.Await()
}

// Retell has nothing to see to.
func (a *asking) Retell(*session.Call) bool { return true }

// Ticket is what the outcome is pushed by.
func (a *asking) Ticket() session.Ticket {
	if !a.async {
		return 0
	}
	return a.ticket()
}

func (a *asking) ticket() session.Ticket { return firstTicket + session.Ticket(a.id) }

// Told makes no difference.
func (a *asking) Told(bool) {}

// IsLeft reports that nothing is, when there is an outcome.
func (a *asking) IsLeft() bool { return false }

// Over is called when the request is, which it knows.
func (a *asking) Over() {}

// An again is the outcome of a request with a REQID.
type again struct{ session.Outcome }

// Kept is what is kept of it for those who repeat the request.
func (o again) Kept() session.Outcome {
	if n := len(o.Append(nil, wire.RESP3)); n > MostKept {
		return failure{wire.CodeQuota, fmt.Sprintf("the request was answered, and the answer of %d bytes is too long to be kept for a repeat", n)}
	}
	return o.Outcome
}

// verifyAgain panics if a request with a REQID belongs to no session, though its grace has not begun.
func (s *Service) verifyAgain(a *asking) {
	x := s.part.Of(a.To())
	if linked := x != nil && x.asks[a.id] == a; linked == a.grace.IsSet() && !s.stopping {
		panic(fmt.Sprintf("the request %d with a REQID belongs to a session: %v", a.id, linked))
	}
}
