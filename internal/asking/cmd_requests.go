package asking

import (
	"errors"
	"math"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// longest is the longest time that can be asked for, in milliseconds: a hundred years.
const longest = 100 * 365 * 24 * 3600 * 1000

// number reads the number behind option i, from least to most.
func number(c *session.Call, i int, least, most int64) (int64, bool) {
	if i+1 >= len(c.Args) {
		c.Syntax()
		return 0, false
	}
	n, ok := session.Number(c.Args[i+1])
	if !ok || n < least || n > most {
		c.Fail(wire.CodeErr, "%s wants a number from %d to %d, not %q", c.Arg(i), least, most, session.Clip(string(c.Args[i+1])))
		return 0, false
	}
	return n, true
}

// sharing reads a filter and its options.
func sharing(c *session.Call, counts bool) (of bus.Sharing, count int, ok bool) {
	of.Filter = string(c.Args[0])
	for i := 1; i < len(c.Args); i += 2 {
		switch {
		case c.Arg(i) == "GROUP" && i+1 < len(c.Args):
			of.Group = string(c.Args[i+1])
			if err := bus.CheckGroup(of.Group); err != nil {
				c.Fail(wire.CodeBadName, "%v", err)
				return of, 0, false
			}
		case c.Arg(i) == "COUNT" && counts:
			n, ok := number(c, i, 1, math.MaxInt32)
			if !ok {
				return of, 0, false
			}
			count = int(n)
		default:
			c.Syntax()
			return of, 0, false
		}
	}
	return of, count, true
}

func (s *Service) busServe(c *session.Call) {
	sess := c.Session
	of, count, ok := sharing(c, true)
	switch {
	case !ok:
		return
	case sess.Proto() != wire.RESP3:
		c.Fail(wire.CodeErr, "BUS.SERVE needs RESP3: say HELLO 3 first")
		return
	case !c.Room(account.Subscriptions, weight(of)):
		return
	}
	added, err := s.engine.Serve(sess, of, count)
	if err != nil {
		c.Fail(wire.CodeBadName, "%v", err)
		return
	}
	if added {
		sess.User().Count(account.Subscriptions, weight(of))
	}
	c.Integer(int64(s.engine.Serves(sess)))
	if !added || s.engine.Waiting() == 0 {
		return
	}
	c.Reply() // before the requests that wait
	offer := s.engine.Offer(of.Filter)
	c.Perform(&session.Task{Step: func(b []byte) ([]byte, bool) {
		more := offer.Next()
		s.settle()
		return b, more
	}})
}

func (s *Service) busUnserve(c *session.Call) {
	sess := c.Session
	all := s.engine.Services(sess)
	if len(c.Args) > 0 {
		of, _, ok := sharing(c, false)
		if !ok {
			return
		}
		if !s.engine.IsServed(sess, of) {
			c.Fail(wire.CodeNotFound, "this connection does not serve %q", session.Clip(of.Filter))
			return
		}
		all = []bus.Sharing{of}
	}
	c.Perform(&session.Task{
		Head: session.NoHead,
		Step: func(b []byte) ([]byte, bool) {
			if len(all) == 0 {
				return wire.AppendInt(b, int64(s.engine.Serves(sess))), false
			}
			if left, _ := s.engine.Unserve(sess, all[0], mostEnded); left == 0 {
				all = all[1:]
			}
			s.settle()
			return b, true
		},
	})
}

// words reads the options of BUS.REQ.
func (s *Service) words(c *session.Call) (ask bus.Ask[*session.Session, *asking], ok bool) {
	now := s.set.Now()
	a := &asking{asker: c.Session, topic: string(c.Args[0]), payload: c.Args[1], asked: s.set.RealTime()}
	ask = bus.Ask[*session.Session, *asking]{Asker: c.Session, Topic: a.topic, Value: a}
	for i := 2; i < len(c.Args); i++ {
		var n int64
		switch option := c.Arg(i); option {
		case "TIMEOUT":
			if n, ok = number(c, i, 1, longest); !ok {
				return ask, false
			}
			wait := time.Duration(n) * time.Millisecond
			ask.Deadline, a.ends = now+wait, a.asked.Add(wait).UnixMicro()
			i++
		case "WAIT":
			if n, ok = number(c, i, 0, longest); !ok {
				return ask, false
			}
			if ask.Until = 0; n > 0 {
				ask.Until = now + time.Duration(n)*time.Millisecond
			}
			i++
		case "REPLIES":
			a.several, ask.Replies = true, bus.AllReplies
			if i+1 >= len(c.Args) || c.Arg(i+1) != "ALL" {
				if n, ok = number(c, i, 1, bus.MostAsked); !ok {
					return ask, false
				}
				ask.Replies = int(n)
			}
			i++
		case "REPEATABLE":
			ask.Repeatable = true
		case "ASYNC":
			a.async = true
		default:
			c.Syntax()
			return ask, false
		}
	}
	return ask, true
}

// mostToMany is the longest payload of a request that may go to several.
const mostToMany = 64 << 10

func (s *Service) busReq(c *session.Call) {
	ask, ok := s.words(c)
	a := ask.Value
	switch {
	case !ok:
		return
	case s.stopping:
		c.Fail(wire.CodeShutdown, "the daemon is stopping")
		return
	case a.async && c.Session.Proto() != wire.RESP3:
		c.Fail(wire.CodeErr, "ASYNC needs RESP3: say HELLO 3 first")
		return
	case ask.Replies > 1 && len(a.payload) > mostToMany:
		c.Fail(wire.CodeQuota, "a request for several answers may have %d bytes, not %d", mostToMany, len(a.payload))
		return
	case !c.Room(account.Requests, 1), (ask.Repeatable || ask.Until > 0) && !c.Room(account.Buffers, len(a.payload)):
		return
	}
	a.stamp = c.Session.Stamp()
	var err error
	if a.id, err = s.engine.Ask(ask); err != nil {
		refuse(c, a, err)
		return
	}
	user := c.Session.User()
	a.charge, a.bytes = user.Charge(account.Requests, 1), user.Charge(account.Output, 0)
	s.open[a] = struct{}{}
	a.Answer = c.Later()
	if a.async {
		ticket := firstTicket + session.Ticket(a.id)
		a.AsPush(ticket)
		c.Integer(int64(ticket))
		c.Reply()
	}
	a.Await()
	s.settle()
	if ask.Repeatable || ask.Until > 0 {
		a.keep()
	} else {
		a.payload = nil
	}
}

// refuse answers a request that is none.
func refuse(c *session.Call, a *asking, err error) {
	var full *bus.FullError[*session.Session]
	switch {
	case errors.As(err, &full) && full.Responder == c.Session && !a.async:
		c.Fail(wire.CodeDeadlock, "this connection serves %q itself, and would wait for its own answer: say ASYNC", session.Clip(a.topic))
	case errors.As(err, &full):
		c.Fail(wire.CodeBusy, "%s takes no more requests", name(full.Responder))
	case errors.Is(err, bus.ErrNoResponders):
		c.Fail(wire.CodeNoResponders, "nobody is there to answer %q", session.Clip(a.topic))
	case errors.Is(err, bus.ErrTooMany):
		c.Fail(wire.CodeQuota, "%v, of at most %d", err, bus.MostAsked)
	default:
		c.Fail(wire.CodeBadName, "%v", err)
	}
}

func (s *Service) busReply(c *session.Call) {
	id, ok := session.Number(c.Args[0])
	if !ok || id < 0 {
		c.Fail(wire.CodeErr, "the id of a request is a number, not %q", session.Clip(string(c.Args[0])))
		return
	}
	p := part{payload: c.Args[1]}
	if len(c.Args) > 2 {
		switch c.Arg(2) {
		case "MORE":
			p.more = true
		case "ERROR":
			p.failed = true
		default:
			c.Syntax()
			return
		}
	}
	a, ok := s.engine.Asked(c.Session, bus.RequestID(id))
	if !ok {
		c.Fail(wire.CodeStale, "no request %d waits for an answer of this connection", id)
		return
	}
	if err := a.room(len(p.payload)); err != nil && !p.failed {
		c.Fail(wire.CodeQuota, "%v", err)
		p = part{payload: []byte("the answer is too long: " + err.Error()), failed: true}
	} else {
		c.OK()
	}
	s.answer = p
	how := bus.Answered
	switch {
	case p.failed:
		how = bus.Failed
	case p.more:
		how = bus.Part
	}
	if err := s.engine.Reply(c.Session, bus.RequestID(id), how); err != nil {
		panic("asking: " + err.Error()) // it was asked
	}
	s.settle()
	s.answer = part{}
}

func (s *Service) busCancel(c *session.Call) {
	ticket, ok := session.Number(c.Args[0])
	if !ok || ticket < 0 {
		c.Fail(wire.CodeErr, "a ticket is a number, not %q", session.Clip(string(c.Args[0])))
		return
	}
	if ticket <= firstTicket || !s.engine.Cancel(c.Session, bus.RequestID(ticket-firstTicket)) {
		c.Integer(0)
		return
	}
	c.Integer(1)
	c.Reply() // before the outcome
	s.settle()
}
