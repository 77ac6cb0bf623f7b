package server

import (
	"sync"
	"time"
	"unsafe"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/lockmgr"
)

func (s *Server) lockInfo(c *call) {
	var x *shownLock
	p, name, t := c.sess.proto, string(c.args[0]), &task{head: noHead, slow: true}
	t.step = func(b []byte) (_ []byte, more bool) {
		if x == nil { // for a long queue that takes a while
			x = s.show(name)
			t.held = x.memory()
		}
		if b, more = x.appendPart(b, s, p); !more {
			shownLocks.Put(x)
		}
		return b, more
	}
	s.perform(c, t)
}

func (s *Server) lockList(c *call) {
	p, n := c.sess.proto, 0
	var x *shownLock        // nil: the next is to be found
	var names *heap[string] // nil: they are to be looked up
	memory := 0
	t := &task{head: func(b []byte) []byte { return ipc.AppendArray(b, n) }, slow: true}
	t.step = func(b []byte) ([]byte, bool) {
		if names == nil {
			names = newHeap(func(a, b string) bool { return a < b })
			for name := range s.locks.Names() {
				names.add(name)
			}
			memory = names.memory()
			t.held = memory
			return b, true
		}
		if x != nil {
			var more bool
			if b, more = x.appendPart(b, s, p); !more {
				shownLocks.Put(x)
				x, t.held = nil, memory
			}
			return b, true
		}
		if names.n == 0 {
			return b, false
		}
		if name, ok := names.next(); ok {
			if x = s.show(name); x.Free() {
				shownLocks.Put(x)
				x = nil
				return b, true
			}
			n++
			t.held = memory + x.memory()
		}
		return b, true
	}
	s.perform(c, t)
}

// A shownLock is a lock as LOCK.INFO and LOCK.LIST show it: as it was at one moment, though it may take a while to say.
type shownLock struct {
	lockmgr.View
	limit int
	at    time.Duration
	done  int // so many of its claims
}

// shownLocks are used again: to have fresh memory for a long queue, again and again, takes longer than all the rest. What is not
// used for a while the garbage collector takes.
var shownLocks = sync.Pool{New: func() any { return new(shownLock) }}

func (s *Server) show(name string) *shownLock {
	x := shownLocks.Get().(*shownLock)
	s.locks.Look(name, &x.View)
	x.at, x.done = s.now(), 0
	x.limit = x.Limit
	if x.limit == 0 {
		x.limit = max(s.opts.Semaphores[name], 1)
	}
	return x
}

func (x *shownLock) memory() int {
	return (len(x.Holders) + len(x.Waiters)) * int(unsafe.Sizeof(lockmgr.Claim{}))
}

// claimsPerStep is how many claims a step shows.
const claimsPerStep = 8

// appendPart appends the next part of it, and reports whether there is more.
func (x *shownLock) appendPart(b []byte, s *Server, p ipc.Proto) (_ []byte, more bool) {
	if x.done == 0 {
		b = x.appendHead(b, p)
	}
	holders, waiters := len(x.Holders), len(x.Waiters)
	for end := x.done + claimsPerStep; x.done < end; x.done++ {
		if x.done == holders {
			b = ipc.AppendBulk(b, "waiters")
			b = ipc.AppendArray(b, waiters)
		}
		var claim *lockmgr.Claim
		switch i := x.done - holders; {
		case i < 0:
			claim = &x.Holders[x.done]
		case i < waiters:
			claim = &x.Waiters[i]
		default:
			b = ipc.AppendBulk(b, "previous")
			b = appendEnd(b, p, x.Previous)
			b = ipc.AppendBulk(b, "abandoned")
			return appendEnd(b, p, x.Abandoned), false
		}
		b = appendClaim(p.AppendMap(b, claimPairs+1), claim, x.limit, x.at)
		b = ipc.AppendBulk(b, "client")
		b = ipc.AppendInt(b, int64(s.clientOf(claim)))
	}
	return b, true
}

