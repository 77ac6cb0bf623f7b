package cli

import (
	"strconv"
	"time"
)

// An Option is one that a verb understands.
type Option struct {
	Short byte   // 0: none
	Long  string // "": none
	Value string // what the value is called; "": the option takes none
	Help  string // no full stop

	also []string           // other long names, for scripts that come from flock(1)
	set  func(string) error // gets "" if the option takes no value; fails with an expectation
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

// or gives the option other names.
func (o Option) or(long ...string) Option {
	o.also = long
	return o
}

// An expectation is why a value is refused: it is not what, of which some are like examples.
type expectation struct{ what, examples string }

func (e expectation) Error() string { return "expected " + e.what }

func flag(short byte, long string, to *bool, help string) Option {
	return pick(short, long, to, true, help)
}

// pick is a flag out of several that exclude each other: the last one counts.
func pick[T any](short byte, long string, to *T, value T, help string) Option {
	return Option{Short: short, Long: long, Help: help, set: func(string) error {
		*to = value
		return nil
	}}
}

// accepted is a flag that is understood and changes nothing.
func accepted(short byte, long, help string) Option {
	return Option{Short: short, Long: long, Help: help, set: func(string) error { return nil }}
}

func text(short byte, long, value string, to *string, help string) Option {
	return Option{Short: short, Long: long, Value: value, Help: help, set: func(s string) error {
		*to = s
		return nil
	}}
}

// list is an option that may be given several times.
func list(short byte, long, value string, to *[]string, help string) Option {
	return Option{Short: short, Long: long, Value: value, Help: help, set: func(s string) error {
		*to = append(*to, s)
		return nil
	}}
}

func number(short byte, long, value string, to *int, least, most int, help string) Option {
	return Option{Short: short, Long: long, Value: value, Help: help, set: func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			what := "a number from " + strconv.Itoa(least)
			if most != many {
				what += " to " + strconv.Itoa(most)
			}
			return expectation{what: what}
		}
		*to = n
		return nil
	}}
}

// A span is a duration that may be absent.
type span struct {
	set bool
	d   time.Duration
}

func duration(short byte, long string, to *span, help string) Option {
	return Option{Short: short, Long: long, Value: "D", Help: help, set: func(s string) error {
		d, ok := parseDuration(s)
		if !ok {
			return expectation{"a duration", "300ms, 5 or 0.5 (seconds), 2m, 1h30m"}
		}
		*to = span{true, d}
		return nil
	}}
}
