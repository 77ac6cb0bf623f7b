package exit

import (
	"fmt"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// An error has the exit status of its kind, however deeply it is wrapped.
func TestCannot(t *testing.T) {
	for _, c := range []struct {
		err  error
		text string
		exit int
		name string
	}{
		{unix.EMFILE, "cannot try: too many open files", OS, "OSERR"},
		{&ipc.Error{Code: wire.CodeBusy, Text: "held"}, "cannot try: held", Busy, "BUSY"},
		{&ipc.Error{Code: wire.CodeStale, Text: "gone"}, "cannot try: gone", NoLock, "STALE"},
		{&ipc.Error{Code: wire.CodeNotKept, Text: "it is done, and not on disk"}, "try: it is done, and not on disk", IO, "NOTKEPT"},
		{&ipc.Error{Code: "NEWCODE", Text: "what"}, "cannot try: what", Usage, "NEWCODE"},
		{&ipc.DialError{Path: "/s", Err: unix.ECONNREFUSED}, "cannot reach ipcd: /s: connection refused", exitUnreachable, "UNREACHABLE"},
		{&ipc.DialError{Path: "/s", Err: unix.EMFILE}, "cannot reach ipcd: /s: too many open files", OS, "OSERR"},
		{fmt.Errorf("%w: %w", ipc.ErrClosed, io.EOF), "cannot try: connection to ipcd ended: EOF", exitUnreachable, "UNREACHABLE"},
		{&wire.ProtoError{Reason: "malformed value"}, "cannot try: protocol error: malformed value", Proto, "PROTO"},
		{Fail(Short, "as it is"), "as it is", Short, "SHORT"},
	} {
		f := Cannot("try", fmt.Errorf("%w", c.err))
		if f.Exit != c.exit || f.Name != c.name {
			t.Errorf("%v: %s %d, want %s %d", c.err, f.Name, f.Exit, c.name, c.exit)
		}
		if g := Cannot("try", c.err); g.Text != c.text {
			t.Errorf("%v: %q, want %q", c.err, g.Text, c.text)
		}
	}
}

// What the daemon says of a name does not have it twice.
func TestToldOf(t *testing.T) {
	for _, c := range [][3]string{
		{"release b", `"b": the lock is not held`, "the lock is not held"},
		{"lock b", `"b" is held by user 3`, "it is held by user 3"},
		{`lock "a b"`, `"a b" is held`, "it is held"},
		{"lock b", `"c" is held`, `"c" is held`},
		{"lock a and b", `"b" is held`, `"b" is held`},
		{"lock b", "pid 1 holds it", "pid 1 holds it"},
		{"lock b", `"b`, `"b`},
	} {
		if got := toldOf(c[0], c[1]); got != c[2] {
			t.Errorf("%s: %s: got %q, want %q", c[0], c[1], got, c[2])
		}
	}
}

func TestStatusesCoverTheDaemonsCodes(t *testing.T) {
	last := -1
	for _, s := range Statuses {
		if s.Code <= last || s.Code >= 128 {
			t.Errorf("status %d is out of order, or taken for a signal", s.Code)
		}
		last = s.Code
	}
	for _, c := range wire.Codes {
		if c.Code == wire.CodeCancelled {
			continue // only ipcctl itself cancels its waits, and then it dies by a signal
		}
		if Find(c.Exit) == nil {
			t.Errorf("%s gives exit status %d, which is not in the table", c.Code, c.Exit)
		}
	}
}
