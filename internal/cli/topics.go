package cli

import (
	"strconv"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

type topicsVerb struct{ watch bool }

func topics() *verb.Verb {
	var l topicsVerb
	return &verb.Verb{
		Name:     "topics",
		Group:    "Messages",
		Summary:  "Show the topics that have a value",
		Synopsis: []string{"[--watch] [FILTER]"},
		About: []string{
			"Prints a line for each topic with a retained value that FILTER matches, by name: the topic, how many bytes its value has, how " +
				"old that is, how long it lasts, and which process, user and unit published it. `get` prints the value itself. With `--json`, a line is an " +
				"object of topic, size, seq, time, expires (microseconds that are left, or null), pid, uid, unit and user_name.",
			"With `--watch`, a terminal shows them as they are, until Ctrl-C. Elsewhere, a topic is printed again when it has another value, and " +
				"one that has none any more is a line with its name alone; with `--json`, an object with topic and ended. The daemon is asked once a " +
				"second: a value that lasts for less may be missing, which `sub` would print. When the daemon ends, ipcctl shows the topics of the next " +
				"one, and says that changes may be missing.",
		},
		Options: []verb.Option{verb.Flag(0, "watch", &l.watch, "Go on showing what changes")},
		Examples: []verb.Example{
			{Line: "ipcctl topics app/#", Help: "What is known below app?"},
			{Line: "ipcctl topics --watch", Help: "Look on."},
		},
		Exits: []int{exit.Data},
		Words: []string{"FILTER"},
		Most:  1,
		Run:   l.run,
	}
}

func (l *topicsVerb) run(c *verb.Call) error {
	conn, err := c.Dial3()
	if err != nil {
		return err
	}
	defer conn.Close()
	ask := func(conn *ipc.Conn) ([]topicRow, error) { return askTopics(conn, c.Words...) }
	show := func(topics ...topicRow) { printTopics(c, topics...) }
	if l.watch {
		return watchPolled(c, conn, polled[topicRow]{
			ask: ask, print: show, table: topicTable, none: "no topic has a value",
			key:     func(t topicRow) string { return t.Get("topic").Str },
			lasting: func(t topicRow) []string { return []string{strconv.FormatInt(t.number("seq"), 10)} },
			object:  func(o *term.Object, topic string) { o.Text("topic", topic) },
		})
	}
	topics, err := ask(conn)
	if err != nil {
		return err
	}
	show(topics...)
	return nil
}

// A topicRow is an element of what BUS.LIST tells.
type topicRow struct{ wire.Value }

func (t topicRow) number(key string) int64 { return t.Get(key).Int }

func askTopics(conn *ipc.Conn, filter ...string) ([]topicRow, error) {
	v, err := conn.Do(append([]string{"BUS.LIST"}, filter...)...)
	if err != nil {
		return nil, exit.Cannot("list topics", err)
	}
	topics := make([]topicRow, len(v.Elems))
	for i := range v.Elems {
		topics[i] = topicRow{v.Elems[i]}
	}
	return topics, nil
}

func printTopics(c *verb.Call, topics ...topicRow) {
	if !c.JSON {
		topicTable(topics...).Print(c.Out)
		return
	}
	for _, t := range topics {
		c.Out.Object(t.object())
	}
}

func topicTable(topics ...topicRow) *term.Table {
	table := &term.Table{Header: []string{"TOPIC", "SIZE", "AGE", "EXPIRES", "PID", "USER", "UNIT"}, Names: []string{"TOPIC", "USER", "UNIT"}}
	for _, t := range topics {
		expires := ""
		if left := t.number("expires"); left >= 0 {
			expires = term.Age(time.Duration(left) * time.Millisecond)
		}
		table.Add(t.Get("topic").Str, strconv.FormatInt(t.number("size"), 10), term.Age(time.Since(time.UnixMicro(t.number("time")))), expires,
			strconv.FormatInt(t.number("pid"), 10), process.UserName(t.number("uid")), t.Get("unit").Str)
	}
	return table
}

func (t topicRow) object() *term.Object {
	var o term.Object
	o.Text("topic", t.Get("topic").Str)
	for _, key := range []string{"size", "seq"} {
		o.Number(key, t.number(key))
	}
	o.Text("time", stamp(time.UnixMicro(t.number("time"))))
	if left := t.number("expires"); left >= 0 {
		o.Number("expires", left*1000)
	} else {
		o.Value("expires", wire.Value{})
	}
	o.Number("pid", t.number("pid"))
	o.Number("uid", t.number("uid"))
	o.Text("unit", t.Get("unit").Str)
	o.Text("user_name", process.UserName(t.number("uid")))
	return &o
}
