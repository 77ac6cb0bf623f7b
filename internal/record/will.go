package record

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/lockmgr"
)

// A Will is a message that is to be published when a process has ended, or one of its connections.
type Will struct {
	Topic   string
	Payload string
	Then    Then
	Lasts   time.Duration // when it is published; 0: for ever

	// Whose it is, and who publishes it.
	Process lockmgr.Process
	Conn    uint64 // the number of the connection; 0: it is the process
	UID     uint32
	Unit    string

	Headers []string // names and values in turn
}

// Then is what a will makes of the value of its topic.
type Then uint8

// What it may make of it.
const (
	TellOnly   Then = iota // nothing
	ThenRetain             // it is the value from then on
	ThenClear              // there is none any more, if it was the process's
)

var thens = []string{TellOnly: "tell", ThenRetain: "retain", ThenClear: "clear"}

// String is the word of BUS.WILL for it.
func (t Then) String() string { return strings.ToUpper(thens[t]) }

func (w *Will) subject() Subject {
	return Subject{Kind: KindWill, Topic: w.Topic, Owner: lockmgr.Owner{Process: w.Process, Label: strconv.FormatUint(w.Conn, 10)}}
}
func (w *Will) append(b []byte) []byte { return appendFields(b, willFields, w) }
func (w *Will) join(s *State)          { s.Wills = append(s.Wills, w) }

var willFields = []field[Will]{
	text("topic", func(w *Will) *string { return &w.Topic }),
	word("then", thens, func(w *Will) *Then { return &w.Then }),
	number("lasts", func(w *Will) *time.Duration { return &w.Lasts }),
	number("pid", func(w *Will) *int { return &w.Process.PID }),
	number("start", func(w *Will) *uint64 { return &w.Process.Start }),
	number("connection", func(w *Will) *uint64 { return &w.Conn }),
	number("uid", func(w *Will) *uint32 { return &w.UID }),
	text("unit", func(w *Will) *string { return &w.Unit }),
	texts("headers", func(w *Will) *[]string { return &w.Headers }),
	data("payload", func(w *Will) *string { return &w.Payload }),
}

func (w *Will) check() error {
	switch {
	case w.Process.Start == 0 || w.Process.PID < 0 || w.Process.PID == 0 && w.Conn == 0:
		return fmt.Errorf("no process %d has it", w.Process.PID)
	case len(w.Headers)%2 != 0:
		return errors.New("a header has no value")
	case w.Lasts < 0:
		return errors.New("it is over before it is published")
	}
	return bus.CheckTopic(w.Topic)
}

// A WillError says why the record of a will cannot be true.
type WillError struct{ err error }

func (e *WillError) Error() string { return e.err.Error() }

// Unwrap is the reason.
func (e *WillError) Unwrap() error { return e.err }
