package wire

import (
	"strconv"
	"unicode/utf8"

	"github.com/ipcd/ipcd/internal/printable"
)

// Append… functions encode one RESP value at the end of a buffer, as append does. Those whose RESP2 form differs are
// methods of Proto.

// Proto is the protocol version of a connection: 2 (at first) or 3 (after HELLO 3).
type Proto uint8

// The two versions of the protocol.
const (
	RESP2 Proto = 2
	RESP3 Proto = 3
)

// AppendSimple appends a simple string, which must hold no line break: "+OK".
func AppendSimple(b []byte, s string) []byte {
	b = append(b, '+')
	b = append(b, s...)
	return append(b, '\r', '\n')
}

// AppendError appends an error. The text may quote what some peer sent, and is shown to others: what is not printable in it
// is escaped, line breaks, too. Of a text that is longer than MaxErrorText then, only the beginning is appended.
func AppendError(b []byte, code Code, text string) []byte {
	b = append(b, '-')
	b = append(b, code...)
	b = append(b, ' ')
	begin := len(b)
	b = printable.Append(b, text[:min(len(text), MaxErrorText+utf8.UTFMax)]) // which makes nothing shorter
	if len(b)-begin > MaxErrorText {
		const more = "…"
		end := begin + MaxErrorText - len(more)
		for !utf8.RuneStart(b[end]) {
			end--
		}
		b = append(b[:end], more...)
	}
	return append(b, '\r', '\n')
}

// AppendInt appends an integer.
func AppendInt(b []byte, n int64) []byte {
	return appendHeader(b, ':', n)
}

// AppendBulk appends a bulk string: any bytes.
func AppendBulk[T ~string | ~[]byte](b []byte, s T) []byte {
	b = appendHeader(b, '$', len(s))
	b = append(b, s...)
	return append(b, '\r', '\n')
}

// AppendBulkHead appends what a bulk string of n bytes begins with: these follow, and a line's end.
func AppendBulkHead(b []byte, n int) []byte { return appendHeader(b, '$', n) }

// AppendArray appends the head of an array of n elements, which follow.
func AppendArray(b []byte, n int) []byte { return appendHeader(b, '*', n) }

// AppendCommand appends a command as clients send it: an array of bulk strings.
func AppendCommand(b []byte, words ...string) []byte {
	b = AppendArray(b, len(words))
	for _, w := range words {
		b = AppendBulk(b, w)
	}
	return b
}

// AppendMap appends the head of a map of n pairs; RESP2 sees an array of 2n elements.
func (p Proto) AppendMap(b []byte, n int) []byte {
	if p == RESP3 {
		return appendHeader(b, '%', n)
	}
	return appendHeader(b, '*', 2*n)
}

// AppendSet appends the head of a set of n elements; RESP2 sees an array.
func (p Proto) AppendSet(b []byte, n int) []byte {
	if p == RESP3 {
		return appendHeader(b, '~', n)
	}
	return appendHeader(b, '*', n)
}

// AppendPush appends the head of a push of n elements; RESP2 sees an array.
func (p Proto) AppendPush(b []byte, n int) []byte {
	if p == RESP3 {
		return appendHeader(b, '>', n)
	}
	return appendHeader(b, '*', n)
}

// AppendNull appends the absence of a value.
func (p Proto) AppendNull(b []byte) []byte {
	if p == RESP3 {
		return append(b, "_\r\n"...)
	}
	return append(b, "$-1\r\n"...)
}

// AppendNullArray appends the absence of an array.
func (p Proto) AppendNullArray(b []byte) []byte {
	if p == RESP3 {
		return append(b, "_\r\n"...)
	}
	return append(b, "*-1\r\n"...)
}

// AppendVerbatim appends text for people; RESP2 sees a bulk string.
func (p Proto) AppendVerbatim(b []byte, text string) []byte {
	b = p.AppendVerbatimHead(b, len(text))
	b = append(b, text...)
	return append(b, '\r', '\n')
}

// AppendVerbatimHead appends what comes before such a text of n bytes; the end of a line comes after it.
func (p Proto) AppendVerbatimHead(b []byte, n int) []byte {
	if p != RESP3 {
		return appendHeader(b, '$', n)
	}
	return append(appendHeader(b, '=', n+len("txt:")), "txt:"...)
}

// appendHeader appends a line of a kind and a number, which mostly has one or two digits.
func appendHeader[N int | int64](b []byte, kind byte, n N) []byte {
	switch {
	case 0 <= n && n < 10:
		return append(b, kind, '0'+byte(n), '\r', '\n')
	case 0 <= n && n < 100:
		return append(b, kind, '0'+byte(n/10), '0'+byte(n%10), '\r', '\n')
	}
	b = strconv.AppendInt(append(b, kind), int64(n), 10)
	return append(b, '\r', '\n')
}
