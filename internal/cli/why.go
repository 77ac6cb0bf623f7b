package cli

import (
	"slices"
	"strconv"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
)

func why() *verb.Verb {
	return &verb.Verb{
		Name:     "why",
		Group:    "Locks",
		Summary:  "Explain why a lock has to be waited for",
		Synopsis: []string{"NAME"},
		About: []string{
			"Tells who holds the lock NAME, for how long and why; what the holder itself waits for, and so on; how the last hold " +
				"ended; and who waits, in the order of the queue.",
			"With `--json`, prints the object of `ipcctl locks --json`, with `sentences` (these) and `chain` (what the holders " +
				"wait for).",
		},
		Examples: []verb.Example{{Line: "ipcctl why backup", Help: "Why does it take so long?"}},
		Exits:    []int{exit.Data},
		Words:    []string{"NAME"},
		Least:    1,
		Most:     1,
		Run:      explainLock,
	}
}

// An explanation is what why tells of a lock.
type explanation struct {
	all       []*lockView
	sentences []string
	chain     []link
	seen      map[string]bool             // the locks that were told of
	parents   map[int64][]process.Process // of those who wait
}

// A link is a wait of somebody who holds what others wait for.
type link struct {
	name           string // of the lock that is waited for
	holder, waiter *claim
}

func explainLock(c *verb.Call) error {
	conn, err := c.Dial3()
	if err != nil {
		return err
	}
	defer conn.Close()
	views, err := askLocks(conn, c.Words)
	if err != nil {
		return err
	}
	all, err := askLocks(conn, nil)
	if err != nil {
		return err
	}
	e := explanation{all: all, seen: map[string]bool{c.Words[0]: true}, parents: map[int64][]process.Process{}}
	e.explain(views[0])
	if e.hidden(views[0]) {
		e.say("/proc shows no processes of other users here (hidepid), so what runs in them is not told.")
	}
	if text := mistakable(c.Words[0], all); text != "" {
		e.say(text + ".")
	}
	if !c.JSON {
		for _, s := range e.sentences {
			c.Out.Clean(s).Text("\n")
		}
		return nil
	}
	o := lockObject(views[0])
	e.addTo(o)
	c.Out.Object(o)
	return nil
}

// hidden reports whether commands are missing because /proc does not show other users' processes.
func (e *explanation) hidden(v *lockView) bool {
	unknown := func(c claim) bool { return c.PID > 0 && claimCommand(&c) == "" }
	return (slices.ContainsFunc(v.holders, unknown) || slices.ContainsFunc(v.waiters, unknown)) && process.OthersHidden()
}

func (e *explanation) say(sentence string) { e.sentences = append(e.sentences, sentence) }

func (e *explanation) explain(v *lockView) {
	for i := range v.holders {
		e.say(holderSentence(v, &v.holders[i], i == 0))
		if s := stopSentence(&v.holders[i]); s != "" {
			e.say(s)
		}
	}
	if len(v.holders) == 0 {
		e.say(printable.Name(v.Name) + " is free.")
	}
	for i := range v.holders {
		e.follow(&v.holders[i], "itself")
	}
	e.past(v)
	before := ""
	for i := range v.waiters {
		w := &v.waiters[i]
		text := term.Ordinal(i+1) + " waits " + describeClaim(w) + ", " + share(w, v.Limit) + ", " + term.Age(w.Age)
		if w.Left >= 0 {
			text += " and " + term.Age(w.Left) + " more at most"
		}
		if before != "" {
			text += ", behind " + before
		}
		if with := others(w, v.Name); len(with) > 0 {
			text += ", together with " + printable.Names(with)
		}
		e.say(text + because(w.Why) + ".")
		before = shortName(w)
	}
}

