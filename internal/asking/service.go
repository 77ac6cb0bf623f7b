package asking

import (
	"fmt"
	"strings"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/list"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/internal/spare"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A Service is the service of requests.
type Service struct {
	set    *session.Set
	output int // the most that may wait for a connection
	part   session.Part[resender]
	engine bus.Requests[*session.Session, *asking]
	expiry loop.Timer // set if a request ends by time

	ask      ask    // of the call that is executed
	topic    string // that was asked for last
	open     list.List[asking]
	spare    spare.List[asking]
	answer   piece // of the answer at hand, for the effects of BUS.REPLY
	stopping bool
	scratch  []byte
}

const (
	// mostEnded is how many requests are ended in one step: each may go to others, and up to bus.MostAsked are told of it.
	mostEnded = 16
	// firstTicket is where the tickets of requests begin. A connection may wait for locks, too, and is told of either outcome by the ticket
	// alone. Those of locks count from 1, over all daemons of a boot, and at a million a second would take a hundred years to come so far. Both
	// are below 1<<53, up to which a program whose numbers are floating-point knows each from the next.
	firstTicket = 1 << 52
)

// New makes the service of a set of sessions.
func New(set *session.Set) *Service {
	s := &Service{set: set, part: session.NewPart[resender](set)}
	s.engine.Verify, s.engine.Takes = set.Verify, s.takes
	s.engine.KeepIn(&set.Spare)
	s.spare.KeepIn(&set.Spare)
	s.expiry.Init(&set.Loop.Timers, s.expire)
	return s
}

// Handlers execute the commands of requests.
func (s *Service) Handlers() map[string]session.Handler {
	return map[string]session.Handler{
		"BUS.SERVE":   s.busServe,
		"BUS.UNSERVE": s.busUnserve,
		"BUS.REQ":     session.Gated(s.reqWords, s.busReq),
		"BUS.REPLY":   s.busReply,
		"BUS.CANCEL":  s.busCancel,
	}
}

// Open is how many requests are not over.
func (s *Service) Open() int { return s.open.Len }

// fewSteps is how many steps it may take to find who serves a topic, some ten microseconds' worth, before to ask counts as slow.
const fewSteps = 512

// AskingIsSlow reports whether so many filters are served that it may take long to find those of a topic.
func (s *Service) AskingIsSlow() bool { return s.engine.MostSteps() > fewSteps }

// SetOutput changes how much may wait for a connection.
func (s *Service) SetOutput(most int) { s.output = most }

// takes reports whether a responder can be sent a request now. A connection that waits for the answer cannot give it.
func (s *Service) takes(sess *session.Session, a *asking) bool {
	if sess == a.To() && !a.async {
		return false
	}
	_, out := sess.Memory()
	return !sess.Ending() && sess.Proto() == wire.RESP3 && (!sess.Blocked() || out+a.size() <= s.output/2)
}

// settle carries out what the engine says has happened.
func (s *Service) settle() {
	effects := s.engine.Effects()
	for i := range effects {
		s.carryOut(&effects[i])
	}
	if at, ok := s.engine.Deadline(); ok {
		s.expiry.Set(at)
	} else {
		s.expiry.Stop()
	}
}

func (s *Service) carryOut(e *bus.RequestEffect[*session.Session, *asking]) {
	a, to := e.Value, e.Responder
	switch e.Kind {
	case bus.Sent:
		s.scratch = a.appendRequest(s.scratch[:0], e, to.Proto())
		to.Tell(s.scratch)
	case bus.Passed:
		a.failed(to, wire.CodeBusy, name(to)+" takes no more requests")
	case bus.Part, bus.Answered, bus.Failed:
		a.add(to, s.answer)
	case bus.Gone:
		a.failed(to, wire.CodeRemote, name(to)+" is gone, and had not answered")
	case bus.Replaced:
		a.forget(to)
	case bus.Revoked:
		s.tellOf(to, "bus.cancel", e.ID)
	case bus.Left:
		to.User().Count(account.Subscriptions, -weight(e.Service))
	case bus.Over:
		s.end(a, e)
	}
	if cap(s.scratch) > 64<<10 {
		s.scratch = nil
	}
}

// tellOf tells a responder something of a request that it was sent.
func (s *Service) tellOf(to *session.Session, what string, id bus.RequestID) {
	if to.Ending() {
		return
	}
	b := to.Proto().AppendPush(s.scratch[:0], 2)
	b = wire.AppendBulk(b, what)
	s.scratch = wire.AppendInt(b, int64(id))
	to.Tell(s.scratch)
}

// tellPart tells an asker who wants parts what has come of answer n.
func (s *Service) tellPart(a *asking, n int, part told, more bool) {
	to := a.To()
	if to.Ending() {
		return
	}
	b := to.Proto().AppendPush(s.scratch[:0], 5)
	b = wire.AppendBulk(b, "bus.part")
	b = wire.AppendInt(b, int64(a.ticket()))
	b = wire.AppendInt(b, int64(n))
	b = part.Append(b, to.Proto())
	if more {
		b = wire.AppendInt(b, 1)
	} else {
		b = wire.AppendInt(b, 0)
	}
	s.scratch = b
	to.Tell(b)
	s.set.Net.Relieve()
}

// isBehind reports whether an asker who wants parts has not read what it was sent. Then the responder is told when it has.
func (s *Service) isBehind(a *asking, from *session.Session) bool {
	to := a.To()
	if !to.Blocked() {
		return false
	}
	a.waits(from)
	if !a.reads {
		a.reads = true
		to.WhenRead(func() {
			behind := a.behind
			a.behind, a.reads = nil, false
			for _, from := range behind {
				if _, ok := s.engine.Asked(from, a.id); ok {
					s.tellOf(from, "bus.ready", a.id)
				}
			}
		})
	}
	return true
}

// end answers who has asked, and forgets the request.
func (s *Service) end(a *asking, e *bus.RequestEffect[*session.Session, *asking]) {
	s.open.Remove(a, inOpen)
	s.unlink(a)
	a.charge.Release()
	a.bytes.Release()
	if e.How == bus.Unanswered || e.How == bus.Complete && !a.several && !a.parts {
		give(a, a.last())
	} else {
		give(a, s.outcome(a, e))
	}
	if a.Lasts() || a.reads { // the record of the REQID leads to it still, or who is told when the asker has read
		a.answers, a.payload = nil, nil
		return
	}
	s.spare.Give(a)
}

// give gives an outcome to who has asked.
func give[O session.Outcome](a *asking, o O) {
	if a.Lasts() {
		a.Give(again{o})
	} else {
		session.Give(a.Answer, o)
	}
}

// outcome is that of a request which is not one answer.
func (s *Service) outcome(a *asking, e *bus.RequestEffect[*session.Session, *asking]) session.Outcome {
	switch {
	case e.How == bus.TimedOut && (e.Answers == 0 || !a.several):
		return failure{wire.CodeTimeout, "no answer came in time"}
	case (e.How == bus.Complete || e.How == bus.TimedOut) && a.parts:
		return session.Plain(wire.AppendInt(nil, int64(a.complete())))
	case e.How == bus.Complete, e.How == bus.TimedOut:
		return a.all()
	case e.How == bus.Unserved:
		return failure{wire.CodeNoResponders, fmt.Sprintf("nobody came to answer %q", a.topic)}
	case e.How == bus.Refused && e.Responder != nil:
		return failure{wire.CodeBusy, name(e.Responder) + " takes no more requests"}
	case e.How == bus.Refused:
		return failure{wire.CodeQuota, bus.ErrTooMany.Error()}
	case s.stopping:
		return failure{wire.CodeShutdown, "the daemon is stopping"}
	}
	return failure{wire.CodeCancelled, "the request was given up"}
}

// name is a responder in words.
func name(sess *session.Session) string {
	who := &sess.Peer
	unit := ""
	if who.Unit != "" {
		unit = ", " + who.Unit
	}
	return fmt.Sprintf("the responder (pid %d, uid %d%s)", who.PID, who.UID, unit)
}

// weight is what a service counts as, among subscriptions.
func weight(of bus.Sharing) int { return bus.Weight(of.Filter) }

// expire ends the requests whose time is over.
func (s *Service) expire() {
	more := s.engine.Expire(s.set.Now(), mostEnded)
	s.settle()
	if more {
		s.expiry.Set(s.set.Now()) // others are served first
	}
}

// Closed ends what a session that is gone has asked for and what it serves, or as much as may be ended at once. It reports whether
// nothing is left.
func (s *Service) Closed(sess *session.Session) bool {
	left := s.leave(sess)
	more := s.engine.Drop(sess, mostEnded)
	s.settle()
	return left && !more
}

// Stop ends all requests.
func (s *Service) Stop() {
	s.stopping = true
	s.open.All(inOpen, func(a *asking) bool { return s.engine.Cancel(a.asker, a.id) })
	s.settle()
}

// Count counts what a session serves, and its user is charged for.
func (s *Service) Count(sess *session.Session, found account.Count) {
	for _, of := range s.engine.Services(sess) {
		found.Add(sess.User().UID(), account.Subscriptions, weight(of))
	}
}

// Verify counts the requests that are open, and what is kept of them.
func (s *Service) Verify(found account.Count) {
	if s.open.Len != s.engine.Len() || !s.open.Check(inOpen) {
		panic(fmt.Sprintf("%d requests are open, counted %d, or they are not in order", s.engine.Len(), s.open.Len))
	}
	if !s.spare.Check() {
		panic("a request that is over is not as if it were new")
	}
	s.open.All(inOpen, func(a *asking) bool {
		found.Add(a.charge.User().UID(), account.Requests, 1)
		if a.bytes.Amount() != a.kept() {
			panic(fmt.Sprintf("a request keeps %d bytes, and is charged for %d", a.kept(), a.bytes.Amount()))
		}
		found.Add(a.charge.User().UID(), account.Output, a.kept())
		if a.Lasts() {
			s.verifyAgain(a)
		}
		return true
	})
}

// VerifyTimers names the timer of the service.
func (s *Service) VerifyTimers(check session.CheckTimer) {
	_, ok := s.engine.Deadline()
	check("requests", &s.expiry, ok)
	s.open.All(inOpen, func(a *asking) bool {
		if a.grace.IsSet() {
			check("the grace of a request", &a.grace, a.Lasts())
		}
		return true
	})
}

// oneLine makes a text one line for an error.
func oneLine(text []byte) string {
	line := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(text[:min(len(text), mostError)]), "?"))
	return strings.TrimSpace(line)
}

// mostError is how much is told of an error of a responder's.
const mostError = 1 << 10
