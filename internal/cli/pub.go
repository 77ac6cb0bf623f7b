package cli

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

type pubVerb struct {
	expect int
	lines  bool
	file   string

	retain  bool
	expires verb.Span
	options []string // of BUS.PUB
}

func pub() *verb.Verb {
	var p pubVerb
	return &verb.Verb{
		Name:    "pub",
		Group:   "Messages",
		Summary: "Publish a message",
		Synopsis: []string{
			"[-r [-t D]] [-e N] TOPIC [PAYLOAD|-]",
			"[-r [-t D]] [-e N] -f FILE TOPIC",
			"[-r [-t D]] [-e N] -l TOPIC",
		},
		About: []string{
			"Sends PAYLOAD to all who receive TOPIC at this moment. PAYLOAD may be any bytes; `-` takes them from standard " +
				"input. Without PAYLOAD the message is empty.",
			"TOPIC is levels with `/` between them: `deploy/web/done`. It is no failure if nobody listens, unless `--expect` " +
				"says so.",
			"With `-r`, PAYLOAD is also the value of TOPIC, until another is published with `-r`, `clear` removes it, or the time of " +
				"`-t` is over. It outlives a restart of the daemon, and not a reboot.",
		},
		Options: []verb.Option{
			verb.Flag('r', "retain", &p.retain, "Have this be the topic's value: who subscribes later is sent it first, and `get` prints it"),
			verb.Duration('t', "expires", &p.expires, "With -r: have the value be gone after this time"),
			verb.Number('e', "expect", "N", &p.expect, 0, verb.Many, "Fail with 83 if fewer than N receivers were given the message"),
			verb.Flag('l', "lines", &p.lines, "Publish each line of standard input as a message, as it comes"),
			verb.Text('f', "file", "FILE", &p.file, "Publish what FILE holds"),
		},
		Examples: []verb.Example{
			{Line: "ipcctl pub deploy/done v1.4.2", Help: "Tell everybody that a deployment is done."},
			{Line: "ipcctl pub -e 1 app/config - <app.toml", Help: "Push a configuration, and fail if nobody was there to take it."},
			{Line: "ipcctl pub -r app/config - <app.toml", Help: "Push a configuration also to who comes later."},
			{Line: "tail -F access.log | ipcctl pub -l log/access", Help: "Turn a log into messages."},
		},
		Exits: []int{exit.Data, exit.NotFound, exit.Short},
		Words: []string{"TOPIC", "PAYLOAD"},
		Least: 1,
		Most:  2,
		Run:   p.run,
	}
}

func (p *pubVerb) run(c *verb.Call) error {
	topic := c.Words[0]
	given := len(c.Words) == 2
	switch {
	case p.lines && p.file != "":
		return exit.Unparsed("pub", "-l and -f exclude each other").With(c.Verb.Usage())
	case given && (p.lines || p.file != ""):
		return exit.Unparsed(strconv.Quote(c.Words[1]), "the payload comes from elsewhere").With(c.Verb.Usage())
	case p.expires.Set && !p.retain:
		return exit.Unparsed("-t", "without -r nothing is kept that could expire").With(c.Verb.Usage())
	}
	if p.retain {
		p.options = append(p.options, "RETAIN")
	}
	if p.expires.Set {
		p.options = append(p.options, "EXPIRES", strconv.FormatInt(p.expires.D.Milliseconds(), 10))
	}
	if p.lines {
		return p.stream(c, topic)
	}
	payload := ""
	var err error
	switch {
	case p.file != "":
		payload, err = readFile(p.file)
	case given && c.Words[1] == "-":
		payload, err = readAll(os.Stdin, "standard input")
	case given:
		payload = c.Words[1]
	}
	if err != nil {
		return err
	}
	conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	return p.send(c, conn, topic, 0, payload)
}

func (p *pubVerb) command(topic, payload string) []string {
	return append([]string{"BUS.PUB", topic, payload}, p.options...)
}

// batch is how many messages are sent before their replies are read.
const batch = 500

// stream publishes the lines of standard input. What is there already is sent in one go.
func (p *pubVerb) stream(c *verb.Call, topic string) error {
	conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReaderSize(os.Stdin, 64<<10)
	for buffered := 0; ; {
		line, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return exit.Fail(exit.IO, "cannot read standard input: "+exit.Reason(err))
		}
		if len(line) > 0 {
			payload := string(bytes.TrimSuffix(line, []byte("\n")))
			if buffered < batch && lineBuffered(in) {
				conn.Buffer(p.command(topic, payload)...)
				buffered++
				continue
			}
			if err := p.send(c, conn, topic, buffered, payload); err != nil {
				return err
			}
			if err := c.Out.Flush(); err != nil {
				return err
			}
			buffered = 0
		}
		if err != nil {
			return nil
		}
	}
}

// lineBuffered reports whether a whole line can be read without waiting.
func lineBuffered(in *bufio.Reader) bool {
	b, err := in.Peek(in.Buffered())
	return err == nil && bytes.IndexByte(b, '\n') >= 0
}

// send publishes a message after those that are buffered, and looks at what became of them all.
func (p *pubVerb) send(c *verb.Call, conn *ipc.Conn, topic string, buffered int, payload string) error {
	v, err := conn.Do(p.command(topic, payload)...) // the reply is that of the first
	for ; err == nil; buffered-- {
		receipt := ipc.DecodeReceipt(v)
		p.tell(c, &receipt)
		if err = p.enough(topic, &receipt); err != nil || buffered == 0 {
			break
		}
		v, err = conn.Reply()
	}
	if err == nil {
		return nil
	}
	f := exit.Cannot("publish "+printable.Name(topic), err)
	var reply *wire.Error
	if errors.As(err, &reply) && strings.HasPrefix(reply.Text, "Protocol error: ") { // what is sent is RESP, so there is too much of it
		return exit.Fail(exit.Quota, f.Text)
	}
	return f
}

// tell reports what became of a message, if asked to.
func (p *pubVerb) tell(c *verb.Call, r *ipc.Receipt) {
	switch {
	case c.JSON:
		var o term.Object
		o.Number("seq", int64(r.Seq))
		o.Number("delivered", int64(r.Delivered))
		o.Number("dropped", int64(r.Dropped))
		c.Out.Object(&o)
	case c.Verbose:
		text := "published as " + strconv.FormatUint(r.Seq, 10) + ", given to " + term.Plural(int64(r.Delivered), "receiver")
		if r.Dropped > 0 {
			text += ", " + strconv.Itoa(r.Dropped) + " dropped"
		}
		c.Say(text)
	}
}

func (p *pubVerb) enough(topic string, r *ipc.Receipt) error {
	if r.Delivered >= p.expect {
		return nil
	}
	return exit.Fail(exit.Short, "cannot publish "+printable.Name(topic)+" to "+term.Plural(int64(p.expect), "receiver")+": "+
		strconv.Itoa(r.Delivered)+" took it")
}

func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		status := exit.IO
		if errors.Is(err, os.ErrNotExist) {
			status = exit.NotFound
		}
		return "", exit.Fail(status, "cannot read "+path+": "+exit.Reason(err))
	}
	defer f.Close()
	return readAll(f, path)
}

// readAll reads a payload: the whole file, but no more than a daemon might take.
func readAll(f *os.File, name string) (string, error) {
	most := int64(1 << 30)
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return "", exit.Fail(exit.IO, "cannot read "+name+": "+exit.Reason(err))
	}
	if int64(len(b)) > most {
		return "", exit.Fail(exit.Quota, "cannot publish "+name+": it is larger than 1 GiB")
	}
	return string(b), nil
}
