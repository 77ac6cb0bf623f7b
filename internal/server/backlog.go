package server

import (
	"bytes"
	"math"
	"strconv"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/ipc/wire"
)

// The backlog of a blocked session is bounded by limits.output, and what all sessions of a user hold together by
// limits.buffers_per_user, of which queued messages get half: a user's own slow subscribers must not use up what his
// other connections need for their commands and replies. Over a bound, a session loses the oldest messages of BUS.SUB
// that wait for it, and is told how many where they would have been. They are found by reading the backlog, which is
// nothing but RESP values, so that nothing need be noted for each message as long as all is well. A Redis subscriber
// cannot be told, and is disconnected, as by Redis.

// enqueue puts a message behind the backlog of a blocked session, if the subscription's policy and the limits let it.
// lost is how many messages the session loses for it: this one, or older ones. seq is the message's number, by which it is
// known as one that the session gets by several of its subscriptions.
func (s *Server) enqueue(sess *session, r *bus.Route[*session], msg []byte, seq uint64) (taken bool, lost int) {
	defer s.account(sess)
	over := s.tooMuch(sess, len(msg))
	if r.Kind != bus.Filter {
		if over {
			s.endBehind(sess)
			return false, 1
		}
		s.appendMessage(sess, msg, seq)
		return true, 0
	}
	for over && sess.hasBefore(seq) {
		lost += s.dropPart(sess)
		s.account(sess)
		over = s.tooMuch(sess, len(msg))
	}
	if over || lost == 0 && sess.dropping && sess.backlog() > s.opts.Limits.Output/2 {
		// What is there is not messages, or must not be touched.
		sess.dropping = true
		sess.lose(r.Text)
		return false, lost + 1
	}
	sess.dropping = false
	sess.tellLosses()
	s.appendMessage(sess, msg, seq)
	return true, lost
}

// tooMuch reports whether a message of so many bytes is too much for a session's backlog, or for its user.
func (s *Server) tooMuch(sess *session, size int) bool {
	grows := len(sess.own) + size - cap(sess.own)
	return sess.backlog()+size > s.opts.Limits.Output || grows > 0 && (s.overMessages(sess, grows) || s.overBuffers(sess, grows))
}

// isFullOf reports whether there is no room left in the backlog of a blocked session but that of other copies of a message: to drop
// one of them for the next helps nobody, and takes time for each of a connection's subscriptions.
func (s *Server) isFullOf(sess *session, m *message) bool {
	return s.tooMuch(sess, len(m.payload)) && !sess.hasBefore(m.seq)
}

// overMessages reports whether more bytes of messages would be too much for a session's user.
func (s *Server) overMessages(sess *session, more int) bool {
	return sess.user().Exceeds(account.Output, more)
}

// settleBlocked has a session keep to the limits whose socket has just become full.
func (s *Server) settleBlocked(sess *session) {
	s.account(sess)
	if s.overMessages(sess, 0) && sess.is(stateSubscribed) && s.bus.Count(sess, bus.Filter) > 0 {
		for sess.hasBefore(math.MaxUint64) {
			s.stats.dropped += uint64(s.dropPart(sess))
		}
		s.account(sess)
	}
	switch {
	case s.overMessages(sess, 0) && s.holdsMessage(sess):
		s.endBehind(sess)
	case s.overBuffers(sess, 0):
		s.kill(sess, "its user's connections do not read what they are sent (limits.buffers_per_user)")
	}
}

// endBehind ends a session that is too far behind, with its backlog at once: the others of its user have its room.
func (s *Server) endBehind(sess *session) {
	s.releaseOwn(sess)
	s.kill(sess, "too far behind its subscriptions")
}

// holdsMessage reports whether there may be a message in a backlog that cannot be dropped: one of a Redis subscription, or
// one that is written in part.
func (s *Server) holdsMessage(sess *session) bool {
	if sess.is(stateSubscribed) && s.redisCount(sess) > 0 {
		return true
	}
	if sess.backlog() == 0 {
		return false
	}
	_, lost := lossOf(sess.oldest())
	return lost > 0
}

// keepPieces makes the backlog of what is left of the pieces when n bytes of them are written.
func (s *Server) keepPieces(sess *session, n int) {
	if len(sess.pieces) == 0 {
		return
	}
	sess.cutOwn()
	rest := s.pool.get()
	for _, p := range sess.pieces {
		b := sess.bytes(p)
		if n >= len(b) {
			n -= len(b)
			continue
		}
		start := 0
		switch {
		case n == 0:
		case p.buf != nil:
			start = p.buf.messageAt(p.start+n) - p.start
		default:
			start, _ = valueAt(b, n)
		}
		rest = append(rest, b[start:]...)
		sess.sent += n - start
		n = 0
	}
	s.pool.put(sess.own)
	sess.own, sess.cut = rest, 0
	sess.dropPieces()
}

// appendLost appends the push that says that n messages of a filter are missing.
func appendLost(b []byte, p wire.Proto, filter string, n int64) []byte {
	b = p.AppendPush(b, 3)
	b = append(b, "$8\r\nbus.lost\r\n"...)
	b = wire.AppendBulk(b, filter)
	return wire.AppendInt(b, n)
}

// lossOf is what a subscriber misses who does not get a value: a message of a filter, or what was missing already; 0 of
// nothing, if the value is something else. The forms are those of [message.append] and appendLost; of replies, which may
// hold whatever somebody called his channels, none has numbers in these places.
func lossOf(v []byte) (filter []byte, n int64) {
	if v[0] != '>' && v[0] != '*' {
		return nil, 0
	}
	if rest, ok := bytes.CutPrefix(v[1:], []byte("9\r\n$11\r\nbus.message\r\n")); ok {
		filter, rest = cutBulk(rest)
		_, rest = cutBulk(rest)
		if _, rest = cutBulk(rest); len(rest) > 0 && rest[0] == ':' {
			return filter, 1
		}
	} else if rest, ok := bytes.CutPrefix(v[1:], []byte("3\r\n$8\r\nbus.lost\r\n")); ok {
		if filter, rest = cutBulk(rest); len(rest) > 0 && rest[0] == ':' {
			n, _ := headOf(rest)
			return filter, int64(n)
		}
	}
	return nil, 0
}

// headOf reads the number in the first line of a value, and returns how long the line is.
func headOf(b []byte) (n, line int) {
	line = bytes.IndexByte(b, '\n') + 1
	n, _ = strconv.Atoi(string(b[1 : line-2])) // what is no number counts nothing
	return n, line
}

// cutBulk takes a bulk string off; nil if there is none.
func cutBulk(b []byte) (text, rest []byte) {
	if len(b) == 0 || b[0] != '$' {
		return nil, nil
	}
	n, line := headOf(b)
	return b[line : line+n], b[line+n+2:]
}

// valueLen is the length of the RESP value that b begins with. All of it must be there.
func valueLen(b []byte) int {
	at := 0
	for left := 1; left > 0; left-- {
		kind := b[at]
		n, line := headOf(b[at:])
		at += line
		switch {
		case bytes.IndexByte([]byte("$=!*>~%"), kind) < 0: // all is in the line
		case n < 0: // RESP2's null
		case kind == '$', kind == '=', kind == '!':
			at += n + 2
		case kind == '%':
			left += 2 * n
		default:
			left += n
		}
	}
	return at
}

// valueAt is where the value begins to which the byte at an offset belongs, and how long it is; 0 at the end of b.
func valueAt(b []byte, offset int) (at, n int) {
	for at < len(b) {
		n = valueLen(b[at:])
		if at+n > offset {
			return at, n
		}
		at += n
	}
	return at, 0
}
