package server

import (
	"container/list"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// A session is one connection. There may be very many, nearly all of them idle: what an idle one need not have hangs
// on a pointer, and buffers exist only while they hold something.
type session struct {
	id     uint64
	fd     int
	peer   peer.Peer
	proto  wire.Proto
	state  sessionState
	ready  uint16 // what epoll said and nobody has looked at: its flags are small numbers
	events uint32 // what epoll watches for

	// Input.
	parser wire.RequestParser
	in     []byte // bytes read and not executed, from the pool; nil if none

	// Output. See outbox.go.
	outbox

	charge  account.Charge // for the connection
	next    *session       // in the queue of its user
	active  uint32         // Server.age at the last command
	born    uint32         // likewise, of the connection
	last    *command       // the last command, for CLIENT LIST
	more    *extras        // what most sessions never need
	process *process       // the watched process of the peer, after its first lock
}

// extras is the part of a session that an idle one does without.
type extras struct {
	input, output         account.Charge // for bytes of input, and of own
	name, libName, libVer string
	fds                   []int                           // received and not yet claimed by a command
	stamp                 []byte                          // the sender's part of its messages, encoded
	held                  int                             // locks that end with this connection and have no REQID
	wait                  lockmgr.RequestID               // what holds up the execution of later commands; 0: nothing, or a reload
	task                  *task                           // what it waits for, if that is its own work
	long                  *longReply                      // what is written before the outbox
	transaction           *transaction                    // what it has asked for since MULTI
	untold                []lockmgr.Effect                // what it was granted when it had ended
	ancestors             []lockmgr.Process               // as process.ancestors, for requests that no process is watched for
	requests              map[*request]struct{}           // those with a REQID that wait on this connection, or were granted here
	follows               map[lockmgr.Token]*list.Element // itself, in what stands under the token in followers
}

// locks is how many locks end with the connection.
func (x *extras) locks() int {
	n := x.held
	for r := range x.requests {
		n += r.bound
	}
	return n
}

// user is the account of the peer's user.
func (s *session) user() *account.User { return s.charge.User() }

// Next is where a session keeps who stands behind it in the queue of their user.
func (s *session) Next() **session { return &s.next }

func (s *session) extra() *extras {
	if s.more == nil {
		s.more = &extras{input: s.user().Charge(account.Input, 0), output: s.user().Charge(account.Output, 0)}
	}
	return s.more
}

// sessionState is a set of flags.
type sessionState uint32

const (
	stateTouched       sessionState = 1 << iota // in the list of those to flush at the turn's end
	stateWaiting                                // a command waits: later ones are not executed
	stateHalfClosed                             // the peer sends no more; there may be something left to read
	stateEOF                                    // and all of it is read
	stateClosing                                // ends when its outbox is empty
	stateDead                                   // ended; the descriptor is closed at the turn's end
	stateReplyOff                               // CLIENT REPLY OFF
	stateReplySkipNext                          // CLIENT REPLY SKIP is being executed
	stateReplySkip                              // the reply to the command after it is left out
	stateRunnable                               // in the list of those with input to execute though nothing is to be read
	stateSubscribed                             // has (or had) subscriptions
	stateSliced                                 // used up its time in this turn: goes on in a later one
	stateSaving                                 // what a command waits for is the disk
	stateSlow                                   // its commands took long when they were last measured
	stateHungUp                                 // the peer is gone: it reads no more either
	stateProven                                 // the one who asks has proven to be the peer: see IPCD.PROVE
	stateQueued                                 // in the queue of its user
	stateLate                                   // touched, and in the queue of its user: the turn had no time to write to it
	stateParked                                 // waits for the line: see delivery.go
	stateMulti                                  // has said MULTI: see transaction.go
	stateExec                                   // its EXEC is being executed
)

func (s *session) is(f sessionState) bool { return s.state&f != 0 }

// maxPassedFDs is how many descriptors a peer may have sent with commands that are not executed yet.
const maxPassedFDs = 8

// takeFD is the oldest descriptor that came with this connection's bytes, or -1. The caller owns it.
func (s *session) takeFD() int {
	if s.more == nil || len(s.more.fds) == 0 {
		return -1
	}
	fd := s.more.fds[0]
	s.more.fds = s.more.fds[1:]
	return fd
}
