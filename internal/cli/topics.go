package cli

import (
	"strconv"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/ipc/wire"
)

func topics() *verb.Verb {
	return &verb.Verb{
		Name:     "topics",
		Group:    "Messages",
		Summary:  "Show the topics that have a value",
		Synopsis: []string{"[FILTER]"},
		About: []string{
			"Prints a line for each topic with a retained value that FILTER matches, by name: the topic, how many bytes its value has, how " +
				"old that is, how long it lasts, and which process, user and unit published it. `get` prints the value itself.",
		},
		Examples: []verb.Example{{Line: "ipcctl topics app/#", Help: "What is known below app?"}},
		Exits:    []int{exit.Data},
		Words:    []string{"FILTER"},
		Most:     1,
		Run:      listTopics,
	}
}

func listTopics(c *verb.Call) error {
	conn, err := c.Dial3()
	if err != nil {
		return err
	}
	defer conn.Close()
	v, err := conn.Do(append([]string{"BUS.LIST"}, c.Words...)...)
	if err != nil {
		return exit.Cannot("list topics", err)
	}
	t := term.Table{Header: []string{"TOPIC", "SIZE", "AGE", "EXPIRES", "PID", "USER", "UNIT"}, Names: []string{"TOPIC", "USER", "UNIT"}}
	for _, topic := range v.Elems {
		number := func(key string) int64 { return topic.Get(key).Int }
		if c.JSON {
			var o term.Object
			o.Text("topic", topic.Get("topic").Str)
			for _, key := range []string{"size", "seq"} {
				o.Number(key, number(key))
			}
			o.Text("time", stamp(time.UnixMicro(number("time"))))
			if left := number("expires"); left >= 0 {
				o.Number("expires", left*1000)
			} else {
				o.Value("expires", wire.Value{})
			}
			o.Number("pid", number("pid"))
			o.Number("uid", number("uid"))
			o.Text("unit", topic.Get("unit").Str)
			o.Text("user_name", process.UserName(number("uid")))
			c.Out.Object(&o)
			continue
		}
		expires := ""
		if left := number("expires"); left >= 0 {
			expires = term.Age(time.Duration(left) * time.Millisecond)
		}
		t.Add(topic.Get("topic").Str, strconv.FormatInt(number("size"), 10), term.Age(time.Since(time.UnixMicro(number("time")))), expires,
			strconv.FormatInt(number("pid"), 10), process.UserName(number("uid")), topic.Get("unit").Str)
	}
	t.Print(c.Out)
	return nil
}
