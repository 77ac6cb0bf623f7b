package locks

import (
	"slices"
	"strings"

	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// readPer reads PER boot|day|ever, of which PER is word i.
func readPer(c *session.Call, i int) (string, bool) {
	per := strings.ToLower(string(c.Args[i+1]))
	if c.Keyword(i) != "PER" || !slices.Contains(record.Periods, per) {
		c.Fail(wire.CodeErr, "PER wants boot, day or ever, not %q", session.Clip(string(c.Args[i+1])))
		return "", false
	}
	return per, true
}

// lockIsDone tells whether something was done in the present period.
func (s *Service) lockIsDone(c *session.Call) {
	per, ok := readPer(c, 1)
	if !ok {
		return
	}
	m, ok := s.once.find(string(c.Args[0]), per, s.set.RealTime())
	if !ok {
		c.Null()
		return
	}
	c.Map(3)
	c.Bulk("at")
	c.Integer(m.At)
	c.Bulk("uid")
	c.Integer(int64(m.UID))
	c.Bulk("pid")
	c.Integer(int64(m.PID))
}

// doneWords reads the words of LOCK.DONE.
func (s *Service) doneWords(c *session.Call) bool {
	_, ok := readPer(c, 2)
	return ok && c.ReadRequestIDAt(4)
}

// lockDone marks something as done, for who holds the lock of that name: so no other is doing it.
func (s *Service) lockDone(c *session.Call) {
	per, _ := readPer(c, 2)
	hold, ok := s.namedHold(c)
	if !ok || !owns(c, &hold) {
		return
	}
	now := s.set.RealTime()
	who := &c.Session.Peer
	m := record.Done{Key: hold.Name, Per: per, At: now.UnixMicro(), UID: who.UID, PID: who.PID}
	if _, done := s.once.find(m.Key, per, now); !done {
		if err := s.once.room(m.UID, now); err != nil {
			c.Fail(wire.CodeQuota, "%v", err)
			return
		}
		m.Period = s.once.period(per, now)
		s.once.set(m)
	}
	// One that is marked already may be on its way to the disk.
	s.giveSaved(c.Later(), &s.once.savedFile, func(err error) session.Outcome {
		if err == nil {
			return session.Plain("+OK\r\n")
		}
		if s.once.done[doneKey{m.Key, m.Per}] == m {
			s.once.remove(doneKey{m.Key, m.Per})
		}
		return takenBack(err)
	})
}

// lockForget has something that was done be done again.
func (s *Service) lockForget(c *session.Call) {
	gone := s.once.forget(string(c.Args[0]), c.MayAct)
	c.Integer(int64(len(gone)))
	if len(gone) > 0 {
		s.answerSaved(c, &s.once.savedFile)
	}
}
