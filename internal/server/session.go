package server

import (
	"container/list"
	"errors"
	"log/slog"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// A session is a connection with what hangs on it: who the peer is, what it waits for and holds. There may be very many, nearly all of
// them idle: what an idle one need not have hangs on a pointer.
type session struct {
	conn.Conn
	server *Server

	id     uint64
	peer   peer.Peer
	proto  wire.Proto
	state  sessionState
	active uint32 // Server.age at the last command
	born   uint32 // likewise, of the connection

	last    *command // the last command, for CLIENT LIST
	more    *extras  // what most sessions never need
	process *process // the watched process of the peer, after its first lock
}

// extras is the part of a session that an idle one does without.
type extras struct {
	name, libName, libVer string
	stamp                 []byte                          // the sender's part of its messages, encoded
	held                  int                             // locks that end with this connection and have no REQID
	wait                  lockmgr.RequestID               // what holds up the execution of later commands; 0: nothing, or a reload
	task                  *task                           // what it waits for, if that is its own work
	transaction           *transaction                    // what it has asked for since MULTI
	untold                []lockmgr.Effect                // what it was granted when it had ended
	ancestors             []lockmgr.Process               // as process.ancestors, for requests that no process is watched for
	detaching             bool                            // some of these are detached, and not all: see detach
	requests              requestSet                      // those with a REQID that wait on this connection, or were granted here
	follows               map[lockmgr.Token]*list.Element // itself, in what stands under the token in followers
}

// locks is how many locks end with the connection.
func (x *extras) locks() int { return x.held + x.requests.bound() }

// noSession stands for one that has ended before the daemon started.
func noSession() *session { return &session{more: new(extras)} }

// user is the account of the peer's user.
func (s *session) user() *account.User { return s.User() }

func (s *session) extra() *extras {
	if s.more == nil {
		s.more = new(extras)
	}
	return s.more
}

// sessionState is a set of flags: what services know of a connection. What it knows itself is asked of it (package conn).
type sessionState uint8

const (
	stateReplyOff      sessionState = 1 << iota // CLIENT REPLY OFF
	stateReplySkipNext                          // CLIENT REPLY SKIP is being executed
	stateReplySkip                              // the reply to the command after it is left out
	stateSubscribed                             // has (or had) subscriptions
	stateSaving                                 // what a command waits for is the disk
	stateProven                                 // the one who asks has proven to be the peer: see IPCD.PROVE
	stateMulti                                  // has said MULTI: see transaction.go
	stateExec                                   // its EXEC is being executed
)

func (s *session) is(f sessionState) bool { return s.state&f != 0 }

// The following is what the connection calls: see conn.Owner.

// Execute executes a command.
func (s *session) Execute(words [][]byte) conn.Outcome { return s.server.dispatch(s, words) }

// Continue goes on with EXEC.
func (s *session) Continue() bool { return s.server.resumeExec(s) }

// HalfClosed ends what waits for a lock, as nobody will take it.
func (s *session) HalfClosed() { s.server.cancelWait(s) }

// Resume goes on with the task of a session.
func (s *session) Resume() {
	if s.more != nil && s.more.task != nil {
		s.server.goOnWith(s)
	}
}

// Closed ends the subscriptions, follows, waits and holds that end with the connection.
func (s *session) Closed() bool {
	if !s.server.dropSubscriptions(s) || !s.server.dropFollows(s) || !s.server.dropWaits(s) || !s.server.detach(s) {
		return false
	}
	s.server.dropLocks(s)
	s.dropTask()
	s.server.dropTransaction(s)
	return true
}

// Failed logs why a connection is ended.
func (s *session) Failed(why error) {
	var proto *wire.ProtoError
	switch {
	case errors.As(why, &proto):
		s.server.log.Debug("a peer does not speak RESP", "event", "protocol-error", "client", s.id, "pid", s.peer.PID,
			"uid", s.peer.UID, "unit", s.peer.Unit, "error", why)
	case errors.Is(why, conn.ErrClogged):
		s.server.tell(slog.LevelWarn, s.peer.UID, "disconnect", "a user's connections were ended: what they sent cannot be closed",
			"pid", s.peer.PID)
	default:
		s.server.tell(slog.LevelWarn, s.peer.UID, "disconnect", "a connection was ended", "reason", why.Error(), "client", s.id,
			"pid", s.peer.PID, "unit", s.peer.Unit)
	}
}

// Proto is the protocol that HELLO has asked for.
func (s *session) Proto() wire.Proto { return s.proto }

// Receives tells the subscriptions of BUS.SUB, which lose messages and are told, from those of Redis's commands.
func (s *session) Receives() (lossy, strict bool) {
	if !s.is(stateSubscribed) {
		return false, false
	}
	enveloped := s.server.bus.Enveloped(s)
	return s.server.bus.Count(s, bus.Filter)+enveloped > 0, int(s.server.redisCount(s)) > enveloped
}

// Dropped counts messages for IPCD.STATUS.
func (s *session) Dropped(n int) { s.server.stats.dropped += uint64(n) }
