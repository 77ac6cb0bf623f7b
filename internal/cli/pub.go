package cli

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

type pubVerb struct {
	expect int
	lines  bool
	null   bool
	file   string

	hold    bool
	fd      bool
	retain  bool
	expires verb.Span
	may     verb.Span // block
	headers []string
	options []string // of BUS.PUB
}

func pub() *verb.Verb {
	var p pubVerb
	return &verb.Verb{
		Name:    "pub",
		Group:   "Messages",
		Summary: "Publish a message",
		Synopsis: []string{
			"[-r] [-t D] [-H NAME=VALUE]… [-e N] TOPIC [PAYLOAD|-]",
			"[-r] [-t D] [-H NAME=VALUE]… [-e N] -f FILE TOPIC",
			"[-r] [-t D] [-H NAME=VALUE]… [-e N] -l [-0] TOPIC",
			"--hold [-H NAME=VALUE]… [-e N] TOPIC PAYLOAD|-|-f FILE [-- CMD [ARG…]]",
			"--fd [-t D] [-H NAME=VALUE]… [-e N] TOPIC [PAYLOAD]",
		},
		About: []string{
			"Sends PAYLOAD to all who receive TOPIC at this moment. PAYLOAD may be any bytes; `-` takes them from standard " +
				"input. Without PAYLOAD the message is empty.",
			"TOPIC is levels with `/` between them: `deploy/web/done`. It is no failure if nobody listens, unless `--expect` " +
				"says so.",
			"With `-r`, PAYLOAD is also the value of TOPIC, until another is published with `-r`, `clear` removes it, or the time of " +
				"`-t` is over. It outlives a restart of the daemon, and not a reboot.",
			"With `--hold`, PAYLOAD is the value of TOPIC for as long as this process lives. ipcctl becomes CMD, as `lock` does, or without CMD " +
				"waits for a signal. When the process has ended, however it did, the value is gone, unless another process has published one there since, and who " +
				"follows TOPIC is sent an empty message from it, that says how it ended: `sub --json` and `sub -F %e` tell. So the presence " +
				"of a service is never that of one which has died, also if the daemon is restarted or killed meanwhile.",
			"What FILE or standard input has, if it is more than 64 KiB, is passed as a file: it is copied once, into memory, and sealed, so that nobody " +
				"can change it while others read it; a file that is sealed already is passed as it is. `sub` writes what is in it, or has it be the " +
				"standard input of CMD. Who cannot take files is sent the bytes, if they are 1 MiB at most, or else how many there are. With `-r` it is always the bytes.",
			"With `--fd`, standard input itself is passed, whatever it is: receivers get it as it is open, at the position where it is. PAYLOAD goes beside it.",
			"With `-l`, each line of standard input is a message, without its line break, also an empty one; with `-0`, what a zero byte " +
				"ends. They are sent as they come, many before the first is answered; if ipcd is slower, the input waits. The first line that is refused " +
				"ends it: the error names it, and says how many of those that were sent behind it were published. A signal lets " +
				"what was sent be answered, and how far it came is told. After a restart of the daemon it goes on, and sends again what was not " +
				"answered: ipcctl says which lines may have been published twice. Long input is counted on a terminal. At the end, `-v` tells the " +
				"numbers, and with `--json`, which prints a receipt for each line, the last object has published, delivered and dropped, and unknown, how many were " +
				"not answered in the end; an object with repeated comes after a restart: so many may have been published twice.",
		},
		Options: []verb.Option{
			verb.Flag('r', "retain", &p.retain, "Have this be the topic's value: who subscribes later is sent it first, and `get` prints it"),
			verb.Flag(0, "hold", &p.hold, "Have this be the topic's value while this process lives, which becomes CMD"),
			verb.Duration('t', "expires", &p.expires, "Tell receivers that the message is over after this time; with -r the value is gone then"),
			verb.List('H', "header", "NAME=VALUE", &p.headers, "Tell receivers this, too, as content-type=text/plain; once for each header"),
			verb.Duration(0, "may-block", &p.may, "Wait so long for receivers who would miss messages; then fail with 124, or at once with 75 if it is 0, and say who it is"),
			verb.Number('e', "expect", "N", &p.expect, 0, verb.Many, "Fail with 83 if fewer than N receivers were given the message"),
			verb.Flag('l', "lines", &p.lines, "Publish each line of standard input as a message, as it comes"),
			verb.Flag('0', "null", &p.null, "With -l: a zero byte ends a message, not a line break"),
			verb.Text('f', "file", "FILE", &p.file, "Publish what FILE holds"),
			verb.Flag(0, "fd", &p.fd, "Pass standard input, as the open file that it is"),
		},
		Examples: []verb.Example{
			{Line: "ipcctl pub deploy/done v1.4.2", Help: "Tell everybody that a deployment is done."},
			{Line: "ipcctl pub -e 1 app/config - <app.toml", Help: "Push a configuration, and fail if nobody was there to take it."},
			{Line: "ipcctl pub -r app/config - <app.toml", Help: "Push a configuration also to who comes later."},
			{Line: "ipcctl pub --hold online/web1 up -- ./server", Help: "Others see who is there: `ipcctl topics 'online/#'`."},
			{Line: "ipcctl pub -f disk.img image/new", Help: "Hand a large file to everybody, copied once."},
			{Line: "tail -F access.log | ipcctl pub -l log/access", Help: "Turn a log into messages."},
			{Line: "find . -name '*.jpg' -print0 | ipcctl pub -l0 thumbnails", Help: "Hand out work, whatever files are called."},
		},
		Exits:   []int{exit.Data, exit.NotFound, exit.Busy, exit.Short, exit.Timeout, exit.NoExec, exit.NoCmd},
		Words:   []string{"TOPIC", "PAYLOAD"},
		Least:   1,
		Most:    2,
		Grammar: verb.WordsCommand,
		Run:     p.run,
	}
}

