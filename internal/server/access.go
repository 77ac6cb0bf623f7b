package server

import (
	"bytes"

	"github.com/ipcd/ipcd/internal/lockname"
	"github.com/ipcd/ipcd/internal/policy"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// What a peer may do is asked here and nowhere else, by two questions: see package policy. The dispatcher asks, once and before a
// command's handler, whether it may have what its words name. A handler asks mayAct, when an engine or the kernel has told it whose
// it is what the command would touch.

// permitted asks for the access that a command's row wants, to each of the names among its words, which have to be names then. It
// reports whether there is all of it, and has the reply ready if not.
func (c *call) permitted(s *Server) bool {
	row := c.cmd.Command
	if row.Access == wire.AccessNone {
		return true
	}
	if !row.Names.First {
		return c.permittedTo(s, []byte(row.Name))
	}
	for at := 0; ; {
		name, next := nextName(&row.Names, c.args, at)
		if name < 0 {
			return true
		}
		if !c.permittedTo(s, c.args[name]) {
			return false
		}
		at = next
	}
}

func (c *call) permittedTo(s *Server, name []byte) bool {
	switch c.cmd.Access {
	case wire.AccessLook, wire.AccessLock, wire.AccessBreak:
		if err := lockname.Check(name); err != nil {
			c.fail(wire.CodeBadName, "%v", err)
			return false
		}
	}
	if err := s.rules.Allow(c.who(), c.cmd.Access, name); err != nil {
		c.fail(wire.CodeDenied, "%v", err)
		return false
	}
	return true
}

// who is the peer as policy sees it.
func (c *call) who() policy.Peer { return policy.Peer{UID: c.sess.peer.UID} }

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

// mayAct reports whether the caller may do something to what is a user's.
func (c *call) mayAct(uid uint32) bool { return policy.Owns(c.who(), uid) }

// owns checks that the caller may do something to a hold.
func (c *call) owns(hold *lockmgr.Claim) bool {
	if !c.mayAct(hold.UID) {
		c.fail(wire.CodeDenied, "%q is held by user %d", hold.Name, hold.UID)
		return false
	}
	return true
}
