package server

import (
	"strconv"
	"strings"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/ipc/wire"
)

var connectionCommands = map[string]func(*Server, *call){
	"HELLO":      (*Server).hello,
	"PING":       (*Server).ping,
	"ECHO":       func(_ *Server, c *call) { c.out = wire.AppendBulk(c.out, c.args[0]) },
	"QUIT":       func(_ *Server, c *call) { c.ok(); c.sess.Finish() },
	"RESET":      (*Server).reset,
	"AUTH":       (*Server).auth,
	"SELECT":     (*Server).selectIndex,
	"TIME":       (*Server).time,
	"INFO":       (*Server).info,
	"CONFIG GET": func(_ *Server, c *call) { c.mapping(0) },
	"DBSIZE":     func(_ *Server, c *call) { c.integer(0) },
	"FLUSHALL":   (*Server).flushKeys,
	"FLUSHDB":    (*Server).flushKeys,
	"ROLE":       (*Server).role,
	"ASKING":     (*Server).noCluster,
	"CLUSTER":    (*Server).noCluster,
	"READONLY":   (*Server).noCluster,
	"READWRITE":  (*Server).noCluster,
}

// hello chooses the protocol and says who answers.
func (s *Server) hello(c *call) {
	proto := c.sess.proto
	args := c.args
	if len(args) > 0 {
		n, ok := number(args[0])
		if !ok {
			c.fail(wire.CodeErr, "Protocol version is not an integer or out of range")
			return
		}
		if n != 2 && n != 3 {
			c.fail(wire.CodeNoProto, "unsupported protocol version")
			return
		}
		proto = wire.Proto(n)
		args = args[1:]
	}
	var name []byte
	for len(args) > 0 {
		switch option := strings.ToUpper(string(args[0])); {
		case option == "AUTH" && len(args) > 2:
			c.noAuth()
			return
		case option == "SETNAME" && len(args) > 1:
			if !c.validName(args[1]) {
				return
			}
			name = args[1]
			args = args[2:]
		default:
			c.fail(wire.CodeErr, "Syntax error in HELLO option '%.128s'", args[0])
			return
		}
	}
	if name != nil {
		c.sess.extra().name = string(name)
	}
	s.setProto(c.sess, proto)
	c.mapping(10)
	for _, kv := range [...]struct{ key, text string }{{"server", "ipcd"}, {"version", s.setup.Version}} {
		c.bulk(kv.key)
		c.bulk(kv.text)
	}
	c.bulk("proto")
	c.integer(int64(proto))
	c.bulk("id")
	c.integer(int64(c.sess.id))
	c.bulk("mode")
	c.bulk("standalone")
	c.bulk("role")
	c.bulk("master")
	c.bulk("modules")
	c.array(0)
	c.bulk("pid") // a socket that the service manager made names the manager as its peer
	c.integer(int64(s.self.PID))
	c.bulk("input_limit")
	c.integer(int64(s.opts.Limits.Input))
	c.bulk("arguments_limit")
	c.integer(int64(s.opts.Limits.Arguments))
}

// setProto changes a session's protocol. Its open range is in the buffer of the protocol it had.
func (s *Server) setProto(sess *session, p wire.Proto) {
	if sess.proto != p {
		sess.Unfollow()
		sess.proto = p
	}
}

func (s *Server) auth(c *call) {
	if len(c.args) > 2 {
		c.syntax()
		return
	}
	c.noAuth()
}

func (c *call) noAuth() {
	c.fail(wire.CodeErr, "AUTH is not used here: who you are is known from the kernel (uid %d)", c.sess.peer.UID)
}

// ping answers; to a RESP2 subscriber in the form of a message, which is all that its client expects then.
func (s *Server) ping(c *call) {
	subscribed := c.sess.proto == wire.RESP2 && c.sess.is(stateSubscribed) && s.bus.Count(c.sess) > 0
	switch {
	case subscribed:
		c.array(2)
		c.bulk("pong")
		if len(c.args) > 0 {
			c.out = wire.AppendBulk(c.out, c.args[0])
		} else {
			c.bulk("")
		}
	case len(c.args) > 0:
		c.out = wire.AppendBulk(c.out, c.args[0])
	default:
		c.out = append(c.out, "+PONG\r\n"...)
	}
}

// reset makes the connection as new. Its locks stay: they are held by the process, for work that goes on. Where CLIENT
// REPLY SKIP was just before, the reply to RESET is what is left out, as by Redis.
func (s *Server) reset(c *call) {
	sess := c.sess
	s.dropTransaction(sess)
	kind, texts := bus.Channel, s.bus.Texts(sess, bus.Channel)
	var waits *leaving
	s.perform(c, &task{head: noHead, step: func(b []byte) ([]byte, bool) {
		switch {
		case len(texts) > 0:
			s.unsubscribe(sess, kind, texts[0])
			texts = texts[1:]
			return b, true
		case kind != bus.Filter:
			kind++
			texts = s.bus.Texts(sess, kind)
			return b, true
		}
		if !s.dropFollows(sess) || !s.cancelSome(sess) {
			return b, true
		}
		if waits == nil {
			waits = s.requestsOf(sess)
		}
		if !s.cancelRequests(waits) {
			return b, true
		}
		s.setProto(sess, wire.RESP2)
		sess.state &^= stateReplyOff
		if x := sess.more; x != nil {
			x.name = ""
		}
		return append(b, "+RESET\r\n"...), false
	}})
}

func (s *Server) selectIndex(c *call) {
	switch n, ok := number(c.args[0]); {
	case !ok:
		c.fail(wire.CodeErr, "value is not an integer or out of range")
	case n != 0:
		c.fail(wire.CodeErr, "DB index is out of range")
	default:
		c.ok()
	}
}

func (s *Server) time(c *call) {
	now := s.realTime()
	c.array(2)
	c.bulk(strconv.FormatInt(now.Unix(), 10))
	c.bulk(strconv.Itoa(now.Nanosecond() / 1000))
}

// flushKeys removes all keys: none.
func (s *Server) flushKeys(c *call) {
	if len(c.args) > 1 || len(c.args) == 1 && c.arg(0) != "ASYNC" && c.arg(0) != "SYNC" {
		c.syntax()
		return
	}
	c.ok()
}

// role tells those who look for a master among replicas that this is one, without any.
func (s *Server) role(c *call) {
	c.array(3)
	c.bulk("master")
	c.integer(0)
	c.array(0)
}

// noCluster answers what is only said to the nodes of a cluster, as a Redis does that is none. Clients take that for an answer.
func (s *Server) noCluster(c *call) {
	c.fail(wire.CodeErr, "This instance has cluster support disabled")
}
