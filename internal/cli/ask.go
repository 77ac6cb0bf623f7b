package cli

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

type askVerb struct {
	timeout    verb.Span
	wait       bool
	repeatable bool
	replies    string
	headers    []string
	options    []string // of BUS.REQ, for these
}

// ask is the verb request: a request is what is sent for a lock, here.
func ask() *verb.Verb {
	var a askVerb
	return &verb.Verb{
		Name:     "request",
		Group:    "Messages",
		Summary:  "Ask who serves a topic, and print the answer",
		Synopsis: []string{"[-w D] [-W] [-R] [-n N|all] [-H NAME=VALUE]… TOPIC [PAYLOAD|-]"},
		About: []string{
			"Sends PAYLOAD to one of those who `serve` TOPIC, and prints the answer, byte for byte, as it comes. PAYLOAD may be any bytes; `-` " +
				"takes them from standard input. If nobody serves TOPIC the status is 67, at once, unless `-W` says to wait for somebody.",
			"If who was asked fails, or is gone before it has answered, the status is 84, whatever of an answer was printed. Whether it has done " +
				"something by then is not known; with `-R`, which says that this does no harm, another who serves the same is asked if it is gone, " +
				"and the next daemon if this one ends, unless a part of the answer has come. If ipcctl ends first, the responder is told, and its " +
				"command is killed.",
			"With `-n`, all who serve TOPIC are asked, of a group one, and each answer is printed when it is there, with a line break behind it " +
				"if it does not end with one. It ends when there are N, or all have answered, or the time of `-w` is over; fewer than N are a " +
				"failure with 83. What some of them say that fail goes to standard error.",
			"With `--json`, an answer is an object with payload, or payload64, in base64, if it is not UTF-8, the pid, uid and unit of who has " +
				"answered, and the answer's headers, if it has any; or with error and code. With this and with `-n`, the answers that go on may have " +
				"8 MiB together, with their headers.",
		},
		Options: []verb.Option{
			verb.Duration('w', "timeout", &a.timeout, "Fail with 124 if there is no answer after this time"),
			verb.Flag('W', "wait", &a.wait, "Wait for somebody to serve TOPIC, rather than fail with 67"),
			verb.Flag('R', "repeatable", &a.repeatable, "If who was asked goes without an answer, ask another"),
			verb.List('H', "header", "NAME=VALUE", &a.headers, "Tell the responder this, too, as content-type=text/plain; once for each header"),
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
	return append(append(words, a.options...), "ENVELOPE", "ASYNC", "PARTS")
}

func (a *askVerb) run(c *verb.Call) error {
	topic, payload := c.Words[0], ""
	var err error
	if a.options, err = headerWords(a.headers); err != nil {
		return err
	}
	if len(c.Words) == 2 {
		payload = c.Words[1]
	}
	if payload == "-" {
		announce(c, "what you type is the request")
		if payload, err = readAll(os.Stdin, "standard input"); err != nil {
			return err
		}
	}
	p := &answerPrinter{call: c, asking: "ask for " + printable.Name(topic), several: a.replies != ""}
	err = a.ask(c, topic, payload, p)
	p.end()
	switch {
	case a.replies != "" && (err == nil || p.failed != nil && (errors.Is(err, ipc.ErrRemote) || errors.Is(err, ipc.ErrBusy))):
		if want, unbound := strconv.Atoi(a.replies); unbound == nil && p.answers < want {
			return exit.Fail(exit.Short, "cannot "+p.asking+" "+term.Plural(int64(want), "responder")+": "+strconv.Itoa(p.answers)+" answered")
		}
		if err != nil {
			return p.failed
		}
		return nil
	case err != nil:
		f := refusal(p.asking, err)
		if f.Exit == exit.Timeout && a.timeout.Set {
			f = a.timeout.TimedOut(p.asking)
		}
		return f
	}
	return nil
}

// ask sends the request, prints what comes of answers and returns at the outcome. When the daemon ends meanwhile, the next one is asked,
// if that does no harm.
func (a *askVerb) ask(c *verb.Call, topic, payload string, p *answerPrinter) error {
	conn, err := c.Dial3()
	if err != nil {
		return err
	}
	defer func() { conn.Close() }()
	rest, deadline := *a, a.timeout.Deadline()
	err = p.follow(conn, rest.words(topic, payload))
	for outage := (verb.Outage{}); a.repeatable && !p.begun && verb.Stopped(err); {
		next, gone := outage.Redial(c, deadline, err)
		if gone != nil {
			return gone
		}
		conn.Close()
		conn = next
		if a.timeout.Set {
			rest.timeout.D = max(time.Until(deadline), time.Millisecond)
		}
		if _, err = conn.Do("HELLO", "3"); err == nil { // or this is the daemon of before, which is ending
			err = p.follow(conn, rest.words(topic, payload))
		}
	}
	return err
}

// An answerPrinter prints answers as they come.
type answerPrinter struct {
	call    *verb.Call
	asking  string // in words
	several bool

	begun   bool                    // something has come
	answers int                     // that have come
	failed  *exit.Failure           // the first that is an error
	pieces  map[int64]*answerPieces // of answers that go on, if these are printed as a whole
	kept    int                     // bytes of them, with their headers
	line    string                  // that goes on, on a terminal
}

// answerPieces are an answer as far as it has come.
type answerPieces struct {
	payload []byte
	headers map[string]string // if they are printed
	kept    int
}

// sizeOfHeader is what a header takes beside its text: rather more than less.
const sizeOfHeader = 128

// follow sends a request and prints what comes, until the outcome.
func (p *answerPrinter) follow(conn *ipc.Conn, words []string) error {
	if _, err := conn.Do(words...); err != nil {
		return err
	}
	var v wire.Value
	for {
		if err := p.call.Out.Flush(); err != nil { // what was printed must not wait for what is to come
			return err
		}
		if err := conn.ReceiveInto(&v); err != nil {
			return err
		}
		switch {
		case v.Kind == wire.KindError:
			return v.Err()
		case v.Kind != wire.KindPush || len(v.Elems) < 3:
		case v.Elems[0].Str == "done":
			return v.Elems[2].Err()
		case v.Elems[0].Str == "bus.part" && len(v.Elems) > 4:
			p.take(v.Elems[2].Int, &v.Elems[3], v.Elems[4].Int == 1)
			if p.kept > wire.MaxAnswer {
				return exit.Fail(exit.Quota, "cannot "+p.asking+": the answers that are not over have more than "+strconv.Itoa(wire.MaxAnswer)+" bytes").
					With("without -n and --json, an answer may have any length")
			}
		}
	}
}

// take prints a part of an answer, or keeps it until the others are there.
func (p *answerPrinter) take(n int64, v *wire.Value, more bool) {
	c := p.call
	if err := v.Err(); err != nil {
		if p.forget(n); p.several {
			p.fails(err)
		}
		return
	}
	p.begun = true
	if !more {
		p.answers++
	}
	payload := v.Get("payload").Str
	if !p.several && !c.JSON {
		p.print(payload)
		return
	}
	is := p.pieces[n]
	if is == nil {
		if p.pieces == nil {
			p.pieces = map[int64]*answerPieces{}
		}
		is = &answerPieces{}
		p.pieces[n] = is
	}
	p.kept -= is.kept
	is.add(payload, v.Get("headers").Elems, c.JSON)
	p.kept += is.kept
	if more {
		return
	}
	p.forget(n)
	switch {
	case c.Quiet:
	case c.JSON:
		var o term.Object
		o.Text("payload", string(is.payload))
		for _, key := range []string{"pid", "uid"} {
			o.Number(key, v.Get(key).Int)
		}
		o.Text("unit", v.Get("unit").Str)
		if len(is.headers) > 0 {
			o.Value("headers", headersOf(is.headers))
		}
		c.Out.Object(&o)
	default:
		p.print(string(is.payload))
		if p.end(); !c.Out.TTY && !strings.HasSuffix(string(is.payload), "\n") {
			c.Out.Text("\n")
		}
	}
}

// add adds a part.
func (is *answerPieces) add(payload string, headers []wire.Value, printed bool) {
	is.payload = append(is.payload, payload...)
	is.kept += len(payload)
	for h := headers; printed && len(h) > 1; h = h[2:] {
		if is.headers == nil {
			is.headers = map[string]string{}
		}
		name, value := h[0].Str, h[1].Str
		old, had := is.headers[name]
		if !had {
			is.kept += sizeOfHeader + len(name)
		}
		is.kept += len(value) - len(old)
		is.headers[name] = value
	}
}

// forget forgets the pieces of an answer that is over.
func (p *answerPrinter) forget(n int64) {
	if is := p.pieces[n]; is != nil {
		p.kept -= is.kept
		delete(p.pieces, n)
	}
}

// fails tells that one of several answers is an error.
func (p *answerPrinter) fails(err error) {
	f := exit.Cannot(p.asking, err)
	if p.failed == nil {
		p.failed = f
	}
	switch c := p.call; {
	case c.JSON:
		var o term.Object
		o.Text("error", f.Text)
		o.Text("code", f.Name)
		c.Out.Object(&o)
	case !c.Quiet:
		c.Say(f.Text)
	}
}

// print prints what has come: byte for byte; on a terminal line by line, of which one that goes on waits for its end.
func (p *answerPrinter) print(payload string) {
	switch c := p.call; {
	case c.Quiet:
	case !c.Out.TTY:
		c.Out.Data(payload)
	default:
		p.line += payload
		for {
			line, rest, whole := strings.Cut(p.line, "\n")
			if !whole {
				break
			}
			c.Out.Clean(line).Text("\n")
			p.line = rest
		}
		if len(p.line) > longestLine {
			c.Out.Clean(p.line)
			p.line = ""
		}
	}
}

// longestLine is how much of a line is waited for.
const longestLine = 64 << 10

// end prints the line that has no end.
func (p *answerPrinter) end() {
	if p.line != "" {
		p.call.Out.Clean(p.line).Text("\n")
		p.line = ""
	}
}