// headerWords are the words of a command for what -H says.
func headerWords(headers []string) (words []string, err error) {
	for _, header := range headers {
		name, value, ok := strings.Cut(header, "=")
		if !ok || !wire.IsHeaderName(name) {
			return nil, exit.Unparsed("-H "+strconv.Quote(header), "expected NAME=VALUE, where NAME is of a to z, 0 to 9 and -").With("-H content-type=text/plain")
		}
		words = append(words, "HEADER", name, value)
	}
	return words, nil
}

func (p *pubVerb) run(c *verb.Call) error {
	if !p.hold { // there is no CMD, and what stands behind "--" is a word
		c.Words = append(c.Words, c.Command...)
		if len(c.Words) > c.Verb.Most {
			return exit.Unparsed(strconv.Quote(c.Words[c.Verb.Most]), "one word too many").With(c.Verb.Usage())
		}
	}
	topic := c.Words[0]
	given := len(c.Words) == 2
	switch {
	case p.hold && p.lines:
		return exit.Unparsed("pub", "--hold and -l exclude each other").With(p.holdUsage(c))
	case p.hold && p.may.Set:
		return exit.Unparsed("pub", "--hold and --may-block exclude each other: who misses the message finds the value").With(p.holdUsage(c))
	case p.hold && p.expires.Set:
		return exit.Unparsed("pub", "--hold and -t exclude each other: the value lasts as long as the process").With(p.holdUsage(c))
	case p.hold && !given && p.file == "":
		return exit.Unparsed("pub", "PAYLOAD is missing").With(p.holdUsage(c))
	case p.fd && (p.hold || p.retain || p.lines || p.file != ""):
		return exit.Unparsed("pub", "--fd passes standard input, and goes with none of -r, --hold, -l and -f").With("ipcctl pub " + c.Verb.Synopsis[4])
	case p.fd && given && c.Words[1] == "-":
		return exit.Unparsed(`"-"`, "with --fd, standard input is passed and not read").With("ipcctl pub " + c.Verb.Synopsis[4])
	case p.lines && p.file != "":
		return exit.Unparsed("pub", "-l and -f exclude each other").With(c.Verb.Usage())
	case given && (p.lines || p.file != ""):
		return exit.Unparsed(strconv.Quote(c.Words[1]), "the payload comes from elsewhere").With(c.Verb.Usage())
	case p.null && !p.lines:
		return exit.Unparsed("-0", "without -l there are no records that it could end").With("ipcctl pub " + c.Verb.Synopsis[2])
	}
	if p.retain && !p.hold {
		p.options = append(p.options, "RETAIN")
	}
	if p.may.Set {
		p.options = append(p.options, "MAYBLOCK", strconv.FormatInt(p.may.D.Milliseconds(), 10))
	}
	if p.expires.Set {
		p.options = append(p.options, "EXPIRES", strconv.FormatInt(p.expires.D.Milliseconds(), 10))
	}
	headers, err := headerWords(p.headers)
	if err != nil {
		return err
	}
	p.options = append(p.options, headers...)
	if p.lines {
		return p.feed(c, topic)
	}
	payload := ""
	var file *os.File // beside it
	switch {
	case p.fd:
		file = os.Stdin
		p.options = append(p.options, "FD", ipc.FileOpen)
	case p.file != "":
		payload, file, err = p.read(c, p.file)
	case given && c.Words[1] == "-":
		announce(c, "what you type is the message")
		payload, file, err = p.read(c, "")
	}
	if err != nil {
		return err
	}
	if given && c.Words[1] != "-" {
		payload = c.Words[1]
	}
	if p.hold {
		return p.holdFor(c, topic, payload)
	}
	conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	command := append([]string{"BUS.PUB", topic, payload}, p.options...)
	if file == nil {
		err = conn.Send(command...)
	} else {
		err = sendFile(conn, file, command)
	}
	var v wire.Value
	if err == nil {
		v, err = conn.Reply()
	}
	publishing := "publish " + printable.Name(topic)
	if err != nil {
		return refusal(publishing, err)
	}
	receipt := ipc.DecodeReceipt(v)
	tellReceipt(c, &receipt)
	if receipt.Delivered < p.expect {
		return p.short(publishing, &receipt)
	}
	return nil
}

