package server

import (
	"strconv"

	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

func (s *Server) connectionCommands() map[string]session.Handler {
	return map[string]session.Handler{
		"HELLO":      s.hello,
		"PING":       s.ping,
		"ECHO":       func(c *session.Call) { c.Out = wire.AppendBulk(c.Out, c.Args[0]) },
		"QUIT":       func(c *session.Call) { c.OK(); c.Session.Finish() },
		"RESET":      s.reset,
		"AUTH":       s.auth,
		"SELECT":     s.selectIndex,
		"TIME":       s.time,
		"INFO":       s.info,
		"CONFIG GET": func(c *session.Call) { c.Map(0) },
		"DBSIZE":     func(c *session.Call) { c.Integer(0) },
		"FLUSHALL":   s.flushKeys,
		"FLUSHDB":    s.flushKeys,
		"ROLE":       s.role,
		"ASKING":     s.noCluster,
		"CLUSTER":    s.noCluster,
		"READONLY":   s.noCluster,
		"READWRITE":  s.noCluster,
	}
}

// hello chooses the protocol and says who answers.
func (s *Server) hello(c *session.Call) {
	proto := c.Session.Proto()
	args := c.Args
	if len(args) > 0 {
		n, ok := session.Number(args[0])
		if !ok {
			c.Fail(wire.CodeErr, "Protocol version is not an integer or out of range")
			return
		}
		if n != 2 && n != 3 {
			c.Fail(wire.CodeNoProto, "unsupported protocol version")
			return
		}
		proto = wire.Proto(n)
		args = args[1:]
	}
	var name []byte
	for len(args) > 0 {
		switch option := session.Keyword(args[0]); {
		case option == "AUTH" && len(args) > 2:
			noAuth(c)
			return
		case option == "SETNAME" && len(args) > 1:
			if !validName(c, args[1]) {
				return
			}
			name = args[1]
			args = args[2:]
		default:
			c.Fail(wire.CodeErr, "Syntax error in HELLO option '%.128s'", args[0])
			return
		}
	}
	if name != nil {
		s.names.In(c.Session).name = string(name)
	}
	c.Session.SetProto(proto)
	c.Map(10)
	for _, kv := range [...]struct{ key, text string }{{"server", "ipcd"}, {"version", s.setup.Version}} {
		c.Bulk(kv.key)
		c.Bulk(kv.text)
	}
	c.Bulk("proto")
	c.Integer(int64(proto))
	c.Bulk("id")
	c.Integer(int64(c.Session.ID))
	c.Bulk("mode")
	c.Bulk("standalone")
	c.Bulk("role")
	c.Bulk("master")
	c.Bulk("modules")
	c.Array(0)
	c.Bulk("pid") // a socket that the service manager made names the manager as its peer
	c.Integer(int64(s.self.PID))
	c.Bulk("input_limit")
	c.Integer(int64(s.opts.Limits.Input))
	c.Bulk("arguments_limit")
	c.Integer(int64(s.opts.Limits.Arguments))
}

func (s *Server) auth(c *session.Call) {
	if len(c.Args) > 2 {
		c.Syntax()
		return
	}
	noAuth(c)
}

func noAuth(c *session.Call) {
	c.Fail(wire.CodeErr, "AUTH is not used here: who you are is known from the kernel (uid %d)", c.Session.Peer.UID)
}

// ping answers; to a RESP2 subscriber in the form of a message, which is all that its client expects then.
func (s *Server) ping(c *session.Call) {
	subscribed := c.Session.Proto() == wire.RESP2 && s.messages.IsSubscriber(c.Session)
	switch {
	case subscribed:
		c.Array(2)
		c.Bulk("pong")
		if len(c.Args) > 0 {
			c.Out = wire.AppendBulk(c.Out, c.Args[0])
		} else {
			c.Bulk("")
		}
	case len(c.Args) > 0:
		c.Out = wire.AppendBulk(c.Out, c.Args[0])
	default:
		c.Out = append(c.Out, "+PONG\r\n"...)
	}
}

// reset makes the connection as new. Its locks stay: they are held by the process, for work that goes on. Where CLIENT
// REPLY SKIP was just before, the reply to RESET is what is left out, as by Redis.
func (s *Server) reset(c *session.Call) {
	sess := c.Session
	sess.DropTransaction()
	subscriptions, claims := s.messages.Leave(sess), s.locks.Leave(sess)
	c.Perform(&session.Task{Head: session.NoHead, Step: func(b []byte) ([]byte, bool) {
		if subscriptions() || !s.asking.Closed(sess) || claims() {
			return b, true
		}
		sess.SetProto(wire.RESP2)
		sess.Unmark(session.ReplyOff)
		if x := s.names.Of(sess); x != nil {
			x.name = ""
		}
		return append(b, "+RESET\r\n"...), false
	}})
}

func (s *Server) selectIndex(c *session.Call) {
	switch n, ok := session.Number(c.Args[0]); {
	case !ok:
		c.Fail(wire.CodeErr, "value is not an integer or out of range")
	case n != 0:
		c.Fail(wire.CodeErr, "DB index is out of range")
	default:
		c.OK()
	}
}

func (s *Server) time(c *session.Call) {
	now := s.set.RealTime()
	c.Array(2)
	c.Bulk(strconv.FormatInt(now.Unix(), 10))
	c.Bulk(strconv.Itoa(now.Nanosecond() / 1000))
}

// flushKeys removes all keys: none.
func (s *Server) flushKeys(c *session.Call) {
	if len(c.Args) > 1 || len(c.Args) == 1 && c.Keyword(0) != "ASYNC" && c.Keyword(0) != "SYNC" {
		c.Syntax()
		return
	}
	c.OK()
}

// role tells those who look for a master among replicas that this is one, without any.
func (s *Server) role(c *session.Call) {
	c.Array(3)
	c.Bulk("master")
	c.Integer(0)
	c.Array(0)
}

// noCluster answers what is only said to the nodes of a cluster, as a Redis does that is none. Clients take that for an answer.
func (s *Server) noCluster(c *session.Call) {
	c.Fail(wire.CodeErr, "This instance has cluster support disabled")
}
