package asking

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/list"
	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// An asking is a request that is not over: what it says, where the answer goes, and what there is of that.
type asking struct {
	session.Answer
	service *Service
	asker   *session.Session // as the engine knows him: the session of the call, or with a REQID one of its own
	id      bus.RequestID
	topic   string
	payload []byte // good for the call that asks alone, unless it is kept
	headers session.Headers
	keeps   bool
	stamp   []byte
	asked   time.Time
	ends    int64 // the deadline, in microseconds since 1970; 0: there is none
	several bool  // several answers were asked for
	async   bool
	form
	answers []response
	first   [1]response        // where they are, as long as there is one
	behind  []*session.Session // responders who wait until the asker has read what it was sent of their answers
	reads   bool               // these are told when it has

	charge, bytes account.Charge
	grace         loop.Timer // set while its connection has ended: see again.go
	inOpen        list.Link[asking]
}

func inOpen(a *asking) *list.Link[asking] { return &a.inOpen }

// A form is how an asker wants answers.
type form struct {
	envelope bool // with who has answered, and headers
	parts    bool // as they come
}

// A piece is one piece of an answer, which is gone after the call.
type piece struct {
	payload []byte
	headers session.Headers
	more    bool
	failed  bool // it says why there is no answer
}

// A response is the answer of one responder, as far as it has come and was not told; or why it gave none.
type response struct {
	from    *session.Session
	body    []byte
	headers session.Headers
	code    wire.Code // "": it is no error
	over    bool
}

// appendRequest encodes the push by which a responder gets the request.
func (a *asking) appendRequest(b []byte, e *bus.RequestEffect[*session.Session, *asking], p wire.Proto) []byte {
	n := 10
	if len(a.headers) > 0 {
		n++
	}
	b = p.AppendPush(b, n)
	b = wire.AppendBulk(b, "bus.request")
	b = wire.AppendInt(b, int64(e.ID))
	b = wire.AppendBulk(b, e.Service.Filter)
	b = wire.AppendBulk(b, a.topic)
	b = wire.AppendBulk(b, a.payload)
	b = wire.AppendInt(b, a.asked.UnixMicro())
	b = append(b, a.stamp...)
	b = wire.AppendInt(b, a.ends)
	if len(a.headers) > 0 {
		b = p.AppendMap(b, 1)
		b = wire.AppendBulk(b, "headers")
		b = a.headers.Append(b, p)
	}
	return b
}

// size is how many bytes the request has to say.
func (a *asking) size() int { return len(a.payload) + a.headers.Bytes() }

// keep has the payload be there after the call.
func (a *asking) keep() {
	a.payload, a.keeps = bytes.Clone(a.payload), true
	a.bytes.Set(a.kept())
}

// drop has it be gone.
func (a *asking) drop() { a.payload, a.headers = nil, nil }

// kept is how many bytes are kept of the request and its answers.
func (a *asking) kept() (n int) {
	if a.keeps {
		n = a.size()
	}
	for i := range a.answers {
		n += len(a.answers[i].body) + a.answers[i].headers.Bytes()
	}
	return n
}

// room reports, as an error in words, why so much more of an answer cannot be kept.
func (a *asking) room(more int) error {
	n := more
	for i := range a.answers {
		n += len(a.answers[i].body)
	}
	if n > wire.MaxAnswer {
		return fmt.Errorf("an answer may have %d bytes", wire.MaxAnswer)
	}
	return a.charge.User().Room(account.Buffers, more)
}

// of is the response of a responder that has not answered yet, and its number.
func (a *asking) of(from *session.Session) (r *response, n int) {
	for i := range a.answers {
		if r := &a.answers[i]; r.from == from && !r.over {
			return r, i + 1
		}
	}
	if a.answers == nil {
		a.answers = a.first[:0]
	}
	a.answers = append(a.answers, response{from: from})
	return &a.answers[len(a.answers)-1], len(a.answers)
}

