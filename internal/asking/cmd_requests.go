package asking

import (
	"errors"
	"fmt"
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
		c.Fail(wire.CodeErr, "%s wants a number from %d to %d, not %q", c.Keyword(i), least, most, session.Clip(string(c.Args[i+1])))
		return 0, false
	}
	return n, true
}

// sharing reads a filter and its options.
func sharing(c *session.Call, counts bool) (of bus.Sharing, count int, ok bool) {
	of.Filter = string(c.Args[0])
	for i := 1; i < len(c.Args); i += 2 {
		switch {
		case c.Keyword(i) == "GROUP" && i+1 < len(c.Args):
			of.Group = string(c.Args[i+1])
			if err := bus.CheckGroup(of.Group); err != nil {
				c.Fail(wire.CodeBadName, "%v", err)
				return of, 0, false
			}
		case c.Keyword(i) == "COUNT" && counts:
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
	sess, all := c.Session, len(c.Args) == 0
	var of bus.Sharing
	if !all {
		var ok bool
		if of, _, ok = sharing(c, false); !ok {
			return
		}
		if !s.engine.IsServed(sess, of) {
			c.Fail(wire.CodeNotFound, "this connection does not serve %q", session.Clip(of.Filter))
			return
		}
	}
	more := !all // of this one
	c.Perform(&session.Task{
		Head: session.NoHead,
		Step: func(b []byte) ([]byte, bool) {
			if !more && all {
				of, more = s.engine.FirstService(sess)
			}
			if !more {
				return wire.AppendInt(b, int64(s.engine.Serves(sess))), false
			}
			left, _ := s.engine.Unserve(sess, of, mostEnded)
			more = left > 0
			s.settle()
			return b, true
		},
	})
}

// An ask is what the words of BUS.REQ ask for.
type ask = bus.Ask[*session.Session, *asking]

// reqWords reads the options of BUS.REQ.
func (s *Service) reqWords(c *session.Call) bool {
	now := s.set.Now()
	topic := s.topic
	if string(c.Args[0]) != topic { // mostly somebody asks for the same as the one before
		if topic = string(c.Args[0]); len(topic) <= bus.MaxTopic {
			s.topic = topic
		}
	}
	q := &s.ask
	if q.Value != nil { // of a call whose words were wrong, or that was known already
		s.spare.Give(q.Value)
	}
	a := s.spare.Take()
	a.service, a.asker, a.topic, a.payload, a.asked = s, c.Session, topic, c.Args[1], s.set.RealTime()
	*q = ask{Asker: c.Session, Topic: a.topic, Value: a}
	for i := 2; i < len(c.Args); i++ {
		switch option := c.Keyword(i); option {
		case "TIMEOUT":
			n, ok := number(c, i, 1, longest)
			if !ok {
				return false
			}
			wait := time.Duration(n) * time.Millisecond
			q.Deadline, a.ends = now+wait, a.asked.Add(wait).UnixMicro()
			i++
			c.Patience[0] = i
		case "WAIT":
			n, ok := number(c, i, 0, longest)
			if !ok {
				return false
			}
			if q.Until = 0; n > 0 {
				q.Until = now + time.Duration(n)*time.Millisecond
			}
			i++
			c.Patience[1] = i
		case "REPLIES":
			a.several, q.Replies = true, bus.AllReplies
			if i+1 >= len(c.Args) || c.Keyword(i+1) != "ALL" {
				n, ok := number(c, i, 1, bus.MostAsked)
				if !ok {
					return false
				}
				q.Replies = int(n)
			}
			i++
		case "REPEATABLE":
			q.Repeatable = true
		case "ENVELOPE":
			a.envelope = true
		case "ASYNC":
			a.async = true
		case "PARTS":
			a.parts = true
		case "HEADER":
			if !header(c, i, &a.headers) {
				return false
			}
			i += 2
		case "REQID":
			if i++; i == len(c.Args) {
				c.Syntax()
				return false
			}
			if !c.ReadRequestID(c.Args[i]) {
				return false
			}
		case "FD":
			refuseFile(c)
			return false
		default:
			c.Syntax()
			return false
		}
	}
	switch {
	case a.async && c.Session.Proto() != wire.RESP3:
		c.Fail(wire.CodeErr, "ASYNC needs RESP3: say HELLO 3 first")
	case a.parts && !a.async:
		c.Fail(wire.CodeErr, "PARTS come as pushes: say ASYNC, too")
	case a.parts && c.HasRequestID():
		c.Fail(wire.CodeErr, "PARTS and REQID exclude each other: what has been sent of an answer is not kept for a repeat")
	default:
		return true
	}
	return false
}

// refuseFile refuses a request or an answer with a file beside it. If one has come, the next command must not take it for its own.
func refuseFile(c *session.Call) {
	if fd := c.Session.TakeFD(); fd >= 0 {
		c.Session.Discard(fd)
	}
	c.Fail(wire.CodeErr, "a request and its answer go without files: FD is for BUS.PUB")
}

// header reads the header behind option i.
func header(c *session.Call, i int, into *session.Headers) bool {
	if i+2 >= len(c.Args) {
		c.Syntax()
		return false
	}
	return into.Add(c, c.Args[i+1], c.Args[i+2])
}

// mostToMany is the longest payload, with its headers, of a request that may go to several.
const mostToMany = 64 << 10

func (s *Service) busReq(c *session.Call) {
	q := s.ask
	a := q.Value
	s.ask = ask{}
	if !s.begins(c, q) {
		s.spare.Give(a)
		return
	}
	user := c.Session.User()
	a.charge, a.bytes = user.Charge(account.Requests, 1), user.Charge(account.Output, 0)
	s.open.Push(a, inOpen)
	a.Answer = c.Later()
	if a.Lasts() {
		a.grace.Init(&s.set.Loop.Timers, a.abandoned)
		a.Request().SetLasting(a)
		s.link(a)
	}
	if a.async {
		a.AsPush(a.ticket())
		c.Integer(int64(a.ticket()))
		c.Reply()
	}
	a.Await()
	s.settle()
	if q.Repeatable || q.Until > 0 {
		a.keep()
	} else {
		a.drop()
	}
}

// begins has the engine ask what a call asks for, and reports whether it does. If not, the reply says why.
func (s *Service) begins(c *session.Call, q ask) bool {
	a := q.Value
	switch {
	case s.stopping:
		c.Fail(wire.CodeShutdown, "the daemon is stopping")
		return false
	case q.Replies > 1 && a.size() > mostToMany:
		c.Fail(wire.CodeQuota, "a request for several answers may have %d bytes, not %d", mostToMany, a.size())
		return false
	case !c.Room(account.Requests, 1), (q.Repeatable || q.Until > 0) && !c.Room(account.Buffers, a.size()):
		return false
	}
	a.stamp = c.Session.Stamp()
	a.Answer = session.AnswerTo(c.Session, 0) // to tell the responders from the asker
	if c.IsRequest() {
		a.asker = session.None()
		q.Asker = a.asker
	}
	var err error
	if a.id, err = s.engine.Ask(q); err != nil {
		refuse(c, a, err)
	}
	return err == nil
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
		c.Fail(wire.CodeQuota, "%v, more than %d", err, bus.MostAsked)
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
	p := piece{payload: c.Args[1]}
	for i := 2; i < len(c.Args); i++ {
		switch c.Keyword(i) {
		case "MORE":
			p.more = true
		case "ERROR":
			p.failed = true
		case "HEADER":
			if !header(c, i, &p.headers) {
				return
			}
			i += 2
		case "FD":
			refuseFile(c)
			return
		default:
			c.Syntax()
			return
		}
	}
	if p.failed && (p.more || len(p.headers) > 0) {
		c.Fail(wire.CodeErr, "ERROR is the end of an answer, and has no headers")
		return
	}
	a, ok := s.engine.Asked(c.Session, bus.RequestID(id))
	if !ok {
		c.Fail(wire.CodeStale, "no request %d waits for an answer of this connection", id)
		return
	}
	switch err := s.mayTake(a, c.Session, &p); {
	case err == errReadFirst:
		c.Fail(wire.CodeBusy, "%v", err)
		return
	case err != nil:
		c.Fail(wire.CodeQuota, "%v", err)
		p = piece{payload: []byte("the answer is too long: " + err.Error()), failed: true}
	case a.parts && p.more && s.isBehind(a, c.Session):
		c.Out = append(c.Out, "+WAIT\r\n"...)
	default:
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
	s.answer = piece{}
}

// errReadFirst is that a piece of an answer cannot be taken now.
var errReadFirst = errors.New("who asks has to read first: send it again after bus.ready")

// mayTake says why a piece of an answer cannot be taken: now, or with what there is of that answer.
func (s *Service) mayTake(a *asking, from *session.Session, p *piece) error {
	switch to := a.To(); {
	case p.failed:
		return nil
	case a.parts && to.Blocked():
		if _, out := to.Memory(); out+len(p.payload) > s.output/2 || to.User().Exceeds(account.Buffers, len(p.payload)) {
			s.isBehind(a, from)
			return errReadFirst
		}
		return nil
	case a.parts:
		return nil
	}
	if err := a.room(len(p.payload) + p.headers.Bytes()); err != nil {
		return err
	}
	r, _ := a.of(from)
	if had := r.headers; !had.Merge(p.headers) {
		return fmt.Errorf("an answer has at most %d headers of %d bytes together", wire.MaxHeaders, wire.MaxHeaderBytes)
	}
	return nil
}

func (s *Service) busCancel(c *session.Call) {
	ticket, ok := session.Number(c.Args[0])
	if !ok || ticket < 0 {
		c.Fail(wire.CodeErr, "a ticket is a number, not %q", session.Clip(string(c.Args[0])))
		return
	}
	id := bus.RequestID(ticket - firstTicket)
	if ticket <= firstTicket || !s.engine.Cancel(s.askerOf(c.Session, id), id) {
		c.Integer(0)
		return
	}
	c.Integer(1)
	c.Reply() // before the outcome
	s.settle()
}
