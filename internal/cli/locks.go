package cli

import (
	"slices"
	"strconv"
	"strings"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

type locksVerb struct{ watch bool }

func locks() *verb.Verb {
	var l locksVerb
	return &verb.Verb{
		Name:     "locks",
		Group:    "Locks",
		Summary:  "Show who holds which lock, and who waits",
		Synopsis: []string{"[--watch] [NAME…]", "-q [NAME…]"},
		About: []string{
			"Prints a line for each hold, then a numbered line for each request that waits, in the order of the queue. Without " +
				"NAME, all locks that are held or waited for are shown.",
			"MODE is X (alone), S (shared), U (some of the units), or + for one more owner of the hold above, which entered the " +
				"lock that it runs under. USED is how many units the hold has of how many there are, or how many a request asks for. " +
				"COMMAND is what runs in the process now or, while ipcctl waits in it, what will run. `hold` stands for a lock that " +
				"somebody keeps for maintenance, `unit` for one that all processes of UNIT hold. WHY begins with `stopped` or " +
				"`frozen` if the process is kept from running.",
			"On a terminal each line is made to fit: long names are cut in the middle, WHY at its end, and only `-v` shows " +
				"TOKEN. Elsewhere everything is printed, with tabs between the columns.",
			"With `--watch`, a terminal shows the present state until Ctrl-C. Elsewhere, the lines of a lock are printed again " +
				"whenever something happens to it; a lock that became free is a line without MODE. When the daemon ends, ipcctl goes " +
				"on with the next one, and says that changes may be missing.",
			"With `-q`, prints nothing. The exit status is 0 if any of the locks NAME is held (without NAME: any lock at all), " +
				"and 1 if none is.",
			"With `--json`, prints an object for each lock, with the arrays `holders` and `waiters`, and `previous`, which says " +
				"how it was last given back. locks-json.md among the documents (/usr/share/doc/ipcd) describes all fields.",
		},
		Options: []verb.Option{verb.Flag(0, "watch", &l.watch, "Go on, and show what changes")},
		Examples: []verb.Example{
			{Line: "ipcctl locks", Help: "Show everything that is locked."},
			{Line: "ipcctl locks --watch", Help: "Show it as it changes."},
			{Line: "if ipcctl locks -q backup; then echo 'not now'; fi", Help: "Ask, in a script. The answer may be old by then: to take the lock, use `ipcctl lock -n`."},
			{Line: "ipcctl locks --json backup | jq .holders[0].pid", Help: "One fact, for a program."},
		},
		Exits: []int{exit.No, exit.Data},
		Words: []string{"NAME"},
		Most:  verb.Many,
		Run:   l.run,
	}
}

func (l *locksVerb) run(c *verb.Call) error {
	if l.watch && c.Quiet {
		return exit.Unparsed("--watch", "with -q, nothing is printed").With(c.Verb.Usage())
	}
	conn, err := c.Dial3()
	if err != nil {
		return err
	}
	defer conn.Close()
	if l.watch {
		return watchLocks(c, conn)
	}
	views, err := askLocks(conn, c.Words)
	if err != nil {
		return err
	}
	if c.Quiet {
		return held(views)
	}
	printLocks(c, views)
	return nil
}

// held answers whether one of these locks is held.
func held(views []*lockView) error {
	for _, v := range views {
		if len(v.holders) > 0 {
			return nil
		}
	}
	return exit.CommandStatus(exit.No)
}

func printLocks(c *verb.Call, views []*lockView) {
	if !c.JSON {
		lockTable(c, views).Print(c.Out)
		return
	}
	for _, v := range views {
		c.Out.Object(lockObject(v))
	}
}

// lockTable has the rows of locks. On a terminal, a lock is named once, and tokens, which only programs need, are left out unless
// they are asked for.
func lockTable(c *verb.Call, views []*lockView) *term.Table {
	t := &term.Table{
		Header: []string{"LOCK", "MODE", "USED", "PID", "COMMAND", "USER", "UNIT", "AGE", "TOKEN", "WHY"},
		Names:  []string{"LOCK", "COMMAND", "USER", "UNIT"},
	}
	if !c.Verbose {
		t.Hidden = []string{"TOKEN"}
	}
	tty := c.Out.TTY
	for _, v := range views {
		name, of := v.Name, "/"+strconv.Itoa(v.Limit)
		for i := range v.holders {
			h := &v.holders[i]
			if i > 0 && tty {
				name = " "
			}
			mode, used := letter(h, v.Limit), units(h, v.Limit)+of
			if h.Joined {
				mode, used = "+", ""
			}
			t.Add(append([]string{name, mode, used}, claimCells(h)...)...)
		}
		if tty && len(v.holders) == 0 && len(v.waiters) > 0 { // as those who wait for several locks at once
			t.Add(name, "", "0"+of, "", "", "", "", "", "", "")
		}
		for i := range v.waiters {
			w := &v.waiters[i]
			if tty {
				name = "  " + strconv.Itoa(i+1) + "."
			}
			t.Add(append([]string{name, letter(w, v.Limit), units(w, v.Limit)}, claimCells(w)...)...)
		}
	}
	return t
}

// askLocks gets the locks that are meant, as LOCK.INFO shows them.
func askLocks(conn *ipc.Conn, names []string) ([]*lockView, error) {
	var views []*lockView
	if len(names) == 0 {
		all, err := conn.Do("LOCK.LIST")
		if err != nil {
			return nil, exit.Cannot("list locks", err)
		}
		for _, v := range all.Elems {
			views = append(views, viewOf(v))
		}
		return views, nil
	}
	for _, name := range names {
		v, err := viewLock(conn, name)
		if err != nil {
			return nil, exit.Cannot("show "+printable.Name(name), err)
		}
		views = append(views, v)
	}
	return views, nil
}

// lockObject is a lock as the daemon shows it, with what else is known here of who holds it and who waits.
func lockObject(v *lockView) *term.Object {
	var o term.Object
	for i := 0; i+1 < len(v.raw.Elems); i += 2 {
		switch key := v.raw.Elems[i].Str; key {
		case "holders":
			addClaims(&o, key, v.holders)
		case "waiters":
			addClaims(&o, key, v.waiters)
		default:
			o.Value(key, v.raw.Elems[i+1])
		}
	}
	return &o
}

func addClaims(o *term.Object, key string, claims []claim) {
	o.Objects(key, len(claims), func(i int) *term.Object { return claimObject(&claims[i]) })
}

func claimObject(c *claim) *term.Object {
	var o term.Object
	for i := 0; i+1 < len(c.raw.Elems); i += 2 {
		o.Value(c.raw.Elems[i].Str, c.raw.Elems[i+1])
	}
	o.Text("command", claimCommand(c))
	o.Text("user", c.user())
	return &o
}

// units are how many a claim has or wants. Those who share have all of them, together.
func units(c *claim, limit int) string {
	if c.Mode == "shared" {
		return strconv.Itoa(limit)
	}
	return strconv.Itoa(c.Units)
}

// claimCells are the cells of a claim behind those of the lock.
func claimCells(c *claim) []string {
	token, pid, command := "", "", "hold"
	if c.Token > 0 {
		token = tokenText(c.Token)
	}
	state := slices.DeleteFunc([]string{halt(c), ending(c)}, func(s string) bool { return s == "" })
	why := c.Why
	if len(state) > 0 {
		why = strings.Join(state, ", ") + because(c.Why)
	}
	switch {
	case isGroups(c) && c.Unit != "":
		command = "unit"
	case isGroups(c):
		command = "cgroup"
	case !isOperators(c):
		pid, command = strconv.Itoa(c.PID), claimCommand(c)
	}
	return []string{pid, command, c.user(), c.Unit, term.Age(c.Age), token, why}
}
