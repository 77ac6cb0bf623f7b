package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/ipcd/ipcd/ipc"
)

func status() *Verb {
	return &Verb{
		Name:     "status",
		Group:    "The daemon",
		Summary:  "Show how the daemon is",
		Synopsis: []string{""},
		About:    []string{"What it is, since when it runs, and what it has done and counted since then."},
		Examples: []Example{{"ipcctl status --json | jq .messages_dropped", "One figure, for a program."}},
		run: func(c *call) error {
			conn, err := c.dial3()
			if err != nil {
				return err
			}
			defer conn.Close()
			v, err := conn.Do("IPCD.STATUS")
			if err != nil {
				return cannot("ask for the daemon's status", err)
			}
			printStatus(c, v)
			return nil
		},
	}
}

func printStatus(c *call, v ipc.Value) {
	if c.json {
		var o object
		for i := 0; i+1 < len(v.Elems); i += 2 {
			o.value(v.Elems[i].Text(), v.Elems[i+1])
		}
		c.out.object(&o)
		return
	}
	width := 0
	for i := 0; i+1 < len(v.Elems); i += 2 {
		width = max(width, len(v.Elems[i].Text()))
	}
	for i := 0; i+1 < len(v.Elems); i += 2 {
		key, value := v.Elems[i].Text(), v.Elems[i+1].Text()
		if !c.out.tty {
			c.out.text(key + "\t" + oneLine(value) + "\n")
			continue
		}
		switch n, _ := strconv.ParseInt(value, 10, 64); { // microseconds are for programs
		case key == "uptime":
			value = age(time.Duration(n) * time.Microsecond)
		case n > 1e15: // nothing is counted so high but the time since 1970
			value = time.UnixMicro(n).Format("2006-01-02 15:04:05")
		}
		c.out.styled(dim, strings.ReplaceAll(key, "_", " ")).text(blanks(width - len(key) + 2)).clean(dashed(value)).text("\n")
	}
}
