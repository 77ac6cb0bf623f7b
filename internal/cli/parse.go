package cli

import (
	"errors"
	"strconv"
	"strings"

	"github.com/ipcd/ipcd/internal/nearest"
	"github.com/ipcd/ipcd/ipc"
)

// globals are the options that every verb understands.
type globals struct {
	address string // "": as the environment says
	chosen  string // the option that says it
	json    bool
	quiet   bool
	verbose bool
	help    bool
	typed   []string // all options of the command line, those of the verb too
}

func (g *globals) options() []Option {
	return []Option{
		g.daemon("socket", "PATH", "Talk to the daemon that listens at PATH"),
		g.daemon("user", "", "Talk to your own daemon"),
		g.daemon("system", "", "Talk to the system's daemon: the default, unless $IPCD_SOCKET names another"),
		flag(0, "json", &g.json, "Print JSON, one object a line"),
		flag('q', "quiet", &g.quiet, "Say nothing but errors: no hints, and not whom it waits for"),
		flag('v', "verbose", &g.verbose, "Tell what was done"),
		flag('h', "help", &g.help, "Explain the verb"),
	}
}

// daemon is an option that says which daemon is meant, by a path or by its own name. Who names it in two ways means one of
// them, and it is not for us to guess which.
func (g *globals) daemon(long, value, help string) Option {
	return Option{Long: long, Value: value, Help: help, set: func(s string) error {
		if value == "" {
			s = long
		}
		switch {
		case s == "":
			return expectation{"the path of a socket", ipc.SystemSocket}
		case g.chosen != "" && g.chosen != long:
			return errors.New("--" + g.chosen + " names a daemon already")
		}
		g.chosen, g.address = long, s
		return nil
	}}
}

// GlobalOptions are the options that every verb understands.
func GlobalOptions() []Option { return new(globals).options() }

// A parser goes through a command line from left to right.
type parser struct {
	rest    []string
	options []Option
	context string // whose options they are, for errors
	table   *table
	typed   []string // the options that were taken, each as one word
}

// option takes the first word, which begins with "-", its value included.
func (p *parser) option() error {
	arg := p.rest[0]
	p.rest = p.rest[1:]
	if name, long := strings.CutPrefix(arg, "--"); long {
		name, value, attached := strings.Cut(name, "=")
		return p.apply(p.long(name), "--"+name, value, attached)
	}
	for bundle := arg[1:]; bundle != ""; {
		o := p.short(bundle[0])
		typed := "-" + bundle[:1]
		bundle = bundle[1:]
		if o == nil || o.Value == "" {
			if err := p.apply(o, typed, "", false); err != nil {
				return err
			}
			continue
		}
		return p.apply(o, typed, bundle, bundle != "")
	}
	return nil
}

func (p *parser) apply(o *Option, typed, value string, attached bool) error {
	switch {
	case o == nil:
		return p.unknown(typed)
	case o.Value == "" && attached:
		return unparsed(typed+"="+value, "the option takes no value")
	case o.Value != "" && !attached:
		if len(p.rest) == 0 {
			return unparsed(typed, "its value is missing").with(o.Names())
		}
		value, p.rest = p.rest[0], p.rest[1:]
	}
	err := o.set(value)
	if err == nil {
		p.typed = append(p.typed, o.typed(value))
		return nil
	}
	if o.Value != "" {
		typed += " " + strconv.Quote(value)
	}
	f := unparsed(typed, err.Error())
	var e expectation
	if errors.As(err, &e) {
		f.hint = e.examples
	}
	return f
}

func (p *parser) short(c byte) *Option {
	for i := range p.options {
		if p.options[i].Short == c {
			return &p.options[i]
		}
	}
	return nil
}

func (p *parser) long(name string) *Option {
	for i := range p.options {
		o := &p.options[i]
		if o.Long == name && name != "" {
			return o
		}
		for _, also := range o.also {
			if also == name {
				return o
			}
		}
	}
	return nil
}

func (p *parser) unknown(typed string) error {
	f := unparsed(typed, "no such option")
	var names []string
	for i := range p.options {
		if p.options[i].Long != "" {
			names = append(names, p.options[i].Long)
		}
	}
	f.hint = p.context + " -h lists them all"
	near, others := nearest.Word(strings.TrimLeft(typed, "-"), names), p.table.with(typed)
	switch {
	case len(others) > 0 && p.context == "ipcctl":
		f.hint = "the options of a verb follow it: ipcctl VERB " + typed
	case len(others) > 0 && len(typed) > 2:
		f.hint = "ipcctl " + others[0] + " has it; " + f.hint
	case near != "":
		f.hint = "--" + near + "? " + f.hint
	case len(typed) == 2:
		f.hint += "; a word that begins with - goes after --"
	}
	return f
}

// isOption reports whether a word is an option: it begins with "-" and is more than that.
func isOption(word string) bool { return len(word) > 1 && word[0] == '-' }

// parseGlobals takes the options in front of the verb.
func (c *call) parseGlobals(args []string) (rest []string, err error) {
	p := parser{rest: args, options: c.options(), context: "ipcctl", table: c.table}
	defer func() { c.typed = p.typed }()
	for len(p.rest) > 0 && isOption(p.rest[0]) {
		if p.rest[0] == "--" {
			return p.rest[1:], nil
		}
		if p.rest[0] == "--version" || p.rest[0] == "-V" {
			return []string{"version"}, nil
		}
		if err := p.option(); err != nil {
			return nil, err
		}
	}
	return p.rest, nil
}

// parseVerb takes what follows the verb.
func (c *call) parseVerb(args []string) error {
	v := c.verb
	p := parser{rest: args, options: append(c.options(), v.Options...), context: "ipcctl " + v.Name, typed: c.typed, table: c.table}
	defer func() { c.typed = p.typed }()
	ended := false // the options, by a "--" that does not begin CMD
	for len(p.rest) > 0 {
		word := p.rest[0]
		named := v.grammar == nameCommand && len(c.words) > 0 // CMD may begin
		switch {
		case word == "--" && v.dashesCommand(len(c.words)):
			c.command, c.dashes, p.rest = p.rest[1:], true, nil
		case word == "--" && !ended:
			ended = true
			p.rest = p.rest[1:]
		case isOption(word) && !ended:
			if err := p.option(); err != nil {
				return err
			}
		case named:
			c.command, p.rest = p.rest, nil
		default:
			c.words = append(c.words, word)
			p.rest = p.rest[1:]
		}
	}
	if c.help {
		return nil
	}
	return c.count()
}

// dashesCommand reports whether a "--" after so many words begins CMD; else it ends the options.
func (v *Verb) dashesCommand(words int) bool {
	return v.grammar == nameCommand && words > 0 || v.grammar == wordsCommand && words >= v.least
}

// count checks how many words there are.
func (c *call) count() error {
	v := c.verb
	switch n := len(c.words); {
	case n < v.least:
		return unparsed(v.Name, v.word(n)+" is missing").with(v.usage())
	case n > v.most && v.most == 0:
		return unparsed(strconv.Quote(c.words[0]), v.Name+" takes no words").with(v.usage())
	case n > v.most:
		return unparsed(strconv.Quote(c.words[v.most]), "one word too many").with(v.usage())
	case c.dashes && len(c.command) == 0:
		return unparsed(v.Name, "CMD is missing after --").with(v.usage())
	}
	return nil
}
