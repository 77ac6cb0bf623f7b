package main

import (
	"fmt"
	"strings"

	"github.com/ipcd/ipcd/ipc/wire"
)

// redisTable is docs/redis.md.
func redisTable() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Redis's commands

This page lists every command of Redis %s, and says what a client gets here:

- *As there*: ipcd and a redis-server answer the same scripts with the same bytes, errors included (`+"`test/conformance`"+`).
- *Differs*: the same, except for what the column says.
- *Not here*: the answer is the error of every unknown command, with this reason.

The page is made from the command table (`+"`make generate`"+`), and a test compares it with the list of a redis-server, subcommands
included. `+"[protocol.md](protocol.md)"+` has the other commands: `+"`BUS.*`, `LOCK.*` and `IPCD.*`"+`.

| Command | As there | Differs | Not here |
|---|---|---|---|
`, wire.RedisVersion)
	for i := range wire.Commands {
		c := &wire.Commands[i]
		switch {
		case c.Family != wire.FamilyRedis:
		case c.Note == "":
			fmt.Fprintf(&b, "| `%s` | yes | | |\n", c.Name)
		default:
			fmt.Fprintf(&b, "| `%s` | | %s | |\n", c.Name, strings.ReplaceAll(c.Note, "|", "\\|"))
		}
	}
	for _, group := range wire.NotHere {
		var names []string
		for name := range strings.FieldsSeq(strings.ToUpper(group.Names)) {
			names = append(names, "`"+strings.ReplaceAll(name, "|", " ")+"`")
		}
		fmt.Fprintf(&b, "| %s | | | %s |\n", strings.Join(names, " "), group.Why)
	}
	return b.String()
}
