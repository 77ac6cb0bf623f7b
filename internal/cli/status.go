package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/ipc/wire"
)

func status() *verb.Verb {
	return &verb.Verb{
		Name:     "status",
		Group:    "The daemon",
		Summary:  "Show the daemon's state",
		Synopsis: []string{""},
		About: []string{
			"Prints what the daemon is, since when it runs, and what it has done and counted since then.",
			"`config_source` says where the settings in force come from: `files`, `built-in`, or `last-good`, which are those " +
				"from before a mistake in the files; `config_rejected` shows the mistake. `sockets_failed` lists the sockets that " +
				"are missing.",
			"`connections_behind` is how many connections do not read what waits for them. The one for which the most waits is named: " +
				"`behind_client` is its number, as `ipcctl clients` shows it, with its process, unit and the bytes that wait. " +
				"While nobody is behind, these are `-`, and `null` with `--json`.",
			"On a terminal, times and durations are written for people. Elsewhere they are numbers of microseconds, times since " +
				"1970.",
		},
		Examples: []verb.Example{{Line: "ipcctl status --json | jq .messages_dropped", Help: "One figure, for a program."}},
		Run: func(c *verb.Call) error {
			conn, err := c.Dial3()
			if err != nil {
				return err
			}
			defer conn.Close()
			v, err := conn.Do("IPCD.STATUS")
			if err != nil {
				return exit.Cannot("ask for the daemon's status", err)
			}
			printStatus(c, v)
			return nil
		},
	}
}

func printStatus(c *verb.Call, v wire.Value) {
	if c.JSON {
		var o term.Object
		for i := 0; i+1 < len(v.Elems); i += 2 {
			o.Value(v.Elems[i].Text(), v.Elems[i+1])
		}
		c.Out.Object(&o)
		return
	}
	width := 0
	for i := 0; i+1 < len(v.Elems); i += 2 {
		width = max(width, len(v.Elems[i].Text()))
	}
	for i := 0; i+1 < len(v.Elems); i += 2 {
		key, value := v.Elems[i].Text(), v.Elems[i+1].Text()
		if !c.Out.TTY {
			c.Out.Clean(key).Text("\t").Clean(term.Dashed(value)).Text("\n")
			continue
		}
		c.Out.Styled(term.Dim, strings.ReplaceAll(key, "_", " ")).Text(term.Blanks(width - len(key) + 2))
		c.Out.Clean(term.Dashed(statusText(key, value))).Text("\n")
	}
}

// statusText is a value as people read it, who do not count microseconds.
func statusText(key, value string) string {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return value
	}
	d := time.Duration(n) * time.Microsecond
	switch key {
	case "started", "config_loaded":
		return time.UnixMicro(n).Format(time.DateTime)
	case "uptime":
		return term.Age(d)
	case "watchdog", "busy_poll":
		if n == 0 {
			return "off"
		}
		return term.Spoken(d)
	}
	return value
}
