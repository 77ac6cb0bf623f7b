package lockmgr

import "strconv"

// How is the way in which a hold ended.
type How uint8

// The ways. More may be added.
const (
	Unknown      How = iota // the process is gone, and nobody can say how; it is not taken for abandoned
	Released                // by its owner, or by somebody with the right to
	Exited                  // the process exited without releasing; Status is its exit status
	Killed                  // a signal killed the process; Status is the signal
	Disconnected            // the connection ended, the process did not
	Expired                 // its lease was over
	Broken                  // somebody took it away: By says who
	Unreaped                // the process ended, and how is not known yet, as its parent has not collected its status: see [Manager.Learn]
)

var hows = [...]string{"unknown", "released", "exited", "killed", "disconnected", "expired", "broken", "unreaped"}

func (h How) String() string {
	if int(h) < len(hows) {
		return hows[h]
	}
	return "How(" + strconv.Itoa(int(h)) + ")"
}

// An End is what is remembered of a hold that ended. It never changes.
type End struct {
	Token Token // that the hold had
	Owner Owner
	Info
	How    How
	Status int // of Exited and Killed
	At     Time
	By     *Party // of Broken

	// Of an abandoned end that is Unreaped: the one, Unreaped as well, that nobody was told of when this one came. If the
	// process of this one turns out to have done well, that one is still to be told of.
	Before *End
}

// A Party is who did something to somebody else's hold, and why.
type Party struct {
	Process Process
	Info
}

// Abandoned reports whether the hold was cut off, or may have been as far as is known: its owner did not say goodbye, so
// what the lock guards may be half done.
func (e *End) Abandoned() bool { return e.How == Killed || e.How == Disconnected || e.How == Unreaped }

// Lost reports whether the hold was taken from an owner who may not know it, and goes on.
func (e *End) Lost() bool { return e.How == Expired || e.How == Broken }

// String says how: "released", "exited 1", "killed 9". It is "" for nil, which stands for no end that is known of.
func (e *End) String() string {
	switch {
	case e == nil:
		return ""
	case e.How == Exited || e.How == Killed:
		return e.How.String() + " " + strconv.Itoa(e.Status)
	default:
		return e.How.String()
	}
}
