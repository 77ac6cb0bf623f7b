package locks

import (
	"bytes"
	"fmt"

	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A savedFile is the loop's side of a small file that outlives the daemon. What changes it is in force at once, and answered
// when the file is on disk. It is written elsewhere, as a whole and by one write at a time: what changes meanwhile goes with
// the next, and so does what changes in one turn.
type savedFile struct {
	what    string                 // for people
	write   func(done func(error)) // begins to write what there is now; nil: nothing is kept, and so nothing is waited for
	writing bool                   // or about to
	waiting []func(error)          // to be called when the next write is over
}

// change has a file written. then, if not nil, is called when it is on disk, or told why not.
func (s *Service) change(d *savedFile, then func(error)) {
	if then == nil {
		then = func(error) {}
	}
	if d.write == nil {
		then(nil)
		return
	}
	d.waiting = append(d.waiting, then)
	if !d.writing {
		d.writing = true
		s.set.Loop.Post(func() { s.writeNext(d) })
	}
}

func (s *Service) writeNext(d *savedFile) {
	told := d.waiting
	d.waiting = nil
	d.write(func(err error) {
		s.set.Loop.Post(func() {
			if err != nil {
				s.set.Log.Error("cannot keep "+d.what, "event", "state-failed", "error", err)
			}
			for _, then := range told {
				then(err)
			}
			if d.writing = len(d.waiting) > 0; d.writing {
				s.writeNext(d)
			}
		})
	})
}

// giveSaved gives an answer when a file is on disk, or cannot be. The connection waits for it.
func (s *Service) giveSaved(a session.Answer, d *savedFile, said func(error) session.Outcome) {
	a.AwaitDisk()
	s.change(d, func(err error) { a.Give(said(err)) })
}

// answerSaved gives the reply that a call has so far when a file is on disk.
func (s *Service) answerSaved(c *session.Call, d *savedFile) {
	reply := session.Plain(bytes.Clone(c.Out))
	c.Out = c.Out[:0]
	s.giveSaved(c.Later(), d, func(err error) session.Outcome {
		if err != nil {
			return notKept(err)
		}
		return reply
	})
}

// notKept answers a change that is in force, and could not be made durable.
func notKept(err error) session.Plain {
	return wire.AppendError(nil, wire.CodeNotKept, fmt.Sprintf("it is done and in force, but not on disk, and will not be so after a reboot: %v", err))
}

// takenBack answers a change that is no more in force, as it could not be made durable.
func takenBack(err error) session.Plain {
	return wire.AppendError(nil, wire.CodeIO, fmt.Sprintf("nothing was changed, as it cannot be put on disk: %v", err))
}
