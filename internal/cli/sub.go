package cli

import (
	"errors"
	"os"
	"time"
)

type subVerb struct {
	count   int
	timeout span
	null    bool
	format  format
	jobs    int
}

func sub() *Verb {
	var s subVerb
	return &Verb{
		Name:     "sub",
		Group:    "Messages",
		Summary:  "Print messages as they come, or run CMD for each",
		Synopsis: []string{"[-n N] [-w D] [-0] [-F FORMAT] [FILTER…]", "[-n N] [-w D] [-j N] [FILTER…] -- CMD [ARG…]"},
		About: []string{
			"A FILTER is a topic, where `+` stands for any one level and `#` at the end for that level and all below: " +
				"`deploy/#`, `host/+/up`. Without FILTER, all messages come but the daemon's own, which are under `ipcd/`.",
			"On a terminal a line tells when, what and from whom. Elsewhere it is topic, tab, payload; the payload is " +
				"printed as it is, so with `-0` records end with a zero byte instead of a line break.",
			"With `--json`, a line is an object of topic, seq, time, pid, uid, unit and payload, or payload64, in base64, if the " +
				"payload is not UTF-8. When messages were lost because they came faster than they were taken, an object with " +
				"lost, their number, and filter is printed in their place; without `--json`, a line on standard error.",
			"With CMD, nothing is printed: CMD runs once for each message, the payload on its standard input. One CMD " +
				"runs at a time unless `-j` allows more; meanwhile messages wait in the daemon. A CMD that fails stops nothing; " +
				"in the end, its status is ipcctl's. A signal to ipcctl does not end a CMD that is running.",
		},
		Options: []Option{
			number('n', "count", "N", &s.count, 1, many, "End after N messages"),
			duration('w', "timeout", &s.timeout, "Fail with 124 after this time"),
			flag('0', "null", &s.null, "End each record with a zero byte"),
			{Short: 'F', Long: "format", Value: "FORMAT", set: s.setFormat,
				Help: "Print this for each message: %t topic, %p payload, %s number, %u uid, %P pid, %U unit, %% a percent sign; " +
					"a line break, or the zero byte of `-0`, ends it"},
			number('j', "jobs", "N", &s.jobs, 1, 1024, "Run up to N CMDs at a time instead of one"),
		},
		Env: messageEnv,
		Examples: []Example{
			{"ipcctl sub deploy/#", "Watch."},
			{"ipcctl sub -n 1 -w 30s -F %p app/port", "Take one message's payload."},
			{"ipcctl sub deploy/done -- systemctl reload nginx", "Act on each message."},
			{"ipcctl sub ipcd/lock/#", "See who takes which lock."},
		},
		Exits:   []int{exitData, exitTimeout, exitNoExec, exitNoCmd},
		words:   []string{"FILTER"},
		most:    many,
		grammar: wordsCommand,
		run:     s.run,
	}
}

func (s *subVerb) setFormat(text string) (err error) {
	s.format.parts, err = parseFormat(text)
	return err
}

// check refuses options that would have no effect.
func (s *subVerb) check(c *call) error {
	wrong := func(option, why string) error { return unparsed(option, why).with(c.verb.usage()) }
	switch formatted := s.format.parts != nil; {
	case s.jobs > 0 && c.command == nil:
		return unparsed("-j", "there is no CMD to run").with("ipcctl sub " + c.verb.Synopsis[1])
	case s.null && c.command != nil:
		return wrong("-0", "with CMD, nothing is printed")
	case formatted && c.command != nil:
		return wrong("-F", "with CMD, nothing is printed")
	case formatted && c.json:
		return wrong("-F", "--json is a format of its own")
	case s.null && c.json:
		return wrong("-0", "with --json, a line is an object")
	}
	return nil
}

func (s *subVerb) run(c *call) error {
	if err := s.check(c); err != nil {
		return err
	}
	filters := c.words
	if len(filters) == 0 {
		filters = []string{"#"}
	}
	s.format.json, s.format.end = c.json, "\n"
	if s.null {
		s.format.end = "\x00"
	}
	var r *runner
	if c.command != nil {
		var err error
		if r, err = newRunner(c.command, max(s.jobs, 1)); err != nil {
			return err
		}
	}
	deadline := s.timeout.deadline()
	in, err := c.receive(filters)
	if err != nil {
		return err
	}
	err = s.messages(c, in, r, deadline)
	if r != nil {
		if e := r.wait(); err == nil {
			err = e
		}
	}
	return err
}

func (s *subVerb) messages(c *call, in *receiver, r *runner, deadline time.Time) error {
	for n := 0; s.count == 0 || n < s.count; n++ {
		if r != nil {
			r.slot() // what cannot run yet waits in the daemon
		}
		m, err := in.next(deadline)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			what := "receive messages"
			if s.count > 0 {
				what = "receive " + plural(int64(s.count), "message")
			}
			return s.timeout.timedOut(what)
		}
		if err != nil {
			return err
		}
		if r == nil {
			s.format.print(c.out, &m)
		} else if err := r.start(m.payload, m.environment()); err != nil {
			return err
		}
	}
	return nil
}
