package session

import (
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
)

// Headers are what a message, a request or an answer says of itself beside its payload: names and values in turn. The daemon reads none
// of them.
type Headers []string

// Add reads a header from the words of a call, which has a reply if it is none.
func (h *Headers) Add(c *Call, name, value []byte) bool {
	switch {
	case !wire.IsHeaderName(name):
		c.Fail(wire.CodeErr, "the name of a header has 1 to %d of a to z, 0 to 9 and - and begins with a letter, unlike %q", wire.MaxHeaderName, Clip(string(name)))
	case !wire.IsText(value):
		c.Fail(wire.CodeErr, "header %q wants UTF-8 without control characters", name)
	case len(*h) == 2*wire.MaxHeaders:
		c.Fail(wire.CodeErr, "a message has at most %d headers", wire.MaxHeaders)
	case h.Bytes()+len(name)+len(value) > wire.MaxHeaderBytes:
		c.Fail(wire.CodeErr, "the headers of a message have at most %d bytes together", wire.MaxHeaderBytes)
	case h.at(string(name)) >= 0:
		c.Fail(wire.CodeErr, "header %q is there twice", name)
	default:
		*h = append(*h, string(name), string(value))
		return true
	}
	return false
}

// at is where a header is; -1: it is not there.
func (h *Headers) at(name string) int {
	for i := 0; i < len(*h); i += 2 {
		if (*h)[i] == name {
			return i
		}
	}
	return -1
}

// Merge adds headers, which take the place of those of the same names. It reports false, and has changed nothing, if they would be more
// than there may be.
func (h *Headers) Merge(more Headers) bool {
	all := append(Headers(nil), *h...)
	for i := 0; i < len(more); i += 2 {
		if at := all.at(more[i]); at >= 0 {
			all[at+1] = more[i+1]
		} else {
			all = append(all, more[i:i+2]...)
		}
	}
	if len(all) > 2*wire.MaxHeaders || all.Bytes() > wire.MaxHeaderBytes {
		return false
	}
	*h = all
	return true
}

// Bytes is how long they are together.
func (h Headers) Bytes() (n int) {
	for _, text := range h {
		n += len(text)
	}
	return n
}

// Append appends them as a map.
func (h Headers) Append(b []byte, p wire.Proto) []byte {
	b = p.AppendMap(b, len(h)/2)
	for _, text := range h {
		b = wire.AppendBulk(b, text)
	}
	return b
}

// LongestTime is the longest time that a word may ask for: that after which a message expires, as for how long a publisher waits.
const LongestTime = 100 * 365 * 24 * time.Hour

// ReadExpires reads the value of EXPIRES: after how long a message is over. It has the reply ready if that is none.
func (c *Call) ReadExpires(value []byte) (after time.Duration, ok bool) {
	ms, ok := Number(value)
	if !ok || ms <= 0 || ms > LongestTime.Milliseconds() {
		c.Fail(wire.CodeErr, "EXPIRES wants a number of milliseconds, not %q", Clip(string(value)))
		return 0, false
	}
	return time.Duration(ms) * time.Millisecond, true
}
