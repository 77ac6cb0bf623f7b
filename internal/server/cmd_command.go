package server

import (
	"slices"
	"strings"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

func (s *Server) commandCommands() map[string]session.Handler {
	return map[string]session.Handler{
		"COMMAND":                 s.commandAll,
		"COMMAND COUNT":           func(c *session.Call) { c.Integer(int64(len(topCommands))) },
		"COMMAND LIST":            s.commandList,
		"COMMAND INFO":            s.commandInfo,
		"COMMAND DOCS":            s.commandDocs,
		"COMMAND GETKEYS":         s.commandGetKeys,
		"COMMAND GETKEYSANDFLAGS": s.commandGetKeys,
		"COMMAND HELP":            s.help,
		"CLIENT HELP":             s.help,
		"CONFIG HELP":             s.help,
		"PUBSUB HELP":             s.help,
	}
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

func (s *Server) commandAll(c *session.Call) {
	c.Array(len(topCommands))
	for _, t := range topCommands {
		topInfo(c, t)
	}
}

func (s *Server) commandInfo(c *session.Call) {
	if len(c.Args) == 0 {
		s.commandAll(c)
		return
	}
	c.Array(len(c.Args))
	for _, a := range c.Args {
		if t := findTop(a); t != nil {
			topInfo(c, t)
		} else {
			c.Null()
		}
	}
}

func topInfo(c *session.Call, t *topCommand) {
	row := t.row
	if row == nil {
		row = &wire.Command{Min: 2, Family: t.subs[0].Family}
	}
	commandInfoOf(c, t.name, row, t.subs)
}

// commandInfoOf is one element of COMMAND's reply: name, arity, flags, first key, last key, step, ACL categories, tips, key
// specifications, subcommands. Here are no keys.
func commandInfoOf(c *session.Call, name string, row *wire.Command, subs []*wire.Command) {
	p := c.Session.Proto()
	c.Array(10)
	c.Bulk(name)
	c.Integer(int64(row.Arity()))
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
	c.Out = p.AppendSet(c.Out, len(flags))
	for _, f := range flags {
		c.Out = wire.AppendSimple(c.Out, f)
	}
	c.Integer(0)
	c.Integer(0)
	c.Integer(0)
	c.Out = p.AppendSet(c.Out, 1)
	c.Out = wire.AppendSimple(c.Out, "@"+row.Family.String())
	c.Array(0)
	c.Array(0)
	c.Array(len(subs))
	for _, sub := range subs {
		commandInfoOf(c, lowerBar(sub.Name), sub, nil)
	}
}

// lowerBar is a command's name as Redis shows it: "client|list".
func lowerBar(name string) string { return strings.ReplaceAll(strings.ToLower(name), " ", "|") }

func (s *Server) commandList(c *session.Call) {
	keep := func(*topCommand) bool { return true }
	switch {
	case len(c.Args) == 0:
	case len(c.Args) != 3 || c.Keyword(0) != "FILTERBY":
		c.Syntax()
		return
	default:
		value := string(c.Args[2])
		switch c.Keyword(1) {
		case "MODULE":
			keep = func(*topCommand) bool { return false }
		case "ACLCAT":
			keep = func(t *topCommand) bool { return t.family().String() == strings.TrimPrefix(value, "@") }
		case "PATTERN":
			if err := bus.CheckGlob(value); err != nil {
				c.Fail(wire.CodeBadName, "%v", err)
				return
			}
			glob := bus.CompileGlob(strings.ToLower(value))
			keep = func(t *topCommand) bool { return glob.MatchString(t.name) }
		default:
			c.Syntax()
			return
		}
	}
	var names []string
	for _, t := range topCommands {
		if keep(t) {
			names = append(names, t.name)
		}
	}
	c.Array(len(names))
	for _, n := range names {
		c.Bulk(n)
	}
}

func (t *topCommand) family() wire.Family {
	if t.row != nil {
		return t.row.Family
	}
	return t.subs[0].Family
}

func (s *Server) commandDocs(c *session.Call) {
	var tops []*topCommand
	if len(c.Args) == 0 {
		tops = topCommands
	}
	for _, a := range c.Args {
		if t := findTop(a); t != nil {
			tops = append(tops, t)
		}
	}
	c.Map(len(tops))
	for _, t := range tops {
		c.Bulk(t.name)
		row := t.row
		if row == nil {
			row = &wire.Command{Family: t.family(), Summary: "A container for " + strings.ToUpper(t.name) + " commands"}
		}
		commandDocsOf(c, row, t.subs)
	}
}

// commandDocsOf is the map that COMMAND DOCS has for a command.
func commandDocsOf(c *session.Call, row *wire.Command, subs []*wire.Command) {
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
	c.Map(pairs)
	for _, text := range kv {
		c.Bulk(text)
	}
	if len(subs) == 0 {
		return
	}
	c.Bulk("subcommands")
	c.Map(len(subs))
	for _, sub := range subs {
		c.Bulk(lowerBar(sub.Name))
		commandDocsOf(c, sub, nil)
	}
}

// commandGetKeys says of every command what Redis says of one without keys.
func (s *Server) commandGetKeys(c *session.Call) {
	t := findTop(c.Args[0])
	if t == nil || t.row == nil && !slices.ContainsFunc(t.subs, func(sub *wire.Command) bool { return strings.EqualFold(sub.Name, t.name+" "+string(c.Args[1])) }) {
		c.Fail(wire.CodeErr, "Invalid command specified")
		return
	}
	c.Fail(wire.CodeErr, "The command has no key arguments")
}

// help shows the subcommands of a command, in the form that Redis gives it.
func (s *Server) help(c *session.Call) {
	name, _, _ := strings.Cut(c.Row.Name, " ")
	subs := findTop([]byte(name)).subs
	c.Array(1 + 2*len(subs))
	c.Out = wire.AppendSimple(c.Out, name+" <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
	for _, sub := range subs {
		c.Out = wire.AppendSimple(c.Out, strings.TrimSpace(strings.TrimPrefix(sub.Name, name+" ")+" "+sub.Args))
		c.Out = wire.AppendSimple(c.Out, "    "+sub.Summary+".")
	}
}
