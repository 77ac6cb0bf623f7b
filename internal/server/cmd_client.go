package server

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/ipcd/ipcd/internal/heap"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// names are what a connection calls itself, and its library.
type names struct {
	name, libName, libVer string
}

func (s *Server) clientCommands() map[string]session.Handler {
	return map[string]session.Handler{
		"CLIENT ID":       func(c *session.Call) { c.Integer(int64(c.Session.ID)) },
		"CLIENT INFO":     s.clientInfo,
		"CLIENT LIST":     s.clientList,
		"CLIENT KILL":     s.clientKill,
		"CLIENT SETNAME":  s.clientSetName,
		"CLIENT GETNAME":  s.clientGetName,
		"CLIENT SETINFO":  s.clientSetInfo,
		"CLIENT REPLY":    s.clientReply,
		"CLIENT NO-EVICT": s.clientOnOff,
		"CLIENT NO-TOUCH": s.clientOnOff,
		"CLIENT TRACKING": s.clientTracking,
	}
}

func (s *Server) clientInfo(c *session.Call) {
	waiting, done := c.Session.CountWaiting()
	for !done { // whose commands are executed is not far behind
		waiting, done = c.Session.CountWaiting()
	}
	c.Out = c.Session.Proto().AppendVerbatim(c.Out, s.describe(c.Session, waiting)+"\n")
}

// describe is a session's line of CLIENT LIST: Redis's words, in its order, with 0 for what there is none of here, and our own. waiting is
// how many replies and messages wait for the peer.
func (s *Server) describe(sess *session.Session, waiting int) string {
	x := s.names.Of(sess)
	if x == nil {
		x = new(names)
	}
	channels, patterns, filters := s.messages.Subscriptions(sess)
	var flags strings.Builder
	if s.messages.IsSubscriber(sess) {
		flags.WriteByte('P')
	}
	if sess.Is(session.InMulti | session.InExec) {
		flags.WriteByte('x')
	}
	if sess.Waiting() {
		flags.WriteByte('b')
	}
	flags.WriteByte('U') // a Unix socket
	queued, queue := -1, 0
	if t := sess.Transaction(); t != nil {
		queued, queue = t.Len(), t.Memory()
	}
	events := "r"
	if sess.Blocked() {
		events = "rw"
	}
	last := "NULL"
	if row := sess.Last(); row != nil {
		last = lowerBar(row.Name)
	}
	lost := 0
	if n := s.missed.Of(sess); n != nil {
		lost = *n
	}
	in, out := sess.Memory()
	p := &sess.Peer
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=%s db=0 sub=%d psub=%d ssub=0 multi=%d watch=0 "+
		"qbuf=%d qbuf-free=%d argv-mem=0 multi-mem=%d rbs=%d rbp=0 obl=%d oll=%d omem=%d tot-mem=%d events=%s cmd=%s user=default redir=-1 resp=%d lib-name=%s lib-ver=%s "+
		"bsub=%d gsub=%d pid=%d uid=%d gid=%d unit=%s start=%d locks=%d lost=%d",
		sess.ID, address(sess), localAddress, sess.FD(), x.name, sess.Age(), sess.Idle(), flags.String(),
		channels, patterns, queued,
		sess.Unexecuted(), max(in-sess.Unexecuted(), 0), queue, out, sess.Backlog(), waiting, sess.Unread(), in+out+queue, events, last,
		sess.Proto(), x.libName, x.libVer,
		filters, s.messages.Memberships(sess), p.PID, p.UID, p.GID, oneWord(p.Unit), p.Start, s.locks.Bound(sess), lost)
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

func (s *Server) clientList(c *session.Call) {
	var kind string
	var ids []uint64
	for args := c.Args; len(args) > 0; {
		switch {
		case bytes.EqualFold(args[0], []byte("TYPE")) && len(args) > 1:
			kind = strings.ToLower(string(args[1]))
			if !slices.Contains(clientTypes, kind) {
				c.Fail(wire.CodeErr, "Unknown client type '%.128s'", args[1])
				return
			}
			args = args[2:]
		case bytes.EqualFold(args[0], []byte("ID")) && len(args) > 1:
			ids = make([]uint64, 0, len(args)-1)
			for _, a := range args[1:] {
				n, ok := session.Number(a)
				if !ok {
					c.Fail(wire.CodeErr, "Invalid client ID")
					return
				}
				ids = append(ids, uint64(n)) // below 0 it is nobody's
			}
			args = nil
		default:
			c.Syntax()
			return
		}
	}
	p, oldest := c.Session.Proto(), heap.New(func(a, b *session.Session) bool { return a.ID < b.ID })
	for sess := range s.set.All() {
		oldest.Add(sess)
	}
	t := &session.Task{Held: oldest.Room()*int(unsafe.Sizeof(c.Session)) + len(ids)*int(unsafe.Sizeof(c.Session.ID))}
	t.Head = func(b []byte) []byte { return p.AppendVerbatimHead(b, t.Said()-len("\r\n")) }
	var next *session.Session // whose line is, when it is counted what waits for it
	t.Step = func(b []byte) ([]byte, bool) {
		if next == nil {
			if oldest.Len() == 0 {
				return append(b, "\r\n"...), false
			}
			if sess, ok := oldest.Next(); ok && s.isType(sess, kind) && (ids == nil || slices.Contains(ids, sess.ID)) {
				next = sess
			}
		}
		if next == nil || next.Dead() {
			next = nil
			return b, true
		}
		if waiting, done := next.CountWaiting(); done {
			b = append(append(b, s.describe(next, waiting)...), '\n')
			next = nil
		}
		return b, true
	}
	c.Perform(t)
}