func holderSentence(v *lockView, h *claim, first bool) string {
	who, since := describeClaim(h), "for "+lasting(h)
	if isOperators(h) {
		since = lasting(h)
	}
	if h.Joined {
		return who + " has entered that hold " + term.Age(h.Age) + " ago" + because(h.Why) + "."
	}
	part := ""
	if s := share(h, v.Limit); s != "exclusive" {
		part = ", " + s + ","
	}
	if first && isOperators(h) {
		return printable.Name(v.Name) + " is held " + since + " by " + who + part + because(h.Why) + "."
	}
	if first {
		return printable.Name(v.Name) + " is held by " + who + part + " " + since + because(h.Why) + "."
	}
	return who + " holds it too" + part + " " + since + because(h.Why) + "."
}

// stopSentence is how a holder who is kept from running goes on; "" if none is.
func stopSentence(h *claim) string {
	switch h.Stopped {
	case "signal":
		return shortName(h) + " is stopped, and goes on with SIGCONT: kill -CONT " + strconv.Itoa(h.PID) + "."
	case "freezer":
		how := "."
		if h.Unit != "" {
			how = ": systemctl thaw " + printable.Name(h.Unit) + "."
		}
		return shortName(h) + " is frozen, and goes on when its cgroup is thawed" + how
	}
	return ""
}

// follow tells what a holder waits for, and what those wait for who hold that.
func (e *explanation) follow(h *claim, self string) {
	if h.PID == 0 {
		return
	}
	for _, v := range e.all {
		if e.seen[v.Name] {
			continue
		}
		for i := range v.waiters {
			w := &v.waiters[i]
			subject, ok := e.actsFor(w, h, self)
			if !ok {
				continue
			}
			e.seen[v.Name] = true
			e.chain = append(e.chain, link{v.Name, h, w})
			text := subject + " waits for " + printable.Name(v.Name)
			held := describeHolders(v)
			if held != "" {
				text += ", " + held
			} else if i > 0 {
				text += " behind " + shortName(&v.waiters[i-1])
			}
			e.say(text + ".")
			for j := range v.holders {
				e.follow(&v.holders[j], "in turn")
			}
			break
		}
	}
}

// actsFor reports whether a process that waits is a holder, or was started by it, and how to call it.
func (e *explanation) actsFor(w, h *claim, self string) (subject string, ok bool) {
	holder := process.Process{PID: int64(h.PID), Start: int64(h.Start)}
	if w.of(holder) {
		return shortName(h) + " " + self, true
	}
	pid := int64(w.PID)
	if _, ok := e.parents[pid]; !ok {
		e.parents[pid] = nil
		if all := slices.Collect(process.Ancestors(pid)); len(all) > 0 && w.of(all[0]) { // not another one, which has that number here
			e.parents[pid] = all
		}
	}
	for _, p := range e.parents[pid] {
		if p.PID == holder.PID && p.Start == holder.Start {
			return describeClaim(w) + ", started by " + shortName(h) + ",", true
		}
	}
	return "", false
}

// past tells how it was before.
func (e *explanation) past(v *lockView) {
	if v.Previous != nil {
		who, how, reason := describeEnd(v.Previous)
		lead, when := "The holder before it, ", ""
		if len(v.holders) == 0 {
			lead, when = "The last holder, ", ", "+term.Age(time.Since(v.Previous.At))+" ago"
		}
		e.say(lead + who + ", " + how + when + reason + ".")
	}
	if v.Abandoned != nil {
		who, _, _ := describeEnd(v.Abandoned)
		did := " has abandoned it."
		if v.Abandoned.How == "unreaped" {
			did = " may have abandoned it."
		}
		e.say("The next holder will be told that " + who + did)
	}
}

// addTo adds what why knows beyond locks.
func (e *explanation) addTo(o *term.Object) {
	o.Objects("chain", len(e.chain), func(i int) *term.Object {
		var link term.Object
		link.Text("name", e.chain[i].name)
		link.Object("holder", claimObject(e.chain[i].holder))
		link.Object("waiter", claimObject(e.chain[i].waiter))
		return &link
	})
	o.Texts("sentences", e.sentences)
}
