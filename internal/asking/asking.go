package asking

import (
	"bytes"
	"fmt"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// An asking is a request that is not over: what it says, where the answer goes, and what there is of that.
type asking struct {
	session.Answer
	asker   *session.Session
	id      bus.RequestID
	topic   string
	payload []byte // good for the call that asks alone, unless it is kept
	keeps   bool
	stamp   []byte
	asked   time.Time
	ends    int64 // the deadline, in microseconds since 1970; 0: there is none
	several bool  // several answers were asked for
	async   bool
	answers []response

	charge, bytes account.Charge
}

// A part is one piece of an answer, which is gone after the call.
type part struct {
	payload []byte
	more    bool
	failed  bool // it says why there is no answer
}

// A response is the answer of one responder, as far as it has come; or why it gave none.
type response struct {
	from *session.Session
	body []byte
	code wire.Code // "": it is no error
	over bool
}

// appendRequest encodes the push by which a responder gets the request.
func (a *asking) appendRequest(b []byte, e *bus.RequestEffect[*session.Session, *asking], p wire.Proto) []byte {
	b = p.AppendPush(b, 10)
	b = wire.AppendBulk(b, "bus.request")
	b = wire.AppendInt(b, int64(e.ID))
	b = wire.AppendBulk(b, e.Service.Filter)
	b = wire.AppendBulk(b, a.topic)
	b = wire.AppendBulk(b, a.payload)
	b = wire.AppendInt(b, a.asked.UnixMicro())
	b = append(b, a.stamp...)
	return wire.AppendInt(b, a.ends)
}

// keep has the payload be there after the call.
func (a *asking) keep() {
	a.payload, a.keeps = bytes.Clone(a.payload), true
	a.bytes.Set(a.kept())
}

// kept is how many bytes are kept of the request and its answers.
func (a *asking) kept() (n int) {
	if a.keeps {
		n = len(a.payload)
	}
	for i := range a.answers {
		n += len(a.answers[i].body)
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

// of is the response of a responder that has not answered yet.
func (a *asking) of(from *session.Session) *response {
	for i := range a.answers {
		if r := &a.answers[i]; r.from == from && !r.over {
			return r
		}
	}
	a.answers = append(a.answers, response{from: from})
	return &a.answers[len(a.answers)-1]
}

// add adds what has come of an answer. Of an error only that is told.
func (a *asking) add(from *session.Session, p part) {
	if p.failed {
		a.failed(from, wire.CodeRemote, oneLine(p.payload))
		return
	}
	r := a.of(from)
	r.body, r.over = append(r.body, p.payload...), !p.more
	a.bytes.Set(a.kept())
}

// failed notes why a responder gives no answer.
func (a *asking) failed(from *session.Session, code wire.Code, why string) {
	r := a.of(from)
	r.body, r.code, r.over = []byte(why), code, true
	a.bytes.Set(a.kept())
}

// outcome is what has come of answers.
func (a *asking) outcome() session.Outcome {
	var all responses
	for _, r := range a.answers {
		if r.over { // who was answering when there was enough is left out
			all = append(all, r)
		}
	}
	if !a.several {
		return all[len(all)-1].outcome()
	}
	return all
}

// responses are the outcome of a request for several answers.
type responses []response

// Append makes them an outcome.
func (all responses) Append(b []byte, p wire.Proto) []byte {
	b = wire.AppendArray(b, len(all))
	for i := range all {
		b = all[i].outcome().Append(b, p)
	}
	return b
}

func (r *response) outcome() session.Outcome {
	if r.code != "" {
		return failure{r.code, string(r.body)}
	}
	return answered(r.body)
}

// answered is one answer.
type answered []byte

// Append makes it an outcome.
func (o answered) Append(b []byte, _ wire.Proto) []byte { return wire.AppendBulk(b, o) }

// A failure is an error as an outcome.
type failure struct {
	code wire.Code
	text string
}

// Append makes it an outcome.
func (f failure) Append(b []byte, _ wire.Proto) []byte { return wire.AppendError(b, f.code, f.text) }
