package locks

import (
	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/lockmgr"
)

// A step is what one event does to the locks: a command, the end of a process, a moment that has come. It is recorded, and then
// told: what has changed is accounted for and written to the journal, all of it or nothing, before anybody learns of any of it.
// So at whatever moment the daemon ends, nobody was told what the daemon after it does not know; and what is written to the
// sockets in the middle of a turn cannot overtake a record.
//
// The lock engine is changed in the functions that are given to these and nowhere else: a test reads the source for that.

// step makes a step, and tells all whom it concerns. change calls the engine. It may take note of what it does, as who is to be
// answered, and tells nobody anything. The step is nobody's doing: it is what the kernel has said, or the time has brought.
func (s *Service) step(change func(now lockmgr.Time)) { s.stepFor(nil, change, nil) }

// stepFor is step for somebody, who pays for it. first, if not nil, tells him before all others.
func (s *Service) stepFor(pays *account.User, change func(now lockmgr.Time), first func()) {
	check := s.set.Verify
	if check && s.stepping {
		panic("a step is made within another one, whose effects would be lost")
	}
	if check { // a test that ends in the middle of a step has ended it
		s.stepping = true
		defer func() { s.stepping = false }()
	}
	told := s.set.Net.TurnBytes()
	change(s.lockTime())
	effects := s.locks.Effects()
	for i := range effects {
		s.tally(&effects[i])
	}
	s.record(effects)
	if check && s.set.Net.TurnBytes() != told {
		panic("a step was told before it was recorded")
	}
	if first != nil {
		first()
	}
	for i := range effects {
		s.follow(&effects[i], pays)
	}
	for _, id := range s.locks.Known() {
		if p := s.processes[id]; p != nil {
			s.unwatch(p)
		}
	}
	if len(effects) > 0 {
		s.raiseMark()
	}
	s.armExpiry()
	if s.locks.Pending() {
		s.grants.Set(s.set.Now())
	}
}
