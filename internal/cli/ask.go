package cli

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc/wire"
)

type askVerb struct {
	timeout    verb.Span
	wait       bool
	repeatable bool
	replies    string
}

// ask is the verb request: a request is what is sent for a lock, here.
func ask() *verb.Verb {
	var a askVerb
	return &verb.Verb{
		Name:     "request",
		Group:    "Messages",
		Summary:  "Ask who serves a topic, and print the answer",
		Synopsis: []string{"[-w D] [-W] [-R] [-n N|all] TOPIC [PAYLOAD|-]"},
		About: []string{
			"Sends PAYLOAD to one of those who `serve` TOPIC, and prints the answer, byte for byte. PAYLOAD may be any bytes; `-` takes them " +
				"from standard input. If nobody serves TOPIC the status is 67, at once, unless `-W` says to wait for somebody.",
			"If who was asked fails, or is gone before it has answered, the status is 84. Whether it has done something by then is not known; " +
				"with `-R`, which says that this does no harm, another who serves the same is asked if it is gone, and the next daemon if this one ends. " +
				"If ipcctl ends first, the responder is told, and its command is killed.",
			"With `-n`, all who serve TOPIC are asked, of a group one, and each answer is printed, with a line break behind it if it does not " +
				"end with one. It ends when there are N, or all have answered, or the time of `-w` is over; fewer than N are a failure with 83. " +
				"What some of them say that fail goes to standard error.",
			"With `--json`, an answer is an object with payload, or payload64, in base64, if it is not UTF-8; or with error and code.",
		},
		Options: []verb.Option{
			verb.Duration('w', "timeout", &a.timeout, "Fail with 124 if there is no answer after this time"),
			verb.Flag('W', "wait", &a.wait, "Wait for somebody to serve TOPIC, rather than fail with 67"),
			verb.Flag('R', "repeatable", &a.repeatable, "If who was asked goes without an answer, ask another"),
			{Short: 'n', Long: "replies", Value: "N", Help: "Print N answers, or `all`, of all who serve TOPIC", Set: a.setReplies},
		},
		Examples: []verb.Example{
			{Line: "ipcctl request -W -w 5s sum '2 3'", Help: "Ask for a sum, and wait for somebody who can tell."},
			{Line: "ipcctl request -w 1s -n all health", Help: "Ask everybody how they are."},
		},
		Exits: []int{exit.Data, exit.NoResponders, exit.Busy, exit.Short, exit.Remote, exit.Timeout},
		Words: []string{"TOPIC", "PAYLOAD"},
		Least: 1,
		Most:  2,
		Run:   a.run,
	}
}

func (a *askVerb) setReplies(value string) error {
	if n, err := strconv.Atoi(value); value != "all" && (err != nil || n < 1 || n > 256) {
		return verb.Expectation{What: "a number from 1 to 256, or all"}
	}
	a.replies = value
	return nil
}

// forever is the longest wait that can be asked for, in milliseconds: a hundred years.
const forever = 100 * 365 * 24 * 3600 * 1000

func (a *askVerb) words(topic, payload string) []string {
	words := []string{"BUS.REQ", topic, payload}
	if a.timeout.Set {
		words = append(words, "TIMEOUT", strconv.FormatInt(max(a.timeout.D.Milliseconds(), 1), 10))
	}
	if a.wait {
		words = append(words, "WAIT", strconv.Itoa(forever))
	}
	if a.replies != "" {
		words = append(words, "REPLIES", a.replies)
	}
	if a.repeatable {
		words = append(words, "REPEATABLE")
	}
	return words
}

func (a *askVerb) run(c *verb.Call) error {
	topic, payload := c.Words[0], ""
	if len(c.Words) == 2 {
		payload = c.Words[1]
	}
	if payload == "-" {
		announce(c, "what you type is the request")
		var err error
		if payload, err = readAll(os.Stdin, "standard input"); err != nil {
			return err
		}
	}
	asking := "ask for " + printable.Name(topic)
	v, err := a.ask(c, topic, payload)
	if err != nil {
		f := refusal(asking, err)
		if f.Exit == exit.Timeout && a.timeout.Set {
			f = a.timeout.TimedOut(asking)
		}
		return f
	}
	if a.replies != "" {
		return a.printAll(c, asking, v.Elems)
	}
	printAnswer(c, v.Str, false)
	return nil
}

// ask sends the request and waits for the outcome. When the daemon ends meanwhile, the next one is asked, if that does no harm.
func (a *askVerb) ask(c *verb.Call, topic, payload string) (wire.Value, error) {
	conn, err := c.Dial3()
	if err != nil {
		return wire.Value{}, err
	}
	defer func() { conn.Close() }()
	rest, deadline := *a, a.timeout.Deadline()
	v, err := conn.Do(rest.words(topic, payload)...)
	for outage := (verb.Outage{}); a.repeatable && verb.Stopped(err); {
		next, gone := outage.Redial(c, deadline, err)
		if gone != nil {
			return v, gone
		}
		conn.Close()
		conn = next
		if a.timeout.Set {
			rest.timeout.D = max(time.Until(deadline), time.Millisecond)
		}
		if _, err = conn.Do("HELLO", "3"); err == nil { // or this is the daemon of before, which is ending
			v, err = conn.Do(rest.words(topic, payload)...)
		}
	}
	return v, err
}

// printAnswer prints an answer: byte for byte, and if it is one of several as lines; on a terminal always.
func printAnswer(c *verb.Call, answer string, several bool) {
	switch {
	case c.Quiet:
	case c.JSON:
		var o term.Object
		o.Text("payload", answer)
		c.Out.Object(&o)
	case c.Out.TTY:
		for line := range strings.Lines(answer) {
			c.Out.Clean(strings.TrimSuffix(line, "\n")).Text("\n")
		}
	default:
		c.Out.Data(answer)
		if several && !strings.HasSuffix(answer, "\n") {
			c.Out.Text("\n")
		}
	}
}

// printAll prints several answers.
func (a *askVerb) printAll(c *verb.Call, asking string, answers []wire.Value) error {
	n := 0
	var failed *exit.Failure
	for i := range answers {
		err := answers[i].Err()
		if err == nil {
			n++
			printAnswer(c, answers[i].Str, true)
			continue
		}
		f := exit.Cannot(asking, err)
		if failed == nil {
			failed = f
		}
		if c.JSON {
			var o term.Object
			o.Text("error", f.Text)
			o.Text("code", f.Name)
			c.Out.Object(&o)
		} else if !c.Quiet {
			c.Say(f.Text)
		}
	}
	if want, err := strconv.Atoi(a.replies); err == nil && n < want {
		return exit.Fail(exit.Short, "cannot "+asking+" "+term.Plural(int64(want), "responder")+": "+strconv.Itoa(n)+" answered")
	}
	if n == 0 && failed != nil {
		return failed
	}
	return nil
}
