package locks

import (
	"github.com/ipcd/ipcd/internal/process"
	"github.com/ipcd/ipcd/lockmgr"
)

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
	if s.processes[o.Process] == nil {
		path := ""
		if o.Process.IsGroup() {
			path = o.Label
		}
		s.adopt(s.watch.Known(o.Process, path))
	}
}

// Gone ends what is held by a process that has ended while there was no daemon. How it ended nobody can say, and that is what the next
// holder is told. See process.Watcher.
func (s *Service) Gone(is *process.Process) {
	switch p := s.processes[is.ID]; {
	case p == nil:
	case p.claims == 0: // and how an unreaped one ended nobody can say any more
		delete(s.processes, p.ID)
		p.Release()
	default:
		s.set.Log.Info("the holder of a lock ended while there was no daemon", "event", "holder-gone", "pid", max(p.ID.PID, 0), "cgroup", p.Path)
		s.endProcess(p, lockmgr.Unknown, 0)
		s.settleEndings(p) // before anybody asks for it
	}
}
