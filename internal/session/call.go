package session

import (
	"fmt"
	"strconv"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A Call is one command being executed. Handlers append their reply to Out; what stays empty is no reply (yet).
type Call struct {
	Session *Session
	Row     *wire.Command // nil: the command is none
	Args    [][]byte      // without the command's name; slices of the input buffer, gone after the call
	Out     []byte
	Pays    *account.User // for messages to many that follow from it; nil: nobody, as the command is timed as a whole

	gate // of REQID

	Patience [2]int // the arguments that say how long to wait, each behind its word; 0: none does
}

// A Handler executes a command.
type Handler func(*Call)

// Begin makes the call that of another command.
func (c *Call) Begin(s *Session, args [][]byte) {
	c.Session, c.Args, c.Out = s, args, c.Out[:0]
	c.Row, c.Pays = nil, nil
	c.gate = gate{}
	c.Patience = [2]int{}
}

// Trim does not keep the room of a long reply.
func (c *Call) Trim() {
	if cap(c.Out) > conn.LargestKept {
		c.Out = nil
	}
}

// Room reports whether the caller's user may have so much more of something, and has the reply ready if not.
func (c *Call) Room(what account.Column, more int) bool {
	err := c.Session.User().Room(what, more)
	if err != nil {
		c.Fail(wire.CodeQuota, "%v", err)
	}
	return err == nil
}

// DropFD closes the descriptor that came with a command which is not executed: that of another, which came in the same read, must not be
// mistaken for it. Whether one came is told by the words.
func (c *Call) DropFD() {
	if c.Row == nil || c.Row.Flags&wire.FlagDescriptors == 0 {
		return
	}
	for i := c.Row.Min - 1; i+1 < len(c.Args); i++ {
		switch c.Keyword(i) {
		case "HEADER", "WITH": // that have two values, which may be any text
			i += 2
		case "OWNER", "WHY", "REQID", "AND", "UNDER": // one, or the first of two
			i++
		case "FOR":
			if c.Keyword(i+1) != "PID" {
				continue
			}
			fallthrough
		case "FD":
			if fd := c.Session.TakeFD(); fd >= 0 {
				c.Session.Discard(fd)
			}
			return
		}
	}
}

// Fail makes an error the reply.
func (c *Call) Fail(code wire.Code, format string, args ...any) {
	c.Out = wire.AppendError(c.Out[:0], code, fmt.Sprintf(format, args...))
}

// Failed reports whether the reply so far is an error.
func (c *Call) Failed() bool { return len(c.Out) > 0 && c.Out[0] == '-' }

// Syntax makes it an error of syntax.
func (c *Call) Syntax() { c.Fail(wire.CodeErr, "syntax error") }

// The following append to the reply.

// OK appends that it is done.
func (c *Call) OK() { c.Out = append(c.Out, "+OK\r\n"...) }

// Integer appends a number.
func (c *Call) Integer(n int64) { c.Out = wire.AppendInt(c.Out, n) }

// Bulk appends a text.
func (c *Call) Bulk(text string) { c.Out = wire.AppendBulk(c.Out, text) }

// Array appends the head of an array of n elements.
func (c *Call) Array(n int) { c.Out = wire.AppendArray(c.Out, n) }

// Map appends the head of a map of so many pairs.
func (c *Call) Map(pairs int) { c.Out = c.Session.proto.AppendMap(c.Out, pairs) }

// Null appends that there is nothing.
func (c *Call) Null() { c.Out = c.Session.proto.AppendNull(c.Out) }

// Push appends the head of a push of n elements, and its first.
func (c *Call) Push(n int, word string) {
	c.Out = c.Session.proto.AppendPush(c.Out, n)
	c.Bulk(word)
}

// Texts are the arguments of a call, for longer than it.
func (c *Call) Texts() []string {
	texts := make([]string, len(c.Args))
	for i, a := range c.Args {
		texts[i] = string(a)
	}
	return texts
}

// isPatience reports whether argument i says how long to wait, or is the word before.
func (c *Call) isPatience(i int) bool {
	for _, at := range c.Patience {
		if at > 0 && (i == at || i == at-1) {
			return true
		}
	}
	return false
}

// Number parses an argument as Redis does.
func Number(arg []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(arg), 10, 64)
	// Nothing but the shortest form is a number to Redis: no sign of plus, no leading zero.
	var shortest [20]byte
	return n, err == nil && len(arg) == len(strconv.AppendInt(shortest[:0], n, 10))
}

// Clip keeps a quotation short.
func Clip(text string) string {
	if len(text) > 64 {
		return text[:64] + "…"
	}
	return text
}
