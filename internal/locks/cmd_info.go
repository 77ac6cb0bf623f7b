package locks

import (
	"sync"
	"time"
	"unsafe"

	"github.com/ipcd/ipcd/internal/heap"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

func (s *Service) lockInfo(c *session.Call) {
	var x *shownLock
	p, name, t := c.Session.Proto(), string(c.Args[0]), &session.Task{Head: session.NoHead, Slow: true}
	t.Step = func(b []byte) (_ []byte, more bool) {
		if x == nil { // for a long queue that takes a while
			x = s.show(name, false)
			t.Held = x.memory()
		}
		if b, more = x.appendPart(b, s, p); !more {
			shownLocks.Put(x)
		}
		return b, more
	}
	c.Perform(t)
}

func (s *Service) lockList(c *session.Call) {
	p, n := c.Session.Proto(), 0
	var x *shownLock             // nil: the next is to be found
	var names *heap.Heap[string] // nil: they are to be looked up
	memory := 0
	t := &session.Task{Head: func(b []byte) []byte { return wire.AppendArray(b, n) }, Slow: true}
	t.Step = func(b []byte) ([]byte, bool) {
		if names == nil {
			names = heap.New(func(a, b string) bool { return a < b })
			for name := range s.locks.Names() {
				names.Add(name)
			}
			memory = names.Room() * int(unsafe.Sizeof(""))
			t.Held = memory
			return b, true
		}
		if x != nil {
			var more bool
			if b, more = x.appendPart(b, s, p); !more {
				shownLocks.Put(x)
				x, t.Held = nil, memory
			}
			return b, true
		}
		if names.Len() == 0 {
			return b, false
		}
		if name, ok := names.Next(); ok {
			if x = s.show(name, true); x.Free() {
				shownLocks.Put(x)
				x = nil
				return b, true
			}
			n++
			t.Held = memory + x.memory()
		}
		return b, true
	}
	c.Perform(t)
}

// A shownLock is a lock as LOCK.INFO and LOCK.LIST show it: as it was at one moment, though it may take a while to say.
type shownLock struct {
	lockmgr.View
	limit int
	at    time.Duration
	done  int  // so many of its claims
	brief bool // of those who wait it is only looked at the first, whether it is stopped: that takes as long as all the rest
}

// shownLocks are used again: to have fresh memory for a long queue, again and again, takes longer than all the rest. What is not
// used for a while the garbage collector takes.
var shownLocks = sync.Pool{New: func() any { return new(shownLock) }}

func (s *Service) show(name string, brief bool) *shownLock {
	x := shownLocks.Get().(*shownLock)
	s.locks.Look(name, &x.View)
	x.at, x.done, x.brief = s.set.Now(), 0, brief
	x.limit = x.Limit
	if x.limit == 0 {
		x.limit = max(s.semaphores[name], 1)
	}
	return x
}

func (x *shownLock) memory() int {
	return (len(x.Holders) + len(x.Waiters)) * int(unsafe.Sizeof(lockmgr.Claim{}))
}

// claimsPerStep is how many claims a step shows.
const claimsPerStep = 8

// appendPart appends the next part of it, and reports whether there is more.
func (x *shownLock) appendPart(b []byte, s *Service, p wire.Proto) (_ []byte, more bool) {
	if x.done == 0 {
		b = x.appendHead(b, p)
	}
	holders, waiters := len(x.Holders), len(x.Waiters)
	for end := x.done + claimsPerStep; x.done < end; x.done++ {
		if x.done == holders {
			b = wire.AppendBulk(b, "waiters")
			b = wire.AppendArray(b, waiters)
		}
		var claim *lockmgr.Claim
		switch i := x.done - holders; {
		case i < 0:
			claim = &x.Holders[x.done]
		case i < waiters:
			claim = &x.Waiters[i]
		default:
			b = wire.AppendBulk(b, "previous")
			b = appendEnd(b, p, x.Previous)
			b = wire.AppendBulk(b, "abandoned")
			return appendEnd(b, p, x.Abandoned), false
		}
		b = appendClaim(p.AppendMap(b, claimPairs+2), claim, x.limit, x.at)
		b = wire.AppendBulk(b, "stopped")
		stop := peer.Runs
		if !x.brief || x.done <= holders {
			stop = s.stopOf(claim)
		}
		b = wire.AppendBulk(b, stop.String())
		b = wire.AppendBulk(b, "client")
		b = wire.AppendInt(b, int64(s.clientOf(claim)))
	}
	return b, true
}

// appendHead appends what comes before the holders.
func (x *shownLock) appendHead(b []byte, p wire.Proto) []byte {
	v, limit := &x.View, x.limit
	mode, used := "", v.Used
	if len(v.Holders) > 0 {
		mode = modeOf(&v.Holders[0], limit)
	}
	if mode == "shared" {
		used = limit
	}
	b = p.AppendMap(b, 8)
	b = wire.AppendBulk(b, "name")
	b = wire.AppendBulk(b, v.Name)
	b = wire.AppendBulk(b, "mode")
	b = wire.AppendBulk(b, mode)
	b = wire.AppendBulk(b, "limit")
	b = wire.AppendInt(b, int64(limit))
	b = wire.AppendBulk(b, "used")
	b = wire.AppendInt(b, int64(used))
	b = wire.AppendBulk(b, "holders")
	return wire.AppendArray(b, len(v.Holders))
}

// claimPairs is how much appendClaim appends.
const claimPairs = 17

// appendClaim is a holder or waiter as LOCK.INFO shows it, of a lock with that limit.
func appendClaim(b []byte, c *lockmgr.Claim, limit int, now time.Duration) []byte {
	b = wire.AppendBulk(b, "token")
	b = wire.AppendInt(b, int64(c.Token))
	b = wire.AppendBulk(b, "mode")
	b = wire.AppendBulk(b, modeOf(c, limit))
	b = wire.AppendBulk(b, "units")
	b = wire.AppendInt(b, int64(c.Units))
	b = wire.AppendBulk(b, "pid")
	pid, start := shownProcess(c.Owner.Process)
	b = wire.AppendInt(b, pid)
	b = wire.AppendBulk(b, "start")
	b = wire.AppendInt(b, start)
	b = wire.AppendBulk(b, "uid")
	b = wire.AppendInt(b, int64(c.UID))
	b = wire.AppendBulk(b, "gid")
	b = wire.AppendInt(b, int64(c.GID))
	b = wire.AppendBulk(b, "unit")
	b = wire.AppendBulk(b, c.Unit)
	b = wire.AppendBulk(b, "owner")
	b = wire.AppendBulk(b, c.Owner.Label)
	b = wire.AppendBulk(b, "bound")
	b = wire.AppendBulk(b, boundOf(c))
	b = wire.AppendBulk(b, "joined")
	b = wire.AppendInt(b, flag(c.Joined))
	b = wire.AppendBulk(b, "entries")
	b = wire.AppendInt(b, int64(c.Entries))
	b = wire.AppendBulk(b, "since")
	b = wire.AppendInt(b, c.Since.Real)
	b = wire.AppendBulk(b, "age")
	b = wire.AppendInt(b, (now - c.Since.Boot).Microseconds())
	b = wire.AppendBulk(b, "left")
	b = wire.AppendInt(b, left(c, now))
	b = wire.AppendBulk(b, "set")
	b = wire.AppendArray(b, len(c.Set))
	for _, name := range c.Set {
		b = wire.AppendBulk(b, name)
	}
	b = wire.AppendBulk(b, "why")
	return wire.AppendBulk(b, c.Why)
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
func appendEnd(b []byte, p wire.Proto, e *lockmgr.End) []byte {
	if e == nil {
		return p.AppendNull(b)
	}
	b = p.AppendMap(b, 8)
	b = wire.AppendBulk(b, "token")
	b = wire.AppendInt(b, int64(e.Token))
	b = wire.AppendBulk(b, "how")
	b = wire.AppendBulk(b, e.String())
	b = appendParty(b, e.Owner.Process, &e.Info)
	b = wire.AppendBulk(b, "at")
	b = wire.AppendInt(b, e.At.Real)
	b = wire.AppendBulk(b, "by")
	if e.By == nil {
		return p.AppendNull(b)
	}
	return appendParty(p.AppendMap(b, 4), e.By.Process, &e.By.Info)
}

// appendParty appends four pairs that say who it was.
func appendParty(b []byte, p lockmgr.Process, i *lockmgr.Info) []byte {
	b = wire.AppendBulk(b, "pid")
	pid, _ := shownProcess(p)
	b = wire.AppendInt(b, pid)
	b = wire.AppendBulk(b, "uid")
	b = wire.AppendInt(b, int64(i.UID))
	b = wire.AppendBulk(b, "unit")
	b = wire.AppendBulk(b, i.Unit)
	b = wire.AppendBulk(b, "why")
	return wire.AppendBulk(b, i.Why)
}
