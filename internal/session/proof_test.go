package session

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc/wire"
)

// TestProcessCode: only what is known of a process says that it is not there.
func TestProcessCode(t *testing.T) {
	for err, want := range map[error]wire.Code{
		unix.ESRCH: wire.CodeNotFound, unix.ENOENT: wire.CodeNotFound, errors.New("not a pidfd of a process in sight"): wire.CodeNotFound,
		unix.EMFILE: wire.CodeQuota, unix.ENFILE: wire.CodeQuota, unix.ENOMEM: wire.CodeQuota, unix.ENOSPC: wire.CodeQuota,
		unix.EIO: wire.CodeIO,
	} {
		if got := ProcessCode(fmt.Errorf("cannot read: %w", err)); got != want {
			t.Errorf("%v is %s, want %s", err, got, want)
		}
	}
}
