package locks

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/lockmgr"
)

// holders are the processes of holds that were kept, as long as they are not watched. A new daemon looks for each by its number
// and start time. Only what says for certain that a process is gone ends what it holds: that the daemon has no descriptor or
// memory left to look at it says nothing, so the hold stays, and it is looked for again.
type holders struct {
	unseen []*process
	retry  loop.Timer // when they are looked for again
	told   bool       // that they cannot be looked for
}

// lookAgain is how long after a failure they are looked for again.
const lookAgain = 100 * time.Millisecond

// takeUp has the processes of a restored lock looked for: those that its holds end with, and those that have ended and not been
// reaped yet, as far as was known.
func (s *Service) takeUp(v *lockmgr.View) {
	ends := []*lockmgr.End{v.Abandoned}
	for i := range v.Holders {
		if c := &v.Holders[i]; watched(c) {
			s.look(c.Owner)
		}
		ends = append(ends, v.Holders[i].Told)
	}
	for _, e := range ends {
		for ; e != nil; e = e.Before {
			if e.How == lockmgr.Unreaped {
				s.look(e.Owner)
			}
		}
	}
}

func (s *Service) look(o lockmgr.Owner) {
	id := o.Process
	if s.processes[id] == nil {
		p := &process{id: id, pidfd: -1}
		if id.IsGroup() {
			p.path = o.Label
		}
		s.processes[id] = p
		s.holders.unseen = append(s.holders.unseen, p)
	}
}

// verifyHolders begins to watch the owners of restored holds, and ends what is held by those that are gone. How they ended
// nobody can say, and that is what the next holder is told.
func (s *Service) verifyHolders() {
	h := &s.holders
	var failed error
	var unseen []*process
	for _, p := range h.unseen {
		switch {
		case p.pidfd >= 0 || s.processes[p.id] != p: // it connected meanwhile, or has nothing any more
			continue
		case failed != nil && outOfRoom(failed): // nor is there for the others
			unseen = append(unseen, p)
			continue
		}
		err := s.watchHolder(p)
		switch {
		case errors.Is(err, unix.ESRCH) && p.claims == 0: // and how an unreaped one ended nobody can say any more
			delete(s.processes, p.id)
		case errors.Is(err, unix.ESRCH):
			s.set.Log.Info("the holder of a lock ended while there was no daemon", "event", "holder-gone", "pid", max(p.id.PID, 0), "cgroup", p.path)
			s.endProcess(p, lockmgr.Unknown, 0)
			s.settleEndings(p) // before anybody asks for it
		case err != nil:
			failed = err
			unseen = append(unseen, p)
		}
	}
	h.unseen = unseen
	if len(unseen) > 0 {
		h.retry.Set(s.set.Now() + lookAgain)
		if !h.told {
			s.set.Log.Error("cannot find out whether those who hold locks are alive: they are taken to be", "event", "watch-failed", "holders", len(unseen), "error", failed)
			h.told = true
		}
	} else if h.told {
		s.set.Log.Info("all who hold locks are watched again", "event", "watch-mended")
		h.told = false
	}
}

// watchHolder begins to watch one that was known to a daemon before this one. The error is ESRCH if it is gone.
func (s *Service) watchHolder(p *process) error {
	if p.id.IsGroup() {
		return s.watchGroupAgain(p)
	}
	who := peer.Peer{PID: p.id.PID, Start: p.id.Start}
	fd, err := s.setup.OpenProcess(who)
	if err == nil {
		_, err = s.watchProcess(&who, fd)
	}
	return err
}

// outOfRoom reports whether an error is not about what was asked for but about what there is to ask with.
func outOfRoom(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOSPC)
}
