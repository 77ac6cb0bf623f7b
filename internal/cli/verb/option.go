package verb

import (
	"strconv"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/timespan"
)

// An Option is one that a verb understands.
type Option struct {
	Short byte   // 0: none
	Long  string // "": none
	Value string // what the value is called; "": the option takes none
	Help  string // no full stop

	Also []string           // other long names, for scripts that come from flock(1)
	Set  func(string) error // gets "" if the option takes no value; fails with an expectation
}

// Names gives the option as it is typed: "-w, --timeout=D".
func (o *Option) Names() string {
	switch {
	case o.Short == 0:
		return "--" + o.Long + o.value("=")
	case o.Long == "":
		return "-" + string(o.Short) + o.value(" ")
	}
	return "-" + string(o.Short) + ", --" + o.Long + o.value("=")
}

func (o *Option) value(before string) string {
	if o.Value == "" {
		return ""
	}
	return before + o.Value
}

// typed is the option with its value as one word.
func (o *Option) typed(value string) string {
	switch {
	case o.Long == "":
		return "-" + string(o.Short) + value
	case o.Value == "":
		return "--" + o.Long
	}
	return "--" + o.Long + "=" + value
}

// Or gives the option other names.
func (o Option) Or(long ...string) Option {
	o.Also = long
	return o
}

// An Expectation is why a value is refused: it is not what, of which some are like examples.
type Expectation struct{ What, Examples string }

func (e Expectation) Error() string { return "expected " + e.What }

// Flag is an option without a value.
func Flag(short byte, long string, to *bool, help string) Option {
	return Pick(short, long, to, true, help)
}

// Pick is a flag out of several that exclude each other: the last one counts.
func Pick[T any](short byte, long string, to *T, value T, help string) Option {
	return Option{Short: short, Long: long, Help: help, Set: func(string) error {
		*to = value
		return nil
	}}
}

// Accepted is a flag that is understood and changes nothing.
func Accepted(short byte, long, help string) Option {
	return Option{Short: short, Long: long, Help: help, Set: func(string) error { return nil }}
}

// Text is an option whose value is any text.
func Text(short byte, long, value string, to *string, help string) Option {
	return Option{Short: short, Long: long, Value: value, Help: help, Set: func(s string) error {
		*to = s
		return nil
	}}
}

// List is an option that may be given several times.
func List(short byte, long, value string, to *[]string, help string) Option {
	return Option{Short: short, Long: long, Value: value, Help: help, Set: func(s string) error {
		*to = append(*to, s)
		return nil
	}}
}

// Number is an option whose value is a number from least to most; with Many, there is no bound.
func Number(short byte, long, value string, to *int, least, most int, help string) Option {
	return Option{Short: short, Long: long, Value: value, Help: help, Set: func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			what := "a number from " + strconv.Itoa(least)
			if most != Many {
				what += " to " + strconv.Itoa(most)
			}
			return Expectation{What: what}
		}
		*to = n
		return nil
	}}
}

// A Span is a duration that may be absent.
type Span struct {
	Set bool
	D   time.Duration
}

// Duration is an option whose value is a time.
func Duration(short byte, long string, to *Span, help string) Option {
	return Option{Short: short, Long: long, Value: "D", Help: help, Set: func(s string) error {
		d, ok := timespan.Parse(s, time.Second)
		if !ok {
			return Expectation{"a duration", "300ms, 5 or 0.5 (seconds), 5min, 2h30m, 1d"}
		}
		*to = Span{true, d}
		return nil
	}}
}

// Deadline is when the time that a -w gives is over; zero if there is none.
func (s Span) Deadline() time.Time {
	if !s.Set {
		return time.Time{}
	}
	return time.Now().Add(s.D)
}

// TimedOut is the failure of a -w.
func (s Span) TimedOut(what string) *exit.Failure {
	return exit.Fail(exit.Timeout, "cannot "+what+": timed out after "+term.Spoken(s.D))
}
