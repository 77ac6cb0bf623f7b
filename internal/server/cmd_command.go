package server

import (
	"slices"
	"strings"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/ipc/wire"
)

var commandCommands = map[string]func(*Server, *call){
	"COMMAND":                 (*Server).commandAll,
	"COMMAND COUNT":           func(_ *Server, c *call) { c.integer(int64(len(topCommands))) },
	"COMMAND LIST":            (*Server).commandList,
	"COMMAND INFO":            (*Server).commandInfo,
	"COMMAND DOCS":            (*Server).commandDocs,
	"COMMAND GETKEYS":         (*Server).commandGetKeys,
	"COMMAND GETKEYSANDFLAGS": (*Server).commandGetKeys,
	"COMMAND HELP":            (*Server).help,
	"CLIENT HELP":             (*Server).help,
	"CONFIG HELP":             (*Server).help,
	"PUBSUB HELP":             (*Server).help,
}

// A topCommand is a command as COMMAND counts them: with its subcommands.
type topCommand struct {
	name string
	row  *wire.Command // nil if there are only subcommands
	subs []*wire.Command
}

// topCommands are the rows of the command table, grouped, in its order.
var topCommands = groupCommands()

func groupCommands() []*topCommand {
	var all []*topCommand
	at := map[string]*topCommand{}
	for i := range wire.Commands {
		row := &wire.Commands[i]
		first, _, sub := strings.Cut(row.Name, " ")
		t := at[first]
		if t == nil {
			t = &topCommand{name: strings.ToLower(first)}
			at[first] = t
			all = append(all, t)
		}
		if sub {
			t.subs = append(t.subs, row)
		} else {
			t.row = row
		}
	}
	return all
}

func findTop(name []byte) *topCommand {
	for _, t := range topCommands {
		if strings.EqualFold(t.name, string(name)) {
			return t
		}
	}
	return nil
}

func (s *Server) commandAll(c *call) {
	c.array(len(topCommands))
	for _, t := range topCommands {
		c.topInfo(t)
	}
}

func (s *Server) commandInfo(c *call) {
	if len(c.args) == 0 {
		s.commandAll(c)
		return
	}
	c.array(len(c.args))
	for _, a := range c.args {
		if t := findTop(a); t != nil {
			c.topInfo(t)
		} else {
			c.null()
		}
	}
}

func (c *call) topInfo(t *topCommand) {
	row := t.row
	if row == nil {
		row = &wire.Command{Min: 2, Family: t.subs[0].Family}
	}
	c.info(t.name, row, t.subs)
}

// info is one element of COMMAND's reply: name, arity, flags, first key, last key, step, ACL categories, tips, key
// specifications, subcommands. Here are no keys.
func (c *call) info(name string, row *wire.Command, subs []*wire.Command) {
	p := c.sess.proto
	c.array(10)
	c.bulk(name)
	c.integer(int64(row.Arity()))
	var flags []string
	if row.Flags&wire.FlagSubscribed != 0 {
		flags = append(flags, "pubsub")
	}
	if row.Flags&wire.FlagBlocks != 0 {
		flags = append(flags, "blocking")
	}
	if row.Flags&wire.FlagNoMulti != 0 {
		flags = append(flags, "no_multi")
	}
	if row.Access == wire.AccessAdmin {
		flags = append(flags, "admin")
	}
	c.out = p.AppendSet(c.out, len(flags))
	for _, f := range flags {
		c.out = wire.AppendSimple(c.out, f)
	}
	c.integer(0)
	c.integer(0)
	c.integer(0)
	c.out = p.AppendSet(c.out, 1)
	c.out = wire.AppendSimple(c.out, "@"+row.Family.String())
	c.array(0)
	c.array(0)
	c.array(len(subs))
	for _, sub := range subs {
		c.info(lowerBar(sub.Name), sub, nil)
	}
}

// lowerBar is a command's name as Redis shows it: "client|list".
func lowerBar(name string) string { return strings.ReplaceAll(strings.ToLower(name), " ", "|") }

func (s *Server) commandList(c *call) {
	keep := func(*topCommand) bool { return true }
	switch {
	case len(c.args) == 0:
	case len(c.args) != 3 || c.arg(0) != "FILTERBY":
		c.syntax()
		return
	default:
		value := string(c.args[2])
		switch c.arg(1) {
		case "MODULE":
			keep = func(*topCommand) bool { return false }
		case "ACLCAT":
			keep = func(t *topCommand) bool { return t.family().String() == strings.TrimPrefix(value, "@") }
		case "PATTERN":
			if err := bus.CheckGlob(value); err != nil {
				c.fail(wire.CodeBadName, "%v", err)
				return
			}
			glob := bus.CompileGlob(strings.ToLower(value))
			keep = func(t *topCommand) bool { return glob.MatchString(t.name) }
		default:
			c.syntax()
			return
		}
	}
	var names []string
	for _, t := range topCommands {
		if keep(t) {
			names = append(names, t.name)
		}
	}
	c.array(len(names))
	for _, n := range names {
		c.bulk(n)
	}
}

func (t *topCommand) family() wire.Family {
	if t.row != nil {
		return t.row.Family
	}
	return t.subs[0].Family
}

func (s *Server) commandDocs(c *call) {
	var tops []*topCommand
	if len(c.args) == 0 {
		tops = topCommands
	}
	for _, a := range c.args {
		if t := findTop(a); t != nil {
			tops = append(tops, t)
		}
	}
	c.mapping(len(tops))
	for _, t := range tops {
		c.bulk(t.name)
		row := t.row
		if row == nil {
			row = &wire.Command{Family: t.family(), Summary: "A container for " + strings.ToUpper(t.name) + " commands"}
		}
		c.docs(row, t.subs)
	}
}

// docs is the map that COMMAND DOCS has for a command.
func (c *call) docs(row *wire.Command, subs []*wire.Command) {
	kv := []string{"summary", row.Summary, "group", row.Family.String()}
	for _, more := range [][2]string{{"synopsis", row.Args}, {"reply", row.Reply}, {"note", row.Note}} {
		if more[1] != "" {
			kv = append(kv, more[0], more[1])
		}
	}
	pairs := len(kv) / 2
	if len(subs) > 0 {
		pairs++
	}
	c.mapping(pairs)
	for _, text := range kv {
		c.bulk(text)
	}
	if len(subs) == 0 {
		return
	}
	c.bulk("subcommands")
	c.mapping(len(subs))
	for _, sub := range subs {
		c.bulk(lowerBar(sub.Name))
		c.docs(sub, nil)
	}
}

// commandGetKeys says of every command what Redis says of one without keys.
func (s *Server) commandGetKeys(c *call) {
	t := findTop(c.args[0])
	if t == nil || t.row == nil && !slices.ContainsFunc(t.subs, func(sub *wire.Command) bool { return strings.EqualFold(sub.Name, t.name+" "+string(c.args[1])) }) {
		c.fail(wire.CodeErr, "Invalid command specified")
		return
	}
	c.fail(wire.CodeErr, "The command has no key arguments")
}

// help shows the subcommands of a command, in the form that Redis gives it.
func (s *Server) help(c *call) {
	name, _, _ := strings.Cut(c.cmd.Name, " ")
	subs := findTop([]byte(name)).subs
	c.array(1 + 2*len(subs))
	c.out = wire.AppendSimple(c.out, name+" <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
	for _, sub := range subs {
		c.out = wire.AppendSimple(c.out, strings.TrimSpace(strings.TrimPrefix(sub.Name, name+" ")+" "+sub.Args))
		c.out = wire.AppendSimple(c.out, "    "+sub.Summary+".")
	}
}
