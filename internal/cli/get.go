package cli

import (
	"errors"
	"os"
	"strings"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

type getVerb struct {
	wait    bool
	timeout verb.Span
}

func get() *verb.Verb {
	var g getVerb
	return &verb.Verb{
		Name:     "get",
		Group:    "Messages",
		Summary:  "Print the value of a topic",
		Synopsis: []string{"TOPIC", "-W [-w D] TOPIC"},
		About: []string{
			"Prints what was last published on TOPIC with `pub --retain`, byte for byte. If there is nothing, or it has expired, " +
				"the status is 1. With `-q` only the status tells.",
			"With `-W`, it waits for the next message on TOPIC if there is no value. Nothing that is published between the look and " +
				"the wait is missed.",
			"With `--json`, it prints an object as `sub` does.",
		},
		Options: []verb.Option{
			verb.Flag('W', "wait", &g.wait, "If there is no value, wait for the next message"),
			verb.Duration('w', "timeout", &g.timeout, "With -W: fail with 124 after this time"),
		},
		Examples: []verb.Example{
			{Line: "ipcctl get app/config >app.toml", Help: "Take the configuration that was published last."},
			{Line: "port=$(ipcctl get -W -w 30s app/port)", Help: "Wait until somebody tells the port, if nobody has yet."},
		},
		Exits: []int{exit.No, exit.Data, exit.Timeout},
		Words: []string{"TOPIC"},
		Least: 1,
		Most:  1,
		Run:   g.run,
	}
}

func (g *getVerb) run(c *verb.Call) error {
	topic := c.Words[0]
	if g.timeout != (verb.Span{}) && !g.wait {
		return exit.Unparsed("-w", "without -W there is no wait").With(c.Verb.Usage())
	}
	var m message
	var err error
	if g.wait {
		m, err = g.await(c, topic)
	} else {
		m, err = lookUp(c, topic)
	}
	switch {
	case err != nil || c.Quiet:
	case c.JSON:
		m.json(c.Out)
	default:
		if c.Out.Data(string(m.Payload)); c.Out.TTY && !strings.HasSuffix(string(m.Payload), "\n") {
			c.Out.Text("\n")
		}
	}
	return err
}

// lookUp asks for the value that there is.
func lookUp(c *verb.Call, topic string) (message, error) {
	conn, err := c.Dial3()
	if err != nil {
		return message{}, err
	}
	defer conn.Close()
	v, err := conn.Do("BUS.GET", topic)
	switch {
	case err != nil:
		return message{}, exit.Cannot("get "+printable.Name(topic), err)
	case v.Kind == wire.KindNull:
		return message{}, exit.CommandStatus(exit.No)
	}
	return message{ipc.DecodeValue(v)}, nil
}

// await takes the first message of a subscription: the value, if there is one.
func (g *getVerb) await(c *verb.Call, topic string) (message, error) {
	if strings.ContainsAny(topic, "+#") { // which would be a filter
		return lookUp(c, topic)
	}
	deadline := g.timeout.Deadline()
	in, err := receive(c, []string{topic})
	if err != nil {
		return message{}, err
	}
	in.lost = func(int64, string) {} // one message is enough
	m, err := in.next(deadline)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = g.timeout.TimedOut("get " + printable.Name(topic))
	}
	return m, err
}
