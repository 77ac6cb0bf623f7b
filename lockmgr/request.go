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
	Exclusive Mode = iota // with nobody, as far as the units go: see [Request]
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
// of /proc/PID/stat, tells it from another that gets the same pid later. Or it is a group of processes, which ends with the last of
// them: then PID is [Group], and Start the number that no other group has for as long as the machine is up.
type Process struct {
	PID   int
	Start uint64
}

// Group is the PID of a Process that is a group.
const Group = -1

// IsGroup reports whether it is a group of processes.
func (p Process) IsGroup() bool { return p.PID == Group }

// A ConnID is a connection of the caller's. The Manager only compares it.
type ConnID uint64

// An Owner is who holds a lock, or would: a process, or one of several owners within it that go by labels. An owner
// has at most one claim on a lock. A hold that is bound to no process may have an owner with a label alone.
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

// The bindings. The wait for a hold always ends with the connection that asked, and with the owner's process.
const (
	ToConnection Binding = iota // with the connection that asked, or with the owner's process: whichever ends first
	ToProcess                   // with the owner's process alone
	ToLease                     // with its lease alone
	ToNobody                    // with nothing, or with its lease if it has one: the hold of an operator
)

var bindings = [...]string{"connection", "process", "lease", "nobody"}

func (b Binding) String() string { return bindings[b] }

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

// A Request asks for a lock, or for several at once. Its strings and slices are kept, so they must not be views of a
// buffer that changes.
type Request struct {
	Name  string
	Set   []string // all that are wanted together, in the order of the answers, Name first; nil for Name alone. They differ
	Mode  Mode
	Bind  Binding
	Units int // exclusive: so many of the lock's units, the others may go to others; 0 is all of them
	Limit int // how many units the lock has, if it is not in use yet and no limit is set; 0: whatever it has, or 1
	Owner Owner
	Conn  ConnID        // the connection that asks, waits and is answered
	Lease time.Duration // how long the hold lasts at most, unless it is renewed; 0: it does not end by time
	Wait  time.Duration

	// Untold has the next holder told of an abandoned end, too, if this one is: however the hold ends, unless [Manager.Told]
	// has said by then that it was dealt with.
	Untold bool
	// Join asks to become one of several owners of the hold that has this token, which then ends when all of them have left
	// it. There is nothing to wait for, and the hold stays what it is: Mode, Units and Limit mean nothing. Not with a Set.
	Join Token
	// Shown are holds that the owner acts for, mostly those of the process that started it. Asking again for one of these
	// locks joins the hold. And for as long as the request waits, those holds are taken not to end. What is over is ignored.
	Shown []Shown
	// Ancestors are the processes that the owner descends from: it would wait for ever for one of them, if that waits for
	// the owner in turn.
	Ancestors []Process

	Info
}

// A Shown is a hold, by the token that its owner passed on.
type Shown struct {
	Name  string
	Token Token
}

// names are those that are wanted together.
func (r *Request) names() []string {
	if r.Set != nil {
		return r.Set
	}
	return []string{r.Name}
}

// A RequestID names a request that was let in, from then on for ever: as a wait, and as the hold that it becomes. The
// claims of a set share it.
type RequestID uint64

// A Claim is a request that was let in, or one name of it if there are several. It waits while its token is 0, and holds
// the lock from then on.
type Claim struct {
	Request // Name is the claim's own, Units are never 0 unless it is shared, Untold is that of the hold; Join, Shown and Ancestors are empty once it holds

	ID      RequestID
	Token   Token
	Joined  bool          // it joined a hold that another began
	Entries int           // how often the owner has entered the hold and not left it; 0 while it waits
	Since   Time          // when it was granted; while it waits, when it was made
	Expires time.Duration // when its lease ends, in Time.Boot; 0: never
	Told    *End          // the abandoned end that was told of when the hold was granted, and not dealt with; mostly nil
}

// What the Manager says no with. No state has changed when it does.
var (
	// ErrBusy refuses a request that would not wait.
	ErrBusy = errors.New("the lock is held or waited for")
	// ErrDeadlock is what a [DeadlockError] is.
	ErrDeadlock = errors.New("waiting would never end")
	// ErrUpgrade refuses to enter a hold for more than it has: alone if it is shared, or with more units.
	ErrUpgrade = errors.New("the hold is for less than is asked for")
	// ErrLimit refuses a request that disagrees with the lock's limit, or asks for more units than there are.
	ErrLimit = errors.New("it does not fit the lock's limit")
	// ErrExhausted refuses a request that would not wait, for a lock that is free, when no token may be given before
	// more are reserved.
	ErrExhausted = errors.New("no token is left to grant the lock with")
	// ErrNotHeld answers for a lock that nobody holds, or not the owner that was named.
	ErrNotHeld = errors.New("the lock is not held")
	// ErrStale answers for a lock that is held, but not with that token.
	ErrStale = errors.New("the token is not that of a present hold")
	// ErrNotLeased answers for a hold that does not end by time.
	ErrNotLeased = errors.New("the hold has no lease")
	// ErrShares answers for a hold that has but some of the lock's units, where all are needed.
	ErrShares = errors.New("the hold has not all of the lock's units")
)

// A LimitError is an [ErrLimit].
type LimitError struct {
	Name  string
	Limit int // that the lock has
}

func (e *LimitError) Error() string { return fmt.Sprintf("the limit of %q is %d", e.Name, e.Limit) }

// Is makes it an ErrLimit.
func (e *LimitError) Is(target error) bool { return target == ErrLimit }
