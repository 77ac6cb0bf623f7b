package server

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/heap"
	"github.com/ipcd/ipcd/ipc/wire"
)

var clientCommands = map[string]func(*Server, *call){
	"CLIENT ID":       func(_ *Server, c *call) { c.integer(int64(c.sess.id)) },
	"CLIENT INFO":     func(s *Server, c *call) { c.out = c.sess.proto.AppendVerbatim(c.out, s.describe(c.sess)+"\n") },
	"CLIENT LIST":     (*Server).clientList,
	"CLIENT KILL":     (*Server).clientKill,
	"CLIENT SETNAME":  (*Server).clientSetName,
	"CLIENT GETNAME":  (*Server).clientGetName,
	"CLIENT SETINFO":  (*Server).clientSetInfo,
	"CLIENT REPLY":    (*Server).clientReply,
	"CLIENT NO-EVICT": (*Server).clientOnOff,
	"CLIENT NO-TOUCH": (*Server).clientOnOff,
	"CLIENT TRACKING": (*Server).clientTracking,
}

// describe is a session's line of CLIENT LIST: Redis's words, in its order, with 0 for what there is none of here, and our own.
func (s *Server) describe(sess *session) string {
	x := sess.more
	if x == nil {
		x = new(extras)
	}
	now := s.age()
	var flags strings.Builder
	if s.isSubscriber(sess) {
		flags.WriteByte('P')
	}
	if sess.is(stateMulti | stateExec) {
		flags.WriteByte('x')
	}
	if sess.Waiting() {
		flags.WriteByte('b')
	}
	flags.WriteByte('U') // a Unix socket
	queued, queue := -1, 0
	if t := x.transaction; t != nil {
		queued, queue = t.n, cap(t.queue)
	}
	events := "r"
	if sess.Blocked() {
		events = "rw"
	}
	last := "NULL"
	if sess.last != nil {
		last = lowerBar(sess.last.Name)
	}
	in, out := sess.Memory()
	p := &sess.peer
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=%s db=0 sub=%d psub=%d ssub=0 multi=%d watch=0 "+
		"qbuf=%d qbuf-free=%d argv-mem=0 multi-mem=%d rbs=%d rbp=0 obl=%d oll=0 omem=%d tot-mem=%d events=%s cmd=%s user=default redir=-1 resp=%d lib-name=%s lib-ver=%s "+
		"bsub=%d pid=%d uid=%d gid=%d unit=%s start=%d locks=%d",
		sess.id, address(sess), localAddress, sess.FD(), x.name, now-sess.born, now-sess.active, flags.String(),
		s.bus.Count(sess, bus.Channel), s.bus.Count(sess, bus.Pattern), queued,
		sess.Unexecuted(), max(in-sess.Unexecuted(), 0), queue, out, sess.Backlog(), sess.Unread(), in+out+queue, events, last,
		sess.proto, x.libName, x.libVer,
		s.bus.Count(sess, bus.Filter), p.PID, p.UID, p.GID, oneWord(p.Unit), p.Start, x.locks())
}

// oneWord keeps the name of a unit, which a user may have chosen, from looking like more words of the line.
func oneWord(unit string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == '=' || r == 0x7f {
			return '_'
		}
		return r
	}, unit)
}

func (s *Server) isSubscriber(sess *session) bool {
	return sess.is(stateSubscribed) && s.bus.Count(sess) > 0
}

