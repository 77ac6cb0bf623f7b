package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

// complete is what the shells' scripts call: "ipcctl __complete -- WORD…" with the words after "ipcctl" up to the cursor,
// the last one unfinished and perhaps empty. It prints a line for each candidate: the word, a tab, what it means. A line
// that begins with a tab is for the script: "files" leaves it to the shell to complete a file, "command N" that the Nth
// word, counted from ipcctl's own as 0, begins another command.
func complete() *Verb {
	return &Verb{
		Name:     "__complete",
		Summary:  "Complete a command line",
		Synopsis: []string{"-- WORD…"},
		Local:    true,
		words:    []string{"WORD"},
		most:     many,
		run: func(c *call) error {
			if n := len(c.words); n > 0 {
				completer{c, c.words[n-1]}.line(c.words[:n-1])
			}
			return nil
		},
	}
}

// A completer finds what the unfinished word may become.
type completer struct {
	call *call
	word string
}

// line looks at the words before the unfinished one.
func (k completer) line(before []string) {
	c := k.call
	p := parser{options: c.options()}
	var v *Verb
	var wants *Option // the value that comes next is this option's
	words, ended := 0, false
	for i, word := range before {
		switch {
		case wants != nil:
			_ = wants.set(word) // what is wrong is told when the line is run
			wants = nil
		case v != nil && word == "--" && v.dashesCommand(words):
			k.offer("", "command "+strconv.Itoa(i+2))
			return
		case word == "--":
			ended = true
		case isOption(word) && !ended:
			wants = p.pending(word)
		case v == nil:
			if v = find(word); v == nil {
				return
			}
			p.options = append(p.options, v.Options...)
		case v.grammar == nameCommand && words > 0:
			k.offer("", "command "+strconv.Itoa(i+1))
			return
		default:
			words++
		}
	}
	name, value, attached := strings.Cut(k.word, "=")
	switch {
	case wants != nil:
		k.values(wants.Value, "", k.word)
	case strings.HasPrefix(k.word, "--") && attached && !ended:
		if o := p.long(name[2:]); o != nil {
			k.values(o.Value, name+"=", value)
		}
	case strings.HasPrefix(k.word, "-") && !ended:
		k.optionNames(p.options)
	case v == nil:
		k.values("VERB", "", k.word)
	case v.grammar == nameCommand && words > 0:
		k.offer("", "command "+strconv.Itoa(len(before)+1))
	case words < v.most:
		k.values(v.word(words), "", k.word)
	}
}

// pending carries out an option that is complete, and returns one whose value is still to come.
func (p *parser) pending(word string) *Option {
	if name, long := strings.CutPrefix(word, "--"); long {
		name, value, attached := strings.Cut(name, "=")
		o := p.long(name)
		if o != nil && o.Value != "" && !attached {
			return o
		}
		if o != nil {
			_ = o.set(value) // what is wrong is told when the line is run
		}
		return nil
	}
	for i := 1; i < len(word); i++ {
		if o := p.short(word[i]); o != nil && o.Value != "" {
			if i+1 == len(word) {
				return o
			}
			return nil
		}
	}
	return nil
}

func (k completer) offer(word, help string) {
	help = strings.ReplaceAll(help, "`", "") // the marks of what is typed are for manual pages
	k.call.out.clean(word).text("\t").clean(help).text("\n")
}

// values offers what a value or a word of this name can be.
func (k completer) values(name, before, begun string) {
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
		for i := range ipc.Commands {
			first, _, more := strings.Cut(ipc.Commands[i].Name, " ")
			help := ipc.Commands[i].Summary
			if more {
				if i > 0 && strings.HasPrefix(ipc.Commands[i-1].Name, first) {
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
		for _, v := range k.ask("PUBSUB", "CHANNELS").Elems {
			give(v.Str, "")
		}
	case "ID":
		for line := range strings.Lines(k.ask("CLIENT", "LIST").Str) {
			l := parseClient(line)
			give(l.get("id"), join(commandOf(l.number("pid"), l.number("start")), userName(l.number("uid"))))
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
func (k completer) ask(words ...string) ipc.Value {
	conn, err := k.call.dial3()
	if err != nil {
		return ipc.Value{}
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	v, err := conn.Do(words...)
	if err != nil {
		return ipc.Value{}
	}
	return v
}

func (k completer) optionNames(options []Option) {
	for i := range options {
		o := &options[i]
		long := "--" + o.Long
		if o.Value != "" {
			long += "="
		}
		switch {
		case o.Long != "" && strings.HasPrefix(long, k.word):
			k.offer(long, o.Help)
		case o.Short != 0 && k.word == "-"+string(o.Short):
			k.offer(k.word, o.Help)
		}
	}
}
