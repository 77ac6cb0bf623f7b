package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/ipcd/ipcd/ipc"
)

type clientsVerb struct{ kill int }

func clients() *Verb {
	var k clientsVerb
	return &Verb{
		Name:     "clients",
		Group:    "The daemon",
		Summary:  "Show who is connected, or end a connection",
		Synopsis: []string{"", "--kill=ID"},
		About: []string{
			"A line for each connection: its number, who it is, how old it is and how long it has been silent, how many " +
				"subscriptions and locks it has, and its last command.",
		},
		Options:  []Option{number(0, "kill", "ID", &k.kill, 1, many, "End the connection with this number: your own user's; root: anybody's")},
		Examples: []Example{{"ipcctl clients --kill=17", "End connection 17."}},
		Exits:    []int{exitNotFound},
		run:      k.run,
	}
}

func (k *clientsVerb) run(c *call) error {
	conn, err := c.dial3()
	if err != nil {
		return err
	}
	defer conn.Close()
	if k.kill != 0 {
		return k.end(c, conn)
	}
	v, err := conn.Do("CLIENT", "LIST")
	if err != nil {
		return cannot("list clients", err)
	}
	t := grid{header: []string{"ID", "PID", "COMMAND", "USER", "UNIT", "AGE", "IDLE", "SUBS", "LOCKS", "LAST", "NAME"}}
	for line := range strings.Lines(v.Str) {
		client := parseClient(line)
		if c.json {
			c.out.object(client.object())
		} else {
			t.add(client.row()...)
		}
	}
	t.print(c.out)
	return nil
}

func (k *clientsVerb) end(c *call, conn *ipc.Conn) error {
	id := strconv.Itoa(k.kill)
	v, err := conn.Do("CLIENT", "KILL", "ID", id)
	if err != nil {
		return cannot("end connection "+id, err)
	}
	if v.Int == 0 {
		return fail(exitNotFound, "cannot end connection "+id+": there is none with that number").with("ipcctl clients")
	}
	if c.verbose {
		c.say("ended connection " + id)
	}
	return nil
}

// A client is a line of CLIENT LIST: words of key=value, in order.
type client []string

func parseClient(line string) client { return strings.Fields(line) }

func (l client) get(key string) string {
	for _, word := range l {
		if k, v, _ := strings.Cut(word, "="); k == key {
			return v
		}
	}
	return ""
}

func (l client) number(key string) int64 {
	n, _ := strconv.ParseInt(l.get(key), 10, 64) // 0 will do for what is not there
	return n
}

func (l client) row() []string {
	seconds := func(key string) string { return age(time.Duration(l.number(key)) * time.Second) }
	subs := l.number("sub") + l.number("psub") + l.number("bsub")
	return []string{l.get("id"), l.get("pid"), commandOf(l.number("pid"), l.number("start")), userName(l.number("uid")), l.get("unit"),
		seconds("age"), seconds("idle"), strconv.FormatInt(subs, 10), l.get("locks"), strings.ReplaceAll(l.get("cmd"), "|", " "), l.get("name")}
}

// object has the words of CLIENT LIST as they are, numbers as such.
func (l client) object() *object {
	var o object
	for _, word := range l {
		key, value, _ := strings.Cut(word, "=")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && key != "name" {
			o.number(key, n)
		} else {
			o.text(key, value)
		}
	}
	o.text("command", commandOf(l.number("pid"), l.number("start")))
	o.text("user_name", userName(l.number("uid")))
	return &o
}
