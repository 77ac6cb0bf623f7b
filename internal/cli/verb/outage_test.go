package verb

import (
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A daemon that has ended is waited for as long as --wait-daemon says, or else until the deadline of what waits, or else for some seconds.
func TestPatienceWithADaemonThatEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		none, soon, past := time.Time{}, time.Now().Add(time.Minute), time.Now().Add(-time.Minute)
		for _, c := range []struct {
			waitDaemon Span
			deadline   time.Time
			want       time.Duration
		}{
			{Span{}, none, Comeback},
			{Span{}, soon, time.Minute},
			{Span{}, past, 0},
			{Span{D: time.Hour, Set: true}, none, time.Hour},
			{Span{D: time.Hour, Set: true}, soon, time.Hour},
			{Span{Set: true}, soon, 0},
		} {
			call := Call{globals: globals{waitDaemon: c.waitDaemon}}
			if got := call.patience(c.deadline); got != c.want {
				t.Errorf("--wait-daemon %+v, deadline %v: %v, want %v", c.waitDaemon, c.deadline, got, c.want)
			}
		}
	})
}

// TestStopped: a daemon has ended that says so, whose connection has ended, and that is not there when it is to be connected to.
func TestStopped(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&wire.Error{Code: wire.CodeShutdown}, true},
		{ipc.ErrClosed, true},
		{&ipc.DialError{Path: "x", Err: unix.ECONNREFUSED}, true},
		{&ipc.DialError{Path: "x", Err: unix.ENOENT}, true},
		{&ipc.DialError{Path: "x", Err: unix.EACCES}, false},
		{&wire.Error{Code: wire.CodeBusy}, false},
		{nil, false},
	} {
		if Stopped(c.err) != c.want {
			t.Errorf("%v: %v", c.err, !c.want)
		}
	}
}