// clientTypes are what CLIENT LIST and KILL can be asked for.
var clientTypes = []string{"normal", "master", "replica", "slave", "pubsub"}

// isType reports whether a session is of a type as CLIENT LIST and KILL name them; "" is any.
func (s *Server) isType(sess *session.Session, kind string) bool {
	switch kind {
	case "":
		return true
	case "normal":
		return !s.messages.IsSubscriber(sess)
	case "pubsub":
		return s.messages.IsSubscriber(sess)
	}
	return false
}

// A selection says which connections CLIENT KILL is to end: those of which all of it is true.
type selection struct {
	id, addr  uint64 // whose number and address that is; 0: anybody's
	kind      string // "": any
	elsewhere bool   // at no address of the daemon's: none is
	age       int64  // in seconds, at least
	but       *session.Session
}

// isOne reports whether it is known whom a selection may mean.
func (is *selection) isOne() bool { return is.id != 0 || is.addr != 0 }

// selects reports whether a session is one of a selection.
func (s *Server) selects(is *selection, sess *session.Session) bool {
	return (is.id == 0 || is.id == sess.ID) && (is.addr == 0 || is.addr == sess.ID) && sess != is.but && !is.elsewhere &&
		int64(sess.Age()) >= is.age && s.isType(sess, is.kind)
}

// nobody is a number that no session has.
const nobody = math.MaxUint64

// addressed is whose address something is.
func addressed(addr []byte) uint64 {
	if id, ok := bytes.CutPrefix(addr, []byte(addressScheme)); ok {
		if n, ok := session.Number(id); ok && n > 0 {
			return uint64(n)
		}
	}
	return nobody
}

// selection reads the arguments of CLIENT KILL. Of two words that are the same the later counts, as in Redis. If they are wrong, the reply
// says so.
func (s *Server) selection(c *session.Call) (is selection, ok bool) {
	if len(c.Args) == 1 { // the old form
		if n, ok := session.Number(c.Args[0]); ok && n > 0 {
			return selection{id: uint64(n)}, true
		}
		return selection{id: addressed(c.Args[0])}, true
	}
	if len(c.Args)%2 != 0 {
		c.Syntax()
		return is, false
	}
	is.but = c.Session
	for i := 0; i < len(c.Args); i += 2 {
		value := string(c.Args[i+1])
		switch c.Keyword(i) {
		case "ID":
			n, ok := session.Number(c.Args[i+1])
			if !ok || n <= 0 {
				c.Fail(wire.CodeErr, "client-id should be greater than 0")
				return is, false
			}
			is.id = uint64(n)
		case "TYPE":
			if is.kind = strings.ToLower(value); !slices.Contains(clientTypes, is.kind) {
				c.Fail(wire.CodeErr, "Unknown client type '%.128s'", value)
				return is, false
			}
		case "ADDR":
			is.addr = addressed(c.Args[i+1])
		case "LADDR":
			is.elsewhere = value != localAddress
		case "USER":
			if value != "default" {
				c.Fail(wire.CodeErr, "No such user '%.128s'", value)
				return is, false
			}
		case "MAXAGE":
			n, ok := session.Number(c.Args[i+1])
			if !ok || n <= 0 {
				c.Fail(wire.CodeErr, "maxage is not an integer or out of range")
				return is, false
			}
			is.age = n
		case "SKIPME":
			switch strings.ToLower(value) {
			case "yes":
				is.but = c.Session
			case "no":
				is.but = nil
			default:
				c.Syntax()
				return is, false
			}
		default:
			c.Syntax()
			return is, false
		}
	}
	return is, true
}

