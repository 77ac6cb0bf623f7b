package server

import (
	"slices"
	"strings"

	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/ipc/wire"
)

// per reads PER boot|day|ever, of which PER is word i.
func (c *call) per(i int) (string, bool) {
	per := strings.ToLower(string(c.args[i+1]))
	if c.arg(i) != "PER" || !slices.Contains(record.Periods, per) {
		c.fail(wire.CodeErr, "PER wants boot, day or ever, not %q", clip(string(c.args[i+1])))
		return "", false
	}
	return per, true
}

// lockIsDone tells whether something was done in the present period.
func (s *Server) lockIsDone(c *call) {
	per, ok := c.per(1)
	if !ok {
		return
	}
	m, ok := s.once.find(string(c.args[0]), per, s.realTime())
	if !ok {
		c.null()
		return
	}
	c.mapping(3)
	c.bulk("at")
	c.integer(m.At)
	c.bulk("uid")
	c.integer(int64(m.UID))
	c.bulk("pid")
	c.integer(int64(m.PID))
}

// doneWords reads the words of LOCK.DONE.
func (s *Server) doneWords(c *call) bool {
	_, ok := c.per(2)
	return ok && c.requestIDAt(4)
}

// lockDone marks something as done, for who holds the lock of that name: so no other is doing it.
func (s *Server) lockDone(c *call) {
	per, _ := c.per(2)
	hold, ok := c.namedHold(s)
	if !ok || !c.owns(&hold) {
		return
	}
	now := s.realTime()
	who := &c.sess.peer
	m := record.Done{Key: hold.Name, Per: per, At: now.UnixMicro(), UID: who.UID, PID: who.PID}
	if _, done := s.once.find(m.Key, per, now); !done {
		if err := s.once.room(m.UID, now); err != nil {
			c.fail(wire.CodeQuota, "%v", err)
			return
		}
		m.Period = s.once.period(per, now)
		s.once.set(m)
	}
	// One that is marked already may be on its way to the disk.
	s.giveSaved(c.later(), &s.once.savedFile, func(err error) outcome {
		if err == nil {
			return plain("+OK\r\n")
		}
		if s.once.done[doneKey{m.Key, m.Per}] == m {
			s.once.remove(doneKey{m.Key, m.Per})
		}
		return takenBack(err)
	})
}

// lockForget has something that was done be done again.
func (s *Server) lockForget(c *call) {
	gone := s.once.forget(string(c.args[0]), c.mayAct)
	c.integer(int64(len(gone)))
	if len(gone) > 0 {
		s.answerSaved(c, &s.once.savedFile)
	}
}