func (s *Server) clientList(c *call) {
	var kind string
	var ids map[uint64]bool
	for args := c.args; len(args) > 0; {
		switch {
		case bytes.EqualFold(args[0], []byte("TYPE")) && len(args) > 1:
			kind = strings.ToLower(string(args[1]))
			if !slices.Contains(clientTypes, kind) {
				c.fail(wire.CodeErr, "Unknown client type '%.128s'", args[1])
				return
			}
			args = args[2:]
		case bytes.EqualFold(args[0], []byte("ID")) && len(args) > 1:
			ids = map[uint64]bool{}
			for _, a := range args[1:] {
				n, ok := number(a)
				if !ok {
					c.fail(wire.CodeErr, "Invalid client ID")
					return
				}
				ids[uint64(n)] = n > 0
			}
			args = nil
		default:
			c.syntax()
			return
		}
	}
	p, oldest := c.sess.proto, heap.New(func(a, b *session) bool { return a.id < b.id })
	for sess := range s.sessions() {
		oldest.Add(sess)
	}
	t := &task{held: oldest.Room() * int(unsafe.Sizeof(c.sess))}
	t.head = func(b []byte) []byte { return p.AppendVerbatimHead(b, len(t.out)-headRoom-len("\r\n")) }
	t.step = func(b []byte) ([]byte, bool) {
		if oldest.Len() == 0 {
			return append(b, "\r\n"...), false
		}
		sess, ok := oldest.Next()
		if ok && !sess.Dead() && s.isType(sess, kind) && (ids == nil || ids[sess.id]) {
			b = append(append(b, s.describe(sess)...), '\n')
		}
		return b, true
	}
	s.perform(c, t)
}

// clientTypes are what CLIENT LIST and KILL can be asked for.
var clientTypes = []string{"normal", "master", "replica", "slave", "pubsub"}

// isType reports whether a session is of a type as CLIENT LIST and KILL name them; "" is any.
func (s *Server) isType(sess *session, kind string) bool {
	switch kind {
	case "":
		return true
	case "normal":
		return !s.isSubscriber(sess)
	case "pubsub":
		return s.isSubscriber(sess)
	}
	return false
}

// clientKill ends connections. A peer's own user may, and root.
func (s *Server) clientKill(c *call) {
	old := len(c.args) == 1
	match := func(*session) bool { return true }
	also := func(f func(*session) bool) {
		before := match
		match = func(sess *session) bool { return before(sess) && f(sess) }
	}
	skipMe := !old
	if old {
		addr := string(c.args[0])
		also(func(sess *session) bool { return address(sess) == addr || strconv.FormatUint(sess.id, 10) == addr })
	} else if len(c.args)%2 != 0 {
		c.syntax()
		return
	}
	for i := 0; i+1 < len(c.args); i += 2 {
		value := string(c.args[i+1])
		switch c.arg(i) {
		case "ID":
			n, ok := number(c.args[i+1])
			if !ok || n <= 0 {
				c.fail(wire.CodeErr, "client-id should be greater than 0")
				return
			}
			also(func(sess *session) bool { return sess.id == uint64(n) })
		case "TYPE":
			kind := strings.ToLower(value)
			if !slices.Contains(clientTypes, kind) {
				c.fail(wire.CodeErr, "Unknown client type '%.128s'", value)
				return
			}
			also(func(sess *session) bool { return s.isType(sess, kind) })
		case "ADDR":
			also(func(sess *session) bool { return address(sess) == value })
		case "LADDR":
			also(func(*session) bool { return value == localAddress })
		case "USER":
			if value != "default" {
				c.fail(wire.CodeErr, "No such user '%.128s'", value)
				return
			}
		case "MAXAGE":
			n, ok := number(c.args[i+1])
			if !ok || n <= 0 {
				c.fail(wire.CodeErr, "maxage is not an integer or out of range")
				return
			}
			also(func(sess *session) bool { return int64(s.age()-sess.born) >= n })
		case "SKIPME":
			switch strings.ToLower(value) {
			case "yes":
				skipMe = true
			case "no":
				skipMe = false
			default:
				c.syntax()
				return
			}
		default:
			c.syntax()
			return
		}
	}
	var killed, denied int64
	for sess := range s.sessions() {
		switch {
		case sess.Dead() || !match(sess) || skipMe && sess == c.sess:
		case !c.mayAct(sess.peer.UID):
			denied++
		default:
			killed++
			if sess.peer.PID != c.sess.peer.PID { // what a process does to itself, as an ipcctl that stops waiting, is no news
				s.tell(slog.LevelInfo, sess.peer.UID, "client-kill", "a connection was ended by CLIENT KILL", "client", sess.id,
					"pid", sess.peer.PID, "by_pid", c.sess.peer.PID, "by_uid", c.sess.peer.UID)
			}
			if sess == c.sess {
				sess.Finish() // after its reply
			} else {
				sess.Kill(nil)
			}
		}
	}
	switch {
	case killed == 0 && denied > 0:
		c.fail(wire.CodeDenied, "only root may end another user's connection")
	case old && killed == 0:
		c.fail(wire.CodeErr, "No such client")
	case old:
		c.ok()
	default:
		c.integer(killed)
	}
}