// appendHead appends what comes before the holders.
func (x *shownLock) appendHead(b []byte, p ipc.Proto) []byte {
	v, limit := &x.View, x.limit
	mode, used := "", v.Used
	if len(v.Holders) > 0 {
		mode = modeOf(&v.Holders[0], limit)
	}
	if mode == "shared" {
		used = limit
	}
	b = p.AppendMap(b, 8)
	b = ipc.AppendBulk(b, "name")
	b = ipc.AppendBulk(b, v.Name)
	b = ipc.AppendBulk(b, "mode")
	b = ipc.AppendBulk(b, mode)
	b = ipc.AppendBulk(b, "limit")
	b = ipc.AppendInt(b, int64(limit))
	b = ipc.AppendBulk(b, "used")
	b = ipc.AppendInt(b, int64(used))
	b = ipc.AppendBulk(b, "holders")
	return ipc.AppendArray(b, len(v.Holders))
}

// clientOf is the number of the connection that a claim was asked for on: with a REQID, the one that it was sent on last. It is
// 0 if that was before a restart of the daemon.
func (s *Server) clientOf(c *lockmgr.Claim) uint64 {
	if r := s.requests.byID[c.ID]; r != nil {
		return r.sess.id
	}
	return uint64(c.Conn)
}

// claimPairs is how much appendClaim appends.
const claimPairs = 17

// appendClaim is a holder or waiter as LOCK.INFO shows it, of a lock with that limit.
func appendClaim(b []byte, c *lockmgr.Claim, limit int, now time.Duration) []byte {
	b = ipc.AppendBulk(b, "token")
	b = ipc.AppendInt(b, int64(c.Token))
	b = ipc.AppendBulk(b, "mode")
	b = ipc.AppendBulk(b, modeOf(c, limit))
	b = ipc.AppendBulk(b, "units")
	b = ipc.AppendInt(b, int64(c.Units))
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
	b = ipc.AppendBulk(b, "joined")
	b = ipc.AppendInt(b, flag(c.Joined))
	b = ipc.AppendBulk(b, "entries")
	b = ipc.AppendInt(b, int64(c.Entries))
	b = ipc.AppendBulk(b, "since")
	b = ipc.AppendInt(b, c.Since.Real)
	b = ipc.AppendBulk(b, "age")
	b = ipc.AppendInt(b, (now - c.Since.Boot).Microseconds())
	b = ipc.AppendBulk(b, "left")
	b = ipc.AppendInt(b, left(c, now))
	b = ipc.AppendBulk(b, "set")
	b = ipc.AppendArray(b, len(c.Set))
	for _, name := range c.Set {
		b = ipc.AppendBulk(b, name)
	}
	b = ipc.AppendBulk(b, "why")
	return ipc.AppendBulk(b, c.Why)
}

func flag(set bool) int64 {
	if set {
		return 1
	}
	return 0
}

// left is how long a hold's lease lasts, or a wait, in microseconds; -1 if it does not end by time.
func left(c *lockmgr.Claim, now time.Duration) int64 {
	end := c.Expires
	if c.Token == 0 && c.Wait >= 0 {
		end = c.Since.Boot + c.Wait
	}
	if end == 0 {
		return -1
	}
	return max(end-now, 0).Microseconds()
}

// appendEnd is how a hold ended, or a null.
func appendEnd(b []byte, p ipc.Proto, e *lockmgr.End) []byte {
	if e == nil {
		return p.AppendNull(b)
	}
	b = p.AppendMap(b, 8)
	b = ipc.AppendBulk(b, "token")
	b = ipc.AppendInt(b, int64(e.Token))
	b = ipc.AppendBulk(b, "how")
	b = ipc.AppendBulk(b, e.String())
	b = appendParty(b, e.Owner.Process, &e.Info)
	b = ipc.AppendBulk(b, "at")
	b = ipc.AppendInt(b, e.At.Real)
	b = ipc.AppendBulk(b, "by")
	if e.By == nil {
		return p.AppendNull(b)
	}
	return appendParty(p.AppendMap(b, 4), e.By.Process, &e.By.Info)
}

// appendParty appends four pairs that say who it was.
func appendParty(b []byte, p lockmgr.Process, i *lockmgr.Info) []byte {
	b = ipc.AppendBulk(b, "pid")
	b = ipc.AppendInt(b, int64(p.PID))
	b = ipc.AppendBulk(b, "uid")
	b = ipc.AppendInt(b, int64(i.UID))
	b = ipc.AppendBulk(b, "unit")
	b = ipc.AppendBulk(b, i.Unit)
	b = ipc.AppendBulk(b, "why")
	return ipc.AppendBulk(b, i.Why)
}
