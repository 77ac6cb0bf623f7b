package verb

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// Comeback is how long a daemon that has ended is waited for, where neither -w nor --wait-daemon says how long: enough for whoever
// starts it again.
const Comeback = 10 * time.Second

const (
	// brief is how soon a daemon ends that may have ended because of what it was asked.
	brief = time.Second
	// mostCrashes is how many daemons in succession are asked that end so without a word: it may be the request that they cannot stand.
	mostCrashes = 3
	// afresh is the pause before a daemon is asked that has just ended, or is about to.
	afresh = 50 * time.Millisecond
)

// Stopped reports whether something has failed because the daemon has ended: one that was there a moment ago may be gone when it is
// connected to once more. The next one may be on its way.
func Stopped(err error) bool { return shutDown(err) || errors.Is(err, ipc.ErrClosed) || absent(err) }

// shutDown reports whether the daemon has said that it ends.
func shutDown(err error) bool { return errors.Is(err, &wire.Error{Code: wire.CodeShutdown}) }

// An Outage is what something that waits has seen of daemons that end. The zero value has seen none yet.
type Outage struct {
	began   time.Time
	last    time.Duration // at most
	asked   time.Time     // when the daemon was that has ended now
	crashes int
}

// Redial connects to the next daemon when the one before has ended, as err says. It waits for it until the deadline of what waits,
// or if there is none for as long as --wait-daemon says, or else for Comeback. That is for one outage: it is over when a daemon has
// been asked and is there a second later.
func (o *Outage) Redial(c *Call, deadline time.Time, err error) (*ipc.Conn, error) {
	now := time.Now()
	if now.Sub(o.asked) > brief {
		*o = Outage{began: now, last: c.patience(deadline)}
	} else {
		if !shutDown(err) {
			o.crashes++
		}
		if o.crashes == mostCrashes || now.Sub(o.began) >= o.last {
			return nil, err
		}
		_, _ = unix.Poll(nil, int(afresh/time.Millisecond)) // a timer would need descriptors
	}
	conn, err := c.dialUntil(o.began.Add(o.last), "ipcd has ended: waiting for it to come back")
	o.asked = time.Now()
	var f *exit.Failure
	if errors.As(err, &f) && absent(err) {
		f.Text += "; it has ended"
		if o.last > 0 {
			f.Text += ", and was not back within " + term.Spoken(o.last.Round(time.Millisecond))
		}
	}
	return conn, err
}

// Began is when it began. By that one outage is told from another.
func (o *Outage) Began() time.Time { return o.began }

// patience is how long the next daemon is waited for.
func (c *Call) patience(deadline time.Time) time.Duration {
	switch {
	case c.waitDaemon.Set:
		return c.waitDaemon.D
	case deadline.IsZero():
		return Comeback
	}
	return max(time.Until(deadline), 0)
}
