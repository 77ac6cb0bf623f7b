package cli

import (
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
)

type subVerb struct {
	count   int
	timeout verb.Span
	null    bool
	format  format
	jobs    int
	group   string
	had     int // so many messages
	slow    string
	queue   int
	bytes   int
}

func sub() *verb.Verb {
	var s subVerb
	return &verb.Verb{
		Name:     "sub",
		Group:    "Messages",
		Summary:  "Print messages as they come, or run CMD for each",
		Synopsis: []string{"[-n N] [-w D] [-g G] [-0] [-F FORMAT] [FILTER…]", "[-n N] [-w D] [-g G] [-j N] [FILTER…] -- CMD [ARG…]"},
		About: []string{
			"A FILTER is a topic in which `+` stands for any one level, and `#` at the end for that level and all below: " +
				"`deploy/#`, `host/+/up`. Without FILTER, all messages are received except the daemon's own, which are under `ipcd/`.",
			"On a terminal, a line shows the time, the topic, the payload and the sender. Elsewhere it is the topic, a tab and " +
				"the payload as it is, which may contain line breaks: with `-0`, records end with a zero byte instead.",
			"With `--json`, a line is an object of topic, seq, count, time, pid, uid, unit and payload, or payload64, in base64, if the " +
				"payload is not UTF-8; and, where there is any, group, retained, expires, ended, headers (an object), file and size. The count is the message's number among those of the FILTER by which it came first: with one FILTER, " +
				"it rises by one with each message, and by as many more as were lost before it. Messages that come faster than they are taken are lost in the end: an object with filter and " +
				"lost, their number, is printed in their place, or without `--json` a line on standard error.",
			"`--slow` says what becomes of messages that wait in the daemon because they are not taken: of those that are too many the oldest " +
				"are dropped (`drop`); of each topic only the last waits (`conflate`), and `--json` tells with conflated, and `-v` in words, " +
				"how many that left out; or it is the end, with 79, rather than that one is missing (`disconnect`). How many are too many, " +
				"the daemon's limits say, and `--queue` and `--queue-bytes`.",
			"When the daemon ends, ipcctl subscribes to the next one, which it waits for: see `--wait-daemon`. What was " +
				"published meanwhile is missing, and nobody knows how much that is: lost is null then.",
			"What was published before with `pub --retain` comes first: the last value of each topic. With `--json` they " +
				"have the field `retained`, true. After a restart of the daemon the values come again.",
			"The last word of a process, as of `pub --hold`, is published by the daemon when that has ended. The field `ended` says how: " +
				"`exited 3`, `killed 9`, or `disconnected`.",
			"With `-g`, all who have the same FILTER in the same group share its messages: each goes to one of them, in turn, of those who " +
				"take them; retained values to none. With CMD it goes to one whose CMD is not busy with another, and with `-n` no more than " +
				"N messages are taken from the others. What a member is not sent any more, as it ends, goes to the others; what it was sent, and " +
				"has not dealt with, is lost if it is killed.",
			"With CMD, nothing is printed: CMD runs once for each message, with the payload on its standard input. One CMD runs " +
				"at a time, unless `-j` allows more; they start in the order of the messages, which meanwhile wait in the daemon, " +
				"as many as it keeps: what was lost is told. If a CMD fails, ipcctl goes on, and ends " +
				"with that status in the end. A signal to ipcctl, as by Ctrl-C, is passed on to each CMD that runs; no other one is started, and ipcctl " +
				"ends when all have ended.",
		},
		Options: []verb.Option{
			verb.Number('n', "count", "N", &s.count, 1, verb.Many, "End after N messages"),
			verb.Duration('w', "timeout", &s.timeout, "Fail with 124 after this time"),
			verb.Flag('0', "null", &s.null, "End each record with a zero byte"),
			{Short: 'F', Long: "format", Value: "FORMAT", Set: s.format.parse, Help: "Print this for each message: " + fieldsHelp() +
				", and the escapes " + escapesHelp + "; a line break, or the zero byte of -0, ends it, and after \\c nothing does"},
			verb.Text('g', "group", "G", &s.group, "Share the messages with others who have FILTER in this group"),
			{Long: "slow", Value: "drop|conflate|disconnect", Set: s.setSlow, Help: "What becomes of messages that wait and are too many"},
			verb.Number(0, "queue", "N", &s.queue, 1, verb.Many, "At most N messages wait"),
			verb.Number(0, "queue-bytes", "N", &s.bytes, 1, verb.Many, "At most N bytes of messages, as they are sent, wait"),
			verb.Number('j', "jobs", "N", &s.jobs, 1, 1024, "Run up to N CMDs at a time instead of one"),
		},
		Env: messageEnv,
		Examples: []verb.Example{
			{Line: "ipcctl sub deploy/#", Help: "Watch all that happens under deploy."},
			{Line: "ipcctl sub -n 1 -w 30s -F %p app/port", Help: "Print one message's payload."},
			{Line: "ipcctl sub deploy/done -- systemctl reload nginx", Help: "Act on each message."},
			{Line: "ipcctl sub -g resizers images/new -- ./resize", Help: "Be one of several who do the work."},
			{Line: "ipcctl sub --slow=conflate 'sensor/+' -- ./plot", Help: "Act on the newest of each, however long that takes."},
			{Line: "ipcctl sub ipcd/lock/#", Help: "Watch the locks."},
			{Line: "ipcctl sub ipcd/client/#", Help: "Watch who comes, goes and misses messages."},
		},
		Exits:   []int{exit.Data, exit.Quota, exit.Timeout, exit.NoExec, exit.NoCmd},
		Words:   []string{"FILTER"},
		Most:    verb.Many,
		Grammar: verb.WordsCommand,
		Run:     s.run,
	}
}

