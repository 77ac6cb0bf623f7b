package cli

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"

	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

type pubVerb struct {
	expect int
	lines  bool
	file   string
}

func pub() *Verb {
	var p pubVerb
	return &Verb{
		Name:    "pub",
		Group:   "Messages",
		Summary: "Publish a message",
		Synopsis: []string{
			"[-e N] TOPIC [PAYLOAD|-]",
			"[-e N] -f FILE TOPIC",
			"[-e N] -l TOPIC",
		},
		About: []string{
			"Sends PAYLOAD to all who receive TOPIC at this moment. PAYLOAD may be any bytes; `-` takes them from standard " +
				"input, and without PAYLOAD the message is empty.",
			"TOPIC is levels with `/` between them: `deploy/web/done`. Nobody needs to listen: publishing to none is no " +
				"failure unless `--expect` says so.",
		},
		Options: []Option{
			number('e', "expect", "N", &p.expect, 0, many, "Fail with 83 if fewer than N receivers were given the message"),
			flag('l', "lines", &p.lines, "Publish each line of standard input as a message, as it comes"),
			text('f', "file", "FILE", &p.file, "Publish what FILE holds"),
		},
		Examples: []Example{
			{"ipcctl pub deploy/done v1.4.2", "Tell everybody that a deployment is done."},
			{"ipcctl pub -e 1 app/config - <app.toml", "Push a configuration, and fail if nobody was there to take it."},
			{"tail -F access.log | ipcctl pub -l log/access", "Turn a log into messages."},
		},
		Exits: []int{exitData, exitNotFound, exitShort},
		words: []string{"TOPIC", "PAYLOAD"},
		least: 1,
		most:  2,
		run:   p.run,
	}
}

func (p *pubVerb) run(c *call) error {
	topic := c.words[0]
	given := len(c.words) == 2
	switch {
	case p.lines && p.file != "":
		return unparsed("pub", "-l and -f exclude each other").with(c.verb.usage())
	case given && (p.lines || p.file != ""):
		return unparsed(strconv.Quote(c.words[1]), "the payload comes from elsewhere").with(c.verb.usage())
	}
	if p.lines {
		return p.stream(c, topic)
	}
	payload := ""
	var err error
	switch {
	case p.file != "":
		payload, err = readFile(p.file)
	case given && c.words[1] == "-":
		payload, err = readAll(os.Stdin, "standard input")
	case given:
		payload = c.words[1]
	}
	if err != nil {
		return err
	}
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	return p.send(c, conn, topic, 0, payload)
}

// batch is how many messages are sent before their replies are read.
const batch = 500

// stream publishes the lines of standard input. What is there already is sent in one go.
func (p *pubVerb) stream(c *call, topic string) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReaderSize(os.Stdin, 64<<10)
	for buffered := 0; ; {
		line, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fail(exitIO, "cannot read standard input: "+reason(err))
		}
		if len(line) > 0 {
			payload := string(bytes.TrimSuffix(line, []byte("\n")))
			if buffered < batch && lineBuffered(in) {
				conn.Buffer("BUS.PUB", topic, payload)
				buffered++
				continue
			}
			if err := p.send(c, conn, topic, buffered, payload); err != nil {
				return err
			}
			if err := c.out.flush(); err != nil {
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
func (p *pubVerb) send(c *call, conn *ipc.Conn, topic string, buffered int, payload string) error {
	v, err := conn.Do("BUS.PUB", topic, payload) // the reply is that of the first
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
	f := cannot("publish "+printable.Name(topic), err)
	if f.exit == exitProto { // what is sent is RESP, so there is too much of it
		return fail(exitQuota, f.text)
	}
	return f
}

// tell reports what became of a message, if asked to.
func (p *pubVerb) tell(c *call, r *ipc.Receipt) {
	switch {
	case c.json:
		var o object
		o.number("seq", int64(r.Seq))
		o.number("delivered", int64(r.Delivered))
		o.number("dropped", int64(r.Dropped))
		c.out.object(&o)
	case c.verbose:
		text := "published as " + strconv.FormatUint(r.Seq, 10) + ", given to " + plural(int64(r.Delivered), "receiver")
		if r.Dropped > 0 {
			text += ", " + strconv.Itoa(r.Dropped) + " dropped"
		}
		c.say(text)
	}
}

func (p *pubVerb) enough(topic string, r *ipc.Receipt) error {
	if r.Delivered >= p.expect {
		return nil
	}
	return fail(exitShort, "cannot publish "+printable.Name(topic)+" to "+plural(int64(p.expect), "receiver")+": "+
		strconv.Itoa(r.Delivered)+" took it")
}

func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		status := exitIO
		if errors.Is(err, os.ErrNotExist) {
			status = exitNotFound
		}
		return "", fail(status, "cannot read "+path+": "+reason(err))
	}
	defer f.Close()
	return readAll(f, path)
}

// readAll reads a payload: the whole file, but no more than a daemon might take.
func readAll(f *os.File, name string) (string, error) {
	most := int64(1 << 30)
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return "", fail(exitIO, "cannot read "+name+": "+reason(err))
	}
	if int64(len(b)) > most {
		return "", fail(exitQuota, "cannot publish "+name+": it is larger than 1 GiB")
	}
	return string(b), nil
}