// read reads what a file, or standard input if there is no name, is to say: see load. A value is bytes.
func (p *pubVerb) read(c *verb.Call, path string) (payload string, file *os.File, err error) {
	f, name := os.Stdin, "standard input"
	if path != "" {
		name = path
		if f, err = open(path); err != nil {
			return "", nil, err
		}
	}
	if p.retain || p.hold {
		payload, err = readAll(f, name)
		return payload, nil, err
	}
	if payload, file, err = load(c, f, name); file != nil {
		p.options = append(p.options, "FD", ipc.FileSealed)
	}
	return payload, file, err
}

// sendFile sends a command with a file beside it.
func sendFile(conn *ipc.Conn, file *os.File, command []string) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	e := raw.Control(func(fd uintptr) { err = conn.SendFDs([]int{int(fd)}, command...) })
	return errors.Join(e, err)
}

func (p *pubVerb) holdUsage(c *verb.Call) string { return "ipcctl pub " + c.Verb.Synopsis[3] }

// holdFor is --hold: it returns only if that fails.
func (p *pubVerb) holdFor(c *verb.Call, topic, payload string) error {
	file := ""
	if c.Command != nil {
		var err error
		if file, err = lookPath(c, c.Command[0]); err != nil {
			return err
		}
	}
	v, err := holdValue(c, topic, payload, p.options...)
	if err != nil {
		return err
	}
	receipt := ipc.DecodeReceipt(v)
	tellReceipt(c, &receipt)
	if receipt.Delivered < p.expect {
		return p.short("publish "+printable.Name(topic), &receipt) // and the value ends with this process
	}
	if err := c.Out.Flush(); err != nil {
		return err
	}
	if c.Command == nil {
		process.Sleep()
	}
	return process.Become(file, c.Command, os.Environ())
}

// announce tells a person at a terminal that something is waited for which is to be typed there.
func announce(c *verb.Call, text string) {
	if tell := term.Stderr(); term.IsTerminal(0) && tell.TTY && !c.Quiet {
		c.Say(text + "; Ctrl-D ends the input")
	}
}

// refusal is the failure of what the daemon does not do.
func refusal(publishing string, err error) *exit.Failure {
	f := exit.Cannot(publishing, err)
	var reply *wire.Error
	if errors.As(err, &reply) && strings.HasPrefix(reply.Text, "Protocol error: ") { // what is sent is RESP, so there is too much of it
		return exit.Fail(exit.Quota, f.Text)
	}
	return f
}

// tellReceipt reports what became of a message, if asked to.
func tellReceipt(c *verb.Call, r *ipc.Receipt) {
	switch {
	case c.JSON:
		printReceipt(c, r)
	case c.Verbose:
		text := "published as " + strconv.FormatUint(r.Seq, 10) + ", given to " + term.Plural(int64(r.Delivered), "receiver")
		if r.Dropped > 0 {
			text += ", " + strconv.Itoa(r.Dropped) + " dropped"
		}
		c.Say(text)
	}
}

func printReceipt(c *verb.Call, r *ipc.Receipt) {
	var o term.Object
	o.Number("seq", int64(r.Seq))
	o.Number("delivered", int64(r.Delivered))
	o.Number("dropped", int64(r.Dropped))
	c.Out.Object(&o)
}

// short is the failure of a message that fewer receivers were given than expected.
func (p *pubVerb) short(publishing string, r *ipc.Receipt) *exit.Failure {
	return exit.Fail(exit.Short, "cannot "+publishing+" to "+term.Plural(int64(p.expect), "receiver")+": "+strconv.Itoa(r.Delivered)+" took it")
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
