package server

import (
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/ipc/wire"
)

var adminCommands = map[string]func(*Server, *call){
	"IPCD.STATUS": (*Server).status,
	"IPCD.RELOAD": (*Server).reload,
	"IPCD.PROVE":  (*Server).prove,
}

// status is the daemon's state in words and figures.
func (s *Server) status(c *call) {
	limits := s.opts.Limits
	rows := []Field{
		{"version", s.setup.Version},
		{"pid", int64(s.self.PID)},
		{"uid", int64(s.self.UID)},
		{"unit", s.self.Unit},
		{"started", s.started.UnixMicro()},
		{"uptime", time.Since(s.started).Microseconds()},
		{"connections", int64(s.net.Len())},
		{"connections_limit", int64(limits.Connections)},
		{"connections_accepted", int64(s.stats.accepted)},
		{"connections_refused", int64(s.stats.refused)},
		{"commands", int64(s.stats.commands)},
		{"subscriptions", int64(s.users.Total(account.Subscriptions))},
		{"messages_published", int64(s.stats.published)},
		{"messages_delivered", int64(s.stats.delivered)},
		{"messages_dropped", int64(s.stats.dropped)},
		{"retained", int64(s.retained.topics.Len())},
		{"retained_bytes", int64(s.retained.bytes)},
		{"locks_granted", int64(s.stats.granted)},
		{"locks_held", int64(s.held)},
		{"locks_waiting", int64(s.queued)},
		{"locks_lost", int64(s.holdsLost)},
		{"locks_not_kept", int64(len(s.recorder.unwritten))},
		{"locks_of_operators", int64(len(s.operators.holds))},
		{"once_marks", int64(len(s.once.done))},
		{"watchdog", s.setup.WatchdogEvery.Microseconds()},
		{"busy_poll", s.loop.BusyPoll.Microseconds()},
	}
	rows = append(rows, s.turns.rows()...)
	if s.setup.Status != nil {
		rows = append(rows, s.setup.Status()...)
	}
	c.mapping(len(rows))
	for _, r := range rows {
		c.bulk(r.Key)
		switch v := r.Value.(type) {
		case int64:
			c.integer(v)
		case string:
			c.bulk(v)
		}
	}
}

// reload has the configuration read elsewhere, and holds the connection up until it is in force or refused.
func (s *Server) reload(c *call) {
	if s.setup.Reload == nil {
		c.fail(wire.CodeErr, "this daemon has no configuration to read again")
		return
	}
	a := c.later()
	a.await()
	s.setup.Reload(func(err error) {
		reply := plain("+OK\r\n")
		if err != nil {
			reply = wire.AppendError(nil, wire.CodeConfig, strings.ReplaceAll(err.Error(), "\n", "; ")) // a line for each thing that is wrong
		}
		s.Post(func() { s.give(a, reply) })
	})
}