// add adds what has come of an answer. Of an error only that is told.
func (a *asking) add(from *session.Session, p piece) {
	if p.failed {
		a.failed(from, wire.CodeRemote, oneLine(p.payload))
		return
	}
	r, n := a.of(from)
	r.over = !p.more
	if a.parts {
		a.service.tellPart(a, n, a.shaped(&response{from: from, body: p.payload, headers: p.headers}), p.more)
		return
	}
	if !a.several && !p.more && len(r.body)+len(r.headers) == 0 && !a.Lasts() {
		r.body, r.headers = p.payload, p.headers // the asker is told before the call is over
		return
	}
	r.body = append(r.body, p.payload...)
	r.headers.Merge(p.headers) // there is room: see busReply
	a.bytes.Set(a.kept())
}

// failed notes why a responder gives no answer.
func (a *asking) failed(from *session.Session, code wire.Code, why string) {
	r, n := a.of(from)
	r.body, r.headers, r.code, r.over = []byte(why), nil, code, true
	a.bytes.Set(a.kept())
	if a.parts {
		a.service.tellPart(a, n, a.shaped(r), false)
	}
}

// all is the outcome of a request for several answers: what has come of them. Who was answering when there was enough is left out.
func (a *asking) all() (all answers) {
	for i := range a.answers {
		if a.answers[i].over {
			all = append(all, a.shaped(&a.answers[i]))
		}
	}
	return all
}

// last is the last that has come, as an outcome: the answer, or why there is none.
func (a *asking) last() told {
	last := len(a.answers) - 1
	for !a.answers[last].over {
		last--
	}
	return a.shaped(&a.answers[last])
}

// complete is how many answers there are.
func (a *asking) complete() (n int) {
	for i := range a.answers {
		if a.answers[i].over && a.answers[i].code == "" {
			n++
		}
	}
	return n
}

// shaped is a response as the asker wants it.
func (a *asking) shaped(r *response) told {
	o := told{code: r.code, payload: r.body}
	if a.envelope && r.code == "" {
		who := &r.from.Peer
		o.envelope, o.headers, o.pid, o.uid, o.unit = true, r.headers, who.PID, who.UID, who.Unit
	}
	return o
}

// answers are the outcome of a request for several answers.
type answers []told

// Append makes them an outcome.
func (all answers) Append(b []byte, p wire.Proto) []byte {
	b = wire.AppendArray(b, len(all))
	for _, o := range all {
		b = o.Append(b, p)
	}
	return b
}

// told is one response as an outcome, which keeps nothing of the responder.
type told struct {
	code     wire.Code // of an error; "": it is an answer
	payload  []byte    // or what the error says
	envelope bool      // with what follows
	headers  session.Headers
	pid      int
	uid      uint32
	unit     string
}

// Append makes it an outcome.
func (o told) Append(b []byte, p wire.Proto) []byte {
	switch {
	case o.code != "":
		return wire.AppendError(b, o.code, string(o.payload))
	case !o.envelope:
		return wire.AppendBulk(b, o.payload)
	}
	b = p.AppendMap(b, 5)
	b = wire.AppendBulk(b, "payload")
	b = wire.AppendBulk(b, o.payload)
	b = wire.AppendBulk(b, "headers")
	b = o.headers.Append(b, p)
	b = wire.AppendBulk(b, "pid")
	b = wire.AppendInt(b, int64(o.pid))
	b = wire.AppendBulk(b, "uid")
	b = wire.AppendInt(b, int64(o.uid))
	b = wire.AppendBulk(b, "unit")
	return wire.AppendBulk(b, o.unit)
}

// A failure is an error as an outcome.
type failure struct {
	code wire.Code
	text string
}

// Append makes it an outcome.
func (f failure) Append(b []byte, _ wire.Proto) []byte { return wire.AppendError(b, f.code, f.text) }

// waits has a responder be one of those who are told when the asker has read what it was sent.
func (a *asking) waits(from *session.Session) {
	if !slices.Contains(a.behind, from) {
		a.behind = append(a.behind, from)
	}
}

// forget forgets a responder in whose place another is asked. As it had not begun to answer, there is nothing else of it: however often
// another is asked, no more is known of responders than were asked at first.
func (a *asking) forget(who *session.Session) {
	a.behind = slices.DeleteFunc(a.behind, func(from *session.Session) bool { return from == who })
}