// setSlow takes the value of --slow.
func (s *subVerb) setSlow(value string) error {
	switch value {
	case "drop", "conflate", "disconnect":
		s.slow = value
		return nil
	}
	return verb.Expectation{What: "drop, conflate or disconnect"}
}

// words are those of BUS.SUB behind the filter.
func (s *subVerb) words() (words []string) {
	if s.group == "" { // a member is given none
		words = append(words, takeFiles)
	}
	if s.slow != "" {
		words = append(words, "SLOW", s.slow)
	}
	if s.queue > 0 {
		words = append(words, "QUEUE", strconv.Itoa(s.queue))
	}
	if s.bytes > 0 {
		words = append(words, "BYTES", strconv.Itoa(s.bytes))
	}
	return words
}

// check refuses options that would have no effect.
func (s *subVerb) check(c *verb.Call) error {
	wrong := func(option, why string) error { return exit.Unparsed(option, why).With(c.Verb.Usage()) }
	switch formatted := s.format.parts != nil; {
	case s.jobs > 0 && c.Command == nil:
		return exit.Unparsed("-j", "there is no CMD to run").With("ipcctl sub " + c.Verb.Synopsis[1])
	case s.null && c.Command != nil:
		return wrong("-0", "with CMD, nothing is printed")
	case formatted && c.Command != nil:
		return wrong("-F", "with CMD, nothing is printed")
	case formatted && c.JSON:
		return wrong("-F", "--json is a format of its own")
	case s.null && s.format.endOff:
		return wrong("-0", "\\c says that nothing ends a message")
	case s.group != "" && s.count > 0 && len(c.Words) > 1:
		return wrong("-n", "with -g, it is for one FILTER: what comes beyond N would be lost to the group")
	case s.null && c.JSON:
		return wrong("-0", "with --json, a line is an object")
	}
	return nil
}

func (s *subVerb) run(c *verb.Call) error {
	if err := s.check(c); err != nil {
		return err
	}
	filters := c.Words
	if len(filters) == 0 {
		filters = []string{"#"}
	}
	s.format.json, s.format.end = c.JSON, "\n"
	if s.null {
		s.format.end = "\x00"
	}
	var r *process.Runner
	if c.Command != nil {
		_, err := lookPath(c, c.Command[0])
		if err != nil {
			return err
		}
		if r, err = process.NewRunner(c.Command, max(s.jobs, 1)); err != nil {
			return err
		}
	}
	deadline := s.timeout.Deadline()
	in, err := s.receive(c, filters)
	if err != nil {
		return err
	}
	err = s.messages(c, in, r, deadline)
	in.conn.Close() // nothing more is to come while CMDs end
	if r != nil {
		if e := r.Wait(); err == nil {
			err = e
		}
	}
	return err
}

// receive subscribes. A member of a group takes a message when a CMD may run for it, or as many as it is to print.
func (s *subVerb) receive(c *verb.Call, filters []string) (*receiver, error) {
	var takes func() int
	again := s.group != "" && c.Command != nil
	switch {
	case again:
		takes = func() int { return 1 }
	case s.group != "" && s.count > 0:
		takes = func() int { return s.count - s.had }
	}
	return receiveAs(c, filters, s.words(), s.group, takes, again)
}

func (s *subVerb) messages(c *verb.Call, in *receiver, r *process.Runner, deadline time.Time) error {
	for ; s.count == 0 || s.had < s.count; s.had++ {
		m, err := s.next(in, r, deadline)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			what := "receive messages"
			if s.count > 0 {
				what = "receive " + term.Plural(int64(s.count), "message")
			}
			return s.timeout.TimedOut(what)
		}
		if err == nil && r != nil {
			err = r.Start(string(m.Payload), m.File, m.environment())
		} else if err == nil {
			s.format.print(c.Out, &m)
		}
		m.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// next waits for a message. What cannot be run yet waits in the daemon.
func (s *subVerb) next(in *receiver, r *process.Runner, deadline time.Time) (message, error) {
	if r != nil {
		if err := r.Slot(deadline); err != nil {
			return message{}, err
		}
	}
	return in.next(deadline)
}
