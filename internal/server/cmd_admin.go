package server

import (
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

func (s *Server) adminCommands() map[string]session.Handler {
	return map[string]session.Handler{
		"IPCD.STATUS": s.status,
		"IPCD.RELOAD": s.reload,
		"IPCD.PROVE":  session.Prove,
	}
}

// status looks for who is behind, bit by bit, and then says what there is to say at one moment.
func (s *Server) status(c *session.Call) {
	var slow behind
	p, from := c.Session.Proto(), 0
	c.Perform(&session.Task{
		Head: session.NoHead,
		Step: func(b []byte) ([]byte, bool) {
			some, next := s.set.Net.Some(from)
			slow.look(some)
			if from = next; from > 0 {
				return b, true
			}
			return s.appendStatus(b, p, &slow), false
		},
	})
}

// behind is how many connections have more to be sent than their sockets take, and which of them the most.
type behind struct {
	count, most              int
	client, pid, unit, bytes any // of the one that has most to be sent, as they are told; nil if there is none
}

// look looks at connections, of which some may be nil.
func (w *behind) look(some []*conn.Conn) {
	for _, c := range some {
		if c == nil || c.Dead() || !c.Blocked() {
			continue
		}
		w.count++
		if n := c.Unread(); n > w.most {
			sess := c.Owner().(*session.Session)
			w.most, w.client, w.pid, w.unit, w.bytes = n, int64(sess.ID), int64(sess.Peer.PID), sess.Peer.Unit, int64(n)
		}
	}
}

// appendStatus appends the daemon's state in words and figures.
func (s *Server) appendStatus(b []byte, p wire.Proto, slow *behind) []byte {
	limits, sent, locks := s.opts.Limits, s.messages.Stats(), s.locks.Figures()
	values, bytes := s.messages.Retained()
	groups, waiting := s.messages.Groups()
	rows := []Field{
		{"version", s.setup.Version},
		{"pid", int64(s.self.PID)},
		{"uid", int64(s.self.UID)},
		{"unit", s.self.Unit},
		{"started", s.set.Started().UnixMicro()},
		{"uptime", time.Since(s.set.Started()).Microseconds()},
		{"connections", int64(s.set.Net.Len())},
		{"connections_limit", int64(limits.Connections)},
		{"connections_accepted", int64(s.stats.accepted)},
		{"connections_refused", int64(s.stats.refused)},
		{"connections_behind", int64(slow.count)},
		{"behind_client", slow.client},
		{"behind_pid", slow.pid},
		{"behind_unit", slow.unit},
		{"behind_bytes", slow.bytes},
		{"commands", int64(s.stats.commands)},
		{"subscriptions", int64(s.set.Users.Total(account.Subscriptions))},
		{"messages_published", int64(sent.Published)},
		{"messages_delivered", int64(sent.Delivered)},
		{"messages_dropped", int64(sent.Dropped)},
		{"retained", int64(values)},
		{"retained_bytes", int64(bytes)},
		{"wills", int64(s.wills.Len())},
		{"groups", int64(groups)},
		{"groups_bytes", int64(waiting)},
		{"requests", int64(s.asking.Open())},
		{"locks_granted", int64(locks.Granted)},
		{"locks_held", int64(locks.Held)},
		{"locks_waiting", int64(locks.Waiting)},
		{"locks_lost", int64(locks.Lost)},
		{"locks_not_kept", int64(s.journal.Unwritten())},
		{"locks_of_operators", int64(locks.Operators)},
		{"once_marks", int64(locks.Done)},
		{"watchdog", s.setup.WatchdogEvery.Microseconds()},
		{"busy_poll", s.set.Loop.BusyPoll.Microseconds()},
	}
	rows = append(rows, s.turns.rows()...)
	if s.setup.Status != nil {
		rows = append(rows, s.setup.Status()...)
	}
	b = p.AppendMap(b, len(rows))
	for _, r := range rows {
		b = wire.AppendBulk(b, r.Key)
		switch v := r.Value.(type) {
		case int64:
			b = wire.AppendInt(b, v)
		case string:
			b = wire.AppendBulk(b, v)
		case nil:
			b = p.AppendNull(b)
		}
	}
	return b
}

// reload has the configuration read elsewhere, and holds the connection up until it is in force or refused.
func (s *Server) reload(c *session.Call) {
	if s.setup.Reload == nil {
		c.Fail(wire.CodeErr, "this daemon has no configuration to read again")
		return
	}
	a := c.Later()
	a.Await()
	s.setup.Reload(func(err error) {
		reply := session.Plain("+OK\r\n")
		if err != nil {
			reply = wire.AppendError(nil, wire.CodeConfig, strings.ReplaceAll(err.Error(), "\n", "; ")) // a line for each thing that is wrong
		}
		s.Post(func() { a.Give(reply) })
	})
}
