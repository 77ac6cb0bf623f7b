package wills

import (
	"slices"

	"github.com/ipcd/ipcd/internal/process"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/lockmgr"
)

// mostPublished is how many wills are published in one step.
const mostPublished = 16

// Closed has the wills of a connection be published that has ended, when the kernel has been given a moment: its process may be just about
// to die, and how it did is worth more than that it was disconnected. When the daemon stops, that is no end: see Restore.
func (s *Service) Closed(sess *session.Session) {
	if len(s.owners) == 0 || s.set.Stopping {
		return
	}
	if o := s.find(process.IDOf(&sess.Peer), sess.ID); o != nil {
		s.awaitEnd(o)
	}
}

// Ended has the wills of a process be published that has ended, and of its connections, if the kernel says how or has had its time: see
// process.Watcher.
func (s *Service) Ended(p *process.Process, reaped bool) {
	all := s.owners[p.ID]
	if len(all) == 0 {
		return
	}
	how, status := p.How(reaped)
	for _, o := range slices.Clone(all) {
		switch {
		case o.hasEnded():
		case how != lockmgr.Unreaped:
			s.end(o, how, status)
		case !o.ends:
			s.awaitEnd(o)
		}
	}
}

// Gone has the wills of a process be published that has ended while there was no daemon: before anybody is served, if that is known by then.
// See process.Watcher.
func (s *Service) Gone(p *process.Process) {
	for _, o := range slices.Clone(s.owners[p.ID]) {
		if s.end(o, lockmgr.Unknown, 0); !s.serves {
			s.publishAll(o)
		}
	}
}

// timeIsOver is called when the kernel has had its time, or the process of a connection its time to come back.
func (s *Service) timeIsOver(o *owner) {
	if o.process != nil && !o.process.Dead && o.process.IsExiting() && o.tries < process.MostTries {
		o.tries++
		s.awaitEnd(o)
		return
	}
	how, status := lockmgr.Disconnected, 0
	if o.process != nil {
		if ended, reaped := o.process.Ended(); ended {
			how, status = o.process.How(reaped)
		}
	}
	s.end(o, how, status)
}

// end notes how an owner has ended, and publishes its wills: of very many the rest when it is its user's turn.
func (s *Service) end(o *owner, how lockmgr.How, status int) {
	if o.hasEnded() {
		return
	}
	o.over.Stop()
	o.ends, o.back = false, false
	o.how = (&lockmgr.End{How: how, Status: status}).String()
	o.left = o.inOrder()
	if s.set.Stopping {
		s.publishAll(o)
		return
	}
	s.publishSome(o)
}

func (s *Service) publishLater(o *owner) {
	o.queued = true
	s.ends.Join(s.set.Users.Of(o.uid), o)
}

// publishSome publishes some of the wills of who has ended. Where that would go to very many, it waits until
// what is before it is delivered.
func (s *Service) publishSome(o *owner) {
	o.queued = false
	for n := 0; len(o.left) > 0; n++ {
		if n == mostPublished || s.messages.EventsInLine(o.uid) && !s.set.Stopping {
			s.publishLater(o)
			return
		}
		s.publish(o)
	}
}

// publishAll publishes what is left.
func (s *Service) publishAll(o *owner) {
	for len(o.left) > 0 {
		s.publish(o)
	}
}

// publish publishes the first of what is left.
func (s *Service) publish(o *owner) {
	w := o.left[0]
	o.left = o.left[1:]
	how := o.how
	s.take(o, w)
	s.forgetIfBare(o)
	s.messages.Bequeath(&w.Will, how)
}

// Ending reports whether something is to be published in the share of its user.
func (s *Service) Ending() bool { return s.ends.Waiting() }

// EndSome publishes some of that.
func (s *Service) EndSome() { s.ends.Turn() }

// Stop publishes all that is due, and what the kernel was given time to tell more of.
func (s *Service) Stop() {
	for _, all := range s.owners {
		for _, o := range slices.Clone(all) {
			switch {
			case o.hasEnded():
				s.publishAll(o)
			case o.ends:
				o.tries = process.MostTries
				s.timeIsOver(o)
			}
		}
	}
}
