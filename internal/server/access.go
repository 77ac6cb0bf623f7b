package server

import (
	"bytes"

	"github.com/ipcd/ipcd/internal/lockname"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// The first of the two questions by which is asked what a peer may do: see session.Call.MayAct for the other. The dispatcher asks it, once
// and before a command's handler.

// permitted asks for the access that a command's row wants, to each of the names among its words, which have to be names then. It
// reports whether there is all of it, and has the reply ready if not.
func (s *Server) permitted(c *session.Call) bool {
	row := c.Row
	if row.Access == wire.AccessNone {
		return true
	}
	switch names := &row.Names; {
	case !names.First:
		return s.permittedTo(c, []byte(row.Name))
	case !names.Rest && len(names.Options) == 0 && len(c.Args) > 0:
		return s.permittedTo(c, c.Args[0])
	}
	for at := 0; ; {
		name, next := nextName(&row.Names, c.Args, at)
		if name < 0 {
			return true
		}
		if !s.permittedTo(c, c.Args[name]) {
			return false
		}
		at = next
	}
}

func (s *Server) permittedTo(c *session.Call, name []byte) bool {
	switch c.Row.Access {
	case wire.AccessLook, wire.AccessLock, wire.AccessBreak:
		if err := lockname.Check(name); err != nil {
			c.Fail(wire.CodeBadName, "%v", err)
			return false
		}
	}
	if err := s.rules.Allow(c.Who(), c.Row.Access, name); err != nil {
		c.Fail(wire.CodeDenied, "%v", err)
		return false
	}
	return true
}

// nextName finds the next name among the arguments, looking from a place on that it has returned, from 0 at first. There is none if
// name is below 0. Words that make no sense are left to the handler, which refuses the command for them.
func nextName(names *wire.Names, args [][]byte, at int) (name, next int) {
	if at == 0 || names.Rest {
		if at < len(args) {
			return at, at + 1
		}
		return -1, at
	}
	if len(names.Options) == 0 {
		return -1, at
	}
	for at < len(args) {
		o := option(names.Options, args[at])
		name, next = at+o.Name, at+1+o.Values
		if o.Name > 0 && name < len(args) {
			return name, next
		}
		at = next
	}
	return -1, at
}

// option is what belongs to a word, if it is an option: one value, unless the row says otherwise.
func option(special []wire.Option, word []byte) wire.Option {
	for i := range special {
		if o := &special[i]; len(o.Word) == len(word) && bytes.EqualFold(word, []byte(o.Word)) {
			return *o
		}
	}
	return wire.Option{Values: 1}
}
