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

Every command of Redis %s, and what a client gets here. This page is made from the command table (`+"`make generate`"+`), and a test
holds it against the list of a redis-server, with all subcommands. *As there*: the same scripts are answered by both with the
same bytes, errors included (`+"`test/conformance`"+`). *Differs*: but for what is said. What is not here is answered as every unknown
command, with the reason. `+"[protocol.md](protocol.md)"+` has what there is beside it: `+"`BUS.*`, `LOCK.*` and `IPCD.*`"+`.

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
