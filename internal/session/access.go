package session

import "github.com/ipcd/ipcd/internal/policy"

// What a peer may do is asked by two questions: see package policy. The dispatcher asks, once and before a command's handler, whether it
// may have what its words name. A handler asks MayAct, when an engine or the kernel has told it whose it is what the command would
// touch. Nobody else compares users.

// Who is the peer as policy sees it.
func (c *Call) Who() policy.Peer { return policy.Peer{UID: c.Session.Peer.UID} }

// MayAct reports whether the caller may do something to what is a user's.
func (c *Call) MayAct(uid uint32) bool { return policy.Owns(c.Who(), uid) }
