package record

import (
	"errors"
	"time"

	"github.com/ipcd/ipcd/bus"
)

// A Retained is the value that a topic has: the last message that was published there to be kept.
type Retained struct {
	Topic   string
	Payload string
	Seq     uint64        // the message's number
	Time    int64         // when it was published, in microseconds since 1970
	Expires time.Duration // CLOCK_BOOTTIME; 0: it does not

	// Who published it.
	PID   int
	Start uint64 // of the process; 0: not known
	UID   uint32
	Unit  string
	Ended string // how it had ended, if this was its will

	Headers []string // names and values in turn
}

func (v *Retained) subject() Subject       { return Subject{Kind: KindRetained, Topic: v.Topic} }
func (v *Retained) append(b []byte) []byte { return appendFields(b, retainedFields, v) }
func (v *Retained) join(s *State)          { s.Retained = append(s.Retained, v) }

var retainedFields = []field[Retained]{
	text("topic", func(v *Retained) *string { return &v.Topic }),
	number("seq", func(v *Retained) *uint64 { return &v.Seq }),
	number("time-real", func(v *Retained) *int64 { return &v.Time }),
	number("expires", func(v *Retained) *time.Duration { return &v.Expires }),
	number("pid", func(v *Retained) *int { return &v.PID }),
	number("start", func(v *Retained) *uint64 { return &v.Start }),
	number("uid", func(v *Retained) *uint32 { return &v.UID }),
	text("unit", func(v *Retained) *string { return &v.Unit }),
	text("ended", func(v *Retained) *string { return &v.Ended }),
	texts("headers", func(v *Retained) *[]string { return &v.Headers }),
	data("payload", func(v *Retained) *string { return &v.Payload }),
}

func (v *Retained) check() error {
	if v.Seq == 0 {
		return errors.New("the value has no number")
	}
	if len(v.Headers)%2 != 0 {
		return errors.New("a header has no value")
	}
	return bus.CheckTopic(v.Topic)
}

// A RetainedError says why the record of a retained value cannot be true.
type RetainedError struct{ err error }

func (e *RetainedError) Error() string { return e.err.Error() }

// Unwrap is the reason.
func (e *RetainedError) Unwrap() error { return e.err }
