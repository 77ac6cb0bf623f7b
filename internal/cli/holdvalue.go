package cli

import (
	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc/wire"
)

// holdValue has a topic have a value for as long as this process lives, whatever it becomes. The will is there before the value, so that none
// is left behind; options are those of BUS.PUB.
func holdValue(c *verb.Call, topic, payload string, options ...string) (wire.Value, error) {
	conn, err := c.Dial()
	if err != nil {
		return wire.Value{}, err
	}
	defer conn.Close()
	if _, err := doProven(conn, "BUS.WILL", topic, "", "CLEAR", "FOR", "self"); err != nil {
		return wire.Value{}, exit.Cannot("hold a value of "+printable.Name(topic), err)
	}
	v, err := conn.Do(append([]string{"BUS.PUB", topic, payload, "RETAIN"}, options...)...)
	if err != nil {
		_, _ = conn.Do("BUS.UNWILL", topic, "FOR", "self") // else it ends with this process
		return wire.Value{}, refusal("publish "+printable.Name(topic), err)
	}
	return v, nil
}
