package loop

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// A Clock tells CLOCK_BOOTTIME: it goes on while the machine sleeps and is never set. All of a turn happens at one time of it.
//
// To ask the kernel for it is a system call, so it is made of the monotonic clock, which is none, and the time that the machine has
// slept, which is looked up every few milliseconds.
type Clock struct {
	base           time.Time
	slept, checked time.Duration
	turn           time.Duration // what Now says in this turn; 0: nobody has asked yet
	last           time.Duration // of the last turn in which somebody asked
}

func newClock() Clock { return Clock{base: time.Now()} }

// Now is the time of the turn.
func (c *Clock) Now() time.Duration {
	if c.turn == 0 {
		c.turn = c.Read()
	}
	return c.turn
}

// Lately is the time of a turn that was about a [tick] ago at most, or of this one. It does not look at the clock, which takes
// longer than all that the daemon does for the simplest of commands: it is for what is told in seconds.
func (c *Clock) Lately() time.Duration { return max(c.last, c.turn) }

// EndTurn forgets the time of the turn.
func (c *Clock) EndTurn() { c.last, c.turn = c.Lately(), 0 }

// SetNow has the turn take place at a time of the caller's. It is for who makes turns by hand, as tests do.
func (c *Clock) SetNow(now time.Duration) { c.turn = now }

// Skip has the clock go ahead, also for who makes turns by hand.
func (c *Clock) Skip(d time.Duration) {
	c.base = c.base.Add(-d)
	c.turn = 0
}

// bootCheck bounds by how much the loop may be late to notice that the machine has slept.
const bootCheck = 10 * time.Millisecond

// Read is the time at this moment.
func (c *Clock) Read() time.Duration {
	mono := time.Since(c.base)
	if c.slept == 0 || mono-c.checked > bootCheck {
		c.check()
	}
	return mono + c.slept
}

// check looks up how long the machine has slept. That only rises: what seems to be a short sleep is that this thread did
// not run between the two clocks, and to take it for one would have the clock go back the next time.
func (c *Clock) check() {
	slept := time.Duration(math.MaxInt64)
	for range 10 {
		var ts unix.Timespec
		before := time.Since(c.base)
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			panic(err) // every kernel that this runs on has it
		}
		c.checked = time.Since(c.base)
		slept = min(slept, time.Duration(ts.Nano())-before)
		if c.checked-before < bootCheck/10 {
			break
		}
	}
	if slept > c.slept+bootCheck {
		c.slept = slept
	}
}
