package session

import (
	"errors"
	"log/slog"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A Session is a connection with what hangs on it: who the peer is, what it waits for and has asked for. There may be very many, nearly
// all of them idle: what an idle one need not have hangs on a pointer, and so does what services know of it (see [Part]).
type Session struct {
	conn.Conn
	set *Set

	ID    uint64
	Peer  peer.Peer
	proto wire.Proto
	state State

	active uint32 // Set.second at the last command
	born   uint32 // likewise, of the connection

	last *wire.Command // the last command, for CLIENT LIST
	more *extras       // what most sessions never need
}

// extras is the part of a session that an idle one does without.
type extras struct {
	stamp       []byte       // the sender's part of its messages, encoded
	awaits      awaited      // what holds up the execution of later commands, if that can be cancelled
	task        *Task        // what it waits for, if that is its own work
	transaction *Transaction // what it has asked for since MULTI
	parts       []any        // of services: see Part
	read        []func()     // what waits until the peer has read: see WhenRead
	ended       string       // why, if that is not the peer's doing
}

// None stands for a session that has ended before the daemon started.
func None() *Session { return &Session{more: new(extras)} }

// Set is the set that the session is one of.
func (s *Session) Set() *Set { return s.set }

func (s *Session) extra() *extras {
	if s.more == nil {
		s.more = new(extras)
	}
	return s.more
}

// A State is a set of flags, of what a connection does not know itself: that is asked of it (package conn).
type State uint8

// What services know of a connection.
const (
	ReplyOff      State = 1 << iota // CLIENT REPLY OFF
	ReplySkipNext                   // CLIENT REPLY SKIP is being executed
	ReplySkip                       // the reply to the command after it is left out
	Subscribed                      // has (or had) subscriptions
	Saving                          // what a command waits for is the disk
	Proven                          // the one who asks has proven to be the peer: see IPCD.PROVE
	InMulti                         // has said MULTI: see transaction.go
	InExec                          // its EXEC is being executed
)

// Is reports whether one of these flags is set.
func (s *Session) Is(f State) bool { return s.state&f != 0 }

// Mark sets flags.
func (s *Session) Mark(f State) { s.state |= f }

// Unmark clears flags.
func (s *Session) Unmark(f State) { s.state &^= f }

// State is all flags, for those who print them.
func (s *Session) State() State { return s.state }

// Note takes note that the session executes a command.
func (s *Session) Note(row *wire.Command) { s.last, s.active = row, s.set.second() }

// Last is the last command, nil if there was none.
func (s *Session) Last() *wire.Command { return s.last }

// Age is for how many seconds there is the session.
func (s *Session) Age() uint32 { return s.set.second() - s.born }

// Idle is for how many it has executed nothing.
func (s *Session) Idle() uint32 { return s.set.second() - s.active }

// SetProto changes the protocol. The open range is in the buffer of the protocol that the session had.
func (s *Session) SetProto(p wire.Proto) {
	if s.proto != p {
		s.Unfollow()
		s.proto = p
	}
}

// Stamp is the sender's part of the session's messages: see [AppendStamp].
func (s *Session) Stamp() []byte {
	x := s.extra()
	if x.stamp == nil {
		x.stamp = AppendStamp(nil, &s.Peer)
	}
	return x.stamp
}

// AppendStamp encodes the sender's part of a message: pid, uid, unit.
func AppendStamp(b []byte, p *peer.Peer) []byte {
	b = wire.AppendInt(b, int64(p.PID))
	b = wire.AppendInt(b, int64(p.UID))
	return wire.AppendBulk(b, p.Unit)
}

// Count counts what the session has and its user is charged for, beside what services have given it.
func (s *Session) Count(found account.Count) {
	if x := s.more; x != nil && x.transaction != nil {
		found.Add(s.User().UID(), account.Input, x.transaction.input.Amount())
		found.Add(s.User().UID(), account.Output, x.transaction.output.Amount())
	}
	s.checkTransaction()
}

// The following is what the connection calls: see conn.Owner. What is known to services goes to the host.

// Execute executes a command.
func (s *Session) Execute(words [][]byte) conn.Outcome { return s.set.host.Execute(s, words) }

// Continue goes on with EXEC.
func (s *Session) Continue() bool { return s.set.host.Continue(s) }

// HalfClosed has what the session waits for be cancelled, as nobody will take it. What cannot be, a reload or the disk, goes on.
func (s *Session) HalfClosed() {
	if x := s.more; x != nil && x.awaits.by != nil {
		x.awaits.by.CancelWait(x.awaits.ticket)
	}
}

// Resume goes on with the task of a session, and with what waits for its peer to read.
func (s *Session) Resume() {
	if s.more == nil {
		return
	}
	if s.more.task != nil {
		s.goOnWithTask()
	}
	if t := s.more.transaction; t != nil && t.heldUp && !s.heldUpBy(&t.replies) {
		t.heldUp = false
		s.GoOn()
	}
	for x := s.more; len(x.read) > 0 && !s.HeldUp(); {
		f := x.read[0]
		x.read[0] = nil
		if x.read = x.read[1:]; len(x.read) == 0 {
			x.read = nil
		}
		f()
		if len(x.read) > 0 && s.set.Net.Over() && !s.set.Stopping {
			s.Queue()
			return
		}
	}
}

// WhenRead has a function be called when the socket has taken all that the peer is to be sent, in its user's turn; or never, if the
// connection ends before.
func (s *Session) WhenRead(f func()) {
	s.extra().read = append(s.extra().read, f)
	if !s.HeldUp() {
		s.Queue()
	}
}

// Closed ends what ends with the connection: of the services first, and then its own.
func (s *Session) Closed() bool {
	if !s.set.host.Closed(s) {
		return false
	}
	s.dropTask()
	s.DropTransaction()
	return true
}

// EndedFor notes why a connection ends, if its peer has not ended it. The first reason is the one.
func (s *Session) EndedFor(why string) {
	if x := s.extra(); x.ended == "" {
		x.ended = why
	}
}

// WhyEnded is why a connection has ended, "" if that was its peer's doing.
func (s *Session) WhyEnded() string {
	if s.more == nil {
		return ""
	}
	return s.more.ended
}

// Failed notes, and logs, why a connection is ended.
func (s *Session) Failed(why error) {
	s.EndedFor(why.Error())
	var proto *wire.ProtoError
	switch {
	case errors.As(why, &proto):
		s.set.Log.Debug("a peer does not speak RESP", "event", "protocol-error", "client", s.ID, "pid", s.Peer.PID,
			"uid", s.Peer.UID, "unit", s.Peer.Unit, "error", why)
	case errors.Is(why, conn.ErrClogged): // which is told once
		for other := range s.set.All() {
			if other.User() == s.User() {
				other.EndedFor(why.Error())
			}
		}
		s.set.LogAbout(slog.LevelWarn, s.Peer.UID, "disconnect", "a user's connections were ended: what they sent cannot be closed",
			"pid", s.Peer.PID)
	default:
		s.set.LogAbout(slog.LevelWarn, s.Peer.UID, "disconnect", "a connection was ended", "reason", why.Error(), "client", s.ID,
			"pid", s.Peer.PID, "unit", s.Peer.Unit)
	}
}

// Proto is the protocol that HELLO has asked for.
func (s *Session) Proto() wire.Proto { return s.proto }

// Receives tells the subscriptions that lose messages and are told from those that cannot be told.
func (s *Session) Receives() (lossy, strict bool) {
	if !s.Is(Subscribed) {
		return false, false
	}
	return s.set.host.Receives(s)
}

// Dropped counts messages that were given up.
func (s *Session) Dropped(n int) {
	s.set.host.Dropped(n)
	s.Lost(n)
}

// Taken says that the peer has read what was awaited: see [conn.Conn.AwaitTaken].
func (s *Session) Taken() { s.set.host.Taken(s) }

// HasRoom is that some of what waits for the session has been written, or never will be.
func (s *Session) HasRoom() { s.set.host.HasRoom(s) }

// Lost takes note that the session misses n messages more of those that it is told to miss, when it reads.
func (s *Session) Lost(n int) { s.set.host.Lost(s, n) }
