package cli

import (
	"strconv"

	"github.com/ipcd/ipcd/ipc"
)

type locksVerb struct{ watch bool }

func locks() *Verb {
	var l locksVerb
	return &Verb{
		Name:     "locks",
		Group:    "Locks",
		Summary:  "Show who holds which lock, and who waits",
		Synopsis: []string{"[--watch] [NAME…]"},
		About: []string{
			"A line for each hold, then a numbered line for each request that waits, in the order of the queue. MODE is X " +
				"(alone), S (shared) or U (some of the units). USED is how many units the hold has of how many there are, or how many a request wants. " +
				"COMMAND is what runs in the process now, or, while ipcctl waits in it, what will; `hold` is one that somebody keeps for maintenance. A line of MODE + is " +
				"one more owner of the hold above: it entered the lock that it runs under. Without NAME: all locks that are held or waited for.",
			"With `--watch`, a terminal shows them as they are, until Ctrl-C. Elsewhere, the lines of a lock are printed anew " +
				"whenever something happens to it; one that became free is a line without a MODE.",
			"With `--json`: an object for each lock, with the arrays `holders` and `waiters`, and `previous`, how it was " +
				"last given back. locks-json.md among the documents (/usr/share/doc/ipcd) describes them all.",
		},
		Options: []Option{flag(0, "watch", &l.watch, "Go on showing what changes")},
		Examples: []Example{
			{"ipcctl locks", "Everything that is locked."},
			{"ipcctl locks --watch", "Look on."},
			{"ipcctl locks --json backup | jq .holders[0].pid", "One fact, for a program."},
		},
		Exits: []int{exitData},
		words: []string{"NAME"},
		most:  many,
		run:   l.run,
	}
}

func (l *locksVerb) run(c *call) error {
	conn, err := c.dial3()
	if err != nil {
		return err
	}
	defer conn.Close()
	if l.watch {
		return watchLocks(c, conn)
	}
	views, err := askLocks(conn, c.words)
	if err != nil {
		return err
	}
	printLocks(c, views)
	return nil
}

func printLocks(c *call, views []ipc.Value) {
	if !c.json {
		lockTable(c.out.tty, views).print(c.out)
		return
	}
	for _, v := range views {
		c.out.object(lockObject(v))
	}
}

// lockTable has the rows of locks. On a terminal, a lock is named once.
func lockTable(tty bool, views []ipc.Value) *table {
	t := &table{header: []string{"LOCK", "MODE", "USED", "PID", "COMMAND", "USER", "UNIT", "AGE", "TOKEN", "WHY"}}
	for _, v := range views {
		name, limit := v.Get("name").Str, v.Get("limit").Int
		for i, h := range v.Get("holders").Elems {
			if i > 0 && tty {
				name = " "
			}
			mode, used := letter(h, limit), units(h, limit)+"/"+strconv.FormatInt(limit, 10)
			if h.Get("joined").Int > 0 {
				mode, used = "+", ""
			}
			t.add(append([]string{name, mode, used}, claimCells(h)...)...)
		}
		if tty && len(v.Get("holders").Elems) == 0 && len(v.Get("waiters").Elems) > 0 { // as those who wait for several locks at once
			t.add(name, "", "0/"+strconv.FormatInt(limit, 10), "", "", "", "", "", "", "")
		}
		for i, w := range v.Get("waiters").Elems {
			if tty {
				name = "  " + strconv.Itoa(i+1) + "."
			}
			t.add(append([]string{name, letter(w, limit), units(w, limit)}, claimCells(w)...)...)
		}
	}
	return t
}

// askLocks gets the locks that are meant, as LOCK.INFO shows them.
func askLocks(conn *ipc.Conn, names []string) ([]ipc.Value, error) {
	if len(names) == 0 {
		v, err := conn.Do("LOCK.LIST")
		if err != nil {
			return nil, cannot("list locks", err)
		}
		return v.Elems, nil
	}
	var views []ipc.Value
	for _, name := range names {
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
	o.text("command", claimCommand(v))
	o.text("user", userName(v.Get("uid").Int))
	return &o
}

// units are how many a claim has or wants. Those who share have all of them, together.
func units(v ipc.Value, limit int64) string {
	if v.Get("mode").Str == "shared" {
		return strconv.FormatInt(limit, 10)
	}
	return v.Get("units").Text()
}

// claimCells are the cells of a claim behind those of the lock.
func claimCells(v ipc.Value) []string {
	token, pid, command, why := "", "", "hold", v.Get("why").Str
	if v.Get("token").Int > 0 {
		token = v.Get("token").Text()
		if end := ending(v); end != "" {
			why = end + because(v)
		}
	}
	if !isOperators(v) {
		pid, command = v.Get("pid").Text(), claimCommand(v)
	}
	return []string{pid, command, userName(v.Get("uid").Int), v.Get("unit").Str, age(micros(v, "age")), token, why}
}
