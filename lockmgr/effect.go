package lockmgr

import "strconv"

// A Kind is what happened to a claim.
type Kind uint8

// The kinds.
const (
	Waiting   Kind = iota // it joined the queue
	Acquired              // it holds the lock, at once or after it waited
	Ended                 // its hold ended, in whatever way: End says how
	TimedOut              // its wait ended without the lock
	Cancelled             // likewise, by a call of Cancel, EndConn or EndProcess
)

var kinds = [...]string{"waiting", "acquired", "ended", "timedout", "cancelled"}

func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k]
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

// An Effect is one thing that happened. It is plain data, a copy: later steps do not change it.
type Effect struct {
	Kind Kind
	Claim
	Place     int  // Waiting: how many are in the queue up to this one, itself included
	End       *End // Ended: how
	Previous  *End // Acquired: the latest end of a hold of this lock, nil if none is known
	Abandoned *End // Acquired: the latest abandoned end that no holder was told of before, mostly nil
}

// keepBuffer is the size up to which a buffer is used again. A larger one was for a rare event.
const keepBuffer = 64

func emptied[T any](buffer []T) []T {
	if cap(buffer) > keepBuffer {
		return nil
	}
	return buffer[:0]
}

func (m *Manager) emit(e Effect) { m.effects = append(m.effects, e) }

// Effects takes the effects of all steps since it was called last, in the order in which they happened. They must be
// used before the next step, which reuses the memory.
func (m *Manager) Effects() []Effect {
	taken := m.effects
	m.effects = emptied(taken)
	return taken
}
