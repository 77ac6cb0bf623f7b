package messages

import (
	"bytes"
	"fmt"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// Pushes is what a connection knows of messages: that of some it can tell the peer that they are missing, and how.
var Pushes = conn.Pushes{
	Loss: lossOf, AppendLoss: appendLost, Counts: isOfGroup,
	Topic: topicOfPush, AppendConflated: appendConflated, AppendEnd: appendBehind,
}

// appendLost appends the push that says that n messages of a filter are missing.
func appendLost(b []byte, p wire.Proto, filter string, n int64) []byte {
	if isEnvelope(bus.Pattern, filter) {
		return appendEnvelopeLost(b, p, filter, n)
	}
	b = p.AppendPush(b, 3)
	b = append(b, "$8\r\nbus.lost\r\n"...)
	b = wire.AppendBulk(b, filter)
	return wire.AppendInt(b, n)
}

// appendConflated appends the push that says that n messages of a filter are not sent, as newer ones of their topics are.
func appendConflated(b []byte, p wire.Proto, filter string, n int64) []byte {
	b = p.AppendPush(b, 3)
	b = append(b, "$13\r\nbus.conflated\r\n"...)
	b = wire.AppendBulk(b, filter)
	return wire.AppendInt(b, n)
}

// appendBehind appends the push that says why a connection ends that is too far behind a filter.
func appendBehind(b []byte, p wire.Proto, filter string) []byte {
	b = p.AppendPush(b, 3)
	b = append(b, "$10\r\nbus.behind\r\n"...)
	b = wire.AppendBulk(b, filter)
	return wire.AppendError(b, wire.CodeQuota, fmt.Sprintf("this connection is too far behind %q, of which it is to miss nothing (SLOW DISCONNECT)", session.Clip(filter)))
}

// topicOfPush is the topic of a message of which [lossOf] tells.
func topicOfPush(v []byte) []byte {
	_, line := conn.Head(v)
	_, rest := cutBulk(v[line:])
	_, rest = cutBulk(rest)
	topic, _ := cutBulk(rest)
	return topic
}

// lossOf is what a subscriber misses who does not get a value: a message of a filter, or what was missing already (told); 0 of
// nothing, if the value is something else, as what newer messages have replaced, which is told, too. The forms are those of
// [message.append], appendLost and appendConflated. Of the replies to a single command, which may hold whatever somebody called his
// channels, none has numbers in these places, or begins with pmessage and goes on with a name that is before it in the alphabet. The
// reply to EXEC can be made to look like any of them, by ECHO, and four answers to one request (REPLIES) like a pmessage, by those who
// answer: who is behind the limits with messages on the same connection may miss such a reply, and is told of a message.
func lossOf(v []byte) (filter []byte, n int64, told bool) {
	if v[0] != '>' && v[0] != '*' {
		return nil, 0, false
	}
	if isOfGroup(v) { // it is another's, if it is not sent
		return nil, 0, false
	}
	rest, ok := bytes.CutPrefix(v[1:], []byte("10\r\n$11\r\nbus.message\r\n"))
	if !ok { // one of which there is more to tell
		rest, ok = bytes.CutPrefix(v[1:], []byte("11\r\n$11\r\nbus.message\r\n"))
	}
	if ok {
		filter, rest = cutBulk(rest)
		_, rest = cutBulk(rest)
		if _, rest = cutBulk(rest); len(rest) > 0 && rest[0] == ':' {
			return filter, 1, false
		}
	} else if rest, ok := bytes.CutPrefix(v[1:], []byte("3\r\n$8\r\nbus.lost\r\n")); ok {
		if filter, rest = cutBulk(rest); len(rest) > 0 && rest[0] == ':' {
			if n, _ := conn.Head(rest); n > 0 {
				return filter, int64(n), true
			}
		}
	} else if rest, ok := bytes.CutPrefix(v[1:], []byte("3\r\n$13\r\nbus.conflated\r\n")); ok {
		if filter, rest = cutBulk(rest); len(rest) > 0 && rest[0] == ':' {
			return filter, 0, true
		}
	} else if rest, ok := bytes.CutPrefix(v[1:], []byte("4\r\n$8\r\npmessage\r\n")); ok {
		return envelopeLossOf(rest)
	}
	return nil, 0, false
}

// cutBulk takes a bulk string off; nil if there is none, or RESP2's null.
func cutBulk(b []byte) (text, rest []byte) {
	if len(b) == 0 || b[0] != '$' {
		return nil, nil
	}
	n, line := conn.Head(b)
	if n < 0 {
		return nil, nil
	}
	return b[line : line+n], b[line+n+2:]
}
