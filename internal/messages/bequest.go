package messages

import (
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// What the service of wills asks for: see package wills.

// RoomForWill checks whether there is room, of all users, for a will of a size, by which there are so many wills more that are to be values,
// and so many bytes more in wills. A will may be as large as a value, as it may be the value of its topic one day: nobody is asked then.
func (s *Service) RoomForWill(c *session.Call, size, values, bytes int) bool {
	if size > LargestRetained {
		c.Fail(wire.CodeQuota, "a will and its topic may have %d bytes, not %d", LargestRetained, size)
		return false
	}
	return s.roomToRetain(c, values, bytes)
}

// CountWills counts wills that are to be values, and bytes of wills.
func (s *Service) CountWills(values, bytes int) {
	s.retained.wills.values += values
	s.retained.wills.bytes += bytes
}

// CountedWills is how many there are.
func (s *Service) CountedWills() (values, bytes int) {
	return s.retained.wills.values, s.retained.wills.bytes
}

// Bequeath publishes a will that is none any more, with the word on how whom it was of has ended. What is true of it, and of the value of
// its topic, is recorded as one, before anybody is told. If it is to clear a value that is another's by then, nobody is told: it would be of
// that value that he would think.
func (s *Service) Bequeath(w *record.Will, ended string) {
	value := s.retainedOf(w.Topic)
	own := value != nil && value.PID == w.Process.PID && value.Start == w.Process.Start
	stamp := session.AppendStamp(nil, &peer.Peer{PID: w.Process.PID, UID: w.UID, Unit: w.Unit})
	tell := true
	m := message{topic: []byte(w.Topic), payload: []byte(w.Payload), stamp: stamp, ended: ended, headers: w.Headers}
	if w.Lasts != 0 {
		m.expires = s.set.RealTime().Add(w.Lasts).UnixMicro()
	}
	switch {
	case w.Then == record.ThenRetain:
		k := &kept{stamp: stamp, Retained: record.Retained{
			Topic: w.Topic, Payload: w.Payload, Seq: s.bus.Seq() + 1, Time: s.set.RealMicro(),
			PID: w.Process.PID, Start: w.Process.Start, UID: w.UID, Unit: w.Unit, Ended: ended, Headers: w.Headers,
		}}
		if w.Lasts != 0 {
			k.Expires = s.set.Now() + w.Lasts
		}
		s.keep(k)
	case w.Then == record.ThenClear && own:
		s.retained.topics.Delete(w.Topic)
		s.release(value)
	case w.Then == record.ThenClear && value != nil:
		tell = false
	}
	if s.journal.IsKept() {
		s.journal.Changed(record.Of(w).Subject)
		s.journal.Changed(record.Subject{Kind: record.KindRetained, Topic: w.Topic})
		s.journal.Record()
	}
	if !tell {
		return
	}
	var to audience
	if err := s.find(&to, topicName, m.topic); err == nil {
		if _, rest := s.send(&to, &m, nil); rest != nil {
			rest.user, rest.heavy = w.UID, true
		}
	}
}
