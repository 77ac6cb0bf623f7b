package server

import (
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/lockmgr"
)

func (s *Server) lockInfo(c *call) {
	if c.lockName() {
		v := s.locks.View(string(c.args[0]))
		c.out = s.appendLock(c.out, c.sess.proto, &v)
	}
}

func (s *Server) lockList(c *call) {
	var views []lockmgr.View
	for v := range s.locks.All() {
		if !v.Free() {
			views = append(views, v)
		}
	}
	c.array(len(views))
	for i := range views {
		c.out = s.appendLock(c.out, c.sess.proto, &views[i])
	}
}

// appendLock is a lock as LOCK.INFO and LOCK.LIST show it.
func (s *Server) appendLock(b []byte, p ipc.Proto, v *lockmgr.View) []byte {
	mode, used := "", len(v.Holders)
	if used > 0 {
		mode = v.Holders[0].Mode.String()
	}
	b = p.AppendMap(b, 7)
	b = ipc.AppendBulk(b, "name")
	b = ipc.AppendBulk(b, v.Name)
	b = ipc.AppendBulk(b, "mode")
	b = ipc.AppendBulk(b, mode)
	b = ipc.AppendBulk(b, "limit")
	b = ipc.AppendInt(b, 1)
	b = ipc.AppendBulk(b, "used")
	b = ipc.AppendInt(b, int64(min(used, 1)))
	b = ipc.AppendBulk(b, "holders")
	b = s.appendClaims(b, p, v.Holders)
	b = ipc.AppendBulk(b, "waiters")
	b = s.appendClaims(b, p, v.Waiters)
	b = ipc.AppendBulk(b, "previous")
	return appendPrevious(b, p, v.Previous)
}

func (s *Server) appendClaims(b []byte, p ipc.Proto, claims []lockmgr.Claim) []byte {
	b = ipc.AppendArray(b, len(claims))
	for i := range claims {
		c := &claims[i]
		b = p.AppendMap(b, 12)
		b = ipc.AppendBulk(b, "token")
		b = ipc.AppendInt(b, int64(c.Token))
		b = ipc.AppendBulk(b, "mode")
		b = ipc.AppendBulk(b, c.Mode.String())
		b = ipc.AppendBulk(b, "pid")
		b = ipc.AppendInt(b, int64(c.Owner.Process.PID))
		b = ipc.AppendBulk(b, "start")
		b = ipc.AppendInt(b, int64(c.Owner.Process.Start))
		b = ipc.AppendBulk(b, "uid")
		b = ipc.AppendInt(b, int64(c.UID))
		b = ipc.AppendBulk(b, "gid")
		b = ipc.AppendInt(b, int64(c.GID))
		b = ipc.AppendBulk(b, "unit")
		b = ipc.AppendBulk(b, c.Unit)
		b = ipc.AppendBulk(b, "owner")
		b = ipc.AppendBulk(b, c.Owner.Label)
		b = ipc.AppendBulk(b, "bound")
		b = ipc.AppendBulk(b, c.Bind.String())
		b = ipc.AppendBulk(b, "since")
		b = ipc.AppendInt(b, c.Since.Real)
		b = ipc.AppendBulk(b, "age")
		b = ipc.AppendInt(b, (s.now() - c.Since.Boot).Microseconds())
		b = ipc.AppendBulk(b, "why")
		b = ipc.AppendBulk(b, c.Why)
	}
	return b
}

// appendPrevious is how the last hold ended, or a null.
func appendPrevious(b []byte, p ipc.Proto, e *lockmgr.End) []byte {
	if e == nil {
		return p.AppendNull(b)
	}
	b = p.AppendMap(b, 6)
	b = ipc.AppendBulk(b, "token")
	b = ipc.AppendInt(b, int64(e.Token))
	b = ipc.AppendBulk(b, "how")
	b = ipc.AppendBulk(b, e.String())
	b = ipc.AppendBulk(b, "pid")
	b = ipc.AppendInt(b, int64(e.Owner.Process.PID))
	b = ipc.AppendBulk(b, "uid")
	b = ipc.AppendInt(b, int64(e.UID))
	b = ipc.AppendBulk(b, "unit")
	b = ipc.AppendBulk(b, e.Unit)
	b = ipc.AppendBulk(b, "at")
	return ipc.AppendInt(b, e.At.Real)
}
