// Package policy says who may do what. It is pure: what it decides by is handed to it, so the same question has the same answer in
// a test, at a reload and in the daemon.
//
// There are two questions. The first, [Rules.Allow], is about what a command names, and is asked once, before anything of the
// command is done: by the dispatcher, which knows from the command's row what access it asks for and which of its words are names.
// The second, [Owns], is about what a command finds: whose a hold is is known only to the lock engine, and whose a process is to
// the kernel. It is asked when that is found, before it is touched.
//
// Nobody else compares users.
package policy

import (
	"bytes"
	"fmt"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A Peer is who asks, as the kernel knows it.
type Peer struct {
	UID uint32
}

// root may do what any user may.
const root = 0

// Rules are what is decided by.
type Rules struct {
	Daemon   uint32 // the user that the daemon runs as
	Reserved []byte // what the names begin with that are the daemon's own
}

// Allow is nil if a peer has a right to what is named: a topic, a filter, a lock, or of AccessAdmin the command itself. Else it says
// why not, in words for the peer.
func (r *Rules) Allow(who Peer, access wire.Access, name []byte) error {
	switch access {
	case wire.AccessPublish:
		if bytes.HasPrefix(name, r.Reserved) {
			return fmt.Errorf("topics under %s are the daemon's own", r.Reserved)
		}
	case wire.AccessLook, wire.AccessLock, wire.AccessBreak:
		if bytes.HasPrefix(name, r.Reserved) {
			return fmt.Errorf("names under %s are the daemon's own", r.Reserved)
		}
	case wire.AccessAdmin:
		if who.UID != root && who.UID != r.Daemon {
			return fmt.Errorf("%s is for root and the user of the daemon", name)
		}
	}
	return nil
}

// Owns reports whether a peer may do something to what is a user's: a hold, a process, a connection.
func Owns(who Peer, uid uint32) bool { return who.UID == root || who.UID == uid }
