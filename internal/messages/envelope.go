package messages

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/ipc/wire"
)

// Clients made for Redis hand on what comes by a pattern that they asked for, in the form of Redis, and nothing else. So a filter
// may be asked for as a pattern (see [bus.FilterPattern]). In its other form, [bus.EnvelopePattern], the payload is an envelope:
// a JSON object with all that BUS.SUB tells. Its subscriber can be told what it has missed, by an object on a channel of its own, and
// so it is treated as one of BUS.SUB if it is slow, and not disconnected as Redis does.

// lostChannel is where an enveloped subscription is told what it has missed. Nobody publishes there.
const lostChannel = bus.ReservedPrefix + "lost"

// isEnvelope reports whether a route's messages come in an envelope.
func isEnvelope(k bus.Kind, text string) bool {
	return k == bus.Pattern && strings.HasPrefix(text, bus.EnvelopePattern)
}

// canLose reports whether a route's messages may be dropped, as their subscribers can be told.
func canLose(k bus.Kind, text string) bool { return k == bus.Filter || isEnvelope(k, text) }

// appendEnvelope appends the message in its envelope, a JSON object as "ipcctl sub --json" prints it. All of it but its number is made once
// for all routes.
func (m *message) appendEnvelope(b []byte) []byte {
	if m.envelope.before == nil {
		m.envelope = m.enveloped()
	}
	e := &m.envelope
	var buf [32]byte
	count := buf[:0]
	if m.count != 0 {
		count = strconv.AppendUint(append(count, `,"count":`...), m.count, 10)
	}
	b = wire.AppendBulkHead(b, len(e.before)+len(count)+len(e.behind))
	b = append(append(append(b, e.before...), count...), e.behind...)
	return append(b, "\r\n"...)
}

// An envelope is one without the number, which stands between these.
type envelope struct{ before, behind []byte }

func (m *message) enveloped() envelope {
	b := make([]byte, 0, len(m.topic)+len(m.payload)+len(m.payload)/2+256)
	b = appendJSONText(append(b, `{"topic":`...), m.topic)
	b = append(b, ',')
	b = strconv.AppendUint(append(b, `"seq":`...), m.seq, 10)
	at := len(b)
	b = append(b, `,"time":"`...)
	b = appendJSONTime(b, m.time)
	b = append(b, `",`...)
	pid, rest := conn.Head(m.stamp)
	uid, line := conn.Head(m.stamp[rest:])
	unit, _ := cutBulk(m.stamp[rest+line:])
	b = strconv.AppendInt(append(b, `"pid":`...), int64(pid), 10)
	b = strconv.AppendInt(append(b, `,"uid":`...), int64(uid), 10)
	b = appendJSONText(append(b, `,"unit":`...), unit)
	if m.group != "" {
		b = appendJSONText(append(b, `,"group":`...), []byte(m.group))
	}
	if m.retained {
		b = append(b, `,"retained":true`...)
	}
	if m.expires != 0 {
		b = append(b, `,"expires":"`...)
		b = append(appendJSONTime(b, m.expires), '"')
	}
	if m.ended != "" {
		b = appendJSONText(append(b, `,"ended":`...), []byte(m.ended))
	}
	for i := 0; i < len(m.headers); i += 2 {
		open := `,"headers":{`
		if i > 0 {
			open = ","
		}
		b = appendJSONText(append(b, open...), []byte(m.headers[i]))
		b = appendJSONText(append(b, ':'), []byte(m.headers[i+1]))
		if i+2 == len(m.headers) {
			b = append(b, '}')
		}
	}
	if m.isTold() {
		b = append(append(b, `,"file":"`...), m.file.kind...)
		b = strconv.AppendInt(append(b, `","size":`...), m.file.size, 10)
	}
	if text := m.text(); utf8.Valid(text) {
		b = appendJSONText(append(b, `,"payload":`...), text)
	} else {
		b = append(b, `,"payload64":"`...)
		b = base64.StdEncoding.AppendEncode(b, text)
		b = append(b, '"')
	}
	b = append(b, '}')
	return envelope{b[:at:at], b[at:]}
}

// appendJSONTime appends a time of so many microseconds since 1970, as it is in a string of JSON.
func appendJSONTime(b []byte, micros int64) []byte {
	return time.UnixMicro(micros).UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
}

// appendJSONText appends a string of JSON. It escapes what it must and nothing else: unlike what people are shown, this may be long.
func appendJSONText(b, text []byte) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, text[from:i]...)
		from = i + 1
		if c >= ' ' {
			b = append(b, '\\', c)
		} else {
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	b = append(b, text[from:]...)
	return append(b, '"')
}

// appendEnvelopeLost appends the push that says that n messages of a pattern are missing.
func appendEnvelopeLost(b []byte, p wire.Proto, pattern string, n int64) []byte {
	b = appendPMessage(b, p, pattern)
	b = wire.AppendBulk(b, lostChannel)
	var buf [32]byte
	notice := append(buf[:0], `{"lost":`...)
	notice = strconv.AppendInt(notice, n, 10)
	return wire.AppendBulk(b, append(notice, '}'))
}

// envelopeLossOf is lossOf for what comes behind the word pmessage.
func envelopeLossOf(rest []byte) (pattern []byte, n int64, told bool) {
	pattern, rest = cutBulk(rest)
	if !bytes.HasPrefix(pattern, []byte(bus.EnvelopePattern)) {
		return nil, 0, false
	}
	topic, rest := cutBulk(rest)
	if string(topic) != lostChannel {
		return pattern, 1, false
	}
	notice, _ := cutBulk(rest)
	notice = bytes.TrimSuffix(bytes.TrimPrefix(notice, []byte(`{"lost":`)), []byte("}"))
	if lost, err := strconv.ParseUint(string(notice), 10, 48); err == nil {
		n = int64(lost)
	}
	return pattern, n, n > 0
}
