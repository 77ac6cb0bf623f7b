package wills

import (
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/journal"
	"github.com/ipcd/ipcd/internal/process"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/lockmgr"
)

// Messages is where wills are published: the service of messages.
type Messages interface {
	// RoomForWill checks whether there is room, of all users, for a will of a size, by which there are so many wills more that are to be
	// values, and so many bytes more in wills. It has the reply ready if not.
	RoomForWill(c *session.Call, size, values, bytes int) bool
	// CountWills counts wills that are to be values, and bytes of wills, and CountedWills is how many there are.
	CountWills(values, bytes int)
	CountedWills() (values, bytes int)
	// Bequeath publishes a will that is none any more, with the word on how whom it was of has ended. What is true of it, and of the value
	// of its topic, is recorded before anybody is told.
	Bequeath(w *record.Will, ended string)
	// EventsInLine reports whether as much of a user stands in line as may before he has to wait.
	EventsInLine(uid uint32) bool
}

// A Service is the service of wills.
type Service struct {
	set      *session.Set
	journal  *journal.Journal
	watch    *process.Set
	messages Messages

	owners map[lockmgr.Process][]*owner
	count  int    // of wills
	last   uint64 // the number of the last one
	ends   account.Shares[*owner]
	serves bool // Start was called

	words words // of the command that is executed
}

// New makes the service of a set of sessions.
func New(set *session.Set, j *journal.Journal, watch *process.Set, m Messages) *Service {
	s := &Service{set: set, journal: j, watch: watch, messages: m, owners: map[lockmgr.Process][]*owner{}}
	s.ends = account.Shares[*owner]{Book: &set.Users, Serve: s.publishSome, Over: set.Net.Over, Round: set.Net.FlushAll}
	watch.Tell(s)
	return s
}

// Handlers execute the commands of wills.
func (s *Service) Handlers() map[string]session.Handler {
	return map[string]session.Handler{
		"BUS.WILL":   session.Gated(s.willWords, s.busWill),
		"BUS.UNWILL": session.Gated(s.unwillWords, s.busUnwill),
	}
}

// Grace is how long the process of a connection to a daemon before has to come back.
const Grace = 10 * time.Second

// Restore takes up the wills that a daemon before this one has written down.
func (s *Service) Restore(all []*record.Will) {
	for _, w := range all {
		s.put(s.restored(w), w)
	}
}

// restored is the owner of a will that was written down.
func (s *Service) restored(w *record.Will) *owner {
	for _, o := range s.owners[w.Process] {
		if o.conn == w.Conn {
			return o
		}
	}
	var p *process.Process
	if w.Process.PID > 0 {
		p = s.watch.Known(w.Process, "")
	}
	o := s.add(w.Process, w.Conn, w.UID, p)
	if o.conn != 0 {
		o.back = true
		o.over.Set(s.set.Now() + Grace)
	}
	return o
}

// Start is called before the first turn, when it is known which processes have ended.
func (s *Service) Start() { s.serves = true }

// Len is how many wills there are.
func (s *Service) Len() int { return s.count }

// Watched is how many uses of processes there are: see process.Set.Verify.
func (s *Service) Watched() (n int) {
	for _, all := range s.owners {
		for _, o := range all {
			if o.process != nil {
				n++
			}
		}
	}
	return n
}
