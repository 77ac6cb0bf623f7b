package lockmgr

import "strconv"

// A Kind is what happened to a claim.
type Kind uint8

// The kinds.
const (
	Waiting    Kind = iota // it joined the queue
	Acquired               // it holds the lock, at once or after it waited
	Joined                 // it became one more owner of a hold
	Reentered              // its owner entered the hold once more
	Left                   // its owner left the hold, which goes on. End says how; nil: it left one of several entries
	Ended                  // the hold ended with it, in whatever way: End says how
	TimedOut               // its wait ended without the lock
	Cancelled              // likewise, by a call of Cancel, EndConn or EndProcess, or because a part of its set was lost
	Downgraded             // the hold is shared from now on
	Renewed                // its lease ends later, or sooner
	Expiring               // its lease will end soon
	Told                   // the abandoned end that it was told of has been dealt with
	Learned                // how an Unreaped end of the lock was really, which End says; of the claim there is what is known of an end
	Forgotten              // how holds of the lock, which is free, ended is not remembered any more; of the claim there is Name and UID
)

var kinds = [...]string{
	"waiting", "acquired", "joined", "reentered", "left", "ended", "timedout", "cancelled",
	"downgraded", "renewed", "expiring", "told", "learned", "forgotten",
}

func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k]
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

// An Effect is one thing that happened. It is plain data, a copy: later steps do not change it. All changes of a Manager's
// state but those of [Manager.Reserve] and [Manager.SetLimits] have one, so the effects are also the journal from which
// [Manager.Replay] makes the state again.
type Effect struct {
	Kind Kind
	Claim
	New   bool // the claim came into being with it
	Limit int  // of the lock, 0 if it is free and was before
	Place int  // Waiting: how many are in the queue up to this one, itself included

	// Answers is the request whose outcome this is, or a part of it, one for each name of a set; 0 if nobody asked for it.
	Answers RequestID

	End       *End // Ended, Left, Learned: how
	Previous  *End // Acquired: the latest end of a hold of this lock, nil if none is known
	Abandoned *End // Acquired: the latest abandoned end that no holder was told of before; Ended: that goes on being untold
}

// keepBuffer is the size up to which a buffer is used again. A larger one was for a rare event.
const keepBuffer = 64

func emptied[T any](buffer []T) []T {
	if cap(buffer) > keepBuffer {
		return nil
	}
	clear(buffer)
	return buffer[:0]
}

// emit tells what happened to a claim.
func (m *Manager) emit(kind Kind, c *claim) *Effect {
	m.effects = append(m.effects, Effect{})
	e := &m.effects[len(m.effects)-1]
	e.Kind, e.Claim, e.Limit = kind, c.Claim, c.lock.limit // in place: a claim is large
	return e
}

// emitOf tells what happened to the memory of a lock.
func (m *Manager) emitOf(kind Kind, l *lock, i Info) *Effect {
	m.effects = append(m.effects, Effect{Kind: kind})
	e := &m.effects[len(m.effects)-1]
	e.Name, e.Info = l.name, i
	return e
}

// Effects takes the effects of all steps since it was called last, in the order in which they happened. They must be
// used before the next step, which reuses the memory.
func (m *Manager) Effects() []Effect {
	taken := m.effects
	m.granted = 0
	if cap(taken) > keepBuffer {
		m.effects = nil
	} else {
		m.effects = taken[:0]
	}
	return taken
}
