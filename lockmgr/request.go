package lockmgr

import (
	"errors"
	"fmt"
	"time"
)

// Time is the caller's clock, read once for each step.
type Time struct {
	Boot time.Duration // CLOCK_BOOTTIME: what ages and deadlines are counted in; never goes back
	Real int64         // CLOCK_REALTIME in microseconds since 1970: for tokens and for display; may jump
}

// A Mode says with whom a lock is shared.
type Mode uint8

// The modes.
const (
	Exclusive Mode = iota // with nobody
	Shared                // with other shared holders
)

func (m Mode) String() string {
	if m == Shared {
		return "shared"
	}
	return "exclusive"
}

// A Token numbers a grant. Every grant has a higher one than all grants before it, of any lock; see the package's
// documentation. No grant has 0.
type Token uint64

// MaxToken is the highest token: the largest integer that every JSON reader holds exactly.
const MaxToken Token = 1<<53 - 1

// A Process is one process for as long as the machine is up: the start time, in clock ticks after boot as in field 22
// of /proc/PID/stat, tells it from another that gets the same pid later.
type Process struct {
	PID   int
	Start uint64
}

// A ConnID is a connection of the caller's. The Manager only compares it.
type ConnID uint64

// An Owner is who holds a lock, or would: a process, or one of several owners within it that go by labels. An owner
// has at most one claim on a lock.
type Owner struct {
	Process Process
	Label   string
}

func (o Owner) String() string {
	s := fmt.Sprintf("process %d/%d", o.Process.PID, o.Process.Start)
	if o.Label != "" {
		s += fmt.Sprintf(" %q", o.Label)
	}
	return s
}

// A Binding says with what a hold ends, if it is not released.
type Binding uint8

// The bindings.
const (
	ToConnection Binding = iota // with the connection that asked, or with the owner's process: whichever ends first
	ToProcess                   // with the owner's process alone; only the wait ends with the connection too
)

func (b Binding) String() string {
	if b == ToProcess {
		return "process"
	}
	return "connection"
}

// Info is what people are shown about a claim. Nothing is decided by it, but for one thing: the memory of how a hold
// ended is charged to UID.
type Info struct {
	UID, GID  uint32
	Unit, Why string
}

// How long a request waits, besides a number of nanoseconds.
const (
	Forever time.Duration = -1 // any negative duration means this
	Try     time.Duration = 0
)

// A Request asks for a lock. Its strings are kept, so they must not be views of a buffer that changes.
type Request struct {
	Name  string
	Mode  Mode
	Owner Owner
	Conn  ConnID // the connection that asks, waits and is answered
	Bind  Binding
	Wait  time.Duration
	Info
}

// A RequestID names a request that was let in, from then on for ever: as a wait, and as the hold that it becomes.
type RequestID uint64

// A Claim is a request that was let in. It waits while its token is 0, and holds the lock from then on.
type Claim struct {
	Request
	ID    RequestID
	Token Token
	Since Time // when it was granted; while it waits, when it was made
}

// What the Manager says no with. No state has changed when it does.
var (
	// ErrBusy refuses a request that would not wait.
	ErrBusy = errors.New("the lock is held or waited for")
	// ErrDeadlock refuses a request whose owner has a claim on that lock already: it would wait for itself.
	ErrDeadlock = errors.New("the owner holds the lock or waits for it already")
	// ErrExhausted refuses a request that would not wait, for a lock that is free, when no token may be given before
	// more are reserved.
	ErrExhausted = errors.New("no token is left to grant the lock with")
	// ErrNotHeld answers for a lock that nobody holds, or not the owner that was named.
	ErrNotHeld = errors.New("the lock is not held")
	// ErrStale answers for a lock that is held, but not with that token.
	ErrStale = errors.New("the token is not that of a present hold")
)
