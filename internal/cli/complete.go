package cli

import (
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc/wire"
)

// complete is what the shells' scripts call: "ipcctl __complete -- WORD…" with the words after "ipcctl" up to the cursor,
// the last one unfinished and perhaps empty. It prints a line for each candidate: the word, a tab, what it means. A line
// that begins with a tab is for the script: "files" leaves it to the shell to complete a file, "command N" that the Nth
// word, counted from ipcctl's own as 0, begins another command.
func complete() *verb.Verb {
	return &verb.Verb{
		Name:     "__complete",
		Summary:  "Complete a command line",
		Synopsis: []string{"-- WORD…"},
		Local:    true,
		Words:    []string{"WORD"},
		Most:     verb.Many,
		Run: func(c *verb.Call) error {
			if n := len(c.Words); n > 0 {
				k := candidates{c}
				(&verb.Completer{Call: c, Offer: k.offer, Values: k.values}).Line(c.Words[:n-1], c.Words[n-1])
			}
			return nil
		},
	}
}

// candidates are what an unfinished word may become.
type candidates struct{ call *verb.Call }

func (k candidates) offer(word, help string) {
	help = strings.ReplaceAll(help, "`", "") // the marks of what is typed are for manual pages
	k.call.Out.Clean(word).Text("\t").Clean(help).Text("\n")
}

// values offers what a value or a word of this name can be.
func (k candidates) values(name, before, begun string) {
	give := func(value, help string) {
		// A name that cannot be shown is not offered: the shell would put it on the terminal as it is.
		if strings.HasPrefix(value, begun) && printable.Escape(value) == value {
			k.offer(before+value, help)
		}
	}
	switch name {
	case "FILE", "PATH":
		k.offer("", "files")
	case "VERB":
		for _, v := range Verbs() {
			give(v.Name, v.Summary)
		}
	case "SIG":
		for _, s := range []string{"TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "KILL"} {
			give(s, "")
		}
	case "SHELL":
		for _, s := range shells {
			give(s, "")
		}
	case "COMMAND":
		for i := range wire.Commands {
			first, _, more := strings.Cut(wire.Commands[i].Name, " ")
			help := wire.Commands[i].Summary
			if more {
				if i > 0 && strings.HasPrefix(wire.Commands[i-1].Name, first) {
					continue
				}
				help = ""
			}
			give(first, help)
		}
	case "NAME":
		for _, v := range k.ask("LOCK.LIST").Elems {
			lock := viewOf(v)
			give(lock.Name, describeLock(lock))
		}
	case "TOPIC", "FILTER":
		valued := map[string]bool{}
		for _, v := range k.ask("BUS.LIST").Elems {
			topic := v.Get("topic").Str
			valued[topic] = true
			give(topic, "has a value")
		}
		for _, v := range k.ask("PUBSUB", "CHANNELS").Elems {
			// A channel of Redis may be anything; what is no topic would be refused.
			if v.Str != "" && !valued[v.Str] && !strings.ContainsAny(v.Str, "+#") {
				give(v.Str, "")
			}
		}
	case "ID":
		for line := range strings.Lines(k.ask("CLIENT", "LIST").Str) {
			l := parseClient(line)
			give(l.get("id"), verb.Join(process.CommandOf(l.number("pid"), l.number("start")), process.UserName(l.number("uid"))))
		}
	default: // one of several words; what is in capitals stands for another
		for word := range strings.SplitSeq(name, "|") {
			if word != strings.ToUpper(word) {
				give(word, "")
			}
		}
	}
}

// describeLock says in a few words who has a lock.
func describeLock(v *lockView) string {
	if len(v.holders) > 0 {
		return "held by " + describeClaim(&v.holders[0])
	}
	return ""
}

// ask asks the daemon, but not for long: somebody has pressed a key and waits.
func (k candidates) ask(words ...string) wire.Value {
	conn, err := k.call.Dial3()
	if err != nil {
		return wire.Value{}
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	v, err := conn.Do(words...)
	if err != nil {
		return wire.Value{}
	}
	return v
}
