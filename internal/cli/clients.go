package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/ipc"
)

type clientsVerb struct {
	kill  int
	watch bool
}

func clients() *verb.Verb {
	var k clientsVerb
	return &verb.Verb{
		Name:     "clients",
		Group:    "The daemon",
		Summary:  "Show who is connected, or end a connection",
		Synopsis: []string{"[--watch]", "--kill=ID"},
		About: []string{
			"Prints a line for each connection: its number, which process and user it belongs to, how old it is, how long it has " +
				"been silent, how many subscriptions and locks it has, and its last command; and who is behind: how many replies and messages wait " +
				"because it does not read them, how many bytes they have, and how many messages it has missed. " +
				"With `--json`, a line is an object of the words of CLIENT LIST, command and user_name.",
			"With `--watch`, a terminal shows them as they are, until Ctrl-C. Elsewhere, a connection is printed again when something other " +
				"than its times has changed, and one that has ended is a line with its number alone. The daemon is asked once a second: " +
				"a connection that lasts for less may be missing. When the daemon ends, ipcctl shows the connections of the next one, and says that changes may be missing.",
		},
		Options: []verb.Option{
			verb.Flag(0, "watch", &k.watch, "Go on showing what changes"),
			verb.Number(0, "kill", "ID", &k.kill, 1, verb.Many, "End the connection with this number: your own user's; root: anybody's"),
		},
		Examples: []verb.Example{
			{Line: "ipcctl clients --watch", Help: "Look on."},
			{Line: "ipcctl clients --kill=17", Help: "End connection 17."},
		},
		Exits: []int{exit.NotFound},
		Run:   k.run,
	}
}

func (k *clientsVerb) run(c *verb.Call) error {
	if k.watch && k.kill != 0 {
		return exit.Unparsed("--watch", "with --kill, nothing is shown").With(c.Verb.Usage())
	}
	conn, err := c.Dial3()
	if err != nil {
		return err
	}
	defer conn.Close()
	if k.kill != 0 {
		return k.end(c, conn)
	}
	if k.watch {
		return watchPolled(c, conn, polled[client]{
			ask: askClients, table: clientTable,
			print:   func(clients ...client) { printClients(c, clients...) },
			key:     func(l client) string { return l.get("id") },
			lasting: client.lasting,
			object:  func(o *term.Object, id string) { o.Number("id", client{"id=" + id}.number("id")) },
		})
	}
	clients, err := askClients(conn)
	if err != nil {
		return err
	}
	printClients(c, clients...)
	return nil
}

func printClients(c *verb.Call, clients ...client) {
	if !c.JSON {
		clientTable(clients...).Print(c.Out)
		return
	}
	for _, client := range clients {
		c.Out.Object(client.object())
	}
}

func askClients(conn *ipc.Conn) ([]client, error) {
	v, err := conn.Do("CLIENT", "LIST")
	if err != nil {
		return nil, exit.Cannot("list clients", err)
	}
	var clients []client
	for line := range strings.Lines(v.Str) {
		clients = append(clients, parseClient(line))
	}
	return clients, nil
}

func clientTable(clients ...client) *term.Table {
	t := &term.Table{
		Header: []string{"ID", "PID", "COMMAND", "USER", "UNIT", "AGE", "IDLE", "SUBS", "LOCKS", "LAST", "NAME", "WAITING", "BEHIND", "LOST"},
		Names:  []string{"COMMAND", "USER", "UNIT", "LAST"},
	}
	for _, client := range clients {
		t.Add(client.row()...)
	}
	return t
}

func (k *clientsVerb) end(c *verb.Call, conn *ipc.Conn) error {
	id := strconv.Itoa(k.kill)
	v, err := conn.Do("CLIENT", "KILL", "ID", id)
	if err != nil {
		return exit.Cannot("end connection "+id, err)
	}
	if v.Int == 0 {
		return exit.Fail(exit.NotFound, "cannot end connection "+id+": there is none with that number").With("ipcctl clients")
	}
	if c.Verbose {
		c.Say("ended connection " + id)
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
	seconds := func(key string) string { return term.Age(time.Duration(l.number(key)) * time.Second) }
	subs := l.number("sub") + l.number("psub") + l.number("bsub") + l.number("gsub")
	return []string{l.get("id"), l.get("pid"), process.CommandOf(l.number("pid"), l.number("start")), process.UserName(l.number("uid")), l.get("unit"),
		seconds("age"), seconds("idle"), strconv.FormatInt(subs, 10), l.get("locks"), strings.ReplaceAll(l.get("cmd"), "|", " "), l.get("name"), l.get("oll"), l.get("omem"), l.get("lost")}
}

// lasting are the cells of a client that do not change as time goes by.
func (l client) lasting() []string {
	row := l.row()
	return append(row[:5:5], row[7:]...) // without AGE and IDLE
}

// object has the words of CLIENT LIST as they are, numbers as such.
func (l client) object() *term.Object {
	var o term.Object
	for _, word := range l {
		key, value, _ := strings.Cut(word, "=")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && key != "name" {
			o.Number(key, n)
		} else {
			o.Text(key, value)
		}
	}
	o.Text("command", process.CommandOf(l.number("pid"), l.number("start")))
	o.Text("user_name", process.UserName(l.number("uid")))
	return &o
}
