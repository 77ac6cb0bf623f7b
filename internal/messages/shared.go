package messages

// A shared is a message that groups have, of which it is one copy.
type shared struct {
	message
	text    []byte // topic and payload
	parcels int    // that it is there for still: one for each group, and one while it is put into them
}

// share puts a message into so many of its groups at most. What is put into several of them is one copy.
func (s *Service) share(m *message, most int) (delivered, dropped int) {
	if len(m.groups) == 0 && m.groupSearch != nil {
		found, more := m.groupSearch.Next(searchAtOnce)
		if m.groups = found; !more {
			m.groupSearch = nil
		}
	}
	n := min(most, len(m.groups))
	if n == 0 {
		return 0, 0
	}
	c := s.groups.spare.Take()
	c.message, c.parcels = *m, 1
	c.withoutFile()
	c.text = append(append(s.groups.texts.Take(len(m.topic)+len(c.payload)), m.topic...), c.payload...)
	c.topic, c.payload = c.text[:len(m.topic):len(m.topic)], c.text[len(m.topic):]
	c.groups, c.groupSearch, c.envelope, c.count = nil, nil, envelope{}, 0
	for _, g := range m.groups[:n] {
		c.parcels++
		taken, lost := s.groups.Put(g, c, c.size())
		if taken {
			delivered++
		}
		dropped += lost
	}
	s.gone(c)
	m.groups = m.groups[n:]
	s.give()
	s.stats.Delivered += uint64(delivered)
	return delivered, dropped
}

// gone forgets a message that no group has any more.
func (s *Service) gone(c *shared) {
	if c.parcels--; c.parcels == 0 {
		if s.set.Verify {
			clear(c.text) // who has it in hand still is found out
		}
		s.groups.texts.Give(c.text)
		s.groups.spare.Give(c)
	}
}

// size is what a message counts for that waits in a group.
func (m *message) size() int {
	return len(m.topic) + len(m.payload) + m.headers.Bytes() + queuedSize
}
