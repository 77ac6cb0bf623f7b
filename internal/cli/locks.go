package cli

import (
	"strconv"

	"github.com/ipcd/ipcd/ipc"
)

func locks() *Verb {
	return &Verb{
		Name:     "locks",
		Group:    "Locks",
		Summary:  "Show who holds which lock, and who waits",
		Synopsis: []string{"[NAME…]"},
		About: []string{
			"A line for each hold, then a numbered line for each process that waits, in the order of the queue. MODE is X " +
				"(alone) or S (shared). COMMAND is what runs in the process now. Without NAME: all locks that are held or " +
				"waited for.",
			"With `--json`: an object for each lock, with the arrays `holders` and `waiters`, and `previous`, how it was " +
				"last given back.",
		},
		Examples: []Example{
			{"ipcctl locks", "Everything that is locked."},
			{"ipcctl locks --json backup | jq .holders[0].pid", "One fact, for a program."},
		},
		Exits: []int{exitData},
		words: []string{"NAME"},
		most:  many,
		run:   showLocks,
	}
}

func showLocks(c *call) error {
	views, err := askLocks(c)
	if err != nil {
		return err
	}
	if c.json {
		for _, v := range views {
			c.out.object(lockObject(v))
		}
		return nil
	}
	t := table{header: []string{"LOCK", "MODE", "USED", "PID", "COMMAND", "USER", "UNIT", "AGE", "TOKEN", "WHY"}}
	for _, v := range views {
		name := v.Get("name").Str
		for i, h := range v.Get("holders").Elems {
			if i > 0 && c.out.tty {
				name = " "
			}
			t.add(claimRow(name, v.Get("used").Text()+"/"+v.Get("limit").Text(), h)...)
		}
		for i, w := range v.Get("waiters").Elems {
			if c.out.tty {
				name = "  " + strconv.Itoa(i+1) + "."
			}
			t.add(claimRow(name, "1", w)...)
		}
	}
	t.print(c.out)
	return nil
}

// askLocks gets the locks that are meant, as LOCK.INFO shows them.
func askLocks(c *call) ([]ipc.Value, error) {
	conn, err := c.dial3()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if len(c.words) == 0 {
		v, err := conn.Do("LOCK.LIST")
		if err != nil {
			return nil, cannot("list locks", err)
		}
		return v.Elems, nil
	}
	var views []ipc.Value
	for _, name := range c.words {
		v, err := conn.Do("LOCK.INFO", name)
		if err != nil {
			return nil, cannot("show "+shown(name), err)
		}
		views = append(views, v)
	}
	return views, nil
}

// lockObject is a lock as the daemon shows it, with what else is known here of who holds it and who waits.
func lockObject(v ipc.Value) *object {
	var o object
	for i := 0; i+1 < len(v.Elems); i += 2 {
		key, value := v.Elems[i].Str, v.Elems[i+1]
		if key != "holders" && key != "waiters" {
			o.value(key, value)
			continue
		}
		o.key(key)
		o.b = append(o.b, '[')
		for j, claim := range value.Elems {
			if j > 0 {
				o.b = append(o.b, ',')
			}
			o.b = append(o.b, claimObject(claim).end()...)
		}
		o.b = append(o.b, ']')
	}
	return &o
}

func claimObject(v ipc.Value) *object {
	var o object
	for i := 0; i+1 < len(v.Elems); i += 2 {
		o.value(v.Elems[i].Str, v.Elems[i+1])
	}
	o.text("command", commandOf(v.Get("pid").Int, v.Get("start").Int))
	o.text("user", userName(v.Get("uid").Int))
	return &o
}

func claimRow(name, used string, v ipc.Value) []string {
	mode := "X"
	if v.Get("mode").Str == "shared" {
		mode = "S"
	}
	token := ""
	if v.Get("token").Int > 0 {
		token = v.Get("token").Text()
	}
	pid := v.Get("pid").Int
	return []string{name, mode, used, v.Get("pid").Text(), commandOf(pid, v.Get("start").Int), userName(v.Get("uid").Int),
		v.Get("unit").Str, age(micros(v, "age")), token, v.Get("why").Str}
}
