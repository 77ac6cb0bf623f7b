package cli

import (
	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
)

func clearTopic() *verb.Verb {
	return &verb.Verb{
		Name:     "clear",
		Group:    "Messages",
		Summary:  "Remove the value of a topic",
		Synopsis: []string{"TOPIC"},
		About: []string{
			"Who subscribes to TOPIC from now on is not sent what was published there with `pub --retain`, and `get` finds nothing. " +
				"Who is subscribed already is told nothing. It is no failure if there is no value.",
		},
		Examples: []verb.Example{{Line: "ipcctl clear app/config", Help: "Have no configuration be the last one."}},
		Exits:    []int{exit.Data},
		Words:    []string{"TOPIC"},
		Least:    1,
		Most:     1,
		Run: func(c *verb.Call) error {
			topic := c.Words[0]
			conn, err := c.Dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			v, err := conn.Do("BUS.CLEAR", topic)
			if err != nil {
				return exit.Cannot("clear "+printable.Name(topic), err)
			}
			if c.Verbose {
				if v.Int > 0 {
					c.Say("cleared " + printable.Name(topic))
				} else {
					c.Say(printable.Name(topic) + " had no value")
				}
			}
			return nil
		},
	}
}