// clientKill ends connections, one in a step, or if that is known, at once. A peer's own user may, and root. The caller's own ends last,
// after the reply.
func (s *Server) clientKill(c *session.Call) {
	is, ok := s.selection(c)
	if !ok {
		return
	}
	by, own, old := c.Session, &session.Call{Session: c.Session}, len(c.Args) == 1
	var killed, denied int64
	at, itself := 0, false
	// next looks at some connections, and ends one of them. It reports whether there are more.
	next := func() bool {
		some, next := s.set.Net.Some(at)
		for i, x := range some {
			if x == nil || x.Dead() || x == &by.Conn && itself {
				continue
			}
			switch sess := x.Owner().(*session.Session); {
			case !s.selects(&is, sess):
			case !own.MayAct(sess.Peer.UID):
				denied++
			default:
				killed++
				itself = itself || sess == by
				s.kill(sess, by)
				at += i + 1
				return true
			}
		}
		at = next
		return at > 0
	}
	c.Perform(&session.Task{Head: session.NoHead, Slow: true, Step: func(b []byte) ([]byte, bool) {
		for next() {
			if !is.isOne() {
				return b, true
			}
		}
		if itself {
			by.Finish()
		}
		switch {
		case killed == 0 && denied > 0:
			b = wire.AppendError(b, wire.CodeDenied, "only root may end another user's connection")
		case old && killed == 0:
			b = wire.AppendError(b, wire.CodeErr, "No such client")
		case old:
			b = append(b, "+OK\r\n"...)
		default:
			b = wire.AppendInt(b, killed)
		}
		return b, false
	}})
}

// kill has a connection end for another one. One that does so itself is to get its reply first.
func (s *Server) kill(sess, by *session.Session) {
	if sess.Peer.PID != by.Peer.PID { // what a process does to itself, as an ipcctl that stops waiting, is no news
		s.set.LogAbout(slog.LevelInfo, sess.Peer.UID, "client-kill", "a connection was ended by CLIENT KILL", "client", sess.ID,
			"pid", sess.Peer.PID, "by_pid", by.Peer.PID, "by_uid", by.Peer.UID)
	}
	sess.EndedFor("ended by CLIENT KILL")
	if sess != by {
		sess.Kill(nil)
	}
}

// localAddress stands for the daemon's sockets, of which a connection does not know by which it came.
const localAddress = "unix:0"

// address is what a session is called in CLIENT LIST and KILL; peers of a Unix socket have no address of their own.
func address(sess *session.Session) string { return addressScheme + strconv.FormatUint(sess.ID, 10) }

const addressScheme = "unix:"

// maxClientName bounds what a connection may be called, in bytes: it is kept as long as the connection.
const maxClientName = 256

// validName checks a connection's name as Redis does: nothing that would break a line of CLIENT LIST.
func validName(c *session.Call, name []byte) bool {
	if len(name) > maxClientName {
		c.Fail(wire.CodeErr, "Client names cannot be longer than %d bytes", maxClientName)
		return false
	}
	for _, b := range name {
		if b < '!' || b > '~' {
			c.Fail(wire.CodeErr, "Client names cannot contain spaces, newlines or special characters.")
			return false
		}
	}
	return true
}

func (s *Server) clientSetName(c *session.Call) {
	if validName(c, c.Args[0]) {
		s.names.In(c.Session).name = string(c.Args[0])
		c.OK()
	}
}

func (s *Server) clientGetName(c *session.Call) {
	if x := s.names.Of(c.Session); x != nil && x.name != "" {
		c.Bulk(x.name)
		return
	}
	c.Null()
}

func (s *Server) clientSetInfo(c *session.Call) {
	var field *string
	switch c.Keyword(0) {
	case "LIB-NAME":
		field = &s.names.In(c.Session).libName
	case "LIB-VER":
		field = &s.names.In(c.Session).libVer
	default:
		c.Fail(wire.CodeErr, "Unrecognized option '%.128s'", c.Args[0])
		return
	}
	if len(c.Args[1]) > maxClientName {
		c.Fail(wire.CodeErr, "%s cannot be longer than %d bytes", strings.ToLower(c.Keyword(0)), maxClientName)
		return
	}
	for _, b := range c.Args[1] {
		if b < '!' || b > '~' {
			c.Fail(wire.CodeErr, "%s cannot contain spaces, newlines or special characters.", strings.ToLower(c.Keyword(0)))
			return
		}
	}
	*field = string(c.Args[1])
	c.OK()
}

func (s *Server) clientReply(c *session.Call) {
	switch c.Keyword(0) {
	case "ON":
		c.Session.Unmark(session.ReplyOff | session.ReplySkip)
		c.OK()
	case "OFF":
		c.Session.Mark(session.ReplyOff)
	case "SKIP":
		if !c.Session.Is(session.ReplyOff) {
			c.Session.Mark(session.ReplySkipNext)
		}
	default:
		c.Syntax()
	}
}

// clientTracking accepts what Redis would. There are no keys that could be tracked.
func (s *Server) clientTracking(c *session.Call) {
	for i := 1; i < len(c.Args); i++ {
		switch c.Keyword(i) {
		case "BCAST", "OPTIN", "OPTOUT", "NOLOOP":
		case "REDIRECT", "PREFIX":
			i++ // its value
		default:
			c.Syntax()
			return
		}
	}
	s.clientOnOff(c)
}

// clientOnOff accepts a switch that has nothing to switch here.
func (s *Server) clientOnOff(c *session.Call) {
	if a := c.Keyword(0); a != "ON" && a != "OFF" {
		c.Syntax()
		return
	}
	c.OK()
}
