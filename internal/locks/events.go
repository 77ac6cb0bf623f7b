package locks

import (
	"log/slog"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// announce publishes what happened to a lock. A hold that was cut off or taken away is announced twice: as released, or as
// left if others are in it, for those who wait for that, and as abandoned, expired or broken for those who look after it.
// So is what was learned of an end, if it was such a one.
func (s *Service) announce(e *lockmgr.Effect, pays *account.User) {
	if e.Kind == lockmgr.Forgotten { // the daemon's own affair
		return
	}
	event := e.Kind.String()
	if e.Kind == lockmgr.Ended {
		event = "released"
	}
	s.publishEvent(event, e, pays)
	switch {
	case e.End == nil:
	case e.End.Abandoned():
		s.publishEvent("abandoned", e, pays)
	case e.End.Lost():
		s.publishEvent(e.End.How.String(), e, pays)
	}
}

// tellOwner tells of what happened to a hold without its owner having asked: in the log, and to the connection that acquired it.
func (s *Service) tellOwner(e *lockmgr.Effect) {
	switch {
	case e.End != nil && e.End.Abandoned():
		s.set.LogAbout(slog.LevelWarn, e.UID, "abandoned", "a lock was abandoned", "lock", e.Name, "how", e.End.String(),
			"token", uint64(e.Token), "pid", e.Owner.Process.PID, "unit", e.Unit)
	case e.End != nil && e.End.Lost():
		s.pushLost(s.connection(&e.Claim), e)
	case e.Kind == lockmgr.Expiring:
		s.pushExpiring(s.connection(&e.Claim), e)
	}
}

// pushLost tells a connection how a hold has ended.
func (s *Service) pushLost(sess *session.Session, e *lockmgr.Effect) {
	s.push(sess, e, 5, "lock.lost", func(b []byte) []byte {
		b = wire.AppendBulk(b, e.End.String())
		return wire.AppendBulk(b, describeParty(e.End.By))
	})
}

// pushExpiring tells a connection that the lease of a hold will end soon.
func (s *Service) pushExpiring(sess *session.Session, e *lockmgr.Effect) {
	s.push(sess, e, 4, "lock.expiring", func(b []byte) []byte { return wire.AppendInt(b, (e.Expires - s.set.Now()).Milliseconds()) })
}

// push sends n elements about a hold to a connection, if it is still there and can be told: the kind, the lock's name and the
// token, and what more appends.
func (s *Service) push(sess *session.Session, e *lockmgr.Effect, n int, kind string, more func([]byte) []byte) {
	if sess == nil || sess.Proto() != wire.RESP3 {
		return
	}
	b := sess.Proto().AppendPush(s.scratch[:0], n)
	b = wire.AppendBulk(b, kind)
	b = wire.AppendBulk(b, e.Name)
	b = wire.AppendInt(b, int64(e.Token))
	b = more(b)
	s.scratch = b[:0]
	sess.Tell(b)
}

func (s *Service) publishEvent(event string, e *lockmgr.Effect, pays *account.User) {
	topic := append(s.scratch[:0], wire.LockTopics...)
	topic = append(topic, event...)
	topic = append(topic, '/')
	topic = wire.AppendLockName(topic, e.Name)
	s.scratch = topic[:0]
	s.event.word, s.event.of = event, e
	if err := s.events.PublishEvent(topic, s.event.append, e.UID, pays); err != nil {
		s.set.Log.Error("cannot announce what happened to a lock", "event", "bug", "error", err) // a lock's name is checked
	}
	s.event.of = nil
}

// Events is where what happens to locks is published, for whoever is subscribed to that.
type Events interface {
	// PublishEvent publishes what payload makes, if anybody may get it, about something of a user's. pays is charged with the time.
	PublishEvent(topic []byte, payload func([]byte) []byte, user uint32, pays *account.User) error
	// EventsInLine reports whether as many events of a user's locks are not delivered yet as may before he has to wait.
	EventsInLine(user uint32) bool
	// LineIsLong reports whether so many are not delivered that no more should come which nobody has asked for.
	LineIsLong() bool
}

// An announcement is the event that is being published. There is one of it, and so one function that makes its payload.
type announcement struct {
	word   string
	of     *lockmgr.Effect
	append func(b []byte) []byte
}

// appendEvent appends the payload: a JSON object.
func (s *Service) appendEvent(b []byte) []byte {
	event, e := s.event.word, s.event.of
	b = printable.BeginObject(b)
	b = printable.AppendTextField(b, "event", event)
	b = printable.AppendTextField(b, "name", e.Name)
	if e.Kind != lockmgr.Learned {
		b = printable.AppendTextField(b, "mode", modeOf(&e.Claim, e.Limit))
	}
	pid, _ := shownProcess(e.Owner.Process)
	b = printable.AppendIntField(b, "pid", pid)
	b = printable.AppendIntField(b, "uid", int64(e.UID))
	b = printable.AppendTextField(b, "unit", e.Unit)
	b = printable.AppendTextField(b, "why", e.Why)
	if e.Limit > 1 && e.Kind != lockmgr.Learned {
		b = printable.AppendIntField(b, "units", int64(e.Units))
		b = printable.AppendIntField(b, "limit", int64(e.Limit))
	}
	if e.Kind == lockmgr.Waiting {
		b = printable.AppendIntField(b, "place", int64(e.Place))
	} else if e.Token != 0 {
		b = printable.AppendIntField(b, "token", int64(e.Token))
	}
	switch e.Kind {
	case lockmgr.Acquired:
		b = printable.AppendTextField(b, "previous", e.Previous.String())
		b = printable.AppendTextField(b, "abandoned", describeEnd(e.Abandoned))
	case lockmgr.Reentered:
		b = printable.AppendIntField(b, "entries", int64(e.Entries))
	}
	switch {
	case e.Kind == lockmgr.Learned:
		b = printable.AppendTextField(b, "how", e.End.String())
	case e.End != nil:
		b = printable.AppendTextField(b, "how", e.End.String())
		b = printable.AppendIntField(b, "held_us", (s.set.Now() - e.Since.Boot).Microseconds())
		if e.End.By != nil {
			b = printable.AppendTextField(b, "by", describeParty(e.End.By))
		}
	case e.Kind == lockmgr.Left:
		b = printable.AppendIntField(b, "entries", int64(e.Entries))
	case e.Expires > 0:
		b = printable.AppendIntField(b, "expires_us", (e.Expires - s.set.Now()).Microseconds())
	}
	return printable.EndObject(b)
}
