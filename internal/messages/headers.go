package messages

import (
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A message may say more of itself than its payload does: when it is over, and what its publisher has put into its headers. The daemon
// reads none of that. Who has published it is told beside, by the daemon, and is no header: nobody can forge it.
//
// What a message has of these is in the last element of its push, a map, which most messages do without.

// A publication is what the words of BUS.PUB ask for.
type publication struct {
	retain  bool
	expires time.Duration // from now; 0: it does not
	headers session.Headers
	fd      string // what the file beside it is said to be; "": there is none

	mayBlock   time.Duration // for how long it may wait for receivers, if it may
	mayBlockIs bool

	lock, token []byte // that it is published under; nil: none
}

// pubWords reads the options of BUS.PUB.
func (s *Service) pubWords(c *session.Call) bool {
	p := &s.publication
	*p = publication{}
	for i := 2; i < len(c.Args); i++ {
		switch option := c.Keyword(i); {
		case option == "RETAIN":
			p.retain = true
		case option == "EXPIRES" && i+1 < len(c.Args):
			i++
			after, ok := c.ReadExpires(c.Args[i])
			if !ok {
				return false
			}
			p.expires = after
		case option == "HEADER" && i+2 < len(c.Args):
			if !p.headers.Add(c, c.Args[i+1], c.Args[i+2]) {
				return false
			}
			i += 2
		case option == "FD" && i+1 < len(c.Args):
			i++
			switch p.fd = strings.ToLower(string(c.Args[i])); p.fd {
			case wire.FileSealed, wire.FileOpen:
			default:
				c.Fail(wire.CodeErr, "FD wants sealed or open, not %q", session.Clip(string(c.Args[i])))
				return false
			}
		case option == "MAYBLOCK" && i+1 < len(c.Args):
			i++
			ms, ok := session.Number(c.Args[i])
			if !ok || ms < 0 || ms > session.LongestTime.Milliseconds() {
				c.Fail(wire.CodeErr, "MAYBLOCK wants a number of milliseconds, not %q", session.Clip(string(c.Args[i])))
				return false
			}
			p.mayBlock, p.mayBlockIs = time.Duration(ms)*time.Millisecond, true
		case option == "UNDER" && i+2 < len(c.Args):
			p.lock, p.token = c.Args[i+1], c.Args[i+2]
			i += 2
		case option == "REQID" && i+1 < len(c.Args):
			i++
			if !c.ReadRequestID(c.Args[i]) {
				return false
			}
		default:
			c.Syntax()
			return false
		}
	}
	if p.retain && p.fd != "" {
		c.Fail(wire.CodeErr, "RETAIN keeps bytes, and FD publishes a file: a value has to be in the payload")
		return false
	}
	return true
}

// hasMore reports whether the push of the message has a last element.
func (m *message) hasMore() bool {
	return m.retained || m.expires != 0 || m.ended != "" || len(m.headers) > 0 || m.group != "" || m.isTold()
}

// appendMore appends it. The group is the first of it, by which isOfGroup knows it.
func (m *message) appendMore(b []byte, p wire.Proto) []byte {
	n := 0
	told := m.isTold()
	for _, has := range []bool{m.group != "", m.retained, m.expires != 0, m.ended != "", len(m.headers) > 0, told, told, m.beside} {
		if has {
			n++
		}
	}
	b = p.AppendMap(b, n)
	if m.group != "" {
		b = wire.AppendBulk(b, "group")
		b = wire.AppendBulk(b, m.group)
	}
	if m.retained {
		b = wire.AppendBulk(b, "retained")
		b = wire.AppendInt(b, 1)
	}
	if m.expires != 0 {
		b = wire.AppendBulk(b, "expires")
		b = wire.AppendInt(b, m.expires)
	}
	if m.ended != "" {
		b = wire.AppendBulk(b, "ended")
		b = wire.AppendBulk(b, m.ended)
	}
	if len(m.headers) > 0 {
		b = wire.AppendBulk(b, "headers")
		b = m.headers.Append(b, p)
	}
	if told {
		b = wire.AppendBulk(b, "file")
		b = wire.AppendBulk(b, m.file.kind)
		b = wire.AppendBulk(b, "size")
		b = wire.AppendInt(b, m.file.size)
	}
	if m.beside {
		b = wire.AppendBulk(b, "fd")
		b = wire.AppendInt(b, 1)
	}
	return b
}