// localAddress stands for the daemon's sockets, of which a connection does not know by which it came.
const localAddress = "unix:0"

// address is what a session is called in CLIENT LIST and KILL; peers of a Unix socket have no address of their own.
func address(sess *session) string { return "unix:" + strconv.FormatUint(sess.id, 10) }

// maxClientName bounds what a connection may be called, in bytes: it is kept as long as the connection.
const maxClientName = 256

// validName checks a connection's name as Redis does: nothing that would break a line of CLIENT LIST.
func (c *call) validName(name []byte) bool {
	if len(name) > maxClientName {
		c.fail(wire.CodeErr, "Client names cannot be longer than %d bytes", maxClientName)
		return false
	}
	for _, b := range name {
		if b < '!' || b > '~' {
			c.fail(wire.CodeErr, "Client names cannot contain spaces, newlines or special characters.")
			return false
		}
	}
	return true
}

func (s *Server) clientSetName(c *call) {
	if c.validName(c.args[0]) {
		c.sess.extra().name = string(c.args[0])
		c.ok()
	}
}

func (s *Server) clientGetName(c *call) {
	if x := c.sess.more; x != nil && x.name != "" {
		c.bulk(x.name)
		return
	}
	c.null()
}

func (s *Server) clientSetInfo(c *call) {
	var field *string
	switch c.arg(0) {
	case "LIB-NAME":
		field = &c.sess.extra().libName
	case "LIB-VER":
		field = &c.sess.extra().libVer
	default:
		c.fail(wire.CodeErr, "Unrecognized option '%.128s'", c.args[0])
		return
	}
	if len(c.args[1]) > maxClientName {
		c.fail(wire.CodeErr, "%s cannot be longer than %d bytes", strings.ToLower(c.arg(0)), maxClientName)
		return
	}
	for _, b := range c.args[1] {
		if b < '!' || b > '~' {
			c.fail(wire.CodeErr, "%s cannot contain spaces, newlines or special characters.", strings.ToLower(c.arg(0)))
			return
		}
	}
	*field = string(c.args[1])
	c.ok()
}

func (s *Server) clientReply(c *call) {
	switch c.arg(0) {
	case "ON":
		c.sess.state &^= stateReplyOff | stateReplySkip
		c.ok()
	case "OFF":
		c.sess.state |= stateReplyOff
	case "SKIP":
		if !c.sess.is(stateReplyOff) {
			c.sess.state |= stateReplySkipNext
		}
	default:
		c.syntax()
	}
}

// clientTracking accepts what Redis would. There are no keys that could be tracked.
func (s *Server) clientTracking(c *call) {
	for i := 1; i < len(c.args); i++ {
		switch c.arg(i) {
		case "BCAST", "OPTIN", "OPTOUT", "NOLOOP":
		case "REDIRECT", "PREFIX":
			i++ // its value
		default:
			c.syntax()
			return
		}
	}
	s.clientOnOff(c)
}

// clientOnOff accepts a switch that has nothing to switch here.
func (s *Server) clientOnOff(c *call) {
	if a := c.arg(0); a != "ON" && a != "OFF" {
		c.syntax()
		return
	}
	c.ok()
}
