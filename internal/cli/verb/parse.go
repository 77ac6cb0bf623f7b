package verb

import (
	"errors"
	"strconv"
	"strings"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/nearest"
	"github.com/ipcd/ipcd/ipc"
)

// globals are the options that every verb understands.
type globals struct {
	Address    string // "": as the environment says
	chosen     string // the option that says it
	JSON       bool
	Quiet      bool
	Verbose    bool
	Help       bool
	waitDaemon Span
	Typed      []string // all options of the command line, those of the verb too
}

func (g *globals) options() []Option {
	return []Option{
		g.daemon("socket", "PATH", "Talk to the daemon that listens at PATH"),
		g.daemon("user", "", "Talk to your own daemon"),
		g.daemon("system", "", "Talk to the system's daemon: the default, unless $IPCD_SOCKET names another"),
		Duration(0, "wait-daemon", &g.waitDaemon, "How long to wait for a daemon that is not there (default: 0) or that has ended (default: 10s)"),
		Flag(0, "json", &g.JSON, "Print JSON, one object a line"),
		Flag('q', "quiet", &g.Quiet, "Print nothing but errors: no hints, and no line about a wait"),
		Flag('v', "verbose", &g.Verbose, "Report what was done and, not only on a terminal, what is waited for"),
		Flag('h', "help", &g.Help, "Explain the verb"),
	}
}

// daemon is an option that says which daemon is meant, by a path or by its own name. Who names it in two ways means one of
// them, and it is not for us to guess which.
func (g *globals) daemon(long, value, help string) Option {
	return Option{Long: long, Value: value, Help: help, Set: func(s string) error {
		if value == "" {
			s = long
		}
		switch {
		case s == "":
			return Expectation{"the path of a socket", ipc.SystemSocket}
		case g.chosen != "" && g.chosen != long:
			return errors.New("--" + g.chosen + " names a daemon already")
		}
		g.chosen, g.Address = long, s
		return nil
	}}
}

// GlobalOptions are the options that every verb understands.
func GlobalOptions() []Option { return new(globals).options() }

// A Parser goes through a command line from left to right.
type Parser struct {
	Rest    []string
	Options []Option
	context string // whose options they are, for errors
	table   *Table
	typed   []string // the options that were taken, each as one word
}

// Option takes the first word, which begins with "-", its value included.
func (p *Parser) Option() error {
	arg := p.Rest[0]
	p.Rest = p.Rest[1:]
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

func (p *Parser) apply(o *Option, typed, value string, attached bool) error {
	switch {
	case o == nil:
		return p.unknown(typed)
	case o.Value == "" && attached:
		return exit.Unparsed(typed+"="+value, "the option takes no value")
	case o.Value != "" && !attached:
		if len(p.Rest) == 0 {
			return exit.Unparsed(typed, "its value is missing").With(o.Names())
		}
		value, p.Rest = p.Rest[0], p.Rest[1:]
	}
	err := o.Set(value)
	if err == nil {
		p.typed = append(p.typed, o.typed(value))
		return nil
	}
	if o.Value != "" {
		typed += " " + strconv.Quote(value)
	}
	f := exit.Unparsed(typed, err.Error())
	var e Expectation
	if errors.As(err, &e) {
		f.Hint = e.Examples
	}
	return f
}

func (p *Parser) short(c byte) *Option {
	for i := range p.Options {
		if p.Options[i].Short == c {
			return &p.Options[i]
		}
	}
	return nil
}

func (p *Parser) long(name string) *Option {
	for i := range p.Options {
		o := &p.Options[i]
		if o.Long == name && name != "" {
			return o
		}
		for _, also := range o.Also {
			if also == name {
				return o
			}
		}
	}
	return nil
}

func (p *Parser) unknown(typed string) error {
	f := exit.Unparsed(typed, "no such option")
	var names []string
	for i := range p.Options {
		if p.Options[i].Long != "" {
			names = append(names, p.Options[i].Long)
		}
	}
	f.Hint = p.context + " -h lists them all"
	near, others := nearest.Word(strings.TrimLeft(typed, "-"), names), p.table.with(typed)
	switch {
	case len(others) > 0 && p.context == "ipcctl":
		f.Hint = "the options of a verb follow it: ipcctl VERB " + typed
	case len(others) > 0 && len(typed) > 2:
		f.Hint = "ipcctl " + others[0] + " has it; " + f.Hint
	case near != "":
		f.Hint = "--" + near + "? " + f.Hint
	case len(typed) == 2:
		f.Hint += "; a word that begins with - goes after --"
	}
	return f
}

// isOption reports whether a word is an option: it begins with "-" and is more than that.
func isOption(word string) bool { return len(word) > 1 && word[0] == '-' }

// parseGlobals takes the options in front of the verb.
func (c *Call) parseGlobals(args []string) (rest []string, err error) {
	p := Parser{Rest: args, Options: c.options(), context: "ipcctl", table: c.Table}
	defer func() { c.Typed = p.typed }()
	for len(p.Rest) > 0 && isOption(p.Rest[0]) {
		if p.Rest[0] == "--" {
			return p.Rest[1:], nil
		}
		if p.Rest[0] == "--version" || p.Rest[0] == "-V" {
			return []string{"version"}, nil
		}
		if err := p.Option(); err != nil {
			return nil, err
		}
	}
	return p.Rest, nil
}

// parseVerb takes what follows the verb.
func (c *Call) parseVerb(args []string) error {
	v := c.Verb
	p := Parser{Rest: args, Options: append(c.options(), v.Options...), context: "ipcctl " + v.Name, typed: c.Typed, table: c.Table}
	defer func() { c.Typed = p.typed }()
	ended := false // the options, by a "--" that does not begin CMD
	for len(p.Rest) > 0 {
		word := p.Rest[0]
		named := v.Grammar == NameCommand && len(c.Words) > 0 // CMD may begin
		switch {
		case word == "--" && v.dashesCommand(len(c.Words)):
			c.Command, c.dashes, p.Rest = p.Rest[1:], true, nil
		case word == "--" && !ended:
			ended = true
			p.Rest = p.Rest[1:]
		case isOption(word) && !ended:
			if err := p.Option(); err != nil {
				return err
			}
		case named:
			c.Command, p.Rest = p.Rest, nil
		default:
			c.Words = append(c.Words, word)
			p.Rest = p.Rest[1:]
		}
	}
	if c.Help {
		return nil
	}
	return c.count()
}

// dashesCommand reports whether a "--" after so many words begins CMD; else it ends the options.
func (v *Verb) dashesCommand(words int) bool {
	return v.Grammar == NameCommand && words > 0 || v.Grammar == WordsCommand && words >= v.Least
}

// count checks how many words there are.
func (c *Call) count() error {
	v := c.Verb
	switch n := len(c.Words); {
	case n < v.Least:
		return exit.Unparsed(v.Name, v.word(n)+" is missing").With(v.Usage())
	case n > v.Most && v.Most == 0:
		return exit.Unparsed(strconv.Quote(c.Words[0]), v.Name+" takes no words").With(v.Usage())
	case n > v.Most:
		return exit.Unparsed(strconv.Quote(c.Words[v.Most]), "one word too many").With(v.Usage())
	case c.dashes && len(c.Command) == 0:
		return exit.Unparsed(v.Name, "CMD is missing after --").With(v.Usage())
	}
	return nil
}
