package process

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/lockmgr"
)

// known are the processes that a daemon before this one has known, as long as they are not watched. A new daemon looks for each by its
// number and start time. Only what says for certain that a process is gone ends what is bound to it: that the daemon has no descriptor or
// memory left to look at it says nothing, so it is taken to be alive, and is looked for again.
type known struct {
	unseen []*Process
	retry  loop.Timer // when they are looked for again
	told   bool       // that they cannot be looked for
}

// lookAgain is how long after a failure they are looked for again.
const lookAgain = 100 * time.Millisecond

// Known is a process that a daemon before this one has known; path is that of a cgroup. It is looked for by FindKnown.
func (s *Set) Known(id lockmgr.Process, path string) *Process {
	p := s.byID[id]
	if p == nil {
		p = s.add(id, path)
		s.known.unseen = append(s.known.unseen, p)
	}
	return p.use()
}

// FindKnown begins to watch those that were known, and says which are gone.
func (s *Set) FindKnown() {
	k := &s.known
	var failed error
	var unseen []*Process
	for _, p := range k.unseen {
		switch {
		case p.fd >= 0 || s.byID[p.ID] != p: // it connected meanwhile, or nobody needs it any more
			continue
		case failed != nil && outOfRoom(failed): // nor is there for the others
			unseen = append(unseen, p)
			continue
		}
		err := s.find(p)
		switch {
		case errors.Is(err, unix.ESRCH):
			p.Dead = true
			p.uses++ // for as long as they are told
			for _, w := range s.watchers {
				w.Gone(p)
			}
			p.Release()
		case err != nil:
			failed = err
			unseen = append(unseen, p)
		}
	}
	k.unseen = unseen
	if len(unseen) > 0 {
		k.retry.Set(s.loop.Clock.Now() + lookAgain)
		if !k.told {
			s.log.Error("cannot find out whether processes that have locks or wills are alive: they are taken to be", "event", "watch-failed", "processes", len(unseen), "error", failed)
			k.told = true
		}
	} else if k.told {
		s.log.Info("all processes that have locks or wills are watched again", "event", "watch-mended")
		k.told = false
	}
}

// find begins to watch one that was known to a daemon before this one. The error is ESRCH if it is gone.
func (s *Set) find(p *Process) error {
	if p.ID.IsGroup() {
		return s.findGroup(p)
	}
	who := peer.Peer{PID: p.ID.PID, Start: p.ID.Start}
	fd, err := s.sight.OpenProcess(who)
	if err != nil {
		return err
	}
	if _, err = s.Of(&who, fd); err == nil {
		p.Release() // who needs it has it already
	}
	return err
}

// outOfRoom reports whether an error is not about what was asked for but about what there is to ask with.
func outOfRoom(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOSPC)
}
